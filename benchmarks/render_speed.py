"""How much numba's compiler gains the renderer: the same code compiled and interpreted, in turns, in one run.

python benchmarks/render_speed.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

_TASK = """
import sys, time
import numpy as np
np.seterr(over="ignore")  # the grain counts modulo 2 to the 64, which interpreted code warns of
from lab7.dataset.renderer import render
from lab7.dataset.scenes import scene_at
render(scene_at(0, 0), 8, 8)
print("ready", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    for index in range(int(line)):
        render(scene_at(0, index))
    print((time.perf_counter() - started) / int(line), flush=True)
"""


def main() -> None:
    """Print a Markdown table with milliseconds a picture and their ratio."""
    workers = {}
    for name, jit in (("compiled", "0"), ("interpreted", "1")):
        environment = os.environ | {"NUMBA_DISABLE_JIT": jit}
        workers[name] = subprocess.Popen(
            [sys.executable, "-c", _TASK],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(4):  # the first answer is "ready"
        for name, worker in workers.items():
            assert worker.stdin and worker.stdout
            if turn == 0:
                worker.stdout.readline()
                continue
            worker.stdin.write("60\n" if name == "compiled" else "1\n")
            seconds[name].append(float(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print("| renderer | ms a 64x64 picture, one core | ratio |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value * 1000:.1f} | {value / median['compiled']:.0f} |")


if __name__ == "__main__":
    main()

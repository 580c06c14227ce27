"""How time and memory grow with the number of pictures, and what a second process brings to a training.

    python -m benchmarks.scaling pictures|sample|judge|processes

Every command runs in a process of its own. Its memory is the most that it and its children hold at a time, without
what is mapped from files, which processes share and which the system takes back when memory is short.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.common import machine_line, print_table, run
from lab7.training.run_folder import read_metrics
from lab7.utils.files import Failure, write_json
from lab7.vocabulary import CLASSES

Words = list[str | Path]
Work = dict[tuple[object, ...], Words]
TOY = ("--preset", "smoke", "--no-score", "--set", "image_size=64", "snapshots=0", "max_steps=20", "save_every=1000")


def sample(counts: tuple[int, ...] = (100, 1000, 10_000)) -> None:
    """`lab7 sample` for so many conditions: the shipped network, in one step."""
    with _folder() as folder:
        plain: Words = ["--steps", "1", "--guidance", "1"]
        work: Work = {
            (n,): ["sample", "--conditions", _conditions(folder, n), "--out", folder / f"{n}", *plain] for n in counts
        }
        _table(("conditions",), work)


def judge(counts: tuple[int, ...] = (1000, 10_000, 100_000)) -> None:
    """`lab7 judge` for so many pictures, ten a condition."""
    with _folder() as folder:
        drawn = folder / "drawn"
        _quiet("sample", "--conditions", str(_conditions(folder, 100)), "--steps", "1", "--out", str(drawn))
        work: Work = {}
        for n in counts:
            place = folder / f"{n}"
            place.mkdir()
            for index in range(n):
                os.link(drawn / f"{index % 100:03d}_0.png", place / f"{index // 10:03d}_{index % 10}.png")
            work[n,] = ["judge", "--images", place, "--conditions", _conditions(folder, n // 10)]
        _table(("pictures",), work)


def pictures(scenes: tuple[int, ...] = (600, 6003, 60_000)) -> None:
    """`lab7 data` for so many scenes, three pictures each, of 8x8 pixels, so that more than rendering counts; and
    `lab7 train` on them, 20 steps at 64x64: first decoded, then from the cache."""
    with _folder() as folder:
        for count in scenes:
            os.environ["LAB7_DATA"] = str(folder / f"data{count}")
            (folder / f"data{count}").mkdir()
            work: Work = {("data", 3 * count): ["data", "--scenes", str(count), "--size", "8x8"]}
            for start in ("first", "again"):
                work[f"train, {start}", 3 * count] = ["train", "--name", f"{start}{count}", *TOY]
            _table(("command", "pictures"), work)


def processes(steps: int = 150, scenes: int = 200) -> None:
    """The preset laptop trained by one process of one thread, by two, and by one process of two threads."""
    with _folder() as folder:
        os.environ["LAB7_DATA"] = str(folder / "data")
        _quiet("data", "--scenes", str(scenes), "--out", os.environ["LAB7_DATA"])
        for count, threads in ((1, 1), (2, 1), (1, 2)):
            name = f"{count}x{threads}"
            launcher = ["-m", "accelerate.commands.launch", *(["--multi_gpu"] if count > 1 else ["--cpu"])]
            launcher += [
                f"--num_processes={count}",
                "--num_machines=1",
                "--main_process_port=0",
                "--mixed_precision=no",
            ]
            launcher += ["--dynamo_backend=no", f"--num_cpu_threads_per_process={threads}", "-m", "lab7.cli"]
            words = ["train", "--preset", "laptop", "--name", name, "--no-score", "--set", f"max_steps={steps}"]
            env = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": str(threads)}
            subprocess.run([sys.executable, *launcher, *words, "snapshots=0", "epochs=1000"], check=True, env=env)
            speeds = [line["images_per_second"] for line in read_metrics(folder / "runs" / name, "loss")]
            print(f"{count} processes of {threads} threads: {speeds} pictures a second")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder in which the commands also keep their runs."""
    print(machine_line())
    with tempfile.TemporaryDirectory() as name:
        os.environ["LAB7_RUNS"] = str(Path(name) / "runs")
        yield Path(name)


def _quiet(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lab7.cli", *words], check=True, capture_output=True)


def _conditions(folder: Path, count: int) -> Path:
    """A list of so many conditions of one object."""
    path = folder / f"conditions{count}.json"
    write_json(path, [[CLASSES[index % len(CLASSES)]] for index in range(count)])
    return path


def _table(names: tuple[str, ...], work: Work) -> None:
    rows = [(*key, *_measure(words)) for key, words in work.items()]
    print_table((*names, "seconds", "MB"), rows)


def _measure(words: Words) -> tuple[str, str]:
    """Seconds and MB of a command."""
    started, peak = time.monotonic(), 0
    process = psutil.Popen([sys.executable, "-m", "lab7.cli", *map(str, words)], stdout=subprocess.DEVNULL, stderr=-3)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(own.rss - own.shared for own in (one.memory_info() for one in family)))
        time.sleep(0.05)
    if process.returncode:
        raise Failure(f"failed: {' '.join(map(str, words))}")
    return f"{time.monotonic() - started:.1f}", f"{peak / 1e6:.0f}"


if __name__ == "__main__":
    run(pictures, sample, judge, processes)

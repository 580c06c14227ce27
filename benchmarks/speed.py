"""Speed on this machine, side by side in one run: rendering, training, our Muon, and drawing.

python -m benchmarks.speed render|train|muon|draw
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable

import torch

from benchmarks.common import in_turns, machine_line, print_table, repeat, run
from lab7.config import get_preset
from lab7.dataset.conditions import load_list
from lab7.diffusion import loss
from lab7.pipeline import build_model, load_pipeline
from lab7.schedule import NoiseSchedule
from lab7.training.optimizers import Muon
from lab7.unet import UNet
from lab7.utils.files import shipped_dir

BATCH, STEPS = 32, 5
RENDERS = {"compiled": 60, "interpreted": 1}  # pictures a turn
WORKER = """
import sys
from lab7.dataset.renderer import render
from lab7.dataset.scenes import scene_at
for line in sys.stdin:
    for index in range(int(line)):
        render(scene_at(0, index))
    print("done", flush=True)
"""


def render() -> None:
    """The renderer with numba's compiler and without it, on one core."""
    workers = {}
    for name, no_jit in (("compiled", "0"), ("interpreted", "1")):
        environment = os.environ | {"NUMBA_DISABLE_JIT": no_jit}
        pipe = subprocess.PIPE
        workers[name] = subprocess.Popen(
            [sys.executable, "-c", WORKER], env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1
        )

    def ask(name: str) -> Callable[[], object]:
        stdin, stdout = workers[name].stdin, workers[name].stdout
        assert stdin and stdout
        return lambda: (stdin.write(f"{RENDERS[name]}\n"), stdout.readline())

    seconds = in_turns({name: ask(name) for name in workers}, turns=3)
    for worker in workers.values():
        worker.communicate()
    each = {name: seconds[name] / RENDERS[name] for name in seconds}
    rows = [(name, f"{1000 * one:.1f}", f"{one / each['compiled']:.0f}") for name, one in each.items()]
    print(machine_line())
    print_table(("renderer", "ms a picture of 64x64", "ratio"), rows)


def train(n_feature: int = 48, image_size: int = 32, threads: int = 2) -> None:
    """Training of the report's U-Net in float32 and bf16, contiguous and channels last."""
    torch.set_num_threads(threads)
    schedule, generator = NoiseSchedule("linear"), torch.Generator().manual_seed(0)
    x_0 = torch.randn(BATCH, 3, image_size, image_size, generator=generator)
    condition = (torch.rand(BATCH, 24, generator=generator) > 0.9).float()

    def stepper(bf16: bool, layout: torch.memory_format) -> Callable[[], None]:
        model = UNet(n_feature, image_size).to(memory_format=layout)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = loss(model, schedule, x_0.contiguous(memory_format=layout), condition, generator)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

        return repeat(step, STEPS)

    kinds = itertools.product((False, True), (torch.contiguous_format, torch.channels_last))
    seconds = in_turns({kind: stepper(*kind) for kind in kinds})
    plain = seconds[False, torch.contiguous_format]
    print(f"{machine_line()}; F = {n_feature}, {image_size}x{image_size}, batch {BATCH}")
    rows = [
        (
            "bf16" if bf16 else "fp32",
            "channels last" if layout is torch.channels_last else "contiguous",
            f"{BATCH * STEPS / one:.0f}",
            f"{plain / one:.2f}",
        )
        for (bf16, layout), one in seconds.items()
    ]
    print_table(("precision", "memory layout", "pictures a second", "ratio"), rows)


def muon(threads: int = 2) -> None:
    """One step of lab7's Muon and of PyTorch's own on the matrices of preset laptop."""
    torch.set_num_threads(threads)
    plan, optimizers = get_preset("laptop").train, dict[str, torch.optim.Optimizer]()
    for name in ("lab7.Muon", "torch.optim.Muon"):
        kernels = build_model(get_preset("laptop")).matrices()  # type: ignore[operator]
        matrices = [torch.nn.Parameter(kernel.detach().flatten(1)) for kernel in kernels]  # PyTorch's takes no others
        for weight in matrices:
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        if name == "lab7.Muon":
            optimizers[name] = Muon(matrices, [], plan)
        else:
            optimizers[name] = torch.optim.Muon(matrices, plan.muon_learning_rate, plan.weight_decay)
    seconds = in_turns({name: optimizer.step for name, optimizer in optimizers.items()}, turns=5)
    print(machine_line())
    rows = [(name, f"{1000 * one:.0f}", f"{one / seconds['lab7.Muon']:.1f}") for name, one in seconds.items()]
    print_table(("Muon", "ms a step", "ratio"), rows)


def draw(threads: int = 2) -> None:
    """The shipped network, a picture of each condition of both lists, by the number of steps and the precision."""
    torch.set_num_threads(threads)
    pipeline, conditions = load_pipeline(shipped_dir() / "runs" / "laptop"), load_list("test") + load_list("new_test")
    ways = itertools.product((4, 8), sorted({"fp32", pipeline.sampling().draw_precision}))

    def drawn(num_steps: int, precision: str) -> Callable[[], object]:
        return lambda: pipeline(conditions, num_steps=num_steps, draw_precision=precision)

    seconds = in_turns({way: drawn(*way) for way in ways})
    print(f"{machine_line()}; {pipeline.preset.sampling.sampler}, {len(conditions)} pictures")
    least = min(seconds.values())
    rows = [(*way, f"{one:.1f}", f"{one / least:.1f}") for way, one in seconds.items()]
    print_table(("steps", "precision", "seconds", "ratio"), rows)


if __name__ == "__main__":
    run(render, train, muon, draw)

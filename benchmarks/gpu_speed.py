"""Training speed on a GPU and its share of the measured bf16 peak: the report's U-Net at F = 256, and preset `best`.

    python benchmarks/gpu_speed.py [--device cuda] [--batch 128]
    lab7 train --preset best --resume            # then the training itself; it goes on where it was stopped

Eager and compiled take turns in one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lab7 import diffusion
from lab7.config import get_preset, override
from lab7.pipeline import build_model
from lab7.schedule import NoiseSchedule
from lab7.training.optimizers import make_optimizer
from lab7.utils.provenance import device_name

sys.path.insert(0, str(Path(__file__).parent))
from students import flops_forward


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices that measure the peak")
    parser.add_argument("--set", nargs="*", default=[], dest="settings", help="changed in both presets")
    options = parser.parse_args()
    device = torch.device(options.device)
    presets = {
        "the report's U-Net, F = 256": override(get_preset("course"), ["clip_norm=1", *options.settings]),
        "best": override(get_preset("best"), options.settings),
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    steps: dict[tuple[str, str], Callable[[], object]] = {}
    cost: dict[str, int] = {}
    for name, preset in presets.items():
        net = build_model(preset)
        cost[name] = 3 * flops_forward(net)  # a training picture costs three times its way forward
        net = net.to(device).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(preset.train, net)
        for how, model in (("eager", net), ("compiled", torch.compile(net))):
            steps[name, how] = stepper(model, optimizer, preset.diffusion.target, options.batch, device)
            seconds[name, how] = []
    matrix = torch.randn(options.side, options.side, device=device, dtype=torch.bfloat16)
    peak_seconds: list[float] = []
    for _ in range(options.turns + 1):  # the first turn warms up and compiles
        for key, step in steps.items():
            seconds[key].append(timed(step, options.steps, device))
        peak_seconds.append(timed(lambda: matrix @ matrix, options.steps, device))
    peak = 2 * options.side**3 / statistics.median(peak_seconds[1:])
    print(f"{device_name(device)}, torch {torch.__version__}, batch {options.batch}; peak of a bf16 product", end=" ")
    print(f"{peak / 1e12:.1f} TFLOP/s\n")
    print("| network | how | GFLOP a picture | pictures a second | ratio | share of peak |\n|---|---|---|---|---|---|")
    for (name, how), times in seconds.items():
        rate = options.batch / statistics.median(times[1:])
        ratio = statistics.median(seconds[name, "eager"][1:]) / statistics.median(times[1:])
        share = cost[name] * rate / peak
        print(f"| {name} | {how} | {cost[name] / 1e9:.1f} | {rate:.0f} | {ratio:.2f} | {share:.0%} |")


def stepper(
    model: Callable[..., Tensor], optimizer: torch.optim.Optimizer, target: str, batch: int, device: torch.device
) -> Callable[[], object]:
    """One training step on pictures that lie on the device."""
    generator = torch.Generator(device).manual_seed(0)
    schedule = NoiseSchedule("cosine").to(device)
    x_0 = torch.randn(batch, 3, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    condition = (torch.rand(batch, 24, device=device) > 0.9).float()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            value = diffusion.loss(model, schedule, x_0, condition, generator, target)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return step


def timed(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds that it takes once, the mean of so many."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


if __name__ == "__main__":
    main()

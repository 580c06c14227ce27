"""One step of Muon on the laptop preset's matrices: lab7's, and PyTorch's own, in turns, in one run.

python benchmarks/muon_speed.py --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from lab7.config import get_preset
from lab7.pipeline import build_model
from lab7.training.optimizers import Muon
from lab7.utils.provenance import device_name, has_bf16

TURNS = 5


def main() -> None:
    """Print a Markdown table with seconds a step and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan, optimizers = get_preset("laptop").train, {}
    for name, kind in (("lab7's", Muon), ("torch.optim.Muon", torch.optim.Muon)):
        matrices = build_model(get_preset("laptop")).matrices()  # type: ignore[operator]
        for weight in matrices:
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        optimizers[name] = kind(matrices, lr=plan.muon_learning_rate, weight_decay=plan.weight_decay)
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for _ in range(TURNS + 1):  # the first turn warms up
        for name, optimizer in optimizers.items():
            started = time.perf_counter()
            optimizer.step()
            seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    print(f"{device_name('cpu')}, bf16 in hardware: {has_bf16('cpu')}\n")
    print("| Muon | ms a step | ratio |\n|---|---|---|")
    for name, one in median.items():
        print(f"| {name} | {1000 * one:.0f} | {one / min(median.values()):.1f} |")


if __name__ == "__main__":
    main()

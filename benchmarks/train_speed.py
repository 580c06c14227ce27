"""Training speed of the report's U-Net in float32 and bf16, contiguous and channels-last, in turns, in one run.

python benchmarks/train_speed.py --threads 2 --n-feature 48 --image-size 32
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch

from lab7.diffusion import loss
from lab7.schedule import NoiseSchedule
from lab7.unet import UNet
from lab7.utils.provenance import device_name, has_bf16

BATCH, STEPS, TURNS = 32, 5, 4


def main() -> None:
    """Print a Markdown table with pictures a second and their ratio to the plain float32 loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--n-feature", type=int, default=48)
    parser.add_argument("--image-size", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    schedule, generator = NoiseSchedule("linear"), torch.Generator().manual_seed(0)
    size = options.image_size
    x_0 = torch.randn(BATCH, 3, size, size, generator=generator)
    condition = (torch.rand(BATCH, 24, generator=generator) > 0.9).float()

    kinds = list(itertools.product(("fp32", "bf16"), (torch.contiguous_format, torch.channels_last)))
    runs = {}
    for precision, layout in kinds:
        model = UNet(options.n_feature, size).to(memory_format=layout)
        runs[precision, layout] = (model, torch.optim.Adam(model.parameters(), 1e-3))
    seconds: dict[tuple, list[float]] = {kind: [] for kind in kinds}
    for _ in range(TURNS + 1):  # the first turn warms up
        for kind in kinds:
            precision, layout = kind
            model, optimizer = runs[kind]
            started = time.perf_counter()
            for _ in range(STEPS):
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    value = loss(model, schedule, x_0.contiguous(memory_format=layout), condition, generator)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            seconds[kind].append((time.perf_counter() - started) / STEPS)
    speed = {kind: BATCH / statistics.median(times[1:]) for kind, times in seconds.items()}
    print(f"F = {options.n_feature}, {size}x{size}, batch {BATCH}, {torch.get_num_threads()} threads")
    print(f"{device_name('cpu')}, bf16 in hardware: {has_bf16('cpu')}\n")
    print("| precision | memory layout | pictures a second | ratio |\n|---|---|---|---|")
    for (precision, layout), rate in speed.items():
        name = "channels last" if layout is torch.channels_last else "contiguous"
        print(f"| {precision} | {name} | {rate:.0f} | {rate / speed[kinds[0]]:.2f} |")


if __name__ == "__main__":
    main()

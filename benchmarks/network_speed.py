"""The efficient U-Net on this machine: training speed beside diffusers' UNet2DModel of the same cost, share of the
machine's peak, what torch.compile makes of it, the time to draw 64 pictures by each sampler, and that of the shipped
network with its tries. All in turns, in one run. torch.compile wants a C++ compiler on the PATH.

    python benchmarks/network_speed.py [--threads 2] [--parts training compile samplers num_candidates]
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

from lab7 import samplers
from lab7.config import Preset, get_preset, override
from lab7.dataset.conditions import load_list
from lab7.diffusion import loss
from lab7.pipeline import build_model, load_pipeline
from lab7.schedule import NoiseSchedule
from lab7.training.optimizers import make_optimizer
from lab7.utils.files import shipped_dir
from lab7.utils.memory import keep_memory
from lab7.utils.provenance import choose_precision, device_name

sys.path.insert(0, str(Path(__file__).parent))
from students import StudentsUNet, flops_forward

BATCH, STEPS, TURNS = 48, 3, 4
PARTS = ("training", "compile", "samplers", "num_candidates")
WIDTHS = ((32, 64, 64, 128), (64, 64, 128, 128), (64, 128, 128, 256), (96, 128, 192, 256), (128, 256, 256, 512))


def main() -> None:
    """Print a Markdown table for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    preset = get_preset("laptop")
    ours = build_model(preset)
    cost = flops_forward(ours)
    theirs = min((StudentsUNet(widths) for widths in WIDTHS), key=lambda net: abs(flops_forward(net) - cost))
    print(f"{device_name('cpu')}; bf16 in hardware: {choose_precision('cpu') == 'bf16'}; batch {BATCH}\n")
    if "training" in options.parts:
        training_speed(preset, ours, theirs)
    if "compile" in options.parts:
        compile_time(preset)
    if "samplers" in options.parts:
        drawing_time(ours)
    if "num_candidates" in options.parts:
        tries_time()


def training_speed(preset: Preset, ours: nn.Module, theirs: nn.Module) -> None:
    """Pictures a second, and what share of the fastest matrix product of this machine that is."""
    adamw = override(preset, ["optimizer=adamw", "learning_rate=1e-4"]).train
    arms = {
        "efficient U-Net, bf16, Muon": (ours, make_optimizer(preset.train, ours), True),
        "efficient U-Net, bf16, AdamW": (ours, make_optimizer(adamw, ours), True),
        "efficient U-Net, float32, AdamW": (ours, make_optimizer(adamw, ours), False),
        "UNet2DModel, bf16, AdamW": (theirs, make_optimizer(adamw, theirs), True),
        "UNet2DModel, float32, AdamW": (theirs, make_optimizer(adamw, theirs), False),
    }
    a = torch.randn(4096, 2048)
    step = training_step()
    products: dict[str, Tensor] = {"float32": a, "bf16": a.bfloat16()}
    seconds: dict[str, list[float]] = {name: [] for name in [*arms, *products]}
    for _ in range(TURNS + 1):  # the first turn warms up
        for name, arm in arms.items():
            seconds[name].append(timed(lambda arm=arm: repeat(lambda: step(*arm), STEPS)) / STEPS)  # type: ignore[misc]
        for name, matrix in products.items():
            seconds[name].append(timed(lambda m=matrix: m @ m.mT))  # type: ignore[misc]
    middle = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    peak = {name: 2 * 4096 * 4096 * 2048 / middle[name] for name in products}
    print(
        f"Peak of a matrix product: {peak['float32'] / 1e9:.0f} GFLOP/s in float32, {peak['bf16'] / 1e9:.0f} in bf16\n"
    )
    print("| network, precision, optimiser | weights | GFLOP a picture | pictures a second | ratio | share of peak |")
    print("|---|---|---|---|---|---|")
    base = BATCH / middle["UNet2DModel, float32, AdamW"]
    for name, (model, _, bf16) in arms.items():
        cost, rate = 3 * flops_forward(model), BATCH / middle[name]
        weights = sum(p.numel() for p in model.parameters()) / 1e6
        share = cost * rate / peak["bf16" if bf16 else "float32"]
        print(f"| {name} | {weights:.1f}M | {cost / 1e9:.1f} | {rate:.0f} | {rate / base:.1f} | {share:.0%} |")
    print("\n(A training picture costs three times its way forward.)\n")


def training_step() -> Callable[[nn.Module, torch.optim.Optimizer, bool], None]:
    """One step of training a network with an optimiser on pictures of noise, in bf16 or not."""
    schedule, generator = NoiseSchedule("cosine"), torch.Generator().manual_seed(0)
    x_0 = torch.randn(BATCH, 3, 64, 64, generator=generator).contiguous(memory_format=torch.channels_last)
    condition = (torch.rand(BATCH, 24, generator=generator) > 0.9).float()

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss(model, schedule, x_0, condition, generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def compile_time(preset: Preset) -> None:
    """Pictures a second in training, eager and compiled, and after how many of them compiling has paid."""
    bf16, step = choose_precision("cpu") == "bf16", training_step()
    net = build_model(preset)
    optimizer = make_optimizer(preset.train, net)
    models = {"eager": net, "compiled": torch.compile(net)}
    works = {name: lambda model=model: step(model, optimizer, bf16) for name, model in models.items()}
    first = {name: timed(work) for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(TURNS):
        for name, work in works.items():
            seconds[name].append(timed(lambda work=work: repeat(work, STEPS)) / STEPS)  # type: ignore[misc]
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    print("| training | first step, s | pictures a second | ratio |\n|---|---|---|---|")
    for name, taken in middle.items():
        print(f"| {name} | {first[name]:.1f} | {BATCH / taken:.0f} | {middle['eager'] / taken:.2f} |")
    saved = middle["eager"] - middle["compiled"]
    paid = f"after {BATCH * first['compiled'] / saved:,.0f} pictures" if saved > 0 else "never"
    print(f"\n(Compiling has paid {paid}.)\n")


def drawing_time(model: nn.Module) -> None:
    """Seconds for 64 pictures with guidance, by sampler and steps."""
    model.eval().requires_grad_(False)
    schedule, generator = NoiseSchedule("cosine"), torch.Generator().manual_seed(0)
    x_T = torch.randn(64, 3, 64, 64, generator=generator)
    condition = (torch.rand(64, 24, generator=generator) > 0.9).float()
    plans = (("ddim", 50), ("ddim", 25), ("dpm_solver_pp", 16), ("dpm_solver_pp", 8))
    seconds: dict[tuple[str, int, bool], list[float]] = {(*plan, bf16): [] for plan in plans for bf16 in (False, True)}
    for _ in range(3):
        for plan, times in seconds.items():
            name, steps, bf16 = plan
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                times.append(
                    timed(
                        lambda name=name, steps=steps: samplers.SAMPLERS[name](  # type: ignore[misc]
                            model, schedule, x_T, condition, steps, 2.0, generator, target="v"
                        )
                    )
                )
    print("| sampler | steps | float32: s for 64 pictures | bf16: s for 64 pictures | ratio |\n|---|---|---|---|---|")
    for name, steps in plans:
        slow, fast = (statistics.median(seconds[name, steps, bf16][1:]) for bf16 in (False, True))
        print(f"| {name} | {steps} | {slow:.1f} | {fast:.1f} | {slow / fast:.1f} |")


def tries_time() -> None:
    """Seconds for a picture of each of the 64 conditions, as the shipped network draws, by the tries it may take."""
    pipeline = load_pipeline(shipped_dir() / "runs" / "laptop")
    plan, asked = pipeline.preset.sampling, load_list("test") + load_list("new_test")
    seconds: dict[int, list[float]] = {num_candidates: [] for tries in sorted({1, 2, 4, plan.num_candidates})}
    for _ in range(TURNS):  # the first turn warms up
        for num_candidates, times in seconds.items():
            times.append(
                timed(lambda num_candidates=num_candidates: pipeline.draw(asked, num_candidates=num_candidates))
            )  # type: ignore[misc]
    middle = {num_candidates: statistics.median(times[1:]) for num_candidates, times in seconds.items()}
    print(f"\n{plan.sampler}, {plan.num_steps} steps, {len(asked)} pictures\n")
    print("| tries at most | s | ratio |\n|---|---|---|")
    for num_candidates, time_taken in middle.items():
        print(f"| {num_candidates} | {time_taken:.1f} | {time_taken / middle[1]:.1f} |")


def repeat(work: Callable[[], object], times: int) -> None:
    """Do it so many times."""
    for _ in range(times):
        work()


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

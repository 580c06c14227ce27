"""Accuracy against minutes of training, by lab7's recipe and by the one that students of the course usually take.

    python -m benchmarks.recipes laptop --minutes 60
    python -m benchmarks.recipes students --minutes 60 --threads 1

Both see the same pictures in the same order and are scored by the same judges; the learning rate falls to 0 over the
minutes given. At each of `marks` times the network draws every condition of the three lists; the clock stands still
meanwhile. The curve is written to recipes.json after every mark, in the place of an earlier one of that recipe.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm
from tyro.conf import Positional

from benchmarks.common import interval, machine_line, print_table, run
from lab7 import diffusion
from lab7.ablation.evaluate import LISTS, score
from lab7.config import get_preset, override
from lab7.dataset.conditions import load_list
from lab7.dataset.normalizer import draw, epoch_order, fit_normaliser
from lab7.dataset.positions import layouts_of, training_pictures
from lab7.judge.networks import default_judge, second_judge
from lab7.pipeline import Pipeline, build_model, make_schedule
from lab7.training.lr_schedules import ema_update
from lab7.training.optimizers import make_optimizer
from lab7.utils.files import shipped_dir, write_json
from lab7.utils.provenance import choose_precision, provenance

RECORD = shipped_dir() / "runs" / "recipes.json"
STUDENTS = (
    *("schedule=cosine", "target=eps", "loss_weighting=none", "timestep_sampling=uniform", "drop_probability=0"),
    *("optimizer=adamw", "learning_rate=1e-4", "weight_decay=0.01", "batch_size=32", "ema_decay=0", "precision=fp32"),
    *("normalise=plain", "guidance_scale=1", "t_end=0", "positions=false"),
)


class StudentsUNet(nn.Module):
    """diffusers' UNet2DModel, its label added to the time: (x_t (B, 3, S, S), t (B,) in 1..T, condition (B, 24)) ->
    noise (B, 3, S, S)."""

    def __init__(self, widths: Sequence[int] = (64, 128, 128, 256), image_size: int = 64) -> None:
        from diffusers import UNet2DModel

        super().__init__()
        plain = len(widths) - 2  # levels without attention, but for the last
        self.unet: Any = UNet2DModel(
            sample_size=image_size,
            block_out_channels=tuple(widths),
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * plain,
            layers_per_block=2,
            class_embed_type="identity",
        )
        self.label = nn.Linear(24, 4 * widths[0])

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.unet(x_t, t - 1, class_labels=self.label(condition)).sample


def main(
    recipe: Positional[Literal["laptop", "students"]],
    out: Path = RECORD,
    minutes: float = 60,
    marks: int = 6,
    samples: int = 2,
    seed: int = 0,
    threads: int = 2,
) -> None:
    """Train one recipe for so many minutes, and print its curve."""
    torch.set_num_threads(threads)
    settings = STUDENTS if recipe == "students" else ()
    preset = override(get_preset("laptop"), [*settings, f"train.seed={seed}"])
    torch.manual_seed(seed)
    net = StudentsUNet() if recipe == "students" else build_model(preset, seed)
    plan, goal = preset.train, preset.diffusion
    pictures = training_pictures(preset)
    normaliser, schedule = fit_normaliser(pictures.images, preset.data.normalise), make_schedule(preset)
    optimizer = make_optimizer(plan, net)
    average = AveragedModel(net, multi_avg_fn=ema_update(plan.ema_decay)) if plan.ema_decay else None
    drawn = net if average is None else average.module
    bf16, judge, second = choose_precision("cpu", plan.precision) == "bf16", default_judge(), second_judge()
    curve: dict[str, Any] = {"recipe": recipe, "minutes": minutes, "samples": samples, "seed": seed}
    curve |= {"settings": list(settings), "weights": sum(p.numel() for p in net.parameters()), "threads": threads}
    curve |= {"provenance": provenance(), "marks": []}
    budget, spent, step, batches = 60 * minutes, 0.0, 0, len(pictures) // plan.batch_size
    generator = torch.Generator()
    bar = tqdm(total=budget, unit="s", bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s", mininterval=5)
    while len(curve["marks"]) < marks:
        started = time.monotonic()
        epoch, place = divmod(step, batches)
        index = epoch_order(len(pictures), epoch, seed)[place * plan.batch_size :][: plan.batch_size]
        x_0, condition = draw(pictures, index, normaliser, "cpu")
        generator.manual_seed(seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = diffusion.loss(
                *(net, schedule, x_0.contiguous(memory_format=torch.channels_last), condition, generator, goal.target),
                *(goal.drop_probability, goal.timestep_sampling, goal.loss_weighting),
            )
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
            group["lr"] = plan.learning_rate * group["share"] * warm * max(0.0, 1 - spent / budget)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), plan.clip_norm)
        optimizer.step()
        if average is not None:
            average.update_parameters(net)
        step, seconds = step + 1, time.monotonic() - started
        spent += seconds
        bar.update(seconds)
        if spent >= budget * (len(curve["marks"]) + 1) / marks:
            pipeline, accuracy = Pipeline(drawn, schedule, normaliser, preset, layouts=layouts_of(pictures)), {}
            for name in LISTS:
                found = score(pipeline, judge, load_list(name), samples=samples, second=second)
                accuracy[name] = {key: found[key] for key in ("top_k", "exact")}
                accuracy[name]["second"] = found["second_judge"]["top_k"]
            mark = {"minutes": round(spent / 60, 2), "images": step * plan.batch_size, "loss": float(value)}
            curve["marks"].append(mark | {"accuracy": accuracy})
            curves = json.loads(out.read_text())["curves"] if out.exists() else {}
            write_json(out, {"curves": curves | {recipe: curve}})
            net.train()
    bar.close()
    print(machine_line())
    rows = [
        (f"{mark['minutes']:.0f}", mark["images"], *(interval(mark["accuracy"][name]["top_k"]) for name in LISTS))
        for mark in curve["marks"]
    ]
    print_table(("minutes", "pictures", *LISTS), rows)


if __name__ == "__main__":
    run(main)

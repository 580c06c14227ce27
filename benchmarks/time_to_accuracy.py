"""Accuracy against minutes of training: lab7's recipe and the one that students of the course usually take.

    python benchmarks/time_to_accuracy.py ours --minutes 60 [--threads 2] [--seed 0] [--set FIELD=VALUE ...]
    python benchmarks/time_to_accuracy.py students --minutes 60
    python benchmarks/time_to_accuracy.py checkpoints --name laptop --folder COPIES
    python benchmarks/time_to_accuracy.py table
    python benchmarks/time_to_accuracy.py record

Both see the same pictures, in the same order, and are read by the same judge; the learning rate falls to 0 over the
minutes given. Each of --marks times on the way the averaged weights (ours) or the weights (students) draw every
condition of the three lists; the clock stands still meanwhile. "checkpoints" scores copies of a run's checkpoint.pt,
made while `lab7 train --preset laptop` was at work, instead of training again. A curve is written to
runs/time_to_accuracy/NAME.json after every mark; "record" gathers them in data/runs/recipes.json, which notebook 4
draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from lab7 import diffusion
from lab7.ablation import evaluate as experiments
from lab7.config import Preset, get_preset, override
from lab7.dataset.conditions import load_list
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import draw, epoch_order, fit_normaliser
from lab7.judge.networks import default_judge, second_judge
from lab7.pipeline import Pipeline, build_model, make_schedule
from lab7.schedule import NoiseSchedule
from lab7.training.lr_schedules import ema_update
from lab7.training.optimizers import make_optimizer
from lab7.utils.files import data_dir, runs_dir, shipped_dir, write_json
from lab7.utils.memory import keep_memory
from lab7.utils.provenance import choose_precision, provenance

sys.path.insert(0, str(Path(__file__).parent))
from students import StudentsUNet

STUDENTS = (
    *(
        "schedule=cosine",
        "target=eps",
        "loss_weighting=none",
        "normalise=plain",
        "timestep_sampling=uniform",
        "drop_probability=0",
    ),
    *("optimizer=adamw", "learning_rate=1e-4", "weight_decay=0.01", "batch_size=32", "ema_decay=0", "precision=fp32"),
    *("guidance_scale=1", "t_end=0"),
)


def main() -> None:
    """Train one recipe, or gather what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ours", "students", "checkpoints", "table", "record"))
    parser.add_argument("--name", default="", help="of the curve (default: the recipe's)")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--marks", type=int, default=6)
    parser.add_argument("--samples", type=int, default=4, help="of each condition at a mark")
    parser.add_argument("--threads", type=int, default=2, help="of the training")
    parser.add_argument("--score-threads", type=int, help="with 'checkpoints': of the judging (default: as many)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="with copies of checkpoint.pt, as *.pt")
    parser.add_argument("--append", action="store_true", help="with 'checkpoints': to the marks that the curve has")
    parser.add_argument("--widths", default="64,128,128,256", help="of the students' UNet2DModel")
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    options = parser.parse_args()
    folder = runs_dir() / "time_to_accuracy"
    if options.what in ("record", "table"):
        table(folder) if options.what == "table" else record(folder, shipped_dir() / "runs" / "recipes.json")
        return
    torch.set_num_threads(options.threads)
    keep_memory()
    settings = STUDENTS if options.what == "students" else ()
    preset = override(get_preset("laptop"), [*settings, f"train.seed={options.seed}", "samples=4", *options.settings])
    if options.what == "students":
        torch.manual_seed(options.seed)
        net: nn.Module = StudentsUNet([int(width) for width in options.widths.split(",")])
    else:
        net = build_model(preset, options.seed)
    curve = {"recipe": options.what, "minutes": options.minutes, "samples": options.samples, "seed": options.seed}
    curve |= {"settings": [*settings, *options.settings], "weights": sum(p.numel() for p in net.parameters())}
    curve |= {"threads": options.threads, "provenance": provenance(), "marks": []}
    path = folder / f"{options.name or options.what}.json"
    if options.what == "checkpoints":
        torch.set_num_threads(options.score_threads or options.threads)
        follow_checkpoints(net, preset, curve, path, options)
    else:
        follow(net, preset, curve, path, options)


def follow_checkpoints(
    net: nn.Module, preset: Preset, curve: dict[str, Any], path: Path, options: argparse.Namespace
) -> None:
    """Score the averaged weights in every copy of a checkpoint, in the order of their steps.

    Minutes and pictures count from the random weights, whichever run these began with. With --append the marks follow
    those that the curve has.
    """
    if options.append:
        curve = json.loads(path.read_text())
        curve["gone_on"] = {"settings": options.settings, "seed": options.seed, "threads": options.threads}
    states = [torch.load(file, map_location="cpu", weights_only=True) for file in sorted(options.folder.glob("*.pt"))]
    normaliser = fit_normaliser(load_pictures(data_dir(), preset.data.image_size).images, preset.data.normalise)
    schedule = make_schedule(preset)
    judges = default_judge(), second_judge()
    for state in sorted(states, key=lambda one: one["step"]):
        average = {name: value for name, value in state["average"].items() if name.startswith("module.")}
        net.load_state_dict({name.removeprefix("module."): value for name, value in average.items()})
        found = score(Pipeline(net.eval(), schedule, normaliser, preset), *judges, options.samples)
        seen = state["before"]["images_seen"] + state["step"] * preset.train.batch_size
        minutes = (state["before"]["seconds"] + state["seconds"]) / 60
        curve["marks"].append({"minutes": round(minutes, 2), "images": seen} | found)
        write_json(path, curve)
        print(f"{minutes:.1f} min, {seen} pictures: {found}", flush=True)


def follow(net: nn.Module, preset: Preset, curve: dict[str, Any], path: Path, options: argparse.Namespace) -> None:
    """Train for so many minutes, scoring at evenly spaced marks; the curve is written after each."""
    plan, judge, second = preset.train, default_judge(), second_judge()
    pictures = load_pictures(data_dir(), preset.data.image_size)
    normaliser = fit_normaliser(pictures.images, preset.data.normalise)
    schedule = make_schedule(preset)
    optimizer = make_optimizer(plan, net)
    average = AveragedModel(net, multi_avg_fn=ema_update(plan.ema_decay)) if plan.ema_decay else None
    bf16 = choose_precision("cpu", plan.precision) == "bf16"
    generator = torch.Generator()
    budget, spent, step, seen, mark = 60 * options.minutes, 0.0, 0, 0, 1
    batches = len(pictures) // plan.batch_size
    with tqdm(total=budget, unit="s", bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s {postfix}", mininterval=5) as bar:
        while mark <= options.marks:
            started = time.monotonic()
            epoch, place = divmod(step, batches)
            index = epoch_order(len(pictures), epoch, plan.seed)[place * plan.batch_size :][: plan.batch_size]
            x_0, condition = draw(pictures, index, normaliser, "cpu")
            generator.manual_seed(plan.seed * 1_000_003 + step)
            value = loss_of(net, schedule, x_0, condition, generator, preset, bf16)
            for group in optimizer.param_groups:
                warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
                group["lr"] = plan.learning_rate * group["share"] * warm * max(0.0, 1 - spent / budget)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(net.parameters(), plan.clip_norm)
            optimizer.step()
            if average is not None:
                average.update_parameters(net)
            step, seen = step + 1, seen + len(index)
            lasted = time.monotonic() - started
            spent += lasted
            bar.update(lasted)
            if spent >= budget * mark / options.marks:
                drawn = (net if average is None else average.module).eval()
                found = score(Pipeline(drawn, schedule, normaliser, preset), judge, second, options.samples)
                curve["marks"].append({"minutes": round(spent / 60, 2), "images": seen, "loss": float(value)} | found)
                write_json(path, curve)
                print(f"{spent / 60:.1f} min, {seen} pictures: {found}", flush=True)
                net.train()
                mark += 1


def loss_of(
    net: nn.Module,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    generator: torch.Generator,
    preset: Preset,
    bf16: bool,
) -> Tensor:
    """One batch's loss as the preset's `diffusion` says."""
    plan = preset.diffusion
    layout = torch.channels_last if preset.train.precision != "fp32" else torch.contiguous_format
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return diffusion.loss(
            net,
            schedule,
            x_0.contiguous(memory_format=layout),
            condition,
            generator,
            plan.target,
            plan.drop_probability,
            plan.timestep_sampling,
            plan.weight,
        )


def score(pipeline: Pipeline, judge: Any, second: Any, samples: int) -> dict[str, Any]:
    """Hits, objects, exact matches and pictures of each list, by both judges."""
    found = {}
    for name in experiments.LISTS:
        if conditions := load_list(name):
            told = experiments.score(pipeline, judge, conditions, samples=samples, second=second, num_candidates=1)
            found[name] = {key: told[key] for key in ("top_k", "exact")} | {"second": told["second_judge"]["top_k"]}
    return {"accuracy": found}


def table(folder: Path) -> None:
    """The last mark of each curve in `folder`, as Markdown: objects found with 95% intervals, and pictures right."""
    print("| curve | settings beside the preset's | minutes | pictures seen | test | new_test | unseen | all right |")
    print("|---" * 8 + "|")
    for path in sorted(folder.glob("*.json")):
        curve = json.loads(path.read_text())
        mark = curve["marks"][-1]
        cells = [path.stem, " ".join(curve["settings"]), f"{mark['minutes']:.0f}", f"{mark['images']:,}"]
        for name in experiments.LISTS:
            found = mark["accuracy"][name]["top_k"]
            cells.append(f"{found['accuracy']:.3f} [{found['low']:.3f}, {found['high']:.3f}]")
        right = [found["exact"] for found in mark["accuracy"].values()]
        cells.append(f"{sum(one['hits'] for one in right) / sum(one['total'] for one in right):.3f}")
        print(f"| {' | '.join(cells)} |")


def record(folder: Path, path: Path) -> None:
    """Put all curves of `folder` into one file, as the notebooks and the report read them."""
    curves = {curve.stem: json.loads(curve.read_text()) for curve in sorted(folder.glob("*.json"))}
    write_json(path, {"curves": curves})
    print(f"{path}: {len(curves)} curves")


if __name__ == "__main__":
    main()

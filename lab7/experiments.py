"""The arms of the ablation, how a run is scored, and the results of many runs side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lab7.comparison import compare, counts_of
from lab7.conditions import conditions_tensor, load_list
from lab7.config import Preset, get_preset, override
from lab7.drawing import Drawer, load_drawer
from lab7.files import UserError, read_json, runs_dir, shipped_dir, short, write_json
from lab7.frechet import against_renders
from lab7.judge import Judge
from lab7.metrics import exact_match, per_count, top_k, top_k_hits
from lab7.mistakes import readings, tally
from lab7.pictures import read_png, to_float, to_uint8
from lab7.provenance import choose_precision
from lab7.vocabulary import CLASSES

LISTS = ("test", "new_test", "unseen")
REPORTED_LISTS = ("test", "new_test")  # those of the course
APART = 0.05  # a disagreement of the two judges that is flagged


@dataclass(frozen=True)
class Arm:
    """One line of the ablation: its name, its settings beside the preset's, and what the report says of it."""

    name: str
    title: str
    settings: tuple[str, ...]
    reported: dict[str, float]  # accuracy by list, as the report prints it
    base: str = "small"  # the preset that it is trained with on two CPU cores


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(
            "report_up",
            "condition in up-sampling only",
            ("condition_at=up",),
            {"test": 0.6308, "new_test": 0.6777},
        ),
        Arm("report_up_down", "condition in up- and down-sampling", (), {"test": 0.6528, "new_test": 0.7262}),
        Arm(
            "laptop",
            "our own U-Net",
            (
                *("network=modern", "schedule=shifted", "target=v", "draw_t=stratified"),
                *("optimizer=muon", "weight_decay=0.01"),
            ),
            {},
            base="laptop",
        ),
    )
}


def get_arm(name: str) -> Arm:
    """The arm of that name; UserError with the known names otherwise."""
    if name not in ARMS:
        raise UserError(f"unknown arm '{name}'; known: {', '.join(ARMS)}")
    return ARMS[name]


def arm_preset(arm: Arm, preset: Preset) -> Preset:
    """The preset that an arm is trained with: `laptop` gives each arm the one of its base, others are taken as they
    are; the arm's settings and the preset's seed on top."""
    base = get_preset(arm.base) if preset.name == "laptop" else preset
    return override(base, [*arm.settings, f"train.seed={preset.train.seed}"])


def found_objects(judge: Judge, images: Tensor, conditions: Sequence[Sequence[str]]) -> list[list[bool]]:
    """For each picture (N, 3, H, W), which of its condition's objects are among the judge's k highest outputs."""
    found = []
    for outputs, names in zip(judge.probabilities(images), conditions, strict=True):
        best = {CLASSES[index] for index in outputs.topk(len(names)).indices.tolist()}
        found.append([name in best for name in names])
    return found


def as_stored(images: Tensor) -> Tensor:
    """Pictures as a PNG file holds them: clamped to [-1, 1] and rounded to 256 levels, float (N, 3, H, W)."""
    return to_float(to_uint8(images))


def score(
    drawer: Drawer,
    judge: Judge,
    conditions: Sequence[Sequence[str]],
    *,
    samples: int,
    second: Judge | None = None,
    progress: bool = False,
    kept: list[Tensor] | None = None,
    **drawing: Any,
) -> dict[str, Any]:
    """Draw every condition `samples` times and have the judge count; `drawing` goes to Drawer.draw.

    "top_k" and "exact" pool all samples, "single" is the report's way: the first sample of each condition alone.
    Each is hits, total, accuracy and its 95% Wilson interval. "by_picture" holds the objects found in every picture,
    "mistakes" what went wrong; "second_judge" what the second judge says of the same pictures, "apart" whether the two
    differ by more than APART. The pictures themselves are added to `kept`.
    """
    images = as_stored(drawer.draw(conditions, samples=samples, progress=progress, **drawing))
    labels = conditions_tensor(conditions).repeat_interleave(samples, dim=0)  # (N * K, 24)
    outputs = judge.probabilities(images)
    if kept is not None:
        kept.append(images)
    repeated = [names for names in conditions for _ in range(samples)]
    found = {
        **_counts(outputs, labels, samples),
        "single": top_k(outputs[::samples], labels[::samples]).to_dict(),
        "per_count": per_count(outputs, labels).to_dict("records"),
        "mistakes": tally(readings(outputs, repeated)).to_dict("records"),
        "samples": samples,
    }
    if second is not None:
        other = _counts(second.probabilities(images), labels, samples)
        gap = abs(found["top_k"]["accuracy"] - other["top_k"]["accuracy"])
        found |= {"second_judge": other, "apart": gap > APART}
    return found


def _counts(outputs: Tensor, labels: Tensor, samples: int) -> dict[str, Any]:
    """The scores of pictures (N * K), K of a condition, and the objects found in each: (N, K)."""
    hits = top_k_hits(outputs, labels).view(-1, samples)
    return {
        "top_k": top_k(outputs, labels).to_dict(),
        "exact": exact_match(outputs, labels).to_dict(),
        "by_picture": {"hits": hits.tolist(), "asked": labels[::samples].sum(dim=1).int().tolist()},
    }


def score_run(
    folder: Path,
    judge: Judge,
    *,
    second: Judge | None = None,
    data: Path | None = None,
    lists: Sequence[str] = LISTS,
    device: str | torch.device = "cpu",
    progress: bool = False,
    **drawing: Any,
) -> dict[str, Any]:
    """Score a run's weights on the lists, and add what came out to its result.json under "accuracy".

    How it is drawn is the preset's `sampling` where `drawing` does not say otherwise. A list without conditions is left
    out, such as "unseen" where training shows every triple. "frechet" compares all pictures with unseen renders.
    """
    drawer = load_drawer(folder, device)
    plan = drawer.preset.sampling
    choices = {
        "sampler": plan.sampler,
        "num_steps": min(plan.num_steps, drawer.schedule.num_steps),
        "spacing": plan.spacing,
        "guidance_scale": plan.guidance_scale,
        "guidance_interval": (plan.guidance_from, plan.guidance_to),
        "precision": choose_precision(device, plan.precision),
        "samples": plan.samples,
        "seed": plan.noise_seed,
    } | drawing
    result = read_json(folder / "result.json", "a run's result")
    result["sampling"] = choices
    result["judge"] = {"name": judge.name, "sha256": judge.sha256, "is_course": judge.is_course}
    if second is not None:
        result["second_judge"] = {"name": second.name, "sha256": second.sha256}
    pictures: list[Tensor] = []
    conditions = {name: asked for name in lists if (asked := load_list(name, data))}
    result["accuracy"] = {
        name: score(drawer, judge, asked, second=second, progress=progress, kept=pictures, **choices)
        for name, asked in conditions.items()
    }
    counts = [len(names) for asked in conditions.values() for names in asked for _ in range(choices["samples"])]
    result["frechet"] = against_renders(judge, torch.cat(pictures), counts)
    write_json(folder / "result.json", result)
    return result


def count_pictures(judge: Judge, folder: Path, conditions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Score pictures NNN.png or NNN_K.png, of any size, where NNN is the condition's place in the list.

    Raises UserError for a folder without such pictures, a condition without one, or a number beyond the list.
    """
    found = _numbered_pictures(folder)
    numbers = sorted({number for number, _ in found})
    if numbers[-1] >= len(conditions):
        raise UserError(
            f"{short(folder)}: has a picture {numbers[-1]:03d}, but only {len(conditions)} conditions are given"
        )
    if missing := [number for number in range(len(conditions)) if number not in numbers]:
        raise UserError(
            f"{short(folder)}: {len(missing)} of {len(conditions)} conditions have no picture, {missing[0]:03d}.png "
            "first; draw them all, or give the conditions that were drawn"
        )
    images = torch.stack([read_png(path, 64) for _, path in found])
    labels = conditions_tensor([conditions[number] for number, _ in found])
    outputs = judge.probabilities(images)
    return {
        "pictures": len(found),
        "conditions": len(conditions),
        "top_k": top_k(outputs, labels).to_dict(),
        "exact": exact_match(outputs, labels).to_dict(),
        "per_count": per_count(outputs, labels).to_dict("records"),
        "judge": {"name": judge.name, "sha256": judge.sha256, "is_course": judge.is_course},
    }


def _numbered_pictures(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        raise UserError(f"{short(folder)}: no such folder; 'lab7 sample --out DIR' makes one")
    names = {path: re.fullmatch(r"(\d+)(?:_\d+)?\.png", path.name) for path in sorted(folder.iterdir())}
    found = [(int(match[1]), path) for path, match in names.items() if match]
    if not found:
        raise UserError(f"{short(folder)}: holds no pictures named 000.png or 000_0.png")
    return found


def plateau_scores(judge: Judge, data: Path | None = None) -> Callable[[Drawer], dict[str, float]]:
    """What the report's learning-rate plan listens to: one sample of each condition of both lists."""

    def evaluate(drawer: Drawer) -> dict[str, float]:
        return {
            name: score(drawer, judge, load_list(name, data), samples=1)["top_k"]["accuracy"] for name in REPORTED_LISTS
        }

    return evaluate


def find_run(name: str) -> Path | None:
    """A finished run of that name: one's own in runs/, else the recorded one in data/runs/."""
    for place in (runs_dir(), shipped_dir() / "runs"):
        if (place / name / "result.json").exists():
            return place / name
    return None


def read_arm(runs: Sequence[str]) -> list[dict[str, Any]]:
    """The result.json of each seed of an arm, by run name or folder. UserError for a run that is not there."""
    results = []
    for run in runs:
        folder = Path(run) if (Path(run) / "result.json").exists() else find_run(run)
        if folder is None:
            raise UserError(f"{run}: no such run in runs/ or data/runs/, and no folder with a result.json")
        results.append(read_json(folder / "result.json", "a run's result"))
    return results


def compare_arms(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two arms, each the results of its seeds, on every list that both were scored on, by both judges: a row each.

    Columns: list, judge, first, second, difference, low, high, told, verdict, seeds_needed. Raises UserError where
    the arms have no list in common or were read by other judges.
    """
    judges = {result["judge"]["sha256"] for result in (*first, *second)}
    if len(judges) > 1:
        raise UserError("the runs were scored by different judges; score them again with one")
    rows = []
    for name in sorted(set.intersection(*(set(result["accuracy"]) for result in (*first, *second)))):
        for judge in ("judge", "second_judge"):
            if judge == "second_judge" and not all("second_judge" in r["accuracy"][name] for r in (*first, *second)):
                continue
            one, two = counts_of(first, name, judge), counts_of(second, name, judge)
            found = compare(one, two)
            rows.append(
                {
                    "list": name,
                    "judge": judge.replace("_", " "),
                    "first": float(one.accuracies.mean()),
                    "second": float(two.accuracies.mean()),
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "told": str(found),
                    "verdict": found.verdict,
                    "seeds_needed": found.needed,
                }
            )
    if not rows:
        raise UserError("the runs were scored on no list in common; score them again")
    return rows


def read_runs(places: Sequence[Path] | None = None) -> pd.DataFrame:
    """The scored runs in the places (runs/ and data/runs/ by default), one row a run and list.

    Columns: run, list, hits, total, accuracy, low, high, exact, single_hits, single_total, samples, preset, seed,
    images_seen, seconds, device, commit, judge, folder.
    """
    rows = []
    for place in places if places is not None else (runs_dir(), shipped_dir() / "runs"):
        for path in sorted(place.glob("*/result.json")):
            result = read_json(path, "a run's result")
            for name, found in result.get("accuracy", {}).items():
                rows.append(
                    {"run": result["name"], "list": name}
                    | found["top_k"]
                    | {"exact": found["exact"]["accuracy"], "samples": found["samples"]}
                    | {f"single_{key}": found["single"][key] for key in ("hits", "total")}
                    | {key: result[key] for key in ("preset", "seed", "images_seen", "seconds", "device", "commit")}
                    | {"judge": result["judge"]["name"], "folder": path.parent}
                )
    return pd.DataFrame(rows)

"""How a run is scored: pictures of every condition, read by both judges; and pictures in a folder likewise."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab7.config import Preset, override
from lab7.dataset.conditions import conditions_tensor, load_list
from lab7.dataset.images import read_png, to_float, to_uint8
from lab7.judge.blobs import has_duplicate
from lab7.judge.error_types import readings, tally
from lab7.judge.frechet import against_renders
from lab7.judge.metrics import Score, exact_hits, exact_match, per_count, top_k, top_k_hits
from lab7.judge.networks import Judge
from lab7.pipeline import Pipeline, load_pipeline, relabel_weights
from lab7.training.run_folder import first_difference
from lab7.utils.files import UserError, read_json, sha256, short, write_json
from lab7.utils.provenance import provenance
from lab7.vocabulary import CLASSES

LISTS = ("test", "new_test", "unseen")
REPORTED_LISTS = ("test", "new_test")  # those of the course
DISAGREEMENT = 0.05  # of the two judges, from which on it is flagged


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
    pipeline: Pipeline,
    judge: Judge,
    conditions: Sequence[Sequence[str]],
    *,
    samples: int,
    second: Judge | None = None,
    progress: bool = False,
    kept: list[Tensor] | None = None,
    **drawing: Any,
) -> dict[str, Any]:
    """Draw every condition `samples` times and have the judge count; `drawing` goes to the pipeline.

    "top_k" and "exact" pool all samples, "single" is the report's way: the first sample of each condition alone.
    Each is hits, total, accuracy and its 95% Wilson interval. "by_picture" holds the objects found in every picture,
    "error_types" what went wrong. "duplicated" counts pictures that hold something twice, which no judge sees (see
    judge/blobs.py), "exact_without_duplicates" exact matches that do not. "second_judge" is what the second judge says
    of the same pictures, "judges_disagree" whether the two differ by more than 5 points. `kept` gets the pictures.
    """
    images = as_stored(pipeline(conditions, samples=samples, progress=progress, **drawing))
    labels = conditions_tensor(conditions).repeat_interleave(samples, dim=0)  # (N * K, 24)
    outputs = judge.probabilities(images)
    if kept is not None:
        kept.append(images)
    repeated = [names for names in conditions for _ in range(samples)]
    duplicated = has_duplicate(images, labels)  # (N * K,)
    exact = exact_hits(outputs, labels) & ~duplicated
    scores = {
        **_counts(outputs, labels, samples),
        "single": top_k(outputs[::samples], labels[::samples]).to_dict(),
        "per_count": per_count(outputs, labels).to_dict("records"),
        "error_types": tally(readings(outputs, repeated)).to_dict("records"),
        "duplicated": Score(int(duplicated.sum()), len(duplicated)).to_dict(),
        "exact_without_duplicates": Score(int(exact.sum()), len(exact)).to_dict(),
        "samples": samples,
    }
    if second is not None:
        other = _counts(second.probabilities(images), labels, samples)
        gap = abs(scores["top_k"]["accuracy"] - other["top_k"]["accuracy"])
        scores |= {"second_judge": other, "judges_disagree": gap > DISAGREEMENT}
    return scores


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
    weights: Path | None = None,
    preset: Preset | None = None,
    lists: Sequence[str] = LISTS,
    device: str | torch.device = "cpu",
    progress: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Score a run's weights on the lists, and write the scores to its result.json under "accuracy".

    How it is drawn is the preset's `sampling` (by default that of the weights), with `changes`. The weights may lie in
    another run's folder. A list without conditions is left out, such as "unseen" where training shows every triple.
    "frechet" compares all pictures with unseen renders; "scored" says on what machine they were drawn, which need not
    be that of the training.
    """
    pipeline = load_pipeline(weights or folder, device)
    sampling = pipeline.sampling((preset or pipeline.preset).sampling, **changes)
    drawing: dict[str, Any] = {"sampling": sampling, "samples": sampling.samples, "seed": sampling.noise_seed}
    result = read_json(folder / "result.json", "a run's result")
    result["sampling"] = dataclasses.asdict(sampling)
    result["scored"] = provenance(device)
    result["judge"] = {"name": judge.name, "sha256": judge.sha256, "is_course": judge.is_course}
    if second is not None:
        result["second_judge"] = {"name": second.name, "sha256": second.sha256}
    pictures: list[Tensor] = []
    conditions = {name: asked for name in lists if (asked := load_list(name, data))}
    result["accuracy"] = {
        name: score(pipeline, judge, asked, second=second, progress=progress, kept=pictures, **drawing)
        for name, asked in conditions.items()
    }
    counts = [len(names) for asked in conditions.values() for names in asked for _ in range(sampling.samples)]
    result["frechet"] = against_renders(judge, torch.cat(pictures), counts)
    write_json(folder / "result.json", result)
    return result


def change_sampling(folder: Path, settings: Sequence[str]) -> None:
    """Give a finished run other settings of `sampling`, written to its weights, config.json and result.json.

    Raises UserError for a setting of anything else, for that was decided by the training.
    """
    pipeline = load_pipeline(folder)
    preset = override(pipeline.preset, settings)
    if difference := first_difference(pipeline.preset, dataclasses.replace(preset, sampling=pipeline.preset.sampling)):
        raise UserError(f"{short(folder)}: was trained with {difference}; only how it draws can be changed now")
    if preset == pipeline.preset:
        return
    stored = read_json(folder / "config.json", "a run's settings")
    result = read_json(folder / "result.json", "a run's result")
    path, sampling = folder / "weights.safetensors", dataclasses.asdict(preset.sampling)
    relabel_weights(path, preset)
    write_json(folder / "config.json", stored | {"sampling": sampling})
    result["settings"]["sampling"] = sampling
    write_json(folder / "result.json", result | {"weights_sha256": sha256(path)})


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


def plateau_scores(judge: Judge, data: Path | None = None) -> Callable[[Pipeline], dict[str, float]]:
    """The scores that the report's learning-rate schedule follows: one sample of each condition of both lists."""

    def evaluate(pipeline: Pipeline) -> dict[str, float]:
        return {
            name: score(pipeline, judge, load_list(name, data), samples=1)["top_k"]["accuracy"]
            for name in REPORTED_LISTS
        }

    return evaluate

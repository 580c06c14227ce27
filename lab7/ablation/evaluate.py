"""How a run is scored: pictures of every condition, read by two judges; and how pictures in a folder are scored."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab7.config import Preset, override
from lab7.dataset.conditions import conditions_tensor, load_list
from lab7.dataset.drawn import find_drawn
from lab7.dataset.images import decode, to_float, to_uint8
from lab7.judge import evaluation
from lab7.judge.blobs import has_duplicate
from lab7.judge.error_types import readings, tally
from lab7.judge.frechet import against_renders
from lab7.judge.metrics import Score, exact_hits, top_k_hits
from lab7.judge.networks import Judge
from lab7.pipeline import Pipeline, load_pipeline
from lab7.training.run_folder import first_difference
from lab7.utils.files import UserError, json_checksum, read_json, short, write_json
from lab7.utils.provenance import provenance
from lab7.vocabulary import CLASSES

LISTS = ("test", "new_test", "unseen")
REPORTED_LISTS = ("test", "new_test")  # those of the course


def found_objects(judge: Judge, images: Tensor, conditions: Sequence[Sequence[str]]) -> list[list[bool]]:
    """For each picture (N, 3, H, W), which of its condition's objects are among the judge's k highest outputs."""
    rows = []
    for outputs, names in zip(judge.probabilities(images), conditions, strict=True):
        best = {CLASSES[index] for index in outputs.topk(len(names)).indices.tolist()}
        rows.append([name in best for name in names])
    return rows


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

    "top_k" and "exact" count all samples; "by_picture" holds the objects found in every picture. "duplicated" counts
    pictures that show an object more than once, which the judge does not notice (see judge/blobs.py);
    "exact_without_duplicates" counts exact matches without them. `kept` receives the pictures.
    """
    images = as_stored(pipeline(conditions, samples=samples, progress=progress, **drawing))
    labels = conditions_tensor(conditions).repeat_interleave(samples, dim=0)  # (N * K, 24)
    outputs = judge.probabilities(images)
    if kept is not None:
        kept.append(images)
    duplicated = has_duplicate(images, labels)  # (N * K,)
    exact = exact_hits(outputs, labels) & ~duplicated
    scores = {
        **_counts(outputs, labels, samples),
        "error_types": tally(readings(outputs, [names for names in conditions for _ in range(samples)])),
        "duplicated": Score(int(duplicated.sum()), len(duplicated)).to_dict(),
        "exact_without_duplicates": Score(int(exact.sum()), len(exact)).to_dict(),
        "samples": samples,
        "conditions_sha256": json_checksum([sorted(names) for names in conditions])[:12],  # tells lists apart
    }
    if second is not None:
        scores["second_judge"] = _counts(second.probabilities(images), labels, samples)
    return scores


def _counts(outputs: Tensor, labels: Tensor, samples: int) -> dict[str, Any]:
    """The scores of pictures (N * K), K of a condition, and the objects found in each: (N, K)."""
    hits = top_k_hits(outputs, labels).view(-1, samples)
    by_picture = {"hits": hits.tolist(), "asked": labels[::samples].sum(dim=1).int().tolist()}
    return evaluation.scores(outputs, labels) | {"by_picture": by_picture}


def score_run(
    folder: Path,
    judge: Judge,
    *,
    second: Judge | None = None,
    data: Path | None = None,
    weights: Path | None = None,
    preset: Preset | None = None,
    settings: Sequence[str] = (),
    lists: Sequence[str] = LISTS,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> dict[str, Any]:
    """Score a run's weights on the lists, and write the scores to its result.json.

    Pictures are drawn with the section `sampling` of the preset (default: the one stored with the weights), changed by
    `settings`. A list without conditions is left out. "frechet" compares all pictures with unseen renders. Raises
    UserError for a setting of another section: training has fixed those.
    """
    pipeline = load_pipeline(weights or folder, device)
    before = preset or pipeline.preset
    changed = override(before, settings)
    if difference := first_difference(before, replace(changed, sampling=before.sampling)):
        raise UserError(f"{short(folder)}: was trained with {difference}; only settings of sampling can be changed now")
    sampling = pipeline.sampling(changed.sampling)
    drawing: dict[str, Any] = {"sampling": sampling, "samples": sampling.samples, "seed": sampling.noise_seed}
    conditions = {name: entries for name in lists if (entries := load_list(name, data))}
    asked = [names for entries in conditions.values() for names in entries for _ in range(sampling.samples)]
    pictures: list[Tensor] = []
    scores = {"sampling": asdict(sampling), "scored": provenance(device), "judge": _identity(judge)}
    scores |= {"second_judge": _identity(second)} if second else {}
    scores["accuracy"] = {
        name: score(pipeline, judge, entries, second=second, progress=progress, kept=pictures, **drawing)
        for name, entries in conditions.items()
    }
    scores["frechet"] = against_renders(judge, torch.cat(pictures), asked)
    path = folder / "result.json"
    write_json(path, read_json(path, "a run's result") | scores, checksum=True)
    return scores


def _identity(judge: Judge) -> dict[str, Any]:
    return {"name": judge.name, "sha256": judge.sha256, "is_course": judge.is_course}


def count_pictures(judge: Judge, folder: Path, conditions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Score the pictures of a folder, of any size; see dataset.drawn for their names, and for when UserError is raised.

    "left_out" holds the names of pictures that are not counted.
    """
    numbers, left_out = find_drawn(folder, conditions)
    paths = list(numbers)
    parts = [paths[start : start + 1024] for start in range(0, len(paths), 1024)]  # 50 MB each
    outputs = torch.cat([judge.probabilities(to_float(torch.from_numpy(decode(part, 64)))) for part in parts])
    labels = conditions_tensor([conditions[number] for number in numbers.values()])
    counts = {"pictures": len(numbers), "conditions": len(conditions), "left_out": left_out}
    return counts | evaluation.scores(outputs, labels) | {"judge": _identity(judge)}


def plateau_scores(judge: Judge, data: Path | None = None) -> Callable[[Pipeline], dict[str, float]]:
    """The scores that the report's learning-rate schedule uses: one sample of each condition of both lists."""

    def evaluate(pipeline: Pipeline) -> dict[str, float]:
        lists = {name: load_list(name, data) for name in REPORTED_LISTS}
        drawn = {name: score(pipeline, judge, lists[name], samples=1) for name in lists}
        return {name: scores["top_k"]["accuracy"] for name, scores in drawn.items()}

    return evaluate

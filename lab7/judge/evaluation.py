"""How good the judge itself is, on renders that no judge was trained on: how often it errs, where, and how sure it is.

The share of objects that it finds there is the ceiling: no generator can be expected to score higher with this judge.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lab7.dataset.randomization import SHIFTED
from lab7.dataset.synthetic import render_pictures
from lab7.judge.augmentation import other_film
from lab7.judge.metrics import Score, exact_match, per_count, top_k
from lab7.judge.networks import Judge
from lab7.utils.files import UserError, data_dir, read_json, shipped_dir, short
from lab7.vocabulary import CLASSES

CLEAN_SEED, SHIFTED_SEED = 900_000, 950_000  # far from the generator's scenes and from the judges' own


@functools.lru_cache(maxsize=1)  # several runs are scored on the same renders
def clean_set(scenes: int, processes: int | None = None) -> tuple[Tensor, Tensor]:
    """Unseen scenes as the stand-in renders them: uint8 (3 * scenes, 3, 64, 64) and labels (3 * scenes, 24)."""
    return render_pictures(CLEAN_SEED, scenes, processes=processes)


def shifted_set(scenes: int, processes: int | None = None) -> tuple[Tensor, Tensor]:
    """Unseen scenes by other cameras and lamps and on another film, none of which training used; always the same."""
    images, labels = render_pictures(SHIFTED_SEED, scenes, SHIFTED, processes)
    return other_film(images, torch.Generator().manual_seed(SHIFTED_SEED)), labels


def evaluate_judge(judge: Judge, scenes: int = 2000, processes: int | None = None) -> dict[str, Any]:
    """The whole evaluation on 3 * `scenes` pictures of each set, as plain values for JSON.

    "clean", "through_32x32" and "shifted" hold "top_k" and "exact" (Score.to_dict) and "per_count"; "calibration" the
    rows of `calibration`, "confusion" the matrix of `confusion`, both on clean ones.
    """
    images, labels = clean_set(scenes, processes)
    clean = images.float() / 127.5 - 1
    shifted, shifted_labels = shifted_set(scenes, processes)
    outputs = judge.probabilities(clean)
    return {
        "pictures": len(images),
        "clean": scores(outputs, labels),
        "through_32x32": scores(judge.probabilities(F.avg_pool2d(clean, 2)), labels),
        "shifted": scores(judge.probabilities(shifted.float() / 127.5 - 1), shifted_labels),
        "calibration": calibration(outputs, labels),
        "confusion": confusion(outputs, labels).tolist(),
    }


def recorded(judge: Judge, data: Path | None = None) -> dict[str, Any] | None:
    """The evaluation in the record beside a judge's file, in data/weights/ or the shipped one; None for a judge
    without a record, such as the course's."""
    for folder in ((data or data_dir()) / "weights", shipped_dir() / "weights"):
        for path in sorted(folder.glob("[!.]*.json")):
            record = read_json(path, "a judge's record")
            if record.get("sha256") == judge.sha256 and (evaluation := record.get("evaluation")):
                try:
                    float(evaluation["clean"]["top_k"]["accuracy"])
                except (TypeError, KeyError, ValueError):
                    raise UserError(f"{short(path)}: holds no evaluation of a judge; restore it") from None
                return evaluation
    return None


def scores(outputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """top_k and exact with their intervals, and the rows of metrics.per_count."""
    return {
        "top_k": top_k(outputs, labels).to_dict(),
        "exact": exact_match(outputs, labels).to_dict(),
        "per_count": per_count(outputs, labels),
    }


def calibration(outputs: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """How often a class is there when the judge gives it a probability: a row for each tenth that occurs.

    outputs (N, 24) in [0, 1], labels (N, 24). Each row: said (mean output), true (share), low, high (Wilson), count.
    """
    said, true = outputs.flatten().double(), labels.flatten().bool()
    place = (said * 10).long().clamp(max=9)
    rows = []
    for number in place.unique():
        chosen = place == number
        score = Score(int(true[chosen].sum()), int(chosen.sum()))
        row = {"said": float(said[chosen].mean()), "true": score.accuracy, "low": score.low, "high": score.high}
        rows.append(row | {"count": score.total})
    return rows


def confusion(outputs: Tensor, labels: Tensor) -> np.ndarray:
    """Rows: classes asked for; columns: what is among the k highest outputs in their place; float (24, 24).

    A class that is found stands on the diagonal. Where one is missed, the classes chosen wrongly in that picture are
    counted in its row, shared evenly if there are several; entries may be fractions.
    """
    matrix = np.zeros((len(CLASSES), len(CLASSES)))
    for output, label in zip(outputs, labels, strict=True):
        truth = set(label.nonzero().flatten().tolist())
        best = set(output.topk(len(truth)).indices.tolist())
        for c in truth & best:
            matrix[c, c] += 1
        for c in truth - best:
            matrix[c, list(best - truth)] += 1 / len(best - truth)
    return matrix

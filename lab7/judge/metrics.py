"""How a judge's outputs become a score: hits out of a total, always with the interval that belongs to it.

A picture with k labels asks for k objects. The course counts how many of the k highest outputs are among the
labels (`top_k`), which does not punish an extra object; `exact_match` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch

from lab7.vocabulary import CLASSES

Matrix = torch.Tensor | np.ndarray


def wilson(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (low, high) of a proportion hits / total, within [0, 1].

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Nothing is
    known from total = 0: (0, 1). Raises ValueError unless 0 <= hits <= total and 0 < confidence < 1.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"hits must lie between 0 and total, not {hits} of {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = hits / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    # Rounding must not leave a hair of doubt where there is none: the ends are exactly 0 and 1 there.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == total else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class Score:
    """A proportion as counted: hits out of a total. Prints as "47/72 = 0.653 [0.538, 0.752]"."""

    hits: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.total:
            raise ValueError(f"hits must lie between 0 and total, not {self.hits} of {self.total}")

    @property
    def accuracy(self) -> float:
        """hits / total; NaN where nothing was counted."""
        return self.hits / self.total if self.total else nan

    @property
    def low(self) -> float:
        """Lower end of the 95% Wilson interval."""
        return wilson(self.hits, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95% Wilson interval."""
        return wilson(self.hits, self.total)[1]

    def __add__(self, other: Score) -> Score:
        """The pooled score of two sets of pictures."""
        return Score(self.hits + other.hits, self.total + other.total)

    def __str__(self) -> str:
        return f"{self.hits}/{self.total} = {self.accuracy:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float]:
        """What result files hold: hits, total, accuracy, low, high (no accuracy where total is 0)."""
        row = {
            "hits": self.hits,
            "total": self.total,
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
        }
        return row if self.total else {key: value for key, value in row.items() if key != "accuracy"}


def difference(first: Score, second: Score) -> tuple[float, float, float]:
    """How much higher the first accuracy is than the second: (difference, low, high) with its 95% interval.

    Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17
    (1998), method 10: from the two Wilson intervals, for independent counts. (NaN, -1, 1) if nothing was counted.
    """
    p, q = first.accuracy, second.accuracy
    if not first.total or not second.total:
        return nan, -1.0, 1.0
    low = p - q - sqrt((p - first.low) ** 2 + (second.high - q) ** 2)
    high = p - q + sqrt((first.high - p) ** 2 + (q - second.low) ** 2)
    return p - q, low, high


def top_k(probabilities: Matrix, labels: Matrix) -> Score:
    """The course's metric: of an image's k highest outputs (k = its labels), how many are among its labels.

    probabilities (N, 24) in any range where higher means surer, labels (N, 24) multi-hot. Hits and k are
    summed over the images: test.json gives a total of 72. Of equal outputs the lower class index comes first.
    Raises ValueError for other shapes, labels that are not 0 or 1, or outputs that are not finite.
    """
    return Score(int(top_k_hits(probabilities, labels).sum()), int(torch.as_tensor(labels).sum()))


def top_k_hits(probabilities: Matrix, labels: Matrix) -> torch.Tensor:
    """The hits of `top_k` in each image: int64 (N,)."""
    chosen, truth = _chosen(*_checked(probabilities, labels))
    return (chosen & truth).sum(dim=1)


def exact_match(probabilities: Matrix, labels: Matrix, threshold: float = 0.5) -> Score:
    """Images whose labels all have an output above the threshold, and no other class has; out of all images.

    probabilities (N, 24) in [0, 1], labels (N, 24) multi-hot. Raises ValueError as top_k does.
    """
    right = exact_hits(probabilities, labels, threshold)
    return Score(int(right.sum()), len(right))


def exact_hits(probabilities: Matrix, labels: Matrix, threshold: float = 0.5) -> torch.Tensor:
    """Whether each image is such a match (N,). Arguments and errors as for exact_match."""
    outputs, truth = _checked(probabilities, labels)
    return ((outputs > threshold) == truth).all(dim=1)


def per_class(probabilities: Matrix, labels: Matrix, names: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    """One row a class, in class order: how many of the images that ask for it have it among their k highest.

    Columns: class, hits, total, accuracy, low, high (95% Wilson), and extra: images that do not ask for the
    class though the judge puts it above 0.5. The hits and totals sum to those of top_k.
    """
    outputs, truth = _checked(probabilities, labels)
    chosen, truth = _chosen(outputs, truth)
    hits, total = (chosen & truth).sum(dim=0).tolist(), truth.sum(dim=0).tolist()
    extra = ((outputs > 0.5) & ~truth).sum(dim=0).tolist()
    rows = [{"class": name, **_row(Score(hits[c], total[c])), "extra": extra[c]} for c, name in enumerate(names)]
    return pd.DataFrame(rows)


def per_count(probabilities: Matrix, labels: Matrix) -> pd.DataFrame:
    """One row for every number of objects that occurs, ascending.

    Columns: objects, images; hits, total, accuracy, low, high of top_k; exact_hits, exact_accuracy,
    exact_low, exact_high of exact_match (whose total is images). Intervals are 95% Wilson.
    """
    outputs, truth = _checked(probabilities, labels)
    counts = truth.sum(dim=1)  # (N,)
    rows = []
    for count in sorted(set(counts.tolist())):
        chosen = counts == count
        exact = exact_match(outputs[chosen], truth[chosen])
        rows.append(
            {
                "objects": count,
                "images": exact.total,
                **_row(top_k(outputs[chosen], truth[chosen])),
                "exact_hits": exact.hits,
                "exact_accuracy": exact.accuracy,
                "exact_low": exact.low,
                "exact_high": exact.high,
            }
        )
    return pd.DataFrame(rows)


def _row(score: Score) -> dict[str, float]:
    names = ("hits", "total", "accuracy", "low", "high")
    return {name: getattr(score, name) for name in names}


def _checked(probabilities: Matrix, labels: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs, and labels as bool, both (N, C) on the CPU; ValueError for what cannot be scored."""
    outputs, truth = torch.as_tensor(probabilities).detach().cpu(), torch.as_tensor(labels).detach().cpu()
    if outputs.ndim != 2 or outputs.shape != truth.shape:
        raise ValueError(
            f"outputs and labels must both be (N, 24), not {tuple(outputs.shape)} and {tuple(truth.shape)}"
        )
    if not torch.isfinite(outputs).all():
        raise ValueError("the judge's outputs are not all finite numbers; the pictures it read may hold NaN")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("labels must be multi-hot: 0 or 1")
    return outputs, truth.bool()


def _chosen(outputs: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask (N, C) of each image's k highest outputs, and the truth beside it."""
    order = torch.sort(outputs, dim=1, descending=True, stable=True).indices
    places = torch.arange(outputs.shape[1]).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)  # 0 for the highest output
    return rank < truth.sum(dim=1, keepdim=True), truth

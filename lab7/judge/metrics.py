"""How a judge's outputs become a score: hits out of a total, always with the interval that belongs to it.

A picture with k labels asks for k objects. The course counts how many of the k highest outputs are among the
labels (`top_k`), which does not punish an extra object; `exact_match` does.
"""

from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist

import numpy as np
import torch

Matrix = torch.Tensor | np.ndarray


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95% Wilson score interval (low, high) of a proportion hits / total, within [0, 1].

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Nothing is
    known from total = 0: (0, 1). Raises ValueError unless 0 <= hits <= total.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"hits must lie between 0 and total, not {hits} of {total}")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)  # 95% of a standard normal lie within +- z
    p = hits / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    # Without rounding errors at the ends, which are exactly 0 and 1 there.
    return 0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == total else min(1.0, centre + half)


@dataclass(frozen=True)
class Score:
    """A proportion as counted: hits out of a total. Prints as "47/72 = 0.653 [0.538, 0.752]"."""

    hits: int
    total: int

    def __post_init__(self) -> None:
        wilson(self.hits, self.total)  # refuses what is no proportion

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

    def __str__(self) -> str:
        return f"{self.hits}/{self.total} = {self.accuracy:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float]:
        """What result files hold: hits, total, accuracy, low, high (no accuracy where total is 0)."""
        names = ("hits", "total", "accuracy", "low", "high") if self.total else ("hits", "total", "low", "high")
        return {name: getattr(self, name) for name in names}


def difference(first: Score, second: Score) -> tuple[float, float, float]:
    """How much higher the first accuracy is than the second: (difference, low, high) with its 95% interval. Newcombe,
    "Interval estimation for the difference between independent proportions", Statistics in Medicine 17 (1998), method
    10: from the two Wilson intervals, for independent counts. (NaN, -1, 1) if nothing was counted."""
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
    outputs, truth = _checked(probabilities, labels)
    order = torch.sort(outputs, dim=1, descending=True, stable=True).indices  # the classes, the surest first
    places = torch.arange(outputs.shape[1])  # 0 for the highest output
    return (truth.gather(1, order) & (places < truth.sum(dim=1, keepdim=True))).sum(dim=1)


def exact_match(probabilities: Matrix, labels: Matrix) -> Score:
    """Images whose labels all have an output above 0.5, and no other class has; out of all images. probabilities (N,
    24) in [0, 1], labels (N, 24) multi-hot. Raises ValueError as top_k does."""
    correct = exact_hits(probabilities, labels)
    return Score(int(correct.sum()), len(correct))


def exact_hits(probabilities: Matrix, labels: Matrix) -> torch.Tensor:
    """Whether each image is such a match: bool (N,)."""
    outputs, truth = _checked(probabilities, labels)
    return ((outputs > 0.5) == truth).all(dim=1)


def per_count(probabilities: Matrix, labels: Matrix) -> list[dict[str, float]]:
    """One row for every number of objects that occurs, ascending: objects, images; hits, total, accuracy, low, high of
    top_k; exact_hits, exact_accuracy, exact_low, exact_high of exact_match, whose total is images."""
    outputs, truth = _checked(probabilities, labels)
    counts = truth.sum(dim=1)  # (N,)
    rows = []
    for count in counts.unique().tolist():
        chosen = counts == count
        found, exact = top_k(outputs[chosen], truth[chosen]), exact_match(outputs[chosen], truth[chosen])
        row: dict[str, float] = {"objects": count, "images": exact.total}
        row |= {name: getattr(found, name) for name in ("hits", "total", "accuracy", "low", "high")}
        rows.append(row | {f"exact_{name}": getattr(exact, name) for name in ("hits", "accuracy", "low", "high")})
    return rows


def _checked(probabilities: Matrix, labels: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs, and labels as bool, both (N, 24) on the CPU; ValueError for what cannot be scored."""
    outputs, truth = torch.as_tensor(probabilities).detach().cpu(), torch.as_tensor(labels).detach().cpu()
    if outputs.ndim != 2 or outputs.shape != truth.shape:
        raise ValueError(f"outputs and labels must be (N, 24), not {tuple(outputs.shape)} and {tuple(truth.shape)}")
    if not torch.isfinite(outputs).all():
        raise ValueError("the judge's outputs are not all finite numbers; the pictures may hold NaN")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("labels must be multi-hot: 0 or 1")
    return outputs, truth.bool()

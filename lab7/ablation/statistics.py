"""Confidence intervals for an arm and for the difference of two arms, by the hierarchical bootstrap.

Objects are not independent: the pictures of an arm come from a few trainings, and those of one condition succeed and
fail together. The bootstrap resamples each of these levels: trainings, conditions, and the samples of a condition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab7.utils.files import UserError

RESAMPLES = 2000
NO_VERDICT = {1: "one training", 2: "two trainings"}  # of the arm that has fewer; a verdict needs three


@dataclass(frozen=True)
class Counts:
    """What a judge found in the pictures of one arm on one list.

    hits: for each training an array (C, S), the objects found in each of the S pictures of each of the C conditions.
    asked: int (C,), the objects that each condition names.
    """

    hits: tuple[np.ndarray, ...]
    asked: np.ndarray

    def __post_init__(self) -> None:
        if not self.hits or any(h.ndim != 2 or len(h) != len(self.asked) for h in self.hits):
            raise ValueError("each training needs hits (conditions, samples), with one row for each condition")

    @property
    def accuracies(self) -> np.ndarray:
        """Objects found / objects asked for, one number for each training."""
        return np.array([h.mean(axis=1).sum() / self.asked.sum() for h in self.hits])


@dataclass(frozen=True)
class Difference:
    """First accuracy minus second accuracy, with a 95% interval."""

    difference: float
    low: float
    high: float
    trainings: int  # of the arm that has fewer

    def verdict(self, higher: str = "higher", lower: str = "lower") -> str:
        """The difference in words; with fewer than 3 trainings of an arm only their number."""
        verdict = higher if self.low > 0 else lower if self.high < 0 else "no clear difference"
        return NO_VERDICT.get(self.trainings, verdict)


def counts_of(results: Sequence[dict[str, Any]], lists: Sequence[str], judge: str = "judge") -> Counts:
    """The counts of one arm on some lists together, from each training's result.json; by "judge" or "second_judge".

    The counts of a condition are a list of numbers, or a string of digits as in a record. Raises UserError if a result
    lacks a list or its counts, or was scored on other conditions, which an old one shows by their sizes alone.
    """
    hits, asked, digests = [], [], [""]
    for result in results:
        scores = [result.get("accuracy", {}).get(name, {}) for name in lists]
        digests.append("".join(score.get("conditions_sha256", "") for score in scores))
        if judge == "second_judge":
            scores = [score.get("second_judge", {}) for score in scores]
        for name, score in zip(lists, scores, strict=True):
            if "by_picture" not in score:
                raise UserError(f"run '{result.get('name')}' has no counts by picture on '{name}'; score it again")
        counts = [score["by_picture"] for score in scores]
        hits.append(np.array([[int(number) for number in row] for part in counts for row in part["hits"]]))
        asked.append(np.concatenate([part["asked"] for part in counts]))
        if not np.array_equal(asked[0], asked[-1]) or len(set(digests)) > 2:
            raise UserError(f"run '{result.get('name')}' was scored on other conditions than the first; score it again")
    return Counts(tuple(hits), asked[0])


def bootstrap(arm: Counts, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float, float]:
    """An arm's accuracy with its 95% percentile interval: (accuracy, low, high)."""
    low, high = np.quantile(_resample([arm], resamples, seed)[0], [0.025, 0.975]).tolist()
    return float(arm.accuracies.mean()), low, high


def compare(first: Counts, second: Counts, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """The difference of two arms on the same conditions, by a bootstrap over trainings, conditions and samples.

    Both arms get the same conditions in each resample, since both were scored on the same list (a paired design).
    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 8. Raises UserError for other conditions.
    """
    if not np.array_equal(first.asked, second.asked):
        raise UserError("the two arms were scored on different conditions; score them again")
    one, other = _resample([first, second], resamples, seed)
    low, high = np.quantile(one - other, [0.025, 0.975]).tolist()
    difference = float(first.accuracies.mean() - second.accuracies.mean())
    return Difference(difference, low, high, min(len(first.hits), len(second.hits)))


def _resample(arms: Sequence[Counts], resamples: int, seed: int) -> list[np.ndarray]:
    """The accuracies (R,) of each arm in R resamples of trainings and samples, on conditions that all arms share."""
    rng, num = np.random.default_rng(seed), len(arms[0].asked)
    conditions, accuracies = rng.integers(0, num, (resamples, num)), []  # (R, C), with replacement
    for arm in arms:
        trainings = rng.integers(0, len(arm.hits), (resamples, len(arm.hits)))  # (R, trainings)
        total = np.zeros(resamples)
        for column in range(len(arm.hits)):
            for training, hits in enumerate(arm.hits):
                rows, size = np.flatnonzero(trainings[:, column] == training), hits.shape[1]
                samples = rng.integers(0, size, (len(rows), num, size), dtype=np.uint16)  # (R', C, S); small is quick
                places = size * conditions[rows][:, :, None] + samples
                total[rows] += hits.ravel().take(places).sum(axis=(1, 2)) / size
        accuracies.append(total / (len(arm.hits) * arm.asked[conditions].sum(axis=1)))
    return accuracies

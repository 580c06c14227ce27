"""Two arms of an ablation compared as they were made: trainings, conditions within a list, samples of a condition.

A proportion's own interval treats objects as independent. They are not: an arm's pictures share one training, and the
pictures of a condition succeed and fail together. The hierarchical bootstrap draws anew at each of these levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from lab7.utils.files import UserError

RESAMPLES = 4000
_CHUNK = 250  # resamples at a time


@dataclass(frozen=True)
class Counts:
    """What a judge found in the pictures of one arm and list.

    hits: one int array (C, S) a training seed, the objects found in each of the S pictures of each of the C
    conditions. asked: int (C,), the objects that each condition names.
    """

    hits: tuple[np.ndarray, ...]
    asked: np.ndarray

    def __post_init__(self) -> None:
        if not self.hits or any(h.ndim != 2 or len(h) != len(self.asked) for h in self.hits):
            raise ValueError("each seed needs hits (conditions, samples), with one row a condition")

    @property
    def accuracies(self) -> np.ndarray:
        """Objects found / asked for, one number a seed."""
        return np.array([h.mean(axis=1).sum() / self.asked.sum() for h in self.hits])


@dataclass(frozen=True)
class Difference:
    """How much higher the first arm's accuracy is than the second's, with a 95% interval."""

    difference: float
    low: float
    high: float
    seeds: tuple[int, int]  # trainings of each arm
    needed: int | None  # trainings an arm to see a difference of TWO_POINTS, None where none was repeated

    @property
    def verdict(self) -> str:
        """What may be said, in words."""
        if self.low > 0 or self.high < 0:
            said = "higher" if self.low > 0 else "lower"
            few = min(self.seeds) < 2
            return f"{said}, for these two trainings; other seeds were not tried" if few else said
        return f"cannot be told with {min(self.seeds)} training{'s' if min(self.seeds) > 1 else ''} an arm"

    def row(self, higher: str, lower: str) -> dict[str, Any]:
        """The columns of a table that sets an arm beside its baseline, the verdict in the words given."""
        verdict = self.verdict.replace("higher", higher).replace("lower", lower)
        return {"difference": self.difference, "diff_low": self.low, "diff_high": self.high, "verdict": verdict}

    def __str__(self) -> str:
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


TWO_POINTS = 0.02


def counts_of(results: Sequence[dict[str, Any]], name: str, judge: str = "judge") -> Counts:
    """The counts of one arm on a list, from the result.json of its seeds; `judge` or "second_judge".

    A condition's counts are a list of numbers, or a text of digits as in a record.
    Raises UserError where a result lacks the list or its pictures' counts, or was drawn from other conditions.
    """
    hits, asked = [], None
    for result in results:
        found = result.get("accuracy", {}).get(name)
        if judge == "second_judge":
            found = found and found.get("second_judge")
        if not found or "by_picture" not in found:
            raise UserError(f"run '{result.get('name')}' has no counts by picture on '{name}'; score it again")
        rows = np.array([[int(hits) for hits in row] for row in found["by_picture"]["hits"]], dtype=np.int64)
        now = np.array(found["by_picture"]["asked"], dtype=np.int64)
        if asked is not None and not np.array_equal(asked, now):
            raise UserError(f"run '{result.get('name')}' was scored on another list '{name}' than the first")
        asked = now
        hits.append(rows)
    if asked is None:
        raise UserError("no runs to compare")
    return Counts(tuple(hits), asked)


def of_same_seeds(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results of each arm whose seed the other has, too."""
    both = {result["seed"] for result in first} & {result["seed"] for result in second}
    mine, other = ([result for result in some if result["seed"] in both] for some in (first, second))
    return mine, other


def bootstrap(arm: Counts, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float, float]:
    """An arm's accuracy with its 95% percentile interval: (accuracy, low, high)."""
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([_draw(arm, _conditions(arm, n, rng), rng) for n in _portions(resamples)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(arm.accuracies.mean()), float(low), float(high)


def compare(first: Counts, second: Counts, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """The difference of two arms on one list, by a bootstrap over seeds, conditions and samples.

    Both arms are given the same conditions in each resample, since both drew the same list (a paired design).
    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 8. Raises ValueError for other lists.
    """
    if not np.array_equal(first.asked, second.asked):
        raise ValueError("the two arms were scored on different conditions")
    rng = np.random.default_rng(seed)
    drawn = []
    for count in _portions(resamples):
        chosen = _conditions(first, count, rng)
        drawn.append(_draw(first, chosen, rng) - _draw(second, chosen, rng))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    found = float(first.accuracies.mean() - second.accuracies.mean())
    seeds = (len(first.hits), len(second.hits))
    return Difference(found, float(low), float(high), seeds, seeds_needed(first, second))


def seeds_needed(
    first: Counts, second: Counts, difference: float = TWO_POINTS, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Trainings an arm that would show a difference that large, by the usual two-sample formula.

    n = 2 (z_(1-a/2) + z_power)^2 s^2 / d^2, with s the deviation of accuracies between seeds, pooled over the arms.
    None where no arm has two seeds: then the scatter of trainings is not known.
    """
    spreads = [arm.accuracies.var(ddof=1) for arm in (first, second) if len(arm.hits) > 1]
    if not spreads:
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2) + NormalDist().inv_cdf(power)
    return max(2, math.ceil(2 * z * z * float(np.mean(spreads)) / difference**2))


def _portions(resamples: int) -> list[int]:
    return [min(_CHUNK, resamples - start) for start in range(0, resamples, _CHUNK)]


def _conditions(arm: Counts, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Which conditions each resample is given: int (resamples, C)."""
    return rng.integers(0, len(arm.asked), (resamples, len(arm.asked)))


def _draw(arm: Counts, conditions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The accuracy in each resample of seeds, of the samples of each condition, on the conditions given: (R,)."""
    resamples, num = conditions.shape
    seeds = rng.integers(0, len(arm.hits), (resamples, len(arm.hits)))  # (R, seeds)
    total = np.zeros(resamples)
    for column in range(len(arm.hits)):
        for seed, hits in enumerate(arm.hits):
            rows = np.flatnonzero(seeds[:, column] == seed)
            samples = rng.integers(0, hits.shape[1], (len(rows), num, hits.shape[1]))  # (R', C, S)
            found = hits[conditions[rows][:, :, None], samples]  # (R', C, S)
            total[rows] += found.mean(axis=2).sum(axis=1)
    return total / (len(arm.hits) * arm.asked[conditions].sum(axis=1))

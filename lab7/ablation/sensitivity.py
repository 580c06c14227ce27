"""The report's arms compared by how much their networks listen to the condition (see training/sensitivity.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from lab7.ablation.arms import get_arm
from lab7.ablation.statistics import Counts, bootstrap, compare, of_same_seeds


def sensitivity_table(arms: Mapping[str, Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """One line an arm whose runs were measured, in percent, each beside its baseline on the seeds that both have.

    `arms` gives the results of an arm's seeds. Columns: arm, title, beside, seeds, pictures (seen), minutes,
    listening, low, high (hierarchical bootstrap over seeds and pictures), by_seed, difference, diff_low, diff_high,
    verdict. The difference is NaN where there is no baseline.
    """
    lines = []
    for name, results in arms.items():
        arm, measured = get_arm(name), [result for result in results if "condition_sensitivity" in result]
        if not measured or arm.weights_from:  # that differs in how it draws, which is not measured here
            continue
        counts = _counts(measured)
        mean, low, high = bootstrap(counts)
        line = {"arm": name, "title": arm.title, "beside": arm.baseline, "seeds": len(measured)}
        line |= {"pictures": measured[0]["images_seen"]}
        line |= {"minutes": sum(one["seconds"] for one in measured) / len(measured) / 60}
        line |= {"condition_sensitivity": mean, "low": low, "high": high, "by_seed": counts.accuracies.tolist()}
        line |= {"difference": nan, "diff_low": nan, "diff_high": nan, "verdict": "the baseline"}
        if arm.baseline != name:
            line |= _beside(measured, arms.get(arm.baseline, ()))
        lines.append(line)
    return pd.DataFrame(lines)


def _beside(measured: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mine, base = of_same_seeds(measured, [result for result in baseline if "condition_sensitivity" in result])
    if not mine:
        return {"verdict": "not compared"}
    return compare(_counts(mine), _counts(base)).row("more sensitive", "less sensitive")


def _counts(results: Sequence[dict[str, Any]]) -> Counts:
    """What the bootstrap draws from: each picture is a condition with one sample, worth its evidence in percent."""
    values = [100 * np.array(result["condition_sensitivity"]["by_picture"])[:, None] for result in results]
    return Counts(tuple(values), np.ones(len(values[0])))

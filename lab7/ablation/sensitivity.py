"""The report's arms compared by the condition sensitivity of their networks (see training/sensitivity.py)."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from lab7.ablation.arms import get_arm
from lab7.ablation.results import comparison
from lab7.ablation.statistics import Counts


def sensitivity_table(arms: Mapping[str, Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """One line an arm whose runs were measured, in percent, compared with its baseline on the seeds that both have.

    `arms` gives the results of each arm's seeds. Columns: arm, title, baseline, seeds, pictures (seen), minutes,
    condition_sensitivity and those of `comparison`. Arms that draw with the network of another are left out.
    """
    measured = {name: [one for one in arm if "condition_sensitivity" in one] for name, arm in arms.items()}
    lines = []
    for name, results in measured.items():
        arm = get_arm(name)
        if results and not arm.weights_from:
            line = {"arm": name, "title": arm.title, "baseline": arm.baseline, "seeds": len(results)}
            line |= {"pictures": results[0]["images_seen"]}
            line |= {"minutes": fmean(result["seconds"] for result in results) / 60}
            words = ("more sensitive", "less sensitive")
            baseline = measured.get(arm.baseline, ())
            lines.append(line | comparison("condition_sensitivity", arm, results, baseline, _counts, *words))
    return pd.DataFrame(lines)


def _counts(results: Sequence[dict[str, Any]]) -> Counts:
    """The input of the bootstrap: each picture is a condition with one sample, its value in percent."""
    values = [100 * np.array(result["condition_sensitivity"]["by_picture"])[:, None] for result in results]
    return Counts(tuple(values), np.ones(len(values[0])))

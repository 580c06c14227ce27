"""Figures about the judges: their evaluation, what they confuse, and what is wrong in drawn pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab7.plots.style import COLOURS, DASHES, INK, styled, subplots
from lab7.vocabulary import CLASSES


@styled
def judges_figure(evaluations: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Calibration, and accuracy by number of objects: one line a judge."""
    figure, (calibration, counts) = subplots(1, 2, height=2.7)
    calibration.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    for (name, one), colour, dash in zip(evaluations.items(), COLOURS, DASHES, strict=False):
        look = {"color": colour, "linestyle": dash, "label": name}
        _points(calibration, [row["said"] for row in one["calibration"]], one["calibration"], "true", look)
        rows = one["clean"]["per_count"]
        _points(counts, [row["objects"] for row in rows], rows, "accuracy", look)
    calibration.set(title="calibration", xlabel="probability given", ylabel="share that is there")
    counts.set(title="by number of objects", xlabel="objects in the picture", ylabel="objects found", xticks=(1, 2, 3))
    counts.legend(loc="lower left")
    return figure


def _points(axis: Axes, x: Sequence[float], rows: Sequence[Mapping[str, float]], key: str, look: dict) -> None:
    """Rows with `key`, low and high as points with their intervals."""
    y, low, high = (np.array([row[name] for row in rows]) for name in (key, "low", "high"))
    axis.errorbar(x, y, yerr=np.abs([y - low, high - y]), marker="o", markersize=4, capsize=2, **look)


@styled
def confusion_figure(matrix: np.ndarray) -> Figure:
    """What a judge takes for what, (24, 24) counts: shares of each row in percent, without what is found."""
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, np.nan)
    figure, axis = subplots(width=6.4, height=5.4)
    shown = axis.imshow(shares, cmap="cividis", vmin=0, vmax=max(1.0, float(np.nanmax(shares))))
    axis.set_xticks(range(len(CLASSES)), CLASSES, rotation=90, fontsize=7)
    axis.set_yticks(range(len(CLASSES)), CLASSES, fontsize=7)
    axis.grid(False)
    axis.set(xlabel="found instead", ylabel="in the picture")
    figure.colorbar(shown, ax=axis, label="% of the objects in the pictures", shrink=0.8)
    return figure


@styled
def error_types_figure(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """The share of objects with each type of error: a group of bars a type, a bar a list. `scores` holds rows by list,
    each with error_type, share, low and high."""
    figure, axis = subplots(height=2.6)
    height = 0.8 / len(scores)
    for place, ((name, rows), colour) in enumerate(zip(scores.items(), COLOURS, strict=False)):
        share, low, high = (100 * np.array([row[key] for row in rows]) for key in ("share", "low", "high"))
        look: dict[str, Any] = {"color": (colour, 0.4), "ecolor": colour, "label": name, "capsize": 2}
        y = np.arange(len(rows)) + place * height
        axis.barh(y, share, height, xerr=np.abs([share - low, high - share]), **look)
    kinds = [row["error_type"] for row in next(iter(scores.values()))]
    axis.set_yticks(np.arange(len(kinds)) + 0.4 - height / 2, kinds)
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    axis.set_xlabel("% of the objects asked for, with 95% interval")
    axis.legend(loc="upper right")
    return figure

"""Figures about the judges: their examination, what they confuse, and what goes wrong in drawn pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lab7.judge.error_types import KINDS
from lab7.plots.style import COLOURS, DASHES, INK, STYLE, new_figure, to_shown
from lab7.vocabulary import CLASSES


def judges_figure(exams: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Calibration, accuracy by number of objects and by how much of an object is hidden: one line a judge."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.7)
        calibration, counts, hidden = figure.subplots(1, 3)
        calibration.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        for (name, exam), colour, dash in zip(exams.items(), COLOURS, DASHES, strict=False):
            style = {"color": colour, "linestyle": dash, "label": name}
            _points(calibration, [row["said"] for row in exam["calibration"]], exam["calibration"], "true", style)
            rows = exam["clean"]["per_count"]
            _points(counts, [row["objects"] for row in rows], rows, "accuracy", style)
            _points(hidden, list(range(len(exam["hidden"]))), exam["hidden"], "accuracy", style)
        calibration.set(xlabel="probability given", ylabel="share that is there")
        calibration.set_title("calibration")
        counts.set(xlabel="objects in the picture", ylabel="found / shown")
        counts.set_xticks([1, 2, 3])
        counts.set_title("by number")
        counts.legend(loc="lower left")
        bins = next(iter(exams.values()))["hidden"]
        hidden.set_xticks(range(len(bins)), [f"{100 * row['from']:.0f} to {100 * row['to']:.0f}" for row in bins])
        hidden.tick_params(axis="x", labelrotation=30)
        hidden.set(xlabel="% of the object hidden", ylabel="found / shown")
        hidden.set_title("by what is hidden")
    return figure


def _points(axis: Axes, x: Sequence[float], rows: Sequence[Mapping[str, float]], key: str, style: dict) -> None:
    y = np.array([row[key] for row in rows])
    reach = np.abs(np.array([[row["low"] for row in rows], [row["high"] for row in rows]]) - y)
    axis.errorbar(x, y, yerr=reach, marker="o", markersize=4, capsize=2, **style)


def confusion_figure(matrix: np.ndarray, title: str) -> Figure:
    """What a judge takes for what: shares of each row in percent; what is found right is left out."""
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, np.nan)
    with mpl.rc_context(STYLE):
        figure = new_figure(6.4, 5.4)
        axis = figure.subplots()
        shown = axis.imshow(shares, cmap="cividis", vmin=0, vmax=max(1.0, float(np.nanmax(shares))))
        axis.set_xticks(range(len(CLASSES)), CLASSES, rotation=90, fontsize=7)
        axis.set_yticks(range(len(CLASSES)), CLASSES, fontsize=7)
        axis.grid(False)
        axis.set(xlabel="read as", ylabel="shown")
        axis.set_title(title)
        figure.colorbar(shown, ax=axis, label="% of the objects shown", shrink=0.8)
    return figure


def error_types_figure(
    shares: Mapping[str, Sequence[float]], colours: np.ndarray, shapes: np.ndarray, names: tuple[Sequence, Sequence]
) -> Figure:
    """What goes wrong: the share of each of mistakes.KINDS, one bar a list; and which colour and shape was drawn for
    which (rows: asked for), in percent of each row."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.9)
        bars, left, right = figure.subplots(1, 3, width_ratios=(1.5, 1.3, 0.9))
        width = 0.8 / len(shares)
        for place, ((name, values), colour) in enumerate(zip(shares.items(), COLOURS, strict=False)):
            bars.bar(np.arange(len(KINDS)) + place * width, values, width, color=colour, label=name)
        bars.set_xticks(np.arange(len(KINDS)) + 0.4 - width / 2, KINDS, rotation=40, ha="right", fontsize=7.5)
        bars.set_ylabel("share of the objects asked for")
        bars.grid(False, axis="x")
        bars.legend()
        for axis, matrix, labels, title in ((left, colours, names[0], "colour"), (right, shapes, names[1], "shape")):
            rows = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            axis.imshow(rows, cmap="cividis", vmin=0, vmax=100)
            for i, j in np.ndindex(*rows.shape):
                if rows[i, j] >= 0.5:
                    ink = "white" if rows[i, j] < 55 else INK
                    axis.text(j, i, f"{rows[i, j]:.0f}", ha="center", va="center", fontsize=7, color=ink)
            axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7.5)
            axis.set_yticks(range(len(labels)), labels, fontsize=7.5)
            axis.grid(False)
            axis.set(xlabel="drawn", ylabel="asked for")
            axis.set_title(f"{title}, % of a row")
    return figure


def example_pictures(examples: Mapping[str, Sequence[tuple[Tensor, str]]], columns: int = 6) -> Figure:
    """Rows of pictures (3, H, W), each row of one kind, with a line of text below each."""
    with mpl.rc_context(STYLE):
        figure = new_figure(1.0 + columns * 1.0, len(examples) * 1.4)
        axes = figure.subplots(len(examples), columns, squeeze=False)
        for row, (kind, pictures) in zip(axes, examples.items(), strict=True):
            for axis in row:
                axis.set_axis_off()
            for axis, (picture, told) in zip(row, pictures, strict=False):
                axis.imshow(to_shown(picture))
                axis.set_title(told, fontsize=6.6, fontweight="normal", loc="center", y=-0.42)
            row[0].text(-0.12, 0.5, kind, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    return figure

"""Figures about what was drawn: pictures with their labels, what clamping does, accuracies with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from lab7.plots.style import COLOURS, DASHES, INK, STYLE, new_figure, to_shown

FOUND, MISSED = "#222222", "#C44601"  # a miss is also marked by a cross


def labelled_pictures(
    pictures: Tensor, conditions: Sequence[Sequence[str]], found: Sequence[Sequence[bool]], title: str, columns: int = 8
) -> Figure:
    """Pictures (N, 3, H, W) with the objects asked for; those that the judge did not find have a cross and a colour."""
    rows = -(-len(pictures) // columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(columns * 0.92, rows * 1.3 + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, picture, names, hits in zip(axes, pictures, conditions, found, strict=False):
            axis.imshow(to_shown(picture))
            for line, (name, hit) in enumerate(zip(names, hits, strict=True)):
                axis.text(
                    0.5,
                    -0.04 - 0.145 * line,
                    name if hit else f"\u00d7 {name}",
                    transform=axis.transAxes,
                    ha="center",
                    va="top",
                    fontsize=6.6,
                    color=FOUND if hit else MISSED,
                )
            axis.text(0, -0.48, " ", transform=axis.transAxes, va="top", fontsize=6.6)  # three lines' room for all
        figure.suptitle(title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure


def pixel_histograms(samples: Sequence[tuple[str, Tensor]]) -> Figure:
    """How the values of pixels are spread, for several ways to draw; the range of a picture, [-1, 1], is shaded."""
    bins = np.linspace(-2.2, 2.2, 111)
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.5)
        axis = figure.subplots()
        axis.axvspan(-1, 1, color="#F0F0F0")
        for (name, values), colour, dash in zip(samples, COLOURS, DASHES, strict=False):
            numbers = np.clip(values.flatten().numpy(), -2.2, 2.2)
            axis.hist(numbers, bins=list(bins), density=True, histtype="step", color=colour, linestyle=dash, label=name)
        axis.set_yscale("log")
        axis.set(xlabel="value of a pixel (shaded: what a screen can show)", ylabel="density")
        axis.legend(loc="upper right")
    return figure


def accuracy_points(table: pd.DataFrame) -> Figure:
    """One line a run and list: our accuracy with its 95% interval, beside the number of the report.

    Columns of the table: label, accuracy, low, high, reported (NaN where the report says nothing).
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(height=0.9 + 0.42 * len(table))
        axis = figure.subplots()
        y = np.arange(len(table))[::-1]
        reach = np.stack([table.accuracy - table.low, table.high - table.accuracy])
        axis.errorbar(table.accuracy, y, xerr=reach, fmt="o", color=COLOURS[0], capsize=3, label="ours, 95% interval")
        axis.plot(table.reported, y, "D", color=COLOURS[1], linestyle="none", label="the report, one run")
        axis.set_yticks(y, table.label)
        axis.set_ylim(-0.6, len(table) - 0.4)
        axis.set_xlim(0, 1)
        axis.grid(False, axis="y")
        axis.set_xlabel("objects found / objects asked for")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def arms_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Arms on all lists together, a line each: the accuracy of every training, and the difference to its baseline.

    `rows` are those of `results.arm_rows` for the list "all", in groups that begin with their baseline.
    """
    figure = _beside_baselines(rows, "objects found, 95% interval", {"helps": True, "hurts": False})
    figure.axes[0].set_xlim(0, 1)
    return figure


def sensitivity_figure(table: pd.DataFrame) -> Figure:
    """Arms and how much they listen, a line each, beside their baseline; `table` is that of `sensitivity_table`."""
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return _beside_baselines(rows, "listening in %, 95% interval", {"more sensitive": True, "less sensitive": False})


def _beside_baselines(rows: Sequence[Mapping[str, Any]], label: str, words: Mapping[str, bool]) -> Figure:
    """A line a row: on the left by_seed and low to high, on the right the difference with a mark for its verdict, whose
    first words are one of `words`: whether it is better."""
    looks = {True: ("^", COLOURS[2]), False: ("v", COLOURS[1])}
    marks = {word: looks[better] for word, better in words.items()}
    with mpl.rc_context(STYLE):
        figure = new_figure(height=1.1 + 0.26 * len(rows))
        left, right = figure.subplots(1, 2, sharey=True)
        y = np.arange(len(rows))[::-1]
        for place, row in zip(y, rows, strict=True):
            left.plot(
                [row["low"], row["high"]], [place, place], "-", color="#A9C9DD", linewidth=5, solid_capstyle="butt"
            )
            left.plot(row["by_seed"], [place] * len(row["by_seed"]), "o", color=COLOURS[0], markersize=4.5)
            if row["difference"] == row["difference"]:
                mark, colour = marks.get(row["verdict"].partition(",")[0], ("o", INK))
                right.plot([row["diff_low"], row["diff_high"]], [place, place], "-", color=colour)
                right.plot(row["difference"], place, mark, color=colour)
        right.axvline(0, color=INK, linewidth=0.8, linestyle="-")
        left.set_yticks(y, [row["title"] for row in rows])
        left.set_ylim(-0.6, len(rows) - 0.4)
        left.set(xlabel=label)
        right.set(xlabel="difference, 95% interval")
        for name, (mark, colour) in ({"cannot be told": ("o", INK)} | marks).items():
            right.plot([], [], mark, linestyle="-", color=colour, label=name)
        left.plot([], [], "o", linestyle="none", color=COLOURS[0], markersize=4.5, label="one training")
        left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
        right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1, handlelength=1.4)
    return figure


def sensitivity_curves(panels: Mapping[str, Mapping[str, Sequence[Sequence[Sequence[float]]]]]) -> Figure:
    """How much networks listen against the pictures that they have seen: panel -> arm -> a curve a training.

    A curve is a list of (pictures seen, percent). The first arm of each panel is drawn in grey, as the baseline.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(height=0.3 + 2.35 * rows)
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False)  # scales of y differ by ten times
        for axis, (title, arms) in zip(axes.ravel(), panels.items(), strict=False):
            looks = [("#8C8C8C", "-"), *zip(COLOURS, DASHES, strict=False)]
            for (name, curves), (colour, dash) in zip(arms.items(), looks, strict=False):
                for number, curve in enumerate(curves):
                    seen, heard = zip(*curve, strict=True)
                    axis.plot(seen, heard, color=colour, linestyle=dash, label="_" * bool(number) + name)
            axis.set(title=title, xscale="log")
            axis.legend(loc="best", fontsize=7.5)
        for axis in axes[-1]:
            axis.set_xlabel("pictures seen")
        for axis in axes[:, 0]:
            axis.set_ylabel("listening, %")
    return figure


def accuracy_against(table: pd.DataFrame, x: str, label: str) -> Figure:
    """Accuracy with its interval against a number, one line a group.

    Columns of the table: `x`, group, accuracy, low, high.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.6)
        axis = figure.subplots()
        for k, (name, part) in enumerate(table.groupby("group", sort=False)):
            reach = np.stack([part.accuracy - part.low, part.high - part.accuracy])
            style: dict[str, Any] = {"color": COLOURS[k % 7], "linestyle": DASHES[k % 7]}
            axis.errorbar(
                part[x] * (1 + 0.015 * k), part.accuracy, yerr=reach, marker="o", capsize=3, label=name, **style
            )
        axis.set(xlabel=label, ylabel="objects found / asked for", ylim=(0, 1))
        axis.set_xticks(sorted(set(table[x])))
        axis.legend()
    return figure


def wilson_by_size(curves: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]], marks: Sequence[int]) -> Figure:
    """The 95% interval of an accuracy against the number of objects counted; curves are (name, sizes, low, high)."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.5)
        axis = figure.subplots()
        for (name, sizes, low, high), colour in zip(curves, COLOURS, strict=False):
            axis.fill_between(sizes, low, high, color=colour, alpha=0.25, linewidth=0)
            axis.plot(sizes, low, color=colour, linestyle="-", linewidth=1)
            axis.plot(sizes, high, color=colour, linestyle="-", linewidth=1, label=name)
        for mark in marks:
            axis.axvline(mark, color=INK, linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set(
            xlabel="objects counted (dotted: 72, as in one pass over test.json)", ylabel="95% interval of the accuracy"
        )
        axis.legend()
    return figure

"""Figures about scores: pictures with their labels, accuracies with their intervals, arms, and what clamping does."""

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
BAND = "#A9C9DD"  # of an interval


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
    """One line a run and list: our accuracy with its 95% interval, and the number of the report.

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
    """Arms on all lists together, a line each: the accuracy of every training, and the difference to the baseline.

    `rows` are those of `results.arm_rows` for the list "all": title, by_seed, low, high, difference, diff_low,
    diff_high; the last three NaN where there is no baseline.
    """
    figure = _arms_and_differences(rows, "objects found / asked for")
    figure.axes[0].set_xlim(0, 1)
    return figure


def sensitivity_figure(table: pd.DataFrame) -> Figure:
    """The condition sensitivity of arms, a line each, and the difference to the baseline; `table` has the columns that
    `arms_figure` names."""
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return _arms_and_differences(rows, "condition sensitivity in %")


def _arms_and_differences(rows: Sequence[Mapping[str, Any]], label: str) -> Figure:
    looks = {"lower": ("v", COLOURS[1]), "interval includes 0": ("o", INK), "higher": ("^", COLOURS[2])}
    with mpl.rc_context(STYLE):
        figure = new_figure(height=1.1 + 0.26 * len(rows))
        left, right = figure.subplots(1, 2, sharey=True)
        y = np.arange(len(rows))[::-1]
        for place, row in zip(y, rows, strict=True):
            left.plot([row["low"], row["high"]], [place] * 2, "-", color=BAND, linewidth=5, solid_capstyle="butt")
            left.plot(row["by_seed"], [place] * len(row["by_seed"]), "o", color=COLOURS[0], markersize=4.5)
            kind = "higher" if row["diff_low"] > 0 else "lower" if row["diff_high"] < 0 else "interval includes 0"
            mark, colour = looks[kind]
            right.plot([row["diff_low"], row["diff_high"]], [place] * 2, "-", color=colour)
            right.plot(row["difference"], place, mark, color=colour)
        right.axvline(0, color=INK, linewidth=0.8, linestyle="-")
        left.set_yticks(y, [row["title"] for row in rows])
        left.set_ylim(-0.6, len(rows) - 0.4)
        left.set(xlabel=label)
        right.set(xlabel="difference to the baseline")
        left.plot([], [], "o", linestyle="none", color=COLOURS[0], markersize=4.5, label="one training")
        left.plot([], [], "-", color=BAND, linewidth=5, label="95% interval")
        for name, (mark, colour) in looks.items():
            right.plot([], [], mark, linestyle="-", color=colour, label=name)
        left.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, columnspacing=1, handlelength=1.2)
        right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1, handlelength=1.2)
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


def clamp_figure(record: Mapping[str, Any], titles: Mapping[str, str]) -> Figure:
    """What clamping does to young networks, a row for each kind of pictures in `titles`: the share of predicted pixels
    that are black or white, step by step, and the pixels of what was drawn. `record` is clamping.json: for each kind
    "clamps" by place ("none", "output", "x_0"), each with "steps" (t, white, black) and the "histogram" of 60 bins."""
    names = {"none": "no clamp", "output": "output once", "x_0": "$\\hat x_0$ at every step"}
    edges = np.linspace(-1.5, 1.5, 61)
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.3 * len(titles))
        grid = figure.subplots(len(titles), 2, squeeze=False)
        for (left, right), (kind, title) in zip(grid, titles.items(), strict=True):
            for (clamp, drawn), colour, dash in zip(record[kind]["clamps"].items(), COLOURS, DASHES, strict=False):
                if clamp != "output":  # which changes nothing on the way
                    t = [step["t"] for step in drawn["steps"]]
                    outside = [step["white"] + step["black"] for step in drawn["steps"]]
                    left.plot(t, outside, color=colour, linestyle=dash)
                shares = np.array(drawn["histogram"]) + 1e-7
                right.stairs(shares, edges, color=colour, linestyle=dash, label=names[clamp])
            left.set(title=title, ylabel="share of $\\hat x_0$ beyond [−1, 1]", ylim=(0, 1))
            left.invert_xaxis()
            right.set(ylabel="share of pixels", yscale="log", ylim=(1e-4, 1))
            for low, high in ((-1.5, -1), (1, 1.5)):
                right.axvspan(low, high, color="#000000", alpha=0.06, lw=0)
        grid[-1][0].set_xlabel("t")
        grid[-1][1].set_xlabel("value of a drawn pixel (beyond ±1.5: not shown)")
        grid[0][1].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1, handlelength=1.4)
    return figure

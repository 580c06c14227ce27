"""Figures about scores: pictures with their labels, accuracies with their intervals, arms, and what clamping does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from lab7.plots.style import COLOURS, DASHES, INK, styled, subplots, to_shown

FOUND, MISSED = "#222222", "#C44601"  # a miss is also marked by a cross
BAND = "#A9C9DD"  # of an interval


@styled
def labelled_pictures(pictures: Tensor, conditions: Sequence[Sequence], found: Sequence, title: str) -> Figure:
    """Pictures (N, 3, H, W) with the objects asked for; those that the judge did not find have a cross and a colour."""
    columns, rows = 8, -(-len(pictures) // 8)
    figure, axes = subplots(rows, columns, squeeze=False, width=columns * 0.92, height=rows * 1.3 + 0.3)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, picture, names, hits in zip(axes.flat, pictures, conditions, found, strict=False):
        text: dict[str, Any] = {"transform": axis.transAxes, "va": "top", "fontsize": 6.6}
        axis.imshow(to_shown(picture))
        for line, (name, hit) in enumerate(zip(names, hits, strict=True)):
            shown, colour = (name, FOUND) if hit else (f"× {name}", MISSED)
            axis.text(0.5, -0.04 - 0.145 * line, shown, ha="center", color=colour, **text)
        axis.text(0, -0.48, " ", **text)  # three lines' room for all
    figure.suptitle(title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure


@styled
def accuracy_points(table: pd.DataFrame) -> Figure:
    """One line an arm and list: our accuracy with its 95% interval, each training, and the report's. Columns of the
    table: label, accuracy, low, high, by_seed (a list), reported (NaN where the report says nothing)."""
    figure, axis = subplots(height=0.9 + 0.42 * len(table))
    y = np.arange(len(table))[::-1]
    reach = np.stack([table.accuracy - table.low, table.high - table.accuracy])
    axis.errorbar(table.accuracy, y, xerr=reach, fmt="o", color=COLOURS[0], capsize=3, label="ours, 95% interval")
    for place, accuracies in zip(y, table.by_seed, strict=True):
        axis.plot(accuracies, [place] * len(accuracies), "|", color=INK, markersize=9)
    axis.plot([], [], "|", linestyle="none", color=INK, markersize=9, label="each training")
    axis.plot(table.reported, y, "D", color=COLOURS[1], linestyle="none", label="the report")
    axis.set_yticks(y, table.label)
    axis.set(xlim=(0, 1.02), ylim=(-0.6, len(table) - 0.4), xlabel="objects found / objects asked for")
    axis.grid(False, axis="y")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


@styled
def arms_figure(
    rows: Sequence[Mapping[str, Any]], xlabel: str = "objects found / asked for", xlim: Any = (0, 1.02)
) -> Figure:
    """Arms, a line each: the value of every training, by default the accuracy, and the difference to the baseline.

    Shown are title, by_seed, low, high, and of arms with a baseline difference, diff_low, diff_high (else NaN).
    """
    looks = {"lower": ("v", COLOURS[1]), "interval includes 0": ("o", INK), "higher": ("^", COLOURS[2])}
    figure, (left, right) = subplots(1, 2, sharey=True, height=0.95 + 0.13 * len(rows))
    y = np.arange(len(rows))[::-1]
    for place, row in zip(y, rows, strict=True):
        left.plot([row["low"], row["high"]], [place] * 2, "-", color=BAND, linewidth=5, solid_capstyle="butt")
        left.plot(row["by_seed"], [place] * len(row["by_seed"]), "o", color=COLOURS[0], markersize=4.5)
        kind = "higher" if row["diff_low"] > 0 else "lower" if row["diff_high"] < 0 else "interval includes 0"
        mark, colour = looks[kind]
        right.plot([row["diff_low"], row["diff_high"]], [place] * 2, "-", color=colour)
        right.plot(row["difference"], place, mark, color=colour)
    right.axvline(0, color=INK, linewidth=0.8, linestyle="-")
    left.set_yticks(y, [row["title"] for row in rows], fontsize=7.5)
    left.set(ylim=(-0.6, len(rows) - 0.4), xlabel=xlabel, xlim=xlim)
    right.set(xlabel="difference to the arm's baseline")
    left.plot([], [], "o", linestyle="none", color=COLOURS[0], markersize=4.5, label="one training")
    left.plot([], [], "-", color=BAND, linewidth=5, label="95% interval")
    for name, (mark, colour) in looks.items():
        right.plot([], [], mark, linestyle="-", color=colour, label=name)
    left.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, columnspacing=1, handlelength=1.2)
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1, handlelength=1.2)
    return figure


@styled
def clamp_figure(outside: Mapping[str, Sequence[tuple[int, float]]], pictures: Mapping[str, Tensor]) -> Figure:
    """What clamping does in a young network, by the way of clamping: (t, share of the guess's pixels beyond [-1, 1])
    on the way, and the pixels of the drawn pictures (N, 3, H, W), where those beyond 2 count as 2."""
    figure, (left, right) = subplots(1, 2, height=2.2)
    edges = np.linspace(-2, 2, 81)
    for (name, drawn), colour, dash in zip(pictures.items(), COLOURS, DASHES, strict=False):
        if name in outside:
            left.plot(*zip(*outside[name], strict=True), color=colour, linestyle=dash)
        shares = np.histogram(drawn.clamp(-2, 2), edges)[0] / drawn.numel()
        right.stairs(shares + 1e-6, edges, color=colour, linestyle=dash, label=name)
    left.set(xlabel="t", ylabel="guess beyond [−1, 1]", ylim=(-0.03, 1))
    left.invert_xaxis()
    right.set(xlabel="value of a drawn pixel", ylabel="share of pixels", yscale="log", ylim=(1e-4, 1))
    for low, high in ((-2, -1), (1, 2)):
        right.axvspan(low, high, color="#000000", alpha=0.06, lw=0)
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure

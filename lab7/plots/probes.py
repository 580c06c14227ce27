"""Figures about what was probed in a trained U-Net: losses by noise level, drifting statistics, clamps at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lab7.plots.style import COLOURS, DASHES, STYLE, new_figure


def level_figure(
    levels: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    drift: Sequence[Mapping[str, float]] = (),
    ylabel: str = "loss at that level",
) -> Figure:
    """The loss at each noise level, a line a variant of the network; with `drift` (rows with t, shift and spread) a
    second panel tells how far the level's own statistics lie from the kept ones."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.7)
        axes = figure.subplots(1, 2 if drift else 1, squeeze=False)[0]
        for (name, values), colour, dash in zip(losses.items(), COLOURS, DASHES, strict=False):
            axes[0].plot(levels, values, color=colour, linestyle=dash, marker="o", markersize=3, label=name)
        axes[0].set(xlabel="noise level t", ylabel=ylabel, yscale="log")
        axes[0].legend()
        if drift:
            t = [row["t"] for row in drift]
            axes[1].plot(t, [row["shift"] for row in drift], DASHES[0], color=COLOURS[0], marker="o", markersize=3)
            axes[1].plot(t, [row["spread"] for row in drift], DASHES[1], color=COLOURS[1], marker="o", markersize=3)
            axes[1].set(xlabel="noise level t", ylabel="in kept deviations", ylim=(0, None))
            axes[1].annotate("deviation", (t[-1], drift[-1]["spread"]), (0, 6), textcoords="offset points", ha="right")
            axes[1].annotate(
                "|mean − kept mean|", (t[-1], drift[-1]["shift"]), (0, 6), textcoords="offset points", ha="right"
            )
    return figure


def clamp_figure(record: Mapping[str, Any], titles: Mapping[str, str]) -> Figure:
    """For each kind of pictures in `titles`: the share of predicted pixels at or beyond white and black on the way, and
    the pixels of what was drawn, by where it was clamped. `record` is the part "clamp" of explanations.json."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.4 * len(titles))
        grid = figure.subplots(len(titles), 2, squeeze=False)
        edges = np.linspace(-1.5, 1.5, 61)
        for (left, right), (kind, title) in zip(grid, titles.items(), strict=True):
            for (where, told), colour, dash in zip(record[kind]["clamps"].items(), COLOURS, DASHES, strict=False):
                name = {"none": "no clamp", "output": "output once", "x_0": "x_0 at every step"}[where]
                if where != "output":  # which changes nothing on the way
                    t = [step["t"] for step in told["steps"]]
                    outside = [step["white"] + step["black"] for step in told["steps"]]
                    left.plot(t, outside, color=colour, linestyle=dash, label=name)
                right.stairs(np.array(told["histogram"]) + 1e-7, edges, color=colour, linestyle=dash, label=name)
            left.set(title=title, xlabel="t", ylabel="guessed $x_0$ beyond [−1, 1]", ylim=(0, 1))
            left.invert_xaxis()
            right.set(
                xlabel="value of a drawn pixel (beyond ±1.5: not shown)", ylabel="share", yscale="log", ylim=(1e-4, 30)
            )
            right.axvspan(-1.5, -1, color="#000000", alpha=0.06, lw=0)
            right.axvspan(1, 1.5, color="#000000", alpha=0.06, lw=0)
        grid[0][1].legend(loc="upper center", ncols=2, fontsize=7.5)
        grid[0][0].legend()
    return figure

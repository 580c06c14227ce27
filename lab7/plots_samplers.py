"""Figures about samplers: what their steps buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab7.metrics import wilson
from lab7.plots import COLOURS, DASHES, STYLE, new_figure


def steps_figure(record: Mapping[str, Any]) -> Figure:
    """Objects found, with the 95% Wilson interval, and Frechet distance against the number of steps, a line a sampler.

    `record` is the samplers.json of a run: "plans", each with sampler, spacing, stop_at, steps,
    accuracy by list and frechet.
    """
    plans = list(record["plans"].values())
    names = sorted({kind_of(plan) for plan in plans})
    floor = plans[0]["frechet"]["floor"]
    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.0)
        left, right = figure.subplots(1, 2)
        for kind, colour, dash in zip(names, COLOURS, DASHES, strict=False):
            mine = sorted((plan for plan in plans if kind_of(plan) == kind), key=lambda plan: plan["steps"])
            steps = [plan["steps"] for plan in mine]
            sampler, spacing, stop_at = kind
            label = sampler + (", log SNR" if spacing == "log_snr" else "") + (f", to {stop_at:g} T" if stop_at else "")
            draw_shares(left, steps, [pooled(plan) for plan in mine], color=colour, linestyle=dash, label=label)
            distances = [plan["frechet"]["distance"] for plan in mine]
            right.plot(steps, distances, color=colour, linestyle=dash, marker="o", markersize=3.5)
        right.axhline(floor, color="#777777", linewidth=0.8)
        right.text(
            0.98, floor, "renders against renders", transform=right.get_yaxis_transform(), ha="right", va="bottom"
        )
        left.set(xscale="log", xlabel="steps", ylabel="objects found, three lists")
        right.set(xscale="log", xlabel="steps", ylabel="Frechet distance (judge's features)")
        right.set_ylim(bottom=0)
        for axis in (left, right):
            axis.set_xticks([4, 8, 16, 50, 100, 1000], ["4", "8", "16", "50", "100", "1000"])
            axis.minorticks_off()
        left.legend(loc="lower right")
    return figure


def draw_shares(axis: Axes, places: Sequence[float], scores: Sequence[tuple[int, int]], **line: Any) -> None:
    """A line of hits / total with its 95% Wilson interval as a band; `line` goes to Axes.plot."""
    low, high = zip(*(wilson(*score) for score in scores), strict=True)
    axis.fill_between(places, low, high, color=line["color"], alpha=0.15, lw=0)
    if len(places) == 1:  # too few for a band
        axis.vlines(places, low, high, color=line["color"], alpha=0.4, lw=2)
    axis.plot(places, [hits / total for hits, total in scores], marker="o", markersize=3.5, **line)


def error_figure(rows: Sequence[Mapping[str, float]], num_steps: int, stop_at: float) -> Figure:
    """What `probes.errors_of_x_0` found, against t / T, with the place where the sampler stops asking."""
    times = [row["t"] / num_steps for row in rows]
    lines = {
        "objects": "objects and shadows",
        "flat": "flat background",
        "flat_itself": "flat background, mean as guess",
    }
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.6)
        axis = figure.subplots()
        for (key, label), colour, dash in zip(lines.items(), COLOURS, DASHES, strict=False):
            axis.plot(times, [row[key] for row in rows], color=colour, linestyle=dash, marker="o", ms=3.5, label=label)
        axis.axvline(stop_at, color="#777777", linewidth=0.8)
        axis.text(stop_at, 0.98, " not asked below", transform=axis.get_xaxis_transform(), va="top")
        axis.set(xlabel="t / T", ylabel="error of predicted x_0\n(root mean square)")
        axis.set_ylim(bottom=0)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def pooled(plan: Mapping[str, Any], kind: str = "top_k") -> tuple[int, int]:
    """Hits and total of a plan over all lists."""
    scores = [found[kind] for found in plan["accuracy"].values()]
    return sum(score["hits"] for score in scores), sum(score["total"] for score in scores)


def kind_of(plan: Mapping[str, Any]) -> tuple[str, str, float]:
    """Sampler, spacing and stop_at of a plan; plans of different steps may be of one kind."""
    return plan["sampler"], plan["spacing"], plan.get("stop_at", 0.0)

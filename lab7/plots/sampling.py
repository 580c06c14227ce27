"""Figures about samplers: what more steps and more candidates bring."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab7.judge.metrics import wilson
from lab7.plots.style import COLOURS, DASHES, styled, subplots


@styled
def steps_figure(record: Mapping[str, Any]) -> Figure:
    """Objects found, with the 95% Wilson interval, and Frechet distance against the number of steps, a line a sampler;
    of a samplers.json those plans that draw each picture once."""
    plans = sorted((p for p in record["plans"].values() if p["num_candidates"] == 1), key=lambda p: p["steps"])
    kinds = [(plan["sampler"], plan["timestep_spacing"], plan["t_end"]) for plan in plans]
    taken = sorted({plan["steps"] for plan in plans})
    marks = taken if len(taken) < 6 else [mark for mark in (4, 8, 16, 25, 50, 100, 1000) if mark <= taken[-1]]
    figure, (left, right) = subplots(1, 2, height=3.0)
    for kind, colour, dash in zip(sorted(set(kinds)), COLOURS, DASHES, strict=False):
        mine = [plan for plan, its_kind in zip(plans, kinds, strict=True) if its_kind == kind]
        steps = [plan["steps"] for plan in mine]
        sampler, spacing, t_end = kind
        label = sampler + (", log SNR" if spacing == "log_snr" else "") + (f", to {t_end:g} T" if t_end else "")
        draw_shares(left, steps, [pooled(plan) for plan in mine], color=colour, linestyle=dash, label=label)
        distances = [plan["frechet"]["distance"] for plan in mine]
        right.plot(steps, distances, color=colour, linestyle=dash, marker="o", markersize=3.5)
    floor = plans[0]["frechet"]["floor"]
    right.axhline(floor, color="#777777", linewidth=0.8)
    right.text(0.98, floor, "renders and renders", transform=right.get_yaxis_transform(), ha="right", va="bottom")
    left.set_ylabel("objects found, three lists")
    right.set(ylabel="Frechet distance (judge's features)", ylim=(0, None))
    for axis in (left, right):
        axis.set(xscale="log", xlabel="steps")
        axis.set_xticks(marks, [str(mark) for mark in marks])
        axis.minorticks_off()
    left.legend(loc="lower right")
    return figure


@styled
def best_of_n_figure(ratios: np.ndarray, complete: np.ndarray, threshold: float, plans: Sequence[Mapping]) -> Figure:
    """Left: the least class error ratio of pictures drawn once (N,), by whether the judge finds all that was asked,
    `complete` (N,) of bool. Right: what more candidates bring; `plans` as `plans_like` gives them."""
    kinds = ("top_k", "exact", "exact_without_duplicates")
    bins, labels = np.linspace(-0.75, 2.5, 27), ("objects found", "all of them, nothing else", "and no duplicate")
    figure, (left, right) = subplots(1, 2, height=2.9)
    groups = {"all objects there": complete, "one missing": ~complete}
    for (label, mask), colour, dash in zip(groups.items(), COLOURS, DASHES, strict=False):
        values = ratios[mask].clip(bins[0], bins[-1])
        left.hist(values, bins=bins, histtype="step", color=colour, linestyle=dash, label=label, linewidth=1.4)
    left.axvline(threshold, color="#777777", linewidth=0.8)
    left.text(threshold, 1.01, "threshold", transform=left.get_xaxis_transform(), ha="center", va="bottom")
    left.set(xlabel="least class error ratio", ylabel="pictures")
    left.legend(title="for the judge", loc="upper right")
    candidates = [plan["num_candidates"] for plan in plans]
    for kind, label, colour, dash in zip(kinds, labels, COLOURS, DASHES, strict=False):
        shares = [pooled(plan, kind) for plan in plans]
        draw_shares(right, candidates, shares, color=colour, linestyle=dash, label=label)
    right.set(xlabel="candidates at most", ylabel="share, three lists")
    right.set_xticks(candidates, [str(number) for number in candidates])
    right.legend(loc="lower right")
    return figure


def draw_shares(axis: Axes, places: Sequence[float], scores: Sequence[tuple[int, int]], **line: Any) -> None:
    """A line of hits / total with its 95% Wilson interval as a band; `line` goes to Axes.plot."""
    low, high = zip(*(wilson(*score) for score in scores), strict=True)
    axis.fill_between(places, low, high, color=line["color"], alpha=0.15, lw=0)
    if len(places) == 1:  # too few for a band
        axis.vlines(places, low, high, color=line["color"], alpha=0.4, lw=2)
    axis.plot(places, [hits / total for hits, total in scores], marker="o", markersize=3.5, **line)


def pooled(plan: Mapping[str, Any], kind: str = "top_k") -> tuple[int, int]:
    """Hits and total of a plan over all lists."""
    scores = [by_kind[kind] for by_kind in plan["accuracy"].values()]
    return sum(score["hits"] for score in scores), sum(score["total"] for score in scores)


def plans_like(record: Mapping[str, Any], sampling: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The plans of a samplers.json that draw as the "sampling" of a result.json says, but for num_candidates, in order
    of these."""
    own = {key: sampling[key] for key in ("sampler", "timestep_spacing", "t_end", "guidance_scale")}
    own["steps"] = sampling["num_steps"]
    plans = (plan for plan in record["plans"].values() if all(plan.get(key) == value for key, value in own.items()))
    return sorted(plans, key=lambda plan: plan["num_candidates"])

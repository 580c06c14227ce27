"""What more steps of a sampler bring."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab7.judge.metrics import wilson
from lab7.plots.style import COLOURS, DASHES, styled, subplots


@styled
def steps_figure(record: Mapping[str, Any]) -> Figure:
    """Objects found, with the 95% Wilson interval, and Frechet distance against the number of steps, a line a sampler;
    of the plans of a samplers.json."""
    plans = sorted(record["plans"].values(), key=lambda plan: plan["num_steps"])
    taken = sorted({plan["num_steps"] for plan in plans})
    marks = taken if len(taken) < 6 else [mark for mark in (4, 8, 16, 25, 50, 100, 1000) if mark <= taken[-1]]
    figure, (left, right) = subplots(1, 2, height=3.0)
    for place, sampler in enumerate(sorted({plan["sampler"] for plan in plans})):
        look: dict[str, Any] = {"color": COLOURS[place], "linestyle": DASHES[place], "marker": "o"}
        look |= {"linewidth": 0.8 + 4 / (place + 1), "markersize": 3 + 5 / (place + 1)}  # so that equal lines show
        mine = [plan for plan in plans if plan["sampler"] == sampler]
        steps = [plan["num_steps"] for plan in mine]
        draw_shares(left, steps, [pooled(plan) for plan in mine], label=sampler, **look)
        distances = [plan["frechet"]["distance"] for plan in mine]
        right.plot(steps, distances, **look)
    floor = plans[0]["frechet"]["floor"]
    right.axhline(floor, color="#777777", linewidth=0.8)
    right.text(
        0.98, floor, "renders of the same conditions", transform=right.get_yaxis_transform(), ha="right", va="top"
    )
    left.set_ylabel("objects found, three lists")
    highest = max(plan["frechet"]["distance"] for plan in plans)
    right.set(ylabel="Frechet distance (judge's features)", ylim=(0, 1.15 * highest))
    for axis in (left, right):
        axis.set(xscale="log", xlabel="steps")
        axis.set_xticks(marks, [str(mark) for mark in marks])
        axis.minorticks_off()
    left.legend(loc="lower right")
    return figure


def draw_shares(axis: Axes, places: Sequence[float], scores: Sequence[tuple[int, int]], **line: Any) -> None:
    """A line of hits / total with its 95% Wilson interval as a band; `line` goes to Axes.plot."""
    low, high = zip(*(wilson(*score) for score in scores), strict=True)
    axis.fill_between(places, low, high, color=line["color"], alpha=0.15, lw=0)
    if len(places) == 1:  # too few for a band
        axis.vlines(places, low, high, color=line["color"], alpha=0.4, lw=2)
    look: dict[str, Any] = {"marker": "o", "markersize": 3.5} | line
    axis.plot(places, [hits / total for hits, total in scores], **look)


def pooled(plan: Mapping[str, Any]) -> tuple[int, int]:
    """Objects found and asked for over all lists."""
    scores = [by_kind["top_k"] for by_kind in plan["accuracy"].values()]
    return sum(score["hits"] for score in scores), sum(score["total"] for score in scores)

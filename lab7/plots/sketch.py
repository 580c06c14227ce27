"""The strokes of which a diagram is made: boxes, solids, arrows and words. Coordinates are inches.

Words have a size in points that does not change, so that every diagram of a page is in one type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from lab7.plots.network_parts import shape_text
from lab7.plots.style import COLOURS, INK, STYLE

BLUE, GREEN, PINK, ORANGE = COLOURS[0], COLOURS[2], COLOURS[3], COLOURS[4]
GREY = "#6B6B6B"
BROWN = "#8A5A00"  # orange that can be read as type
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A layer, or (without a colour) a tensor that comes in; and the shape that leaves it."""

    title: str
    detail: str
    shape: Sequence[int]
    colour: str | None = None


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of that many inches whose coordinates are inches, from the lower left corner."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def tint(colour: str, strength: float) -> tuple[float, ...]:
    """The colour mixed with white: 0 is white, 1 the colour itself."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    align: str = "center",
    *,
    bold: bool = False,
    size: float = 8,
    colour: str = INK,
    top: bool = False,
) -> None:
    """Words at a point, which is their middle or, with `top`, their upper edge."""
    axes.text(
        x,
        y,
        text,
        ha=align,
        va="top" if top else "center",
        fontsize=size,
        color=colour,
        linespacing=1.25,
        fontweight="bold" if bold else "normal",
        family=STYLE["font.family"],
    )


def arrow(axes: Axes, *points: Point, colour: str = INK, dashed: bool = False) -> None:
    """A line through the points with a head at the last."""
    style: dict[str, Any] = {"color": colour, "linewidth": 1.0, "zorder": 2}
    if len(points) > 2:
        axes.plot(*zip(*points[:-1], strict=True), linestyle=(0, (4, 2)) if dashed else "-", **style)
    axes.annotate(
        "",
        points[-1],
        points[-2],
        zorder=2,
        arrowprops={
            "arrowstyle": "-|>,head_width=0.16,head_length=0.32",
            "color": colour,
            "linewidth": 1.0,
            "shrinkA": 0,
            "shrinkB": 0,
            "linestyle": (0, (4, 2)) if dashed else "-",
        },
    )


def pill(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A small capsule with a word in it, as wide as the word needs, centred on the point."""
    _rounded(axes, x, y, max(0.2, 0.12 + 0.062 * len(text)), 0.2, 0.1, colour, 0.22)
    axes.text(x, y - 0.005, text, ha="center", va="center", fontsize=7.2, zorder=4)


def box(axes: Axes, x: float, y: float, width: float, item: Box) -> None:
    """A layer's box, centred on the point, with the shape that leaves it below; of a tensor the words alone."""
    if item.colour:
        _rounded(axes, x, y, width, 0.52, 0.05, item.colour, 0.16)
    lines = item.detail.count("\n") + 1 if item.detail else 0
    axes.text(
        x,
        y + 0.062 * lines,
        item.title,
        ha="center",
        va="center",
        fontsize=7.5,
        fontweight="normal" if item.colour else "bold",
        zorder=4,
    )
    if lines:
        colour = INK if item.colour else BROWN
        axes.text(x, y + 0.062 * lines - 0.075, item.detail, ha="center", va="top", fontsize=7, zorder=4, color=colour)
    below = 0.36 if item.colour else 0.14 + 0.065 * lines
    axes.text(x, y - below, shape_text(item.shape), ha="center", va="center", fontsize=7, zorder=4)


def frame(axes: Axes, x: float, y: float, width: float, height: float, label: str) -> None:
    """A pale ground from its lower left corner, with a label on its upper edge, to hold boxes together."""
    _rounded(axes, x + width / 2, y + height / 2, width, height, 0.08, GREY, 0.06, order=0)
    axes.text(x + 0.07, y + height - 0.11, label, ha="left", va="center", fontsize=7.4, color=GREY, zorder=4)


def cuboid(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """A solid whose front stands centred over (x, y), seen from the upper right; as deep as it is high."""
    back = 0.32 * height
    left, right = x - width / 2, x + width / 2
    front = [(left, y), (right, y), (right, y + height), (left, y + height)]
    roof = [front[3], front[2], (right + back, y + height + back), (left + back, y + height + back)]
    side = [front[1], front[2], (right + back, y + height + back), (right + back, y + back)]
    for face, strength in ((front, 0.55), (roof, 0.25), (side, 0.4)):
        axes.add_patch(
            Polygon(
                face,
                facecolor=tint(colour, strength),
                edgecolor=tint(colour, 0.95),
                linewidth=0.7,
                joinstyle="round",
                zorder=3,
            )
        )


def _rounded(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    corner: float,
    colour: str,
    strength: float,
    order: int = 3,
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={corner}",
            linewidth=0.9 if order else 0,
            edgecolor=colour,
            facecolor=tint(colour, strength),
            zorder=order,
        )
    )

"""What a diagram is drawn with: boxes, solids, arrows and text. Coordinates are inches, sizes of text are points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from lab7.plots.network_parts import Shape
from lab7.plots.style import COLOURS, INK, STYLE, styled

BLUE, GREEN, PINK, ORANGE = COLOURS[0], COLOURS[2], COLOURS[3], COLOURS[4]
GREY = "#6B6B6B"
BROWN = "#8A5A00"  # orange that is dark enough for text
SMALL = 7.2  # points
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A layer, or (without a colour) an incoming tensor; and the shape that leaves it."""

    title: str
    detail: str
    shape: Shape
    colour: str | None = None


@styled
def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of that many inches whose coordinates are inches, from the lower left corner."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def tint(colour: str, strength: float) -> tuple[float, ...]:
    """The colour mixed with white: 0 is white, 1 the colour itself."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def write(axes: Axes, x: float, y: float, text: str, align: str = "center", size: float = 8, **style: Any) -> None:
    """Text at a point; `style` as matplotlib's Text takes it."""
    style = {"va": "center", "color": INK, "linespacing": 1.25, "family": STYLE["font.family"], "zorder": 4} | style
    axes.text(x, y, text, ha=align, fontsize=size, **style)


def arrow(axes: Axes, *points: Point, colour: str = INK, dashed: bool = False) -> None:
    """A line through the points with a head at the last."""
    style: dict[str, Any] = {"color": colour, "linewidth": 1.0, "linestyle": (0, (4, 2)) if dashed else "-"}
    axes.plot(*zip(*points[:-1], strict=True), zorder=2, **style)
    head = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], zorder=2, arrowprops=head | style)


def pill(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A small capsule with a word in it, as wide as the word needs, centred on the point."""
    _rounded(axes, (x, y), (max(0.2, 0.12 + 0.062 * len(text)), 0.2), 0.1, colour, 0.22)
    write(axes, x, y - 0.005, text, size=SMALL)


def box(axes: Axes, x: float, y: float, width: float, item: Box) -> None:
    """A layer's box, centred on the point, with the shape that leaves it below; of a tensor the text alone."""
    if item.colour:
        _rounded(axes, (x, y), (width, 0.52), 0.05, item.colour, 0.16)
    lines = item.detail.count("\n") + 1 if item.detail else 0
    fits = 115 * (width - 0.05) / len(item.title)  # points at which the title is as wide as the box
    size, weight = (min(7.5, fits), "normal") if item.colour else (7.5, "bold")
    write(axes, x, y + 0.062 * lines, item.title, size=size, fontweight=weight)
    write(axes, x, y + 0.062 * lines - 0.075, item.detail, size=7, va="top", color=INK if item.colour else BROWN)
    write(axes, x, y - (0.36 if item.colour else 0.14 + 0.065 * lines), str(item.shape), size=6.7)


def chain(axes: Axes, x: float, y: float, step: float, boxes: Sequence[Box], label: str, enter: bool = True) -> float:
    """Boxes side by side from x on, on a labelled ground; arrows between them and, to `enter`, into the first.

    Returns where they end. Without a label there is no ground."""
    if label:
        frame(axes, x + 0.03, y - 0.5, len(boxes) * step - 0.06, 1.1, label)
    for item in boxes:
        if enter or item is not boxes[0]:
            arrow(axes, (x - 0.07, y), (x + 0.07, y))
        box(axes, x + step / 2, y, step - 0.15, item)
        x += step
    return x


def frame(axes: Axes, x: float, y: float, width: float, height: float, label: str) -> None:
    """A pale ground from its lower left corner, with a label on its upper edge, to hold boxes together."""
    _rounded(axes, (x + width / 2, y + height / 2), (width, height), 0.08, GREY, 0.06, edge=0)
    write(axes, x + 0.07, y + height - 0.11, label, "left", size=SMALL, color=GREY)


def cuboid(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """A solid whose front is centred over (x, y), seen from the upper right; as deep as it is high."""
    left, right, top, back = x - width / 2, x + width / 2, y + height, 0.32 * height
    front = [(left, y), (right, y), (right, top), (left, top)]
    roof = [(left, top), (right, top), (right + back, top + back), (left + back, top + back)]
    side = [(right, y), (right, top), (right + back, top + back), (right + back, y + back)]
    edge: dict[str, Any] = {"edgecolor": tint(colour, 0.95), "linewidth": 0.7, "joinstyle": "round", "zorder": 3}
    for face, strength in ((front, 0.55), (roof, 0.25), (side, 0.4)):
        axes.add_patch(Polygon(face, facecolor=tint(colour, strength), **edge))


def _rounded(
    axes: Axes, centre: Point, size: Point, corner: float, colour: str, fill: float, edge: float = 0.9
) -> None:
    """A rectangle with round corners; without an edge it stands behind everything."""
    (x, y), (width, height) = centre, size
    look: dict[str, Any] = {"linewidth": edge, "edgecolor": colour, "facecolor": tint(colour, fill)}
    look |= {"boxstyle": f"round,pad=0,rounding_size={corner}", "zorder": 3 if edge else 0}
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, **look))

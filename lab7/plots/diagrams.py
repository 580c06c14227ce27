"""The U-Net drawn from the live module (the report's Figures 1 to 7): what stands in a picture was read from it.

`unet_figure` draws the whole network, `block_figure` a block layer by layer, `embedding_figure` the way of the
condition. All take a UNet of any size, and count its shapes for `batch_size` pictures. Coordinates are inches.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab7.plots.network_parts import BLOCKS, Call, Shape, calls, shape_text
from lab7.plots.sketch import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    Box,
    arrow,
    box,
    canvas,
    cuboid,
    frame,
    pill,
    write,
)
from lab7.unet import PLACES, UNet

FEEDS = {
    "init_conv": ("x_t",),
    "down1": ("init_conv",),
    "down2": ("down1",),
    "hidden": ("down2",),
    "up0": ("hidden",),
    "up1": ("up0", "down2"),
    "up2": ("up1", "down1"),
    "out": ("up2", "init_conv"),
}
"""Whose output enters a block; a second one is the skip, which is concatenated along the channels."""

_COLOURS = {"Conv": BLUE, "Linear": BLUE, "Norm": ORANGE, "LU": GREEN, "Pool": PINK}  # part of a class name -> colour


def unet_figure(model: UNet, batch_size: int = 32) -> Figure:
    """The whole network (Fig. 1): a solid for what leaves each block, as high as it has pixels and as wide as it has
    channels; the skips; and where the condition enters."""
    by_path = {call.path: call for call in calls(model, batch_size)}
    height = 5.45
    figure, axes = canvas(7.2, height)
    left, middle, right, out = 2.3, 3.55, 4.75, 6.6
    shape = {name: by_path[name].output for name in BLOCKS} | {"x_t": by_path["init_conv"].inputs[0]}
    size = {name: _size(shape[name], model) for name in shape}
    full = height - 0.45 - 1.3 * size["init_conv"][1]  # where the solids of full resolution stand
    half = full - 0.97 - 1.15 * size["down1"][1]
    quarter = half - 0.78 - 1.15 * size["down2"][1]
    place = {
        "x_t": (0.5, full, GREY),
        "init_conv": (left, full, BLUE),
        "down1": (left, half, BLUE),
        "down2": (left, quarter, BLUE),
        "hidden": (middle, 0.62, PINK),
        "up0": (right, quarter, GREEN),
        "up1": (right, half, GREEN),
        "up2": (right, full, GREEN),
        "out": (out, full, GREY),
    }
    for name, (x, y, colour) in place.items():
        cuboid(axes, x, y, *size[name], colour)

    def label(name: str, x: float, y: float, align: str) -> None:
        kind = "" if name == "x_t" else f"{_kind(model, by_path[name])}\n"
        write(axes, x, y, name, align, bold=True, size=8.5)
        write(axes, x, y - 0.09, f"{kind}{shape_text(shape[name])}", align, size=7.2, top=True)

    for name in ("x_t", "out", "hidden"):
        label(name, place[name][0], place[name][1] - 0.12, "center")
    label("init_conv", left - 0.12, full - 0.12, "right")
    label("up2", right + 0.26, full - 0.12, "left")
    for name, x, align, side in (
        ("down1", left, "right", -1),
        ("down2", left, "right", -1),
        ("up0", right, "left", 1),
        ("up1", right, "left", 1),
    ):
        reach = size[name][0] / 2 + (0.12 if side < 0 else 0.14 + 0.32 * size[name][1])
        label(name, x + side * reach, place[name][1] + size[name][1] / 2 + 0.17, align)

    def top(name: str) -> float:  # the middle of the upper face
        return place[name][1] + 1.16 * size[name][1]

    def inject(name: str, x: float, y: float, side: int) -> None:
        if name in PLACES[model.condition_at]:
            pill(axes, x, y, _equation(model), ORANGE)
            shape = by_path[f"time_embeddings.{model.embedding_of[name]}"].output
            letters = "c, t" if len(model.label_embeddings) else "t"
            write(axes, x + side * 0.5, y, f"{letters}: {shape_text(shape)}", "left" if side > 0 else "right", size=7.2)
            arrow(axes, (x + side * 0.48, y), (x + side * 0.29, y), colour=ORANGE)

    # Down on the left; the condition enters on the way.
    level = full + 0.5 * size["x_t"][1]
    arrow(axes, (0.5 + 0.34 * size["x_t"][1], level), (left - size["init_conv"][0] / 2, level))
    for above, below in (("init_conv", "down1"), ("down1", "down2")):
        arrow(axes, (left, place[above][1]), (left, top(below)))
        inject(below, left, top(below) + 0.27, -1)
    depth = 0.62 + size["hidden"][1] / 2
    arrow(axes, (left, quarter), (left, depth), (middle - size["hidden"][0] / 2, depth))
    # Up on the right; the skips join by concatenation.
    arrow(axes, (middle + size["hidden"][0] / 2 + 0.04, depth), (right, depth), (right, quarter))
    if "hidden" in model.embedding_of:
        pill(axes, (middle + right) / 2 + 0.2, depth, "cat c, t", ORANGE)
    for below, above, skip in (("up0", "up1", "down2"), ("up1", "up2", "down1")):
        arrow(axes, (right, top(below)), (right, place[above][1]))
        inject(above, right, top(below) + 0.22, 1)
        join, y = place[above][1] - 0.2, place[skip][1] + size[skip][1] / 2
        x = left + size[skip][0] / 2 + 0.16 * size[skip][1]
        arrow(axes, (x, y), (right - 0.45, y), (right - 0.45, join), (right - 0.16, join), dashed=True)
        pill(axes, right, join, "cat", GREY)
        _skip_note(axes, (left + right) / 2 - 0.03, y, skip, by_path[f"{above}.layers.0"].inputs[0])
    join, over = (right + out) / 2 + 0.1, height - 0.25
    arrow(axes, (right + size["up2"][0] / 2 + 0.16 * size["up2"][1], level), (out - size["out"][0] / 2, level))
    arrow(axes, (left + 0.05, top("init_conv")), (left + 0.05, over), (join, over), (join, level + 0.09), dashed=True)
    pill(axes, join, level, "cat", GREY)
    _skip_note(axes, (left + right) / 2 + 0.1, over, "init_conv", by_path["out"].inputs[0])
    note = "height: pixels; width: channels\ndashed: skips, concatenated (cat)"
    write(axes, 0.08, 0.3, note, "left", size=7.2, colour=GREY)
    if len(model.label_embeddings):
        label_in, time_in = (
            by_path[f"{bank}.{next(iter(model.embedding_of.values()))}"].inputs[0]
            for bank in ("label_embeddings", "time_embeddings")
        )
        note = f"c: from the label, {shape_text(label_in)}\nt: from the time, {shape_text(time_in)}"
        write(axes, 5.35, 0.3, note, "left", size=7.2, colour=BROWN)
    return figure


def block_figure(model: UNet, *names: str, batch_size: int = 32) -> Figure:
    """A block, or several that follow each other, layer by layer, with the shape that leaves each (Figs. 2 to 6)."""
    called = calls(model, batch_size)
    by_path = {call.path: call for call in called}
    sources = [
        Box(
            source,
            _equation(model) if place == 0 and names[0] in PLACES[model.condition_at] else "",
            by_path[source].output if source in by_path else by_path[names[0]].inputs[0],
        )
        for place, source in enumerate(FEEDS[names[0]])
    ]
    groups: list[tuple[str, list[Box]]] = [("", [])]
    before = sources[0].shape
    for name in names:
        for call in _layers_of(called, name):
            if call.inputs[0] != before:  # something was put beside it on the way
                groups.append(("", [Box("cat", "channels", call.inputs[0], GREY)]))
            parent = call.path.rpartition(".")[0]
            label = parent or call.path
            if groups[-1][0] != label:
                groups.append((label, []))
            groups[-1][1].append(_layer_box(call))
            before = call.output
    named = [
        (f"{label}: {by_path[label].kind}" if label and len(boxes) > 1 else label, boxes) for label, boxes in groups
    ]
    return _chain(sources, named[1:])


def embedding_figure(model: UNet, place: str = "up1", batch_size: int = 32) -> Figure:
    """How label and time become c and t of a place, and what they do there (Fig. 7 and eq. 1).

    Raises KeyError for a place where nothing enters.
    """
    name = model.embedding_of[place]
    called = calls(model, batch_size)
    by_path = {call.path: call for call in called}
    banks = [("label_embeddings", "label", "c"), ("time_embeddings", "t / T", "t")]
    banks = banks if len(model.label_embeddings) else banks[1:]
    step, tall = 1.13, 1.3
    figure, axes = canvas(7.2, tall * len(banks) + 0.45)
    for row, (bank, source, letter) in enumerate(banks):
        y = tall * (len(banks) - row) - 0.2
        path = f"{bank}.{name}"
        layers = _layers_of(called, path)
        frame(axes, step + 0.04, y - 0.5, step * len(layers) - 0.08, 1.08, f"{path}: {by_path[path].kind}")
        for column, item in enumerate([Box(source, "", by_path[path].inputs[0]), *map(_layer_box, layers)]):
            box(axes, step * (column + 0.5), y, step - 0.22, item)
            arrow(axes, (step * (column + 1) - 0.11, y), (step * (column + 1) + 0.11, y))
        write(axes, step * (len(layers) + 1) + 0.21, y, letter, "center", bold=True, size=11)
    x, entering = 6.2, by_path[place].inputs[0]
    ys = [tall * (len(banks) - row) - 0.2 for row in range(len(banks))]
    top, bottom = tall * len(banks) + 0.1, 0.42
    arrow(axes, (x, top), (x, bottom))
    for y, symbol in zip(ys, ["×", "+"][-len(ys) :], strict=True):
        arrow(axes, (step * 4 + 0.34, y), (x - 0.13, y))
        pill(axes, x, y, symbol, ORANGE)
    write(axes, x, top + 0.19, f"x, from {FEEDS[place][0]}", "center", bold=True)
    write(axes, x + 0.1, top - 0.02, shape_text(entering), "left", size=7.2)
    write(axes, x, bottom - 0.12, f"x′ = {_equation(model)}", "center", bold=True)
    write(axes, x, bottom - 0.3, f"into {place}", "center", size=7.2)
    widths = {where: by_path[f"time_embeddings.{model.embedding_of[where]}"].output[1] for where in model.embedding_of}
    told = ", ".join(f"{where} {width}" for where, width in widths.items())
    write(axes, 0.08, 0.14, f"Channels of c and t by place: {told}", "left", size=7.2, colour=GREY)
    return figure


def _chain(sources: list[Box], groups: list[tuple[str, list[Box]]]) -> Figure:
    """Boxes from left to right, framed by group; a group that would not fit begins a new row."""
    most = max(8, *(len(boxes) for _, boxes in groups))
    rows: list[list[tuple[str, list[Box]]]] = [[]]
    used = 1
    for group in groups:
        if used + len(group[1]) > most:
            rows.append([])
            used = 0
        rows[-1].append(group)
        used += len(group[1])
    columns = max(sum(len(boxes) for _, boxes in row) + (row is rows[0]) for row in rows)
    margin = 0.14 if len(rows) > 1 else 0.02  # where the line turns back
    step = min(1.18, (7.2 - 2 * margin) / columns)
    tall, first = 1.32, 0.35 * (len(sources) - 1)
    figure, axes = canvas(columns * step + 2 * margin, tall * len(rows) + first)
    axes.set_xlim(-margin, columns * step + margin)
    for number, row in enumerate(rows):
        y, column = tall * (len(rows) - number) - 0.72 + first * (number == 0) / 2, 0
        if number == 0:
            gap = 0.75
            for place, source in enumerate(sources):
                at = y + gap * ((len(sources) - 1) / 2 - place)
                box(axes, step / 2, at, step - min(0.2, 0.17 * step), source)
                arrow(axes, (step - 0.1, at), (step + 0.1, y + (at - y) * 0.12))
            column = 1
        for label, boxes in row:
            if label:
                frame(axes, column * step + 0.03, y - 0.5, len(boxes) * step - 0.06, 1.1, label)
            for item in boxes:
                if column and (column > 1 or number):  # the sources have arrows of their own
                    arrow(axes, (column * step - 0.1, y), (column * step + 0.1, y))
                box(axes, (column + 0.5) * step, y, step - min(0.2, 0.17 * step), item)
                column += 1
        if row is not rows[-1]:
            below = tall * (len(rows) - number - 1) - 0.72
            turn = y - 0.6
            arrow(
                axes,
                (column * step - 0.1, y),
                (column * step + 0.06, y),
                (column * step + 0.06, turn),
                (-0.06, turn),
                (-0.06, below),
                (0.1, below),
            )
    return figure


def _layers_of(called: list[Call], name: str) -> list[Call]:
    """The layers within a module, in order; once each, however often it is called."""
    inside = {call.path: call for call in called if call.is_layer and f"{call.path}.".startswith(f"{name}.")}
    return list(inside.values())


def _layer_box(call: Call) -> Box:
    colour = next((colour for part, colour in _COLOURS.items() if part in call.kind), GREY)
    return Box(call.kind, call.detail, call.output, colour)


def _equation(model: UNet) -> str:
    return "c·x + t" if len(model.label_embeddings) else "x + t"


def _kind(model: UNet, call: Call) -> str:
    """The class of a block; of a plain sequence the classes of its layers, two a line."""
    if call.kind != "Sequential":
        return call.kind
    kinds = [type(layer).__name__ for layer in model.get_submodule(call.path).children()]
    return ",\n".join(", ".join(kinds[start : start + 2]) for start in range(0, len(kinds), 2))


def _size(shape: Shape, model: UNet) -> tuple[float, float]:
    """The width and height in inches of a tensor's solid, by its channels and pixels; a root evens them out."""
    wide = 0.22 * (shape[1] / model.n_feature) ** 0.75
    return max(0.06, wide), 0.85 * (shape[-1] / model.image_size) ** 0.55


def _skip_note(axes: Axes, x: float, y: float, skip: str, shape: Shape) -> None:
    write(axes, x, y + 0.1, f"with {skip}: {shape_text(shape)}", size=7.2, colour=GREY)

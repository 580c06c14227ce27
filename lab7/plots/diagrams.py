"""The U-Net drawn from the live module, of any size (the report's Figures 1 to 7): names and shapes are read from it.

Shapes are those of `batch_size` pictures; coordinates are inches.
"""

import textwrap

from matplotlib.figure import Figure
from torch import nn

from lab7.plots import sketch
from lab7.plots.network_parts import BLOCKS, FEEDS, Call, calls
from lab7.plots.sketch import BLUE, GREEN, GREY, ORANGE, PINK, SMALL, Box, Point, arrow, box, chain, pill, write
from lab7.plots.style import WIDTH
from lab7.unet import PLACES, UNet

_COLOURS = {"Conv": BLUE, "Linear": BLUE, "Norm": ORANGE, "LU": GREEN, "Pool": PINK}  # part of a class name -> colour


def unet_figure(model: UNet, batch_size: int = 32) -> Figure:
    """The whole network (Fig. 1): a solid for what leaves each block, as high as it has pixels and as wide as it has
    channels; the skips; and where the condition enters."""
    called = calls(model, batch_size)
    shape = {name: called[name].output for name in BLOCKS} | {"x_t": called["init_conv"].inputs[0]}
    size = {  # width and height of a solid, by channels and pixels; the roots even them out
        name: (max(0.06, 0.22 * (channels / model.n_feature) ** 0.75), 0.85 * (pixels / model.image_size) ** 0.55)
        for name, (_, channels, pixels, _) in shape.items()
    }
    figure, axes = sketch.canvas(WIDTH, 5.45)
    left, right, out, full, half, quarter = 2.3, 4.75, 6.6, 3.9, 2.4, 1.25  # columns and rows of the solids
    place = {
        "x_t": (0.5, full, GREY), "init_conv": (left, full, BLUE), "down1": (left, half, BLUE),
        "down2": (left, quarter, BLUE), "hidden": ((left + right) / 2, 0.62, PINK), "up0": (right, quarter, GREEN),
        "up1": (right, half, GREEN), "up2": (right, full, GREEN), "out": (out, full, GREY),
    }  # fmt: skip
    level = {name: y + size[name][1] / 2 for name, (_, y, _) in place.items()}  # the middle of the front
    top = {name: y + 1.16 * size[name][1] for name, (_, y, _) in place.items()}  # the middle of the upper face
    beside = {name: 0.16 * size[name][1] + size[name][0] / 2 for name in place}  # from the middle to the right edge

    for name, (x, y, colour) in place.items():
        sketch.cuboid(axes, x, y, *size[name], colour)
        y = level[name] + 0.12 if y in (half, quarter) else y - 0.12
        shift, align = {left: (-0.05 - beside[name], "right"), right: (0.38, "left")}.get(x, (0, "center"))
        kind = "" if name == "x_t" else f"{_kind(called[name])}\n"
        write(axes, x + shift, y, name, align, size=8.5, fontweight="bold")
        write(axes, x + shift, y - 0.09, f"{kind}{shape[name]}", align, size=SMALL, va="top")

    def inject(name: str, x: float, y: float, side: int) -> None:
        if name in PLACES[model.condition_at]:
            width = called[f"time_embeddings.{model.embedding_of[name]}"].output
            text = f"{'c, t' if len(model.label_embeddings) else 't'}: {width}"
            pill(axes, x, y, _equation(model), ORANGE)
            write(axes, x + side * 0.5, y, text, "left" if side > 0 else "right", size=SMALL)
            arrow(axes, (x + side * 0.48, y), (x + side * 0.29, y), colour=ORANGE)

    def skip(name: str, into: str, end: Point, corner: float, y: float, *start: Point) -> None:
        """A dashed line from the block `name` to the "cat" in front of the block `into`."""
        arrow(axes, *start, (corner, y), (corner, end[1]), end, dashed=True)
        joined = _layers(called, into)[0][1].inputs[0]
        write(axes, (left + right) / 2 - 0.08, y + 0.1, f"with {name}: {joined}", size=SMALL, color=GREY)

    # Down on the left, the hidden layer at the bottom, up on the right.
    arrow(axes, (0.5 + 2 * beside["x_t"], level["x_t"]), (left - size["init_conv"][0] / 2, level["init_conv"]))
    for above, below in (("init_conv", "down1"), ("down1", "down2")):
        arrow(axes, (left, place[above][1]), (left, top[below]))
        inject(below, left, top[below] + 0.19, -1)
    middle, depth = place["hidden"][0], level["hidden"]
    arrow(axes, (left, quarter), (left, depth), (middle - size["hidden"][0] / 2, depth))
    arrow(axes, (middle + beside["hidden"], depth), (right, depth), (right, quarter))
    if "hidden" in model.embedding_of:
        pill(axes, (middle + right) / 2, depth, "cat c, t", ORANGE)
    for below, above, across in (("up0", "up1", "down2"), ("up1", "up2", "down1")):
        join = place[above][1] - 0.17
        arrow(axes, (right, top[below]), (right, place[above][1]))
        inject(above, right, top[below] + 0.2, 1)
        pill(axes, right, join, "cat", GREY)
        skip(across, above, (right - 0.16, join), right - 0.45, level[across], (left + beside[across], level[across]))
    join, over = (right + out) / 2 + 0.1, 5.2
    arrow(axes, (right + beside["up2"], level["up2"]), (out - size["out"][0] / 2, level["out"]))
    pill(axes, join, level["out"], "cat", GREY)
    skip("init_conv", "out", (join, level["out"] + 0.1), join, over, (left + 0.1, top["init_conv"]), (left + 0.1, over))
    write(
        axes, 0.08, 0.3, "height: pixels; width: channels\ndashed: skips, concatenated (cat)", "left", SMALL, color=GREY
    )
    note = f"c: from the label, ({batch_size}, 24)\nt: from the time t / T, ({batch_size}, 1)"
    write(axes, 5.2, 0.3, note, "left", SMALL, color=sketch.BROWN)
    return figure


def block_figure(model: UNet, *names: str, batch_size: int = 32) -> Figure:
    """A block, or several that follow each other, layer by layer, with the shape that leaves each (Figs. 2 to 6)."""
    called = calls(model, batch_size)
    shape = {"x_t": called["init_conv"].inputs[0]} | {name: called[name].output for name in BLOCKS}
    detail = _equation(model) if names[0] in PLACES[model.condition_at] else ""
    sources = [Box(name, "" if place else detail, shape[name]) for place, name in enumerate(FEEDS[names[0]])]
    groups: list[tuple[str, list[Box]]] = []  # a module that holds layers, and its layers
    before = sources[0].shape
    for name in names:
        for path, call in _layers(called, name):
            if call.inputs[0] != before:  # a skip was concatenated
                groups.append(("", [Box("cat", "channels", call.inputs[0], GREY)]))
            parent = path.rpartition(".")[0] or path
            label = f"{parent}: {called[parent].kind}" if parent in called and parent != path else parent
            if not groups or groups[-1][0] != label:
                groups.append((label, []))
            groups[-1][1].append(_box(call))
            before = call.output
    rows: list[list[tuple[str, list[Box]]]] = [[]]
    for group in groups:
        if sum(len(boxes) for _, boxes in rows[-1]) + len(group[1]) > 7:
            rows.append([])
        rows[-1].append(group)
    columns = 1 + max(sum(len(boxes) for _, boxes in row) for row in rows)  # the first is that of the sources
    step, tall = min(1.18, (WIDTH - 0.1) / columns), 1.32 + 0.18 * (len(sources) - 1)
    figure, axes = sketch.canvas(columns * step + 0.1, tall * len(rows))
    x, y = step, tall * (len(rows) - 0.5) - 0.06
    for place, source in enumerate(sources):
        at = y + 0.75 * ((len(sources) - 1) / 2 - place)
        box(axes, step / 2, at, step - 0.15, source)
        arrow(axes, (step - 0.08, at), (step + 0.07, y + (at - y) * 0.12))
    for row in rows:
        if row is not rows[0]:  # turn back to the left
            end, y = y, y - tall
            right, turn, left = x + 0.07, (end + y) / 2 - 0.02, step - 0.1
            arrow(axes, (x - 0.07, end), (right, end), (right, turn), (left, turn), (left, y), (step + 0.07, y))
            x = step
        for label, boxes in row:
            x = chain(axes, x, y, step, boxes, label if len(boxes) > 1 else label.partition(":")[0], enter=x > step)
    return figure


def embedding_figure(model: UNet, place: str = "up1", batch_size: int = 32) -> Figure:
    """How label and time become c and t of a place, and what they do there (Fig. 7, eq. 1); KeyError without any."""
    name, called, step = model.embedding_of[place], calls(model, batch_size), 1.13
    rows = [("time_embeddings", "t / T", "t", "+", 1.1)]
    if len(model.label_embeddings):
        rows.append(("label_embeddings", "label", "c", "×", 2.4))
    top, x = rows[-1][-1] + 0.3, 6.2
    figure, axes = sketch.canvas(WIDTH, top + 0.35)
    arrow(axes, (x, top), (x, 0.42))
    for bank, source, letter, symbol, y in rows:
        path = f"{bank}.{name}"
        box(axes, step / 2, y, step - 0.15, Box(source, "", called[path].inputs[0]))
        layers = [_box(call) for _, call in _layers(called, path)]
        end = chain(axes, step, y, step, layers, f"{path}: {called[path].kind}")
        arrow(axes, (end - 0.07, y), (end + 0.07, y))
        write(axes, end + 0.21, y, letter, size=11, fontweight="bold")
        arrow(axes, (end + 0.34, y), (x - 0.13, y))
        pill(axes, x, y, symbol, ORANGE)
    write(axes, x, top + 0.17, f"x, from {FEEDS[place][0]}", fontweight="bold")
    write(axes, x + 0.1, top - 0.04, str(called[FEEDS[place][0]].output), "left", size=SMALL)
    write(axes, x, 0.3, f"x′ = {_equation(model)}", fontweight="bold")
    write(axes, x, 0.12, f"into {place}", size=SMALL)
    widths = [f"{where} {called[f'time_embeddings.{bank}'].output[1]}" for where, bank in model.embedding_of.items()]
    write(axes, 0.08, 0.12, f"channels of c and t by place: {', '.join(widths)}", "left", SMALL, color=GREY)
    return figure


def _layers(called: dict[str, Call], name: str) -> list[tuple[str, Call]]:
    """The calls of the layers within a module, in order."""
    return [(p, c) for p, c in called.items() if f"{p}.".startswith(f"{name}.") and not list(c.module.children())]


def _box(call: Call) -> Box:
    module, detail = call.module, ""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        detail = f"{'×'.join(map(str, module.kernel_size))}{stride}\n{module.in_channels} → {module.out_channels}"
    elif isinstance(module, nn.Linear):
        detail = f"{module.in_features} → {module.out_features}"
    elif isinstance(module, nn.GroupNorm):
        detail = f"{module.num_groups} groups"
    elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        detail = f"{module.kernel_size}×{module.kernel_size}"
    colour = next((colour for part, colour in _COLOURS.items() if part in call.kind), GREY)
    return Box(call.kind, detail, call.output, colour)


def _equation(model: UNet) -> str:
    return "c·x + t" if len(model.label_embeddings) else "x + t"


def _kind(call: Call) -> str:
    """The class of a block; of a plain sequence the classes of its layers."""
    layers = [type(layer).__name__ for layer in call.module.children()]
    return textwrap.fill(", ".join(layers), 18) if call.kind == "Sequential" else call.kind

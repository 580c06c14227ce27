"""Walk through the training of several runs, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from lab7.plots.training import read_snapshots
from lab7.utils.files import UserError
from lab7.widgets.display import INK, LINE, Control, connect, font, stepper

LEFT, ZOOM = 120, 2  # pixels for the runs' labels; how much the pictures are enlarged


def epoch_walk(runs: Mapping[str, Path], conditions: Sequence[Sequence[str]]) -> Control:
    """Move through trainings: the same conditions, from the same noise, after more and more steps; one row a run, by
    its label. Raises UserError for a run without pictures, and where the runs have no moment in common."""
    moments = {label: {one.step: one for one in read_snapshots(folder)} for label, folder in runs.items()}
    steps = sorted(set.intersection(*(set(of_run) for of_run in moments.values())))
    if not steps:
        raise UserError("these runs drew no pictures at the same step; choose runs of one preset")
    first = next(iter(moments.values()))
    slider, row = stepper([f"epoch {first[step].epoch:.3g}" for step in steps], "training", milliseconds=600)
    slider.index = len(steps) - 1
    control = Control([row])

    def update() -> None:
        shown = {label: of_run[steps[slider.index]] for label, of_run in moments.items()}
        strips = [
            Image.fromarray(one.strip).resize((one.strip.shape[1] * ZOOM, one.strip.shape[0] * ZOOM), 0)
            for one in shown.values()
        ]
        top, width, height = LINE * max(map(len, conditions)) + 4, strips[0].width, strips[0].height
        sheet = Image.new("RGB", (LEFT + width, top + len(strips) * height), "white")
        draw = ImageDraw.Draw(sheet)
        for k, names in enumerate(conditions):
            draw.text((LEFT + k * width // len(conditions) + 6, 0), "\n".join(names), fill=INK, font=font())
        for k, (label, picture) in enumerate(zip(shown, strips, strict=True)):
            draw.text((0, top + k * height + height // 3), label.replace(" ", "\n", 1), fill=INK, font=font())
            sheet.paste(picture, (LEFT, top + k * height))
        losses = ", ".join(f"{label}: loss {one.loss:.4f}" for label, one in shown.items())
        control.draw(
            sheet,
            f"Pictures of {len(conditions)} conditions after step {steps[slider.index]}; rows: {', '.join(shown)}",
            losses,
        )

    connect(update, [slider])
    return control

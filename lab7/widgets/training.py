"""Train under a live curve; walk through the recorded training of several runs, side by side."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import torch
from IPython.display import display
from PIL import Image

from lab7.config import Preset
from lab7.plots.style import COLOURS, styled, subplots
from lab7.plots.training import read_snapshots
from lab7.training.loop import train
from lab7.utils.files import UserError
from lab7.widgets.display import WIDE, Control, as_picture, grid, stepper

EVERY = 1.0  # seconds between two pictures of the curve


@styled
def loss_picture(losses: list[float], steps: int) -> Image.Image:
    """The losses of the steps so far, the axis as long as the whole run."""
    figure, axis = subplots(width=5.6, height=2.4)
    axis.plot(range(1, len(losses) + 1), losses, color=COLOURS[0], marker=".")
    axis.set(xlim=(0, steps), yscale="log", xlabel="step", ylabel="loss of the batch")
    return as_picture(figure)


async def train_live(preset: Preset, name: str, **options: Any) -> Path:
    """Train as `lab7.train` does, in a thread, with the curve of the loss and the time left on the screen. The button
    Stop, or an interrupt of the kernel, ends the run after the step in progress; it can be used and resumed like any
    other. It is to be awaited, so that the kernel hears the button while it trains."""
    stop, losses, times, drawn = threading.Event(), list[float](), list[float](), [0.0]
    bar, button = ipywidgets.IntProgress(description="steps", layout=WIDE), ipywidgets.Button(description="Stop")
    control = Control([ipywidgets.HBox([bar, button])])
    handle = display(control, display_id=True)
    button.on_click(lambda _button: stop.set())

    def watch(step: int, steps: int, loss: float) -> bool:
        losses.append(loss)
        times.append(time.monotonic())
        end = "stopped" if stop.is_set() else "done" if step == steps else ""
        if end or times[-1] - drawn[0] > EVERY:
            drawn[0], bar.max, bar.value = times[-1], steps, step
            left = (times[-1] - times[0]) / max(len(times) - 1, 1) * (steps - step)  # 0 after the first step
            news = end or (f"{left:.0f} s left" if left else "time left: not known yet")
            text = f"step {step} of {steps}, loss {loss:.4f}, {news}"
            control.draw(loss_picture(losses, steps), f"Loss of each step: {text}", text)
        return bool(end)

    training = asyncio.ensure_future(asyncio.to_thread(train, preset, name, callback=watch, **options))
    while not training.done():
        try:
            await asyncio.wait([training])
        except asyncio.CancelledError:  # the kernel was interrupted
            stop.set()
    button.disabled = True
    handle.update(control)  # with the last curve as the picture that stands in
    return training.result()


def epoch_walk(runs: Mapping[str, Path], conditions: Sequence[Sequence[str]]) -> Control:
    """Move through trainings: the same conditions, from the same noise, after more and more steps; one row a run, by
    its label. Raises UserError for a run without pictures, and where the runs have no moment in common."""
    moments = {label: {one.step: one for one in read_snapshots(folder).itertuples()} for label, folder in runs.items()}
    steps = sorted(set.intersection(*(set(of_run) for of_run in moments.values())))
    if not steps:
        raise UserError("these runs drew no pictures at the same step; choose runs of one preset")
    first = next(iter(moments.values()))
    slider, row = stepper([f"epoch {first[step].epoch:.3g}" for step in steps], "training", milliseconds=600)
    slider.index = len(steps) - 1

    def render() -> tuple:
        shown = {label: of_run[steps[slider.index]] for label, of_run in moments.items()}
        # Each picture of a strip has a border on all sides; two sides are enough.
        strips = [torch.tensor(one.strip)[2:, 2:].movedim(-1, 0) for one in shown.values()]
        pictures = [picture for strip in strips for picture in strip.chunk(len(conditions), dim=2)]
        captions = ["\n".join([label, *names]) for label in shown for names in conditions]
        alt = f"Pictures of {len(conditions)} conditions after step {steps[slider.index]}; rows: {', '.join(shown)}"
        losses = ", ".join(f"{label}: loss {one.loss:.4f}" for label, one in shown.items())
        return grid(pictures, captions, columns=len(conditions), side=132), alt, losses

    return Control([row], render, [slider])

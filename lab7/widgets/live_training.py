"""Train under a live curve."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import ipywidgets
from IPython.display import display
from PIL import Image

from lab7.config import Preset
from lab7.plots.style import COLOURS, styled, subplots
from lab7.training.loop import train
from lab7.widgets.display import WIDE, Control, as_picture

EVERY = 0.5  # seconds between two pictures of the curve


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
    stop, losses, total = threading.Event(), list[float](), [1]
    bar, button = ipywidgets.IntProgress(description="steps", layout=WIDE), ipywidgets.Button(description="Stop")
    control, began = Control([ipywidgets.HBox([bar, button])]), list[float]()  # when the first step was done
    handle = display(control, display_id=True)
    button.on_click(lambda _button: stop.set())

    def watch(step: int, steps: int, loss: float) -> bool:
        began[:] = began or [time.monotonic()]
        losses.append(loss)
        total[0] = steps
        return stop.is_set()

    def draw(end: str = "") -> None:
        step, steps = len(losses), total[0]
        bar.max, bar.value = steps, step
        left = f"{(time.monotonic() - began[0]) / max(step - 1, 1) * (steps - step):.0f} s left"
        text = f"step {step} of {steps}, loss {losses[-1]:.4f}, {end or left}"
        control.draw(loss_picture(losses, steps), f"Loss of each step: {text}", text)

    training = asyncio.ensure_future(
        asyncio.to_thread(train, preset, name, callback=watch, **{"progress": False} | options)
    )
    while not training.done():
        try:
            await asyncio.wait([training], timeout=EVERY)
        except asyncio.CancelledError:  # the kernel was interrupted
            stop.set()
        if len(losses) > bar.value:
            draw()
    button.disabled = True
    if losses:
        draw("stopped" if stop.is_set() else "done")
    handle.update(control)  # with the last curve as the picture that stands in
    return training.result()

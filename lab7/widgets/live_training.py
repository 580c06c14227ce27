"""Train under a live curve."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lab7.config import Preset
from lab7.plots.style import COLOURS, styled, subplots
from lab7.training.loop import train
from lab7.widgets.display import WIDE, Control

EVERY = 0.5  # seconds between two pictures of the curve, at least


@styled
def loss_picture(losses: list[float], steps: int) -> Image.Image:
    """The losses of the steps so far, the axis as long as the whole run."""
    figure, axis = subplots(width=5.6, height=2.4)
    axis.plot(range(1, len(losses) + 1), losses, color=COLOURS[0], marker=".")
    axis.set(xlim=(0, steps), yscale="log", xlabel="step", ylabel="loss of the batch")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def train_live(preset: Preset, name: str, **options: Any) -> Path:
    """Train as `lab7.train` does, with the curve of the loss and the time left on the screen. The button Stop, or an
    interrupt of the kernel, ends the run after the step in progress; it can be used and resumed like any other."""
    stop, losses, shown = threading.Event(), [], 0.0
    bar = ipywidgets.IntProgress(description="steps", layout=WIDE)
    button = ipywidgets.Button(description="Stop")
    control, began = Control([ipywidgets.HBox([bar, button])]), time.monotonic()
    handle = display(control, display_id=True)
    button.on_click(lambda _button: stop.set())

    def watch(step: int, steps: int, loss: float) -> bool:
        nonlocal shown
        losses.append(loss)
        bar.max, bar.value, now = steps, step, time.monotonic()
        if now - shown > EVERY or step == steps or stop.is_set():
            curve, left = loss_picture(losses, steps), (now - began) / len(losses) * (steps - step)
            text = "stopped" if stop.is_set() else f"{left:.0f} s left" if step < steps else "done"
            text = f"step {step} of {steps}, loss {loss:.4f}, {text}"
            control.draw(curve, f"Loss of each step: {text}", text)
            shown = time.monotonic()
        return stop.is_set()

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set()) if main else None
    try:
        return train(preset, name, callback=watch, **{"progress": False} | options)
    finally:
        button.disabled = True
        if main:
            signal.signal(signal.SIGINT, before)
        handle.update(control)  # with the last curve as the picture that stands in

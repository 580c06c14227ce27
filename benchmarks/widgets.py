"""How long the notebooks' controls take in the kernel, from a move to the new picture; the browser adds 30 to 100 ms.

python -m benchmarks.widgets
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

import lab7
from benchmarks.common import machine_line, print_table, run
from lab7.widgets import display, training

MOVES, PRESSES = 40, 5
DENOISING_STEPS = 50


def parts(widget: Any, kind: str) -> list[Any]:
    """All widgets of a kind within one, in order."""
    own = [widget] if type(widget).__name__ == kind else []
    return own + [part for child in getattr(widget, "children", ()) for part in parts(child, kind)]


def moves(control: display.Control, kind: str, attribute: str, values: list[int]) -> tuple[list[float], str]:
    """The seconds of each move of the control's first slider."""
    (slider, *_), seconds = parts(control, kind), []
    for value in values:
        began = time.perf_counter()
        setattr(slider, attribute, value)
        seconds.append(time.perf_counter() - began)
    return seconds, "a move"


def presses(control: display.Control) -> Iterator[tuple[list[float], str]]:
    """The seconds from a press of Draw to the preview, and to the whole picture."""
    draw, shown = parts(control, "Button")[0], list[tuple[float, str]]()
    control.view.observe(lambda change: shown.append((time.perf_counter(), change.new)), names="value")
    preview, whole = [], []
    for _ in range(PRESSES):
        shown.clear()
        began = time.perf_counter()
        draw.click()
        control.thread.join()
        times = [moment - began for moment, view in shown if "opacity: 1" in view]
        preview.append(times[0])
        whole.append(times[-1])
    yield preview, "the preview"
    yield whole, "the whole picture"


def measure() -> None:
    """Every control on the shipped pictures and networks."""
    ws = lab7.open_workspace("quick")
    pipeline, judge, scene = lab7.load_pipeline(ws.run("laptop")), ws.judge(), ["red cube", "cyan sphere"]
    pictures = lab7.load_pictures(ws.make_pictures(), 64)
    normalisers = {kind: lab7.fit_normaliser(pictures.images, kind) for kind in ("deviation", "plain")}
    schedules = [lab7.NoiseSchedule(name, 1000) for name in ("linear", "cosine")]
    states: list[tuple] = []
    pipeline(
        [scene],
        sampler="ddpm",
        num_steps=DENOISING_STEPS,
        t_end=0.0,
        callback=lambda *state: states.append(state),
    )
    conditions = lab7.load_list("test", ws.data)[:4] + lab7.load_list("new_test", ws.data)[:4]
    arms = {"down and up": ws.run("report_up_down"), "up only": ws.run("report_up")}
    indices = list(range(1, MOVES + 1))
    rows: list[tuple[str, list[float], str]] = []

    def add(name: str, *measured: tuple[list[float], str]) -> None:
        rows.extend((name, *one) for one in measured)

    add("scenes", moves(lab7.browse_scenes(pictures), "IntSlider", "value", indices))
    explorer = lab7.schedule_explorer(pictures, normalisers, schedules)
    add("schedule explorer", moves(explorer, "IntSlider", "value", [20 * k for k in indices]))
    walk = lab7.denoising_walk(pipeline, scene, states)
    add("denoising walk, first time", moves(walk, "SelectionSlider", "index", indices))
    add("denoising walk, again", moves(walk, "SelectionSlider", "index", indices[::-1]))
    epochs = lab7.epoch_walk(arms, conditions)
    add(
        "epoch walk",
        moves(epochs, "SelectionSlider", "index", list(range(len(parts(epochs, "SelectionSlider")[0].options)))),
    )
    add("composer", *presses(lab7.compose_scene(pipeline, judge, scene)))
    curve, seconds = [2.0 - 0.01 * k for k in range(60)], []
    for _ in range(PRESSES):
        began = time.perf_counter()
        training.loss_picture(curve, 100)
        seconds.append(time.perf_counter() - began)
    add("live training", (seconds, "a curve"))
    print(f"{machine_line()}, {torch.get_num_threads()} threads\n")
    table = [
        (name, what, f"{statistics.median(times) * 1e3:.0f}", f"{max(times) * 1e3:.0f}") for name, times, what in rows
    ]
    print_table(("control", "what", "median ms", "longest ms"), table)


if __name__ == "__main__":
    run(measure)

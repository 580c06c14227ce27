"""Compose a scene: a preview within a second, then the picture, and what the judge reads in it."""

import re
import threading
from collections.abc import Sequence

import ipywidgets
from torch import Tensor

from lab7.judge.networks import Judge
from lab7.pipeline import Pipeline
from lab7.samplers import SAMPLERS
from lab7.utils.files import UserError, atomic_path, build_dir, short
from lab7.vocabulary import CLASSES, COLOURS, SHAPES, check_condition
from lab7.widgets.display import WIDE, Control, strip

NOTHING, PREVIEW_STEPS, SAMPLES = "(none)", 4, 4


class _Stopped(Exception):
    """Raised in the sampler's callback when Stop was pressed."""


def readings(judge: Judge, pictures: Tensor, condition: Sequence[str]) -> list[str]:
    """What the judge reads in each picture (K, 3, 64, 64) of a condition of n objects: its n best classes, a line each,
    marked by a tick or, where it was not asked for, by a cross."""
    best = judge.probabilities(pictures.clamp(-1, 1)).topk(len(condition)).indices.tolist()  # K lists of n classes
    rows = [[CLASSES[index] for index in row] for row in best]
    return ["\n".join(f"✓ {name}" if name in condition else f"✗ {name}" for name in row) for row in rows]


def compose_scene(pipeline: Pipeline, judge: Judge, scene: list[str], seed: int = 0) -> Control:
    """Ask for up to three objects and draw them, at first those in `scene`, with the preset's settings. `scene` always
    holds the objects drawn last, so that running the cell again shows them again."""
    parts = [check_condition(scene)[k].split() if k < len(scene) else [NOTHING, SHAPES[0]] for k in range(3)]
    colours = [
        ipywidgets.Dropdown(options=[NOTHING, *COLOURS], value=a, description=f"object {k + 1}")
        for k, (a, _) in enumerate(parts)
    ]
    shapes = [ipywidgets.Dropdown(options=SHAPES, value=b, tooltip=f"shape {k + 1}") for k, (_, b) in enumerate(parts)]
    plan = pipeline.sampling(num_candidates=1)
    settings = {
        "sampler": ipywidgets.Dropdown(options=list(SAMPLERS), value=plan.sampler, description="sampler"),
        "num_steps": ipywidgets.IntSlider(
            plan.num_steps, 2, min(100, pipeline.schedule.num_steps), description="steps", layout=WIDE
        ),
        "guidance_scale": ipywidgets.FloatSlider(
            plan.guidance_scale, min=1, max=6, step=0.5, description="guidance", layout=WIDE
        ),
        "seed": ipywidgets.IntSlider(seed, 0, max(99, seed), description="seed", layout=WIDE),
    }
    names = "Draw", "Stop", "Save as PNG"
    start, stop, save = buttons = [ipywidgets.Button(description=name) for name in names]
    bar = ipywidgets.IntProgress(description="steps", layout=WIDE)
    rows = [ipywidgets.HBox(pair) for pair in zip(colours, shapes, strict=True)]
    control = Control([*rows, *settings.values(), ipywidgets.HBox(buttons), bar])
    stopped = threading.Event()

    def watch(*_state: object) -> None:
        bar.value += 1
        if stopped.is_set():
            raise _Stopped

    def draw_steps(condition: Sequence[str], values: dict, what: str) -> None:
        pictures = pipeline([condition], samples=SAMPLES, num_candidates=1, callback=watch, **values)
        captions = readings(judge, pictures, condition)
        read = "; ".join(f"picture {k + 1}: {caption}" for k, caption in enumerate(captions)).replace("\n", ", ")
        control.draw(strip(list(pictures), captions), f"{what} of {', '.join(condition)}. The judge reads {read}", what)

    def work(condition: Sequence[str], values: dict) -> None:
        few = min(PREVIEW_STEPS, values["num_steps"])
        try:
            if few < values["num_steps"]:
                draw_steps(condition, values | {"num_steps": few}, f"preview with {few} steps")
            draw_steps(condition, values, f"drawn with {values['num_steps']} steps; scene = {condition}")
            scene[:] = condition
        except _Stopped:
            control.draw(control.picture, control.alt, "stopped")
        except UserError as error:
            control.draw(control.picture, control.alt, str(error), faded=True)
        finally:
            bar.value, start.disabled, stop.disabled = 0, False, True

    def draw(_button: object = None) -> None:
        start.disabled, stop.disabled = True, False
        stopped.clear()
        try:
            chosen = [f"{c.value} {s.value}" for c, s in zip(colours, shapes, strict=True) if c.value != NOTHING]
            condition = check_condition(chosen)
        except UserError as error:
            start.disabled, stop.disabled = False, True
            control.draw(control.picture, control.alt, str(error), faded=True)
            return
        values = {name: one.value for name, one in settings.items()}
        bar.max = values["num_steps"] + PREVIEW_STEPS
        control.draw(control.picture, control.alt, "drawing; the picture is the previous one", faded=True)
        control.thread = threading.Thread(target=work, args=(condition, values), daemon=True)
        control.thread.start()

    def write(_button: object) -> None:
        name = re.sub(r"\W+", "_", f"{' '.join(scene)} seed {settings['seed'].value}")
        path = build_dir() / "scenes" / f"{name}.png"
        with atomic_path(path) as temporary:
            control.picture.save(temporary, format="PNG")
        control.draw(control.picture, control.alt, f"saved as {short(path)}")

    start.on_click(draw)
    stop.on_click(lambda _button: stopped.set())
    save.on_click(write)
    draw()
    control.thread.join()
    return control

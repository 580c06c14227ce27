"""Draw with a trained network: compose a scene; walk through the denoising of a picture."""

import functools
import re
import threading
from collections.abc import Sequence

import torch
from ipywidgets import Button, Dropdown, FloatSlider, HBox, IntProgress, IntSlider
from torch import Tensor

from lab7.judge.networks import Judge
from lab7.pipeline import Pipeline
from lab7.samplers import SAMPLERS, guided_denoiser
from lab7.utils.files import UserError, atomic_path, build_dir, short
from lab7.utils.settings import Seed, parse_value
from lab7.vocabulary import CLASSES, COLOURS, SHAPES, check_condition
from lab7.widgets.display import WIDE, Control, grid, stepper

NOTHING, PREVIEW_STEPS, SAMPLES = "(none)", 4, 4
BRIGHTEST = 0.5  # the difference, in units of [-1, 1], that is shown as white


def readings(judge: Judge, pictures: Tensor, condition: Sequence[str]) -> list[str]:
    """What the judge reads in each picture (K, 3, 64, 64) of a condition of n objects: its n best classes, a line each,
    marked by a tick or, where it was not asked for, by a cross."""
    best = judge.probabilities(pictures.clamp(-1, 1)).topk(len(condition)).indices.tolist()  # K lists of n classes
    return ["\n".join(f"{'✓' if CLASSES[k] in condition else '✗'} {CLASSES[k]}" for k in row) for row in best]


def compose_scene(pipeline: Pipeline, judge: Judge, scene: list[str], seed: int = 0) -> Control:
    """Ask for up to three objects and draw them, at first those in `scene`, with the preset's settings. `scene` always
    holds the objects drawn last, so that running the cell again shows them again."""
    if not isinstance(scene, list) or len(scene) > 3:  # here: an error of the thread that draws would not be seen
        raise UserError(f"scene must be a list of at most three objects such as ['red cube'], not {scene!r}")
    seed = parse_value(Seed, str(seed), "seed")
    parts = [*(name.split() for name in check_condition(scene)), *3 * [(NOTHING, SHAPES[0])]][:3]
    names = [f"object {k + 1}" for k in range(3)]
    colours = [Dropdown(options=[NOTHING, *COLOURS], value=parts[k][0], description=names[k]) for k in range(3)]
    shapes = [Dropdown(options=SHAPES, value=parts[k][1], description=f"shape {k + 1}") for k in range(3)]
    plan, top = pipeline.sampling(), min(100, pipeline.schedule.num_steps)
    settings = {
        "sampler": Dropdown(options=list(SAMPLERS), value=plan.sampler, description="sampler"),
        "num_steps": IntSlider(plan.num_steps, 2, top, description="steps", layout=WIDE),
        "guidance_scale": FloatSlider(plan.guidance_scale, min=1, max=6, description="guidance", layout=WIDE),
        "seed": IntSlider(seed, 0, max(99, seed), description="seed", layout=WIDE),
    }
    start, stop, save = buttons = [Button(description=name) for name in ("Draw", "Stop", "Save as PNG")]
    bar = IntProgress(description="progress", layout=WIDE)
    control = Control([*map(HBox, zip(colours, shapes, strict=True)), *settings.values(), HBox(buttons), bar])
    stopped = threading.Event()
    name = "scene"  # of the file that holds the picture shown

    def watch(*_state: object) -> None:
        bar.value += 1
        if stopped.is_set():
            raise InterruptedError

    def work(chosen: Sequence[str], values: dict) -> None:
        nonlocal name
        try:
            condition = check_condition(chosen)
            whole = values["num_steps"]
            for num_steps in sorted({min(PREVIEW_STEPS, whole), whole}):
                drawn = values | {"num_steps": num_steps}
                pictures = pipeline([condition], samples=SAMPLES, callback=watch, **drawn)
                captions = readings(judge, pictures, condition)
                read = "; ".join(f"picture {k + 1}: {caption}" for k, caption in enumerate(captions))
                alt = f"{', '.join(condition)}. The judge reads {read}".replace("\n", ", ")
                text = "drawn" if num_steps == whole else "preview"
                control.draw(grid(list(pictures), captions), alt, f"{text} with {num_steps} steps; scene = {condition}")
                name = re.sub(r"\W+", "_", f"{' '.join(condition)} seed {values['seed']}")
            scene[:] = condition
        except InterruptedError:
            control.say("stopped")
        except UserError as error:
            control.say(str(error), opacity=0.35)
        finally:
            bar.value, start.disabled, stop.disabled = 0, False, True

    def draw(_button: object = None) -> None:
        start.disabled, stop.disabled = True, False
        stopped.clear()
        chosen = [f"{c.value} {s.value}" for c, s in zip(colours, shapes, strict=True) if c.value != NOTHING]
        values = {key: one.value for key, one in settings.items()}
        bar.max = values["num_steps"] + PREVIEW_STEPS
        control.say("drawing; the picture is the previous one", opacity=0.35)
        control.thread = threading.Thread(target=work, args=(chosen, values), daemon=True)
        control.thread.start()

    def write(_button: object) -> None:
        path = build_dir() / "scenes" / f"{name}.png"
        with atomic_path(path) as temporary:
            control.picture.save(temporary, format="PNG")
        control.say(f"saved as {short(path)}")

    start.on_click(draw)
    stop.on_click(lambda _button: stopped.set())
    save.on_click(write)
    draw()
    control.thread.join()
    return control


def denoising_walk(pipeline: Pipeline, names: Sequence[str], states: Sequence[tuple], seed: int = 0) -> Control:
    """Move through the states (step, t, x_t, x_0) that a sampler handed to its callback while it drew the named
    objects with this seed. Shown are x_t, the predicted x_0 with the condition and without it, and their difference."""
    slider, row = stepper([f"t = {t}" for _, t, _, _ in states], "time")
    condition = pipeline.condition([names], seed=seed)  # (1, 24) or (1, 72)
    both, target = torch.cat([condition, torch.zeros_like(condition)]), pipeline.preset.diffusion.target
    denoise = guided_denoiser(pipeline.model, pipeline.schedule, both, target=target)

    @functools.cache
    @torch.inference_mode()
    def render(k: int) -> tuple:
        _, t, x_t, _ = states[k]  # x_t (1, 3, S, S)
        x_0, _ = denoise(x_t.expand(2, -1, -1, -1), t)  # (2, 3, S, S)
        noisy, with_condition, without = pipeline.to_pixels(torch.cat([x_t, x_0]))  # each (3, 64, 64)
        difference = (with_condition - without).abs().mean(dim=0)  # (64, 64)
        shown = (difference / BRIGHTEST * 2 - 1).expand(3, -1, -1)
        captions = [f"x_t, t = {t}", "predicted x_0", "without the condition", "difference of the two"]
        picture = grid([noisy, with_condition, without, shown], captions)
        alt = f"Denoising of {', '.join(names)} at t = {t}: {', '.join(captions)}"
        return picture, alt, f"the condition changes the prediction by {difference.mean():.3f} on average"

    return Control([row], lambda: render(slider.index), [slider])

"""Controls for the notebooks. What a control shows is computed by a plain function that needs no browser.

Pictures are sent to the browser as PNG bytes, enlarged without smoothing, so that a slider answers at once.
"""

from __future__ import annotations

import html
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import torch
from IPython.display import Code, display
from IPython.display import Image as DisplayedImage
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lab7.dataset.images import Pictures, to_uint8
from lab7.dataset.normalizer import Normaliser
from lab7.diffusion import add_noise
from lab7.judge.networks import Judge
from lab7.pipeline import Pipeline
from lab7.plots.style import STYLE
from lab7.samplers import SAMPLERS
from lab7.schedule import NoiseSchedule
from lab7.utils.files import UserError
from lab7.vocabulary import CLASSES, check_condition

SHOWN = 256  # pixels of a picture's side on the screen
_NOTHING = "(none)"


def show_source(*objects: Any) -> Code:
    """The lines of functions or classes of lab7, as the notebook shows them."""
    return Code("\n\n".join(inspect.getsource(thing).rstrip() for thing in objects), language="python")


def show(figure: Figure) -> None:
    """Display a figure, whether or not pyplot is in use: lines as PNG, pictures as JPEG, a quarter of PNG's bytes."""
    kind = "jpeg" if any(axis.images for axis in figure.axes) else "png"
    finest: dict[str, Any] = {"quality": 82, "subsampling": 0} if kind == "jpeg" else {"optimize": True}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=STYLE["figure.dpi"], bbox_inches="tight", pil_kwargs=finest)
    display(DisplayedImage(data=buffer.getvalue(), format=kind))


def png_bytes(pictures: Sequence[Tensor | np.ndarray], side: int = SHOWN) -> bytes:
    """Pictures (3, H, W), uint8 or in [-1, 1], side by side in one PNG, each `side` pixels wide and high."""
    tiles = []
    for picture in pictures:
        tensor = torch.as_tensor(picture)
        array = (tensor if tensor.dtype == torch.uint8 else to_uint8(tensor)).permute(1, 2, 0).cpu().numpy()
        tiles.append(np.asarray(Image.fromarray(array).resize((side, side), Image.Resampling.NEAREST)))
        tiles.append(np.full((side, 6, 3), 255, np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(tiles[:-1], axis=1)).save(buffer, format="PNG")
    return buffer.getvalue()


def with_class(pictures: Pictures, name: str) -> list[int]:
    """The places of the pictures that show a class; of all pictures for "(none)"."""
    if name == _NOTHING:
        return list(range(len(pictures)))
    return torch.nonzero(pictures.labels[:, CLASSES.index(name)]).flatten().tolist()


def browse_scenes(pictures: Pictures) -> ipywidgets.Widget:
    """Leaf through the pictures, all of them or those that show one class."""
    of_class = ipywidgets.Dropdown(options=[_NOTHING, *CLASSES], description="with")
    place = ipywidgets.IntSlider(0, 0, len(pictures) - 1, description="picture")
    image, text = _image(), ipywidgets.Label()

    def show(_change: Any = None) -> None:
        found = with_class(pictures, of_class.value)
        place.max = max(len(found) - 1, 0)
        index = found[min(place.value, place.max)]
        image.value = png_bytes([pictures.images[index]])
        names = [name for name, given in zip(CLASSES, pictures.labels[index].tolist(), strict=True) if given]
        text.value = f"{pictures.names[index]}: {', '.join(names)}"

    return _together(show, [of_class, place], [image, text])


def noisy_picture(
    picture: Tensor, normaliser: Normaliser, schedule: NoiseSchedule, t: int, seed: int = 0
) -> tuple[Tensor, float]:
    """A uint8 picture (3, S, S) after t steps of noise, as a picture in about [-1, 1], and its alpha_bar_t."""
    x_0 = normaliser.encode(picture[None])  # (1, 3, S, S)
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed))
    x_t = add_noise(schedule, x_0, torch.tensor([t]), eps)
    return normaliser.decode(x_t)[0], float(schedule.alpha_bar[t])


def noise_slider(
    pictures: Pictures, normalisers: Mapping[str, Normaliser], schedules: Sequence[NoiseSchedule]
) -> ipywidgets.Widget:
    """Noise a picture to any step t under any schedule, in any normalisation."""
    by_name = {schedule.name: schedule for schedule in schedules}
    t = ipywidgets.IntSlider(200, 0, schedules[0].num_steps, description="t")
    name = ipywidgets.Dropdown(options=list(by_name), description="schedule")
    kind = ipywidgets.Dropdown(options=list(normalisers), description="pictures")
    place = ipywidgets.IntSlider(2, 0, len(pictures) - 1, description="picture")
    image, text = _image(), ipywidgets.Label()

    def show(_change: Any = None) -> None:
        picture = pictures.images[place.value]
        x_t, alpha_bar = noisy_picture(picture, normalisers[kind.value], by_name[name.value], t.value)
        image.value = png_bytes([picture, x_t])
        text.value = (
            f"left x_0, right x_t; alpha_bar_t = {alpha_bar:.4g}: the picture keeps {alpha_bar**0.5:.1%} of its size"
        )

    return _together(show, [t, name, kind, place], [image, text])


def compose(pipeline: Pipeline, names: Sequence[str], judge: Judge | None = None, **drawing: Any) -> tuple[Tensor, str]:
    """Draw the named objects -> (pictures (K, 3, 64, 64), what the judge finds in each, as one line).

    "(none)" is passed over. Raises UserError for no object at all or a repeated one.
    """
    condition = check_condition([name for name in names if name != _NOTHING])
    pictures = pipeline([condition], **drawing)
    if judge is None:
        return pictures, ""
    readings = []
    for outputs in judge.probabilities(pictures.clamp(-1, 1)):
        best = outputs.topk(len(condition)).indices.tolist()
        readings.append(", ".join(f"{CLASSES[c]}{'' if CLASSES[c] in condition else ' (not asked for)'}" for c in best))
    return pictures, "the judge reads: " + "; ".join(readings)


def compose_scene(pipeline: Pipeline, judge: Judge | None = None) -> ipywidgets.Widget:
    """Ask for up to three objects and draw them; sampler, steps, guidance and tries begin at the preset's."""
    wanted = ("red cube", "cyan sphere", _NOTHING)
    objects = [
        ipywidgets.Dropdown(options=[_NOTHING, *CLASSES], value=value, description=f"object {k + 1}")
        for k, value in enumerate(wanted)
    ]
    plan = pipeline.preset.sampling
    sampler = ipywidgets.Dropdown(options=list(SAMPLERS), value=plan.sampler, description="sampler")
    steps = ipywidgets.IntSlider(plan.num_steps, 2, 200, description="steps")
    guidance = ipywidgets.FloatSlider(plan.guidance_scale, min=1.0, max=6.0, step=0.5, description="guidance")
    candidates = ipywidgets.IntSlider(plan.num_candidates, 1, 16, description="best of")
    seed = ipywidgets.IntText(0, description="seed")
    button = ipywidgets.Button(description="Draw", button_style="primary")
    image, text = _image(), ipywidgets.HTML("press Draw")  # unlike a Label, it breaks long lines

    def draw(_button: Any = None) -> None:
        text.value = "drawing ..."
        try:
            pictures, reading = compose(
                pipeline,
                [choice.value for choice in objects],
                judge,
                sampler=sampler.value,
                num_steps=steps.value,
                guidance_scale=guidance.value,
                num_candidates=candidates.value,
                seed=seed.value,
                samples=4,
            )
        except UserError as error:
            text.value = html.escape(str(error))
            return
        image.value, text.value = png_bytes(list(pictures), 144), reading

    button.on_click(draw)
    choices = [ipywidgets.VBox(objects), ipywidgets.VBox([sampler, steps, guidance, candidates, seed])]
    box = ipywidgets.VBox([ipywidgets.HBox(choices), button, image, text])
    box.draw = draw
    return box


def snapshots(folder: Path) -> dict[int, Path]:
    """The strips of pictures that a run drew along the way, by step."""
    return {int(path.stem.split("_")[1]): path for path in sorted((folder / "samples").glob("step_*.png"))}


def scrubber(folder: Path) -> ipywidgets.Widget:
    """Move through a run's training: the same conditions, from the same noise, after more and more steps."""
    strips = snapshots(folder)
    if not strips:
        raise UserError(f"{folder}: holds no pictures drawn along the way")
    step = ipywidgets.SelectionSlider(options=list(strips), value=max(strips), description="step")
    image = _image()
    image.width = "760"

    def show(_change: Any = None) -> None:
        image.value = strips[step.value].read_bytes()

    return _together(show, [step], [image])


def _image() -> ipywidgets.Image:
    """Room for a picture that is shown at its own size, not as wide as the page."""
    return ipywidgets.Image(format="png", layout=ipywidgets.Layout(align_self="flex-start"))


def _together(show: Callable[..., None], controls: Sequence[Any], shown: Sequence[Any]) -> ipywidgets.Widget:
    """Controls above what they show; `show` is called now and whenever a control moves."""
    for control in controls:
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([*controls, *shown])

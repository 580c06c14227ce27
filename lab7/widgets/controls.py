"""Controls for the notebooks. What a control shows is computed by a plain function that needs no browser."""

import html
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import torch
import torch.nn.functional as F
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
from lab7.samplers import SAMPLERS
from lab7.schedule import NoiseSchedule
from lab7.utils.files import UserError
from lab7.vocabulary import CLASSES, check_condition

_NOTHING = "(none)"


def show_source(*objects: Any) -> Code:
    """The lines of functions or classes of lab7, as the notebook shows them."""
    return Code("\n\n".join(inspect.getsource(thing).rstrip() for thing in objects), language="python")


def show(figure: Figure) -> None:
    """Display a figure, whether or not pyplot is in use: lines as PNG, pictures as JPEG, a quarter of PNG's bytes."""
    kind = "jpeg" if any(axis.images for axis in figure.axes) else "png"
    options: dict[str, Any] = {"quality": 82, "subsampling": 0} if kind == "jpeg" else {"optimize": True}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=100, bbox_inches="tight", pil_kwargs=options)
    display(DisplayedImage(data=buffer.getvalue(), format=kind))


def png_bytes(pictures: Sequence[Tensor], side: int = 256) -> bytes:
    """Pictures (3, H, W), uint8 or in [-1, 1], in one PNG, each enlarged without smoothing to `side` pixels."""
    tiles = [picture if picture.dtype == torch.uint8 else to_uint8(picture) for picture in pictures]
    tiles = [F.pad(F.interpolate(tile[None].cpu(), size=(side, side))[0], (0, 6), value=255) for tile in tiles]
    strip = torch.cat(tiles, dim=2)[:, :, :-6].permute(1, 2, 0)  # (side, width, 3)
    buffer = io.BytesIO()
    Image.fromarray(strip.numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def with_class(pictures: Pictures, name: str) -> list[int]:
    """The indices of the pictures that show a class; of all pictures for "(none)"."""
    shown = torch.ones(len(pictures)) if name == _NOTHING else pictures.labels[:, CLASSES.index(name)]
    return shown.nonzero().flatten().tolist()


def browse_scenes(pictures: Pictures) -> ipywidgets.Widget:
    """Browse the pictures, all of them or those that show one class."""
    of_class = ipywidgets.Dropdown(options=[_NOTHING, *CLASSES], description="with")
    place = ipywidgets.IntSlider(0, 0, len(pictures) - 1, description="picture")
    image, text = _image(), ipywidgets.Label()

    def update(_change: Any = None) -> None:
        indices = with_class(pictures, of_class.value)
        place.max = max(len(indices) - 1, 0)
        index = indices[min(place.value, place.max)]
        image.value = png_bytes([pictures.images[index]])
        classes = pictures.labels[index].nonzero().flatten()
        text.value = f"{pictures.names[index]}: {', '.join(CLASSES[c] for c in classes)}"

    return _connect(update, [of_class, place], [image, text])


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
    """Add noise to a picture up to any step t, for any schedule and normalisation."""
    t = ipywidgets.IntSlider(200, 0, schedules[0].num_steps, description="t")
    schedule = ipywidgets.Dropdown(options=[(one.name, one) for one in schedules], description="schedule")
    normaliser = ipywidgets.Dropdown(options=list(normalisers.items()), description="pictures")
    place = ipywidgets.IntSlider(2, 0, len(pictures) - 1, description="picture")
    image, text = _image(), ipywidgets.Label()

    def update(_change: Any = None) -> None:
        picture = pictures.images[place.value]
        x_t, alpha_bar = noisy_picture(picture, normaliser.value, schedule.value, t.value)
        image.value = png_bytes([picture, x_t])
        share = f"the picture keeps {alpha_bar**0.5:.1%} of its size"
        text.value = f"left x_0, right x_t; alpha_bar_t = {alpha_bar:.4g}: {share}"

    return _connect(update, [t, schedule, normaliser, place], [image, text])


def compose(pipeline: Pipeline, names: Sequence[str], judge: Judge, **drawing: Any) -> tuple[Tensor, str]:
    """Draw the named objects, "(none)" left out -> (pictures (K, 3, 64, 64), one line of what the judge finds in each).
    Raises UserError if no object is named, or one more than once."""
    condition = check_condition([name for name in names if name != _NOTHING])
    pictures = pipeline([condition], **drawing)
    best = judge.probabilities(pictures.clamp(-1, 1)).topk(len(condition)).indices.tolist()  # K lists of k classes
    texts = [name if name in condition else f"{name} (not asked for)" for name in CLASSES]
    return pictures, "the judge finds: " + "; ".join(", ".join(texts[index] for index in row) for row in best)


def compose_scene(pipeline: Pipeline, judge: Judge) -> ipywidgets.Widget:
    """Ask for up to three objects and draw them; the settings begin at the preset's."""
    objects = [
        ipywidgets.Dropdown(options=[_NOTHING, *CLASSES], value=value, description=f"object {k + 1}")
        for k, value in enumerate(("red cube", "cyan sphere", _NOTHING))
    ]
    plan = pipeline.preset.sampling
    settings = {
        "sampler": ipywidgets.Dropdown(options=list(SAMPLERS), value=plan.sampler, description="sampler"),
        "num_steps": ipywidgets.IntSlider(plan.num_steps, 2, 200, description="steps"),
        "guidance_scale": ipywidgets.FloatSlider(plan.guidance_scale, min=1, max=6, step=0.5, description="guidance"),
        "num_candidates": ipywidgets.IntSlider(plan.num_candidates, 1, 16, description="best of"),
        "seed": ipywidgets.IntText(0, description="seed"),
    }
    button = ipywidgets.Button(description="Draw", button_style="primary")
    image, text = _image(), ipywidgets.HTML("press Draw")  # unlike a Label, it breaks long lines

    def draw(_button: Any = None) -> None:
        text.value = "drawing ..."
        values = {name: control.value for name, control in settings.items()}
        try:
            pictures, text.value = compose(pipeline, [choice.value for choice in objects], judge, samples=4, **values)
            image.value = png_bytes(list(pictures), 144)
        except UserError as error:
            text.value = html.escape(str(error))

    button.on_click(draw)
    controls = ipywidgets.HBox([ipywidgets.VBox(objects), ipywidgets.VBox(list(settings.values()))])
    return ipywidgets.VBox([controls, button, image, text])


def scrubber(folder: Path) -> ipywidgets.Widget:
    """Move through a run's training: the same conditions, drawn from the same noise after more and more steps."""
    strips = {int(path.stem.split("_")[1]): path for path in sorted((folder / "samples").glob("step_*.png"))}
    if not strips:
        raise UserError(f"{folder}: holds no pictures drawn during training")
    step = ipywidgets.SelectionSlider(options=list(strips), value=max(strips), description="step")
    image = _image(width="760")

    def update(_change: Any = None) -> None:
        image.value = strips[step.value].read_bytes()

    return _connect(update, [step], [image])


def _image(**options: str) -> ipywidgets.Image:
    """Room for a picture that is shown at its own size, not as wide as the page."""
    return ipywidgets.Image(format="png", layout=ipywidgets.Layout(align_self="flex-start"), **options)


def _connect(update: Callable[..., None], controls: Sequence[Any], outputs: Sequence[Any]) -> ipywidgets.Widget:
    """Controls above their outputs; `update` is called now and whenever a control moves."""
    for control in controls:
        control.observe(update, names="value")
    update()
    return ipywidgets.VBox([*controls, *outputs])

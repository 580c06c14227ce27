"""What the notebooks show: source, figures, and controls with a picture that stands in where no widget can be shown."""

import base64
import functools
import html
import inspect
import io
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import matplotlib
import numpy as np
import torch.nn.functional as F
from IPython.display import Code, display
from IPython.display import Image as DisplayedImage
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lab7.dataset.images import to_uint8

WIDE = ipywidgets.Layout(width="min(100%, 640px)")
INK, WRONG = "#222222", "#B04000"  # a wrong line also begins with a cross
LINE, MARGIN = 17, 6  # pixels
STATIC = "A static view of a control: run the notebook in JupyterLab to move it."


def show_source(*objects: Any) -> Code:
    """The lines of functions or classes of lab7, as the notebook shows them."""
    return Code("\n\n".join(inspect.getsource(thing).rstrip() for thing in objects), language="python")


def show(figure: Figure) -> None:
    """Display a figure, whether or not pyplot is in use: lines as PNG, pictures as JPEG, a quarter of PNG's bytes."""
    kind = "jpeg" if any(axis.images for axis in figure.axes) else "png"
    options: dict[str, Any] = {"quality": 82, "subsampling": 0} if kind == "jpeg" else {"optimize": True}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=100, bbox_inches="tight", pil_kwargs=options)
    display(DisplayedImage(data=buffer.getvalue(), format=kind, alt=alt_text(figure)))


def alt_text(figure: Figure) -> str:
    """What a figure shows, in its own words: titles, axes, curves; rows and columns where it shows pictures."""
    parts = [figure.get_suptitle()]
    for axis in figure.axes:
        names = [axis.get_title("left") or axis.get_title()]
        if axis.images:
            for side, ticks in ("rows", axis.get_yticklabels()), ("columns", axis.get_xticklabels()):
                labels = ", ".join(tick.get_text() for tick in ticks)
                names.append(f"{side}: {labels}" if labels else "")
        elif axis.get_xlabel() or axis.get_ylabel():
            names.append(f"{axis.get_ylabel() or 'values'} against {axis.get_xlabel() or 'the rows'}")
            names.append(", ".join(axis.get_legend_handles_labels()[1]))
        names += [text.get_text() for text in axis.texts]
        parts.append("; ".join(name for name in names if name.strip()))
    return " ".join(". ".join(part for part in parts if part).split()) or "a figure"


@functools.cache
def font(size: int = 13) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings and which has a tick and a cross."""
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def strip(pictures: Sequence[Tensor], captions: Sequence[str] = (), side: int = 192) -> Image.Image:
    """Pictures (3, H, W), uint8 or in [-1, 1], side by side, each enlarged without smoothing to `side` pixels; under
    each its caption, of several lines perhaps. A line that begins with a cross is in another colour."""
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    below = lines * LINE + MARGIN if lines else 0
    sheet = Image.new("RGB", (len(pictures) * (side + MARGIN) - MARGIN, side + below), "white")
    draw = ImageDraw.Draw(sheet)
    for k, picture in enumerate(pictures):
        raw = to_uint8(picture) if picture.is_floating_point() else picture.cpu()
        shown = F.interpolate(raw[None], size=(side, side))  # (1, 3, side, side)
        sheet.paste(Image.fromarray(shown[0].permute(1, 2, 0).numpy()), (k * (side + MARGIN), 0))
        for line, text in enumerate(captions[k].split("\n") if captions else []):
            place = k * (side + MARGIN), side + 3 + line * LINE
            draw.text(place, text, fill=WRONG if text.startswith("✗") else INK, font=font())
    return sheet


class Control(ipywidgets.VBox):
    """Controls above a picture and a line of text. On GitHub, in HTML and in PDF the picture stands alone."""

    def __init__(self, rows: Sequence[ipywidgets.Widget]) -> None:
        self.view = ipywidgets.HTML()
        self.picture, self.alt = Image.new("RGB", (1, 1), "white"), ""
        super().__init__([*rows, self.view])

    def draw(self, picture: Image.Image, alt: str, text: str = "", faded: bool = False) -> None:
        """Show a picture with its text alternative and a line below; `faded` marks one that is being replaced."""
        self.picture, self.alt = picture, alt
        data = base64.b64encode(encode(picture, "PNG", compress_level=1)).decode()
        style = "max-width: 100%; margin: 4px 0" + ("; opacity: 0.35" if faded else "")
        shown = f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'
        self.view.value = f'{shown}<div role="status">{html.escape(text)}</div>'

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = super()._repr_mimebundle_(**options)
        sheet = Image.new("RGB", (max(self.picture.width, 560), self.picture.height + LINE + MARGIN), "white")
        sheet.paste(self.picture)
        ImageDraw.Draw(sheet).text((0, self.picture.height + MARGIN), STATIC, fill=INK, font=font(12))
        still = base64.b64encode(encode(sheet, "JPEG", quality=82)).decode()
        return data | {"text/plain": f"{self.alt}. {STATIC}", "image/jpeg": still}, {"image/jpeg": {"alt": self.alt}}


def as_picture(figure: Figure) -> Image.Image:
    """A figure at its own size in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def connect(update: Callable[[], None], controls: Sequence[ipywidgets.Widget]) -> None:
    """Call `update` now and whenever a control moves."""
    for control in controls:
        control.observe(lambda _change: update(), names="value")
    update()


def stepper(labels: Sequence[str], description: str, milliseconds: int = 250) -> tuple[Any, ipywidgets.Widget]:
    """A slider over labelled moments, and the row that holds it with buttons to play it and to go one step."""
    slider = ipywidgets.SelectionSlider(
        options=[(label, k) for k, label in enumerate(labels)], description=description, layout=WIDE
    )
    play = ipywidgets.Play(max=len(labels) - 1, interval=milliseconds, tooltip="play")
    back, on = (ipywidgets.Button(description=f"step {word}", layout={"width": "100px"}) for word in ("back", "on"))
    ipywidgets.jslink((play, "value"), (slider, "index"))
    back.on_click(lambda _button: setattr(slider, "index", max(slider.index - 1, 0)))
    on.on_click(lambda _button: setattr(slider, "index", min(slider.index + 1, len(labels) - 1)))
    return slider, ipywidgets.VBox([slider, ipywidgets.HBox([play, back, on])])

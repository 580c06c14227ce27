"""What the notebooks show: source, figures, and controls with a picture that stands in where no widget can be shown."""

import base64
import html
import inspect
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from IPython.display import Code, display
from IPython.display import Image as DisplayedImage
from ipywidgets import HTML, Button, HBox, Layout, Play, SelectionSlider, VBox, Widget, jslink
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from lab7.dataset.images import to_uint8

WIDE = Layout(width="min(100%, 640px)")
FONT = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 13)  # has a tick and a cross
LINE, MARGIN = 17, 6  # pixels
INK, WRONG = "#222222", "#B04000"  # a wrong line also begins with a cross
STATIC = "Run the notebook in JupyterLab to move it."


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
    """What a figure shows, in its own words: titles, axes, curves; the names of rows and columns of pictures."""
    parts = [figure.get_suptitle()]
    for axis in figure.axes:
        names = [axis.get_title("left") or axis.get_title()]
        for direction, side in ("vertical", axis.yaxis), ("horizontal", axis.xaxis):
            texts = side.get_ticklabels() if axis.images else [side.label]
            label = ", ".join(text.get_text() for text in texts)
            names.append(f"{direction}: {label}" if label else "")
        names += [*axis.get_legend_handles_labels()[1], *(text.get_text() for text in axis.texts)]
        parts.append("; ".join(name for name in names if name.strip()))
    return " ".join(". ".join(part for part in parts if part).split()) or "a figure"


def grid(pictures: Sequence[Tensor], captions: Sequence[str] = ("",), columns: int = 8, side: int = 192) -> Image.Image:
    """Pictures (3, S, S), uint8 or in [-1, 1], in rows, each enlarged without smoothing to `side` pixels, with its
    caption below, of several lines perhaps. A line that begins with a cross is in another colour."""
    wide, high = side + MARGIN, side + MARGIN + LINE * max(caption.count("\n") + 1 for caption in captions)
    sheet = Image.new("RGB", (min(len(pictures), columns) * wide, -(-len(pictures) // columns) * high), "white")
    for k, one in enumerate(pictures):
        pixels = (to_uint8(one) if one.is_floating_point() else one.cpu()).permute(1, 2, 0).numpy()
        enlarged = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (k % columns * wide, k // columns * high))
    for k, caption in enumerate(captions):
        for line, text in enumerate(caption.split("\n")):
            place = k % columns * wide, k // columns * high + side + 3 + line * LINE
            ImageDraw.Draw(sheet).text(place, text, fill=WRONG if text.startswith("✗") else INK, font=FONT)
    return sheet


def as_picture(figure: Figure) -> Image.Image:
    """A figure at its own size in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")


def base64_of(picture: Image.Image, kind: str, **options: Any) -> str:
    """A picture's file as text."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


class Control(VBox):
    """Controls above a picture and a line of text. On GitHub, in HTML and in PDF the picture stands alone. `render`
    returns what `draw` wants; it is called now, and whenever one of `moved` moves."""

    picture, alt = Image.new("RGB", (1, 1), "white"), ""

    def __init__(self, rows: Sequence, render: Callable[[], tuple] | None = None, moved: Sequence = ()) -> None:
        self.view = HTML()
        super().__init__([*rows, self.view])
        if render:
            self.draw(*render())
            for one in moved:
                one.observe(lambda _change: self.draw(*render()), names="value")

    def draw(self, picture: Image.Image, alt: str, text: str) -> None:
        """Show a picture with its text alternative and a line below."""
        self.picture, self.alt = picture, alt
        self.say(text)

    def say(self, text: str, opacity: float = 1) -> None:
        """Show another line below the picture; a picture that is being replaced is made pale."""
        style = f"max-width: 100%; margin: 4px 0; opacity: {opacity}"
        data = base64_of(self.picture, "PNG", compress_level=1)
        shown = f'<img alt="{html.escape(self.alt)}" style="{style}" src="data:image/png;base64,{data}">'
        self.view.value = f'{shown}<div role="status">{html.escape(text)}</div>'

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = super()._repr_mimebundle_(**options)
        still = ImageOps.expand(self.picture, (0, 0, 0, LINE + MARGIN), "white")
        ImageDraw.Draw(still).text((0, self.picture.height), STATIC, fill=INK, font=FONT)
        data |= {"text/plain": f"{self.alt}. {STATIC}", "image/jpeg": base64_of(still, "JPEG", quality=82)}
        return data, {"image/jpeg": {"alt": self.alt}}


def stepper(labels: Sequence[str], name: str, milliseconds: int = 250) -> tuple[Any, Widget]:
    """A slider over labelled moments, and the row that holds it with buttons to play it and to go one step."""
    slider = SelectionSlider(options=[(one, k) for k, one in enumerate(labels)], description=name, layout=WIDE)
    play = Play(max=len(labels) - 1, interval=milliseconds, tooltip="play")
    back, on = (Button(description=f"step {word}", layout={"width": "100px"}) for word in ("back", "on"))
    jslink((play, "value"), (slider, "index"))
    back.on_click(lambda _button: setattr(slider, "index", max(slider.index - 1, 0)))
    on.on_click(lambda _button: setattr(slider, "index", min(slider.index + 1, len(labels) - 1)))
    return slider, VBox([slider, HBox([play, back, on])])

"""Explore noise schedules: their curves, and a picture after t steps of noise."""

import functools
from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lab7.dataset.images import Pictures
from lab7.dataset.normalizer import Normaliser
from lab7.diffusion import add_noise
from lab7.plots.style import COLOURS, styled, subplots
from lab7.schedule import NoiseSchedule
from lab7.widgets.display import MARGIN, WIDE, Control, as_picture, connect, strip


def noisy_picture(picture: Tensor, normaliser: Normaliser, schedule: NoiseSchedule, t: int, seed: int = 0) -> Tensor:
    """A uint8 picture (3, S, S) after t steps of noise, as a picture in about [-1, 1]."""
    x_0 = normaliser.encode(picture[None])  # (1, 3, S, S)
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed))
    return normaliser.decode(add_noise(schedule, x_0, torch.tensor([t]), eps))[0]


def curves(schedule: NoiseSchedule) -> dict[str, np.ndarray]:
    """beta, alpha_bar and log-SNR = log(alpha_bar / (1 - alpha_bar)) at t = 1..T, each float64 (T,)."""
    alpha_bar = schedule.alpha_bar64[1:]
    log_snr = torch.logit(alpha_bar)
    return {"beta_t": schedule.beta[1:].double().numpy(), "alpha_bar_t": alpha_bar.numpy(), "log-SNR": log_snr.numpy()}


@styled
def curve_sheet(schedule: NoiseSchedule) -> tuple[Image.Image, np.ndarray]:
    """The curves as one picture, and where in it each of their points lies: pixels (3, T, 2)."""
    figure, axes = subplots(1, 3, width=7.0, height=2.1)
    t = np.arange(1, schedule.num_steps + 1)
    for axis, (name, values) in zip(axes, curves(schedule).items(), strict=True):
        axis.plot(t, values, color=COLOURS[0])
        axis.set(title=name, xlabel="t")
    sheet = as_picture(figure)
    points = [axis.transData.transform(np.stack([t, line], 1)) for axis in axes for line in [axis.lines[0].get_ydata()]]
    return sheet, np.abs(np.stack(points) - [0, sheet.height])  # matplotlib counts from below, Pillow from above


def schedule_explorer(
    pictures: Pictures, normalisers: Mapping[str, Normaliser], schedules: Sequence[NoiseSchedule]
) -> Control:
    """Choose a schedule and a normalisation, and add noise to a picture up to any step t."""
    t = ipywidgets.IntSlider(schedules[0].num_steps // 5, 1, schedules[0].num_steps, description="t", layout=WIDE)
    schedule = ipywidgets.Dropdown(options=[(one.name, one) for one in schedules], description="schedule")
    normaliser = ipywidgets.Dropdown(options=list(normalisers.items()), description="pictures")
    place = ipywidgets.IntSlider(2, 0, len(pictures) - 1, description="picture", layout=WIDE)
    control = Control([t, ipywidgets.HBox([schedule, normaliser]), place])
    sheets = functools.cache(curve_sheet)

    def update() -> None:
        picture, chosen = pictures.images[place.value], schedule.value
        curve, points = sheets(chosen)
        shown = strip(
            [picture, noisy_picture(picture, normaliser.value, chosen, t.value)], ["x_0", f"x_t, t = {t.value}"]
        )
        sheet = Image.new("RGB", (curve.width + MARGIN + shown.width, max(curve.height, shown.height)), "white")
        sheet.paste(curve)
        sheet.paste(shown, (curve.width + MARGIN, 0))
        draw = ImageDraw.Draw(sheet)
        for x, y in points[:, t.value - 1]:
            draw.line([x, 30, x, curve.height - 45], fill=COLOURS[1])
            draw.circle([x, y], 5, outline=COLOURS[1], width=3)
        values = ", ".join(f"{name} = {line[t.value - 1]:.4g}" for name, line in curves(chosen).items())
        kept = f"the picture keeps {float(chosen.sqrt_alpha_bar[t.value]):.1%} of its size"
        alt = (
            f"Schedule {chosen.name} at t = {t.value}: curves of beta, alpha_bar and log-SNR, and a picture with noise"
        )
        control.draw(sheet, alt, f"{values}: {kept}")

    connect(update, [t, schedule, normaliser, place])
    return control

"""Browse the pictures; explore noise schedules: their curves, and a picture after t steps of noise."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ipywidgets import Dropdown, HBox, IntSlider
from PIL import Image, ImageDraw

from lab7.dataset.images import Pictures
from lab7.dataset.normalizer import Normaliser
from lab7.diffusion import add_noise
from lab7.plots.style import COLOURS, styled, subplots
from lab7.schedule import NoiseSchedule
from lab7.vocabulary import CLASSES, to_names
from lab7.widgets.display import WIDE, Control, as_picture, grid


def browse_scenes(pictures: Pictures) -> Control:
    """Choose a class and move through its pictures."""
    of_class = Dropdown(options=["(any)", *to_names(pictures.labels.amax(dim=0).numpy())], description="class")
    place = IntSlider(0, 0, len(pictures) - 1, description="picture", layout=WIDE)

    def render() -> tuple:
        shows = pictures.labels[:, CLASSES.index(of_class.value)] if of_class.index else torch.ones(len(pictures))
        indices = shows.nonzero().flatten().tolist()
        place.max = len(indices) - 1  # moves place.value, too, where that is larger
        index = indices[place.value]
        objects = ", ".join(to_names(pictures.labels[index].numpy()))
        return grid([pictures.images[index]], side=320), objects, f"{pictures.names[index]}: {objects}"

    return Control([of_class, place], render, [of_class, place])


@functools.cache
@styled
def curve_sheet(schedule: NoiseSchedule) -> tuple[Image.Image, list[Any]]:
    """The curves of beta, alpha_bar and log-SNR = log(alpha_bar / (1 - alpha_bar)) at t = 1..T as one picture, with
    room on the right; and their axes."""
    figure, axes = subplots(1, 4, width=11.0, height=2.2, width_ratios=(1, 1, 1, 2.2))
    axes[3].set_axis_off()
    alpha_bar = schedule.alpha_bar64[1:]
    curves = {"beta_t": schedule.beta[1:], "alpha_bar_t": alpha_bar, "log-SNR": torch.logit(alpha_bar)}
    for axis, (name, values) in zip(axes, curves.items(), strict=False):
        axis.plot(np.arange(1, schedule.num_steps + 1), values.numpy(), color=COLOURS[0])
        axis.set(title=name, xlabel="t")
    return as_picture(figure), list(axes[:3])


def schedule_explorer(
    pictures: Pictures, normalisers: Mapping[str, Normaliser], schedules: Sequence[NoiseSchedule]
) -> Control:
    """Choose a schedule and a normalisation, and add noise to a picture up to any step t."""
    t = IntSlider(schedules[0].num_steps // 5, 1, schedules[0].num_steps, description="t", layout=WIDE)
    schedule = Dropdown(options=[(one.name, one) for one in schedules], description="schedule")
    normaliser = Dropdown(options=list(normalisers.items()), description="normalise")
    place = IntSlider(2, 0, len(pictures) - 1, description="picture", layout=WIDE)

    def render() -> tuple:
        picture, chosen = pictures.images[place.value], schedule.value
        x_0 = normaliser.value.encode(picture[None])  # (1, 3, S, S)
        eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
        noisy = normaliser.value.decode(add_noise(chosen, x_0, torch.tensor([t.value]), eps))[0]
        curves, axes = curve_sheet(chosen)
        sheet, shown, values = curves.copy(), grid([picture, noisy], ["x_0", f"x_t, t = {t.value}"]), []
        sheet.paste(shown, (sheet.width - shown.width, 0))
        for axis in axes:
            value = axis.lines[0].get_ydata()[t.value - 1]
            values.append(f"{axis.get_title('left')} = {value:.4g}")
            x, y = axis.transData.transform((t.value, value))  # matplotlib counts from below, Pillow from above
            ImageDraw.Draw(sheet).circle((x, sheet.height - y), 6, fill=COLOURS[1])
        kept = f"the picture keeps {float(chosen.sqrt_alpha_bar[t.value]):.1%} of its size"
        alt = f"Schedule {chosen.name} at t = {t.value}: curves of beta, alpha_bar, log-SNR, and a picture with noise"
        return sheet, alt, f"{', '.join(values)}: {kept}"

    return Control([t, HBox([schedule, normaliser]), place], render, [t, schedule, normaliser, place])

"""One style for every figure, and the figures about data and noise: data in, matplotlib Figure out."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito (2008)
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
INK, PALE = "#222222", "#D9D9D9"
WIDTH = 7.2  # inches: the width of a page of the report

STYLE: Any = {  # matplotlib types its keys one by one
    "savefig.dpi": 130,
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
    "image.interpolation": "nearest",
    "svg.hashsalt": "lab7",
    "svg.fonttype": "none",
}


styled = mpl.rc_context(STYLE)
"""Decorates a function that draws: it draws in the lab's style, and matplotlib's own settings stay as they are."""


@styled
def subplots(rows: int = 1, columns: int = 1, width: float = WIDTH, height: float = 3.0, **options: Any) -> Any:
    """A new figure in the lab's style, `width` x `height` inches, and its axes as Figure.subplots gives them."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def to_shown(x: Tensor | np.ndarray) -> np.ndarray:
    """A picture (3, H, W) in [-1, 1] (clamped), or uint8 (3, H, W) -> uint8 (H, W, 3) as imshow wants it, rounded to
    multiples of 4: no eye tells the difference, and a figure's file is a third smaller."""
    array = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if array.dtype != np.uint8:
        array = np.clip((array + 1) * 127.5, 0, 255)
    return np.moveaxis(np.minimum(4.0 * np.round(array / 4), 255).astype(np.uint8), 0, -1)


@styled
def picture_grid(
    pictures: Sequence[Sequence[Tensor | np.ndarray]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell: float = 0.85,
    title: str = "",
) -> Figure:
    """Rows of pictures, each (3, H, W) in [-1, 1] or uint8, in cells of `cell` inches; row labels stand on the left,
    column labels on top."""
    rows, columns = len(pictures), max(len(row) for row in pictures)
    left, top = (1.3 if row_labels else 0.05), (0.35 if column_labels else 0.05) + (0.3 if title else 0)
    # One axes for all pictures: a layout of many takes seconds.
    figure, axis = subplots(width=left + columns * cell, height=rows * cell + top)
    for r, row in enumerate(pictures):
        for c, picture in enumerate(row):
            shown = to_shown(picture)
            height, width = np.array(shown.shape[:2]) / max(shown.shape) * 0.94  # of a cell, the rest is margin
            axis.imshow(shown, extent=(c, c + width, r + height, r))
    axis.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.set_xticks(np.arange(len(column_labels)) + 0.47, column_labels, fontsize=7.5)
    axis.set_yticks(np.arange(len(row_labels)) + 0.47, row_labels, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure


@styled
def mean_and_deviation(mean: Tensor, deviation: Tensor, values: Sequence[tuple[str, Tensor]]) -> Figure:
    """The mean picture and each pixel's standard deviation, both (3, H, W) in [-1, 1] units; histograms of values."""
    figure, (left, middle, right) = subplots(1, 3, width_ratios=(1, 1.2, 1.7), height=2.5)
    left.imshow(to_shown(mean))
    left.set_title("mean picture")
    shown = middle.imshow(deviation.mean(dim=0).numpy(), cmap="cividis", vmin=0)
    middle.set_title("std of each pixel")
    figure.colorbar(shown, ax=middle, shrink=0.8, label="in [-1, 1] units")
    for axis in (left, middle):
        axis.set_axis_off()
    bins = np.linspace(-3.5, 3.5, 141)
    for (name, sample), colour, dash in zip(values, COLOURS, DASHES, strict=False):
        look: dict[str, Any] = {"histtype": "step", "color": colour, "linestyle": dash, "label": name}
        right.hist(sample.flatten().numpy(), bins=bins, density=True, **look)
    right.set(yscale="log", xlabel="value of a pixel", ylabel="density", title="what the network sees")
    right.set_ylim(5e-4, 2e3)  # room for the legend
    right.legend(loc="upper right", handlelength=1.2)
    return figure


@styled
def schedule_curves(schedules: Sequence[Any]) -> Figure:
    """Several NoiseSchedules against t / T (Fig. 8): beta_t, the factor of the picture in x_t, and how far beta_t is
    from the first schedule's where that is less than 0.001."""
    figure, (left, middle, right) = subplots(1, 3, height=2.7)
    for schedule, colour, dash in zip(schedules, COLOURS, DASHES, strict=False):
        line: dict[str, Any] = {"color": colour, "linestyle": dash}
        t = np.arange(schedule.num_steps + 1) / schedule.num_steps
        left.plot(t[1:], schedule.beta[1:].numpy(), **line)
        middle.plot(t, schedule.sqrt_alpha_bar.numpy(), **line, label=schedule.name)
        difference = (schedule.beta - schedules[0].beta)[1:].numpy()
        if np.abs(difference).max() < 1e-3:
            right.plot(t[1:], difference * 1e5, **line)
    left.set(ylabel="beta_t", title="noise of step t", ylim=(0, 0.05))
    middle.set(ylabel="sqrt(alpha_bar_t)", title="picture left at t")
    right.set(ylabel="1e5 times the difference", title=f"beta_t minus {schedules[0].name}")
    for axis in (left, middle, right):
        axis.set_xlabel("t / T")
    figure.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=len(schedules))
    return figure

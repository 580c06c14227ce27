"""One style for every figure, and the figures about data and noise: data in, matplotlib Figure out.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; lines differ in dash as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from cycler import cycler
from matplotlib.figure import Figure
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
INK, PALE = "#222222", "#D9D9D9"
WIDTH = 7.2  # inches: the width of a page of the report

STYLE: Any = {  # matplotlib types its keys one by one
    "figure.dpi": 100,
    "savefig.dpi": 130,
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
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


def new_figure(width: float = WIDTH, height: float = 3.0) -> Figure:
    """An empty figure in the lab's style, `width` x `height` inches; it belongs to no global state."""
    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def to_shown(x: Tensor | np.ndarray) -> np.ndarray:
    """A picture (3, H, W) in [-1, 1] (clamped), or uint8 (3, H, W) -> uint8 (H, W, 3) as imshow wants it.

    Rounded to multiples of 4 of 255: no eye tells the difference, and a figure's file is a third smaller.
    """
    array = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if array.dtype != np.uint8:
        array = np.clip((array + 1) * 127.5, 0, 255)
    return np.moveaxis(np.minimum(4.0 * np.round(array / 4), 255).astype(np.uint8), 0, -1)


def picture_grid(
    pictures: Sequence[Sequence[Tensor | np.ndarray]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell: float = 0.85,
    title: str = "",
) -> Figure:
    """Rows of pictures, each (3, H, W) in [-1, 1] or uint8; row labels stand on the left, column labels on top."""
    rows, columns = len(pictures), max(len(row) for row in pictures)
    left = 1.3 if row_labels else 0.05
    with mpl.rc_context(STYLE):
        figure = new_figure(
            left + columns * cell, rows * cell + (0.35 if column_labels else 0.05) + (0.3 if title else 0)
        )
        axes = figure.subplots(rows, columns, squeeze=False)
        for r in range(rows):
            for c in range(columns):
                axis = axes[r, c]
                axis.set_axis_on() if c == 0 and row_labels else axis.set_axis_off()
                axis.set_xticks([]), axis.set_yticks([])
                axis.grid(False)
                for spine in axis.spines.values():
                    spine.set_visible(False)
                if c < len(pictures[r]):
                    axis.imshow(to_shown(pictures[r][c]))
                if r == 0 and c < len(column_labels):
                    axis.set_title(column_labels[c], fontsize=7, fontweight="normal", loc="center")
            if r < len(row_labels):
                axes[r, 0].set_ylabel(row_labels[r], rotation=0, ha="right", va="center", fontsize=8)
        if title:
            figure.suptitle(title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure


def class_counts(labels: Tensor, names: Sequence[str]) -> Figure:
    """How many pictures show each class; labels (N, 24)."""
    counts = labels.sum(dim=0).tolist()
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.6)
        axis = figure.subplots()
        axis.bar(range(len(names)), counts, color=COLOURS[0])
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7.5)
        axis.grid(False, axis="x")
        axis.set_ylabel("pictures")
        axis.set_title(f"every class is shown {min(counts)} to {max(counts)} times")
    return figure


def mean_and_deviation(mean: Tensor, deviation: Tensor, values: Sequence[tuple[str, Tensor]]) -> Figure:
    """The mean picture and the deviation of each pixel, both (3, H, W) in [-1, 1] units, and histograms of values."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.5)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.7))
        left.imshow(to_shown(mean))
        left.set_title("mean picture")
        shown = middle.imshow(deviation.mean(dim=0).numpy(), cmap="cividis", vmin=0)
        middle.set_title("deviation of a pixel")
        figure.colorbar(shown, ax=middle, shrink=0.8, label="in [-1, 1] units")
        for axis in (left, middle):
            axis.set_axis_off()
        bins = np.linspace(-3.5, 3.5, 141)
        for (name, sample), colour, dash in zip(values, COLOURS, DASHES, strict=False):
            numbers = sample.flatten().numpy()
            right.hist(numbers, bins=bins, density=True, histtype="step", color=colour, linestyle=dash, label=name)
        right.set_yscale("log")
        right.set_xlabel("value of a pixel")
        right.set_ylabel("density")
        right.set_title("what the network sees")
        right.set_ylim(top=60)
        right.legend(loc="upper right", handlelength=1.2)
    return figure


def schedule_curves(schedules: Sequence[Any]) -> Figure:
    """beta_t, and what is left of the picture, against t/T for several NoiseSchedules."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.7)
        left, right = figure.subplots(1, 2)
        for schedule, colour, dash in zip(schedules, COLOURS, DASHES, strict=False):
            t = np.arange(schedule.num_steps + 1) / schedule.num_steps
            left.plot(t[1:], schedule.beta[1:].numpy(), color=colour, linestyle=dash, label=schedule.name)
            right.plot(t, schedule.sqrt_alpha_bar.numpy(), color=colour, linestyle=dash, label=schedule.name)
        left.set_ylim(0, 0.05)
        left.set(xlabel="t / T", ylabel="beta_t", title="noise added in step t")
        right.set(xlabel="t / T", ylabel="sqrt(alpha_bar_t)", title="share of the picture left after t steps")
        right.legend()
    return figure


def where_decided(log_snr: Sequence[float], errors: Sequence[float], schedules: Sequence[Any]) -> Figure:
    """Above, the error of a network's guess of x_0 against the log SNR of what it saw; below, how often each schedule
    shows it such noise if t is drawn evenly."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.6)
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(log_snr, errors, "o-", color=INK, markersize=3)
        above.set(ylabel="error of the guess of x_0", ylim=(0, 1.05))
        edges = np.linspace(-16, 8, 49)
        for schedule, colour, dash in zip(schedules, COLOURS, DASHES, strict=False):
            values = torch.logit(schedule.alpha_bar64[1:]).clamp(-16, 8).numpy()
            below.hist(values, bins=list(edges), histtype="step", color=colour, linestyle=dash, label=schedule.name)
        below.set(xlabel="log SNR (left: noise, right: picture)", ylabel="steps of T", xlim=(-14, 7))
        below.legend(loc="upper left")
    return figure


def signal_to_noise(schedules: Sequence[Any], deviations: Sequence[tuple[str, float]]) -> Figure:
    """Deviation of the picture over deviation of the noise in x_t, for pictures of several deviations."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.7)
        axes = figure.subplots(1, len(schedules), sharey=True, squeeze=False)[0]
        for axis, schedule in zip(axes, schedules, strict=True):
            t = np.arange(1, schedule.num_steps + 1)
            ratio = (schedule.sqrt_alpha_bar / schedule.sqrt_one_minus_alpha_bar)[1:].numpy()
            for (name, deviation), colour, dash in zip(deviations, COLOURS, DASHES, strict=False):
                axis.plot(t, deviation * ratio, color=colour, linestyle=dash, label=name)
            axis.axhline(1, color=INK, linewidth=0.8, linestyle="-")
            axis.set_yscale("log")
            axis.set_ylim(1e-3, 1e3)
            axis.set(xlabel="t", title=schedule.name)
        axes[0].set_ylabel("signal / noise")
        axes[0].legend()
    return figure

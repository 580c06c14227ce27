"""The figures about training: curves of a run, learning rates, initialisation, pictures on the way (Tables 2, 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lab7.ablation.evaluate import REPORTED_LISTS
from lab7.config import from_dict
from lab7.dataset.images import read_picture
from lab7.plots.sampling import draw_shares, pooled
from lab7.plots.style import COLOURS, DASHES, STYLE, new_figure, picture_grid
from lab7.training.lr_schedules import run_length
from lab7.training.run_folder import losses, read_metrics
from lab7.utils.files import UserError, read_json, short

Lines = Sequence[Mapping[str, Any]]
"""The lines of a metrics.jsonl, as `read_metrics` gives them."""

BORDER = 2  # pixels of white around every picture of a strip


@dataclass(frozen=True)
class Snapshot:
    """Pictures of fixed conditions from the same noise after so many steps: uint8 (3, S, S) each; and the mean loss
    of the steps up to there (not a number where none was told yet)."""

    step: int
    epoch: float
    loss: float
    pictures: list[np.ndarray]


def split_strip(strip: np.ndarray, border: int = BORDER) -> list[np.ndarray]:
    """One row of square pictures with borders, uint8 (H, W, 3) -> uint8 (3, S, S) each; the inverse of save_grid."""
    size = strip.shape[0] - 2 * border
    starts = range(border, strip.shape[1] - size, size + border)
    return [np.moveaxis(strip[border : border + size, left : left + size], -1, 0) for left in starts]


def read_snapshots(run: Path) -> list[Snapshot]:
    """The strips in a run's samples/, by step. Raises UserError for a run without any."""
    lines = losses(read_metrics(run))
    paths = sorted((run / "samples").glob("step_*.png"))
    if not paths:
        raise UserError(f"{short(run / 'samples')}: holds no pictures; was the run stopped before the first?")
    result = read_json(run / "result.json", "a run's result")
    length = run_length(from_dict(result["settings"], short(run)).train, result["pictures"])
    found = []
    for path in paths:
        step = int(path.stem.removeprefix("step_"))
        before = [line["loss"] for line in lines if line["step"] <= step]
        loss = before[-1] if before else float("nan")
        found.append(Snapshot(step, step / length.steps_per_epoch, loss, split_strip(read_picture(path))))
    return found


def snapshot_figure(snapshots: Sequence[Snapshot], conditions: Sequence[Sequence[str]]) -> Figure:
    """Rows: moments of the training. Columns: conditions, each always from the same noise (Tables 2 and 3)."""
    longest = max(snapshot.epoch for snapshot in snapshots)
    rows = [f"epoch {snapshot.epoch:.3g}" if longest >= 1 else f"step {snapshot.step}" for snapshot in snapshots]
    most = max(map(len, conditions))
    columns = ["\n".join([""] * (most - len(names)) + list(names)) for names in conditions]  # they end in one line
    return picture_grid([snapshot.pictures for snapshot in snapshots], rows, columns, cell=0.74)


def snapshot_table(snapshots: Sequence[Snapshot]) -> pd.DataFrame:
    """Step, epoch and loss of each row of the picture beside it."""
    return pd.DataFrame([{"step": s.step, "epoch": round(s.epoch, 3), "loss": round(s.loss, 4)} for s in snapshots])


def run_curves(runs: Mapping[str, Lines]) -> Figure:
    """Loss (both axes logarithmic) and speed of whole runs against the pictures that they have seen."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.9)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for (name, lines), colour, dash in zip(runs.items(), COLOURS, DASHES, strict=False):
            told = losses(lines)
            images = [line["images"] for line in told]
            left.plot(images, [line["loss"] for line in told], color=colour, linestyle=dash, label=name, linewidth=1.3)
            right.plot(images, [line["images_per_second"] for line in told], color=colour, linestyle=dash, linewidth=1)
        left.set(xscale="log", yscale="log", xlabel="pictures seen", ylabel="loss (mean squared error)")
        left.set_title("Loss")
        right.set(xlabel="pictures seen", ylabel="pictures per second")
        right.set_ylim(bottom=0)
        right.set_title("Speed")
        _plain(left.yaxis)
        for axis in (left.xaxis, right.xaxis):
            _thousands(axis)
        left.legend()
    return figure


def demonstration_curve(demonstration: Lines, recorded: Lines = ()) -> Figure:
    """The loss of a short training, over the first steps of a recorded one where there is one."""
    told, before = losses(demonstration), losses(recorded)
    end = max(line["step"] for line in told)
    with mpl.rc_context(STYLE):
        figure = new_figure(5.0, 2.5)
        axes = figure.subplots()
        early = [line for line in before if line["step"] <= 4 * end]
        if early:
            steps, values = [line["step"] for line in early], [line["loss"] for line in early]
            axes.plot(steps, values, color=COLOURS[0], label="the recorded run")
        steps, values = [line["step"] for line in told], [line["loss"] for line in told]
        axes.plot(steps, values, "o", color=COLOURS[1], markersize=7, label="here and now")
        axes.set(yscale="log", xlabel="step", ylabel="loss, mean of 50 steps")
        _plain(axes.yaxis)
        axes.set_xlim(left=0)
        axes.legend()
    return figure


def recipes_figure(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Objects found on both lists of the course against the minutes of training, with 95% Wilson intervals.

    `curves` are those of recipes.json: "weights", "threads", and "marks", each with minutes and accuracy by list.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.0)
        axis = figure.subplots()
        for (name, curve), colour, dash in zip(curves.items(), COLOURS, DASHES, strict=False):
            minutes = [mark["minutes"] for mark in curve["marks"]]
            scores = [
                pooled({"accuracy": {one: mark["accuracy"][one] for one in REPORTED_LISTS}}) for mark in curve["marks"]
            ]
            cores = "one core" if curve["threads"] == 1 else f"{curve['threads']} cores"
            label = f"{name}: {curve['weights'] / 1e6:.1f} million weights, {cores}"
            draw_shares(axis, minutes, scores, color=colour, linestyle=dash, label=label)
        axis.set(xlabel="minutes of training", ylabel="objects found, test and new_test", ylim=(0, 1))
        axis.set_xlim(left=0)
        axis.legend(loc="center right")
    return figure


def rate_curves(smooth: Mapping[str, np.ndarray], linear: np.ndarray, with_plateau: Sequence[np.ndarray]) -> Figure:
    """Learning rates over a training as a fraction of the highest: the smooth plans by name; and the report's, linear
    by epoch, alone and times the plateau's factor, one curve for each luck of the scoring."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.7)
        left, right = figure.subplots(1, 2, sharey=True)
        for (name, factor), colour, dash in zip(smooth.items(), COLOURS, DASHES, strict=False):
            left.plot(np.linspace(0, 1, len(factor)), factor, color=colour, linestyle=dash, label=name)
        left.set(xlabel="share of the training done", ylabel="learning rate / highest")
        left.set_title("Known beforehand")
        left.legend()
        progress = np.linspace(0, 1, len(linear))
        right.plot(progress, linear, color=COLOURS[0], label="linear by epoch")
        for number, factor in enumerate(with_plateau):
            label = "times plateau, one line a luck" if number == 0 else None
            right.plot(progress, factor, color=COLOURS[1], linestyle="-", linewidth=0.8, alpha=0.8, label=label)
        right.set(xlabel="share of the training done")
        right.set_title("The report's, on simulated scores")
        right.legend()
    return figure


def initialisation_figure(
    sizes: Mapping[str, Sequence[Mapping[str, tuple[float, float]]]],
    first_losses: Mapping[str, Sequence[Sequence[float]]],
) -> Figure:
    """What initialisation does (Fig. 14): the signal's standard deviation as it enters and leaves each block before
    the first step, and the loss of the first steps. Both by kind, then by seed; a band spans the seeds."""
    with mpl.rc_context(STYLE):
        figure = new_figure(height=2.75)
        axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.05))
        blocks = list(next(iter(sizes.values()))[0])
        for kind, colour, dash in zip(sizes, COLOURS, DASHES, strict=False):
            for side in (0, 1):
                values = np.array([[found[block][side] for block in blocks] for found in sizes[kind]])
                _band(axes[side], np.arange(len(blocks)), values, kind, colour, dash, marker="o")
            curve = np.array(first_losses[kind])
            _band(axes[2], np.arange(1, curve.shape[1] + 1), curve, kind, colour, dash)
        for side, title in enumerate(("Entering each block", "Leaving each block")):
            axes[side].set(yscale="log", ylabel="standard deviation")
            axes[side].set_xticks(
                range(len(blocks)), blocks, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5
            )
            axes[side].set_title(title)
            _plain(axes[side].yaxis)
        low = min(axis.get_ylim()[0] for axis in axes[:2])
        high = max(axis.get_ylim()[1] for axis in axes[:2])
        for axis in axes[:2]:
            axis.set_ylim(low, high)
        axes[2].set(yscale="log", xlabel="step", ylabel="loss (mean squared error)")
        axes[2].set_title("First steps")
        _plain(axes[2].yaxis)
        axes[2].legend()
    return figure


def _band(axes: Any, x: np.ndarray, values: np.ndarray, label: str, colour: str, dash: Any, marker: str = "") -> None:
    """The mean of (seeds, points) as a line, and from the least to the most as a band."""
    axes.plot(x, values.mean(0), color=colour, linestyle=dash, label=label, marker=marker, markersize=3.5)
    axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)


def _plain(axis: Any) -> None:
    """Numbers such as 0.05 on a logarithmic axis, not powers of ten; 1, 2 and 5 of each decade."""
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))

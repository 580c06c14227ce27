"""The figures about training: curves of a run, learning rates, initialisation, pictures on the way (Tables 2, 3)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lab7.dataset.images import read_picture
from lab7.plots.sampling import draw_shares, pooled
from lab7.plots.style import COLOURS, DASHES, picture_grid, styled, subplots
from lab7.utils.files import UserError, read_json, short

Lines = Sequence[Mapping[str, Any]]  # of a metrics.jsonl


def read_snapshots(run: Path) -> pd.DataFrame:
    """The pictures of fixed conditions that a finished run drew on the way, always from the same noise: a row a moment.

    Columns: step, epoch, loss (the last recorded until then, NaN if there is none yet), and strip, the pictures side by
    side as uint8 (H, W, 3). Raises UserError for a run without any.
    """
    paths = sorted((run / "samples").glob("step_*.png"))
    if not paths:
        raise UserError(f"{short(run / 'samples')}: holds no pictures; was the run stopped before the first?")
    result = read_json(run / "result.json", "a run's result")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    rows = []
    for path in paths:
        step = int(path.stem.removeprefix("step_"))
        loss = [float("nan"), *(loss for at, loss in losses.items() if at <= step)][-1]
        row = {"step": step, "epoch": round(step * result["epochs"] / result["steps"], 3), "loss": round(loss, 4)}
        rows.append(row | {"strip": read_picture(path)})
    return pd.DataFrame(rows)


def snapshot_figure(snapshots: pd.DataFrame, conditions: Sequence[Sequence[str]]) -> Figure:
    """Rows: moments of the training. Columns: conditions, each always from the same noise (Tables 2 and 3)."""
    pictures = [np.array_split(np.moveaxis(strip, -1, 0), len(conditions), axis=2) for strip in snapshots["strip"]]
    by_epoch = snapshots.epoch.max() >= 1
    rows = [f"epoch {one.epoch:.3g}" if by_epoch else f"step {one.step}" for one in snapshots.itertuples()]
    return picture_grid(pictures, rows, ["\n".join(names) for names in conditions], cell=0.92)


@styled
def run_curves(runs: Mapping[str, Lines], live: Lines) -> Figure:
    """The loss of whole runs against the pictures that they have seen, both axes logarithmic, a run's as the mean over
    each twentieth of a decade; `live` as points. All lines hold a loss."""
    figure, axis = subplots(width=5.6, height=2.9)
    for (name, lines), colour, dash in zip(runs.items(), COLOURS, DASHES, strict=False):
        curve = pd.DataFrame(lines)[["images", "loss"]]
        curve = curve.groupby((20 * np.log10(curve.images)).round()).mean()
        axis.plot(curve.images, curve.loss, color=colour, linestyle=dash, label=name, linewidth=1.3)
    curve = pd.DataFrame(live)
    axis.plot(curve.images, curve.loss, "o", color="black", markersize=8, fillstyle="none", label="this notebook")
    axis.set(xscale="log", yscale="log", xlabel="pictures seen", ylabel="loss (mean squared error)")
    _plain(axis.yaxis)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.legend()
    return figure


@styled
def recipes_figure(curves: Mapping[str, Mapping[str, Any]], lists: Sequence[str] = ("test", "new_test")) -> Figure:
    """Objects found on the lists against the minutes of training, 95% Wilson intervals; `curves` of recipes.json."""
    figure, axis = subplots(height=3.0)
    for (name, curve), colour, dash in zip(curves.items(), COLOURS, DASHES, strict=False):
        minutes = [mark["minutes"] for mark in curve["marks"]]
        scores = [pooled({"accuracy": {one: mark["accuracy"][one] for one in lists}}) for mark in curve["marks"]]
        cores = "one core" if curve["threads"] == 1 else f"{curve['threads']} cores"
        label = f"{name}: {curve['weights'] / 1e6:.1f} million weights, {cores}"
        draw_shares(axis, minutes, scores, color=colour, linestyle=dash, label=label)
    axis.set(xlabel="minutes of training", ylabel=f"objects found, {' and '.join(lists)}")
    axis.set(xlim=(0, None), ylim=(0, 1.02))
    axis.legend(loc="center right")
    return figure


@styled
def rate_curves(smooth: Mapping[str, Sequence[float]], plateau: Sequence[Sequence[float]]) -> Figure:
    """Factors of the learning rate over a training: left the smooth schedules by name, right that of the report's
    plateau, one curve for each simulated training."""
    figure, (left, right) = subplots(1, 2, sharey=True, height=2.5)
    for (name, factor), colour, dash in zip(smooth.items(), COLOURS, DASHES, strict=False):
        left.plot(np.linspace(0, 1, len(factor)), factor, color=colour, linestyle=dash, label=name)
    for factor in plateau:
        right.plot(np.linspace(0, 1, len(factor)), factor, color=COLOURS[1], linestyle="-", linewidth=0.9)
    left.set(title="smooth schedules", ylabel="learning rate / highest", xlabel="share of the training done")
    right.set(title="plateau factor of simulated trainings", xlabel="share of the training done")
    left.legend()
    return figure


@styled
def initialisation_figure(sizes: Mapping[str, Sequence[Mapping]], first_losses: Mapping[str, Sequence]) -> Figure:
    """What initialisation does (Fig. 14): the signal's standard deviation as it enters and leaves each block before
    the first step (network_parts.signal_sizes), and the loss of the first steps; by kind, then by seed (the bands)."""
    figure, axes = subplots(1, 3, width_ratios=(1, 1, 1.05), height=2.75)
    blocks = list(next(iter(sizes.values()))[0])
    for kind, colour, dash in zip(sizes, COLOURS, DASHES, strict=False):
        for side in (0, 1):
            values = np.array([[measured[block][side] for block in blocks] for measured in sizes[kind]])
            _band(axes[side], np.arange(len(blocks)), values, kind, colour, dash, marker="o")
        curve = np.array(first_losses[kind])
        _band(axes[2], np.arange(1, curve.shape[1] + 1), curve, kind, colour, dash)
    for axis, title in zip(axes, ("Entering each block", "Leaving each block", "First steps"), strict=True):
        axis.set_title(title)
    axes[0].sharey(axes[1])
    for axis in axes[:2]:
        axis.set(yscale="log", ylabel="standard deviation")
        _plain(axis.yaxis)
        axis.set_xticks(range(len(blocks)), blocks, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes[2].set(xlabel="step", ylabel="loss (mean squared error)", ylim=(0, None))
    axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[2].legend()
    return figure


def _band(axes: Any, x: np.ndarray, values: np.ndarray, label: str, colour: str, dash: Any, marker: str = "") -> None:
    """The mean of (seeds, points) as a line, and from the least to the most as a band."""
    axes.plot(x, values.mean(0), color=colour, linestyle=dash, label=label, marker=marker, markersize=3.5)
    axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)


def _plain(axis: Any) -> None:
    """Numbers such as 0.05 on a logarithmic axis, not powers of ten; 1, 2 and 5 of each decade."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())

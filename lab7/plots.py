"""One style for every figure, and the figures about data and noise: data in, matplotlib Figure out.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; lines differ in dash as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
INK, PALE = "#222222", "#D9D9D9"
WIDTH = 7.2  # inches: the width of a page of the report

STYLE: Any = {  # matplotlib types its keys one by one
    "figure.dpi": 110,
    "savefig.dpi": 160,
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
    """A picture (3, H, W) in [-1, 1] (clamped), or uint8 (3, H, W) -> (H, W, 3) as imshow wants it."""
    array = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if array.dtype != np.uint8:
        array = np.clip((array + 1) / 2, 0, 1)
    return np.moveaxis(array, 0, -1)


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

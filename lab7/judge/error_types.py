"""What goes wrong in a picture, told from a judge's outputs: an attribute swapped, an object missing, one too many.

The course's metric looks at the k highest outputs and so never sees an extra object; here everything that the judge
puts above 0.5 counts as seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from lab7.vocabulary import CLASSES, COLOURS, SHAPES

KINDS = ("found", "attribute swap", "wrong colour", "wrong shape", "missing", "extra")


@dataclass(frozen=True)
class Reading:
    """One picture as the judge sees it: every asked object is of one of the first five KINDS.

    taken_for: for each asked object of wrong colour or shape or with swapped attributes, what was seen in its place.
    extra: objects seen that stand for no asked one.
    """

    kinds: dict[str, str]
    taken_for: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


def read(outputs: torch.Tensor | np.ndarray, asked: Sequence[str], threshold: float = 0.5) -> Reading:
    """Sort out one picture: outputs (24,) in [0, 1], and the names that were asked for.

    An asked object that is not seen is an "attribute swap" where two asked ones have swapped their colours (a red cube
    and a cyan sphere come out as a cyan cube and a red sphere); else of "wrong colour" or "wrong shape" where an object that
    nobody asked for has its other attribute; else "missing". Each object seen explains one asked one at most.
    """
    values = torch.as_tensor(outputs)
    seen = {CLASSES[index] for index in torch.nonzero(values > threshold).flatten().tolist()}
    kinds = {name: "found" for name in asked if name in seen}
    left, spare = [name for name in asked if name not in seen], sorted(seen - set(asked), key=CLASSES.index)
    taken_for: dict[str, str] = {}

    def settle(name: str, other: str, kind: str) -> None:
        kinds[name], taken_for[name] = kind, other
        left.remove(name)
        spare.remove(other)

    for first in list(left):
        for second in list(left):
            (colour, shape), (colour_2, shape_2) = first.split(), second.split()
            crossed = f"{colour_2} {shape}", f"{colour} {shape_2}"
            if first in left and second in left and colour != colour_2 and set(crossed) <= set(spare):
                if shape == shape_2:
                    continue  # then nothing was swapped: the two would be the asked ones
                settle(first, crossed[0], "attribute swap")
                settle(second, crossed[1], "attribute swap")
    for kind, same in (("wrong colour", 1), ("wrong shape", 0)):
        for name in list(left):
            match = next((other for other in spare if other.split()[same] == name.split()[same]), None)
            if match is not None:
                settle(name, match, kind)
    kinds |= dict.fromkeys(left, "missing")
    return Reading({name: kinds[name] for name in asked}, taken_for, tuple(spare))


def readings(outputs: torch.Tensor, conditions: Sequence[Sequence[str]]) -> list[Reading]:
    """`read` for many pictures: outputs (N, 24), N conditions."""
    return [read(row, names) for row, names in zip(outputs, conditions, strict=True)]


def tally(found: Sequence[Reading]) -> pd.DataFrame:
    """One row a kind of KINDS: how many objects, and their share of those asked for. "extra" comes on top."""
    kinds = [kind for reading in found for kind in reading.kinds.values()]
    counts = {kind: kinds.count(kind) for kind in KINDS[:-1]} | {"extra": sum(len(reading.extra) for reading in found)}
    total = max(len(kinds), 1)
    return pd.DataFrame([{"what": k, "objects": n, "share": n / total} for k, n in counts.items()])


def swaps(found: Sequence[Reading], attribute: str) -> np.ndarray:
    """Which colour ("colour", 8x8) or shape ("shape", 3x3) was drawn (column) for which asked one (row); int counts."""
    place, names = (0, COLOURS) if attribute == "colour" else (1, SHAPES)
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    for reading in found:
        for name, kind in reading.kinds.items():
            if kind != "missing":
                seen = reading.taken_for.get(name, name)
                matrix[names.index(name.split()[place]), names.index(seen.split()[place])] += 1
    return matrix

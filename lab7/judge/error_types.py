"""What is wrong in a picture, by a judge's outputs: an attribute swapped, an object missing, one too many.

Every output above 0.5 counts as an object seen, so that extra objects are found as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch

from lab7.vocabulary import CLASSES

KINDS = ("found", "attribute swap", "wrong colour", "wrong shape", "missing", "extra")


@dataclass(frozen=True)
class Reading:
    """One picture as the judge sees it: every asked object is of one of the first five KINDS. taken_for: for each asked
    object of wrong colour or shape or with swapped attributes, what was seen in its place. extra: objects seen that
    stand for no asked one."""

    kinds: dict[str, str]
    taken_for: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


def read(outputs: torch.Tensor, asked: Sequence[str]) -> Reading:
    """Sort out one picture: outputs (24,) in [0, 1], and the names that were asked for. An asked object that is not
    seen is an "attribute swap" where two asked ones have swapped their colours (a red cube and a cyan sphere come out
    as a cyan cube and a red sphere); else of "wrong colour" or "wrong shape" where an object that nobody asked for has
    its other attribute; else "missing". Each object seen explains one asked one at most."""
    seen = {name for name, output in zip(CLASSES, outputs, strict=True) if output > 0.5}
    kinds = {name: "found" if name in seen else "missing" for name in asked}
    spare = sorted(seen - set(asked), key=CLASSES.index)
    taken_for: dict[str, str] = {}

    def settle(name: str, other: str, kind: str) -> None:
        kinds[name], taken_for[name] = kind, other
        spare.remove(other)

    for first, second in combinations(asked, 2):
        (colour, shape), (colour_2, shape_2) = first.split(), second.split()
        crossed = f"{colour_2} {shape}", f"{colour} {shape_2}"
        # With one attribute in common the crossed objects are the asked ones, and so never spare.
        if kinds[first] == kinds[second] == "missing" and set(crossed) <= set(spare):
            settle(first, crossed[0], "attribute swap")
            settle(second, crossed[1], "attribute swap")
    for kind, same in (("wrong colour", 1), ("wrong shape", 0)):
        for name in asked:
            match = next((other for other in spare if other.split()[same] == name.split()[same]), None)
            if kinds[name] == "missing" and match is not None:
                settle(name, match, kind)
    return Reading(kinds, taken_for, tuple(spare))


def readings(outputs: torch.Tensor, conditions: Sequence[Sequence[str]]) -> list[Reading]:
    """`read` for many pictures: outputs (N, 24), N conditions."""
    return [read(row, names) for row, names in zip(outputs, conditions, strict=True)]


def tally(pictures: Sequence[Reading]) -> list[dict[str, Any]]:
    """One row a kind of KINDS: how many objects, and their share of those asked for. "extra" comes on top."""
    kinds = [kind for reading in pictures for kind in reading.kinds.values()]
    counts = {kind: kinds.count(kind) for kind in KINDS[:-1]} | {"extra": sum(len(one.extra) for one in pictures)}
    return [{"what": kind, "objects": count, "share": count / max(len(kinds), 1)} for kind, count in counts.items()]

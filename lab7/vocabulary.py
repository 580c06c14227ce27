"""The 24 classes of i-CLEVR, and conditions as names or as multi-hot vectors.

A class is a colour and a shape: index = 8 * shape + colour.
"""

import difflib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from lab7.utils.files import UserError

COLOURS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
SHAPES = ("cube", "sphere", "cylinder")
CLASSES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)

_INDEX = {name: index for index, name in enumerate(CLASSES)}
_SYNONYMS = {"grey": "gray", "box": "cube", "ball": "sphere", "tube": "cylinder"}


def class_index(name: str, where: str = "") -> int:
    """The index 0..23 of a class name such as "red cube"; UserError with the nearest name otherwise."""
    if not isinstance(name, str):
        raise UserError(f"{_prefix(where)}a label must be a text like 'red cube', not {name!r}")
    index = _INDEX.get(" ".join(name.lower().split()))
    if index is None:
        raise UserError(f"{_prefix(where)}unknown label '{name}'; did you mean '{nearest_class(name)}'?")
    return index


def nearest_class(name: str) -> str:
    """The class whose name is nearest to `name`, word by word."""
    words = [_SYNONYMS.get(word, word) for word in name.lower().split()]
    guesses = " ".join(words), " ".join(reversed(words))

    def likeness(known: str) -> float:
        return max(difflib.SequenceMatcher(None, guess, known).ratio() for guess in guesses)

    return max(CLASSES, key=likeness)


def check_condition(names: Sequence[str], where: str = "") -> list[str]:
    """The condition with its names in their standard form and order kept.

    Raises UserError for an empty condition, an unknown label (with the nearest name) or a repeated one.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise UserError(f"{_prefix(where)}a condition must be a list of labels like ['red cube'], not {names!r}")
    if not names:
        raise UserError(f"{_prefix(where)}an empty condition; name at least one object, such as 'red cube'")
    standard = [CLASSES[class_index(name, where)] for name in names]
    for position, name in enumerate(standard):
        if name in standard[:position]:
            raise UserError(f"{_prefix(where)}label '{name}' is repeated; name each object once")
    return standard


def parse_condition(text: str) -> list[str]:
    """ "red cube, cyan sphere" -> ["red cube", "cyan sphere"]; UserError as check_condition, and for a sentence."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    named = re.findall("|".join(CLASSES), text.lower())
    if len(named) > len(parts):
        raise UserError(f"'{text}': name objects with commas between them: write \"{', '.join(named)}\"")
    return check_condition(parts)


def to_multi_hot(names: Iterable[str]) -> np.ndarray:
    """Names -> float32 vector (24,) with a 1 for each."""
    vector = np.zeros(len(CLASSES), dtype=np.float32)
    for name in names:
        vector[class_index(name)] = 1.0
    return vector


def to_names(multi_hot: Sequence[float] | np.ndarray) -> list[str]:
    """A vector (24,) -> the names of its entries above 0.5, in class order."""
    return [name for name, value in zip(CLASSES, multi_hot, strict=True) if value > 0.5]


def _prefix(where: str) -> str:
    return f"{where}: " if where else ""

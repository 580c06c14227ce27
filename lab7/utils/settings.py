"""Settings given as text: their types, their ranges, and one line for a value that does not fit."""

import difflib
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from lab7.utils.files import UserError


@dataclass(frozen=True)
class Range:
    """The least and the greatest value that a setting may have."""

    low: float
    high: float = float("inf")


Count = Annotated[int, Range(1)]
CountOrNone = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**31 - 1)]
Positive = Annotated[float, Range(1e-12, 1e6)]
NotNegative = Annotated[float, Range(0, 1e6)]
Share = Annotated[float, Range(0, 1)]
Precision = Literal["auto", "bf16", "fp32"]  # auto: bf16 where the hardware has it


def suggest(name: str, known: Collection[str]) -> str:
    """What to add where a name is not known: the nearest known name, else the known names as far as a line holds."""
    near = difflib.get_close_matches(name, known, n=1)
    listed = textwrap.shorten(", ".join(known), 200, placeholder=" ...")
    return f"; did you mean '{near[0]}'?" if near else f"; known: {listed}"


def parse_value(kind: Any, text: str, path: str) -> Any:
    """The value that a text stands for, checked against the type and the range of a field."""
    if get_origin(kind) is tuple:
        parts = text.strip("()[] ").rstrip(",").split(",")  # 160,192 or (160, 192)
        return tuple(parse_value(get_args(kind)[0], part.strip(), path) for part in parts)
    if kind is bool:
        return parse_value(Literal["true", "false"], text.lower(), path) == "true"
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UserError(f"{path} must be one of {', '.join(get_args(kind))}, not '{text}'")
        return text
    number, limits = get_args(kind)
    try:
        value = number(text)
    except ValueError:
        raise UserError(f"{path} must be {'a whole number' if number is int else 'a number'}, not '{text}'") from None
    if not limits.low <= value <= limits.high:
        most = "" if limits.high == float("inf") else f" and at most {limits.high:.12g}"
        raise UserError(f"{path} must be at least {limits.low:g}{most}, but is {text}")
    return value

"""What the commands have in common: types of options, and how a result is printed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import arg

from lab7.config import PRESETS
from lab7.utils.files import UserError, absolute

if TYPE_CHECKING:
    PresetName = str
else:
    PresetName = Literal[tuple(PRESETS)]
Settings = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, arg(name="set", metavar="NAME=VALUE ...")]


def _path(words: Sequence[str]) -> Path:
    if not words[0].strip() or "\0" in words[0]:
        raise UserError(f"a path is needed, not '{words[0]}'")
    return absolute(words[0])


_FROM_TEXT = tyro.constructors.PrimitiveConstructorSpec(
    1, "PATH", _path, lambda value: isinstance(value, Path), lambda value: [str(value)]
)
SomePath = Annotated[Path, _FROM_TEXT]  # absolute, with ~ expanded
OptionalPath = Annotated[SomePath | None, arg(metavar="PATH", help_behavior_hint="")]
Json = Annotated[bool, arg(help="Print one JSON document instead of lines.", help_behavior_hint="")]


def print_result(as_json: bool, value: Any, *lines: str) -> int:
    """Print a result on stdout, as one JSON document or as lines; returns 0, the exit code of success."""
    print(json.dumps(value, indent=1, default=str) if as_json else "\n".join(lines), flush=True)
    return 0


def score_line(name: str, score: dict[str, Any]) -> str:
    """A score with its name and its interval."""
    line = "{name}: {hits}/{total} = {accuracy:.4f} (95% interval {low:.4f} to {high:.4f})"
    return line.format(name=name, **score)


def ceiling_line(judge: Any) -> str:
    """How many objects the judge itself finds on renders that it never saw."""
    from lab7.judge.evaluation import ceiling

    share = ceiling(judge)
    if share != share:
        return f"ceiling: unknown, for {judge.name} was not evaluated; 'lab7 judge --evaluate' does"
    return f"ceiling: on unseen renders this judge finds {share:.4f} of the objects"

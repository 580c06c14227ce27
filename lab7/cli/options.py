"""What the commands have in common: types of options, and how a result is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro
from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from lab7.config import PRESETS, SamplerName, get_preset
from lab7.utils.files import UserError, absolute
from lab7.utils.settings import Range, Seed, parse_value

_PRESETS, _SAMPLERS = (f"{{{','.join(names)}}}" for names in (PRESETS, get_args(SamplerName)))
Settings = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, arg(name="set", metavar="NAME=VALUE ...")]


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise UserError(f"an option needs a path, not '{text}'")
    return absolute(text)


def _text(metavar: str, parse: Callable[[str], Any], kind: type) -> Any:
    """How an option of some kind is read from its one word."""
    return PrimitiveConstructorSpec(
        1, metavar, lambda words: parse(words[0]), lambda x: isinstance(x, kind), lambda x: [str(x)]
    )


PresetName = Annotated[str, _text(_PRESETS, lambda text: get_preset(text).name, str)]
OptionalPreset = Annotated[PresetName | None, arg(metavar=_PRESETS, help_behavior_hint="")]
_Sampler = Annotated[str, _text(_SAMPLERS, lambda text: parse_value(SamplerName, text, "--sampler"), str)]
OptionalSampler = Annotated[_Sampler | None, arg(metavar=_SAMPLERS, help_behavior_hint="")]
OptionalInt = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
SomePath = Annotated[Path, _text("PATH", _path, Path)]  # absolute, with ~ expanded
OptionalPath = Annotated[SomePath | None, arg(metavar="PATH", help_behavior_hint="")]
_Jobs = Annotated[int, Range(0, 1000)]
Jobs = Annotated[int, _text("INT", lambda text: parse_value(_Jobs, text, "--jobs"), int), arg(help_behavior_hint="")]
SeedOption = Annotated[int, _text("INT", lambda text: parse_value(Seed, text, "--seed"), int)]
Flag = Annotated[bool, arg(help_behavior_hint="")]
Json = Annotated[bool, arg(help="Print one JSON document instead of lines.", help_behavior_hint="")]


def print_result(as_json: bool, value: Any, *lines: str) -> int:
    """Print a result on stdout, as one JSON document or as lines; returns 0, the exit code of success."""
    if as_json:
        value = json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)  # JSON knows no NaN
    print(json.dumps(value, indent=1) if as_json else "\n".join(lines), flush=True)
    return 0


def score_line(name: str, score: dict[str, Any]) -> str:
    """A score with its name and its interval."""
    line = "{name}: {hits}/{total} = {accuracy:.4f} (95% interval {low:.4f} to {high:.4f})"
    return line.format(name=name, **score)


def ceiling_line(judge: Any) -> str:
    """How many objects the judge itself finds on renders that it never saw."""
    from lab7.judge.evaluation import recorded

    if not (evaluation := recorded(judge)):
        return f"ceiling: unknown, for {judge.name} was not evaluated; 'lab7 judge --evaluate' does"
    return f"ceiling: on unseen renders this judge finds {evaluation['clean']['top_k']['accuracy']:.4f} of the objects"

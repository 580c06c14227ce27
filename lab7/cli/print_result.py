"""What the commands have in common: types of their options, and lines that tell a result."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from tyro.conf import arg

Settings = Annotated[tuple[str, ...], arg(name="set", metavar="field=value ...")]
PresetName = Literal["smoke", "quick", "small", "short", "laptop", "course", "best"]


def tell(as_json: bool, value: Any, *lines: str) -> None:
    """Print a result on stdout: as one JSON document, or as lines."""
    print(json.dumps(value, indent=1, default=str) if as_json else "\n".join(lines))


def score_line(name: str, found: dict[str, Any]) -> str:
    """A score under its name, with its interval."""
    return (
        f"{name}: {found['hits']}/{found['total']} = {found['accuracy']:.4f} "
        f"(95% interval {found['low']:.4f} to {found['high']:.4f})"
    )


def ceiling_line(judge: Any) -> str:
    """How much the judge itself finds on renders that it never saw."""
    from lab7.judge.evaluation import ceiling

    most = ceiling(judge)
    if most != most:
        return f"ceiling: unknown, for {judge.name} was not examined; 'lab7 judge --examine' does"
    return f"ceiling: on unseen renders this judge finds {most:.4f} of the objects"

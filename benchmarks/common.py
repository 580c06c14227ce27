"""What the benchmarks share: work timed in turns, the machine's line, Markdown tables, the command line."""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from lab7.utils.files import UserError
from lab7.utils.provenance import device_name, has_bf16

Name = TypeVar("Name")


def in_turns(works: Mapping[Name, Callable[[], object]], turns: int = 4) -> dict[Name, float]:
    """The median seconds of each piece of work.

    Each turn does all of them, so that a machine that slows down slows them all. A first turn warms up and does not
    count.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in works}
    for _ in range(turns + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def repeat(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The work done so many times."""

    def repeated() -> None:
        for _ in range(times):
            work()

    return repeated


def machine_line() -> str:
    """The processor, its threads in use, and the versions that matter for speed."""
    bf16 = "bf16 in hardware" if has_bf16("cpu") else "no bf16"
    return f"{device_name('cpu')}, {bf16}, torch {torch.__version__}"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def interval(score: Mapping[str, float]) -> str:
    """ "0.913 [0.887, 0.934]" of a score as result.json holds it."""
    return f"{score['accuracy']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def run(*commands: Callable[..., Any]) -> None:
    """Call a function, or the one of several that is named, with its options; a user's mistake is one line."""
    import tyro

    plain = (tyro.conf.FlagCreatePairsOff,)
    try:
        if len(commands) == 1:
            tyro.cli(commands[0], config=plain)
        else:
            tyro.extras.subcommand_cli_from_dict({command.__name__: command for command in commands}, config=plain)
    except UserError as error:
        sys.exit(str(error))

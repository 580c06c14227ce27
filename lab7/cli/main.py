"""The command line: `lab7 doctor|data|train|sample|judge|ablate|report`.

Progress goes to stderr, results to stdout (`--json` for machines). Exit code 0: done; 1: failed; 2: bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import arg

from lab7.cli.pictures import Data, JudgeCommand, Sample
from lab7.cli.print_result import PresetName, tell
from lab7.cli.training import Ablate, ScoreCommand, Train
from lab7.utils.files import Failure, UserError


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, which data and weights were found, and what to do where the lab cannot run.

    Example: lab7 doctor
    """

    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7.cli import doctor

        return doctor.run(json=self.json)


@dataclass(frozen=True)
class Report:
    """Run the six notebooks in order and bind the report: figures, tables and one PDF.

    Example: lab7 report --preset quick --set samples=2
    """

    preset: PresetName = "quick"
    """quick reads the recorded runs; every other preset makes its own."""
    settings: Annotated[tuple[str, ...], arg(name="set", metavar="name=value ...")] = ()
    """Notebook parameters to change, such as seed=1."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        try:
            from lab7.report import build as report
        except ModuleNotFoundError as error:
            raise Failure(
                f"the report needs {error.name}; install the notebooks' packages: pip install '.[lab]'"
            ) from None

        found = report.run(self.preset, self.settings)
        tell(self.json, found, *found["lines"])
        return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "doctor": Doctor,
    "data": Data,
    "train": Train,
    "score": ScoreCommand,
    "sample": Sample,
    "judge": JudgeCommand,
    "ablate": Ablate,
    "report": Report,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    arguments = _join_repeated(list(sys.argv[1:] if arguments is None else arguments), "--set")
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="lab7",
            description="Learn conditional diffusion by drawing i-CLEVR scenes.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        return command()
    except UserError as error:
        print(f"lab7: {error}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"lab7: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab7: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _join_repeated(arguments: list[str], flag: str) -> list[str]:
    """`--set a=1 --set b=2` as `--set a=1 b=2`, for either is natural and the parser keeps the last flag only."""
    if arguments.count(flag) < 2:
        return arguments
    values: list[str] = []
    rest: list[str] = []
    inside = False
    for word in arguments:
        if word == flag or word.startswith("--"):
            inside = word == flag
            if inside:
                continue
        (values if inside else rest).append(word)
    return [*rest, flag, *values]


if __name__ == "__main__":
    sys.exit(main())

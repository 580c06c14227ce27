"""The command line: `lab7 doctor|data|train|score|sample|judge|ablate|report`.

Progress goes to stderr, results to stdout (`--json` for machines). Exit code 0: done; 1: failed; 2: bad input.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from lab7.cli.doctor import doctor
from lab7.cli.options import Json, PresetName, Settings, print_result
from lab7.cli.pictures import data, judge, sample
from lab7.cli.training import ablate, score, train
from lab7.utils.files import Failure, UserError


def report(preset: PresetName = "quick", settings: Settings = (), json: Json = False) -> int:
    """Run the notebooks in order and bind the report: figures, tables and one PDF.

    Example: lab7 report --preset quick --set samples=2

    Args:
        preset: quick reads the recorded runs; every other preset makes its own.
        settings: Notebook parameters to change, such as seed=1.
    """
    try:
        from lab7.report import build
    except ModuleNotFoundError as error:
        raise Failure(f"the report needs {error.name}; install the notebooks' packages: pip install '.[lab]'") from None
    outcome = build.run(preset, settings)
    return print_result(json, outcome, *outcome["lines"])


COMMANDS: dict[str, Callable[..., Any]] = {
    command.__name__: command for command in (doctor, data, train, score, sample, judge, ablate, report)
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    words = _repeat_set(sys.argv[1:] if arguments is None else arguments)
    options: dict[str, Any] = {"config": (tyro.conf.FlagCreatePairsOff,)}
    try:
        if words and words[0] in COMMANDS:
            return tyro.cli(COMMANDS[words[0]], prog=f"lab7 {words[0]}", args=words[1:], **options)
        summary = "Learn conditional diffusion by drawing i-CLEVR scenes. `lab7 COMMAND --help` explains a command."
        return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="lab7", description=summary, args=words, **options)
    except (UserError, Failure) as error:
        print(f"lab7: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("lab7: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _repeat_set(arguments: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set b=2`, which is what the parser understands."""
    words: list[str] = []
    in_set = False
    for word in arguments:
        if word.startswith("-"):
            in_set = word == "--set"
        elif in_set and words[-1] != "--set":
            words.append("--set")
        words.append(word)
    return words

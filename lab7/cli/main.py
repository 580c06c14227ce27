"""The command line: `lab7 doctor|data|train|score|sample|judge|ablate|report`.

Progress goes to stderr, results to stdout (`--json` for machines). Exit code 0: done; 1: failed; 2: bad input;
130 and 143: stopped by Ctrl-C (SIGINT) and by SIGTERM.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tyro

from lab7.cli.doctor import doctor
from lab7.cli.options import Json, PresetName, Settings, print_result
from lab7.cli.pictures import data, judge, sample
from lab7.cli.training import ablate, score, train
from lab7.utils.files import Failure, UserError, fix_places, short, write_error


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


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a command as Ctrl-C does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks is written as \\u....
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminated_like_ctrl_c():
            fix_places()
            return _command(_repeat_set(sys.argv[1:] if arguments is None else arguments))
    except (UserError, Failure) as error:
        return _refuse(str(error), 2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt as error:
        return _refuse("stopped; what was finished is kept", 143 if isinstance(error, Terminated) else 130)
    except MemoryError:
        return _refuse("there is not enough memory; choose smaller settings, or a machine with more", 1)
    except OSError as error:
        _forget_output()
        if isinstance(error, BrokenPipeError):
            return 1
        known = write_error(error.filename or "the output", error)
        return _refuse(str(known) if known is not error else f"{short(error.filename or '')}: {error.strerror}", 1)


def _command(words: Sequence[str]) -> int:
    options: dict[str, Any] = {"config": (tyro.conf.FlagCreatePairsOff,)}
    if words and words[0] in COMMANDS:
        return tyro.cli(COMMANDS[words[0]], prog=f"lab7 {words[0]}", args=words[1:], **options)
    summary = "Learn conditional diffusion by drawing i-CLEVR scenes. `lab7 COMMAND --help` explains a command."
    return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="lab7", description=summary, args=words, **options)


def _refuse(line: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"lab7: {line}", file=sys.stderr)
    return code


def _forget_output() -> None:
    """Drop what cannot be printed, or Python would try again at its end and complain."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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

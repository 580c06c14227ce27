"""The command line: `lab7 doctor|data|train|score|sample|judge|ablate|report|exercises`.

Progress goes to stderr, results to stdout (`--json` for machines). Exit code 0: done; 1: failed; 2: bad input;
130 and 143: stopped by Ctrl-C (SIGINT) and by SIGTERM.
"""

import contextlib
import functools
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from lab7.cli.doctor import doctor
from lab7.cli.exercises import exercises
from lab7.cli.options import Json, PresetName, Settings, print_result
from lab7.cli.pictures import data, judge, sample
from lab7.cli.training import ablate, score, train
from lab7.utils.files import Failure, UserError, fix_places, write_error
from lab7.utils.settings import suggest


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
    command.__name__: command for command in (doctor, data, train, score, sample, judge, ablate, report, exercises)
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a command as Ctrl-C does."""

    @classmethod
    def stop(cls, *_: object) -> None:
        raise cls


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: libraries would fail when they print
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if hasattr(stream := getattr(sys, name), "reconfigure"):  # a letter that its encoding lacks becomes \\u....
            stream.reconfigure(errors="backslashreplace")
    try:
        signal.signal(signal.SIGTERM, Terminated.stop)
        fix_places()
        return _parse(_repeat_set(sys.argv[1:] if arguments is None else arguments))()
    except UserError as error:
        line, code = str(error), 2
    except KeyboardInterrupt as error:
        exec("")  # forgets an interrupt within an exec, as imports hold: `python -m` would end by the signal itself
        line, code = "stopped; what was finished is kept", 143 if isinstance(error, Terminated) else 130
    except Failure as error:
        line, code = str(error), 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory", str(error)):
            raise
        line, code = "there is not enough memory; choose smaller settings", 1
    except OSError as error:
        told = write_error(None, error)
        line, code = str(told), 2 if isinstance(told, UserError) else 1
        if error.filename is None:  # what cannot be printed: Python would try again at its end
            with contextlib.suppress(OSError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return code
    with contextlib.suppress(OSError):
        print("lab7:", *line.splitlines(), file=sys.stderr)
    return code


def _parse(words: Sequence[str]) -> Callable[[], int]:
    """The command with its options, ready to be called. Raises UserError with the parser's complaint in one line."""
    options: dict[str, Any] = {"config": (tyro.conf.FlagCreatePairsOff,)}
    later: dict[str, Any] = {
        name: functools.wraps(command)(lambda *a, command=command, **o: functools.partial(command, *a, **o))
        for name, command in COMMANDS.items()
    }
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            if words and not words[0].startswith("-"):
                if words[0] not in later:
                    raise UserError(f"unknown command '{words[0]}'{suggest(words[0], later)}")
                return tyro.cli(later[words[0]], prog=f"lab7 {words[0]}", args=words[1:], **options)
            options["description"] = "Learn conditional diffusion by drawing scenes. `lab7 COMMAND --help` explains."
            return tyro.extras.subcommand_cli_from_dict(later, prog="lab7", args=words, **options)
    except SystemExit as stopped:
        if not stopped.code:  # --help
            raise
        raise UserError(" ".join(re.sub(r"\u256d.*|[\u2500-\u257f]", " ", complaint.getvalue()).split())) from None


def _repeat_set(arguments: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set=b=2`, which is what the parser understands."""
    words: list[str] = []
    in_set = False
    for word in arguments:
        is_value = not word.startswith("-")
        in_set = in_set if is_value else word.split("=")[0] == "--set"
        words.append(f"--set={word}" if in_set and is_value and words[-1] != "--set" else word)
    return words

"""Where files are, how they are written, and the errors that a user sees."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend: one line that says what is wrong, where, and what to do."""


class Failure(Exception):
    """A correct command that could not be carried out: one line that says what happened and what can be done."""


_CHECKOUT = Path(__file__).resolve().parents[2]
_HERE = _CHECKOUT if (_CHECKOUT / "pyproject.toml").exists() else Path.cwd()
ROOT = Path(os.environ.get("LAB7_HOME") or _HERE).resolve()
"""LAB7_HOME, or the checkout that holds lab7, or the current folder."""


def data_dir() -> Path:
    """What goes in: `data/`, or the folder named by LAB7_DATA (the course's own files, say)."""
    return Path(os.environ.get("LAB7_DATA") or ROOT / "data")


def shipped_dir() -> Path:
    """What the project ships (lists, weights, recorded runs), wherever LAB7_DATA points."""
    return ROOT / "data"


def runs_dir() -> Path:
    """Where trainings write: `runs/`, or the folder named by LAB7_RUNS."""
    return Path(os.environ.get("LAB7_RUNS") or ROOT / "runs")


def figures_dir() -> Path:
    """What comes out: `build/quick/figures/`, or the folder named by LAB7_FIGURES."""
    return Path(os.environ.get("LAB7_FIGURES") or build_dir() / "quick" / "figures")


def build_dir() -> Path:
    """Executed notebooks and the bound report: `build/`, or the folder named by LAB7_BUILD."""
    return Path(os.environ.get("LAB7_BUILD") or ROOT / "build")


def short(path: Path | str) -> str:
    """A path as a reader wants it: relative to the current folder where that is shorter."""
    path = Path(path)
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to the disk and rename it to `path`, else remove it.

    Raises UserError if the disk is full or the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_error(path: Path | str, error: OSError) -> Exception:
    """The one-line UserError for a place that cannot be written; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{short(path)}: the disk is full; free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return UserError(f"{short(path)}: cannot be written ({error.strerror}); choose another folder")
    return error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, keys in the order given, a list of numbers on one line, one trailing newline, atomically."""
    numbers = r"(?<=\[)\n[-+.\deE,\s]+\n *(?=\])"  # within strings JSON has no line breaks
    text = json.dumps(value, indent=1, ensure_ascii=False)
    write_text(path, re.sub(numbers, lambda match: " ".join(match[0].split()), text) + "\n")


def read_json(path: Path | str, what: str) -> Any:
    """Read a JSON file that holds `what`; UserError where it is missing or does not parse."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{short(path)}: no such file; it should hold {what}") from None
    except OSError as error:
        raise UserError(f"{short(path)}: cannot be read ({error.strerror}); it should hold {what}") from None
    except ValueError as error:  # its text says where
        raise UserError(f"{short(path)}: not valid JSON ({error}); it should hold {what}") from None


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Where files are, how they are written, and the errors that a user sees."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock


class UserError(Exception):
    """A mistake that the user can mend: one line that says what is wrong, where, and what to do."""


class Failure(Exception):
    """A correct command that could not be carried out: one line that says what happened and what can be done."""


def absolute(path: Path | str) -> Path:
    """The path from the root on, with `~` expanded, so that it means the same in every process."""
    return Path(os.path.expanduser(path)).absolute()


_CHECKOUT = Path(__file__).resolve().parents[2]
_HERE = _CHECKOUT if (_CHECKOUT / "pyproject.toml").exists() else Path.cwd()
ROOT = absolute(os.environ.get("LAB7_HOME") or _HERE).resolve()
"""LAB7_HOME, or the checkout that holds lab7, or the current folder."""


def _place(name: str, default: Path) -> Path:
    """The folder that a variable names. UserError for a relative one in a notebook, whose own folder is another."""
    given = os.environ.get(f"LAB7_{name}")
    if given and "ipykernel" in sys.modules and absolute(given) != Path(os.path.expanduser(given)):
        raise UserError(f"LAB7_{name}={given}: give the whole path, for a notebook runs in another folder")
    return absolute(given) if given else default


def fix_places() -> None:
    """Make the folders that the environment names absolute, for the notebooks and processes that are started.

    Raises UserError if the current folder was deleted.
    """
    try:
        os.getcwd()
    except OSError:
        raise UserError("the folder that you are in was deleted or cannot be read; `cd` to another one") from None
    names = [f"LAB7_{name}" for name in ("HOME", "DATA", "RUNS", "BUILD")]
    os.environ |= {name: str(absolute(os.environ[name])) for name in names if os.environ.get(name)}


def data_dir(new: bool = False) -> Path:
    """What goes in: `data/`, or the folder named by LAB7_DATA (the course's own files, say).

    Raises UserError where LAB7_DATA names a folder that is not there, unless it may be `new`.
    """
    place = _place("DATA", ROOT / "data")
    if not new and os.environ.get("LAB7_DATA") and not place.is_dir():
        raise UserError(f"LAB7_DATA={place}: no such folder; mend its name, or render pictures there with `lab7 data`")
    return place


def shipped_dir() -> Path:
    """What the project ships (lists, weights, recorded runs), wherever LAB7_DATA points."""
    return ROOT / "data"


def runs_dir() -> Path:
    """Where trainings write: `runs/`, or the folder named by LAB7_RUNS."""
    return _place("RUNS", ROOT / "runs")


def build_dir() -> Path:
    """Executed notebooks and the bound report: `build/`, or the folder named by LAB7_BUILD."""
    return _place("BUILD", ROOT / "build")


def short(path: Path | str) -> str:
    """A path as a reader wants it: relative to the current folder where that is shorter."""
    with contextlib.suppress(ValueError):
        return str(Path(os.path.realpath(path)).relative_to(Path.cwd()))  # Path.resolve fails at a loop of links
    return str(path)


def plural(number: int, noun: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to the disk and rename it to `path`, else remove it.
    The file's mode follows the umask. Raises UserError if the place cannot be written, Failure if the disk is full."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent.absolute())
        temporary.touch()  # now, for a library's error would not say that the place cannot be written
        mode = temporary.stat().st_mode
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some libraries write for the owner alone
        os.replace(temporary, path)
    except OSError as error:
        if error.filename and Path(error.filename) not in (temporary, *temporary.parents):
            raise  # what was to be copied cannot be read
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> float:
    """The GB free for a folder, which need not be there yet; UserError if it cannot be written."""
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{short(folder)}: cannot be written; choose another place")
    with contextlib.suppress(FileNotFoundError):
        folder.stat()  # refuses a name that is too long
    return shutil.disk_usage(place).free / 1e9


def temporary_folder() -> tempfile.TemporaryDirectory:
    """A folder under build/ for a while. Those of processes that were killed are removed."""
    build_dir().mkdir(parents=True, exist_ok=True)
    _remove_leftovers(build_dir().absolute())
    return tempfile.TemporaryDirectory(prefix=".", suffix=f".{platform.node()}-{os.getpid()}.tmp", dir=build_dir())


@lru_cache  # once in a process
def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders of processes of this machine that were killed."""
    for path in folder.glob(f".*.{platform.node()}-*.tmp"):
        try:
            os.kill(int(path.stem.rpartition("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        except (OSError, ValueError, OverflowError):  # alive, and another user's
            pass


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Make the folder and keep it for this process while the block runs, by flock on its file .lock.

    If another process has it, wait, or raise a UserError that names the owner. A dead owner has it no longer.
    """
    if os.environ.get("RANK", "0") != "0":  # of the processes of `accelerate launch`, the first has it for all
        yield
        return
    path = folder / ".lock"
    lock = filelock.FileLock(path, is_singleton=True)  # one for the process, which may enter it several times
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
        path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    except filelock.Timeout:
        owner = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        raise UserError(f"{short(folder)}: {owner or 'another process'} is writing there; wait, or stop it") from None
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            path.unlink(missing_ok=True)
        lock.release()


def write_error(path: Path | str | None, error: OSError) -> Exception:
    """The one-line UserError for a place that cannot be written, Failure for a full disk; any other error as it is.
    Without a path: for what the error itself names, which may have been read."""
    fault, remedy = ("written", "choose another place") if path else ("read or written", "mend that, or name another")
    path = path or error.filename or "what lab7 writes"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(f"{short(path)}: the disk is full; free some space and run the same command again")
    names = "EACCES EPERM EROFS ENOTDIR EEXIST EISDIR ELOOP ENAMETOOLONG"
    if errno.errorcode.get(error.errno or 0) in names.split():
        return UserError(f"{short(path)}: cannot be {fault} ({error.strerror}); {remedy}")
    return error


def write_bytes(path: Path | str, content: bytes | memoryview) -> None:
    """Write a file, atomically: for what a library has packed in memory, so that a full disk is a plain error."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, atomically."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # an odd file name in JSON


def write_json(path: Path | str, value: Any, checksum: bool = False) -> None:
    """Write JSON, keys in the order given, a list of numbers on one line, one trailing newline, atomically.

    A dictionary can get the entry "checksum", which read_json compares and takes away.
    """
    value = value | {"checksum": json_checksum(value)} if checksum else value
    numbers = r"(?<=\[)\n[-+.\deE,\s]+\n *(?=\])"  # within strings JSON has no line breaks
    text = json.dumps(value, indent=1, ensure_ascii=False)
    write_text(path, re.sub(numbers, lambda match: " ".join(match[0].split()), text) + "\n")


def read_json(path: Path | str, what: str, kind: type = dict) -> Any:
    """Read a JSON file that holds `what`, a dictionary or a list.

    Raises UserError where it is missing, does not parse, is of another kind, or belies its checksum.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors write a mark
    except FileNotFoundError:
        raise UserError(f"{short(path)}: no such file; it should hold {what}") from None
    except OSError as error:
        raise UserError(f"{short(path)}: cannot be read ({error.strerror}); it should hold {what}") from None
    except (ValueError, RecursionError) as error:  # its text says where, or that it is nested too deep
        raise UserError(f"{short(path)}: not valid JSON ({error}); it should hold {what}") from None
    if not isinstance(value, kind):
        name = "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else json.dumps(value)[:20]
        raise UserError(f"{short(path)}: must hold {what}, not {name}")
    if isinstance(value, dict) and value.pop("checksum", None) not in (None, json_checksum(value)):
        raise UserError(f"{short(path)}: was damaged or changed after lab7 wrote it; restore it, or make it again")
    return value


def json_checksum(value: Any) -> str:
    """The SHA-256 of a value's JSON, whatever the layout."""
    plain = json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

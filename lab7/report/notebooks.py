"""A notebook as `lab7 report` sees it: what it makes, its parameters, and how it is executed, cell by cell."""

import ast
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from lab7.utils.files import ROOT, Failure, UserError, short, write_text
from lab7.utils.settings import suggest

MADE_BY = {  # figure or table: the notebook whose code names it
    name: path.stem
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for name in re.findall(r'\\"((?:fig|table)\d+_\w+)\\"', path.read_text(encoding="utf-8"))
}


def is_picture(name: str) -> bool:
    """Whether the file of a figure or table is a picture (.svg, .png) rather than numbers (.csv, .md)."""
    return name.startswith("fig") or "_epochs_" in name


@dataclass(frozen=True)
class Notebook:
    """A notebook without its outputs."""

    path: Path
    source: str  # of all cells
    cells: int  # how many hold code
    defaults: dict[str, Any]  # its parameters

    @property
    def name(self) -> str:
        return self.path.stem


def read_notebook(path: Path) -> Notebook:
    """Read cells and parameters. Raises Failure for a file that is no notebook or has no parameters."""
    try:
        content = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, KeyError) as error:
        raise Failure(f"{short(path)}: is no notebook ({_one_line(error)}); restore it with git") from None
    code = [cell for cell in content.cells if cell.cell_type == "code" and cell.source.strip()]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise Failure(f"{short(path)}: must have one cell tagged 'parameters', but has {len(tagged)}")
    try:
        lines = ast.parse(tagged[0].source).body
        defaults = {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    except (AttributeError, ValueError):
        raise Failure(f"{short(path)}: the cell of parameters holds more than name = value") from None
    return Notebook(path, json.dumps([cell.source for cell in content.cells]), len(code), defaults)


def choose_parameters(books: Sequence[Notebook], preset: str, settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The parameters of each notebook, by its name: the preset, and those of the settings "name=value" that it has.

    Raises UserError for a name that no notebook has and for a value of another type than the notebook's default.
    """
    known = {name: book.defaults[name] for book in books for name in book.defaults if name != "preset"}
    chosen: dict[str, dict[str, Any]] = {book.name: {"preset": preset} for book in books}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"setting '{setting}' is not of the form name=value, such as seed=1")
        if name not in known:
            raise UserError(f"no notebook has the parameter '{name}'{suggest(name, known)}")
        for book in books:
            if name in book.defaults:
                chosen[book.name][name] = _parse(name, text, book.defaults[name])
    return chosen


def _parse(name: str, text: str, like: Any) -> Any:
    """The text as a value of the same type as the default."""
    try:
        value = text if isinstance(like, str) else json.loads(text, parse_constant=int)  # int("NaN") is a ValueError
    except ValueError:
        value = None
    if type(like) is float and type(value) is int:
        value = float(value)
    if type(value) is not type(like):
        raise UserError(f"{name} must be of the form {json.dumps(like)}, not '{text}'")
    return value


async def execute(book: Notebook, parameters: dict[str, Any], out: Path, tick: Callable, threads: int) -> None:
    """Execute a notebook in its own folder and write it to `out`, as far as it came; `tick` is called after each cell.

    Only parameters that differ from the defaults are injected. Raises Failure at the first cell that fails.
    """
    content = load_notebook_node(str(book.path))
    if changed := {name: value for name, value in parameters.items() if value != book.defaults[name]}:
        content = parameterize_notebook(content, changed, kernel_name="python3", language="python")
    started: list[str] = []

    def restore_ctrl_c(notebook: nbformat.NotebookNode) -> None:
        """nbclient's own handler stops one kernel alone; without it, Ctrl-C is a KeyboardInterrupt for all."""
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    client = NotebookClient(
        content,
        # The Python that runs lab7, even where the user has installed another kernel named python3.
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])),
        shutdown_kernel="immediate",
        record_timing=False,
        resources={"metadata": {"path": str(book.path.parent)}},
        on_notebook_start=restore_ctrl_c,
        on_cell_execute=lambda cell, cell_index: started.append(cell.id),
        on_cell_executed=lambda cell, cell_index, execute_reply: tick(),
    )
    quiet: Any = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)  # nothing breaks into the progress bar
    try:
        await client.async_execute(cleanup_kc=True, env={"OMP_NUM_THREADS": str(threads)} | os.environ, **quiet)
    except CellExecutionError as error:
        message = f"{error.ename}: {_one_line(error.evalue)}"
    except RuntimeError as error:  # the kernel did not start, or died
        if (task := asyncio.current_task()) and task.cancelling():  # Ctrl-C, or another notebook failed
            raise asyncio.CancelledError from None
        message = f"{_one_line(error)}; was there enough memory?"
    else:
        return
    finally:
        write_text(out, nbformat.writes(content))
    place = f"code cell {len(started)} ({started[-1]})" if started else "the start"
    raise Failure(f"{short(book.path)}: {place}: {message}; the cells up to there: {short(out)}")


def _one_line(message: object) -> str:
    """The start of a message, without colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", str(message)).split())[:400] or "no message"

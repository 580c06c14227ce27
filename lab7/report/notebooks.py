"""A notebook as `lab7 report` sees it: its parameters, and how it is run by papermill, cell by cell."""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from lab7.utils.files import Failure, UserError, short

_COLOUR_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a JSON list"}


@dataclass(frozen=True)
class Notebook:
    """A notebook as it is written, its outputs left aside."""

    path: Path
    source: str  # of all cells
    numbers: dict[str, int]  # the cells that are run: id -> number among the code cells, from 1
    defaults: dict[str, Any]  # its parameters

    @property
    def name(self) -> str:
        return self.path.stem


def read_notebook(path: Path) -> Notebook:
    """Read cells and parameters. Raises Failure for a file that is no notebook or has no parameters."""
    try:
        content = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, KeyError) as error:
        raise Failure(f"{short(path)}: is no notebook ({_one_line(error)}); put it back from git") from None
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise Failure(f"{short(path)}: must have one cell tagged 'parameters', but has {len(tagged)}")
    return Notebook(
        path=path,
        source=json.dumps([[cell.cell_type, cell.source] for cell in content.cells]),
        numbers={cell.id: number for number, cell in enumerate(code, start=1) if cell.source.strip()},
        defaults=_literals(tagged[0].source, path),
    )


def _literals(source: str, path: Path) -> dict[str, Any]:
    """The names and values of a cell that holds nothing but `name = literal` and comments."""
    found = {}
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        try:
            if not isinstance(target, ast.Name):
                raise ValueError
            found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        except ValueError:
            raise Failure(f"{short(path)}: the cell of parameters holds more than name = value") from None
    return found


def choose_parameters(books: Sequence[Notebook], preset: str, settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What each notebook, by name, is run with: the preset, and the settings "name=value" that it has.

    Raises UserError for a name that no notebook has (with the nearest and all known ones) and for a value
    that is not of the type of the notebook's own.
    """
    known = {name: book.defaults[name] for book in books for name in book.defaults if name != "preset"}
    chosen: dict[str, dict[str, Any]] = {book.name: {"preset": preset} for book in books}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"setting '{setting}' is not of the form name=value, such as seed=1")
        if name == "preset":
            raise UserError(f"the preset is no setting of the notebooks; say --preset {text}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean '{near[0]}'?" if near else ""
            listed = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(known.items()))
            raise UserError(f"no notebook has the parameter '{name}'{guess}; known, with defaults: {listed}")
        for book in books:
            if name in book.defaults:
                chosen[book.name][name] = _parse(name, text, book.defaults[name])
    return chosen


def _parse(name: str, text: str, like: Any) -> Any:
    """The text as a value of the same type as the default."""
    if isinstance(like, str):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if type(like) is float and type(value) is int:
        value = float(value)
    good = type(value) is type(like) and not (isinstance(value, float) and not math.isfinite(value))
    if good and isinstance(value, list) and like:
        good = all(type(item) is type(like[0]) for item in value)
    if not good:
        raise UserError(f"{name} must be {_KINDS[type(like)]} such as {json.dumps(like)}, not '{text}'")
    return value


class _OwnKernel(AsyncKernelManager):
    """Starts the Python that runs lab7, whatever kernels named python3 the user has installed beside it."""

    shutdown_wait_time = 2.0  # seconds; a cell that was interrupted does not answer

    @default("kernel_spec_manager")
    def _only_the_native_one(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Silent but for the cells' outputs, which come another way: nothing breaks into the progress bar."""
        await super().start_kernel(**options | {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL})


def execute(book: Notebook, parameters: dict[str, Any], out: Path, tick: Callable[[], object]) -> None:
    """Run a notebook in its own folder and write it to `out`, as far as it came; `tick` is called a cell.

    Raises Failure with notebook, cell and message at the first cell that fails.
    """
    begun: list[str] = []

    try:
        papermill.execute_notebook(
            book.path,
            out,
            parameters,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=book.path.parent,
            kernel_manager_class=_OwnKernel,
            on_cell_execute=lambda cell, cell_index: begun.append(cell.id),
            on_cell_executed=lambda cell, cell_index, execute_reply: tick(),
        )
    except PapermillExecutionError as error:
        told = f"{error.ename}: {_one_line(error.evalue)}"
    except RuntimeError as error:  # the kernel did not start, or died
        told = f"{_one_line(error)}; was the memory enough?"
    else:
        return
    place = f"code cell {book.numbers[begun[-1]]} ({begun[-1]})" if begun and begun[-1] in book.numbers else "the start"
    raise Failure(f"{short(book.path)}: {place}: {told}; how far it came: {short(out)}")


def _one_line(told: object, limit: int = 400) -> str:
    """A message without colours and line breaks."""
    text = " ".join(_COLOUR_CODES.sub("", str(told)).split()) or "no message"
    return text if len(text) <= limit else text[: limit - 1] + "…"

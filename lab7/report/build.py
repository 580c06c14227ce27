"""`lab7 report`: the notebooks run in order, then PDF and HTML are bound; what is up to date is left alone.

build/PRESET/ holds the executed notebooks, report.pdf, report.html, and report.json: what each of them was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lab7.ablation.workspace import Workspace, open_workspace
from lab7.report import bind as binding
from lab7.report.notebooks import choose_parameters, execute, read_notebook
from lab7.utils.files import ROOT, UserError, build_dir, read_json, sha256, shipped_dir, short, write_json

PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "pandas")  # what a figure may depend on
DATA_FILES = ("train.json", "synthetic.json", "objects.json", "test.json", "new_test.json", "checkpoint.pth")


def run(preset: str = "quick", settings: Iterable[str] = (), notebooks: Path | None = None) -> dict[str, Any]:
    """Run the notebooks (default: notebooks/) with parameters such as "seed=1", then bind report.pdf and .html.

    Returns "notebooks" (a record each, see run_notebooks), "pdf", "html", and "lines" for a reader. Raises UserError
    for an unknown preset or parameter, Failure for a cell that fails and for a figure that no notebook made.
    """
    settings = list(settings)
    ws = open_workspace(preset)
    records = run_notebooks(ws, settings, notebooks or ROOT / "notebooks")
    pdf = build_dir() / preset / "report.pdf"
    command = " ".join(["lab7 report --preset", preset, *(f"--set {setting}" for setting in settings)])
    facts = binding.gather(ws, command)
    key = binding.fingerprint(ws, facts)
    state = _read_state(preset)
    bound = (pdf, pdf.with_suffix(".html"))
    if all(path.exists() for path in bound) and state["pdf"] == [key, *map(sha256, bound)]:
        told = ["up to date", "up to date"]
    else:
        told = [f"{binding.bind(ws, facts, pdf)} pages", "the same in one page for a browser"]
        _write_state(preset, state | {"pdf": [key, *map(sha256, bound)]})
    lines = [*map(_line, records), *(f"{short(path)}: {how}" for path, how in zip(bound, told, strict=True))]
    return {"preset": preset, "notebooks": records, "pdf": str(bound[0]), "html": str(bound[1]), "lines": lines}


def run_notebooks(ws: Workspace, settings: Iterable[str], folder: Path) -> list[dict[str, Any]]:
    """Run the folder's notebooks in the order of their names, but for those that are up to date.

    One is, if nothing changed that it is made from (its cells, its parameters, lab7's code, the data, the
    shipped weights and runs, the packages), if its executed copy and its figures are as it left them, and if
    all notebooks before it are up to date too. Returns a record each: name, ran, seconds, executed, figures.
    """
    preset, out = ws.preset.name, build_dir() / ws.preset.name
    books = [read_notebook(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]
    if not books:
        raise UserError(f"{short(folder)}: holds no notebooks; run lab7 in a checkout of the project")
    chosen = choose_parameters(books, preset, settings)
    state, code = _read_state(preset), _code_key()
    keys = {book.name: _digest(code, book.source, json.dumps(chosen[book.name])) for book in books}
    records: dict[str, Any] = state["notebooks"]
    first, data = 0, data_key(ws)
    while first < len(books) and _up_to_date(records.get(books[first].name), keys[books[first].name] + data, ws):
        first += 1
    total = sum(len(book.numbers) + 1 for book in books[first:])  # one more: papermill's cell of parameters
    with tqdm(total=total, desc=preset, unit="cell", disable=not total, dynamic_ncols=True) as bar:
        for book in books[first:]:
            records.pop(book.name, None)
            _write_state(preset, state)  # whatever happens now, the notebook is not up to date
            bar.set_description(book.name)
            before, begin = _figures(ws), time.monotonic()
            execute(book, chosen[book.name], out / book.path.name, bar.update)
            made = sorted(name for name, stat in _figures(ws).items() if stat != before.get(name))
            for record in records.values():  # a figure belongs to the notebook that wrote it last
                record["figures"] = {name: sha for name, sha in record["figures"].items() if name not in made}
            records[book.name] = {
                "name": book.name,
                "seconds": round(time.monotonic() - begin, 1),
                "executed": str(out / book.path.name),
                "figures": {name: sha256(ws.figures / name) for name in made},
                "key": keys[book.name] + data_key(ws),  # read anew, for a notebook may render the pictures
            }
            _write_state(preset, state)
    return [records[book.name] | {"ran": place >= first} for place, book in enumerate(books)]


def _up_to_date(record: dict[str, Any] | None, key: str, ws: Workspace) -> bool:
    if record is None or record["key"] != key or not Path(record["executed"]).exists():
        return False
    return all(
        (ws.figures / name).exists() and sha256(ws.figures / name) == sha for name, sha in record["figures"].items()
    )


def data_key(ws: Workspace) -> str:
    """A digest of the data: the files beside the pictures by content, the pictures by name, size and time;
    and what the project ships, by content."""
    parts = []
    folders = (shipped_dir() / "weights", shipped_dir() / "runs")
    shipped = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for path in [*(ws.data / name for name in DATA_FILES), *shipped]:
        parts.append(f"{path.name} {sha256(path) if path.exists() else 'absent'}")
    if (ws.data / "iclevr").is_dir():
        with os.scandir(ws.data / "iclevr") as entries:
            stats = [(entry.name, entry.stat()) for entry in entries]
        parts += sorted(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return _digest(*parts)


def _code_key() -> str:
    modules = sorted(Path(__file__).parents[1].rglob("*.py"))
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    return _digest(*versions, *(f"{path.name} {sha256(path)}" for path in modules))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _figures(ws: Workspace) -> dict[str, tuple[int, int]]:
    """Size and time of everything in the folder of figures."""
    files = [path for path in ws.figures.glob("*") if path.is_file()]
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _state_path(preset: str) -> Path:
    return build_dir() / preset / "report.json"


def _read_state(preset: str) -> dict[str, Any]:
    """What was made, of which version; nothing where the file is missing or spoilt."""
    try:
        state = read_json(_state_path(preset), "what the report was made from")
        return {"notebooks": dict(state["notebooks"]), "pdf": state["pdf"]}
    except (UserError, KeyError, TypeError, ValueError):
        return {"notebooks": {}, "pdf": None}


def _write_state(preset: str, state: dict[str, Any]) -> None:
    write_json(_state_path(preset), state)


def _line(record: dict[str, Any]) -> str:
    if not record["ran"]:
        return f"{record['name']}: up to date"
    return f"{record['name']}: {record['seconds']:.0f} s, {len(record['figures'])} files of figures and tables"

"""`lab7 report`: the notebooks are executed, then PDF and HTML are bound; what is up to date is left alone.

build/PRESET/ holds figures/, the executed notebooks, report.pdf, report.html, and report.json: what each was made from.
"""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lab7.ablation.workspace import Workspace, open_workspace
from lab7.report import bind as binding
from lab7.report.notebooks import MADE_BY, Notebook, choose_parameters, execute, read_notebook
from lab7.utils.files import ROOT, UserError, build_dir, locked, read_json, sha256, shipped_dir, short, write_json

PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "pandas")  # what a figure may depend on
TRAINS = "04_training"  # with every preset but quick, 05 and later read the runs that it makes


def run(preset: str = "quick", settings: Iterable[str] = ()) -> dict[str, Any]:
    """Execute the notebooks with parameters such as "seed=1", then bind report.pdf and .html.

    Raises UserError for an unknown preset or parameter and while another process makes this report, Failure for a cell
    that fails and for a figure that is missing.
    """
    settings, pdf = list(settings), build_dir() / preset / "report.pdf"
    ws = open_workspace(preset)
    command = " ".join(["lab7 report --preset", preset, *(f"--set {setting}" for setting in settings)])
    with locked(pdf.parent):
        records = run_notebooks(ws, settings, ROOT / "notebooks")
        pages = binding.bind(ws, binding.gather(ws, command), pdf)
    html = pdf.with_suffix(".html")
    notes = [f"{r['seconds']:.0f} s, {len(r['figures'])} files" if r["ran"] else "up to date" for r in records]
    lines = [f"{record['name']}: {note}" for record, note in zip(records, notes, strict=True)]
    lines += [f"{short(pdf)}: {pages} pages", f"{short(html)}: the same for a browser"]
    return {"preset": preset, "notebooks": records, "pdf": str(pdf), "html": str(html), "lines": lines}


def run_notebooks(ws: Workspace, settings: Iterable[str], folder: Path) -> list[dict[str, Any]]:
    """Execute the folder's notebooks, side by side where there are cores for it, but for those that are up to date.

    One is up to date if nothing changed that it is made from (its cells and parameters, code, data, shipped weights and
    runs, packages) and its executed copy and figures are as it left them. Returns a record each, by name: name, ran,
    seconds, executed, figures.
    """
    preset, cores, path = ws.preset.name, os.cpu_count() or 1, build_dir() / ws.preset.name / "report.json"
    books = [read_notebook(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]
    if not books:
        raise UserError(f"{short(folder)}: holds no notebooks; run lab7 in a checkout of the project")
    parameters = choose_parameters(books, preset, settings)
    ws.make_pictures(progress=True)  # once, before several notebooks look for them
    sources, records = _sources(ws), read_json(path, "what the report was made from") if path.exists() else {}
    texts = {book.name: "\n".join([*sources, book.source, json.dumps(parameters[book.name])]) for book in books}
    keys = {name: hashlib.sha256(text.encode()).hexdigest()[:32] for name, text in texts.items()}
    stale = [book for book in books if not _up_to_date(records.get(book.name, {}), keys[book.name], ws)]
    if preset != "quick" and any(book.name == TRAINS for book in stale):
        stale = [book for book in books if book in stale or book.name > TRAINS]
    for book in stale:
        records.pop(book.name, None)
    write_json(path, records, checksum=True)  # whatever happens now, these notebooks are not up to date
    jobs = min(4, cores) if preset in ("quick", "smoke") else 1  # a real training takes all cores

    async def run_one(book: Notebook, free: asyncio.Semaphore) -> None:
        async with free:
            out, begin = build_dir() / preset / book.path.name, time.monotonic()
            await execute(book, parameters[book.name], out, bar.update, threads=max(1, cores // jobs))
        made = [path for path in sorted(ws.figures.glob("*")) if MADE_BY.get(path.stem) == book.name]
        records[book.name] = {
            "name": book.name,
            "seconds": round(time.monotonic() - begin, 1),
            "executed": str(out),
            "figures": {path.name: sha256(path) for path in made},
            "key": keys[book.name],
        }
        write_json(path, records, checksum=True)

    async def run_side_by_side(books: Sequence[Notebook]) -> None:
        free = asyncio.Semaphore(jobs)
        async with asyncio.TaskGroup() as group:
            for book in sorted(books, key=lambda book: (book.name < TRAINS, book.name)):  # what takes longest first
                group.create_task(run_one(book, free))

    readers = [book for book in stale if preset != "quick" and book.name > TRAINS]
    cells = sum(book.cells for book in stale)
    with tqdm(total=cells, desc=preset, unit="cell", disable=not cells, dynamic_ncols=True) as bar:
        try:
            asyncio.run(run_side_by_side([book for book in stale if book not in readers]))
            asyncio.run(run_side_by_side(readers))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    return [records[book.name] | {"ran": book in stale} for book in books]


def _up_to_date(record: dict[str, Any], key: str, ws: Workspace) -> bool:
    files = [ws.figures / name for name in record.get("figures", {})]
    if record.get("key") != key or not all(path.exists() for path in (*files, Path(record["executed"]))):
        return False
    return [sha256(path) for path in files] == list(record["figures"].values())


def _sources(ws: Workspace) -> list[str]:
    """What all notebooks are made from, a line each: packages, code, data and what the project ships."""
    shipped = [path for name in ("weights", "runs") for path in (shipped_dir() / name).rglob("*") if path.is_file()]
    lists = [*shipped_dir().glob("*.json"), *ws.data.glob("*.json"), *ws.data.glob("checkpoint.pth")]
    lines = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    files = [*Path(__file__).parents[1].rglob("*.py"), *shipped, *lists]
    lines += sorted(f"{path} {sha256(path)}" for path in files if path.is_file())  # no link to nowhere
    with os.scandir(ws.data / "iclevr") as pictures:
        stats = [(picture.name, picture.stat()) for picture in pictures if picture.is_file()]  # no link to nowhere
    return lines + sorted(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)

"""Binding the report: figures, tables and the facts of the runs in one PDF and one HTML page, by typst, offline."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import torch
import typst

from lab7 import config
from lab7.ablation.arms import ARMS, run_name
from lab7.ablation.workspace import Workspace
from lab7.pipeline import build_model
from lab7.report.notebooks import MADE_BY, is_picture
from lab7.utils.files import Failure, atomic_path, build_dir, read_json, short, temporary_folder
from lab7.utils.provenance import best_device, provenance

TEMPLATE = Path(__file__).with_name("template.typ")  # the words; every number comes from a file
DISAGREEMENT = 0.05  # a larger difference of the two judges' accuracies is marked
SHIPPED = {"fig21_samplers", "fig22_recipes"}  # only quick has their records


def gather(ws: Workspace, command: str) -> dict[str, Any]:
    """The facts that the report states, as plain values for JSON. Raises Failure for a missing figure or table."""
    names = [name for name in MADE_BY if _path(ws, name).exists()]
    for name in MADE_BY.keys() - names - (set() if ws.preset.name == "quick" else SHIPPED):
        raise Failure(f"{short(_path(ws, name))}: no such file; notebooks/{MADE_BY[name]}.ipynb should make it")
    tables = {name: _path(ws, name).read_text(encoding="utf-8") for name in names if not is_picture(name)}
    return {
        "command": command,
        "preset": dataclasses.asdict(ws.preset),
        "arms": [_arm(ws, name) for name in ("report_up", "report_up_down", "laptop")],
        "figures": [name for name in names if is_picture(name)],
        "tables": {name: list(csv.reader(text.splitlines(keepends=True))) for name, text in tables.items()},
        "data": read_json(build_dir() / ws.preset.name / "data.json", "counts, made by notebooks/01_data.ipynb"),
        "evaluation": ws.judge_evaluation(ws.judge()),
        "disagreement": DISAGREEMENT,
        "provenance": provenance(best_device()),
    }


def _path(ws: Workspace, name: str) -> Path:
    return ws.figures / f"{name}.{'svg' if is_picture(name) else 'csv'}"


def _arm(ws: Workspace, name: str) -> dict[str, Any]:
    """What the report printed of an arm, and its result.json."""
    seed = 0 if ws.preset.name == "quick" else ws.preset.train.seed
    path = ws.runs / run_name(name, seed) / "result.json"
    result = read_json(path, "a run's result, made by notebooks/04_training.ipynb")
    with torch.device("meta"):
        model = build_model(config.from_dict(result["settings"], short(path)))
    parameters = sum(weight.numel() for weight in model.parameters())
    return {"title": ARMS[name].title, "reported": ARMS[name].reported, "parameters": parameters} | result


def bind(ws: Workspace, facts: dict[str, Any], pdf: Path) -> int:
    """Write the PDF, and beside it the .html, atomically; return the PDF's pages. Raises Failure for a bad figure."""
    with temporary_folder() as name:
        folder = Path(name)  # typst reads nothing outside of it
        for figure in facts["figures"]:
            shutil.copy(_path(ws, figure), folder)
        shutil.copy(TEMPLATE, folder)
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        pages = 0
        for kind in ("pdf", "html"):
            compiler = typst.Compiler(
                str(folder / TEMPLATE.name),
                root=str(folder),
                # Only fonts that come with typst and matplotlib, so that the report looks the same everywhere.
                font_paths=[str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")],
                ignore_system_fonts=True,
                sys_inputs={"format": kind},
            )
            try:
                compiler.compile_with_warnings(output=str(folder / f"report.{kind}"), format=kind)
                pages = pages or json.loads(compiler.query("<pages>", field="value", one=True))
            except typst.TypstError as error:
                message = " ".join([error.message, *error.hints])
                raise Failure(f"{short(pdf.with_suffix('.' + kind))}: could not be bound: {message}") from None
        page = folder / "report.html"  # typst does not say to screen readers that a heading is its column's
        page.write_text(page.read_text(encoding="utf-8").replace("<th>", '<th scope="col">'), encoding="utf-8")
        for kind in ("pdf", "html"):
            with atomic_path(pdf.with_suffix(f".{kind}")) as temporary:
                shutil.copy(folder / f"report.{kind}", temporary)
    return pages

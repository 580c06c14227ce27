"""Binding the report: figures, tables and the facts of the runs in one PDF and one HTML page, by typst, offline.

The template is template.typ beside this file; it holds the words. Every number comes from here: from a file.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import torch
import typst

from lab7 import config
from lab7.ablation.arms import ARMS, Arm, run_name
from lab7.ablation.workspace import Workspace
from lab7.dataset.layout import describe
from lab7.judge.metrics import wilson
from lab7.pipeline import build_model
from lab7.plots.sampling import candidates_of, plans_like, pooled
from lab7.utils.files import Failure, atomic_path, read_json, sha256, short
from lab7.utils.provenance import best_device, provenance

TEMPLATE = Path(__file__).with_name("template.typ")

FIGURES = {  # what the template shows -> the notebook that makes it
    "fig01_unet": "02_unet",
    "fig02_initial_conv": "02_unet",
    "fig03_down_sample": "02_unet",
    "fig04_hidden": "02_unet",
    "fig05_up_sample": "02_unet",
    "fig06_output": "02_unet",
    "fig07_embedding": "02_unet",
    "fig08_schedules": "03_schedule",
    "fig09_training_step": "03_schedule",
    "fig10_test_samples": "05_sampling",
    "fig11_new_test_samples": "05_sampling",
    "fig12_clamping": "05_sampling",
    "fig13_display": "05_sampling",
    "fig14_initialisation": "02_unet",
    "fig15_ablation": "06_ablation",
    "fig16_denoising": "05_sampling",
    "fig17_judges": "05_sampling",
    "fig18_confusion": "05_sampling",
    "fig19_error_types": "05_sampling",
    "fig20_laptop_epochs": "04_training",
    "fig22_hidden": "06_ablation",
    "fig23_batch_norm": "06_ablation",
    "fig24_clamps": "06_ablation",
    "fig25_arms": "06_ablation",
    "table2_epochs_up_down": "04_training",
    "table3_epochs_up": "04_training",
}
SWEEP = {"fig21_samplers": "05_sampling"}  # where the run has a recorded sweep of samplers
TRIES = {"fig23_best_of_n": "05_sampling"}  # where the sweep has more than one try
CURVES = {"fig22_recipes": "04_training"}  # where trainings by two recipes are recorded
EARLY = {"fig26_sensitivity": "06_ablation", "fig29_listening_curves": "06_ablation"}  # where trainings were watched
TABLES = {
    "table1_accuracy": "06_ablation",
    "table4_clamping": "05_sampling",
    "table5_by_count": "06_ablation",
    "table6_judges": "05_sampling",
    "table7_judge_ablation": "05_sampling",
    "table8_error_types": "05_sampling",
    "table9_difference": "06_ablation",
    "table10_errata": "06_ablation",
    "table11_arms": "06_ablation",
}
EARLY_TABLE = "table12_sensitivity"


def gather(ws: Workspace, command: str) -> dict[str, Any]:
    """The facts that the report states, as plain values for JSON. Raises Failure for a missing table and
    for an arm that has not been scored."""
    arms = [_arm(ws, ARMS[name]) for name in ("report_up", "report_up_down", "laptop")]
    path, curves = ws.runs / "laptop" / "samplers.json", ws.runs / "recipes.json"
    sweep = read_json(path, "a sweep of samplers") if path.exists() else None
    return {
        "command": command,
        "preset": dataclasses.asdict(ws.preset),
        "arms": arms,
        "main": next(arm for arm in arms if arm["name"] == "report_up_down"),
        "own": next(arm for arm in arms if arm["name"] == "laptop"),
        "sweep": sweep,
        "num_candidates": _tries(sweep, arms[-1]["sampling"]) if sweep else None,
        "curves": read_json(curves, "the curves of recipes")["curves"] if curves.exists() else None,
        "tables": {name: _rows(_existing(ws, f"{name}.csv", made_by)) for name, made_by in TABLES.items()},
        "condition_sensitivity": _rows(path) if (path := ws.figures / f"{EARLY_TABLE}.csv").exists() else None,
        "data": describe(ws.data),
        "examinations": {one.name: ws.examination(one) for one in (ws.judge(), ws.second_judge())},
        "provenance": provenance(best_device()),
    }


def _arm(ws: Workspace, arm: Arm) -> dict[str, Any]:
    """What the report printed of an arm, and its result.json."""
    seed = 0 if ws.preset.name == "quick" else ws.preset.train.seed
    path = ws.runs / run_name(arm.name, seed) / "result.json"
    if not path.exists():
        raise Failure(f"{short(path)}: no such file; 04_training should have made the run '{arm.name}'")
    result = read_json(path, "a run's result")
    if "accuracy" not in result:
        raise Failure(f"{short(path)}: was never scored by the judge; delete the run and report again")
    with torch.device("meta"):
        model = build_model(config.from_dict(result["settings"], short(path)))
    parameters = sum(weight.numel() for weight in model.parameters())
    return {"title": arm.title, "reported": arm.reported, "parameters": parameters} | result


def _tries(sweep: dict[str, Any], sampling: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Objects found on all lists with one try and with more, drawn as the run is; None where no more were recorded."""
    found = []
    for plan in plans_like(sweep, sampling):
        (low, high), (hits, total) = wilson(*pooled(plan)), pooled(plan)
        score = {"hits": hits, "total": total, "accuracy": hits / total, "low": low, "high": high}
        found.append({"num_candidates": candidates_of(plan), "frechet": plan["frechet"]["distance"]} | score)
    return found if len(found) > 1 else None


def _figures(facts: dict[str, Any]) -> dict[str, str]:
    return (
        FIGURES
        | (SWEEP if facts["sweep"] else {})
        | (TRIES if facts["num_candidates"] else {})
        | (CURVES if facts["curves"] else {})
        | (EARLY if facts["condition_sensitivity"] else {})
    )


def _rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _existing(ws: Workspace, name: str, made_by: str) -> Path:
    path = ws.figures / name
    if not path.exists():
        raise Failure(f"{short(path)}: no such file; notebooks/{made_by}.ipynb should have made it")
    return path


def fingerprint(ws: Workspace, facts: dict[str, Any]) -> str:
    """A digest of all that goes into the report. Raises Failure for a missing figure."""
    figures = [sha256(_existing(ws, f"{name}.svg", made_by)) for name, made_by in _figures(facts).items()]
    parts = [json.dumps(facts), *figures, sha256(TEMPLATE), sha256(__file__)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def bind(ws: Workspace, facts: dict[str, Any], pdf: Path) -> int:
    """Write the PDF, and beside it as .html one page that needs no other file, atomically; return the PDF's number of
    pages. Raises Failure for a missing or bad figure."""
    pdf.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=pdf.parent, prefix=".binding_") as name:
        folder = Path(name)  # typst reads nothing outside of it
        for figure, made_by in _figures(facts).items():
            shutil.copy(_existing(ws, f"{figure}.svg", made_by), folder)
        shutil.copy(TEMPLATE, folder)
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        # Only fonts that come with typst and matplotlib, so that the report looks the same everywhere.
        fonts = [str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")]
        pages = 0
        for kind in ("pdf", "html"):
            compiler = typst.Compiler(
                str(folder / TEMPLATE.name),
                root=str(folder),
                font_paths=fonts,
                ignore_system_fonts=True,
                sys_inputs={"format": kind},
            )
            try:
                compiler.compile_with_warnings(output=str(folder / f"report.{kind}"), format=kind)
                pages = pages or json.loads(compiler.query("<pages>", field="value", one=True))
            except typst.TypstError as error:
                told = " ".join([error.message, *error.hints])
                raise Failure(f"{short(pdf.with_suffix('.' + kind))}: could not be bound: {told}") from None
        for kind in ("pdf", "html"):
            with atomic_path(pdf.with_suffix(f".{kind}")) as temporary:
                shutil.copy(folder / f"report.{kind}", temporary)
    return pages

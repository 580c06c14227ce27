"""The notebooks as committed: short, whole, with outputs that are compared, and readable for whoever opens them."""

import ast
import copy
import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator

import nbformat
import pytest

from lab7.report.notebooks import MADE_BY, is_picture, read_notebook
from lab7.utils.files import ROOT

NAMES = (
    *("01_data", "02_unet", "03_schedule", "04_training", "05_sampling", "06_ablation"),
    *("07_judge", "08_own_network"),
)
LIMITS = {"cells": 35, "words": 1300, "lines of code": 120, "lines of imports": 6}
IGNORED = {"nbval-ignore-output", "nbval-skip"}  # tags of cells whose output is not compared
LONGEST_DEF = 12  # lines: what is longer belongs in lab7
LARGEST = 2_000_000  # bytes of a notebook
PLACE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt|usr|opt|var)/|\b[A-Z]:\\\\")
IMPORT_NAMES = {"pillow": "PIL"}  # packages that are imported under another name


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def compared(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells whose stored text nbval compares with what comes out anew."""
    return [cell for cell in code_cells(notebook) if not IGNORED & set(cell.metadata.get("tags", [])) and texts(cell)]


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell's outputs say, pictures aside."""
    return [text for output in cell.outputs for text in _texts(output) if text.strip()]


def _texts(output: nbformat.NotebookNode) -> Iterator[str]:
    if "text" in output:
        yield output.text
    for kind, value in output.get("data", {}).items():
        if not kind.startswith("image/png"):
            yield value if isinstance(value, str) else json.dumps(value)


def sizes(notebook: nbformat.NotebookNode) -> dict[str, int]:
    """How long a notebook is, by the names of LIMITS."""
    lines = [line.strip() for cell in code_cells(notebook) for line in cell.source.splitlines()]
    imports = [sum(node.end_lineno - node.lineno + 1 for node in _imports(cell)) for cell in code_cells(notebook)]
    return {
        "cells": len(notebook.cells),
        "words": sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown"),
        "lines of code": sum(1 for line in lines if line and line[0] != "#"),
        "lines of imports": max(imports),
    }


def _imports(cell: nbformat.NotebookNode) -> list[ast.stmt]:
    return [node for node in ast.walk(parse(cell)) if isinstance(node, ast.Import | ast.ImportFrom)]


def parse(cell: nbformat.NotebookNode) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.source.splitlines() if line.lstrip()[:1] not in ("%", "!")))


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with a notebook as committed; empty where it can be read, run and checked."""
    problems = []
    cells, first, last = code_cells(notebook), notebook.cells[0], notebook.cells[-1]
    if not first.source.startswith("# ") or not all(word in first.source for word in ("learn", "minutes")):
        problems.append("the first cell does not give title, what you will learn, and minutes")
    if last.cell_type != "markdown" or "?" not in last.source or "](" not in last.source:
        problems.append("the last cell has no questions and links")
    for name, size in sizes(notebook).items():
        if size > LIMITS[name]:
            problems.append(f"{size} {name}; at most {LIMITS[name]}")
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        problems.append("its cells were not run once, in order, from a fresh start")
    if len(compared(notebook)) < 3:
        problems.append(f"{len(compared(notebook))} cells have outputs that are compared; three are wanted")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("its kernel is not python3")
    if "papermill" in notebook.metadata:
        problems.append("papermill left its metadata behind")
    for cell in notebook.cells:
        if left := {"papermill", "execution"} & set(cell.metadata):
            problems.append(f"{cell.id}: left-over metadata {', '.join(left)}")
        if "injected-parameters" in cell.metadata.get("tags", []):
            problems.append(f"{cell.id}: papermill left its parameters behind")
        if PLACE.search(cell.source):
            problems.append(f"{cell.id}: names a folder of one machine")
    for cell in cells:
        if any(output.output_type == "error" or output.get("name") == "stderr" for output in cell.outputs):
            problems.append(f"{cell.id}: an error or a warning is among its outputs")
        if any(PLACE.search(text) for text in texts(cell)):
            problems.append(f"{cell.id}: a folder of one machine is among its outputs")
    return problems


@pytest.fixture(scope="module")
def notebooks() -> dict[str, nbformat.NotebookNode]:
    return {name: nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4) for name in NAMES}


def test_all_are_there():
    assert tuple(path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_as_committed(notebooks, name):
    nbformat.validate(notebooks[name])
    assert faults(notebooks[name]) == []
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < LARGEST


def test_the_check_sees_what_is_wrong(notebooks):
    """A stripped notebook passes nbval without checking anything: it is found here."""
    stripped = copy.deepcopy(notebooks["03_schedule"])
    for cell in code_cells(stripped):
        cell.outputs, cell.execution_count = [], None
    assert len(faults(stripped)) == 2

    bad = copy.deepcopy(notebooks["03_schedule"])
    bad.metadata["papermill"] = {}
    bad.cells[0].source = bad.cells[0].source.replace("minutes", "")
    cell = code_cells(bad)[-1]
    cell.metadata["papermill"] = {}
    cell.source += "\nopen('/home/me/data.json')" + "\nimport torch" * 7
    cell.outputs = [nbformat.v4.new_output("stream", name="stderr", text="a warning in /tmp/ipykernel_1/2.py")]
    assert len(faults(bad)) >= 7


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_plain(name):
    defaults = read_notebook(ROOT / "notebooks" / f"{name}.ipynb").defaults
    assert defaults["preset"] == "quick" and defaults["seed"] == 0
    for value in defaults.values():
        for item in value if isinstance(value, list) else [value]:
            assert type(item) in (bool, int, float, str)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_imported_is_there_and_asked_for(notebooks, name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    packages = {re.split(r"[<>=~!\[ ]", line)[0] for line in wanted}
    allowed = {IMPORT_NAMES.get(package, package) for package in packages} | {"lab7", "IPython"}
    for node in nodes(notebooks[name]):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            root = module.partition(".")[0]
            assert root in allowed or root in sys.stdlib_module_names, f"{module} is no dependency of the lab"


@pytest.mark.parametrize("name", NAMES)
def test_algorithms_are_in_lab7(notebooks, name):
    for node in nodes(notebooks[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            assert node.end_lineno - node.lineno < LONGEST_DEF, f"{node.name} belongs in a module of lab7"


def nodes(notebook: nbformat.NotebookNode) -> Iterator[ast.AST]:
    for cell in code_cells(notebook):
        yield from ast.walk(parse(cell))


@pytest.mark.parametrize("name", MADE_BY)
def test_a_figure_is_committed_made_by_its_notebook_and_in_the_readme(name):
    for suffix in ("png",) if is_picture(name) else ("csv", "md"):
        assert (ROOT / "figures" / f"{name}.{suffix}").stat().st_size > 0
    notebook = (ROOT / "notebooks" / f"{MADE_BY[name]}.ipynb").read_text(encoding="utf-8")
    assert f'\\"{name}\\"' in notebook
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if f"`{name}`" in line]
    assert len(rows) == 1 and MADE_BY[name] in rows[0]


def test_nothing_else_is_in_figures():
    assert {path.stem for path in (ROOT / "figures").iterdir()} == set(MADE_BY)

"""The report's machinery, on notebooks of two cells: parameters, failures, order, what is up to date."""

import asyncio
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from lab7.ablation.workspace import open_workspace
from lab7.report import build, notebooks
from lab7.report.notebooks import choose_parameters, read_notebook
from lab7.utils.files import Failure, UserError, read_json, write_json

DRAW = """
import os, pathlib
figures = pathlib.Path(os.environ["LAB7_BUILD"], preset, "figures")
figures.mkdir(parents=True, exist_ok=True)
_ = (figures / f"{name}.svg").write_text(f"{preset} {seed!r} {ratio!r} {steps!r}")
"""


def write_notebook(path: Path, *cells: str, parameters: str = 'preset = "quick"\nseed = 0') -> Path:
    """A notebook with the cell of parameters and these code cells, cell-1, cell-2 ..."""
    first = nbformat.v4.new_code_cell(parameters, id="cell-1", metadata={"tags": ["parameters"]})
    rest = [nbformat.v4.new_code_cell(cell, id=f"cell-{i}") for i, cell in enumerate(cells, start=2)]
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title", id="top"), first, *rest])
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two notebooks, each of which draws a figure named after it."""
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path / "build"))
    (tmp_path / "build" / "smoke" / "data" / "iclevr").mkdir(parents=True)
    write_json(tmp_path / "build" / "smoke" / "data" / "train.json", {})  # so that no pictures are rendered
    names = ("04_training", "05_sampling")
    monkeypatch.setattr(build, "MADE_BY", {name: name for name in names})
    parameters = 'preset = "quick"\nseed = 0  # of all\nratio = 0.5\nsteps = [1, 2]'
    for name in names:
        write_notebook(tmp_path / "toys" / f"{name}.ipynb", f"name = {name!r}", DRAW, parameters=parameters)
    return tmp_path / "toys"


def run(folder: Path, *settings: str) -> list[str]:
    """The names of the notebooks that were executed."""
    records = build.run_notebooks(open_workspace("smoke"), settings, folder)
    return [record["name"] for record in records if record["ran"]]


def executed(tmp_path: Path, name: str) -> nbformat.NotebookNode:
    return nbformat.read(tmp_path / "build" / "smoke" / f"{name}.ipynb", as_version=4)


def test_notebooks_run_once_and_again_when_what_they_are_made_from_changes(folder, tmp_path):
    both = ["04_training", "05_sampling"]
    settings = ("seed=3", "ratio=2", "steps=[7]")
    assert run(folder, *settings) == both
    figures = tmp_path / "build" / "smoke" / "figures"
    assert (figures / "05_sampling.svg").read_text() == "smoke 3 2.0 [7]"
    assert executed(tmp_path, "04_training").cells[-1].execution_count

    content = nbformat.read(folder / "05_sampling.ipynb", as_version=4)
    content.cells[-1].outputs = [nbformat.v4.new_output("stream", text="stored")]
    nbformat.write(content, folder / "05_sampling.ipynb")
    assert run(folder, *settings) == []  # outputs are no change

    (figures / "05_sampling.svg").write_text("altered by hand")
    assert run(folder, *settings) == ["05_sampling"]
    (figures / "04_training.svg").unlink()
    assert run(folder, *settings) == both  # 05 reads the runs that 04 makes
    write_json(tmp_path / "build" / "smoke" / "data" / "test.json", [["red cube"]])
    assert run(folder) == both


def test_the_kernel_is_this_python_whatever_else_is_called_python3(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    write_json(spec / "kernel.json", {"argv": ["/bin/false"], "display_name": "another", "language": "python"})
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    book = read_notebook(
        write_notebook(tmp_path / "01_where.ipynb", "import os, sys; print(sys.executable, os.getcwd())")
    )
    ticks = []
    asyncio.run(notebooks.execute(book, {"preset": "quick"}, tmp_path / "out.ipynb", lambda: ticks.append(1), 1))
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].text.split() == [sys.executable, str(tmp_path)]
    assert len(ticks) == 2 and len(done.cells) == 3  # nothing is injected where all parameters are the defaults


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("raise ValueError('\\x1b[31mred\\x1b[0m\\nand more')", "ValueError: red and more"),
        ("import os; os._exit(1)", "Kernel died"),
    ],
)
def test_a_failing_cell_stops_with_its_place_and_message(folder, tmp_path, cell, message):
    write_notebook(folder / "04_training.ipynb", "good = 1", cell, parameters='preset = "smoke"')
    with pytest.raises(Failure) as caught:
        run(folder)
    line = str(caught.value)
    assert line.count("\n") == 0 and "\x1b" not in line
    assert "04_training.ipynb: code cell 3 (cell-3): " in line and message in line
    assert str(tmp_path / "build" / "smoke" / "04_training.ipynb") in line
    assert executed(tmp_path, "04_training")
    assert not (tmp_path / "build" / "smoke" / "05_sampling.ipynb").exists()


def test_parameters_are_of_the_type_of_the_default(folder, tmp_path):
    parameters = "preset = 'quick'\nword = 'a'\nflag = True\nseed = 1.5"
    write_notebook(folder / "06_third.ipynb", parameters=parameters)
    books = [read_notebook(path) for path in sorted(folder.glob("*.ipynb"))]
    assert choose_parameters(books, "laptop", ["seed=4", "word=4", "flag=false"]) == {
        "04_training": {"preset": "laptop", "seed": 4},
        "05_sampling": {"preset": "laptop", "seed": 4},
        "06_third": {"preset": "laptop", "word": "4", "flag": False, "seed": 4.0},
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sead=1", "no notebook has the parameter 'sead'; did you mean 'seed'?"),
        ("seed", "not of the form name=value"),
        ("seed=1.5", "seed must be of the form 0, not '1.5'"),
        ("ratio=NaN", "ratio must be of the form 0.5"),
        ("steps=3", r"steps must be of the form [1, 2]"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(folder, setting, message):
    with pytest.raises(UserError) as caught:
        run(folder, setting)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_notebook_is_an_error_of_one_line(tmp_path):
    (tmp_path / "01_cut.ipynb").write_text('{"cells": [')
    with pytest.raises(Failure, match="01_cut.ipynb: is no notebook"):
        read_notebook(tmp_path / "01_cut.ipynb")
    with pytest.raises(Failure, match="01_odd.ipynb: the cell of parameters holds more than name = value"):
        read_notebook(write_notebook(tmp_path / "01_odd.ipynb", parameters="preset = str(1)"))
    with pytest.raises(UserError, match="holds no notebooks"):
        run(tmp_path / "nowhere")


def test_ctrl_c_ends_at_once_leaves_no_kernel_and_keeps_what_was_finished(tmp_path):
    home = tmp_path / "home"
    write_json(home / "build" / "smoke" / "data" / "train.json", {})
    (home / "build" / "smoke" / "data" / "iclevr").mkdir()
    note = "import os, pathlib, time; pathlib.Path({!r}, name).write_text(str(os.getpid())); time.sleep(60)"
    note = note.format(str(tmp_path))
    write_notebook(home / "notebooks" / "01_quick.ipynb", "1 + 1")
    for name in ("02_slow", "04_training"):
        write_notebook(home / "notebooks" / f"{name}.ipynb", f"name = {name!r}; {note}")
    environment = os.environ | {"LAB7_HOME": str(home), "LAB7_BUILD": str(home / "build")}
    # As from a terminal: a shell's background jobs, these tests among them, begin with Ctrl-C ignored.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "lab7.cli", "report", "--preset", "smoke"]
    process = subprocess.Popen(command, env=environment, preexec_fn=listen, **pipes)
    notes = [tmp_path / name for name in ("04_training", "02_slow")]
    until = time.monotonic() + 90
    while not all(path.exists() and path.read_text() for path in notes) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == "" and "Traceback" not in err, err
    for path in notes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    assert list(read_json(home / "build" / "smoke" / "report.json", "a record")) == ["01_quick"]

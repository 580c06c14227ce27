"""The report's machinery, on notebooks of two cells: order, parameters, failures, what is up to date."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from lab7.ablation.workspace import open_workspace
from lab7.report import build as report
from lab7.report import notebooks
from lab7.report.notebooks import choose_parameters, read_notebook
from lab7.utils.files import Failure, UserError, write_json

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
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two notebooks, each of which draws a figure named after it."""
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path / "build"))
    parameters = 'preset = "quick"\nseed = 0  # of all\nratio = 0.5\nsteps = [1, 2]'
    for name in ("01_first", "02_second"):
        write_notebook(tmp_path / "toys" / f"{name}.ipynb", f"name = {name!r}", DRAW, parameters=parameters)
    return tmp_path / "toys"


def run(folder: Path, *settings: str) -> list[str]:
    """The names of the notebooks that were run."""
    return [
        record["name"] for record in report.run_notebooks(open_workspace("smoke"), settings, folder) if record["ran"]
    ]


def executed(tmp_path: Path, name: str) -> nbformat.NotebookNode:
    return nbformat.read(tmp_path / "build" / "smoke" / f"{name}.ipynb", as_version=4)


def test_runs_in_order_once_and_again_from_the_first_that_changed(folder, tmp_path):
    assert run(folder, "seed=3", "ratio=2", "steps=[7]") == ["01_first", "02_second"]
    figures = tmp_path / "build" / "smoke" / "figures"
    assert (figures / "02_second.svg").read_text() == "smoke 3 2.0 [7]"
    assert executed(tmp_path, "01_first").cells[-1].execution_count
    assert run(folder, "seed=3", "ratio=2", "steps=[7]") == []

    (figures / "02_second.svg").write_text("altered by hand")
    assert run(folder, "seed=3", "ratio=2", "steps=[7]") == ["02_second"]
    (figures / "01_first.svg").unlink()
    assert run(folder, "seed=3", "ratio=2", "steps=[7]") == ["01_first", "02_second"]
    assert run(folder) == ["01_first", "02_second"]


def test_outputs_are_no_change_but_cells_and_data_are(folder, tmp_path):
    path = folder / "02_second.ipynb"
    assert run(folder) == ["01_first", "02_second"]
    content = nbformat.read(path, as_version=4)
    content.cells[-1].outputs = [nbformat.v4.new_output("stream", text="stored")]
    nbformat.write(content, path)
    assert run(folder) == []
    content.cells[-1].source += "\n1 + 1"
    nbformat.write(content, path)
    assert run(folder) == ["02_second"]
    write_json(tmp_path / "build" / "smoke" / "data" / "test.json", [["red cube"]])
    assert run(folder) == ["01_first", "02_second"]


def test_an_interrupted_report_goes_on_at_the_first_unfinished(folder, monkeypatch):
    execute = report.execute

    def stop_at_second(book, *rest):
        if book.name == "02_second":
            raise KeyboardInterrupt
        execute(book, *rest)

    monkeypatch.setattr(report, "execute", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    monkeypatch.setattr(report, "execute", execute)
    assert run(folder) == ["02_second"]


def test_the_kernel_is_this_python_whatever_else_is_called_python3(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    write_json(spec / "kernel.json", {"argv": ["/bin/false"], "display_name": "another", "language": "python"})
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    path = write_notebook(tmp_path / "01_where.ipynb", "import os, sys; print(sys.executable); print(os.getcwd())")
    ticks = []
    notebooks.execute(read_notebook(path), {"preset": "smoke"}, tmp_path / "out.ipynb", lambda: ticks.append(1))
    printed = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text.split()
    assert printed == [sys.executable, str(tmp_path)]
    assert len(ticks) == 3  # two cells and the one that papermill adds


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("raise ValueError('\\x1b[31mred\\x1b[0m\\nand more')", "ValueError: red and more"),
        ("import os; os._exit(1)", "Kernel died"),
    ],
)
def test_a_failing_cell_stops_with_its_place_and_message(folder, tmp_path, cell, told):
    write_notebook(folder / "01_first.ipynb", "good = 1", cell)
    with pytest.raises(Failure) as caught:
        run(folder)
    message = str(caught.value)
    assert message.count("\n") == 0 and "\x1b" not in message
    assert "01_first.ipynb: code cell 3 (cell-3): " in message and told in message
    assert str(tmp_path / "build" / "smoke" / "01_first.ipynb") in message
    assert executed(tmp_path, "01_first")
    assert not (tmp_path / "build" / "smoke" / "02_second.ipynb").exists()


def test_parameters_are_of_the_type_of_the_default(folder, tmp_path):
    write_notebook(
        tmp_path / "toys" / "03_third.ipynb",
        parameters="preset = 'quick'\nword = 'a'\nflag = True\nseed = 1.5",
    )
    books = [read_notebook(path) for path in sorted(folder.glob("*.ipynb"))]
    chosen = choose_parameters(books, "laptop", ["seed=4", "word=4", "flag=false"])
    assert chosen == {
        "01_first": {"preset": "laptop", "seed": 4},
        "02_second": {"preset": "laptop", "seed": 4},
        "03_third": {"preset": "laptop", "word": "4", "flag": False, "seed": 4.0},
    }


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "sead=1",
            "no notebook has the parameter 'sead'; did you mean 'seed'?; known, with defaults: ratio",
        ),
        ("xyzzy=1", "known, with defaults: ratio=0.5, seed=0, steps=[1, 2]"),
        ("seed", "not of the form name=value"),
        ("seed=1.5", "seed must be a whole number such as 0, not '1.5'"),
        ("seed=true", "seed must be a whole number"),
        ("ratio=NaN", "ratio must be a number such as 0.5"),
        ("steps=3", "steps must be a JSON list such as [1, 2]"),
        ('steps=["a"]', "steps must be a JSON list such as [1, 2]"),
        ("preset=laptop", "say --preset laptop"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(folder, setting, told):
    with pytest.raises(UserError) as caught:
        run(folder, setting)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("parameters", ["preset = str(1)", "import os", "a.b = 1"])
def test_a_cell_of_parameters_holds_values_alone(tmp_path, parameters):
    with pytest.raises(Failure, match="01_odd.ipynb: the cell of parameters holds more than name = value"):
        read_notebook(write_notebook(tmp_path / "01_odd.ipynb", parameters=parameters))


def test_a_file_that_is_no_notebook_is_told(tmp_path):
    (tmp_path / "01_cut.ipynb").write_text('{"cells": [')
    with pytest.raises(Failure, match="01_cut.ipynb: is no notebook"):
        read_notebook(tmp_path / "01_cut.ipynb")
    with pytest.raises(UserError, match="holds no notebooks"):
        run(tmp_path / "nowhere")


def test_ctrl_c_ends_at_once_leaves_no_kernel_and_keeps_what_was_finished(tmp_path):
    home = tmp_path / "home"
    tell = f"import os, pathlib, time; pathlib.Path({str(tmp_path)!r}, 'pid').write_text(str(os.getpid()))"
    write_notebook(home / "notebooks" / "01_quick.ipynb", "1 + 1")
    write_notebook(home / "notebooks" / "02_slow.ipynb", f"{tell}; time.sleep(60)")
    environment = os.environ | {"LAB7_HOME": str(home), "LAB7_BUILD": str(tmp_path / "build")}
    command = [sys.executable, "-m", "lab7.cli", "report", "--preset", "smoke"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # As from a terminal: a shell's background jobs, these tests among them, begin with Ctrl-C ignored.
    process = subprocess.Popen(command, env=environment, preexec_fn=heard, **pipes)
    until = time.monotonic() + 90
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == "" and "Traceback" not in err, err
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    state = json.loads((tmp_path / "build" / "smoke" / "report.json").read_text())
    assert list(state["notebooks"]) == ["01_quick"]

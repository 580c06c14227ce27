"""The teacher's page: its recipes are followed literally in a copy of the project; its numbers are the lab's."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lab7.exercises.key import EXERCISES
from lab7.utils.files import ROOT

TEXT = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
EDIT = re.compile(
    r"^In `(\S+)`, (above|below|in place of) `([^\n]+)`:\n\n```(?:python|text)\n(.*?)```", re.MULTILINE | re.DOTALL
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """A copy of the project without its pictures, and run(command) in it; `lab7` is the copy's command."""
    shutil.copytree(ROOT / "lab7", tmp_path / "lab7", ignore=shutil.ignore_patterns("__pycache__", "dataset"))
    (tmp_path / "lab7" / "dataset").symlink_to(ROOT / "lab7" / "dataset")  # the ray-caster, compiled already
    (tmp_path / "data").mkdir()
    for name in ("weights", "runs", "objects.json", "test.json", "new_test.json"):
        (tmp_path / "data" / name).symlink_to(ROOT / "data" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "lab7").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lab7.cli "$@"\n')
    (tools / "lab7").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAB7_")}
    paths = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {
        "PATH": paths,
        "PYTHONPATH": str(tmp_path),
        "LAB7_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }

    def run(kind: str, text: str) -> str:
        command = ["bash", "-ec", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return tmp_path, run


def follow(section: str, folder: Path, run) -> str:
    """Make the section's edits, then run its blocks of Python and shell in order; returns what they print."""
    for path, where, anchor, code in EDIT.findall(SECTIONS[section]):
        source = (folder / path).read_text(encoding="utf-8")
        assert source.count(f"{anchor}\n") == 1
        new = {"above": f"{code}\n\n{anchor}\n", "below": f"{anchor}\n{code}", "in place of": code}[where]
        (folder / path).write_text(source.replace(f"{anchor}\n", new), encoding="utf-8")
    rest = EDIT.sub("", SECTIONS[section])
    return "".join(run(kind, text) for kind, text in BLOCK.findall(rest) if kind in ("sh", "python"))


def test_an_arm_is_added(project):
    folder, run = project
    weights = folder / "build" / "smoke" / "data" / "weights"  # the toy preset would train two judges here
    weights.parent.mkdir(parents=True)
    shutil.copytree(ROOT / "data" / "weights", weights)
    printed = follow("Add an arm", folder, run)
    assert "report_no_warmup" in printed and "seed)" in printed
    assert (folder / "build" / "smoke" / "runs" / "report_no_warmup" / "result.json").exists()


def test_a_sampler_is_added(project):
    folder, run = project
    assert "1 picture of 1 condition," in follow("Add a sampler", folder, run)
    assert (folder / "drawn" / "000_0.png").exists()


def test_a_data_set_is_added(project):
    folder, run = project
    printed = follow("Add a data set", folder, run)
    assert "40 pictures of 40 scenes" in printed
    assert (folder / "runs" / "own" / "weights.safetensors").exists()


def test_the_key_is_printed(project):
    folder, run = project
    listed = follow("The key", folder, run)
    key = (folder / "key.txt").read_text()
    assert all(name in listed and name in key for name in EXERCISES)


def test_notebooks_are_graded(project):
    """Two students, one of whom is right; the second notebook fails at its end and counts as far as it came."""
    folder, run = project
    students, grade = (text for _, text in BLOCK.findall(SECTIONS["Grade many notebooks"]))
    (folder / "students.csv").write_text(students)
    for name in ("notebooks", "handed_in"):
        (folder / name).mkdir()
    one, two = EXERCISES["03.add_noise"], EXERCISES["05.evaluations"]
    for student, answers in (("lin", (one.right, two.right)), ("chen", (next(iter(one.wrong)), "..."))):
        cells = [nbformat.v4.new_code_cell("seed = 0"), nbformat.v4.new_code_cell("import lab7")]
        cells[0].metadata["tags"] = ["parameters"]
        for exercise, answer in zip((one, two), answers, strict=True):
            cells.append(nbformat.v4.new_code_cell(f'lab7.check("{exercise.name}", {exercise.write(answer)})'))
        cells.append(nbformat.v4.new_code_cell(f"assert seed == 1, '{student}'"))
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
        nbformat.write(notebook, folder / "handed_in" / f"03_schedule-{student}.ipynb")
    run("python", grade)
    with open(folder / "grades.csv", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["lin", "03_schedule-lin.ipynb", "2", "2", ""]
    assert rows[2] == ["chen", "03_schedule-chen.ipynb", "0", "2", "AssertionError"]


def test_the_page_is_short_and_leads_to_what_is_there():
    assert len(TEXT.splitlines()) < 250
    links = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)
    assert links and all((ROOT / link).exists() for link in links)
    assert "](TEACHING.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_notebook_has_its_minutes():
    """To run: as in README.md; to read: as in the notebook's first cell."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        run, read = re.search(rf"^\| {path.stem} \| ([\d.]+) \| (\d+) \|", TEXT, re.MULTILINE).groups()
        assert re.search(rf"^\| \[{path.stem}\].*\| {re.escape(run)} \|$", readme, re.MULTILINE)
        assert f"{read} minutes to read" in nbformat.read(path, as_version=4).cells[0].source


def test_the_glossary_has_forty_terms_each_once():
    rows = re.findall(r"^\| ([a-z][^|]*) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", SECTIONS["Glossary"], re.MULTILINE)
    terms = [pair for row in rows for pair in (row[:2], row[2:])]
    assert len(terms) == len({term for term, _ in terms}) == len({chinese for _, chinese in terms}) == 40
    assert all(re.fullmatch(r"[一-鿿]+", chinese) for _, chinese in terms)

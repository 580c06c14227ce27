"""The whole path at toy size, from nothing to the bound report, as a user would run it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lab7.ablation.workspace import open_workspace
from lab7.cli.main import main
from lab7.report import bind as binding
from lab7.utils.files import ROOT, Failure

PAGES = 8  # the report's, at least


def report(build: Path, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lab7.cli", "report", "--preset", "smoke", *more]
    environment = os.environ | {"LAB7_BUILD": str(build), "LAB7_FIGURES": str(build / "no_figures")}
    return subprocess.run(command, cwd=build, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """build/ after `lab7 report --preset smoke` in an empty one."""
    build = tmp_path_factory.mktemp("build")
    done = report(build)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 8 and all("s, " in line for line in lines[:6])
    assert int(lines[6].split()[-2]) >= PAGES and "report.html" in lines[7]
    return build


def test_everything_is_made_and_nothing_elsewhere(built):
    made = built / "smoke"
    assert (made / "report.pdf").read_bytes().startswith(b"%PDF")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert (made / path.name).exists()
    for name in binding.FIGURES:
        assert (made / "figures" / f"{name}.svg").exists() and (made / "figures" / f"{name}.png").exists()
    for name in binding.TABLES:
        assert (made / "figures" / f"{name}.csv").exists() and (made / "figures" / f"{name}.md").exists()
    assert not (built / "no_figures").exists()


def test_a_second_report_finds_all_up_to_date(built):
    done = report(built, "--json")
    found = json.loads(done.stdout)
    assert [record["ran"] for record in found["notebooks"]] == [False] * 6
    assert all(line.endswith(": up to date") for line in found["lines"]) and len(found["lines"]) == 8


def test_the_page_needs_no_other_file_and_no_network(built):
    page = (built / "smoke" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "<math" in page and "<h1>" in page
    shown = re.findall(r'<img src="([^"]*)"', page)
    assert len(shown) == len(binding.FIGURES | binding.EARLY)  # every training is watched
    assert all(one.startswith("data:image/svg+xml;base64,") for one in shown)
    assert page.count("<figcaption>") == len(re.findall(r"<figure\b", page)) > len(shown)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page) and "<script" not in page and "@import" not in page


def test_binding_repeats_itself_and_names_what_is_missing(built, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB7_BUILD", str(built))
    ws = open_workspace("smoke")
    facts = binding.gather(ws, "lab7 report --preset smoke")
    assert facts["main"]["accuracy"]["test"]["top_k"]["total"] == 72
    for name in ("one.pdf", "two.pdf"):
        assert binding.bind(ws, facts, tmp_path / name) >= PAGES
    for kind in ("pdf", "html"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()

    key = binding.fingerprint(ws, facts)
    figure, table = ws.figures / "fig08_schedules.svg", ws.figures / "table1_accuracy.csv"
    whole = figure.read_bytes()
    figure.write_bytes(whole + b"\n")
    assert binding.fingerprint(ws, facts) != key
    figure.write_text("<svg")
    with pytest.raises(Failure, match="could not be bound"):
        binding.bind(ws, facts, tmp_path / "three.pdf")
    figure.unlink()
    with pytest.raises(Failure, match="fig08_schedules.svg: no such file; notebooks/03_schedule.ipynb should"):
        binding.bind(ws, facts, tmp_path / "three.pdf")
    table.unlink()
    with pytest.raises(Failure, match=r"table1_accuracy.csv: no such file; notebooks/06_ablation.ipynb should"):
        binding.gather(ws, "")
    assert not (tmp_path / "three.pdf").exists()


def test_the_courses_own_files_run_through_the_same_commands(course_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, place in (("DATA", course_folder), ("RUNS", tmp_path / "runs"), ("BUILD", tmp_path / "build")):
        monkeypatch.setenv(f"LAB7_{name}", str(place))

    main(["doctor"])
    told = capsys.readouterr().out
    assert "the course's own pictures" in told and "5 pictures of 2 scenes" in told
    assert "the course's judge (checkpoint.pth)" in told

    settings = ["epochs=1", "sampling.num_steps=2"]
    assert main(["train", "--preset", "smoke", "--name", "mine", "--set", *settings]) == 0
    assert "test: " in capsys.readouterr().out
    result = json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())
    assert result["pictures"] == 5 and result["judge"]["is_course"]

    drawn = ["--weights", "runs/mine", "--conditions", str(course_folder / "test.json"), "--out", "drawn"]
    assert main(["sample", *drawn]) == 0
    assert len(list((tmp_path / "drawn").glob("???_0.png"))) == 32
    capsys.readouterr()
    assert main(["judge", "--images", "drawn", "--conditions", str(course_folder / "test.json")]) == 0
    told = capsys.readouterr().out
    assert told.startswith("32 pictures, the course's judge (checkpoint.pth)\n") and "/72 = " in told
    assert torch.load(course_folder / "checkpoint.pth", weights_only=True).keys() == {"model"}

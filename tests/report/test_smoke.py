"""The whole path at toy size, from nothing to the bound report, as a user would run it."""

import itertools
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
from lab7.report.notebooks import MADE_BY, is_picture
from lab7.utils.files import ROOT, Failure

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALWAYS = sorted(MADE_BY.keys() - binding.SHIPPED)


def report(build: Path) -> dict:
    command = [sys.executable, "-m", "lab7.cli", "report", "--preset", "smoke", "--json"]
    environment = os.environ | {"LAB7_BUILD": str(build)}
    done = subprocess.run(command, cwd=build, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """build/ after `lab7 report --preset smoke` in an empty one."""
    build = tmp_path_factory.mktemp("build")
    done = report(build)
    assert [record["ran"] for record in done["notebooks"]] == [True] * len(NOTEBOOKS)
    assert any(re.search(r"report.pdf: \d+ pages", line) for line in done["lines"])
    return build


def test_everything_is_made_and_nothing_elsewhere(built):
    made = built / "smoke"
    assert (made / "report.pdf").read_bytes().startswith(b"%PDF")
    assert all((made / path.name).exists() for path in NOTEBOOKS)
    for name in ALWAYS:
        for suffix in ("svg", "png") if is_picture(name) else ("csv", "md"):
            assert (made / "figures" / f"{name}.{suffix}").exists()
    assert [path.name for path in built.iterdir()] == ["smoke"]


def test_the_page_needs_no_other_file_and_no_network(built):
    page = (built / "smoke" / "report.html").read_text(encoding="utf-8")
    assert (
        page.startswith("<!DOCTYPE html>")
        and "<math" in page
        and "<h1>" in page
        and "<main>" in page
        and '<nav role="doc-toc">' in page
    )
    alts = re.findall(r'<img src="data:image/svg[^"]*" alt="([^"]*)"', page)
    assert len(alts) == page.count("<img ") and all(len(alt.split()) > 5 for alt in alts)
    pictures = re.findall(r'<img src="([^"]*)"', page)
    assert len(pictures) >= sum(map(is_picture, ALWAYS))
    assert all(one.startswith("data:image/svg+xml;base64,") for one in pictures)
    assert page.count("<figcaption>") == len(re.findall(r"<figure\b", page)) > len(pictures)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page) and "<script" not in page and "@import" not in page


def test_the_page_is_read_in_a_browser_on_a_phone_and_in_the_dark(built, page):
    """No request, no error, headings in order, text alternatives; at 360 pixels nothing moves the page sideways."""
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    path = built / "smoke" / "report.html"
    page.goto(path.as_uri())
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()] and errors == []
    levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1 and all(deeper <= level + 1 for level, deeper in itertools.pairwise(levels))
    assert page.eval_on_selector_all("img", "all => all.every(one => one.complete && one.naturalWidth > 0)")
    colours = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours == {"rgb(255, 255, 255)", "rgb(22, 22, 22)"}
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_second_report_runs_nothing_and_binds_the_same_bytes(built):
    files = [built / "smoke" / f"report.{kind}" for kind in ("pdf", "html")]
    before = [path.read_bytes() for path in files]
    done = report(built)
    assert not any(record["ran"] for record in done["notebooks"])
    assert [path.read_bytes() for path in files] == before


def test_binding_names_what_is_missing_or_damaged(built, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB7_BUILD", str(built))
    ws = open_workspace("smoke")
    facts = binding.gather(ws, "lab7 report --preset smoke")
    assert facts["arms"][1]["accuracy"]["test"]["top_k"]["total"] == 72
    figure, table = ws.figures / "fig08_schedules.svg", ws.figures / "table5_by_count.csv"
    figure.write_text("<svg")
    with pytest.raises(Failure, match="could not be bound"):
        binding.bind(ws, facts, tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()
    for path, made_by in ((figure, "03_schedule"), (table, "06_ablation")):
        path.rename(tmp_path / path.name)
        with pytest.raises(Failure, match=f"{path.name}: no such file; notebooks/{made_by}.ipynb should make it"):
            binding.gather(ws, "")
        (tmp_path / path.name).rename(path)


def test_the_courses_own_files_run_through_the_same_commands(course_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, place in (("DATA", course_folder), ("RUNS", tmp_path / "runs"), ("BUILD", tmp_path / "build")):
        monkeypatch.setenv(f"LAB7_{name}", str(place))

    main(["doctor"])
    printed = capsys.readouterr().out
    assert "the course's own pictures" in printed and "5 pictures of 2 scenes" in printed
    assert "the course's judge (checkpoint.pth)" in printed

    settings = ["epochs=1", "sampling.num_steps=2"]
    assert main(["train", "--preset", "smoke", "--name", "mine", "--set", *settings]) == 0
    assert "test: " in capsys.readouterr().out
    result = json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())
    assert result["pictures"] == 5 and result["judge"]["is_course"]

    sample = ["--weights", "runs/mine", "--conditions", str(course_folder / "test.json"), "--out", "samples"]
    assert main(["sample", *sample]) == 0
    assert len(list((tmp_path / "samples").glob("???_0.png"))) == 32
    capsys.readouterr()
    assert main(["judge", "--images", "samples", "--conditions", str(course_folder / "test.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("32 pictures, the course's judge (checkpoint.pth)\n") and "/72 = " in printed
    assert torch.load(course_folder / "checkpoint.pth", weights_only=True).keys() == {"model"}

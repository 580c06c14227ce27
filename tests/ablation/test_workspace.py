"""The folders of a preset, and what is found or made there."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lab7.ablation.arms import ARMS, Arm
from lab7.ablation.workspace import Workspace, open_workspace
from lab7.config import get_preset
from lab7.plots.style import subplots
from lab7.utils.files import UserError, shipped_dir


def test_presets_keep_to_their_own_folders(tmp_path, monkeypatch):
    for name in ("DATA", "RUNS", "BUILD"):
        monkeypatch.setenv(f"LAB7_{name}", str(tmp_path / name))
    (tmp_path / "DATA").mkdir()
    quick, smoke, laptop = (open_workspace(name) for name in ("quick", "smoke", "laptop"))
    assert (quick.data, quick.runs) == (tmp_path / "DATA", shipped_dir() / "runs")
    assert quick.figures == tmp_path / "BUILD" / "quick" / "figures"
    assert {smoke.data, smoke.runs, smoke.figures} == {
        tmp_path / "BUILD" / "smoke" / part for part in ("data", "runs", "figures")
    }
    assert laptop.data == quick.data and laptop.figures != quick.figures
    assert laptop.runs == tmp_path / "RUNS" / "laptop"


def test_what_smoke_needs_is_made_once_and_found_again(tiny):
    smoke = open_workspace("smoke", tiny, seed=7)
    run = smoke.run("report_up")
    result = json.loads((run / "result.json").read_text())
    assert run == smoke.runs / "report_up_seed7"
    assert result["seed"] == 7 and result["settings"]["model"]["condition_at"] == "up"
    assert set(result["accuracy"]) == {"test", "new_test", "unseen"} and "second_judge" in result
    before = {path: path.stat().st_mtime_ns for path in run.parents[1].rglob("*") if path.is_file()}
    assert smoke.run("report_up") == run
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_smoke_has_the_scenes_of_its_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path))
    for scenes in (1, 2):
        place = open_workspace("smoke", [f"scenes={scenes}"])
        assert len(json.loads((place.make_pictures() / "train.json").read_text())) == 3 * scenes
    with pytest.raises(UserError, match="holds 2 scenes already, more than 1"):
        open_workspace("smoke", ["scenes=1"]).make_pictures()
    with pytest.raises(UserError, match="holds pictures of another seed"):
        open_workspace("smoke", ["scenes=2", "scene_seed=5"]).make_pictures()


def test_ones_own_pictures_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_DATA", str(tmp_path))
    (tmp_path / "train.json").write_text("{}")
    assert open_workspace("small", ["scenes=1"]).make_pictures() == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_quick_reads_what_is_recorded_and_reports_what_is_missing(monkeypatch):
    quick = open_workspace("quick")
    assert quick.run("report_up_down") == shipped_dir() / "runs" / "report_up_down"
    with pytest.raises(UserError, match="unknown arm 'nobody'"):
        quick.run("nobody")
    monkeypatch.setitem(ARMS, "mine", Arm("mine", "my own"))
    with pytest.raises(UserError, match="no recorded run; train one with 'lab7 train --preset small --name mine'"):
        quick.run("mine")
    with pytest.raises(UserError, match="unknown preset 'quik'"):
        open_workspace("quik")


def test_figures_and_tables_are_written_in_two_forms_and_reproducibly(tmp_path):
    place = Workspace(get_preset("smoke"), tmp_path, tmp_path, tmp_path / "figures")

    def draw():
        figure, axis = subplots(width=2, height=2)
        axis.plot([1, 2])
        place.save_figure(figure, "fig99_line")
        return (place.figures / "fig99_line.svg").read_bytes()

    assert draw() == draw()  # no date, no random names
    assert (place.figures / "fig99_line.png").read_bytes().startswith(b"\x89PNG")

    pictured, axis = subplots(width=2, height=2)
    axis.imshow(np.zeros((4, 4, 3)))
    place.save_figure(pictured, "fig99_pictures")
    for name, mode in (("fig99_line", "P"), ("fig99_pictures", "RGBA")):  # a palette for line drawings only
        with Image.open(place.figures / f"{name}.png") as file:
            assert file.mode == mode and file.info["dpi"] == pytest.approx((130, 130), abs=0.1)

    place.save_table(pd.DataFrame({"name": ["a|b"], "count": [3], "share": [1 / 3]}), "table99")
    assert (place.figures / "table99.csv").read_text() == "name,count,share\na|b,3,0.3333\n"
    assert (place.figures / "table99.md").read_text().splitlines()[2] == "| a\\|b | 3 | 0.3333 |"


def test_the_courses_judge_is_used_where_it_is(monkeypatch, course_folder):
    monkeypatch.setenv("LAB7_DATA", str(course_folder))
    assert open_workspace("laptop").judge().is_course

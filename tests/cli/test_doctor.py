"""`lab7 doctor`: one line a finding, and exit code 1 where the lab cannot run."""

import json
import shutil
import sys
import tomllib
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from lab7.cli import doctor
from lab7.config import PRESETS
from lab7.dataset.normalizer import Normaliser
from lab7.judge import networks as judge
from lab7.pipeline import build_model, save_weights
from lab7.utils import files
from lab7.utils.files import ROOT

REQUIRES = ["torch>=2.11", 'papermill>=2.6; extra == "lab"', 'pytest>=8.4; extra == "dev"']
VERSIONS = {"torch": "2.15.0+cu132", "papermill": "2.10.1", "lab7": "0.1.0"}


@pytest.fixture
def installed(monkeypatch):
    """The versions that are found installed, to be changed by a test; lab7 asks for REQUIRES."""
    found = dict(VERSIONS)

    def version(package):
        if package not in found:
            raise metadata.PackageNotFoundError(package)
        return found[package]

    monkeypatch.setattr(
        doctor.metadata,
        "requires",
        lambda package: version(package) and {"lab7": REQUIRES, "torchvision": ["torch==2.15.0"]}.get(package, []),
    )
    monkeypatch.setattr(doctor.metadata, "version", version)
    return found


@pytest.fixture
def lab(tmp_path, monkeypatch, course_folder, installed):
    """A lab that can run, on the course's own files and a small recorded run; the folder that it ships."""
    shipped, preset = tmp_path / "shipped", PRESETS["smoke"]
    side = preset.data.image_size
    normaliser = Normaliser(torch.zeros(3, side, side), torch.tensor(1.0))
    save_weights(shipped / "runs" / "laptop" / "weights.safetensors", build_model(preset), normaliser, preset)
    monkeypatch.setenv("LAB7_DATA", str(course_folder))
    monkeypatch.setenv("LAB7_RUNS", str(tmp_path / "runs"))
    set_free_disk(monkeypatch, 5e9)
    for module in (doctor, judge):
        monkeypatch.setattr(module, "shipped_dir", lambda: shipped)
    return shipped


def set_free_disk(monkeypatch, free):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def found(name):
    """The check of that name."""
    return next(check for check in doctor.check() if check.name == name)


def test_a_lab_that_can_run(lab, capsys):
    assert doctor.doctor() == 0
    lines = capsys.readouterr().out.splitlines()
    names = "python lab7 packages notebooks device disk data judge weights"
    assert [line.split()[1] for line in lines] == names.split()
    assert all(line.startswith("ok ") for line in lines)
    text = "\n".join(lines)
    assert "torch 2.15.0+cu132" in text and "papermill 2.10.1" in text and "absent" not in text
    assert "the course's own pictures" in text and "5 pictures of 2 scenes" in text
    assert "the course's judge (checkpoint.pth)" in text
    assert "laptop (32x32)" in text and "your own runs: none" in text


def test_json(lab, capsys):
    assert doctor.doctor(json=True) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is True
    assert {"name", "ok", "text", "remedy"} == set(result["checks"][0])
    (lab / "runs" / "laptop" / "weights.safetensors").unlink()
    assert doctor.doctor(json=True) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is False and [c["name"] for c in result["checks"] if c["ok"] is False] == ["weights"]


def test_no_pictures_yet_is_a_warning(lab, course_folder):
    (course_folder / "train.json").unlink()
    assert found("data").ok is False and "train.json: is missing, yet iclevr/ holds pictures" in found("data").text
    shutil.rmtree(course_folder / "iclevr")
    assert found("data").ok is None and "`lab7 data`" in found("data").remedy
    assert doctor.doctor() == 0


def test_broken_data_is_a_failure_that_names_the_file(lab, course_folder):
    (course_folder / "iclevr" / "CLEVR_train_000000_0.png").unlink()
    assert found("data").ok is False and "CLEVR_train_000000_0.png" in found("data").text
    assert doctor.doctor() == 1


def test_synthetic_pictures_are_named(lab, tiny_synthetic, monkeypatch):
    monkeypatch.setenv("LAB7_DATA", str(tiny_synthetic))
    assert found("data").ok is True and "synthetic pictures" in found("data").text
    assert "36 pictures of 12 scenes" in found("data").text


def test_no_judge_is_a_failure(lab, course_folder, capsys):
    (course_folder / "checkpoint.pth").unlink()
    assert found("judge").ok is False and "judge.safetensors: no such file" in found("judge").text
    assert doctor.doctor() == 1
    assert any(line.startswith("FAIL  judge") for line in capsys.readouterr().out.splitlines())


def test_a_classifier_with_nan_is_a_failure_that_names_it(lab, course_folder):
    content = torch.load(course_folder / "checkpoint.pth")
    content["model"]["bn1.running_var"].fill_(torch.nan)
    torch.save(content, course_folder / "checkpoint.pth")
    assert found("judge").ok is False and "checkpoint.pth: 'bn1.running_var' holds NaN" in found("judge").text


def test_damaged_weights_are_a_failure(lab):
    (lab / "runs" / "laptop" / "weights.safetensors").write_bytes(b"half of them")
    assert found("weights").ok is False and "git checkout" in found("weights").remedy


def test_own_runs_are_named(lab, tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "weights.safetensors").touch()
    assert found("weights").text.endswith("your own runs: mine")


def test_packages_that_are_absent_or_too_old(lab, installed):
    installed["torch"] = "2.9.1"
    assert (
        found("packages").ok is False and "torch 2.9.1 does not fit lab7, which needs >=2.11" in found("packages").text
    )
    del installed["torch"]
    assert "torch is absent" in found("packages").text and "pip install" in found("packages").remedy
    assert doctor.doctor() == 1


def test_packages_that_do_not_fit_each_other(lab, installed):
    REQUIRES.append("torchvision>=0.26")
    try:
        installed |= {"torchvision": "0.29.2", "torch": "2.14.0"}
        assert "torch 2.14.0 does not fit torchvision, which needs ==2.15.0" in found("packages").text
    finally:
        REQUIRES.pop()


def test_a_place_that_cannot_be_written(lab, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB7_RUNS", str(tmp_path / "file" / "runs"))
    assert found("disk").ok is False and "file/runs: cannot be written" in found("disk").text


def test_without_the_notebooks_packages_the_rest_runs(lab, installed):
    del installed["papermill"]
    assert found("notebooks").ok is None and "papermill is absent" in found("notebooks").text
    assert doctor.doctor() == 0


def test_not_installed(lab, installed):
    del installed["lab7"]
    assert found("lab7").ok is None and "not installed" in found("lab7").text


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_a_python_that_does_not_fit(lab, monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    assert found("python").ok is False and "3.11, 3.12 or 3.13" in found("python").remedy


@pytest.mark.parametrize(("free", "good"), [(5e9, True), (1e9, None), (1e8, False)])
def test_free_disk(lab, monkeypatch, free, good):
    set_free_disk(monkeypatch, free)
    assert found("disk").ok is good


def test_every_requirement_of_the_project_is_read():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, wanted in ({"": project["dependencies"]} | project["optional-dependencies"]).items():
        written = [f'{one}; extra == "{extra}"' if extra else one for one in wanted]
        assert [str(one).split(";")[0] for one in doctor._wanted(written, extra)] == wanted


def test_one_folder_for_everything(lab, course_folder, monkeypatch):
    for name in ("LAB7_RUNS", "LAB7_BUILD"):
        monkeypatch.setenv(name, str(course_folder))
    assert found("disk").ok is True and "`lab7 train`" in found("disk").text

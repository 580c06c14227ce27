"""Imports inside lab7 run downwards only, so that each room can be read without those above it."""

import ast
import subprocess
import sys

import pytest

import lab7
from lab7.utils.files import ROOT

BELOW = {
    "utils": "",
    "vocabulary": "utils",
    "config": "utils",
    "schedule": "utils",
    "unet": "utils",
    "efficient_unet": "utils",
    "diffusion": "vocabulary schedule",
    "samplers": "schedule diffusion",
    "dataset": "utils vocabulary config",
    "diffusion_classifier": "schedule diffusion",
    "pipeline": "utils vocabulary config dataset schedule unet efficient_unet samplers",
    "training": "utils vocabulary config dataset schedule diffusion diffusion_classifier pipeline",
    "judge": "utils vocabulary config dataset",
    "plots": "utils vocabulary dataset unet judge",
    "ablation": "utils vocabulary config dataset schedule diffusion unet pipeline training judge plots",
    "widgets": "utils vocabulary config dataset schedule diffusion samplers pipeline training judge plots",
    "exercises": "utils",
    "report": "utils config dataset pipeline ablation",
    "cli": "utils vocabulary config dataset pipeline training judge ablation report exercises",
}
"""What each room and each module at the top may import."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lab7":
            room = node.module.split(".")[1:2]
            yield from room or (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lab7."))


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below_it(room):
    package = ROOT / "lab7" / room
    files = sorted(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
    used = {name for path in files for name in imports(path)} - {room, "__version__"}
    upwards = {name for name in used if name not in BELOW[room].split()}
    assert not upwards


def test_every_room_and_module_has_its_place():
    entries = (ROOT / "lab7").iterdir()
    names = {path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names == {*BELOW, "__init__"}


def test_importing_lab7_is_light():
    code = "import sys, lab7; print([n for n in ('matplotlib', 'IPython', 'numba', 'torch') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_notebook_starts_without_what_it_does_not_need():
    code = (
        "import sys, lab7; lab7.open_workspace, lab7.show_source, lab7.check, lab7.train; "
        "print([n for n in ('numba', 'scipy', 'torchvision', 'torch._dynamo') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_public_names_are_there():
    public = [name for name in dir(lab7) if name[0] != "_"]
    assert {"load_pipeline", "NoiseSchedule", "train"} <= set(public)
    assert all(getattr(lab7, name) is not None for name in public)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lab7.nothing

"""What many tests need: a small stand-in, and a folder such as the course hands out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from browsers import open_page
from course_folder import make_folder

from lab7.utils.files import shipped_dir

# No window opens. Set here rather than in MPLBACKEND, which the notebooks' kernels would inherit.
matplotlib.use("Agg")
torch.set_num_threads(1)  # as under `make test`, where each core has a process; two waiting threads take far longer


@pytest.fixture(scope="session")
def tiny_synthetic(tmp_path_factory) -> Path:
    """Twelve scenes of the stand-in: 36 64x64 pictures with the shipped lists; to be read, not changed."""
    from lab7.dataset.synthetic import write_synthetic

    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, scenes=12, processes=1, progress=False)
    return folder


@pytest.fixture(name="course_folder")
def make_course_folder(tmp_path) -> Path:
    """The course's layout made by hand: five 320x240 pictures, the lists, and a ResNet18 file of its form."""
    from lab7.judge.networks import build_classifier

    folder = make_folder(tmp_path / "course", width=320, height=240)
    for name in ("test.json", "new_test.json"):
        (folder / name).write_bytes((shipped_dir() / name).read_bytes())
    torch.save({"model": build_classifier().state_dict()}, folder / "checkpoint.pth")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Any]:
    """A page of a real browser, for the tests of one module."""
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


LONGEST = (
    "test_smoke",
    "test_jupyterlab",
    "test_teaching",
    "04_training",
    "test_processes",
    "test_kills",
    "test_sweep",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: next((k for k, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))

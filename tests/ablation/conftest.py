"""One tiny workspace of the smoke preset, shared by the tests that train."""

import os

import pytest

from lab7.ablation.evaluate import REPORTED_LISTS
from lab7.ablation.workspace import open_workspace
from lab7.dataset import conditions
from lab7.utils.files import write_json

TINY = (
    *("scenes=4", "judge_scenes=4", "judge_epochs=1", "evaluation_scenes=2", "n_feature=8", "batch_size=4"),
    *("max_steps=4", "save_every=2", "snapshots=1", "sampling.num_steps=2", "samples=1"),
)


@pytest.fixture(scope="session")
def smoke_build(tmp_path_factory):
    """A build folder with rendered pictures, and lists of two conditions."""
    build = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB7_BUILD", str(build))
        data = open_workspace("smoke", TINY).make_pictures()
    for name in REPORTED_LISTS:
        write_json(data / f"{name}.json", [["red cube"], ["cyan sphere", "gray cube"]])
    return build


@pytest.fixture(scope="session", autouse=True)
def one_core():
    """Let the few pictures be rendered in the process itself: starting others takes longer."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def tiny(smoke_build, monkeypatch):
    """The settings of that workspace, which `open_workspace("smoke", tiny)` opens."""
    monkeypatch.setenv("LAB7_BUILD", str(smoke_build))
    triple = ["red cube", "cyan sphere", "gray cube"]
    monkeypatch.setattr(
        conditions, "unseen_triples", lambda labels: [triple]
    )  # instead of 32, which take long to score
    return TINY

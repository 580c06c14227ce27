"""A sweep over arms and seeds: planned, made several at a time, stopped and gone on with, handed to a cluster."""

import json
import os

import pytest

from lab7.ablation import sweep as ablation
from lab7.ablation.arms import ARMS
from lab7.utils.files import UserError

TINY = ("scenes=4", "judge_scenes=4", "judge_epochs=1", "evaluation_scenes=2", "max_steps=4", "save_every=2")
FAST = (*TINY, "sampling.num_steps=2", "samples=1", "batch_size=4", "snapshots=1")


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path))
    return tmp_path


def test_jobs_are_planned_seed_by_seed_and_what_draws_comes_after_what_trains(build):
    jobs = ablation.plan_jobs(["report_guidance_4", "report_up", "report_up"], [0, 2], "smoke")
    assert [job.name for job in jobs] == [
        *("report_up_down", "report_up", "report_guidance_4"),
        *("report_up_down_seed2", "report_up_seed2", "report_guidance_4_seed2"),
    ]
    assert jobs[0].folder == build / "smoke" / "runs" / "report_up_down" and not jobs[0].done()
    for wrong, told in (
        ({"arms": ["up"]}, "unknown arm 'up'"),
        ({"preset": "quick"}, "only reads recorded runs"),
        ({"settings": ["epoch=3"]}, "unknown setting 'epoch'"),
    ):
        with pytest.raises(UserError, match=told):
            ablation.plan_jobs(**{"arms": ["report_up"], "seeds": [0], "preset": "smoke"} | wrong)


def test_seeds_are_read_as_ranges_and_lists():
    assert ablation.parse_seeds("0-3") == [0, 1, 2, 3] and ablation.parse_seeds("0, 2,5-6") == [0, 2, 5, 6]
    for text in ("", "a", "3-1", "1.5", "-1"):
        with pytest.raises(UserError, match="--seeds must be whole numbers"):
            ablation.parse_seeds(text)


def test_as_many_at_once_as_the_machine_bears(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(ablation, "_memory_gb", lambda: 64.0)
    assert [ablation.at_once(0, 30), ablation.at_once(0, 3), ablation.at_once(6, 30), ablation.at_once(6, 2)] == [
        4,
        3,
        6,
        2,
    ]
    monkeypatch.setattr(ablation, "_memory_gb", lambda: 5.0)
    assert ablation.at_once(0, 30) == 2
    monkeypatch.setattr(ablation, "_memory_gb", lambda: 0.5)
    assert ablation.at_once(0, 30) == 1


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep in processes, one of its runs made before and one that cannot be: its jobs, and what went wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB7_BUILD", str(tmp_path_factory.mktemp("build")))
        jobs = ablation.plan_jobs(
            ["report_up_down", "report_none", "report_clamp_x_0", "report_up"], [0], "smoke", FAST
        )
        assert ablation.run_one(jobs[0]) == "" and jobs[0].done()
        (jobs[2].folder).mkdir(parents=True)
        (jobs[2].folder / "config.json").write_text("{")
        before = (jobs[0].folder / "result.json").stat().st_mtime_ns
        wrong = ablation.run_jobs(jobs, 2, progress=False)
        assert (jobs[0].folder / "result.json").stat().st_mtime_ns == before
        yield jobs, wrong


def test_a_sweep_is_made_in_processes_and_no_run_twice(sweep):
    jobs, _ = sweep
    assert [job.name for job in jobs] == ["report_up_down", "report_none", "report_up", "report_clamp_x_0"]
    assert [job.done() for job in jobs] == [True, True, False, True]
    drawn = json.loads((jobs[3].folder / "result.json").read_text())
    assert drawn["weights_from"] == "report_up_down" and drawn["sampling"]["clamp"] == "x_0"
    assert not (jobs[3].folder / "weights.safetensors").exists()
    assert ablation.run_jobs([jobs[0], jobs[1], jobs[3]], 2, progress=False) == []
    rows = ablation.table(jobs)
    assert {row["arm"] for row in rows} == {"report_up_down", "report_none", "report_clamp_x_0"}
    assert all(row["seeds"] == 1 for row in rows)


def test_a_run_that_fails_is_told_and_stops_no_other(sweep):
    jobs, wrong = sweep
    assert len(wrong) == 1 and wrong[0].startswith("report_up: ")
    (jobs[2].folder / "config.json").unlink()
    assert ablation.run_one(jobs[2]) == "" and jobs[2].done()


def test_submitit_makes_the_same_runs(sweep, tmp_path):
    (job,) = ablation.plan_jobs(["report_down"], [0], "smoke", FAST)
    (task,) = ablation.submit([job], "local", tmp_path, {"timeout_min": 10})
    assert task.result() == "" and job.done()
    assert ablation.submit([job], "local", tmp_path, {}) == []
    with pytest.raises(UserError, match="--submit slurm: "):
        ablation.submit(ablation.plan_jobs(["report_down"], [1], "smoke", FAST), "slurm", tmp_path, {})


def test_every_arm_can_be_planned_in_every_preset(build):
    for preset in ("smoke", "small", "laptop", "course", "best"):
        assert len(ablation.plan_jobs(list(ARMS), [0], preset)) == len(ARMS)

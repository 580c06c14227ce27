"""A sweep over arms and seeds: planned, made several at a time, stopped and continued, handed to a cluster."""

import json

import pytest

from lab7.ablation import sweep
from lab7.ablation.arms import ARMS, arm_preset, get_arm
from lab7.config import to_dict
from lab7.utils.files import UserError, write_json, write_text


def test_jobs_are_planned_seed_by_seed_and_an_arm_that_only_draws_comes_after_its_network(tiny, smoke_build):
    jobs = sweep.plan_jobs(["report_guidance_2", "report_up", "report_up"], [0, 2], "smoke")
    assert [job.folder.name for job in jobs] == [
        *("report_up_down", "report_up", "report_guidance_2"),
        *("report_up_down_seed2", "report_up_seed2", "report_guidance_2_seed2"),
    ]
    assert jobs[0].folder == smoke_build / "smoke" / "runs" / "report_up_down" and not jobs[3].done()
    for wrong, message in (
        ({"arms": ["up"]}, "unknown arm 'up'"),
        ({"preset": "quick"}, "only reads recorded runs"),
        ({"settings": ["epoch=3"]}, "unknown setting 'epoch'"),
        ({"seeds": [1, 2], "settings": ["seed=0"]}, "--set cannot change the seed of every run; say --seeds instead"),
        ({"settings": ["widths=8,8"]}, "are settings of network=efficient"),
    ):
        with pytest.raises(UserError, match=message):
            sweep.plan_jobs(**{"arms": ["report_up"], "seeds": [0], "preset": "smoke"} | wrong)


def test_seeds_are_read_as_ranges_and_lists():
    assert sweep.parse_seeds("0-3") == [0, 1, 2, 3] and sweep.parse_seeds("0, 2,5-6") == [0, 2, 5, 6]
    for text in ("", "a", "3-1", "1.5", "-1"):
        with pytest.raises(UserError, match="--seeds must be whole numbers"):
            sweep.parse_seeds(text)


def test_a_sweep_continues_in_processes_and_a_run_that_fails_stops_no_other(tiny):
    jobs = sweep.plan_jobs(["report_up_down", "report_clamp_x_0", "report_up"], [0], "smoke", tiny)
    assert [job.folder.name for job in jobs] == ["report_up_down", "report_up", "report_clamp_x_0"]
    assert jobs[0]() == jobs[0].folder and jobs[0].done()
    jobs[1].folder.mkdir(parents=True)
    (jobs[1].folder / "config.json").write_text("{")
    before = (jobs[0].folder / "result.json").stat().st_mtime_ns
    errors = sweep.run_jobs(jobs, 2, progress=False)
    assert len(errors) == 1 and errors[0].startswith("report_up: ")
    assert (jobs[0].folder / "result.json").stat().st_mtime_ns == before
    assert [job.done() for job in jobs] == [True, False, True]
    result = json.loads((jobs[2].folder / "result.json").read_text())
    assert result["weights_from"] == "report_up_down" and result["sampling"]["clamp"] == "x_0"
    assert not (jobs[2].folder / "weights.safetensors").exists()
    assert sweep.run_jobs([jobs[0], jobs[2]], 2, progress=False) == []
    assert [(row["arm"], row["seeds"]) for row in sweep.table(jobs[:1])] == [("report_up_down", 1)] * 4
    with pytest.raises(UserError, match="other conditions"):  # the processes know nothing of the short list
        sweep.table(jobs)

    (drawn,) = sweep.plan_jobs(["report_clamp_output"], [0], "smoke", tiny)[1:]
    (task,) = sweep.submit([drawn], "local")
    assert task.result() == drawn.folder and drawn.done() and sweep.submit([drawn], "local") == []
    with pytest.raises(UserError, match="--submit slurm: "):
        sweep.submit(jobs, "slurm")


def finished(job):
    """Write the result of a job that trained and was scored."""
    preset = arm_preset(get_arm(job.arm), job.workspace.preset, job.workspace.settings)
    result = {"settings": to_dict(preset), "seed": preset.train.seed, "accuracy": {}, "judge": {"sha256": ""}}
    write_json(job.folder / "result.json", result)


@pytest.mark.parametrize("arm", ["report_up", "report_clamp_output", "report_up_down"])
def test_results_of_other_settings_are_refused_before_anything_is_trained(tmp_path, monkeypatch, arm):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path))
    jobs = sweep.plan_jobs([arm], [0], "smoke", ["epochs=1"])
    finished(jobs[-1])
    assert jobs[-1].done()
    changed = sweep.plan_jobs(["report_up", arm], [0], "smoke", ["epochs=7", "n_feature=16"])
    message = f"{arm}: was made with model.n_feature=8, not 16; delete it, or choose another LAB7_BUILD"
    for call in (lambda: sweep.run_jobs(changed), lambda: sweep.submit(changed, "local"), changed[-1]):
        with pytest.raises(UserError, match=message):
            call()
    assert [path.name for path in (tmp_path / "smoke" / "runs").iterdir()] == [arm]


def test_a_run_copied_to_another_seed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path))
    (job,), (copy,) = (sweep.plan_jobs(["report_up"], [seed], "smoke") for seed in (0, 7))
    finished(job)
    job.folder.rename(copy.folder)
    with pytest.raises(UserError, match="report_up_seed7: was made with train.seed=0, not 7"):
        sweep.run_jobs([copy])
    with pytest.raises(UserError, match="report_up_seed7: holds a run of seed 0"):
        sweep.table([job])


@pytest.mark.parametrize("line", ["{}", '{"step": "x"}'])
def test_a_curve_without_steps_is_refused_by_the_name_of_its_file(tiny, line):
    (job,) = sweep.plan_jobs(["report_down"], [3], "smoke", tiny)
    write_text(job.folder / "metrics.jsonl", line + "\n")
    with pytest.raises(UserError, match="report_down_seed3/metrics.jsonl: is damaged"):
        sweep.run_jobs([job], 1, progress=False)


def test_every_arm_can_be_planned_in_every_preset(tiny):
    for preset in ("smoke", "small", "laptop", "course", "best"):
        assert len(sweep.plan_jobs(list(ARMS), [0], preset)) == len(ARMS)

"""Results of many runs: found, collected in one file, and compared with the baseline."""

import math

import pytest

from benchmarks.record import write_record
from lab7.ablation import results
from lab7.ablation.arms import BASELINE, run_name
from lab7.utils.files import UserError, write_json, write_text


def result(seed, share, lists=("test",)):
    """A run whose pictures show `share` of 10 conditions' 3 objects, 4 samples each; the second judge agrees."""
    hits = [[3] * 4] * int(10 * share) + [[0] * 4] * (10 - int(10 * share))
    scores = {"by_picture": {"hits": hits, "asked": [3] * 10}}
    accuracy = {name: scores | {"second_judge": scores} for name in lists}
    scale = {"settings": {"data": {"image_size": 32}}, "images_seen": 960, "seconds": 90.0, "error_types": [1]}
    return {"name": f"run{seed}", "seed": seed, "accuracy": accuracy, "judge": {"sha256": "a"}} | scale


def test_one_s_own_run_comes_before_the_recorded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_RUNS", str(tmp_path))
    with pytest.raises(UserError, match="nowhere: no such run"):
        results.find_run("nowhere")
    write_json(tmp_path / "report_up" / "result.json", {})
    assert results.find_run("report_up") == results.find_run(str(tmp_path / "report_up")) == tmp_path / "report_up"
    assert results.read_result(tmp_path / "report_up") == {}


def test_a_run_that_is_not_finished_says_how_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_RUNS", str(tmp_path))
    write_json(tmp_path / "live" / "config.json", {})
    with pytest.raises(UserError, match="live: is not finished; go on with 'lab7 train --name live --resume'"):
        results.find_run("live")


@pytest.mark.parametrize(
    "scores",
    [
        {"accuracy": {}},
        {"accuracy": 5, "judge": {}},
        {"accuracy": 5, "judge": {"sha256": "a"}},
        {"accuracy": ["test"], "judge": {"sha256": "a"}},
        {"accuracy": {"test": {"by_picture": {"hits": 3, "asked": [1]}}}, "judge": {"sha256": "a"}},
    ],
)
def test_scores_that_are_none_are_refused_by_the_name_of_their_file(tmp_path, scores):
    write_json(tmp_path / "report_up" / "result.json", {"seed": 0} | scores)
    for call in (
        lambda: results.read_result(tmp_path / "report_up"),
        lambda: results.read_arms(tmp_path, ["report_up"]),
    ):
        with pytest.raises(UserError, match="report_up/result.json: holds no scores of a judge; score the run again"):
            call()


@pytest.mark.parametrize("same", [{"seed": 0}, {"weights_sha256": "b"}, {}])
def test_a_training_counts_once_in_a_comparison(same):
    one = result(0, 0.8)
    copy = one if not same else result(1, 0.1) | same
    with pytest.raises(UserError, match="are of one seed; join different seeds"):
        results.compare_arms([result(2, 0.8)], [one | {"weights_sha256": "b"}, copy | same] if same else [one, copy])
    assert results.compare_arms([one], [one])[0]["difference"] == 0


def test_runs_scored_on_other_conditions_of_the_same_sizes_are_not_compared():
    def scored(digest):
        run = result(0, 0.5)
        run["accuracy"]["test"] |= {"conditions_sha256": digest} if digest else {}
        return run

    message = "scored on other conditions than the first; score it again"
    with pytest.raises(UserError, match=message):
        results.compare_arms([scored("a")], [scored("b")])
    with pytest.raises(UserError, match=message):
        results.arm_rows({BASELINE: [scored("a")], "report_up": [scored("b")]})
    for other in ("a", ""):  # recorded results have no digest
        assert results.compare_arms([scored("a")], [scored(other)])[0]["difference"] == 0


def test_arms_are_compared_with_the_baseline_of_the_same_seeds():
    arms = {
        BASELINE: [result(seed, 0.8) for seed in (0, 1, 2)],
        "report_none": [*(result(seed, 0.1) for seed in (0, 1, 2)), result(3, 0.9)],
        "report_down": [result(0, 0.1), result(1, 0.1)],
        "report_up": [result(5, 0.5, ("test", "unseen"))],
    }
    rows = results.arm_rows(arms)
    base, none, down, up = (next(row for row in rows if row["arm"] == name) for name in arms)
    assert base["accuracy"] == pytest.approx(0.8) and base["low"] < 0.8 < base["high"]
    assert math.isnan(base["difference"]) and base["verdict"] == "the baseline" and base["seeds"] == 3
    assert none["difference"] == pytest.approx(-0.7) and none["diff_high"] < 0  # seed 3 has no baseline
    assert none["verdict"] == "hurts" and none["seeds"] == 4
    assert down["verdict"] == "two trainings" and down["diff_high"] < 0
    assert up["verdict"] == "no baseline of the same seed" and up["claim"]
    assert [row["list"] for row in rows if row["arm"] == "report_up"] == ["test", "unseen", "all"]


def test_all_lists_are_pooled_by_their_objects():
    runs = [result(0, 0.5, ("test", "unseen"))]
    runs[0]["accuracy"]["unseen"] = {"by_picture": {"hits": [[0] * 4] * 30, "asked": [3] * 30}}
    *_, pooled = results.arm_rows({"ours_up_down": runs})
    assert pooled["list"] == "all" and pooled["accuracy"] == pytest.approx(0.5 / 4)
    assert pooled["by_seed"] == [pytest.approx(0.5 / 4)]


def test_an_arm_is_compared_with_the_baseline_of_its_kind():
    arms = {"ours_up_down": [result(0, 0.8)], "ours_cosine": [result(0, 0.4)], "ours_plain": [result(0, 0.4)]}
    rows = results.arm_rows(arms)
    pooled = {row["arm"]: row for row in rows if row["list"] == "all"}
    assert results.arm_rows({"laptop": [result(0, 0.8)]})[0]["verdict"] == "not compared"
    assert pooled["ours_cosine"]["difference"] == pytest.approx(-0.4) and pooled["ours_plain"]["difference"] == 0
    table = results.arm_table(rows, arms).set_index("arm")
    assert list(table.baseline) == ["ours_up_down", "ours_up_down", "ours_cosine"] and set(table.pixels) == {32}
    assert table.loc["ours_cosine", "test"] == table.loc["ours_cosine", "all"] == pytest.approx(0.4)
    assert math.isnan(table.loc["ours_cosine", "unseen"]) and table.loc["ours_cosine", "minutes"] == 2
    assert table.loc["ours_cosine", "verdict"] == "one training"


def test_many_runs_are_kept_in_one_file_and_found_there(tmp_path):
    for arm, seed in (("report_up", 0), ("report_up", 3), ("report_down", 0)):
        write_json(tmp_path / "runs" / run_name(arm, seed) / "result.json", result(seed, 0.5))
    sensitivity = {"by_picture": [0.01, 0.02]}
    write_json(tmp_path / "runs" / "report_up" / "result.json", result(0, 0.5) | {"condition_sensitivity": sensitivity})
    metrics = '{"step": 50, "loss": 0.5}\n{"step": 60, "loss": 0.25}\n{"step": 60, "accuracy": {}}\n'
    write_text(tmp_path / "runs" / "report_up" / "metrics.jsonl", metrics)
    write_json(tmp_path / "runs" / "report_none" / "result.json", {"seed": 0})  # never scored
    record = tmp_path / "shipped" / results.RECORD
    assert write_record(record, tmp_path / "runs", ["report_down", "report_none"]) == (1, 1)
    assert write_record(record, tmp_path / "runs", ["report_up"]) == (2, 3)
    assert [(run["arm"], run["seed"]) for run in results.read_record(record)] == [
        *(("report_up", 0), ("report_up", 3), ("report_down", 0))
    ]
    assert len(record.read_text().splitlines()) == 5  # a line a run
    up = results.read_record(record)[0]
    assert up["loss"] == 0.25 and up["images_seen"] == 960 and "error_types" not in up
    assert up["condition_sensitivity"] == sensitivity
    recorded = results.read_arms(record.parent, ["report_up", "report_none", "report_down"])
    assert list(recorded) == ["report_up", "report_down"]
    original = results.read_arms(tmp_path / "runs", ["report_up", "report_none", "report_down"])
    assert str(results.arm_rows(recorded)) == str(results.arm_rows(original))
    write_json(record.parent / "report_up" / "result.json", result(0, 0.9))  # a folder comes before the record
    assert results.read_arms(record.parent, ["report_up"])["report_up"][0] == result(0, 0.9)
    with pytest.raises(UserError, match="no scored run of report_none; 'lab7 ablate"):
        write_record(record, tmp_path / "runs", ["report_none"])
    assert len(results.read_record(record)) == 3

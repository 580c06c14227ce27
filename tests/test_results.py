"""Results of many runs: found, read, and laid beside the baseline."""

import math

import pytest

from lab7 import results
from lab7.arms import BASELINE
from lab7.files import UserError, write_json

JUDGES = ("judge", "second_judge")


def result(seed, share, lists=("test",)):
    """A run whose pictures find `share` of 10 conditions' 3 objects, 4 samples each; the second judge the same."""
    found = {
        "by_picture": {"hits": [[3] * 4] * int(10 * share) + [[0] * 4] * (10 - int(10 * share)), "asked": [3] * 10}
    }
    told = {name: found | {"second_judge": found} for name in lists}
    return {"name": f"run{seed}", "seed": seed, "accuracy": told, "judge": {"sha256": "a"}}


def test_one_s_own_run_comes_before_the_recorded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_RUNS", str(tmp_path))
    assert results.find_run("nowhere") is None
    write_json(tmp_path / "report_up" / "result.json", {})
    assert results.find_run("report_up") == tmp_path / "report_up"
    assert results.read_arm(["report_up"]) == [{}]
    with pytest.raises(UserError, match="nowhere: no such run"):
        results.read_arm(["nowhere"])


def test_arms_are_laid_beside_the_baseline_of_the_same_seeds():
    arms = {
        BASELINE: [result(0, 0.8), result(1, 0.8)],
        "report_none": [result(0, 0.1), result(1, 0.1), result(2, 0.9)],
        "report_up": [result(5, 0.5, ("test", "unseen"))],
    }
    base, none, up = (next(row for row in results.arm_rows(arms) if row["arm"] == name) for name in arms)
    assert base["accuracy"] == pytest.approx(0.8) and base["low"] < 0.8 < base["high"]
    assert math.isnan(base["difference"]) and base["reported"] == 0.6528 and base["seeds"] == 2
    assert none["difference"] == pytest.approx(-0.7) and none["diff_high"] < 0  # seed 2 has no baseline
    assert none["verdict"] == "hurts" and none["seeds"] == 3 and math.isnan(none["reported"])
    assert up["verdict"] == "no baseline of the same seed" and up["claim"]
    assert [row["list"] for row in results.arm_rows(arms) if row["arm"] == "report_up"] == ["test", "unseen"]
    assert base["second"] == pytest.approx(0.8)

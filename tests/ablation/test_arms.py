"""The arms: what each changes, and where the runs of its seeds lie."""

import pytest

from lab7.ablation.arms import ARMS, BASELINE, arm_preset, find_arms, get_arm, run_name
from lab7.ablation.evaluate import REPORTED_LISTS
from lab7.ablation.results import scored_runs
from lab7.config import field_names, get_preset, override, to_dict
from lab7.utils.files import UserError, write_json


def test_an_arm_differs_from_its_preset_by_its_settings_alone():
    for name, arm in ARMS.items():
        assert arm.name == name and set(arm.reported) in (set(), set(REPORTED_LISTS))
        preset = arm_preset(arm, override(get_preset("laptop"), ["train.seed=3"]))
        base = override(get_preset(arm.base), [*arm.cpu_settings, "train.seed=3"])
        changed = {setting.split("=")[0] for setting in arm.settings}
        for path in field_names():
            section, field = path.split(".")
            same = to_dict(preset)[section][field] == to_dict(base)[section][field]
            assert same or field in changed or path in changed
        smoke = arm_preset(arm, get_preset("smoke"), ["epochs=1"])
        assert smoke.data.scenes == 60 and smoke.train.epochs == 1


def test_no_two_arms_are_the_same():
    presets = [str(arm_preset(arm, get_preset("laptop"))) for arm in ARMS.values()]
    assert len(set(presets)) == len(presets)
    assert arm_preset(ARMS["laptop"], get_preset("laptop")) == get_preset("laptop")


def test_arms_without_a_training_change_only_the_sampling():
    for arm in ARMS.values():
        if arm.weights_from:
            mine, trained = (to_dict(arm_preset(one, get_preset("laptop"))) for one in (arm, get_arm(arm.weights_from)))
            assert mine.pop("sampling") != trained.pop("sampling") and mine == trained


def test_an_unknown_arm_gets_the_nearest_name():
    with pytest.raises(UserError, match="unknown arm 'report_upp'; did you mean 'report_up'"):
        get_arm("report_upp")
    with pytest.raises(UserError, match=r"unknown arm 'our_\*'"):
        find_arms(["our_*"])


def test_arms_are_named_by_patterns():
    assert find_arms(["all"]) == list(ARMS) and find_arms([]) == []
    ours = [name for name in ARMS if name.startswith("ours_")]
    assert find_arms(["ours_up", "ours_*"]) == ["ours_up", *(name for name in ours if name != "ours_up")]


def test_runs_of_an_arm_are_found_by_seed(tmp_path):
    for name in ("report_up", "report_up_seed2", "report_up_seed10", "report_up_down", "report_up_seedling"):
        seed = int("".join(filter(str.isdecimal, name)) or 0)
        write_json(tmp_path / name / "result.json", {"seed": seed, "accuracy": {}, "judge": {"sha256": ""}})
    (tmp_path / "report_up_seed3").mkdir()  # was begun
    assert [run_name("report_up", seed) for seed in (0, 2)] == ["report_up", "report_up_seed2"]
    write_json(tmp_path / "report_up_seed4" / "result.json", {})  # is not scored yet
    assert list(scored_runs("report_up", tmp_path)) == [0, 2, 10]
    assert scored_runs(BASELINE, tmp_path) == {
        0: (tmp_path / "report_up_down", {"seed": 0, "accuracy": {}, "judge": {"sha256": ""}})
    }
    (tmp_path / "report_up_seed10").rename(tmp_path / "report_up_seed5")
    with pytest.raises(UserError, match="report_up_seed5: holds a run of seed 10; delete it, or rename it"):
        scored_runs("report_up", tmp_path)

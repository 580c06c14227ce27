"""The judge's evaluation on small sets and hand-made outputs, where the right answers are known."""

import json

import numpy as np
import pytest
import torch

from lab7.judge import evaluation
from lab7.judge.evaluation import calibration, confusion, evaluate_judge
from lab7.judge.networks import Judge, SmallClassifier
from lab7.utils.files import UserError


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(SmallClassifier().eval(), "fresh", "0" * 64, False)


def test_a_whole_evaluation_is_plain_and_repeats(judge):
    first = evaluate_judge(judge, scenes=3, processes=1)
    assert json.loads(json.dumps(first)) == evaluate_judge(judge, scenes=3, processes=1)
    assert first["pictures"] == 9
    for how in ("clean", "through_32x32", "shifted"):
        assert first[how]["top_k"]["total"] == 18 and first[how]["exact"]["total"] == 9
    assert sum(row["count"] for row in first["calibration"]) == 9 * 24
    assert np.array(first["confusion"]).sum() == pytest.approx(18)


def test_calibration_of_a_calibrated_judge():
    rng = np.random.default_rng(0)
    said = torch.from_numpy(rng.random((4000, 24)))
    true = (torch.from_numpy(rng.random((4000, 24))) < said).float()
    for row in calibration(said, true):
        assert row["true"] == pytest.approx(row["said"], abs=0.03) and row["low"] < row["said"] < row["high"] + 0.01


def test_confusion_counts_what_stands_in_place_of_what():
    labels, outputs = torch.zeros(2, 24), torch.zeros(2, 24)
    labels[0, [1, 5]] = labels[1, 2] = 1
    outputs[0, [1, 7]] = outputs[1, 2] = 1
    matrix = confusion(outputs, labels)
    assert matrix[1, 1] == 1 and matrix[5, 7] == 1 and matrix[2, 2] == 1 and matrix.sum() == 3


def test_an_evaluation_is_found_by_the_judges_hash(judge, tmp_path):
    assert evaluation.recorded(judge, tmp_path) is None
    (tmp_path / "weights").mkdir()
    record = {"clean": {"top_k": {"accuracy": 0.5}}}
    (tmp_path / "weights" / "own.json").write_text(json.dumps({"sha256": judge.sha256, "evaluation": record}))
    assert evaluation.recorded(judge, tmp_path) == record


@pytest.mark.parametrize(
    "bad", [5, "good", [1], {"clean": 5}, {"clean": {"top_k": {}}}, {"clean": {"top_k": {"accuracy": None}}}]
)
def test_a_record_without_a_plain_evaluation(judge, tmp_path, bad):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "own.json").write_text(json.dumps({"sha256": judge.sha256, "evaluation": bad}))
    with pytest.raises(UserError, match="own.json: holds no evaluation of a judge"):
        evaluation.recorded(judge, tmp_path)

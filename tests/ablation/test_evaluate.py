"""Scoring: counts are right, come from pictures as a file holds them, and stand in result.json."""

import json

import pytest
import torch

from lab7.ablation import evaluate
from lab7.config import get_preset, override
from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.drawn import write_drawn
from lab7.dataset.images import save_png
from lab7.dataset.normalizer import Normaliser
from lab7.judge.metrics import wilson
from lab7.judge.networks import Judge
from lab7.pipeline import build_model, save_weights
from lab7.utils.files import UserError, read_json, write_json
from lab7.vocabulary import CLASSES

CONDITIONS = [["red cube"], ["cyan sphere", "blue cylinder"], ["gray cube", "gray sphere", "red cube"]]


class ColourReader(torch.nn.Module):
    """Finds class k where the first pixel's red channel is k * 10: a judge whose answers are known."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.AvgPool2d(64)  # its features are the means of red, green and blue
        self.fc = torch.nn.Sequential(torch.nn.Linear(3, 24), torch.nn.Sigmoid())

    def forward(self, x):
        level = ((x[:, 0, 0, 0] + 1) * 127.5).round()
        return torch.exp(-(level[:, None] - 10 * torch.arange(24)).abs() / 10)


class FakePipeline:
    """Stands for a Pipeline: gives prepared pictures, `samples` of each condition."""

    def __init__(self, classes):
        self.classes = classes

    def __call__(self, conditions, *, samples, progress, **_options):
        assert len(self.classes) == len(conditions) * samples
        return torch.stack([painted(CLASSES.index(name)) for name in self.classes])


def painted(index: int) -> torch.Tensor:
    return torch.full((3, 64, 64), index * 10 / 127.5 - 1)


@pytest.fixture
def judge() -> Judge:
    return Judge(ColourReader(), "a reader of colours", "0" * 64, False)


def test_hits_are_counted_by_hand(judge):
    pipeline = FakePipeline(["red cube", "blue cube", "cyan sphere", "cyan sphere", "red cube", "gray sphere"])
    scores = evaluate.score(pipeline, judge, CONDITIONS, samples=2)
    outputs = judge.probabilities(evaluate.as_stored(pipeline(CONDITIONS, samples=2, progress=False)))
    labels = conditions_tensor(CONDITIONS).repeat_interleave(2, dim=0)
    hits = sum(int(label[outputs[row].topk(int(label.sum())).indices].sum()) for row, label in enumerate(labels))
    assert (scores["top_k"]["hits"], scores["top_k"]["total"]) == (hits, 12) and scores["samples"] == 2
    assert scores["exact"]["total"] == 6
    digests = [
        evaluate.score(pipeline, judge, entries, samples=2)["conditions_sha256"]
        for entries in (CONDITIONS, [names[::-1] for names in CONDITIONS], [["blue cube"], *CONDITIONS[1:]])
    ]
    assert digests[0] == digests[1] != digests[2] and len(digests[0]) == 12
    low, high = wilson(hits, 12)
    assert scores["top_k"]["low"] == pytest.approx(low) and scores["top_k"]["high"] == pytest.approx(high)
    per_object = evaluate.found_objects(judge, torch.stack([painted(CLASSES.index("red cube"))]), CONDITIONS[:1])
    assert per_object == [[True]]
    assert evaluate.found_objects(judge, torch.stack([painted(CLASSES.index("cyan sphere"))]), CONDITIONS[:1]) == [
        [False]
    ]


def test_pictures_are_scored_as_a_file_holds_them():
    x = torch.tensor([-1.5, 0.001, 2.0]).view(1, 3, 1, 1)
    assert evaluate.as_stored(x).flatten().tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-6)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of an untrained network in a data folder with one condition a list."""
    monkeypatch.setenv("LAB7_DATA", str(tmp_path / "data"))
    for name in ("test", "new_test"):
        write_json(tmp_path / "data" / f"{name}.json", [["red cube"], ["cyan sphere", "blue cylinder"]])
    preset, folder = override(get_preset("smoke"), ["sampling.num_steps=2"]), tmp_path / "mine"
    normaliser = Normaliser(torch.zeros(3, 32, 32), torch.tensor(1.0))
    save_weights(folder / "weights.safetensors", build_model(preset), normaliser, preset)
    write_json(folder / "result.json", {"name": "mine", "seed": 0, "device": "x"})
    return folder


def test_a_run_is_scored_by_its_own_settings_and_others_are_written_down(judge, run):
    lists = ("test", "new_test")
    scores = evaluate.score_run(run, judge, settings=["samples=2", "guidance_scale=3"], lists=lists)
    result = read_json(run / "result.json", "a result")
    assert result["accuracy"] == json.loads(json.dumps(scores["accuracy"])) and result["device"] == "x"
    assert result["sampling"]["samples"] == 2 and result["sampling"]["num_steps"] == 2
    assert result["sampling"]["guidance_scale"] == 3 and result["scored"]["device"]
    assert result["accuracy"]["test"]["top_k"]["total"] == 2 * 3
    with pytest.raises(UserError, match="mine: was trained with train.epochs=3, not 4; only settings of sampling"):
        evaluate.score_run(run, judge, settings=["samples=1", "epochs=4"], lists=lists)
    assert read_json(run / "result.json", "a result") == result


def test_pictures_in_a_folder_are_counted(judge, tmp_path):
    for name, thing in (("000_0", "red cube"), ("000_1", "blue cube"), ("001", "cyan sphere"), ("002", "red cube")):
        save_png(painted(CLASSES.index(thing)), tmp_path / f"{name}.png")
    (tmp_path / "grid.png").write_bytes(b"not read")
    (tmp_path / ".#000_0.png").symlink_to("nowhere")
    (tmp_path / "test_3.jpg").write_bytes(b"not read")
    found = evaluate.count_pictures(judge, tmp_path, CONDITIONS)
    assert found["pictures"] == 4 and found["top_k"]["total"] == 1 + 1 + 2 + 3 and found["left_out"] == ["test_3.jpg"]
    with pytest.raises(UserError, match="has a picture 002, but only 2 conditions"):
        evaluate.count_pictures(judge, tmp_path, CONDITIONS[:2])
    with pytest.raises(UserError, match=r"1 of 4 conditions have no picture, 003\.png first"):
        evaluate.count_pictures(judge, tmp_path, [*CONDITIONS, ["red cube"]])
    with pytest.raises(UserError, match="no such folder"):
        evaluate.count_pictures(judge, tmp_path / "none", CONDITIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures named"):
        evaluate.count_pictures(judge, tmp_path / "empty", CONDITIONS)


def test_pictures_of_an_earlier_drawing_are_left_out(judge, tmp_path):
    write_drawn(tmp_path, torch.zeros(2, 2, 3, 64, 64), [["red cube"]] * 2, samples=2)
    write_drawn(tmp_path, [torch.ones(2, 3, 64, 64)], [["red cube"]] * 2, samples=1)
    found = evaluate.count_pictures(judge, tmp_path, [["red cube"]] * 2)
    assert found["pictures"] == found["top_k"]["total"] == 2 and found["left_out"] == ["000_1.png", "001_1.png"]
    save_png(torch.zeros(3, 64, 64), tmp_path / "001_0.png")
    with pytest.raises(
        UserError, match=r"001_0\.png: is not the picture that 'lab7 sample' drew; draw anew, or delete"
    ):
        evaluate.count_pictures(judge, tmp_path, [["red cube"]] * 2)
    with pytest.raises(UserError, match="was drawn from other conditions, or in another order; give .*conditions.json"):
        write_drawn(tmp_path, [torch.zeros(2, 3, 64, 64)], [["red cube"], ["blue cube"]], samples=1)
        evaluate.count_pictures(judge, tmp_path, [["blue cube"], ["red cube"]])
    (tmp_path / "pictures.json").unlink()
    assert evaluate.count_pictures(judge, tmp_path, [["red cube"]] * 2)["pictures"] == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png", "2.png"], "has a picture 002, but only 2 conditions are given; yours begin with 001, so count from"),
        (
            ["label_0.png", "label_1.png"],
            "holds no pictures named 000.png or 000_0.png.*, but label_0.png and 1 others",
        ),
        (["0.png", "000_0.png", "1.png"], "0.png and 000_0.png are the same sample"),
        (["0.png", "000.png", "1.png"], "0.png and 000.png are the same sample"),
    ],
)
def test_pictures_named_otherwise(judge, tmp_path, names, message):
    for name in names:
        save_png(torch.zeros(3, 8, 8), tmp_path / name)
    with pytest.raises(UserError, match=message):
        evaluate.count_pictures(judge, tmp_path, [["red cube"]] * 2)
    with pytest.raises(UserError, match=f"{names[0]}: is a file; give a folder of pictures named 000.png"):
        evaluate.count_pictures(judge, tmp_path / names[0], [["red cube"]] * 2)

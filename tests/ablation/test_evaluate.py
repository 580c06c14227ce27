"""Scoring: counts are right, come from pictures as a file holds them, and stand in result.json."""

import json

import pytest
import torch

from lab7.ablation import evaluate as experiments
from lab7.ablation import results
from lab7.config import get_preset, override, to_dict
from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.images import save_png
from lab7.dataset.normalizer import Normaliser
from lab7.judge.metrics import wilson
from lab7.judge.networks import Judge
from lab7.pipeline import build_model, load_pipeline, save_weights
from lab7.utils.files import UserError, sha256, write_json
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


class Drawn:
    """Stands for a Pipeline: gives prepared pictures, `samples` of each condition."""

    def __init__(self, classes):
        self.classes = classes

    def draw(self, conditions, *, samples, progress, **_options):
        assert len(self.classes) == len(conditions) * samples
        return torch.stack([painted(CLASSES.index(name)) for name in self.classes])


def painted(index: int) -> torch.Tensor:
    return torch.full((3, 64, 64), index * 10 / 127.5 - 1)


@pytest.fixture
def judge() -> Judge:
    return Judge(ColourReader(), "a reader of colours", "0" * 64, False)


def test_hits_are_counted_by_hand(judge):
    drawn = Drawn(["red cube", "blue cube", "cyan sphere", "cyan sphere", "red cube", "gray sphere"])
    found = experiments.score(drawn, judge, CONDITIONS, samples=2)
    outputs = judge.probabilities(experiments.as_stored(drawn.draw(CONDITIONS, samples=2, progress=False)))
    labels = conditions_tensor(CONDITIONS).repeat_interleave(2, dim=0)
    hits = sum(int(label[outputs[row].topk(int(label.sum())).indices].sum()) for row, label in enumerate(labels))
    assert (found["top_k"]["hits"], found["top_k"]["total"]) == (hits, 12) and found["samples"] == 2
    assert found["single"]["total"] == 6 and found["exact"]["total"] == 6
    low, high = wilson(hits, 12)
    assert found["top_k"]["low"] == pytest.approx(low) and found["top_k"]["high"] == pytest.approx(high)
    per_object = experiments.found_objects(judge, torch.stack([painted(CLASSES.index("red cube"))]), CONDITIONS[:1])
    assert per_object == [[True]]
    assert experiments.found_objects(judge, torch.stack([painted(CLASSES.index("cyan sphere"))]), CONDITIONS[:1]) == [
        [False]
    ]


def test_pictures_are_scored_as_a_file_holds_them():
    x = torch.tensor([-1.5, 0.001, 2.0]).view(1, 3, 1, 1)
    assert experiments.as_stored(x).flatten().tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-6)


def test_a_run_is_scored_by_its_own_settings_and_others_are_written_down(judge, tmp_path):
    preset = override(get_preset("smoke"), ["n_feature=8", "image_size=32", "sampling.num_steps=2"])
    run = tmp_path / "runs" / "mine"
    save_weights(
        run / "weights.safetensors", build_model(preset), Normaliser(torch.zeros(3, 32, 32), torch.tensor(1.0)), preset
    )
    told = {"name": "mine", "preset": "smoke", "seed": 0, "images_seen": 9, "seconds": 1, "device": "x", "commit": "y"}
    write_json(run / "result.json", told)
    result = experiments.score_run(run, judge, samples=2)
    assert json.loads((run / "result.json").read_text()) == json.loads(json.dumps(result))
    assert result["sampling"]["samples"] == 2 and result["sampling"]["num_steps"] == 2
    assert result["scored"]["device"] and result["device"] == "x"
    assert result["accuracy"]["test"]["top_k"]["total"] == 2 * 72
    assert result["accuracy"]["new_test"]["single"]["total"] == 84

    table = results.read_runs([tmp_path / "runs", tmp_path / "none"])
    assert table.run.tolist() == ["mine"] * 3 and table.list.tolist() == list(experiments.LISTS)
    assert table.hits[0] == result["accuracy"]["test"]["top_k"]["hits"] and table.judge[0] == judge.name


def test_a_finished_run_can_be_made_to_draw_otherwise(tmp_path):
    preset = get_preset("smoke")
    run = tmp_path / "mine"
    drawn_from = Normaliser(torch.zeros(3, 32, 32), torch.tensor(1.0))
    save_weights(run / "weights.safetensors", build_model(preset), drawn_from, preset)
    write_json(run / "config.json", {"run": "mine"} | to_dict(preset))
    write_json(run / "result.json", {"settings": to_dict(preset), "weights_sha256": "old", "seed": 4})
    before = load_pipeline(run).model.state_dict()

    experiments.draw_otherwise(run, [])
    assert json.loads((run / "result.json").read_text())["weights_sha256"] == "old"
    experiments.draw_otherwise(run, ["num_candidates=3", "sampler=ddpm"])
    pipeline = load_pipeline(run)
    config, result = (json.loads((run / name).read_text()) for name in ("config.json", "result.json"))
    assert pipeline.preset == override(preset, ["num_candidates=3", "sampler=ddpm"])
    told = json.loads(json.dumps(to_dict(pipeline.preset)))
    assert config == {"run": "mine"} | told and result["settings"] == told
    assert result["weights_sha256"] == sha256(run / "weights.safetensors") and result["seed"] == 4
    assert all(torch.equal(pipeline.model.state_dict()[name], value) for name, value in before.items())

    with pytest.raises(UserError, match="mine: was trained with train.epochs=3, not 4; only how it draws"):
        experiments.draw_otherwise(run, ["num_candidates=5", "epochs=4"])
    assert load_pipeline(run).preset == pipeline.preset


def test_pictures_in_a_folder_are_counted(judge, tmp_path):
    for name, thing in (("000_0", "red cube"), ("000_1", "blue cube"), ("001", "cyan sphere"), ("002", "red cube")):
        save_png(painted(CLASSES.index(thing)), tmp_path / f"{name}.png")
    (tmp_path / "grid.png").write_bytes(b"not read")
    found = experiments.count_pictures(judge, tmp_path, CONDITIONS)
    assert found["pictures"] == 4 and found["top_k"]["total"] == 1 + 1 + 2 + 3
    with pytest.raises(UserError, match="has a picture 002, but only 2 conditions"):
        experiments.count_pictures(judge, tmp_path, CONDITIONS[:2])
    with pytest.raises(UserError, match=r"1 of 4 conditions have no picture, 003\.png first"):
        experiments.count_pictures(judge, tmp_path, [*CONDITIONS, ["red cube"]])
    with pytest.raises(UserError, match="no such folder"):
        experiments.count_pictures(judge, tmp_path / "none", CONDITIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures named"):
        experiments.count_pictures(judge, tmp_path / "empty", CONDITIONS)

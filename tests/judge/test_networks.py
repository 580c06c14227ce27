"""The judge: which files it reads, which it refuses, how it reads pictures, and whether it learns."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lab7.config import JudgeConfig
from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.images import decode, to_float
from lab7.dataset.synthetic import render_pictures
from lab7.judge.augmentation import Augmentation, augment, shift, smooth, through_size
from lab7.judge.evaluation import scores, shifted_set
from lab7.judge.metrics import top_k
from lab7.judge.networks import (
    Judge,
    SmallClassifier,
    build_classifier,
    default_judge,
    features,
    load_judge,
    save_judge,
    second_judge,
)
from lab7.judge.training import fit, train_judge
from lab7.utils import files
from lab7.utils.files import read_json, sha256

FRAMES = Path(__file__).resolve().parents[3] / "shared" / "reference"


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    return build_classifier().eval()


def _save_course(path: Path, classifier: nn.Module, **changes) -> Path:
    """A checkpoint of the course's form; a change of None drops that weight."""
    state = {**classifier.state_dict(), **{key.replace("__", "."): value for key, value in changes.items()}}
    torch.save({"model": {key: value for key, value in state.items() if value is not None}}, path)
    return path


@pytest.mark.parametrize("old", [False, True])
def test_course_checkpoint_round_trip(tmp_path, classifier, old):
    path = _save_course(tmp_path / "checkpoint.pth", classifier)
    if old:  # half precision, from several GPUs, by a PyTorch that counted no batches
        state = {f"module.{k}": v.half() for k, v in classifier.state_dict().items() if "num_batches" not in k}
        torch.save({"model": state, "epoch": 3}, path)
    judge = load_judge(path)
    assert judge.is_course and judge.sha256 == sha256(path) and "course" in judge.name
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = classifier(pictures)
        assert torch.allclose(judge.probabilities(pictures), expected, atol=5e-3 if old else 1e-6)
        assert torch.equal(classifier.fc(features(classifier, pictures)), expected)
    assert classifier.state_dict()["fc.0.weight"].shape == (24, 512) and len(classifier.state_dict()) == 122


class _RunsCode:
    """Unpickled by a careless reader, this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def _refusal(path: Path) -> str:
    with pytest.raises(files.UserError) as caught:
        load_judge(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message and len(message) < 350
    return message


def test_unfit_checkpoints_are_refused_in_one_line(tmp_path, classifier):
    path = tmp_path / "checkpoint.pth"
    assert "no such file" in _refusal(path)
    assert 'Missing key(s) in state_dict: "fc.0.bias"' in _refusal(_save_course(path, classifier, fc__0__bias=None))
    wrong = torch.zeros(10, 512)
    assert "fc.0.weight" in _refusal(_save_course(path, classifier, fc__0__weight=wrong))
    assert "fc.0.weight" in _refusal(_save_course(path, classifier, fc__0__weight="text"))
    assert "layer1.2.bn1.bias" in _refusal(_save_course(path, classifier, layer1__2__bn1__bias=torch.zeros(64)))
    for other in (classifier.state_dict(), [1, 2], {"model": 3}, {"model": {1: 2}}):
        torch.save(other, path)
        assert 'no entry "model"' in _refusal(path)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    for zipped in (True, False):
        path = tmp_path / "checkpoint.pth"
        torch.save({"model": _RunsCode(trap)}, path, _use_new_zipfile_serialization=zipped)
        assert "would run code" in _refusal(path)
        assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off", b"\x80\x02\x00rubbish", b"<html>" * 99])
def test_damaged_files_are_refused(tmp_path, content):
    for name in ("checkpoint.pth", "judge.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        assert "damaged" in _refusal(path)


def test_truncated_files_are_refused(tmp_path, classifier):
    course = _save_course(tmp_path / "checkpoint.pth", classifier)
    ours = tmp_path / "judge.safetensors"
    save_judge(ours, classifier)
    for path in (course, ours):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "damaged" in _refusal(path)
    assert "lab7 judge --train" in _refusal(tmp_path / "absent.safetensors")


def test_saved_judge_is_half_precision_and_reads_alike(tmp_path, classifier):
    path = tmp_path / "judge.safetensors"
    save_judge(path, classifier)
    assert path.stat().st_size < 23e6 and [p.name for p in tmp_path.iterdir()] == [path.name]
    judge = load_judge(path)
    assert not judge.is_course and next(judge.model.parameters()).dtype == torch.float32
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(judge.probabilities(pictures), classifier(pictures), atol=5e-3)


def test_default_judge_prefers_the_course_file(tmp_path, monkeypatch, classifier):
    monkeypatch.setenv("LAB7_DATA", str(tmp_path))
    shipped = default_judge()
    assert not shipped.is_course and shipped.sha256 == sha256(files.shipped_dir() / "weights" / "judge.safetensors")
    path = _save_course(tmp_path / "checkpoint.pth", classifier)
    assert default_judge().is_course and default_judge().sha256 == sha256(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(files.UserError):  # never in silence the other judge
        default_judge()


def test_probabilities_of_any_size_and_batch(classifier):
    judge = Judge(classifier, "test", "", False)
    pictures = torch.rand(3, 3, 64, 64, dtype=torch.float64) * 2 - 1
    whole = judge.probabilities(pictures)
    assert whole.shape == (3, 24) and whole.dtype == torch.float32 and not whole.requires_grad
    assert ((whole >= 0) & (whole <= 1)).all()
    assert torch.allclose(judge.probabilities(pictures, batch_size=2), whole, atol=1e-6)
    small = nn.functional.avg_pool2d(pictures, 2)
    up = nn.functional.interpolate(small, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.allclose(judge.probabilities(small), judge.probabilities(up), atol=1e-6)
    assert judge.probabilities(torch.rand(2, 3, 240, 320)).shape == (2, 24)
    assert judge.probabilities(pictures[:0]).shape == (0, 24)
    for wrong in (
        torch.zeros(3, 64, 64),
        torch.zeros(1, 1, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ):
        with pytest.raises(ValueError, match="float pictures"):
            judge.probabilities(wrong)


def test_augmentation_is_repeatable_and_can_be_switched_off():
    pictures = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    first, again, other = (augment(pictures, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert first.shape == pictures.shape and torch.isfinite(first).all()
    none = Augmentation(**dict.fromkeys(vars(Augmentation()), 0))
    off = augment(pictures, torch.Generator(), none)
    assert torch.allclose(off, pictures.float() / 127.5 - 1, atol=1e-6)


def test_parts_of_the_augmentation():
    ramp = torch.arange(64.0).expand(8, 3, 64, 64)
    moved = shift(ramp, 4, torch.Generator().manual_seed(0))
    steps = (moved - ramp)[:, 0, 0, 32]  # a ramp shows by how much each picture was moved
    assert ((moved - ramp)[:, :, :, 8:-8] == steps[:, None, None, None]).all()
    assert steps.abs().max() <= 4 and len(set(steps.tolist())) > 2
    assert moved.min() == 0 and moved.max() == 63  # the border is repeated, nothing comes round from the other side
    assert torch.allclose(smooth(ramp)[..., 4:-4], ramp[..., 4:-4])
    assert torch.allclose(through_size(torch.ones(1, 3, 64, 64), 40), torch.ones(1, 3, 64, 64))
    assert through_size(ramp, 95).shape == ramp.shape


def test_training_lowers_the_loss_and_is_repeatable():
    images, labels = render_pictures(1, 3, processes=1)
    state = torch.random.get_rng_state()
    how = {"kind": "small", "batch_size": 3, "progress": False}
    runs = [fit(images, labels, epochs=3, seed=seed, **how) for seed in (0, 0)]
    runs.append(fit(images, labels, epochs=1, seed=1, **how))
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's random numbers change
    (first, losses), (again, _), (other, _) = runs
    assert len(losses) == 3 and losses[-1] < 0.75 * losses[0]
    weights = [model.state_dict()["stages.6.0.weight"] for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not first.training


def test_train_judge_writes_weights_and_their_record(tmp_path):
    out = tmp_path / "weights" / "judge.safetensors"
    record = train_judge(out, JudgeConfig(2, 1, evaluation_scenes=2), processes=1, progress=False)
    assert read_json(out.with_suffix(".json"), "a record") == record
    assert sorted(p.name for p in out.parent.iterdir()) == ["judge.json", "judge.safetensors"]
    assert record["sha256"] == sha256(out) == load_judge(out).sha256
    assert record["evaluation"]["pictures"] == 6 and record["evaluation"]["clean"]["top_k"]["total"] == 12
    assert [row["objects"] for row in record["evaluation"]["clean"]["per_count"]] == [1, 2, 3]


def test_a_small_judge_is_trained_on_and_read(tmp_path):
    out = tmp_path / "second.safetensors"
    plan, how = JudgeConfig(2, 1, evaluation_scenes=1), {"kind": "small", "processes": 1, "progress": False}
    train_judge(tmp_path / "first.safetensors", plan, **how)
    record = train_judge(out, replace(plan, plain_share=0.5), start=tmp_path / "first.safetensors", **how)
    assert record["first"]["sha256"] == record["settings"]["started_from"] == sha256(tmp_path / "first.safetensors")
    judge = load_judge(out)
    assert isinstance(judge.model, SmallClassifier) and "--kind small" in record["command"]
    assert sum(p.numel() for p in judge.model.parameters()) <= 1_500_000
    assert judge.probabilities(torch.zeros(2, 3, 32, 32)).shape == (2, 24)
    assert features(judge.model, torch.zeros(1, 3, 64, 64)).shape == (1, 224)


@pytest.mark.parametrize("load", [default_judge, second_judge])
def test_shipped_judges_read_unseen_renders(monkeypatch, tmp_path, load):
    monkeypatch.setenv("LAB7_DATA", str(tmp_path))  # no course file there: ours is used
    judge = load()
    images, labels = render_pictures(900_077, 20, processes=1)
    clean = scores(judge.probabilities(images.float() / 127.5 - 1), labels)
    assert clean["top_k"]["accuracy"] >= 0.985
    images, labels = shifted_set(20, processes=1)
    assert scores(judge.probabilities(images.float() / 127.5 - 1), labels)["top_k"]["accuracy"] >= 0.93


@pytest.mark.parametrize("name", ["judge", "second_judge"])
def test_shipped_judges_have_their_record(name):
    weights = files.shipped_dir() / "weights" / f"{name}.safetensors"
    record = json.loads(weights.with_suffix(".json").read_text())
    assert record["sha256"] == sha256(weights)
    evaluation = record["evaluation"]
    assert evaluation["pictures"] >= 6000
    for how in ("clean", "shifted"):
        score = evaluation[how]["top_k"]
        assert score["accuracy"] == score["hits"] / score["total"] >= (0.985 if how == "clean" else 0.93)


@pytest.mark.parametrize("name", ["judge", "second_judge"])
@pytest.mark.skipif(not FRAMES.is_dir(), reason="the six real frames are not here")
def test_shipped_judges_read_the_real_frames(name):
    judge = load_judge(files.shipped_dir() / "weights" / f"{name}.safetensors")
    shown: list[str] = []
    for path in sorted(FRAMES.glob("seq*.png")):
        named = [part.replace("-", " ") for part in path.stem.split("_")[2:]]
        shown = named if path.stem.startswith("seqB") else [*shown, *named]  # sequence A grows by one object a frame
        outputs = judge.probabilities(to_float(torch.from_numpy(decode([path], 64))))
        labels = conditions_tensor([shown])
        assert top_k(outputs, labels).accuracy == 1, path.stem


def test_a_checkpoint_saved_from_a_gpu_is_read_without_one(classifier, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    path = _save_course(tmp_path / "checkpoint.pth", classifier)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(path, weights_only=True)  # so it does say that it lives on a GPU
    pictures = torch.zeros(1, 3, 64, 64)
    assert torch.allclose(load_judge(path).probabilities(pictures), classifier(pictures), atol=1e-5)


@pytest.mark.parametrize("kind", ["small", "resnet18"])
def test_weights_of_the_other_kind_are_refused_before_rendering(tmp_path, kind):
    start = files.shipped_dir() / "weights" / ("judge.safetensors" if kind == "small" else "second_judge.safetensors")
    with pytest.raises(files.UserError, match=f"judge.safetensors: is no {kind} judge; choose the other --kind"):
        train_judge(tmp_path / "judge.safetensors", JudgeConfig(10**9), kind=kind, start=start)

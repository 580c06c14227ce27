"""The loop on a handful of made-up pictures: it learns, it survives a kill, it says what went wrong."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import toy_run
from safetensors.torch import load_file
from toy_run import make_pictures, toy

from lab7.config import get_preset, override
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import draw
from lab7.dataset.positions import LAYOUTS, find_positions
from lab7.pipeline import load_pipeline
from lab7.training import loop
from lab7.training.lr_schedules import Length, Plateau, rate_factor, run_length
from lab7.training.run_folder import read_metrics
from lab7.utils.files import ROOT, Failure, UserError, read_json

SETTINGS = ("epochs=15", "learning_rate=0.003", "precision=fp32", "save_every=7")  # of the finished run
EFFICIENT = (
    "network=efficient",
    "optimizer=muon",
    "target=v",
    "schedule=cosine",
    "timestep_sampling=stratified",
    "precision=fp32",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished run of 60 steps, named "first"; to be read, not changed."""
    return run(data, tmp_path_factory.mktemp("runs"), *SETTINGS, name="first")


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of `finished` that a test may change."""
    return shutil.copytree(finished, tmp_path / "first")


def run(data, runs, *settings, name="toy", **options):
    return loop.train(toy(*settings), name, data=data, runs=runs, progress=False, **options)


def read(run_folder):
    return read_json(run_folder / "result.json", "a result")


def same_weights(one, two):
    return (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def test_a_run_writes_its_folder_and_lowers_the_loss(finished):
    result = read(finished)
    assert result["images_seen"] == 15 * 16 and result["steps"] == 60 and result["preset"] == "smoke"
    assert {"commit", "versions", "device", "seconds", "seed", "weights_sha256"} <= set(result)
    lines = read_metrics(finished, "loss")
    assert [line["step"] for line in lines] == [50, 60] and lines[-1]["loss"] < 0.85 * lines[0]["loss"]
    assert len(list((finished / "samples").glob("step_*.png"))) == 2
    sensitivity = result["condition_sensitivity"]
    assert len(sensitivity["by_picture"]) == 16
    assert load_pipeline(finished)([["red cube"]], num_steps=2).shape == (1, 3, 64, 64)
    assert not list(finished.rglob("*.tmp"))


def test_killed_and_resumed_gives_the_same_bytes(data, finished, tmp_path):
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, toy_run.__file__, str(data), str(tmp_path), "killed", *SETTINGS],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert torch.load(killed / "checkpoint.pt", weights_only=True)["step"] < 60
    run(data, tmp_path, *SETTINGS, name="killed", resume=True)
    assert same_weights(killed, finished)
    a, b = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (finished, killed))
    assert a["step"] == b["step"] == 60 and all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    assert [line["step"] for line in read_metrics(killed, "loss")] == [50, 60]


@pytest.mark.parametrize(
    ("settings", "stop", "checkpoint"),
    [(("save_every=5",), 3, 0), (EFFICIENT, 11, 10)],
    ids=["report, before the first checkpoint", "efficient"],
)
def test_stopped_and_resumed_gives_the_same_bytes(data, tmp_path, monkeypatch, settings, stop, checkpoint):
    whole = run(data, tmp_path, *settings, name="whole")
    steps = itertools.count()

    def stop_there(pictures, *rest):
        if next(steps) == stop:
            raise KeyboardInterrupt
        return draw(pictures, *rest)

    monkeypatch.setattr(loop, "draw", stop_there)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, *settings, name="stopped")
    stored = tmp_path / "stopped" / "checkpoint.pt"
    assert (torch.load(stored, weights_only=True)["step"] if stored.exists() else 0) == checkpoint
    monkeypatch.setattr(loop, "draw", draw)
    resumed = run(data, tmp_path, *settings, name="stopped", resume=True)
    assert same_weights(resumed, whole)
    assert [line["loss"] for line in read_metrics(resumed, "loss")] == [
        line["loss"] for line in read_metrics(whole, "loss")
    ]


def test_a_preempted_job_of_a_cluster_saves_a_checkpoint_after_the_step_and_goes_on_there(data, finished, tmp_path):
    def requeue(*_):  # submitit's, which is called at once when nothing is trained
        sys.exit("requeued")

    def preempt(step, steps, loss):
        if step == 10:
            signal.raise_signal(signal.SIGUSR2)
        return False

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit, match="requeued"):
            run(data, tmp_path, *SETTINGS, name="preempted", callback=preempt)
        assert torch.load(tmp_path / "preempted" / "checkpoint.pt", weights_only=True)["step"] == 10
        run(data, tmp_path, *SETTINGS, name="preempted", resume=True)
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert same_weights(tmp_path / "preempted", finished)


def test_an_existing_run_is_not_changed(data, copied, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copied.rglob("*") if path.is_file()}
    assert run(data, tmp_path, *SETTINGS, name="first", resume=True) == copied
    with pytest.raises(UserError, match="holds a run already; go on with --resume, or choose another --name"):
        run(data, tmp_path, *SETTINGS, name="first")
    with pytest.raises(UserError, match=r"was begun with train.batch_size=4, not 8; use the same settings"):
        run(data, tmp_path, *SETTINGS, "batch_size=8", name="first", resume=True)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copied.rglob("*") if path.is_file()}
    assert before == after


@pytest.mark.parametrize("gone", ["config.json", "checkpoint.pt"])
def test_a_finished_run_with_a_file_missing_is_not_trained_again(data, copied, tmp_path, gone):
    (copied / gone).unlink()
    weights = (copied / "weights.safetensors").read_bytes()
    with pytest.raises(UserError, match=gone):
        run(data, tmp_path, *SETTINGS, name="first", resume=True)
    with pytest.raises(UserError, match="holds a run already"):
        run(data, tmp_path, *SETTINGS, name="first")
    assert (copied / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize("change", ["pixels", "labels", "number"])
def test_a_run_goes_on_with_the_pictures_that_it_was_begun_with(data, copied, tmp_path, change):
    other = shutil.copytree(data, tmp_path / "other")
    labels = json.loads((other / "train.json").read_text())
    first, second = list(labels)[:2]
    if change == "pixels":
        shutil.copyfile(other / "iclevr" / first, other / "iclevr" / second)
    elif change == "labels":
        labels[first], labels[second] = labels[second], labels[first]
    else:
        del labels[first]
        (other / "iclevr" / first).unlink()
    (other / "train.json").write_text(json.dumps(labels))
    with pytest.raises(UserError, match="was trained on other pictures .16 pictures"):
        run(other, tmp_path, *SETTINGS, name="first", resume=True)


@pytest.mark.parametrize("line", ["{}", '{"step": "x"}', "[]", '{"step": 1, "loss": 0.5, "crb32": 2403832898}'])
def test_a_line_of_metrics_that_was_not_written_so_is_damaged(copied, line):
    (copied / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match="metrics.jsonl: is damaged"):
        read_metrics(copied)


def test_a_damaged_checkpoint_is_refused(data, copied, tmp_path):
    (copied / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"checkpoint.pt: cannot be read .* delete it to begin anew"):
        run(data, tmp_path, *SETTINGS, name="first", resume=True)


def test_the_seed_decides_and_the_callers_random_state_is_left_alone(data, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b = (run(data, tmp_path, "max_steps=2", f"train.seed={seed}", name=f"seed{seed}") for seed in (0, 1))
    assert torch.equal(torch.rand(3), expected) and not same_weights(a, b)


def test_a_loss_that_is_not_finite_stops_with_step_files_and_advice(data, tmp_path, monkeypatch):
    real, calls = loop.diffusion.loss, []

    def breaks_at_the_sixth(*args):
        calls.append(1)
        return real(*args) * (float("nan") if len(calls) == 6 else 1.0)

    monkeypatch.setattr(loop.diffusion, "loss", breaks_at_the_sixth)
    message = r"loss is nan at step 5 \(pictures CLEVR_train_\d+_0.png.*lower learning_rate.*last good checkpoint"
    with pytest.raises(Failure, match=message):
        run(data, tmp_path)
    kept = torch.load(tmp_path / "toy" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 4 and all(value.isfinite().all() for value in kept["model"].values())
    assert not (tmp_path / "toy" / "weights.safetensors").exists()


def test_the_reports_schedule_follows_the_accuracies(data, tmp_path):
    calls = []

    def evaluate(pipeline):
        calls.append(pipeline)
        return {"test": 0.5, "new_test": 0.5}

    settings = ("lr_schedule=report", "evaluate_every=1", "epochs=9", "batch_size=16", "snapshots=0")
    run_folder = run(data, tmp_path, *settings, evaluate=evaluate)
    factors = [line["plateau"] for line in read_metrics(run_folder) if "accuracy" in line]
    assert len(calls) == len(factors) == 9
    assert factors[0] == 1 and factors[-1] == pytest.approx(0.95**2)


def test_compile_changes_no_file(data, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    plain = run(data, tmp_path / "plain", "max_steps=2")
    assert compiled == []
    other = run(data, tmp_path / "other", "max_steps=2", "compile=true")
    assert len(compiled) == 1
    one, two = (load_file(place / "weights.safetensors") for place in (plain, other))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_plateau_counts_each_list_on_its_own_and_survives_a_checkpoint():
    plateau, scores = Plateau(), {"test": 0.5, "new_test": 0.5}
    for _ in range(5):
        plateau.step(scores)
    resumed = Plateau()
    resumed.load_state_dict(json.loads(json.dumps(plateau.state_dict())))
    for k in range(2):
        for p in (plateau, resumed):
            p.step(scores | {"new_test": 0.6 + k / 10})
    assert plateau.factor == resumed.factor == pytest.approx(0.95)


def test_learning_rate_schedules():
    length = Length(steps=100, steps_per_epoch=10, batch=4, snapshots=())

    def factors(kind, warmup=0):
        changed = toy("epochs=10", f"lr_schedule={kind}", f"warmup_steps={warmup}").train
        return [rate_factor(changed, step, length) for step in range(100)]

    assert factors("constant") == [1.0] * 100
    assert factors("linear")[0] == 1 and factors("linear")[50] == pytest.approx(0.5)
    assert factors("cosine")[50] == pytest.approx(0.5) and factors("cosine")[-1] < 1e-3
    assert factors("report") == pytest.approx([1 - (step // 10) / 10 for step in range(100)])
    assert factors("linear", 9)[:10] == pytest.approx([k / 10 for k in range(1, 11)])


def test_snapshots_lie_on_whole_epochs_or_within_a_short_run():
    plan = override(get_preset("laptop"), ["epochs=40", "snapshots=8", "batch_size=32"]).train
    length = run_length(plan, 18_009)
    assert length.steps == 40 * 562 and length.snapshots[0] == 562 and length.snapshots[-1] == length.steps
    assert all(step % 562 == 0 for step in length.snapshots) and len(length.snapshots) >= 6
    short = run_length(override(get_preset("quick"), ["max_steps=150", "snapshots=3"]).train, 18_009)
    assert short.steps == 150 and short.snapshots[-1] == 150 and short.snapshots[0] < 150


def test_a_run_that_starts_from_weights_continues_their_curve_and_pictures(data, finished, tmp_path):
    settings = (*SETTINGS, "max_steps=4", "learning_rate=1e-12", "ema_decay=0")
    second = run(data, tmp_path, *settings, name="second", start=finished)
    begun, kept = (load_file(path / "weights.safetensors") for path in (finished, second))
    moving = ("running_mean", "running_var", "num_batches_tracked")  # batch norm's statistics of what it sees
    assert all(torch.allclose(begun[name], kept[name], atol=1e-3) for name in begun if not name.endswith(moving))

    one, two = read(finished), read(second)
    before, lines = (read_metrics(path, "loss") for path in (finished, second))
    assert two["started_from"]["weights_sha256"] == one["weights_sha256"] and "started_from" not in one
    assert two["steps"] == one["steps"] + 4 == lines[-1]["step"]
    assert two["images_seen"] == one["images_seen"] + 16 == lines[-1]["images"]
    assert two["epochs"] == pytest.approx(lines[-1]["epoch"], abs=1e-3)
    assert lines[: len(before)] == before and lines[-1]["seconds"] > before[-1]["seconds"]
    old, new = ({path.name: path.read_bytes() for path in (at / "samples").glob("*")} for at in (finished, second))
    assert old.items() < new.items() and f"step_{two['steps']:07d}.png" in new

    (second / "result.json").unlink()  # as if it had been stopped after the checkpoint
    run(data, tmp_path, *settings, name="second", resume=True)
    assert {**read(second), "seconds": 0} == {**two, "seconds": 0}


def test_weights_fit_where_the_networks_are_alike(data, tmp_path, capsys):
    first = run(data, tmp_path, "network=efficient", "max_steps=1", name="first")
    other = toy("network=efficient", "max_steps=1", "patch=2")
    path = loop.train(other, "finer", data=data, runs=tmp_path, start=first, progress=True)
    assert "new are stem.weight, head.weight, head.bias" in capsys.readouterr().err
    assert read(path)["started_from"]["name"] == "first"
    with pytest.raises(UserError, match="holds no weights of this network"):
        run(data, tmp_path, name="report", start=first)
    with pytest.raises(UserError, match=r"nowhere\.safetensors: no such weights"):
        run(data, tmp_path, name="none", start=tmp_path / "nowhere.safetensors")


def test_positions_are_learned_kept_and_drawn_with(data, tmp_path):
    """One object a picture, somewhere: the network keeps where, through averaging and saving, and draws with it."""
    settings = (*EFFICIENT, "positions=true", "save_every=2")
    folder = run(data, tmp_path, *settings)
    pipeline = load_pipeline(folder)
    pictures = load_pictures(data, 32)
    layouts = pipeline.layouts.view(-1, 2, 24)
    found = find_positions(pictures) / 255  # (N, 48)
    assert len(layouts) == min(LAYOUTS, len(found))
    assert torch.allclose(layouts.flatten(1).sort(dim=0).values, found.sort(dim=0).values, atol=1e-3)
    with torch.no_grad():
        for level in pipeline.model.down:
            level.spots.weight.normal_()
    red, first = pipeline([["red cube"]], seed=3), pipeline.layouts.clone()
    assert torch.equal(red, pipeline([["red cube"]], seed=3))
    pipeline.layouts.zero_()
    assert not torch.allclose(red, pipeline([["red cube"]], seed=3), atol=1e-3) and first.any()

"""The loop on a handful of made-up pictures: it learns, it survives a kill, it tells what went wrong."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lab7.config import get_preset, override
from lab7.dataset.normalizer import draw
from lab7.pipeline import load_pipeline
from lab7.training import loop as training
from lab7.training.lr_schedules import Length, Plateau, rate_factor, run_length
from lab7.training.run_folder import losses, read_metrics
from lab7.utils.files import ROOT, Failure, UserError
from lab7.vocabulary import CLASSES

TOY = [
    "n_feature=8",
    "image_size=32",
    "batch_size=4",
    "epochs=4",
    "save_every=2",
    "snapshots=2",
    "warmup_steps=0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen pictures of one coloured square each, in the course's layout."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "iclevr").mkdir()
    rng = np.random.default_rng(0)
    labels = {}
    for index in range(16):
        picture = np.full((64, 64, 3), 120, np.uint8) + rng.integers(0, 8, (64, 64, 3), dtype=np.uint8)
        x, y = rng.integers(0, 40, 2)
        picture[y : y + 20, x : x + 20] = rng.integers(0, 255, 3)
        name = f"CLEVR_train_{index:06d}_0.png"
        Image.fromarray(picture).save(folder / "iclevr" / name)
        labels[name] = [CLASSES[index]]
    (folder / "train.json").write_text(json.dumps(labels))
    return folder


def toy(*settings):
    return override(get_preset("smoke"), [*TOY, *settings])


def run(folder, tmp_path, *settings, name="toy", **options):
    return training.train(toy(*settings), name, data=folder, runs=tmp_path, progress=False, **options)


def test_a_run_writes_its_folder_and_lowers_the_loss(folder, tmp_path):
    run_folder = run(folder, tmp_path, "epochs=60", "learning_rate=0.003", "precision=fp32", "save_every=100")
    result = json.loads((run_folder / "result.json").read_text())
    assert result["images_seen"] == 60 * 16 and result["steps"] == 240 and result["preset"] == "smoke"
    assert {"commit", "versions", "device", "seconds", "seed", "weights_sha256"} <= set(result)
    lines = losses(read_metrics(run_folder))
    assert [line["step"] for line in lines] == [50, 100, 150, 200, 240]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert len(list((run_folder / "samples").glob("step_*.png"))) == 2
    heard = result["condition_sensitivity"]
    assert [seen for seen, _ in heard["curve"]] == [16, 960] and len(heard["by_picture"]) == 16
    assert heard["curve"][-1][1] == pytest.approx(sum(heard["by_picture"]) / 16, abs=1e-4)
    pipeline = load_pipeline(run_folder)
    assert pipeline([["red cube"]], num_steps=2).shape == (1, 3, 64, 64)
    assert not list(run_folder.rglob("*.tmp"))


def kill_and_resume(folder, runs, wait_for):
    code = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1);"
        "sys.path[:0] = ['tests', 'tests/training'];"
        "from test_loop import toy; from lab7.training import loop as training;"
        "training.train(toy('epochs=30', 'save_every=7'), 'killed', data=Path(sys.argv[1]), runs=Path(sys.argv[2]),"
        "progress=False, resume='resume' in sys.argv)"
    )
    command = [sys.executable, "-c", code, str(folder), str(runs)]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 120
    while process.poll() is None and not wait_for() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    subprocess.run([*command, "resume"], check=True, cwd=ROOT)


@pytest.mark.parametrize("after", [0, 40])
def test_killed_and_resumed_gives_the_same_bytes(folder, tmp_path, after):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = run(folder, tmp_path, "epochs=30", "save_every=7", name="whole")
    finally:
        torch.set_num_threads(threads)
    killed = tmp_path / "killed"

    def far_enough():
        if after == 0:  # begun, but before the first checkpoint
            return (killed / "config.json").exists()
        return any(line["step"] > after for line in read_metrics(killed))

    kill_and_resume(folder, tmp_path, far_enough)
    assert (killed / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    a, b = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (whole, killed))
    assert a["step"] == b["step"] == 120
    for key in a["model"]:
        assert torch.equal(a["model"][key], b["model"][key])
    steps = [line["step"] for line in losses(read_metrics(killed))]
    assert steps == sorted(set(steps)) == [50, 100, 120]


MODERN = (
    "network=efficient",
    "optimizer=muon",
    "target=v",
    "schedule=cosine",
    "timestep_sampling=stratified",
    "precision=fp32",
)


def test_the_efficient_network_learns_and_resumes_to_the_same_bytes(folder, tmp_path, monkeypatch):
    settings = (*MODERN, "epochs=8", "save_every=7")
    whole = run(folder, tmp_path, *settings, name="whole")
    lines = losses(read_metrics(run(folder, tmp_path, *MODERN, "epochs=50", name="long")))
    assert lines[-1]["loss"] < 0.85 * lines[0]["loss"]

    steps = itertools.count()

    def stop_at_step_20(pictures, *rest):
        if next(steps) == 20:
            raise KeyboardInterrupt
        return draw(pictures, *rest)

    monkeypatch.setattr(training, "draw", stop_at_step_20)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path, *settings, name="stopped")
    assert torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)["step"] == 14
    monkeypatch.setattr(training, "draw", draw)
    again = run(folder, tmp_path, *settings, name="stopped", resume=True)
    assert (again / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_a_resumed_run_that_was_finished_changes_nothing(folder, tmp_path):
    run_folder = run(folder, tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run_folder.glob("*.*")}
    run(folder, tmp_path, resume=True)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run_folder.glob("*.*")} == before


def test_another_seed_gives_other_weights(folder, tmp_path):
    a = run(folder, tmp_path, name="a")
    b = run(folder, tmp_path, "train.seed=1", name="b")
    assert (a / "weights.safetensors").read_bytes() != (b / "weights.safetensors").read_bytes()


def test_training_leaves_the_callers_random_state_alone(folder, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(folder, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_an_existing_run_is_not_overwritten(folder, tmp_path):
    run_folder = run(folder, tmp_path)
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="holds a run already; go on with --resume, or choose another --name"):
        run(folder, tmp_path)
    with pytest.raises(UserError, match=r"was begun with train.batch_size=4, not 8; use the same settings"):
        run(folder, tmp_path, "batch_size=8", resume=True)
    assert before == {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}


def test_a_damaged_checkpoint_is_told(folder, tmp_path):
    run_folder = run(folder, tmp_path)
    (run_folder / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"checkpoint.pt: cannot be read .* delete it to begin anew"):
        run(folder, tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_with_step_files_and_advice(folder, tmp_path, monkeypatch):
    real, calls = training.diffusion.loss, []

    def breaks_at_the_sixth(*args):
        calls.append(1)
        return real(*args) * (float("nan") if len(calls) == 6 else 1.0)

    monkeypatch.setattr(training.diffusion, "loss", breaks_at_the_sixth)
    message = r"loss is nan at step 5 \(pictures CLEVR_train_\d+_0.png.*lower learning_rate.*last good checkpoint"
    with pytest.raises(Failure, match=message):
        run(folder, tmp_path)
    kept = torch.load(tmp_path / "toy" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 4
    assert all(value.isfinite().all() for value in kept["model"].values())
    assert not (tmp_path / "toy" / "weights.safetensors").exists()


def test_two_processes_train_one_model(folder, tmp_path):
    """accelerate launch with two CPU processes: half a batch each, one set of weights, one result."""
    script = tmp_path / "launch.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "sys.path[:0] = ['tests', 'tests/training']; from test_loop import toy\n"
        "from lab7.training import loop as training\n"
        f"data, runs = Path({str(folder)!r}), Path({str(tmp_path)!r})\n"
        "training.train(toy('epochs=2'), 'two', data=data, runs=runs, progress=False)\n"
    )
    # with --cpu alone accelerate starts one process; --multi_gpu is its name for its launcher of several
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    command += ["--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"]
    command += ["--num_cpu_threads_per_process=1", str(script)]
    root = str(ROOT)
    env = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run([sys.executable, *command], check=True, cwd=root, env=env, timeout=240)
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert result["processes"] == 2 and result["steps"] == 8 and result["images_seen"] == 32
    assert load_pipeline(tmp_path / "two")([["red cube"]], num_steps=2).isfinite().all()


def test_the_reports_plan_listens_to_the_accuracies(folder, tmp_path):
    seen = []

    def evaluate(pipeline):
        seen.append(pipeline([["red cube"]], num_steps=2).shape)
        return {"test": 0.5, "new_test": 0.5}

    run_folder = run(folder, tmp_path, "lr_schedule=report", "evaluate_every=1", "epochs=9", evaluate=evaluate)
    assert len(seen) == 9
    told = [line for line in read_metrics(run_folder) if "accuracy" in line]
    assert told[0]["plateau"] == 1 and told[-1]["plateau"] == pytest.approx(0.95**2)


def test_compile_is_asked_of_torch_and_changes_no_file(folder, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    plain = run(folder, tmp_path / "plain", "max_steps=2")
    assert compiled == []
    other = run(folder, tmp_path / "other", "max_steps=2", "compile=true")
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


def test_learning_rate_plans():
    length = Length(steps=100, steps_per_epoch=10, batch=4, snapshots=())
    plan = toy("epochs=10").train

    def factors(kind, warmup=0):
        changed = override(toy("epochs=10"), [f"lr_schedule={kind}", f"warmup_steps={warmup}"]).train
        return [rate_factor(changed, step, length) for step in range(100)]

    assert plan.epochs == 10
    assert factors("constant") == [1.0] * 100
    assert factors("linear")[0] == 1 and factors("linear")[50] == pytest.approx(0.5)
    assert factors("cosine")[50] == pytest.approx(0.5) and factors("cosine")[-1] < 1e-3
    assert factors("report") == pytest.approx([1 - (step // 10) / 10 for step in range(100)])
    assert factors("linear", 9)[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    for kind in ("linear", "cosine", "report"):
        assert all(a >= b for a, b in zip(factors(kind), factors(kind)[1:], strict=False))


def test_snapshots_lie_on_whole_epochs_or_within_a_short_run():
    plan = override(get_preset("laptop"), ["epochs=40", "snapshots=8", "batch_size=32"]).train
    length = run_length(plan, 18_009)
    assert length.steps == 40 * 562 and length.snapshots[0] == 562 and length.snapshots[-1] == length.steps
    assert all(step % 562 == 0 for step in length.snapshots) and len(length.snapshots) >= 6
    short = run_length(override(get_preset("quick"), ["max_steps=150", "snapshots=3"]).train, 18_009)
    assert short.steps == 150 and short.snapshots[-1] == 150 and short.snapshots[0] < 150


def test_a_run_begins_with_given_weights_and_tells_whose_they_are(folder, tmp_path):
    first = run(folder, tmp_path, name="first")
    again = run(folder, tmp_path, "max_steps=1", "learning_rate=0", "ema_decay=0", "norm=group", name="again")
    second = run(folder, tmp_path, "max_steps=1", "learning_rate=0", "ema_decay=0", name="second", start=first)
    begun, kept, fresh = (load_file(path / "weights.safetensors") for path in (first, second, again))
    moves = ("running_mean", "running_var", "num_batches_tracked")  # of batch norm, which follows what it sees
    names = [name for name in begun if not name.endswith(moves)]
    assert all(torch.equal(begun[name], kept[name]) for name in names)
    assert any(name in fresh and not torch.equal(begun[name], fresh[name]) for name in names)

    one, two = (json.loads((path / "result.json").read_text()) for path in (first, second))
    assert two["started_from"]["weights_sha256"] == one["weights_sha256"]
    assert two["images_seen"] == one["images_seen"] + 4 and two["seconds"] > one["seconds"]
    assert "started_from" not in one


def test_a_run_that_begins_with_anothers_weights_carries_its_curve_and_pictures_on(folder, tmp_path):
    first = run(folder, tmp_path, name="first")
    for name, resume in (("whole", False), ("part", True)):
        second = run(folder, tmp_path, "max_steps=4", name=name, start=first)
        if resume:  # as if it had been stopped after the checkpoint
            (second / "result.json").unlink()
            run(folder, tmp_path, "max_steps=4", name=name, resume=True)
        one, two = (json.loads((path / "result.json").read_text()) for path in (first, second))
        before, lines = (losses(read_metrics(path)) for path in (first, second))
        assert two["steps"] == one["steps"] + 4 == lines[-1]["step"]
        assert two["images_seen"] == one["images_seen"] + 16 == lines[-1]["images"]
        assert two["epochs"] == pytest.approx(lines[-1]["epoch"], abs=1e-3)
        assert lines[: len(before)] == before and lines[-1]["seconds"] > before[-1]["seconds"]
        strips = {path.name: path.read_bytes() for path in (second / "samples").glob("*.png")}
        old = {path.name: path.read_bytes() for path in (first / "samples").glob("*.png")}
        assert old.items() < strips.items() and f"step_{two['steps']:07d}.png" in strips


def test_weights_fit_where_the_networks_are_alike(folder, tmp_path, capsys):
    first = run(folder, tmp_path, "network=efficient", name="first")
    other = toy("network=efficient", "max_steps=2", "patch=2")
    path = training.train(other, "finer", data=folder, runs=tmp_path, start=first, progress=True)
    assert "new are stem.weight, head.weight, head.bias" in capsys.readouterr().err
    assert json.loads((path / "result.json").read_text())["started_from"]["name"] == "first"
    with pytest.raises(UserError, match="holds no weights of this network"):
        run(folder, tmp_path, name="report", start=first)
    with pytest.raises(UserError, match=r"nowhere\.safetensors: no such weights"):
        run(folder, tmp_path, name="none", start=tmp_path / "nowhere.safetensors")


def test_a_run_that_began_with_weights_resumes_and_still_tells(folder, tmp_path):
    first = run(folder, tmp_path, name="first")
    whole = run(folder, tmp_path, "max_steps=4", name="whole", start=first)
    part = tmp_path / "part"
    run(folder, tmp_path, "max_steps=4", name="part", start=first)
    state = torch.load(part / "checkpoint.pt", weights_only=True)
    assert state["before"]["name"] == "first"
    (part / "result.json").unlink()
    run(folder, tmp_path, "max_steps=4", name="part", resume=True)
    one, two = (json.loads((path / "result.json").read_text()) for path in (whole, part))
    assert one["started_from"] == two["started_from"] and one["images_seen"] == two["images_seen"]

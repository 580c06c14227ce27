"""A training by two CPU processes: the curve of one, a process that is killed, and how the run goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_run

from lab7.pipeline import load_pipeline
from lab7.training import run
from lab7.training.loop import train
from lab7.training.run_folder import read_metrics
from lab7.utils.files import ROOT, read_json

CPU = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
# batch norm averages over the pictures of one process; bf16 rounds too much to compare
EXACT = ("epochs=2", "norm=group", "precision=fp32")


@pytest.fixture(scope="module", name="data")
def make_data(tmp_path_factory):
    return toy_run.make_pictures(tmp_path_factory.mktemp("data"))


def curve(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder, "loss")]


def test_two_processes_train_one_model_with_the_loss_of_one_process(data, tmp_path, monkeypatch):
    """By `accelerate launch`: half a batch each, one set of weights, one result."""
    # with --cpu alone accelerate starts one process; --multi_gpu is its name for its launcher of several
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    command += ["--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"]
    command += ["--num_cpu_threads_per_process=1", toy_run.__file__, str(data), str(tmp_path), "two", *EXACT]
    subprocess.run(
        [sys.executable, *command], check=True, cwd=ROOT, env=os.environ | CPU | {"LOG_EVERY": "1"}, timeout=240
    )
    result = read_json(tmp_path / "two" / "result.json", "a result")
    assert result["processes"] == 2 and result["steps"] == 8 and result["images_seen"] == 32
    assert load_pipeline(tmp_path / "two")([["red cube"]], num_steps=2).isfinite().all()
    monkeypatch.setattr(run, "LOG_EVERY", 1)
    one = curve(train(toy_run.toy(*EXACT), "one", data=data, runs=tmp_path, progress=False))
    assert len(one) == 8 and curve(tmp_path / "two") == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_with_a_line_and_the_run_goes_on(data, tmp_path, killed):
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    places = {"LAB7_DATA": str(data), "LAB7_RUNS": str(tmp_path)}
    settings = [*toy_run.TOY, "epochs=20"]
    command = [sys.executable, "-m", "lab7.cli", "train", "--preset", "smoke", "--name", "two", "--no-score"]
    processes = [
        subprocess.Popen(
            [*command, "--set", *settings],
            env=os.environ | CPU | places | meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    deadline = time.monotonic() + 120
    while not (tmp_path / "two" / "checkpoint.pt").exists():
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.02)
    processes[killed].send_signal(signal.SIGKILL)
    _, stderr = processes[1 - killed].communicate(timeout=60)
    processes[killed].communicate()
    assert processes[1 - killed].returncode == 1 and "Traceback" not in stderr
    assert f"lab7: two: process {1 - killed} lost another process of this training" in stderr and "--resume" in stderr
    assert not (tmp_path / "two" / "weights.safetensors").exists()
    resumed = train(toy_run.toy("epochs=20"), "two", resume=True, data=data, runs=tmp_path, progress=False)
    assert read_json(resumed / "result.json", "a result")["steps"] == 80

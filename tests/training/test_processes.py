"""A training by two CPU processes: the curve of one, a process that is killed, and how it goes on."""

import json
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
from lab7.training.run_folder import read_metrics

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["n_feature=8", "image_size=32", "batch_size=4", "save_every=2", "snapshots=0", "warmup_steps=0", "norm=group"]
MAIN = "import sys; from lab7.training import run; run.LOG_EVERY = 1; from lab7.cli.main import main; sys.exit(main())"


@pytest.fixture(scope="module", name="data")
def make_data(tmp_path_factory):
    return toy_run.make_pictures(tmp_path_factory.mktemp("data"))


def train(data: Path, runs: Path, name: str, steps: int, *words: str, world: int = 2) -> list[subprocess.Popen]:
    """The processes of one training, by the variables that every launcher sets; a line of metrics every step.

    The network has group norm, for batch norm averages over the pictures of one process.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    env |= {"LAB7_DATA": str(data), "LAB7_RUNS": str(runs), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", MAIN, "train", "--preset", "smoke", "--name", name, "--no-score", *words]
    command += ["--set", *SMALL, "epochs=1000", f"max_steps={steps}"]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)} for rank in range(world)]
    return [
        subprocess.Popen(command, env=env | rank, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in (ranks if world > 1 else [{}])
    ]


def finished(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr


def curve(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder, "loss")]


def test_accelerate_launch_trains_one_model(data, tmp_path):
    """Half a batch each, one set of weights, one result."""
    # with --cpu alone accelerate starts one process; --multi_gpu is its name for its launcher of several
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    command += ["--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"]
    command += ["--num_cpu_threads_per_process=1", toy_run.__file__, str(data), str(tmp_path), "two", "epochs=2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env=env, timeout=240)
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert result["processes"] == 2 and result["steps"] == 8 and result["images_seen"] == 32
    assert load_pipeline(tmp_path / "two")([["red cube"]], num_steps=2).isfinite().all()


def test_two_processes_have_the_loss_of_one(data, tmp_path):
    finished(train(data, tmp_path, "one", 8, world=1))
    finished(train(data, tmp_path, "two", 8))
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == 8 and two == pytest.approx(one, rel=1e-4)


def test_a_killed_process_ends_the_other_with_a_line_and_the_run_goes_on(data, tmp_path):
    first, second = train(data, tmp_path, "two", 40)
    deadline = time.monotonic() + 120
    while not (tmp_path / "two" / "checkpoint.pt").exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL)
    _, stderr = first.communicate(timeout=60)
    second.communicate()
    assert first.returncode == 1 and "Traceback" not in stderr
    assert "lab7: two: process 0 lost another process of this training" in stderr and "--resume" in stderr
    assert not (tmp_path / "two" / "weights.safetensors").exists()
    finished(train(data, tmp_path, "two", 40, "--resume"))
    assert len(curve(tmp_path / "two")) == 40

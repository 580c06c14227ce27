"""Faults of the world around a training and a report: disks, modes, terminals, environments, other processes."""

import errno
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from toy_run import make_pictures, toy

from lab7.ablation.workspace import open_workspace
from lab7.cli.main import main
from lab7.dataset import ray_casting
from lab7.pipeline import load_pipeline
from lab7.report import build
from lab7.training import loop
from lab7.training.run_folder import read_metrics
from lab7.utils import files
from lab7.utils.files import ROOT, Failure, UserError, fix_places

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(data, tmp_path):
    """Train a toy run in tmp_path."""

    def run(name="toy", *settings, **options):
        return loop.train(toy(*settings), name, data=data, runs=tmp_path, progress=False, **options)

    return run


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A finished run; to be copied, not changed."""
    return loop.train(toy(), "toy", data=data, runs=tmp_path_factory.mktemp("runs"), progress=False)


def refused(call, *arguments, **options) -> str:
    with pytest.raises((UserError, Failure)) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_relative_place_is_the_same_for_the_command_and_for_its_notebooks(tmp_path, monkeypatch):
    import nbformat

    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "BUILD", "RUNS"):
        monkeypatch.setenv(f"LAB7_{name}", name.lower())
    Path("data").mkdir()
    make_pictures(tmp_path / "data")
    code = "import lab7, os\nfrom lab7.utils import files\n"
    code += f"open({str(tmp_path / 'seen')!r}, 'w').write(f'{{files.data_dir()}} {{files.runs_dir()}} {{os.getcwd()}}')"
    parameters = nbformat.v4.new_code_cell('preset = "quick"', metadata={"tags": ["parameters"]})
    (tmp_path / "books").mkdir()
    nbformat.write(
        nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)]), tmp_path / "books" / "01.ipynb"
    )
    fix_places()
    build.run_notebooks(open_workspace("quick"), [], tmp_path / "books")
    places = (tmp_path / "data", tmp_path / "runs", tmp_path / "books")
    assert (tmp_path / "seen").read_text().split() == [str(place) for place in places]


def test_without_a_folder_for_its_cache_the_renderer_is_compiled_anew(monkeypatch):
    def no_folder(*functions, cache=False):
        if cache:
            return lambda function: (_ for _ in ()).throw(RuntimeError("cannot cache function: no locator available"))
        return functions[0]

    monkeypatch.setattr(ray_casting, "njit", no_folder)
    assert ray_casting.compiled(len) is len


def test_all_files_of_a_run_have_one_mode(whole):
    modes = {path.stat().st_mode & 0o777 for path in whole.rglob("*") if path.is_file()}
    probe = whole / "probe"
    probe.touch()
    assert modes == {probe.stat().st_mode & 0o777}
    probe.unlink()


def test_a_full_disk_keeps_the_last_good_checkpoint(run, whole, tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full; free some space and run the same command again" in refused(run)
    kept = torch.load(tmp_path / "toy" / "checkpoint.pt", weights_only=True)
    assert 0 < kept["step"] < 16 and not list((tmp_path / "toy").rglob(".*"))
    monkeypatch.setattr(os, "fsync", sync)
    again = run(resume=True)
    assert (again / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_small_and_read_only_disks_are_one_line(data, tmp_path):
    code = """
import os
from lab7.cli.main import main
train = ["train", "--preset", "smoke", "--no-score", "--set", "max_steps=2", "snapshots=0"]
judge = ["judge", "--train", "--kind", "small", "--out", "read_only/judge.safetensors"]
print(main(train), main(judge), main(["report"]), main(["ablate", "--preset", "smoke"]))
os.environ["LAB7_RUNS"] = "small"
print(main(train))
"""
    for name in ("small", "read_only"):
        (tmp_path / name).mkdir()
    script = 'mount -t tmpfs -o size=300k none small && mount -t tmpfs -o ro none read_only && exec python -c "$CODE"'
    places = {"LAB7_DATA": str(data), "LAB7_RUNS": "read_only", "LAB7_BUILD": "read_only", "CODE": code}
    places["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["unshare", "-m", "sh", "-ec", script]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | places, capture_output=True, text=True)
    if "mount" in done.stderr:
        pytest.skip("may not mount")
    lines = [line for line in done.stderr.splitlines() if line.startswith("lab7: ")]
    assert done.stdout.split() == [*"22221"] and "Traceback" not in done.stderr, done.stderr
    assert sum("cannot be written" in line for line in lines) == 4
    assert "small/smoke/checkpoint.pt: the disk is full" in lines[-1]


def test_a_terminal_that_lacks_a_letter(tmp_path, monkeypatch):
    for encoding in ("ascii", "cp950", "cp1252"):
        printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", printed)
        assert main(["data", "--scenes", "1", "--size", "16x16", "--out", str(tmp_path / "資料-é")]) == 0
        assert b"3 pictures of 1 scene" in printed.buffer.getvalue()


def test_an_output_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["data", "--scenes", "1", "--size", "16x16", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("lab7: what lab7 writes: the disk is full")


def test_processes_that_cannot_meet(run, monkeypatch):
    monkeypatch.setattr(accelerate.state.PartialState, "_shared_state", {})
    monkeypatch.setattr(accelerate.state.AcceleratorState, "_shared_state", {})
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0"), ("ACCELERATE_USE_CPU", "true")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert "start them by `accelerate launch`, or unset WORLD_SIZE" in refused(run)


def test_a_checkpoint_that_does_not_fit(run, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "toy")
    (folder / "result.json").unlink()
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    name = next(iter(state["model"]))
    sparse = state["model"] | {name: state["model"][name].to_sparse()}
    for broken in (state | {"model": sparse}, state | {"model": {}}, {"step": 3}, [1]):
        torch.save(broken, folder / "checkpoint.pt")
        assert "checkpoint.pt: does not fit the run" in refused(run, resume=True)


def test_what_a_run_has_written_is_compared_with_its_checksums(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "toy")
    weights, metrics, config = (folder / name for name in ("weights.safetensors", "metrics.jsonl", "config.json"))
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 4
    weights.write_bytes(content)
    assert "its checksum is not the one in result.json" in refused(load_pipeline, folder)
    assert "its checksum is not the one in result.json" in refused(load_pipeline, weights)
    for path in (metrics, config):
        path.write_text(path.read_text().replace("1", "2", 1))
    assert "metrics.jsonl: is damaged" in refused(read_metrics, folder)
    assert "config.json: was damaged or changed" in refused(files.read_json, config, "settings")
    metrics.write_text('{"step": 1, "loss": 2.5}\n')  # of an earlier version, without checksums
    assert read_metrics(folder) == [{"step": 1, "loss": 2.5}]
    plain = {key: value for key, value in json.loads(config.read_text()).items() if key != "checksum"}
    config.write_text(json.dumps(plain))
    assert files.read_json(config, "settings") == plain


def test_two_trainings_of_one_name_and_two_reports(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path / "build"))
    code = "import sys, time\nfrom pathlib import Path\nfrom lab7.utils.files import locked\n"
    code += "with locked(Path(sys.argv[1])), locked(Path(sys.argv[2])):\n    print(1, flush=True)\n    time.sleep(60)"
    command = [sys.executable, "-c", code, str(tmp_path / "toy"), str(tmp_path / "build" / "smoke")]
    owner = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE)
    owner.stdout.readline()
    assert f"toy: process {owner.pid} on {platform.node()} is writing there" in refused(run, "toy", "max_steps=1")
    assert f"smoke: process {owner.pid} on {platform.node()} is writing there" in refused(build.run, "smoke")
    owner.kill(), owner.wait()
    assert run("toy", "max_steps=1") == tmp_path / "toy"

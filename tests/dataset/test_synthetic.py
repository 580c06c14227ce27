import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from lab7.dataset.layout import load_pictures
from lab7.dataset.synthetic import is_synthetic, render_pictures, write_synthetic
from lab7.utils.files import ROOT, Failure, UserError


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_synthetic(folder, 22, processes=1, progress=False)
    return folder


def test_the_courses_layout(whole):
    labels = json.loads((whole / "train.json").read_text())
    assert len(labels) == 66 == len(list((whole / "iclevr").iterdir()))
    assert list(labels)[:4] == [f"CLEVR_train_00000{s}_{k}.png" for s, k in ((0, 0), (0, 1), (0, 2), (1, 0))]
    for scene in range(22):
        of_scene = [labels[f"CLEVR_train_{scene:06d}_{k}.png"] for k in range(3)]
        assert [len(names) for names in of_scene] == [1, 2, 3]
        assert of_scene[2][:2] == of_scene[1] and of_scene[1][:1] == of_scene[0]
    with Image.open(whole / "iclevr" / "CLEVR_train_000021_2.png") as image:
        assert image.size == (64, 64) and image.mode == "RGB"
    assert is_synthetic(whole)


def test_any_number_of_processes_gives_the_same_bytes_and_a_folder_grows(whole, tmp_path):
    write_synthetic(tmp_path / "many", 5, processes=1, progress=False)
    write_synthetic(tmp_path / "many", 22, processes=2, progress=False)
    assert contents(tmp_path / "many") == contents(whole)


def test_pictures_in_memory_are_those_of_the_files(whole, tmp_path):
    images, labels = render_pictures(0, 3, processes=1)
    loaded = load_pictures(shutil.copytree(whole, tmp_path / "copy"))
    assert torch.equal(loaded.images[:9], images) and torch.equal(loaded.labels[:9], labels)
    assert labels.sum(dim=1).tolist() == [1, 2, 3] * 3


def test_another_seed_gives_other_pictures():
    assert not torch.equal(render_pictures(0, 1)[0], render_pictures(1, 1)[0])


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(whole, tmp_path):
    code = (
        "import sys\nfrom lab7.dataset.synthetic import write_synthetic\n"
        "if __name__ == '__main__': write_synthetic(sys.argv[1], 22, processes=1, progress=False)\n"
    )
    (tmp_path / "run.py").write_text(code)
    out = tmp_path / "out"
    root = str(ROOT)
    environment = os.environ | {"PYTHONPATH": root}
    process = subprocess.Popen([sys.executable, tmp_path / "run.py", out], env=environment)
    deadline = time.monotonic() + 60
    while len(list(out.glob("iclevr/CLEVR*.png"))) < 20 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "train.json").exists()
    for path in out.glob("iclevr/CLEVR*.png"):
        with Image.open(path) as image:
            image.load()
    (out / "iclevr" / ".CLEVR_train_000000_0.png.tmp").write_bytes(b"left over")
    write_synthetic(out, 22, processes=1, progress=False)
    assert contents(out) == contents(whole)


def test_a_whole_folder_is_left_alone_and_a_damaged_one_is_mended(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    write_synthetic(out, 22, processes=1, progress=False)
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    broken, missing = (out / "iclevr" / f"CLEVR_train_00000{k}_1.png" for k in range(2))
    broken.write_bytes(broken.read_bytes()[:500])
    missing.unlink()
    write_synthetic(out, 22, processes=1, progress=False)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 3}, r"holds pictures of another seed \(0, not 3\); choose another folder with --out"),
        ({"size": (32, 32)}, r"holds pictures of another size \(\[64, 64\], not \[32, 32\]\)"),
        ({"scenes": 5}, "holds 22 scenes already, more than 5"),
    ],
)
def test_other_pictures_are_not_mixed_in(whole, options, message):
    before = contents(whole)
    with pytest.raises(UserError, match=message):
        write_synthetic(whole, **{"scenes": 22, "progress": False} | options)
    assert contents(whole) == before


@pytest.mark.parametrize("what", ["train.json", "iclevr"])
def test_the_courses_own_pictures_are_never_touched(tmp_path, what):
    (tmp_path / "iclevr").mkdir() if what == "iclevr" else (tmp_path / what).write_text("{}")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"{what}: was not rendered here"):
        write_synthetic(tmp_path, 3, progress=False)
    assert contents(tmp_path) == before and not (tmp_path / "synthetic.json").exists()


def test_the_courses_files_dropped_over_the_stand_in_are_the_courses(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    (tmp_path / "out" / "train.json").write_text('{"CLEVR_train_000000_0.png": ["red cube"]}')
    assert not is_synthetic(tmp_path / "out")
    with pytest.raises(UserError, match="was not rendered here"):
        write_synthetic(tmp_path / "out", 22, progress=False)


def test_labels_that_were_put_over_a_half_rendered_folder_are_kept(tmp_path):
    write_synthetic(tmp_path, 3, progress=False)
    manifest = json.loads((tmp_path / "synthetic.json").read_text())
    unfinished = {key: value for key, value in manifest.items() if key not in ("train_sha256", "checksum")}
    (tmp_path / "synthetic.json").write_text(json.dumps(unfinished))
    (tmp_path / "train.json").write_text('{"CLEVR_train_000000_0.png": ["red cube"]}')
    with pytest.raises(UserError, match="train.json: was not rendered here"):
        write_synthetic(tmp_path, 3, progress=False)
    assert "red cube" in (tmp_path / "train.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scenes": 0}, "at least 1, not 0"), ({"size": (4, 64)}, "between 8x8 and 4096x4096 pixels, not 4x64")],
)
def test_senseless_numbers_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        write_synthetic(tmp_path / "out", **{"progress": False} | options)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_is_reported_and_what_was_finished_stays(tmp_path, monkeypatch):
    real, calls = Image.Image.save, []

    def save(self, path, **options):
        calls.append(path)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save)
        with pytest.raises(Failure, match="the disk is full; free some space and run the same command again"):
            write_synthetic(tmp_path, 3, processes=1, progress=False)
    assert len(list((tmp_path / "iclevr").glob("CLEVR*"))) == 5 and not (tmp_path / "train.json").exists()
    write_synthetic(tmp_path, 3, processes=1, progress=False)
    assert len(json.loads((tmp_path / "train.json").read_text())) == 9

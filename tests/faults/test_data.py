"""What outside cases found in folders of pictures, their lists and classifiers: one line, or harmless."""

import contextlib
import errno
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from course_folder import FIRST, LABELS, make_folder, noise
from PIL import Image

from lab7.dataset import layout
from lab7.dataset.conditions import load_list, read_conditions
from lab7.dataset.images import cache_path, read_picture
from lab7.dataset.layout import load_pictures
from lab7.dataset.synthetic import render_pictures, write_synthetic
from lab7.judge.networks import build_classifier, default_judge, load_judge, save_judge
from lab7.report import build
from lab7.utils.files import ROOT, UserError, sha256, shipped_dir, write_json


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data")


def refusal(call, *arguments, **options) -> str:
    """The message of the UserError that a call must raise: one line without control characters."""
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    message = str(error.value)
    assert message.isprintable() and len(message) < 500
    return message


def test_lists_saved_by_a_windows_editor(folder):
    for name in ("train.json", "objects.json"):
        (folder / name).write_text((folder / name).read_text(), encoding="utf-8-sig")
    (folder / "test.json").write_text('[["red cube"]]', encoding="utf-8-sig")
    assert len(load_pictures(folder)) == 5 and load_list("test", folder) == [["red cube"]]
    for name in ("train.json", "objects.json"):
        (folder / name).write_text(json.dumps(LABELS), encoding="utf-16")
        assert f"{name}: not valid JSON" in refusal(load_pictures, folder)
    (folder / "test.json").write_text('[["red cube"]]', encoding="utf-16")
    assert "test.json: not valid JSON" in refusal(load_list, "test", folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, '["' + "1" * 9999, "9" * 9999, "\x00", "\ud800"])
def test_json_that_is_built_to_hurt(folder, content):
    for call, name, argument in (
        (read_conditions, "list.json", folder / "list.json"),
        (load_pictures, "train.json", folder),
        (load_pictures, "objects.json", folder),
    ):
        (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
        assert name in refusal(call, argument)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd.png", "a/b.png", "a\nb.png", "\x1b[2J.png"])
def test_names_that_leave_the_folder_or_its_line(folder, name):
    noise().save(folder / "secret.png")
    (folder / "train.json").write_text(json.dumps(LABELS | {name: ["red cube"]}))
    assert "is not the name of a file in iclevr/" in refusal(load_pictures, folder)


def test_labels_with_html_are_unknown(folder):
    (folder / "train.json").write_text(json.dumps(LABELS | {FIRST: ["<script>alert(1)</script>"]}))
    assert "unknown label '<script>" in refusal(load_pictures, folder)


def _png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, part in parts:
        content += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
    return content


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (9_000, 9_000), (2**31 - 1, 1)])
def test_a_picture_that_would_fill_the_memory(folder, width, height, recwarn):
    (folder / "iclevr" / FIRST).write_bytes(_png(width, height, bytes(1000)))
    assert FIRST in refusal(load_pictures, folder) and not recwarn.list


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_picture_of_more_than_eight_bits_is_refused(tmp_path, mode):
    name = "deep.png" if mode == "I;16" else "deep.tif"
    Image.fromarray(np.full((8, 8), 20_000, {"I;16": "uint16", "I": "int32", "F": "float32"}[mode])).save(
        tmp_path / name
    )
    assert "more than 8 bits a colour; save it with 8" in refusal(read_picture, tmp_path / name)


def test_flipped_bits_in_a_picture_are_noticed(tmp_path):
    path, numbers = tmp_path / "a.png", random.Random(0)
    noise(16, 16).save(path)
    content, pixels = path.read_bytes(), read_picture(path)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):
            assert np.array_equal(read_picture(path), pixels), "other pixels, and no word"


def test_a_cache_with_flipped_bits_is_made_anew(folder):
    pictures = load_pictures(folder)
    path, numbers = cache_path(folder, 64), random.Random(0)
    content = path.read_bytes()
    start = content.index(b"(5, 3, 64, 64)")
    places = [start + 1, *(numbers.randrange(len(content)) for _ in range(30))]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 if place == start + 1 else 1 << numbers.randrange(8)
        path.write_bytes(damaged)
        again = load_pictures(folder)
        assert torch.equal(again.images, pictures.images) and again.names == pictures.names


def test_links_to_nowhere_and_lock_files_of_editors(folder, monkeypatch):
    for name in ("iclevr/.#x.png", ".#train.json", "iclevr/other.png"):
        (folder / name).symlink_to("someone@host.123:456")
    assert len(load_pictures(folder)) == 5
    (folder / "test.json").symlink_to("nowhere")
    assert "test.json: no such file" in refusal(load_list, "test", folder)
    monkeypatch.setenv("LAB7_DATA", str(folder))
    (folder / "checkpoint.pth").symlink_to("nowhere")
    assert "checkpoint.pth: no such file" in refusal(default_judge)
    assert build._sources(SimpleNamespace(data=folder))  # what the report is made from


def test_pictures_whose_labels_lie_elsewhere(folder, monkeypatch):
    labels = (folder / "train.json").read_bytes()
    (folder / "train.json").unlink()
    for call in (load_pictures, layout.describe, write_synthetic):
        assert "train.json: is missing, yet iclevr/ holds pictures" in refusal(call, folder)
        assert "iclevr: holds the pictures themselves; name the folder above" in refusal(call, folder / "iclevr")
    assert sorted(os.listdir(folder)) == ["iclevr", "objects.json"] and len(os.listdir(folder / "iclevr")) == 5
    (folder / "train.json").write_bytes(labels)
    assert len(load_pictures(folder)) == 5


def test_pictures_that_are_being_rendered(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom lab7.utils.files import locked\n"
        "with locked(Path(sys.argv[1])):\n    print(flush=True)\n    time.sleep(60)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    try:
        owner.stdout.readline()
        for call in (load_pictures, layout.describe, write_synthetic):
            assert f"process {owner.pid} on " in refusal(call, tmp_path)
    finally:
        owner.kill()
        owner.wait()
    assert "`lab7 data`" in refusal(load_pictures, tmp_path)  # a dead owner holds it no longer
    write_synthetic(tmp_path, 1, progress=False)
    assert len(load_pictures(tmp_path)) == 3 and not (tmp_path / ".lock").exists()


def test_where_memory_cannot_be_shared_one_process_renders(monkeypatch):
    expected = render_pictures(5, 2, processes=1)

    def refuse(*_args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", refuse)
    assert torch.equal(render_pictures(5, 2, processes=2)[0], expected[0])


@pytest.fixture(scope="module")
def classifier():
    return build_classifier()


@pytest.mark.parametrize(
    "value",
    [
        torch.full((64,), torch.nan),
        torch.full((64,), torch.inf),
        torch.ones(64).to_sparse(),
        torch.ones(64) * 1j,
        "text",
    ],
    ids=["nan", "infinite", "sparse", "complex", "text"],
)
def test_weights_that_are_no_numbers_are_the_files_fault(tmp_path, classifier, value):
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": classifier.state_dict() | {"bn1.running_var": value}}, path)
    assert "checkpoint.pth: 'bn1.running_var' holds NaN or infinity, or is no plain tensor" in refusal(load_judge, path)


def test_flipped_bits_in_a_classifier_are_noticed(tmp_path, classifier):
    numbers = random.Random(0)
    for name in ("checkpoint.pth", "judge.safetensors"):
        path = tmp_path / name
        if name == "checkpoint.pth":
            torch.save({"model": classifier.state_dict()}, path)
        else:
            save_judge(path, classifier)
            write_json(path.with_suffix(".json"), {"sha256": sha256(path)})
        load_judge(path)
        content = path.read_bytes()
        for _ in range(5):
            damaged = bytearray(content)
            for _ in range(3):
                damaged[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
            path.write_bytes(damaged)
            assert name in refusal(load_judge, path)
    assert (shipped_dir() / "weights" / "judge.json").exists()

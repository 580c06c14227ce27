"""What a user can get wrong about the data: one line each, with the file and the remedy."""

import errno
import io
import json
import os
import shutil

import pytest
import torch
from course_folder import FIRST, LABELS, make_folder, noise

from lab7.dataset.conditions import load_list, read_conditions
from lab7.dataset.images import read_picture, save_grid, save_png
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import fit_normaliser
from lab7.utils.files import Failure, UserError
from lab7.vocabulary import CLASSES


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data")


def told(call, *arguments, kind=UserError, **named):
    """The message of the UserError that a call must raise; one line."""
    with pytest.raises(kind) as error:
        call(*arguments, **named)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_missing_folder(tmp_path):
    message = told(load_pictures, tmp_path / "nowhere")
    assert "nowhere: no such folder" in message and "`lab7 data`" in message


def test_missing_labels(folder):
    (folder / "train.json").unlink()
    assert "train.json: is missing, yet iclevr/ holds pictures" in told(load_pictures, folder)
    shutil.rmtree(folder / "iclevr")
    message = told(load_pictures, folder)
    assert "train.json: no such file" in message and "`lab7 data`" in message


def test_missing_pictures_folder(folder):
    for path in (folder / "iclevr").iterdir():
        path.unlink()
    (folder / "iclevr").rmdir()
    message = told(load_pictures, folder)
    assert "iclevr: no such folder" in message and "`lab7 data`" in message


@pytest.mark.parametrize("cached", [False, True])
def test_missing_pictures(folder, cached):
    if cached:
        load_pictures(folder)
    for name in list(LABELS)[1:3]:
        (folder / "iclevr" / name).unlink()
    message = told(load_pictures, folder)
    assert list(LABELS)[1] in message and "2 of 5 are missing" in message and "`lab7 data`" in message


def test_a_link_to_nowhere_is_a_missing_picture(folder):
    (folder / "iclevr" / FIRST).unlink()
    (folder / "iclevr" / FIRST).symlink_to(folder / "nowhere.png")
    assert "1 of 5 are missing" in told(load_pictures, folder)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_a_file_that_is_no_picture(folder, content):
    (folder / "iclevr" / FIRST).write_bytes(content)
    message = told(load_pictures, folder)
    assert FIRST in message and "copy it again, or delete it and run `lab7 data`" in message
    assert not list(folder.glob("cache/*"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_cut_anywhere_is_told_or_whole(tmp_path, kind):
    whole = io.BytesIO()
    noise(16, 16).save(whole, format=kind)
    content, path = whole.getvalue(), tmp_path / "picture.png"
    path.write_bytes(content)
    expected = read_picture(path).tobytes()
    refused = 0
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        try:
            assert read_picture(path).tobytes() == expected, f"cut at {length}: other pixels, and no word"
        except UserError as error:
            assert "picture.png" in str(error)
            refused += 1
    assert refused > len(content) // 7 * 0.9


def test_a_folder_in_a_pictures_place(folder):
    (folder / "iclevr" / FIRST).unlink()
    (folder / "iclevr" / FIRST).mkdir()
    assert FIRST in told(load_pictures, folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a.png": ["red cube"],}', "line 1 column"),
        ("[]", "must hold {file name: [labels]}, not a list"),
        ('"text"', "not a text"),
        ("3", "not 3"),
        ("null", "not null"),
        ("{}", "names no pictures"),
        (json.dumps(LABELS | {FIRST: []}), f"'{FIRST}': an empty condition"),
        (json.dumps(LABELS | {FIRST: ["red cub"]}), "unknown label 'red cub'; did you mean 'red cube'?"),
        (json.dumps(LABELS | {FIRST: ["red cube", "red cube"]}), "'red cube' is repeated"),
        (json.dumps(LABELS | {FIRST: "red cube"}), "must be a list of labels"),
        (json.dumps(LABELS | {FIRST: {"red cube": 1}}), "must be a list of labels"),
        (json.dumps(LABELS | {FIRST: [3]}), "a label must be a text"),
    ],
)
def test_bad_labels(folder, content, expected):
    (folder / "train.json").write_text(content)
    message = told(load_pictures, folder)
    assert "train.json" in message and expected in message


def test_pictures_without_an_entry(folder):
    for name in ("extra_1.png", "extra_0.png"):
        noise().save(folder / "iclevr" / name)
    message = told(load_pictures, folder)
    assert "extra_0.png: has no entry in train.json" in message and "without one: 2" in message
    assert "move such files away or add their labels" in message


OBJECTS = {name: index for index, name in enumerate(CLASSES)}


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (OBJECTS | {"gray cube": 1}, "gives 'gray cube' the index 1, which must have 0"),
        ({name: index for name, index in OBJECTS.items() if name != "red sphere"}, "lacks 'red sphere'"),
        (OBJECTS | {"red cone": 24}, "unknown class 'red cone'"),
        (list(OBJECTS), "must hold {class: index}, not a list"),
    ],
)
def test_objects_that_disagree(folder, objects, expected):
    (folder / "objects.json").write_text(json.dumps(objects))
    message = told(load_pictures, folder)
    assert "objects.json" in message and expected in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[[", "not valid JSON"),
        ('"red cube"', "not a text"),
        ("[]", "holds no conditions"),
        ("{}", "must hold conditions"),
        ('[["red cube"], []]', "entry 2: an empty condition"),
        ('[["red cube"], ["blue cub"]]', "entry 2: unknown label 'blue cub'; did you mean 'blue cube'?"),
        ('["red cube"]', "entry 1: a condition must be a list"),
        ('[["red cube", "red cube"]]', "entry 1: label 'red cube' is repeated"),
    ],
)
def test_bad_conditions(folder, content, expected):
    path = folder / "test.json"
    path.write_text(content)
    assert expected in told(read_conditions, path) and "test.json" in told(read_conditions, path)
    assert expected in told(load_list, "test", folder)


def test_conditions_that_are_missing_and_an_unknown_list(tmp_path):
    assert "no such file" in told(read_conditions, tmp_path / "list.json")
    assert "unknown list 'tset'; choose one of test, new_test, unseen" in told(load_list, "tset")
    assert "`lab7 data`" in told(load_list, "unseen", tmp_path / "nowhere")


def test_normalisation_of_pictures_that_are_all_alike():
    assert "all alike" in told(fit_normaliser, torch.full((3, 3, 8, 8), 7, dtype=torch.uint8))
    assert "choose one of deviation, plain" in told(fit_normaliser, torch.zeros(2, 3, 8, 8), "unit")


@pytest.fixture
def full_disk(monkeypatch):
    def fail(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


def test_disk_full_while_a_picture_is_written(tmp_path, full_disk):
    for write, x in ((save_png, torch.zeros(3, 8, 8)), (save_grid, torch.zeros(4, 3, 8, 8))):
        message = told(write, x, tmp_path / "out" / "picture.png", kind=Failure)
        assert "picture.png: the disk is full" in message
    assert list((tmp_path / "out").iterdir()) == []


def test_disk_full_costs_only_the_cache(folder, full_disk, recwarn, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path / "build"))
    assert len(load_pictures(folder)) == 5
    assert list(folder.rglob("*.npy*")) == list((tmp_path / "build").rglob("*.npy*")) == []
    assert not recwarn.list

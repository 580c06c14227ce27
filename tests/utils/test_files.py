"""Folders, whole files or none, and JSON that is told apart from what is not."""

import errno
import os
import subprocess
import sys

import pytest

from lab7.utils import files
from lab7.utils.files import UserError, atomic_path, read_json, short, write_json


def test_json_round_trip(tmp_path):
    value = {"b": [1, 2.5, None], "a": "grün"}
    write_json(tmp_path / "new" / "value.json", value)
    assert read_json(tmp_path / "new" / "value.json", "a value") == value
    assert list(read_json(tmp_path / "new" / "value.json", "a value")) == ["b", "a"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["value.json"]


def test_nothing_is_visible_before_the_end(tmp_path):
    path = tmp_path / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "half"


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_while_writing_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import os, signal\nfrom lab7.utils.files import atomic_path\n"
        f"with atomic_path({str(path)!r}) as temporary:\n"
        "    temporary.write_text('new')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(files.ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written")])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, number, told):
    def fail(_descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=told) as error:
        write_json(tmp_path / "value.json", [1])
    assert "value.json" in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "value.json", [1])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1,}', "line 1 column"),
        (b'[\n["red cube"\n', "line 3 column"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "utf-8"),
    ],
)
def test_json_that_does_not_parse(tmp_path, content, told):
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        read_json(tmp_path / "list.json", "conditions")
    assert "list.json" in str(error.value) and "it should hold conditions" in str(error.value)


def test_json_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "list.json", "conditions")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path, "conditions")


@pytest.mark.parametrize("name", ["data", "runs", "figures", "build"])
def test_a_folder_can_be_named_by_the_environment(tmp_path, monkeypatch, name):
    for other in ("DATA", "RUNS", "FIGURES", "BUILD"):
        monkeypatch.delenv(f"LAB7_{other}", raising=False)
    assert getattr(files, f"{name}_dir")() == files.ROOT / ("build/quick/figures" if name == "figures" else name)
    monkeypatch.setenv(f"LAB7_{name.upper()}", str(tmp_path))
    assert getattr(files, f"{name}_dir")() == tmp_path
    assert files.shipped_dir() == files.ROOT / "data"


def test_short_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short(tmp_path / "a" / "b.json") == os.path.join("a", "b.json")
    assert short(tmp_path.parent) == str(tmp_path.parent)


def test_json_is_laid_out_for_readers_and_read_back_as_it_was(tmp_path):
    value = {"hits": [[3, 2, -1.5e-07], [], [0]], "names": ["a\n[\n1\n]", "b"], "nested": [[1, None], {"k": [1.0, 2]}]}
    files.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert "[3, 2, -1.5e-07]" in text and '"k": [1.0, 2]' in text and text.endswith("}\n")
    assert files.read_json(tmp_path / "a.json", "a test") == value

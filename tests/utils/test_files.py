"""Folders, whole files or none, and JSON that is told apart from what is not."""

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lab7.utils import files
from lab7.utils.files import Failure, UserError, atomic_path, locked, read_json, short, write_json


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
    with pytest.raises(Failure if number == errno.ENOSPC else UserError, match=told) as error:
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
        read_json(tmp_path / "list.json", "conditions", list)
    assert "list.json" in str(error.value) and "it should hold conditions" in str(error.value)


def test_json_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "list.json", "conditions", list)
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path, "conditions", list)


@pytest.mark.parametrize("name", ["data", "runs", "build"])
def test_a_folder_can_be_named_by_the_environment(tmp_path, monkeypatch, name):
    for other in ("DATA", "RUNS", "BUILD"):
        monkeypatch.delenv(f"LAB7_{other}", raising=False)
    assert getattr(files, f"{name}_dir")() == files.ROOT / name
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


def test_places_are_absolute_and_the_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB7_DATA", "course")
    monkeypatch.setenv("LAB7_RUNS", "~/runs")
    files.fix_places()
    assert os.environ["LAB7_DATA"] == str(tmp_path / "course")
    monkeypatch.chdir(tmp_path.parent)
    assert files.data_dir(new=True) == tmp_path / "course" and files.runs_dir() == tmp_path / "home" / "runs"
    with pytest.raises(UserError, match="course: no such folder; mend its name"):
        files.data_dir()
    (tmp_path / "course").mkdir()
    assert files.data_dir() == tmp_path / "course"


def test_a_relative_place_is_refused_in_a_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", files)
    monkeypatch.setenv("LAB7_DATA", "course")
    with pytest.raises(UserError, match="LAB7_DATA=course: give the whole path"):
        files.data_dir()
    monkeypatch.setenv("LAB7_DATA", "/tmp")
    assert files.data_dir() == Path("/tmp")


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors writes
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_the_left_overs_of_killed_processes_are_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = [f".a.pt.{platform.node()}-{pid}.tmp" for pid in (dead.pid, os.getpid())]
    others = [f".a.pt.elsewhere-{dead.pid}.tmp", ".mine.tmp"]
    for name in (*names, *others):
        (tmp_path / name).touch()
    write_json(tmp_path / "b.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"b.json", names[1], *others}


def test_a_temporary_folder_outlives_a_killed_process_only_until_the_next_one(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(files.ROOT), "LAB7_BUILD": str(tmp_path)}

    def make(end: str) -> list[Path]:
        code = f"import os\nfrom lab7.utils.files import *\nmade = temporary_folder()\n{end}"
        subprocess.run([sys.executable, "-c", code], env=environment)
        return list(tmp_path.iterdir())

    [killed] = make("(Path(made.name) / 'weights').touch()\nos.kill(os.getpid(), 9)")
    assert (killed / "weights").exists()
    assert make("assert len(list(build_dir().iterdir())) == 1") == []


def test_a_lock_names_its_owner_and_ends_with_it(tmp_path):
    code = f"import time\nfrom lab7.utils.files import *\nwith locked(Path({str(tmp_path)!r})):\n print(1, flush=True)"
    environment = os.environ | {"PYTHONPATH": str(files.ROOT)}
    owner = subprocess.Popen(
        [sys.executable, "-c", code + "\n time.sleep(60)"], env=environment, stdout=subprocess.PIPE
    )
    owner.stdout.readline()
    line = f"process {owner.pid} on {platform.node()} is writing there"
    with pytest.raises(UserError, match=line), locked(tmp_path):
        pass
    owner.kill(), owner.wait()
    for _ in range(2):
        with locked(tmp_path), locked(tmp_path):  # the same process may go in again
            assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}"
    assert list(tmp_path.iterdir()) == []


def test_json_with_a_mark_and_json_nested_too_deep(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json", "a list", list) == [1]
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "a.json", "a list", list)


def test_names_that_are_no_unicode_survive_json(tmp_path):
    value = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", "a name", str) == value


def test_what_cannot_be_read_is_not_called_unwritable(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "copy"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "elsewhere" / "metrics.jsonl"))
    message = str(files.write_error(None, PermissionError(errno.EACCES, "Permission denied", "metrics.jsonl")))
    assert message.startswith("metrics.jsonl: cannot be read or written (Permission denied)")


def test_a_loop_of_links_has_a_name_and_cannot_be_written(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert short(tmp_path / "loop") == str(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / ("n" * 300)):
        with pytest.raises(UserError, match="cannot be written"):
            write_json(path / "value.json", 1)
        with pytest.raises((UserError, OSError)):
            files.check_writable(path)

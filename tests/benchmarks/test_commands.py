"""Every benchmark explains itself, and work is done in turns."""

import runpy
from pathlib import Path

import pytest

from benchmarks import common

NAMES = sorted(path.stem for path in Path(common.__file__).parent.glob("[!_]*.py") if path.stem != "common")


@pytest.mark.parametrize("name", NAMES)
def test_help(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0 and "usage" in capsys.readouterr().out


def test_work_is_done_in_turns():
    order = []
    seconds = common.in_turns({name: lambda name=name: order.append(name) for name in "ab"}, turns=2)
    assert order == list("ababab") and set(seconds) == {"a", "b"}

"""A small number of the rounds of benchmarks/faults.py: killed, stopped and damaged."""

import os
import subprocess
import sys

from benchmarks import faults
from lab7.utils.files import ROOT


def test_killed_and_given_again_is_as_if_it_was_not_killed(capsys):
    faults.kills(1, commands=("data",))  # a training is killed in tests/training/test_loop.py
    assert "0 faults in 1 rounds" in capsys.readouterr().out


def test_signals_stop_a_command_and_its_processes_in_one_line(capsys):
    faults.stops(2, seed=1, commands=("ablate", "data"))
    assert "0 faults in 2 rounds" in capsys.readouterr().out


def test_an_interrupt_while_a_module_runs_a_text_gives_the_same_exit_code(tmp_path):
    lines = (
        "import sys",
        "from lab7.cli import main",
        "main._parse = lambda words: lambda: exec('raise KeyboardInterrupt')",
    )
    (tmp_path / "stopped.py").write_text("\n".join([*lines, "sys.exit(main.main([]))"]))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "stopped"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert (ended.returncode, ended.stderr) == (130, "lab7: stopped; what was finished is kept\n")


def test_damaged_files_are_refused_or_read_as_before(capsys, monkeypatch):
    for name in ("DATA", "RUNS", "BUILD"):
        monkeypatch.setenv(f"LAB7_{name}", "")  # put back at the end
    faults.corrupt(55)
    assert "0 faults in 55 rounds" in capsys.readouterr().out

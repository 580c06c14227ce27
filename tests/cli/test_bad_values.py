"""Every command and every option, given what it cannot take: one line on stderr, exit code 2 or 1, nothing written."""

import inspect

import pytest

from lab7.cli.main import COMMANDS, main

NUMBERS = ["", " ", "two", "1.5", "-1", "nan", "inf", "1e3", "0x10", "9" * 30, "1 2", "\u0663\u06f5x", "--"]
PATHS = ["", " ", "/proc/nowhere/x", "file/x", "n" * 5000, "a\0b"]
NAMES = ["", " ", ".", "..", "../x", "/x", ".x", "-x", "a/b", "a b", "n" * 200, "a\n", "a\0", "~"]
SETTINGS = [
    *("", "=", "epochs", "epochs=", "=3", "epochs=0", "epochs=-1", "epochs=1.5", "epochs=nan", "epochs==3"),
    *("batch_size=0", "image_size=0", "save_every=0", "image_size=7", "image_size=100000", "num_steps=3", "seed=1"),
    *("learning_rate=nan", "learning_rate=inf", "learning_rate=0", "learning_rate=-1", "shift=nan", "clip_norm=nan"),
    *("weight_decay=nan", "weight_decay=-1", "ema_decay=2", "ema_decay=1", "drop_probability=7", "widths=", "widths=a"),
    *(
        "widths=0",
        "widths=32,64",
        "blocks=1,,1",
        "guidance_scale=nan",
        "guidance_scale=1e30",
        "guidance_scale=inf",
        "t_end=1",
    ),
    *("network=resnet", "tokens=maybe", "compile=1", "precision=fp8", "train.epoch=1", "train=1", "train.=1"),
    *("samples=0", "noise_seed=-1"),
    *("judge_scenes=0", "plain_share=2", "evaluation_scenes=0", "scenes=0", "scene_seed=-5", "\u00e9pochs=1"),
]
TABLE = {
    "data": {"--scenes": [*NUMBERS, "0"], "--size": ["", "64", "0x0", "7x7", "-4x4", "64x64x64", "1e3x1", "9999x9"],
             "--seed": NUMBERS, "--out": PATHS},
    "train": {"--preset": ["", "huge", "SMOKE"], "--name": NAMES, "--weights": PATHS, "--set": SETTINGS,
              "--resume": ["maybe"], "--no-score": ["maybe"]},
    "score": {"": ["", "nowhere", "..", "n" * 5000, "\0"], "--set": ["epochs"]},
    "sample": {"--conditions": ["", " ", ",", "red", "red cub", "red cube, red cube", "nowhere.json", "file", "{}"],
               "--out": PATHS, "--weights": PATHS, "--sampler": ["", "euler"], "--steps": [*NUMBERS, "0", "1001"],
               "--guidance": ["", "two", "nan", "inf", "-inf", "-1", "1e30"],
               "--samples": [*NUMBERS, "0"], "--seed": NUMBERS},
    "judge": {"--images": [*PATHS, "file"], "--conditions": ["", "red cub", "nowhere.json"], "--weights": PATHS,
              "--compare": ["", "one", "one two", "one two three"], "--kind": ["", "large"], "--seed": NUMBERS},
    "ablate": {"--preset": ["", "huge", "quick"], "--arms": ["", "none", "all none"], "--jobs": NUMBERS,
               "--seeds": ["", "x", "-1", "3-1", "0-", "1.5", "0-9999999999", ",", "0,,1"],
               "--submit": ["", "pbs"], "--set": ["epochs", "epochs=0"]},
    "report": {"--preset": ["", "huge"], "--set": ["", "seed", "seed=", "seed=x", "sead=1", "seed=1.5", "seed=NaN"]},
    "doctor": {"--json": ["maybe"]},
    "exercises": {"--solutions": ["maybe"]},
}  # fmt: skip
NEEDED = {"sample": {"--conditions": ["red cube"], "--out": ["out"]}, "judge": {"--conditions": ["red cube"]}}
NEEDED["score"] = {"": ["nowhere"]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "RUNS", "BUILD"):
        monkeypatch.setenv(f"LAB7_{name}", str(tmp_path / name.lower()))
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("no picture, no list, no folder")
    return tmp_path


def words(command, option, value):
    """The command with one bad value, and what else it needs to be complete."""
    for name, values in ({option: None} | NEEDED.get(command, {})).items():
        given = value.split(" ") if name in ("--set", "--compare", "--arms") and value.strip() else [value]
        yield from ([name] if name else []) + (given if name == option else values)


def test_every_option_has_bad_values():
    for name, command in COMMANDS.items():
        options = {f"--{parameter.replace('_', '-')}" for parameter in inspect.signature(command).parameters}
        free = {"--json", "--list", "--evaluate", "--train", "--run", "--settings"}  # flags; --set is --settings
        assert options - free <= TABLE[name].keys() | {"--out"}, name
    assert sum(len(values) for options in TABLE.values() for values in options.values()) >= 120


@pytest.mark.parametrize(("command", "option"), [(one, option) for one in TABLE for option in TABLE[one]])
def test_a_bad_value_is_one_line(place, capsys, command, option):
    for value in TABLE[command][option]:
        try:
            code = main([command, *words(command, option, value)])
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if "%|" not in line and line.strip()]
        shown = (command, option, value[:50], code, out[-200:], err[-500:])
        assert code in (1, 2) and len(lines) == 1 and lines[0].startswith("lab7: "), shown
        assert "Traceback" not in err and not out, shown
    assert [path for path in place.rglob("*") if path.is_file()] == [place / "file"]

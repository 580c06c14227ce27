"""The files of a run's folder, and how a stopped run is opened again.

runs/NAME/config.json  metrics.jsonl  checkpoint.pt  samples/step_*.png  weights.safetensors  result.json
"""

import functools
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lab7 import config
from lab7.config import Preset
from lab7.utils.files import Failure, UserError, atomic_path, locked, read_json, runs_dir, short, write_text

# of a line of metrics.jsonl, besides its checksum, which recorded curves lack
_KEYS = {"step", "epoch", "images", "loss", "learning_rate", "images_per_second", "seconds", "accuracy", "plateau"}


def alone(train: Callable[..., Path]) -> Callable[..., Path]:
    """`train` (see loop.py), refused by a UserError while another process trains the run of that name."""

    @functools.wraps(train)
    def train_alone(preset: Preset, name: str, *, runs: Path | None = None, **options: Any) -> Path:
        with locked((runs or runs_dir()) / name):
            try:
                return train(preset, name, runs=runs, **options)
            except RuntimeError as error:  # the next exchange of gradients fails when a process is gone
                if not (torch.distributed.is_initialized() and re.search("gloo|nccl|peer", str(error), re.I)):
                    raise
                fault = f"process {torch.distributed.get_rank()} lost another process of this training"
                reason = "was it killed, or out of memory? Start all of them again with --resume"
                raise Failure(f"{name}: {fault}; {reason}") from None

    return train_alone


def open_run(folder: Path, preset: Preset, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to go on from; None for a new run or one that was stopped before its first checkpoint.

    Raises UserError if the folder holds a run and `resume` is not set, if that run has other settings, or if its
    checkpoint cannot be read.
    """
    stored, result = folder / "config.json", folder / "result.json"
    if not any(map(os.path.lexists, (stored, result, folder / "weights.safetensors"))):
        return None
    if not resume:
        raise UserError(f"{short(folder)}: holds a run already; go on with --resume, or choose another --name")
    before = config.from_dict(read_json(stored, "a run's settings"), where=short(stored))
    if difference := first_difference(before, preset):
        raise UserError(f"{short(folder)}: was begun with {difference}; use the same settings or another --name")
    path = folder / "checkpoint.pt"
    if not path.exists():
        if result.exists():
            raise UserError(f"{short(path)}: is not there, so this finished run cannot go on; choose another --name")
        return None
    try:
        with zipfile.ZipFile(path) as parts:
            if damaged := parts.testzip():  # torch itself does not compare the checksums
                raise ValueError(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise UserError(f"{short(path)}: may not be read by you; ask its owner") from None
    except Exception as error:  # a damaged file raises anything from EOFError to UnpicklingError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{short(path)}: cannot be read ({reason}); delete it to begin anew") from None


def first_difference(before: Preset, now: Preset) -> str:
    """The first setting in which two presets differ, as "section.field=A, not B"; "" if there is none."""
    old, new = config.to_dict(before), config.to_dict(now)
    for path in config.field_names():
        section, name = path.split(".")
        if old[section][name] != new[section][name]:
            return f"{path}={old[section][name]}, not {new[section][name]}"
    return ""


def read_metrics(folder: Path, key: str = "") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, with a `key` such as "loss" those that hold it; a last line that a kill cut short is
    left out. UserError for a damaged one."""
    path = folder / "metrics.jsonl"
    *whole, last = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
    if last and (folder / "result.json").exists():  # nothing cuts a line of a finished run
        whole.append(last)
    try:
        lines = [json.loads(text) for text in whole]
        if any(line.pop("crc32", None) not in (None, _crc32(line)) for line in lines):
            raise ValueError("a checksum differs")
        if not all(isinstance(line["step"], int) and line.keys() <= _KEYS for line in lines):
            raise ValueError("a line is not as it was written")
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise UserError(f"{short(path)}: is damaged ({error}); restore it, or train the run again") from None
    return [line for line in lines if not key or key in line]


def metrics_line(line: Mapping[str, Any]) -> str:
    """A line of metrics.jsonl, with a checksum that read_metrics compares and takes away."""
    return json.dumps({**line, "crc32": _crc32(line)}) + "\n"


def _crc32(line: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(line).encode())


def copy_metrics(finished: Path, folder: Path) -> None:
    """Copy the curve and the pictures of a finished run into the folder of the run that starts from its weights."""
    if not (finished / "result.json").exists():  # a file of weights outside a run
        return
    for path in (*finished.glob("metrics.jsonl"), *finished.glob("samples/step_*.png")):
        with atomic_path(folder / path.relative_to(finished)) as temporary:
            shutil.copyfile(path, temporary)


def trim_metrics(folder: Path, step: int) -> None:
    """Drop the lines after the checkpoint at `step`: the resumed run writes them again."""
    kept = [metrics_line(line) for line in read_metrics(folder) if line["step"] <= step]
    write_text(folder / "metrics.jsonl", "".join(kept))

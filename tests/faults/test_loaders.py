"""Whatever a file holds, its reader makes sense of it or refuses it in one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from course_folder import FIRST, make_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lab7.ablation.results import read_record, read_result
from lab7.config import get_preset, to_dict
from lab7.dataset.conditions import read_conditions
from lab7.dataset.drawn import find_drawn, write_drawn
from lab7.dataset.images import read_cache, read_picture
from lab7.dataset.layout import describe
from lab7.judge.networks import SmallClassifier, load_judge
from lab7.pipeline import load_pipeline
from lab7.training.run_folder import open_run, read_metrics
from lab7.utils.files import UserError

CONDITIONS = [["red cube"], ["cyan sphere", "gray cube"]]
PRESET = get_preset("smoke")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """One good file of every kind."""
    place = tmp_path_factory.mktemp("files")
    make_folder(place / "data")
    (place / "data" / "test.json").write_text(json.dumps(CONDITIONS))
    write_drawn(place / "drawn", [torch.zeros(2, 3, 8, 8)], CONDITIONS, samples=1)
    np.savez(place / "cache.npz", images=np.zeros((2, 3, 8, 8), np.uint8), key="key")
    (place / "ablation.json").write_text(json.dumps({"runs": []}))
    save_file({"weight": torch.zeros(2)}, place / "weights.safetensors", metadata={"lab7": json.dumps(to_dict(PRESET))})
    save_file(SmallClassifier().half().state_dict(), place / "judge.safetensors")
    torch.save({"model": {"fc.0.bias": torch.zeros(24)}}, place / "judge.pth")
    run = place / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(to_dict(PRESET)))
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    (run / "result.json").write_text(json.dumps({"name": "run", "accuracy": {}, "judge": {"sha256": ""}}))
    torch.save({"step": 1, "model": {}}, run / "checkpoint.pt")
    return place


READERS: dict[str, Callable[[Path], Any]] = {
    "data/train.json": lambda place: describe(place / "data"),
    "data/objects.json": lambda place: describe(place / "data"),
    "data/test.json": lambda place: read_conditions(place / "data" / "test.json"),
    f"data/iclevr/{FIRST}": lambda place: read_picture(place / "data" / "iclevr" / FIRST, 8),
    "drawn/pictures.json": lambda place: find_drawn(place / "drawn", CONDITIONS),
    "drawn/conditions.json": lambda place: find_drawn(place / "drawn", CONDITIONS),
    "cache.npz": lambda place: read_cache(place / "cache.npz", "key", (2, 3, 8, 8)),
    "ablation.json": lambda place: read_record(place / "ablation.json"),
    "weights.safetensors": lambda place: load_pipeline(place / "weights.safetensors"),
    "judge.safetensors": lambda place: load_judge(place / "judge.safetensors"),
    "judge.pth": lambda place: load_judge(place / "judge.pth"),
    "run/config.json": lambda place: open_run(place / "run", PRESET, resume=True),
    "run/checkpoint.pt": lambda place: open_run(place / "run", PRESET, resume=True),
    "run/metrics.jsonl": lambda place: read_metrics(place / "run", "loss"),
    "run/result.json": lambda place: read_result(place / "run"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["red cube", "", "../x.png", FIRST]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The file with another value at one of its places, other bytes, a cut end, or something else altogether."""
    kind = draw(st.sampled_from(["value", "bytes", "cut", "other"]))
    if kind == "value" and whole[:1] in b"{[":
        value, _ = json.JSONDecoder().raw_decode(whole.decode())
        value.pop("checksum", None) if isinstance(value, dict) else None
        entry = value
        while isinstance(entry, dict | list) and entry:
            parent, key = entry, draw(st.sampled_from(list(entry) if isinstance(entry, dict) else range(len(entry))))
            entry = entry[key] if draw(st.booleans()) else None
        if value:
            parent[key] = draw(JSON)
        return json.dumps(value).encode()
    if kind == "other":
        return draw(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
    at = draw(st.integers(0, len(whole) - 1))
    return whole[:at] + (draw(st.binary(min_size=1, max_size=4)) + whole[at + 4 :] if kind == "bytes" else b"")


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_or_refuses_whatever_a_file_holds(place, name):
    path = place / name
    whole = path.read_bytes()

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged(whole))
    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            READERS[name](place)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 700

    try:
        read()
    finally:
        path.write_bytes(whole)

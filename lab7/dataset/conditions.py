"""Conditions and labels: train.json, objects.json and the lists that the lab samples from.

Two lists are shipped, `test` and `new_test`. `unseen` follows from what training never shows together, and `held_out`
names the pairs that a training with `holdout_pairs` leaves out.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab7.utils.files import UserError, data_dir, read_json, shipped_dir, short
from lab7.vocabulary import CLASSES, check_condition, to_multi_hot

LISTS = ("test", "new_test", "unseen", "held_out")
REMEDY = "run `lab7 data` to render the stand-in, or put the course's files there (see data/README.md)"


def read_labels(folder: Path) -> dict[str, list[str]]:
    """train.json, checked: {file name: labels in the file's order}. UserError as load_pictures."""
    path = folder / "train.json"
    if missing := next((place for place in (folder, path) if not place.exists()), None):
        raise UserError(f"{short(missing)}: no such {'file' if missing == path else 'folder'}; {REMEDY}")
    own = folder / "objects.json"
    _check_objects(own if own.exists() else shipped_dir() / "objects.json")
    labels = _read(path, dict, "{file name: [labels]}")
    if not labels:
        raise UserError(f"{short(path)}: names no pictures; {REMEDY}")
    return {name: check_condition(entry, f"{short(path)}: '{name}'") for name, entry in labels.items()}


def read_conditions(path: Path | str) -> list[list[str]]:
    """A list of conditions, [[label, ...], ...]. Raises UserError with the file and the entry's number (from 1)."""
    what = 'conditions such as [["red cube"], ["cyan sphere", "gray cube"]]'
    content = _read(path, list, what)
    if not content:
        raise UserError(f"{short(path)}: holds no conditions; it should hold {what}")
    return [check_condition(entry, f"{short(path)}: entry {number}") for number, entry in enumerate(content, start=1)]


def load_list(name: str, folder: Path | None = None) -> list[list[str]]:
    """The conditions of "test", "new_test", "unseen" or "held_out".

    A list in `folder` (the course's own, say) goes before the shipped one. "unseen" follows from the folder's
    train.json, and is empty if training shows every triple. Raises UserError for another name or a bad file.
    """
    folder = data_dir() if folder is None else Path(folder)
    if name not in LISTS:
        raise UserError(f"unknown list '{name}'; choose one of {', '.join(LISTS)}")
    if name == "unseen":
        return unseen_triples(read_labels(folder).values())
    if name == "held_out":
        return held_out_pairs()
    own = folder / f"{name}.json"
    return read_conditions(own if own.exists() else shipped_dir() / own.name)


def conditions_tensor(conditions: Sequence[Iterable[str]], device: torch.device | str = "cpu") -> Tensor:
    """Conditions as names -> float32 multi-hot (N, 24). Raises UserError for an unknown label."""
    rows = [to_multi_hot(names) for names in conditions]
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, len(CLASSES)), np.float32)).to(device)


def unseen_triples(labels: Iterable[Sequence[str]], count: int = 32) -> list[list[str]]:
    """Triples of classes that no picture of `labels` shows together: `count` of them, or all there are.

    Taken in the order of a hash of their names, which spreads them over the classes and never changes.
    """
    seen = subsets(labels, 3)
    unseen = [triple for triple in itertools.combinations(CLASSES, 3) if frozenset(triple) not in seen]
    return [list(triple) for triple in sorted(unseen, key=lambda triple: _hash(", ".join(triple)))[:count]]


def held_out_pairs() -> list[list[str]]:
    """24 of the 276 pairs of classes, each class in two of them: neighbours on a ring of all classes.

    The ring is in the order of a hash of the names, which ties them to neither colours nor shapes.
    """
    ring = sorted(CLASSES, key=_hash)
    return [sorted(pair, key=CLASSES.index) for pair in itertools.pairwise([*ring, ring[0]])]


def without_pairs(labels: Tensor, pairs: Sequence[Sequence[str]]) -> Tensor:
    """Which rows of multi-hot labels (N, 24) hold none of the pairs: bool (N,)."""
    kept = torch.ones(len(labels), dtype=torch.bool)
    for first, second in pairs:
        kept &= ~(labels[:, CLASSES.index(first)].bool() & labels[:, CLASSES.index(second)].bool()).cpu()
    return kept


def unseen_combinations(conditions: Iterable[Sequence[str]], training: Iterable[Sequence[str]]) -> list[list[str]]:
    """The conditions whose objects, taken as a whole set, are those of no training picture."""
    seen = {frozenset(names) for names in training}
    return [list(names) for names in conditions if frozenset(names) not in seen]


def subsets(labels: Iterable[Sequence[str]], size: int) -> set[frozenset[str]]:
    """Every set of `size` classes that some picture shows together."""
    return {frozenset(chosen) for names in labels for chosen in itertools.combinations(names, size)}


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _check_objects(path: Path) -> None:
    """UserError unless objects.json gives the 24 classes their indices."""
    objects = _read(path, dict, "{class: index}")
    for index, name in enumerate(CLASSES):
        if objects.get(name) != index:
            fault = f"gives '{name}' the index {objects[name]}" if name in objects else f"lacks '{name}'"
            raise UserError(f"{short(path)}: {fault}, which must have {index}; put the course's file back")
    if extra := sorted(objects.keys() - set(CLASSES)):
        raise UserError(f"{short(path)}: holds the unknown class '{extra[0]}'; put the course's file back")


def _read(path: Path | str, kind: type, what: str) -> Any:
    """The content of a JSON file that must be of a kind."""
    content = read_json(path, what)
    if not isinstance(content, kind):
        name = "a list" if isinstance(content, list) else "a text" if isinstance(content, str) else json.dumps(content)
        raise UserError(f"{short(path)}: must hold {what}, not {name}; {REMEDY}")
    return content

"""Conditions and labels: train.json, objects.json and the lists that the lab samples from.

Two lists are shipped, `test` and `new_test`. `unseen` follows from what training never shows together, and `held_out`
names the pairs that a training with `holdout_pairs` leaves out.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab7.utils.files import UserError, data_dir, locked, read_json, shipped_dir, short
from lab7.vocabulary import CLASSES, check_condition, to_multi_hot

LISTS = ("test", "new_test", "unseen", "held_out")
REMEDY = "run `lab7 data` to render synthetic pictures, or put the course's files there (see data/README.md)"


def read_labels(folder: Path) -> dict[str, list[str]]:
    """train.json, checked: {file name: labels in the file's order}. UserError as load_pictures."""
    path = folder / "train.json"
    if not has_labels(folder):
        missing = path if folder.exists() else folder
        raise UserError(f"{short(missing)}: no such {'file' if missing == path else 'folder'}; {REMEDY}")
    _check_objects(_own_or_shipped(folder, "objects.json"))
    labels = read_json(path, "{file name: [labels]}")
    if not labels:
        raise UserError(f"{short(path)}: names no pictures; {REMEDY}")
    if bad := next((name for name in labels if Path(name).name != name or not name.isprintable()), None):
        raise UserError(f"{short(path)}: {bad!r:.80} is not the name of a file in iclevr/")
    return {name: check_condition(entry, f"{short(path)}: '{name}'") for name, entry in labels.items()}


def has_labels(folder: Path) -> bool:
    """Whether train.json is there; False for a folder without pictures, or with half-rendered synthetic ones.

    Raises UserError for pictures without it: while `lab7 data` renders them, if the file lies elsewhere, and for a
    folder that is itself the folder of pictures.
    """
    path = folder / "train.json"
    if os.path.lexists(path):
        return True
    if (folder / ".lock").exists():
        with locked(folder):  # refused while its owner is alive
            pass
    if next(folder.glob("*.png"), None):
        raise UserError(f"{short(folder)}: holds the pictures themselves; name the folder above, with train.json in it")
    if next((folder / "iclevr").glob("[!.]*"), None) and not (folder / "synthetic.json").exists():
        raise UserError(f"{short(path)}: is missing, yet iclevr/ holds pictures; put their train.json there")
    return False


def read_conditions(path: Path | str) -> list[list[str]]:
    """A list of conditions, [[label, ...], ...]. Raises UserError with the file and the entry's number (from 1)."""
    what = 'conditions such as [["red cube"], ["cyan sphere", "gray cube"]]'
    content = read_json(path, what, list)
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
    return read_conditions(_own_or_shipped(folder, f"{name}.json"))


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


def _own_or_shipped(folder: Path, name: str) -> Path:
    """The folder's own file if it has one, be it a link to nowhere, which is then reported; else the shipped one."""
    own = folder / name
    return own if os.path.lexists(own) else shipped_dir() / name


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _check_objects(path: Path) -> None:
    """UserError unless objects.json gives the 24 classes their indices."""
    objects = read_json(path, "{class: index}")
    for index, name in enumerate(CLASSES):
        if objects.get(name) != index:
            fault = f"gives '{name}' the index {objects[name]}" if name in objects else f"lacks '{name}'"
            raise UserError(f"{short(path)}: {fault}, which must have {index}; put the course's file back")
    if extra := sorted(objects.keys() - set(CLASSES)):
        raise UserError(f"{short(path)}: holds the unknown class '{extra[0]}'; put the course's file back")

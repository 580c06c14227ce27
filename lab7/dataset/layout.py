"""The course's own files: train.json and iclevr/, read, checked and counted."""

import contextlib
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab7.dataset.conditions import REMEDY, conditions_tensor, load_list, read_labels, subsets, unseen_combinations
from lab7.dataset.images import Pictures, cache_path, decode, read_cache, write_cache
from lab7.dataset.synthetic import is_synthetic
from lab7.utils.files import UserError, data_dir, short
from lab7.vocabulary import CLASSES

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def load_pictures(folder: Path | None = None, image_size: int = 64) -> Pictures:
    """Read a folder in the course's layout (default: data_dir()), squashed to (image_size, image_size).

    Pictures come sorted by file name. The decoded pictures are kept on the disk, and read anew after any change of a
    file's name, size or time, or of train.json.

    Raises UserError (one line: file, fault, remedy) for a missing folder, train.json that is missing, empty
    or malformed, a label that is unknown or repeated, an empty condition, a picture that is missing,
    unreadable or without an entry, and objects.json that disagrees with the 24 classes.
    """
    folder = data_dir() if folder is None else Path(folder)
    labels = read_labels(folder)
    key = cache_key(_picture_files(folder, labels), (folder / "train.json").read_bytes())
    names, cache = sorted(labels), cache_path(folder, image_size)
    paths, shape = [folder / "iclevr" / name for name in names], (len(names), 3, image_size, image_size)
    images = read_cache(cache, key, shape)
    if images is None:
        write_cache(cache, key, paths, shape)
        images = read_cache(cache, key, shape)
    images = decode(paths, image_size) if images is None else images
    multi_hot = conditions_tensor([labels[name] for name in names]).to(torch.uint8)
    return Pictures(torch.from_numpy(images), multi_hot, names)


def describe(folder: Path | None = None) -> dict[str, Any]:
    """Counts of a folder in the course's layout; reads no picture. Raises UserError as load_pictures does.

    Keys: folder, synthetic (bool), pictures, scenes, by_objects {1: n, ...}, pairs and triples shown together (of
    pairs_total 276 and triples_total 2024), test and new_test {conditions, objects, unseen}.
    """
    folder = data_dir() if folder is None else Path(folder)
    labels = read_labels(folder)
    _picture_files(folder, labels)
    sizes, counts = np.unique([len(names) for names in labels.values()], return_counts=True)
    lists = {}
    for name in ("test", "new_test"):
        conditions = load_list(name, folder)
        lists[name] = {"conditions": len(conditions), "objects": sum(map(len, conditions))}
        lists[name]["unseen"] = len(unseen_combinations(conditions, labels.values()))
    return {
        "folder": short(folder),
        "synthetic": is_synthetic(folder),
        "pictures": len(labels),
        "scenes": len({name.rsplit("_", 1)[0] for name in labels}),
        "by_objects": dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
        "pairs": len(subsets(labels.values(), 2)),
        "pairs_total": math.comb(len(CLASSES), 2),
        "triples": len(subsets(labels.values(), 3)),
        "triples_total": math.comb(len(CLASSES), 3),
        **lists,
    }


def cache_key(stats: list[tuple[str, int, int]], labels: bytes) -> str:
    """What a cache was made from: every picture's (name, bytes, mtime in ns), and train.json's bytes."""
    return hashlib.sha256(repr(stats).encode() + labels).hexdigest()


def _picture_files(folder: Path, labels: dict[str, list[str]]) -> list[tuple[str, int, int]]:
    """The (name, bytes, mtime in ns) of every picture, by name; UserError unless they match `labels`."""
    place = folder / "iclevr"
    if not place.is_dir():
        raise UserError(f"{short(place)}: no such folder, yet train.json names pictures in it; {REMEDY}")
    stats = []
    with os.scandir(place) as entries:
        for entry in entries:  # hidden files are other programs' business, or still being written
            if entry.name.lower().endswith(_SUFFIXES) and not entry.name.startswith("."):
                with contextlib.suppress(OSError):  # a broken link: reported as missing below
                    status = entry.stat()
                    stats.append((entry.name, status.st_size, status.st_mtime_ns))
    names = {name for name, _, _ in stats}
    if missing := sorted(labels.keys() - names):
        fault = f"no such picture, yet train.json names it ({len(missing)} of {len(labels)} are missing)"
        raise UserError(f"{short(place / missing[0])}: {fault}; {REMEDY}")
    if extra := sorted(names - labels.keys()):
        fault = f"has no entry in train.json (pictures without one: {len(extra)})"
        raise UserError(f"{short(place / extra[0])}: {fault}; move such files away or add their labels")
    return sorted(stats)

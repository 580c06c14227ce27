"""The course's own files: train.json, iclevr/ and the lists of conditions, read, checked and counted.

Pictures come by load_pictures, conditions by load_list or read_conditions. What is wrong is told in one line
that names the file and the remedy.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab7.dataset.conditions import (
    LISTS,
    MAKE_IT,
    conditions_tensor,
    load_list,
    read_conditions,
    read_labels,
    subsets,
    unseen_combinations,
    unseen_triples,
)
from lab7.dataset.images import (
    Pictures,
    cache_key,
    decode,
    read_cache,
    read_picture,
    read_png,
    save_gif,
    save_grid,
    save_png,
    to_float,
    to_uint8,
    write_cache,
)
from lab7.dataset.normalizer import KINDS, Normaliser, draw, epoch_order, fit_normaliser
from lab7.utils.files import UserError, data_dir, short
from lab7.vocabulary import CLASSES, to_multi_hot

__all__ = [
    "KINDS",
    "LISTS",
    "Normaliser",
    "Pictures",
    "conditions_tensor",
    "describe",
    "draw",
    "epoch_order",
    "fit_normaliser",
    "load_list",
    "load_pictures",
    "read_conditions",
    "read_labels",
    "read_picture",
    "read_png",
    "save_gif",
    "save_grid",
    "save_png",
    "to_float",
    "to_uint8",
    "unseen_combinations",
    "unseen_triples",
]

_SUFFIXES = (".png", ".jpg", ".jpeg")


def load_pictures(
    folder: Path | None = None,
    image_size: int = 64,
    cache: bool = True,
    limit: int | None = None,
    progress: bool = False,
) -> Pictures:
    """Read a folder in the course's layout (default: data_dir()), squashed to (image_size, image_size).

    Pictures come sorted by file name; `limit` keeps the first so many. With `cache` the decoded pictures are
    kept on the disk, and any change to a file's name, size or time, or to train.json, has them read anew.

    Raises UserError (one line: file, fault, remedy) for a missing folder, train.json that is missing, empty
    or malformed, a label that is unknown or repeated, an empty condition, a picture that is missing,
    unreadable or without an entry, and objects.json that disagrees with the 24 classes.
    """
    folder = data_dir() if folder is None else Path(folder)
    if limit is not None and limit < 1:
        raise UserError(f"the number of pictures must be at least 1, not {limit}")
    labels = read_labels(folder)
    stats = _picture_files(folder, labels)
    names = sorted(labels)[:limit]
    key = cache_key(stats, (folder / "train.json").read_bytes(), image_size) if cache else ""
    images = read_cache(folder, key, (len(labels), 3, image_size, image_size)) if cache else None
    if images is None:
        images = decode([folder / "iclevr" / name for name in names], image_size, progress)
        if cache and len(names) == len(labels):
            write_cache(folder, key, images)
    multi_hot = np.stack([to_multi_hot(labels[name]) for name in names]).astype(np.uint8)
    return Pictures(torch.from_numpy(images[: len(names)]), torch.from_numpy(multi_hot), names)


def describe(folder: Path | None = None) -> dict[str, Any]:
    """Counts of a folder in the course's layout; reads no picture. Raises UserError as load_pictures does.

    Keys: folder, standin (bool), pictures, scenes, by_objects {1: n, ...}, per_class_min, per_class_max,
    singles_min, singles_max (pictures of one object, a class), pairs and triples seen (of pairs_total 276 and
    triples_total 2024), test and new_test {conditions, objects, unseen}.
    """
    from lab7.dataset.synthetic import (
        is_synthetic,  # here, for it brings in the renderer, which nothing else here needs
    )

    folder = data_dir() if folder is None else Path(folder)
    labels = read_labels(folder)
    _picture_files(folder, labels)
    hot = conditions_tensor(list(labels.values()))  # (N, 24)
    per_class, singles = hot.sum(0).int(), hot[hot.sum(1) == 1].sum(0).int()
    sizes, counts = np.unique(hot.sum(1).int().numpy(), return_counts=True)
    lists = {}
    for name in ("test", "new_test"):
        conditions = load_list(name, folder)
        lists[name] = {
            "conditions": len(conditions),
            "objects": sum(map(len, conditions)),
            "unseen": len(unseen_combinations(conditions, labels.values())),
        }
    return {
        "folder": short(folder),
        "synthetic": is_synthetic(folder),
        "pictures": len(labels),
        "scenes": len({name.rsplit("_", 1)[0] for name in labels}),
        "by_objects": {int(size): int(number) for size, number in zip(sizes, counts, strict=True)},
        "per_class_min": int(per_class.min()),
        "per_class_max": int(per_class.max()),
        "singles_min": int(singles.min()),
        "singles_max": int(singles.max()),
        "pairs": len(subsets(labels.values(), 2)),
        "pairs_total": len(list(itertools.combinations(CLASSES, 2))),
        "triples": len(subsets(labels.values(), 3)),
        "triples_total": len(list(itertools.combinations(CLASSES, 3))),
        **lists,
    }


def _picture_files(folder: Path, labels: dict[str, list[str]]) -> list[tuple[str, int, int]]:
    """The (name, bytes, mtime in ns) of every picture, by name; UserError unless they match `labels`."""
    place = folder / "iclevr"
    if not place.is_dir():
        raise UserError(f"{short(place)}: no such folder, yet train.json names pictures in it; {MAKE_IT}")
    stats = []
    with os.scandir(place) as entries:
        for entry in entries:  # hidden files are other programs' business, or still being written
            if entry.name.lower().endswith(_SUFFIXES) and not entry.name.startswith("."):
                with contextlib.suppress(OSError):  # a link to nowhere: told as missing below
                    status = entry.stat()
                    stats.append((entry.name, status.st_size, status.st_mtime_ns))
    found = {name for name, _, _ in stats}
    if missing := sorted(labels.keys() - found):
        raise UserError(
            f"{short(place / missing[0])}: no such picture, yet train.json names it "
            f"({len(missing)} of {len(labels)} are missing); {MAKE_IT}"
        )
    if extra := sorted(found - labels.keys()):
        raise UserError(
            f"{short(place / extra[0])}: has no entry in train.json (pictures without one: {len(extra)}); "
            "move such files away or add their labels"
        )
    return sorted(stats)

"""A folder of drawn pictures: NNN_K.png is sample K of condition NNN, both from 0; pictures.json lists them.

The list says what the last `lab7 sample` drew, so that pictures of an earlier one are not counted with them.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lab7.dataset.conditions import read_conditions
from lab7.dataset.images import save_grid, save_png
from lab7.utils.files import UserError, locked, read_json, sha256, short, write_json

CONDITIONS = "conditions.json"  # what they were drawn from
GRID = 1024  # pictures at most in grid.png
NAMES = "000.png or 000_0.png, which are pictures of the first condition"


def write_drawn(out: Path, parts: Iterable[Tensor], conditions: list[list[str]], samples: int) -> list[str]:
    """Write pictures (N * K, 3, H, W) as they come in parts, K samples of each of N conditions; conditions.json, their
    list, and the first GRID in grid.png.

    Returns the pictures' file names. Raises UserError if the place cannot be written, or another process writes there.
    """
    names = [f"{index:03d}_{k}.png" for index in range(len(conditions)) for k in range(samples)]
    with locked(out):
        shown: list[Tensor] = []
        for name, image in zip(names, itertools.chain.from_iterable(parts), strict=True):
            save_png(image, out / name)
            shown += [image] if len(shown) < GRID else []
        save_grid(torch.stack(shown), out / "grid.png", columns=samples if samples > 1 else 8)
        write_json(out / CONDITIONS, conditions)
        write_json(out / "pictures.json", {name: sha256(out / name) for name in names}, checksum=True)
    return names


def find_drawn(folder: Path, conditions: Sequence[Sequence[str]]) -> tuple[dict[Path, int], list[str]]:
    """The pictures of a folder with the numbers of their conditions, and the names of pictures that do not count.

    Those in pictures.json count; in a folder without it, all that are named NNN.png or NNN_K.png. Raises UserError for
    a folder without any, a condition without one, a number beyond the conditions, two pictures in one place, and for
    other pictures or other conditions than those of `lab7 sample`.
    """
    if folder.is_file():
        raise UserError(f"{short(folder)}: is a file; give a folder of pictures named {NAMES}; a grid cannot be read")
    if not folder.is_dir():
        raise UserError(f"{short(folder)}: no such folder; 'lab7 sample --out DIR' makes one")
    present = sorted(path.name for path in folder.glob("[!.]*.[pPjJ]*[gG]") if path.name != "grid.png")
    names, record = present, folder / "pictures.json"
    if record.exists():
        drawn = read_json(record, "the checksums of drawn pictures")
        if changed := next((n for n in drawn if n not in present or sha256(folder / n) != drawn[n]), None):
            fault = "is not the picture that 'lab7 sample' drew"
            raise UserError(f"{short(folder / changed)}: {fault}; draw anew, or delete pictures.json to count all")
        if (asked := folder / CONDITIONS).exists() and [*map(set, read_conditions(asked))] != [*map(set, conditions)]:
            raise UserError(
                f"{short(folder)}: was drawn from other conditions, or in another order; give {short(asked)}"
            )
        names = list(drawn)
    places: dict[tuple[int, str | None], str] = {}
    for name in names:
        if match := re.fullmatch(r"(\d+)(?:_0*(\d+))?\.png", name):
            number, sample = int(match[1]), match[2]
            before = places.get((number, sample)) or places.get((number, None if sample else "0"))
            if before:
                raise UserError(f"{short(folder)}: {before} and {name} are the same sample; move one drawing away")
            places[number, sample] = name
    if not places:
        found = f", but {present[0]} and {len(present) - 1} others" if present else ""
        raise UserError(f"{short(folder)}: holds no pictures named {NAMES}{found}")
    numbers = {folder / name: number for (number, _), name in places.items()}
    first, last, total = min(numbers.values()), max(numbers.values()), len(conditions)
    if last >= total:
        reason = f"; yours begin with {first:03d}, so count from 000" if first else ""
        raise UserError(f"{short(folder)}: has a picture {last:03d}, but only {total} conditions are given{reason}")
    if missing := sorted(set(range(total)) - set(numbers.values())):
        fault = f"{len(missing)} of {total} conditions have no picture, {missing[0]:03d}.png first"
        raise UserError(f"{short(folder)}: {fault}; draw them all, or give the conditions that were drawn")
    return numbers, [name for name in present if folder / name not in numbers]

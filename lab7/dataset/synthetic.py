"""Synthetic pictures: rendered scenes in the course's own files.

A folder holds iclevr/CLEVR_train_SSSSSS_K.png with the first K + 1 objects of scene S, train.json with their labels
(written last: it says that the folder is whole) and synthetic.json, which says what the pictures were made from.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from lab7.dataset.look import LOOK, Look, look_hash
from lab7.dataset.randomization import Randomization, randomize
from lab7.dataset.renderer import render
from lab7.dataset.scenes import Scene, sample_scene, scene_at
from lab7.utils.files import UserError, locked, read_json, sha256, short, write_error, write_json
from lab7.utils.pool import process_pool
from lab7.vocabulary import CLASSES, to_multi_hot

if TYPE_CHECKING:
    from torch import Tensor

PER_SCENE = 3  # pictures of a scene: with one, two and three objects
_CHUNK = 20  # scenes that a process takes at a time
_PNG_END = b"IEND\xaeB`\x82"
T = TypeVar("T")


def is_synthetic(folder: Path | str) -> bool:
    """Whether the pictures in a folder were rendered here, and not since replaced by the course's own."""
    labels, manifest = Path(folder) / "train.json", _manifest(Path(folder))
    return bool(manifest) and (not os.path.lexists(labels) or sha256(labels) == manifest.get("train_sha256"))


def picture_name(scene: int, k: int) -> str:
    """The course's name for the picture of a scene with its first k + 1 objects."""
    return f"CLEVR_train_{scene:06d}_{k}.png"


def write_synthetic(
    out: Path | str,
    scenes: int = 6003,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    processes: int | None = None,
    progress: bool = True,
) -> None:
    """Render `scenes` scenes at (width, height) pixels into `out`, in the course's layout.

    The same seed gives the same bytes with any number of processes. A folder that was left half done is finished, a
    whole one is left alone, and one with fewer scenes grows. Raises UserError, and touches nothing, if `out` holds
    pictures that were not made here or were made otherwise, if another process renders there, if the numbers make no
    sense, or if the disk is full.
    """
    from lab7.dataset.conditions import has_labels  # here, so that the processes that render start without torch

    out, (width, height) = Path(out), size
    if not 1 <= scenes <= 1_000_000:
        raise UserError(f"the number of scenes must be at most 1000000 and at least 1, not {scenes}")
    if not (8 <= width <= 4096 and 8 <= height <= 4096):
        raise UserError(f"the size must lie between 8x8 and 4096x4096 pixels, not {width}x{height}")
    wanted = {"made_by": "lab7 data", "scenes": scenes, "size": [width, height], "seed": seed, "look": look_hash(LOOK)}
    pictures, labels_path = out / "iclevr", out / "train.json"
    names = [picture_name(scene, k) for scene in range(scenes) for k in range(PER_SCENE)]
    before = _check_folder(out, wanted) if has_labels(out) else {}
    finished = before.get("scenes") == scenes and "train_sha256" in before
    if finished and all(_is_whole(pictures / name) for name in names):
        return
    with locked(out):
        _check_folder(out, wanted)  # another process may have filled it meanwhile
        try:
            pictures.mkdir(exist_ok=True)
            for left_over in pictures.glob(".*.tmp"):
                left_over.unlink()
            labels_path.unlink(missing_ok=True)
            write_json(out / "synthetic.json", wanted, checksum=True)
            write = partial(_write_scene, pictures, seed, width, height)
            labels = _labels(_parallel(write, range(scenes), processes, progress))
            unnamed = pictures / ".train.json.tmp"
            write_json(unnamed, dict(zip(names, labels, strict=True)))
            write_json(out / "synthetic.json", wanted | {"train_sha256": sha256(unnamed)}, checksum=True)
            os.replace(unnamed, labels_path)
        except OSError as error:
            raise write_error(pictures, error) from error


def render_pictures(
    seed: int, num_scenes: int, randomization: Randomization | None = None, processes: int | None = None
) -> "tuple[Tensor, Tensor]":
    """The first scenes of a seed, three pictures each, without touching the disk.

    With a `randomization`, every scene has its own camera, lamps, floor and rule of placement, drawn from the seed.
    Returns images uint8 (3 * num_scenes, 3, 64, 64) and labels uint8 (3 * num_scenes, 24), in the order of the files
    that write_synthetic would make.
    """
    import torch  # here, as above

    task = partial(_render_scene, seed, randomization)
    images, labels = zip(*_parallel(task, range(num_scenes), processes), strict=True)
    pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).contiguous()  # (N, S, S, 3) -> (N, 3, S, S)
    return pixels, torch.from_numpy(np.stack([to_multi_hot(names) for names in _labels(labels)])).to(torch.uint8)


def render_conditions(seed: int, conditions: Sequence[Sequence[str]]) -> "Tensor":
    """A picture of each condition of 1 to 5 objects, which stand as in the data set: uint8 (N, 3, 64, 64)."""
    import torch  # here, as above

    images = list(_parallel(partial(_render_condition, seed, conditions), range(len(conditions)), None))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (N, S, S, 3) -> (N, 3, S, S)


def _labels(scenes: Iterable[list[str]]) -> list[list[str]]:
    """The labels of every picture, from the labels of the scenes."""
    return [labels[: k + 1] for labels in scenes for k in range(PER_SCENE)]


def _draw(scene: Scene, seed: int, index: int, width: int, height: int, look: Look = LOOK) -> list[np.ndarray]:
    """The pictures of scene `index`, uint8 (height, width, 3); the grain of picture k comes from (seed, index, k)."""
    first = (seed * 10_000_019 + index) * PER_SCENE
    return [render(Scene(scene.objects[: k + 1]), width, height, look, (first + k) % 2**63) for k in range(PER_SCENE)]


def _render_scene(seed: int, randomization: Randomization | None, index: int) -> tuple[np.ndarray, list[str]]:
    scene, look = (scene_at(seed, index), LOOK) if randomization is None else randomize([seed, index], randomization)
    return np.stack(_draw(scene, seed, index, 64, 64, look)), scene.labels


def _render_condition(seed: int, conditions: Sequence[Sequence[str]], index: int) -> np.ndarray:
    classes = [CLASSES.index(name) for name in conditions[index]]
    scene = sample_scene(np.random.default_rng([seed, index]), len(classes), classes=classes)
    return render(scene, grain_seed=(seed * 10_000_019 + index) * PER_SCENE)


def _write_scene(folder: Path, seed: int, width: int, height: int, index: int) -> list[str]:
    """Write the pictures of a scene, unless they are there already; returns the scene's labels."""
    scene = scene_at(seed, index)
    paths = [folder / picture_name(index, k) for k in range(PER_SCENE)]
    if not all(map(_is_whole, paths)):
        for path, picture in zip(paths, _draw(scene, seed, index, width, height), strict=True):
            temporary = path.with_name(f".{path.name}.tmp")
            Image.fromarray(picture).save(temporary, format="PNG")
            os.replace(temporary, path)
    return scene.labels


def _is_whole(path: Path) -> bool:
    """Whether a PNG file is there and ends as one does."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(-len(_PNG_END), os.SEEK_END)
        return file.read() == _PNG_END
    return False


def _parallel(task: Callable[[int], T], indices: range, processes: int | None, progress: bool = False) -> Iterator[T]:
    """task(index) for all indices, in order, over several processes (default: all cores)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    few = len(indices) <= 20 * _CHUNK  # rendered sooner than other processes start
    processes = (processes or (1 if few else cores)) if _can_share() else 1
    bar = partial(tqdm, total=len(indices), desc="render", unit="scene", disable=not progress, mininterval=0.5)
    if processes == 1:
        yield from bar(map(task, indices))
        return
    render(scene_at(0, 0), 8, 8)  # compiles once, so that the workers find it compiled
    with process_pool(processes) as pool:
        yield from bar(pool.map(task, indices, chunksize=_CHUNK))


def _can_share() -> bool:
    """Whether processes can have common locks; in some containers /dev/shm, where these lie, is read-only."""
    with contextlib.suppress(OSError):
        multiprocessing.Lock()
        return True
    return False


def _manifest(folder: Path) -> dict[str, Any]:
    """What synthetic.json says, {} if there is none."""
    path = folder / "synthetic.json"
    return read_json(path, "what the pictures were rendered from") if path.exists() else {}


def _check_folder(out: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the pictures in the folder were made from, {} for a new one; UserError if it holds anything else."""
    if not is_synthetic(out):
        if theirs := [path for path in (out / "train.json", out / "iclevr") if os.path.lexists(path)]:
            raise UserError(f"{short(theirs[0])}: was not rendered here; choose another folder with --out")
        return {}
    manifest, fault = _manifest(out), ""
    for key, name in (("seed", "seed"), ("size", "size"), ("look", "renderer")):
        if manifest.get(key) != wanted[key]:
            fault = f"pictures of another {name} ({manifest.get(key)}, not {wanted[key]})"
    before = manifest.get("scenes")
    if not isinstance(before, int) or before > wanted["scenes"]:
        fault = fault or f"{before} scenes already, more than {wanted['scenes']}"
    if fault:
        remedy = "choose another folder with --out, or delete iclevr/, train.json and synthetic.json in it"
        raise UserError(f"{short(out)}: holds {fault}; {remedy}")
    return manifest

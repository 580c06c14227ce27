"""The stand-in for the course's pictures: rendered scenes in the course's own files.

A folder holds iclevr/CLEVR_train_SSSSSS_K.png with the first K + 1 objects of scene S, train.json with their labels
(written last: it says that the folder is whole) and synthetic.json, which says what the pictures were made from.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lab7.dataset import renderer as render
from lab7.dataset.randomization import Variety, vary
from lab7.dataset.renderer import LOOK, Look
from lab7.dataset.scenes import Scene, scene_at
from lab7.utils.files import UserError, read_json, sha256, short, write_error, write_json
from lab7.vocabulary import to_multi_hot

PER_SCENE = 3  # pictures of a scene: with one, two and three objects
_CHUNK = 20  # scenes that a process takes at a time
_PNG_END = b"IEND\xaeB`\x82"


def is_synthetic(folder: Path | str) -> bool:
    """Whether the pictures in a folder were rendered here, and not since replaced by the course's own."""
    manifest, labels = Path(folder) / "synthetic.json", Path(folder) / "train.json"
    if not manifest.exists():
        return False
    finished = read_json(manifest, "what the pictures were rendered from").get("train_sha256")
    return not finished or not labels.exists() or sha256(labels) == finished


def _is_finished(folder: Path) -> bool:
    manifest = read_json(folder / "synthetic.json", "what the pictures were rendered from")
    return (folder / "train.json").exists() and "train_sha256" in manifest


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
    pictures that were not made here or were made otherwise, if the numbers make no sense, or if the disk is full.
    """
    out = Path(out)
    width, height = size
    if scenes < 1:
        raise UserError(f"the number of scenes must be at least 1, not {scenes}")
    if not (8 <= width <= 4096 and 8 <= height <= 4096):
        raise UserError(f"the size must lie between 8x8 and 4096x4096 pixels, not {width}x{height}")
    wanted = {
        "made_by": "lab7 data",
        "scenes": scenes,
        "size": [width, height],
        "seed": seed,
        "look": look_hash(LOOK),
    }
    before = _check_folder(out, wanted)
    pictures = out / "iclevr"
    names = [picture_name(scene, k) for scene in range(scenes) for k in range(PER_SCENE)]
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        for left_over in pictures.glob(".*.tmp"):
            left_over.unlink()
        done = {entry.name for entry in os.scandir(pictures)}
        if before == scenes and _is_finished(out) and all(_is_whole(pictures / name) for name in names):
            return
        _check_space(out, (len(names) - len(done)) * width * height * 2)
        (out / "train.json").unlink(missing_ok=True)
        write_json(out / "synthetic.json", wanted)
        labels: dict[str, list[str]] = {}
        work = (str(pictures), seed, width, height)
        for start, chunk in _in_chunks(_write_chunk, work, 0, scenes, processes, "render", progress):
            for offset, names_of_scene in enumerate(chunk):
                for k in range(PER_SCENE):
                    labels[picture_name(start + offset, k)] = names_of_scene[: k + 1]
    except OSError as error:
        raise write_error(pictures, error) from error
    write_json(out / "train.json", {name: labels[name] for name in names})
    write_json(out / "synthetic.json", wanted | {"train_sha256": sha256(out / "train.json")})


def render_pictures(
    seed: int,
    num_scenes: int,
    size: int = 64,
    variety: Variety | None = None,
    processes: int | None = None,
    first: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Scenes first .. first + num_scenes - 1 of a seed, three pictures each, without touching the disk.

    With a `variety`, every scene has its own camera, lamps, floor and rule of placement, drawn from the seed.
    Returns images uint8 (3 * num_scenes, size, size, 3) and labels uint8 (3 * num_scenes, 24), in the order of the
    files that write_synthetic would make.
    """
    images = np.empty((num_scenes * PER_SCENE, size, size, 3), dtype=np.uint8)
    labels = np.empty((num_scenes * PER_SCENE, 24), dtype=np.uint8)
    for start, chunk in _in_chunks(
        _render_chunk, (seed, size, variety), first, num_scenes, processes, "render", progress
    ):
        at = (start - first) * PER_SCENE
        images[at : at + len(chunk[0])], labels[at : at + len(chunk[1])] = chunk
    return images, labels


def look_hash(look: Look) -> str:
    """What decides the pixels besides the scenes: the renderer's version and its look."""
    return hashlib.sha256(f"{render.VERSION} {look!r}".encode()).hexdigest()[:16]


def draw_picture(scene: Scene, seed: int, index: int, k: int, width: int, height: int, look: Look = LOOK) -> np.ndarray:
    """Picture k of scene `index`, uint8 (height, width, 3); its grain comes from (seed, index, k)."""
    grain_seed = (seed * 10_000_019 + index) * PER_SCENE + k
    return render.render(scene.first(k + 1), width, height, look, grain_seed % 2**63)


def _render_chunk(work: tuple[int, int, Variety | None], start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    seed, size, variety = work
    images, labels = [], []
    for index in range(start, stop):
        scene, look = (scene_at(seed, index), LOOK) if variety is None else vary([seed, index], variety)
        for k in range(PER_SCENE):
            images.append(draw_picture(scene, seed, index, k, size, size, look))
            labels.append(to_multi_hot(scene.labels[: k + 1]).astype(np.uint8))
    return np.stack(images), np.stack(labels)


def _write_chunk(work: tuple[str, int, int, int], start: int, stop: int) -> list[list[str]]:
    """Write the pictures of some scenes that are not there yet; returns the scenes' labels."""
    folder, seed, width, height = work
    labels = []
    for index in range(start, stop):
        scene = scene_at(seed, index)
        labels.append(scene.labels)
        for k in range(PER_SCENE):
            path = Path(folder) / picture_name(index, k)
            if _is_whole(path):
                continue
            temporary = path.with_name(f".{path.name}.tmp")
            image = Image.fromarray(draw_picture(scene, seed, index, k, width, height))
            try:
                image.save(temporary, format="PNG")
                os.replace(temporary, path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
    return labels


def _is_whole(path: Path) -> bool:
    """Whether a PNG file is there and ends as one does."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(-len(_PNG_END), os.SEEK_END)
        return file.read() == _PNG_END
    return False


def _in_chunks(
    task: Callable[..., Any],
    work: tuple,
    first: int,
    scenes: int,
    processes: int | None,
    what: str,
    progress: bool,
) -> Iterator[tuple[int, Any]]:
    """Yield (first scene, task(work, first scene, last scene + 1)) for all chunks, over several processes."""
    starts = range(first, first + scenes, _CHUNK)
    parts = [(start, min(start + _CHUNK, first + scenes)) for start in starts]
    processes = min(processes or available_cores(), len(parts))
    bar = tqdm(total=scenes * PER_SCENE, desc=what, unit="picture", disable=not progress, mininterval=0.5)
    with bar:
        if processes == 1:
            for start, stop in parts:
                yield start, task(work, start, stop)
                bar.update((stop - start) * PER_SCENE)
            return
        render.render(scene_at(0, 0), 8, 8)  # compiles once, so that the workers find it compiled
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
            try:
                futures = [pool.submit(task, work, start, stop) for start, stop in parts]
                for (start, stop), future in zip(parts, futures, strict=True):
                    yield start, future.result()
                    bar.update((stop - start) * PER_SCENE)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_folder(out: Path, wanted: dict[str, Any]) -> int:
    """How many scenes the folder was begun with (0 for a new one); UserError if it holds anything else."""
    manifest = out / "synthetic.json"
    if not is_synthetic(out):
        theirs = [path for path in (out / "train.json", out / "iclevr") if path.exists()]
        if theirs:
            raise UserError(
                f"{short(theirs[0])}: is there already and was not rendered here; the stand-in would mix with it: "
                "choose another folder with --out"
            )
        return 0
    found = read_json(manifest, "what the pictures were rendered from")
    for key, told in (("seed", "seed"), ("size", "size"), ("look", "renderer")):
        if found.get(key) != wanted[key]:
            raise UserError(
                f"{short(out)}: holds pictures of another {told} ({found.get(key)}, not {wanted[key]}); choose another "
                f"folder with --out, or delete iclevr/, train.json and synthetic.json in it"
            )
    if found["scenes"] > wanted["scenes"]:
        raise UserError(
            f"{short(out)}: holds {found['scenes']} scenes already, more than {wanted['scenes']}; choose another "
            "folder with --out, or delete iclevr/, train.json and synthetic.json in it"
        )
    return found["scenes"]


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"{short(out)}: the disk has {free / 2**20:.0f} MiB free, and the pictures need about "
            f"{needed / 2**20:.0f} MiB; free some space or choose another folder with --out"
        )

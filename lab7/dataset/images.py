"""Pictures in memory: read from files of any size and mode, squashed, kept as uint8, cached on the disk.

A picture that is shown or saved is a float tensor (3, H, W) in [-1, 1]; a picture that is kept is uint8.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import struct
import time
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from lab7.utils.files import UserError, atomic_path, build_dir, short
from lab7.vocabulary import to_names

# What Pillow raises, depending on the format and on where a file is cut or spoilt.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_CACHE_FORMAT = 1  # goes into the key: raise it whenever the same files would give other bytes


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size and their labels, in the order of their file names.

    images: uint8 (N, 3, S, S), 0..255, sRGB. labels: uint8 (N, 24), multi-hot. names: N file names.
    """

    images: Tensor
    labels: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def conditions(self) -> list[list[str]]:
        """The labels as names, in class order."""
        return [to_names(row) for row in self.labels.cpu().numpy()]

    def chosen(self, kept: Tensor) -> Pictures:
        """The pictures where `kept`, bool (N,), is true."""
        names = [name for name, keep in zip(self.names, kept.tolist(), strict=True) if keep]
        return Pictures(self.images[kept], self.labels[kept], names)

    def to(self, device: torch.device | str) -> Pictures:
        """The same pictures on another device; nothing is copied if they are there already."""
        return dataclasses.replace(self, images=self.images.to(device), labels=self.labels.to(device))


def read_picture(path: Path | str, image_size: int | None = None) -> np.ndarray:
    """Read a picture of any mode as uint8 (H, W, 3), or (S, S, 3) squashed to `image_size`.

    Squashed, never cropped, by Pillow's antialiased bilinear filter: just what torchvision's Resize does to
    the course's pictures. One that already has the size is untouched. Transparency is dropped, as there.

    Raises UserError if the file is missing, cut short, or not a picture.
    """
    try:
        with Image.open(path) as file:
            file.info.pop("transparency", None)
            picture = file.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{short(path)}: no such picture") from None
    except _UNREADABLE as error:
        what = "not a picture" if isinstance(error, Image.UnidentifiedImageError) else f"cannot be read ({error})"
        raise UserError(f"{short(path)}: {what}; copy it again, or delete it and run `lab7 data`") from None
    if image_size is not None and picture.size != (image_size, image_size):
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def decode(paths: Sequence[Path], image_size: int, progress: bool = False) -> np.ndarray:
    """Read and squash many pictures in threads -> uint8 (N, 3, S, S). UserError as read_picture."""
    images = np.empty((len(paths), 3, image_size, image_size), dtype=np.uint8)

    def read(index: int) -> None:
        images[index] = read_picture(paths[index], image_size).transpose(2, 0, 1)  # (S, S, 3) -> (3, S, S)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        done = threads.map(read, range(len(paths)))
        for _ in tqdm(done, desc="reading pictures", total=len(paths), unit="pic", disable=not progress):
            pass
    return images


def cache_key(stats: Sequence[tuple[str, int, int]], labels: bytes, image_size: int) -> str:
    """What a cache was made from: every file's (name, bytes, mtime in ns), train.json's bytes, the size."""
    digest = hashlib.sha256(f"{_CACHE_FORMAT} {image_size}\n".encode())
    for name, size, changed in stats:
        digest.update(f"{name}\0{size}\0{changed}\n".encode())
    digest.update(labels)
    return digest.hexdigest()[:24]


def read_cache(folder: Path, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached pictures of this key, or None if there are none or the file is spoilt (zip keeps a CRC)."""
    for place in _cache_places(folder):
        try:
            with open(_cache_path(place, key, shape), "rb") as file, np.load(file) as arrays:
                images = arrays["images"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, struct.error):
            continue
        if images.shape == shape and images.dtype == np.uint8:
            return images
    return None


def write_cache(folder: Path, key: str, images: np.ndarray) -> Path | None:
    """Keep pictures for the next start and drop older caches of the same folder and size.

    The cache only saves time: if no place for it can be written (read-only, disk full), None is returned.
    """
    for place in _cache_places(folder):
        path = _cache_path(place, key, images.shape)
        with contextlib.suppress(OSError, UserError):
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, images=images)  # not compressed: noise does not compress, and this loads faster
            _drop_old(path)
            return path
    return None


def _cache_places(folder: Path) -> tuple[Path, Path]:
    """Beside the pictures, else (a read-only folder) under build/, apart for every folder."""
    folder = folder.resolve()
    return folder / "cache", build_dir() / "cache" / hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _cache_path(place: Path, key: str, shape: tuple[int, ...]) -> Path:
    return place / f"pictures_{shape[-1]}_{key}.npz"


def _drop_old(path: Path) -> None:
    """Remove caches of the same size that are out of date, and what a killed write left over an hour ago."""
    family = path.name.rsplit("_", 1)[0]
    old = [other for other in path.parent.glob(f"{family}_*.npz") if other != path]
    for left in path.parent.glob(f".{family}_*.tmp"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - 3600:
                old.append(left)
    for other in old:
        with contextlib.suppress(OSError):
            other.unlink()


def to_uint8(x: Tensor) -> Tensor:
    """Floats in [-1, 1], clamped -> uint8 0..255, the same shape. Not a number becomes mid-grey."""
    x = torch.nan_to_num(x.detach().to("cpu", torch.float32), nan=0.0)
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1], the same shape."""
    return images.to(torch.float32) / 127.5 - 1


def save_png(x: Tensor, path: Path | str) -> None:
    """Write a picture (3, H, W) in [-1, 1] as PNG, atomically. Raises UserError if it cannot be written."""
    _write_png(to_uint8(x), path)


def save_grid(images: Tensor, path: Path | str, columns: int = 8, border: int = 2) -> None:
    """Write pictures (N, 3, H, W) in [-1, 1] as one PNG, row by row, white between. UserError as save_png."""
    num, _, height, width = images.shape
    columns = max(1, min(columns, num))
    rows = math.ceil(num / columns)
    grid = torch.full((3, border + rows * (height + border), border + columns * (width + border)), 255)
    grid = grid.to(torch.uint8)
    for index, image in enumerate(to_uint8(images)):
        top = border + index // columns * (height + border)
        left = border + index % columns * (width + border)
        grid[:, top : top + height, left : left + width] = image
    _write_png(grid, path)


def save_gif(frames: Sequence[Sequence[Tensor]], path: Path | str, scale: int = 3, milliseconds: int = 100) -> None:
    """Write an animation that repeats itself, atomically: each frame is pictures (3, H, W) in [-1, 1] side by side.

    Each pixel is `scale` wide and high, and the last frame stays for two seconds. UserError as save_png.
    """
    shown = []
    for frame in frames:
        row = torch.cat([to_uint8(one) for one in frame], dim=2)  # (3, H, W of all)
        large = row.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
        shown.append(Image.fromarray(large.permute(1, 2, 0).numpy()).quantize(64))
    stay = [milliseconds] * (len(shown) - 1) + [2000]
    _write(shown[0], path, "GIF", save_all=True, append_images=shown[1:], duration=stay, loop=0)


def read_png(path: Path | str, image_size: int | None = None) -> Tensor:
    """A picture file -> float32 (3, H, W) in [-1, 1], or squashed (3, S, S). UserError as read_picture."""
    return to_float(torch.from_numpy(read_picture(path, image_size).transpose(2, 0, 1).copy()))  # (3, H, W)


def _write_png(image: Tensor, path: Path | str) -> None:
    _write(Image.fromarray(image.permute(1, 2, 0).numpy()), path, "PNG")  # (H, W, 3)


def with_palette(path: Path) -> None:
    """Write a drawing's PNG anew with a palette of 256 colours: nothing to be seen, and less than half as large."""
    with Image.open(path) as file:
        drawn, dpi = file.convert("RGB"), file.info["dpi"]
    drawn.quantize(256, dither=Image.Dither.NONE).save(path, "PNG", optimize=True, dpi=dpi)


def _write(image: Image.Image, path: Path | str, kind: str, **options: Any) -> None:
    packed = io.BytesIO()  # packed first, so that a full disk is met by plain file writing, which tells it clearly
    image.save(packed, format=kind, **options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())

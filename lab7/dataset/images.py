"""Pictures in memory: read from files of any size and mode, squashed, kept as uint8, cached on the disk; and written.

A picture that is shown or saved is a float tensor (3, H, W) in [-1, 1]; a picture that is kept is uint8.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lab7.utils.files import Failure, UserError, atomic_path, build_dir, read_json, sha256, short, write_json
from lab7.vocabulary import to_names

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 4096 * 4096  # of one picture; eight are in memory at a time
_PART = 64  # pictures decoded before they are written to the cache


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size and their labels, in the order of their file names.

    images: uint8 (N, 3, S, S), 0..255, sRGB. labels: uint8 (N, 24), multi-hot. names: N file names.
    positions: uint8 (N, 48), see dataset/positions.py; None for a network that is not told them.
    """

    images: Tensor
    labels: Tensor
    names: list[str]
    positions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def conditions(self) -> list[list[str]]:
        """The labels as names, in class order."""
        return [to_names(row) for row in self.labels.cpu().numpy()]

    def chosen(self, kept: Tensor) -> "Pictures":
        """The pictures where `kept`, bool (N,), is true."""
        names = [name for name, keep in zip(self.names, kept.tolist(), strict=True) if keep]
        positions = None if self.positions is None else self.positions[kept]
        return Pictures(self.images[kept], self.labels[kept], names, positions)

    def to(self, device: torch.device | str) -> "Pictures":
        """The same pictures on another device; nothing is copied if they are there already."""
        positions = None if self.positions is None else self.positions.to(device)
        return Pictures(self.images.to(device), self.labels.to(device), self.names, positions)


def read_picture(path: Path | str, image_size: int | None = None) -> np.ndarray:
    """Read a picture of any mode as uint8 (H, W, 3), or (S, S, 3) squashed to `image_size`.

    Squashed, never cropped, by Pillow's antialiased bilinear filter, as torchvision's Resize does with the course's
    pictures. Transparency is dropped, as there. Raises UserError if the file is missing, cut short, or no picture.
    """
    try:
        content = io.BytesIO(Path(path).read_bytes())
        with Image.open(content, formats=FORMATS) as file:  # no others, of which some start programs
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width}x{file.height} pixels are more than {MAX_PIXELS}")
            file.verify()  # every checksum of a PNG; to decode it compares only some
        with Image.open(content, formats=FORMATS) as file:
            if file.mode[0] in "IF":
                raise ValueError("more than 8 bits a colour; save it with 8")
            file.info.pop("transparency", None)
            picture = file.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{short(path)}: no such picture") from None
    except Exception as error:  # of many kinds, depending on the format and on where the file is damaged
        what = "not a picture" if isinstance(error, Image.UnidentifiedImageError) else f"cannot be read ({error})"
        raise UserError(f"{short(path)}: {what}; copy it again, or delete it and run `lab7 data`") from None
    if image_size is not None and picture.size != (image_size, image_size):
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def decode(paths: Sequence[Path], image_size: int) -> np.ndarray:
    """Read and squash many pictures in threads -> uint8 (N, 3, S, S). UserError as read_picture."""
    images = np.empty((len(paths), 3, image_size, image_size), dtype=np.uint8)

    def read(index: int) -> None:
        images[index] = read_picture(paths[index], image_size).transpose(2, 0, 1)  # (S, S, 3) -> (3, S, S)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        list(threads.map(read, range(len(paths))))  # a list, so that an error is raised here
    return images


def cache_path(folder: Path, image_size: int) -> Path:
    """Where the decoded pictures of a folder are kept: beside them, or under build/ if the folder is read-only."""
    folder = folder.resolve()
    if not os.access(folder, os.W_OK):
        folder = build_dir() / hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return folder / "cache" / f"pictures_{image_size}.npy"


def read_cache(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached pictures, mapped from the disk so that processes share them, if they have this key (see
    layout.cache_key), shape and checksum; else None."""
    with contextlib.suppress(Exception):
        record = read_json(path.with_suffix(".json"), "a cache's key")
        if record == {"key": key, "sha256": sha256(path)} and (images := np.load(path, mmap_mode="c")).shape == shape:
            return images
    return None


def write_cache(path: Path, key: str, paths: Sequence[Path], shape: tuple[int, ...]) -> None:
    """Decode pictures into the cache, a few at a time. Where that fails nothing happens: it only saves time, memory."""
    with contextlib.suppress(OSError, UserError, Failure):
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(paths), _PART):
                file.write(decode(paths[start : start + _PART], shape[-1]).data)
        write_json(path.with_suffix(".json"), {"key": key, "sha256": sha256(path)})


def to_uint8(x: Tensor) -> Tensor:
    """Floats in [-1, 1], clamped -> uint8 0..255, the same shape. Not a number becomes mid-grey."""
    x = torch.nan_to_num(x.detach().to("cpu", torch.float32), nan=0.0)
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1], the same shape."""
    return images.to(torch.float32) / 127.5 - 1


def save_png(x: Tensor, path: Path | str) -> None:
    """Write a picture (3, H, W) in [-1, 1] as PNG, atomically. Raises UserError if it cannot be written."""
    _write(_to_pillow(to_uint8(x)), path, "PNG")


def save_grid(images: Tensor, path: Path | str, columns: int = 8, border: int = 2) -> None:
    """Write pictures (N, 3, H, W) in [-1, 1] as one PNG, row by row, white between. UserError as save_png."""
    from torchvision.utils import make_grid

    _write(_to_pillow(make_grid(list(to_uint8(images)), columns, border, pad_value=255)), path, "PNG")


def save_gif(frames: Sequence[Sequence[Tensor]], path: Path | str, scale: int = 3, milliseconds: int = 100) -> None:
    """Write an animation that repeats itself, atomically: each frame is pictures (3, H, W) in [-1, 1] side by side.

    Each pixel is `scale` wide and high, and the last frame stays for two seconds. UserError as save_png.
    """
    shown = []
    for frame in frames:
        row = _to_pillow(torch.cat([to_uint8(one) for one in frame], dim=2))  # (3, H, W of all)
        shown.append(row.resize((row.width * scale, row.height * scale), Image.Resampling.NEAREST).quantize(64))
    stay = [milliseconds] * (len(shown) - 1) + [2000]
    _write(shown[0], path, "GIF", save_all=True, append_images=shown[1:], duration=stay, loop=0)


def with_palette(path: Path) -> None:
    """Write a drawing's PNG anew with a palette of 256 colours: it looks the same and is less than half as large."""
    with Image.open(path) as file:
        drawn, dpi = file.convert("RGB"), file.info["dpi"]
    drawn.quantize(256, dither=Image.Dither.NONE).save(path, "PNG", optimize=True, dpi=dpi)


def _to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())  # uint8 (3, H, W) -> (H, W, 3)


def _write(image: Image.Image, path: Path | str, kind: str, **options: Any) -> None:
    packed = io.BytesIO()  # packed first, so that a full disk is met by plain file writing, whose error is clear
    image.save(packed, format=kind, **options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())

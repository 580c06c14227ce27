"""A small folder in the course's layout, for the tests of what reads one."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from lab7.vocabulary import CLASSES

LABELS = {
    "CLEVR_train_000000_0.png": ["cyan cube"],
    "CLEVR_train_000000_1.png": ["cyan cube", "cyan sphere"],
    "CLEVR_train_000000_2.png": ["cyan cube", "cyan sphere", "brown cylinder"],
    "CLEVR_train_000001_0.png": ["red cube"],
    "CLEVR_train_000001_1.png": ["red cube", "gray sphere"],
}
FIRST = "CLEVR_train_000000_0.png"


def noise(width: int = 64, height: int = 64, seed: int = 0) -> Image.Image:
    """An RGB picture of noise: no two seeds alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def make_folder(folder: Path, width: int = 64, height: int = 64, labels: dict[str, list[str]] = LABELS) -> Path:
    """Write iclevr/, train.json and objects.json; the pictures are noise, seeded by their place."""
    (folder / "iclevr").mkdir(parents=True)
    for seed, name in enumerate(labels):
        noise(width, height, seed).save(folder / "iclevr" / name)
    (folder / "train.json").write_text(json.dumps(labels))
    (folder / "objects.json").write_text(json.dumps({name: index for index, name in enumerate(CLASSES)}))
    return folder

"""A toy training: sixteen pictures and a small preset. Run as a script, it trains in a process of its own."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lab7.config import Preset, get_preset, override
from lab7.training import run
from lab7.training.loop import train
from lab7.vocabulary import CLASSES

TOY = ["n_feature=8", "image_size=32", "batch_size=4", "epochs=4", "save_every=2", "snapshots=2", "warmup_steps=0"]


def toy(*settings: str) -> Preset:
    """Four epochs of four steps each, on pictures of 32x32."""
    return override(get_preset("smoke"), [*TOY, *settings])


def make_pictures(folder: Path) -> Path:
    """Sixteen pictures of one coloured square each, in the course's layout."""
    (folder / "iclevr").mkdir()
    rng = np.random.default_rng(0)
    labels = {}
    for index in range(16):
        picture = np.full((64, 64, 3), 120, np.uint8) + rng.integers(0, 8, (64, 64, 3), dtype=np.uint8)
        x, y = rng.integers(0, 40, 2)
        picture[y : y + 20, x : x + 20] = rng.integers(0, 255, 3)
        name = f"CLEVR_train_{index:06d}_0.png"
        Image.fromarray(picture).save(folder / "iclevr" / name)
        labels[name] = [CLASSES[index]]
    (folder / "train.json").write_text(json.dumps(labels))
    return folder


if __name__ == "__main__":
    torch.set_num_threads(1)
    run.LOG_EVERY = int(os.environ.get("LOG_EVERY", run.LOG_EVERY))
    data, runs, name, *settings = sys.argv[1:]
    train(toy(*settings), name, data=Path(data), runs=Path(runs), progress=False)

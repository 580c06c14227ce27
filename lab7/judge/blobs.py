"""How many objects of a colour stand in a picture, which a judge of classes cannot tell.

Two red cubes are one "red cube" to a judge with one output a class, and to every score that it gives. But colours can
be counted: pixels of one hue that touch are a patch. Objects that touch make one patch, and gray has no hue, so that
what is counted is too little at times, and hardly ever too much: a picture with more patches of a colour than objects
of that colour were asked for holds something twice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lab7.dataset.renderer import REFLECTANCE
from lab7.vocabulary import COLOURS

COLOURFUL = 0.07  # length of a pixel's red, green and blue without their mean, pixels in [0, 1], from which it counts
SMALLEST = 8  # pixels of a patch, in 64x64


def count_patches(images: Tensor) -> Tensor:
    """How many patches of each of COLOURS a picture holds: (N, 3, 64, 64) in [-1, 1] -> int64 (N, 8), 0 for gray."""
    paint = torch.from_numpy(REFLECTANCE).float()
    hues = F.normalize(paint - paint.mean(dim=1, keepdim=True), dim=1)  # (8, 3), 0 for gray
    found = torch.zeros(len(images), len(COLOURS), dtype=torch.int64)
    for start in range(0, len(images), 64):
        pixels = images[start : start + 64].float() / 2 + 0.5
        chroma = pixels - pixels.mean(dim=1, keepdim=True)  # (B, 3, 64, 64)
        nearest = torch.einsum("kc,bchw->bkhw", hues, chroma).argmax(dim=1)  # (B, 64, 64)
        colourful = chroma.norm(dim=1) > COLOURFUL
        masks = torch.stack([colourful & (nearest == k) for k in range(len(COLOURS))], dim=1)  # (B, 8, 64, 64)
        rows, colours = (masks.sum(dim=(2, 3)) >= SMALLEST).nonzero(as_tuple=True)
        found[start + rows, colours] = _count(masks[rows, colours])
    return found


def has_duplicate(images: Tensor, labels: Tensor) -> Tensor:
    """Whether a picture has more patches of some colour than objects of it were asked for: (N,) of bool.

    images (N, 3, 64, 64) in [-1, 1], labels (N, 24) multi-hot. Colours of which nothing was asked are left out: that
    is for the judge to see.
    """
    asked = labels.view(len(labels), -1, len(COLOURS)).sum(dim=1)  # (N, 8)
    return ((count_patches(images) > asked) & (asked > 0)).any(dim=1)


def _count(masks: Tensor) -> Tensor:
    """How many connected parts of at least SMALLEST pixels, corners included, each mask (M, S, S) holds: (M,)."""
    number = torch.arange(1, masks.shape[1] * masks.shape[2] + 1).view(masks.shape[1:])
    names = (number * masks).float()[:, None]  # every pixel begins as a part of its own ...
    while True:  # ... and takes the highest name of its neighbours until nothing changes
        spread = F.max_pool2d(names, 3, stride=1, padding=1) * masks[:, None]
        if torch.equal(spread, names):
            break
        names = spread
    parts = [mask[mask > 0].unique(return_counts=True)[1] for mask in names]
    return torch.tensor([int((sizes >= SMALLEST).sum()) for sizes in parts], dtype=torch.int64)

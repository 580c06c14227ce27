"""How many objects of a colour a picture holds, which a judge with one output a class cannot say.

Two red cubes are one "red cube" to the judge, and to every score that it gives. But colours can be counted: pixels of
one hue that touch are a blob. Objects that touch make one blob, and gray has no hue, so that the count is sometimes too
low and hardly ever too high: a picture with more blobs of a colour than objects of it were asked for has a duplicate.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab7.dataset.renderer import REFLECTANCE
from lab7.vocabulary import COLOURS

COLOURFUL = 0.07  # length of a pixel's red, green and blue without their mean, pixels in [0, 1], from which it counts
SMALLEST = 8  # pixels of a blob, in 64x64; they touch by sides or corners


def count_blobs(images: Tensor) -> Tensor:
    """How many blobs of each of COLOURS a picture holds: (N, 3, 64, 64) in [-1, 1] -> int64 (N, 8), 0 for gray."""
    from scipy import ndimage  # here, for it takes half a second to import

    paint = torch.from_numpy(REFLECTANCE).float()
    hues = F.normalize(paint - paint.mean(dim=1, keepdim=True), dim=1)  # (8, 3), 0 for gray
    counts = torch.zeros(len(images), len(COLOURS), dtype=torch.int64)
    for index, image in enumerate(images.float() / 2 + 0.5):
        chroma = image - image.mean(dim=0, keepdim=True)  # (3, 64, 64)
        nearest = torch.einsum("kc,chw->khw", hues, chroma).argmax(dim=0)  # (64, 64)
        colourful = chroma.norm(dim=0) > COLOURFUL
        for colour in nearest[colourful].unique().tolist():
            parts, _ = ndimage.label((colourful & (nearest == colour)).numpy(), structure=np.ones((3, 3)))
            counts[index, colour] = int((np.bincount(parts.ravel())[1:] >= SMALLEST).sum())
    return counts


def has_duplicate(images: Tensor, labels: Tensor) -> Tensor:
    """Whether a picture has more blobs of some colour than objects of it were asked for: (N,) of bool.

    images (N, 3, 64, 64) in [-1, 1], labels (N, 24) multi-hot. Colours of which nothing was asked are left out: those
    the judge sees.
    """
    asked = labels.view(len(labels), -1, len(COLOURS)).sum(dim=1)  # (N, 8)
    return ((count_blobs(images) > asked) & (asked > 0)).any(dim=1)

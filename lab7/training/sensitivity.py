"""How much a network listens: how much worse does it predict a picture if one object in it is not named?

Accuracy says nothing of a network that draws no shapes yet: below some training all score what guessing does. But long
before it can draw an object, a network predicts a noisy picture better where it is told what is in it. That can be
measured in seconds, at any moment of a training, and finely: it is the mean of `evidence` over the objects in pictures
of the training set, 0 for a network that is deaf to the condition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lab7.dataset.images import Pictures
from lab7.dataset.normalizer import Normaliser
from lab7.diffusion_classifier import class_error_ratio, errors
from lab7.pipeline import Pipeline

NOISE = 0.86  # deviation of the noise in [-1, 1] units at 64x64, the same with any normalisation
LOOKS = 2
PICTURES = 384
_BATCH = 32


def some_pictures(pictures: Pictures, count: int = PICTURES) -> Pictures:
    """At most `count` of them, spread evenly, so that all numbers of objects are among them."""
    kept = torch.zeros(len(pictures), dtype=torch.bool)
    kept[torch.linspace(0, len(pictures) - 1, min(count, len(pictures))).long()] = True
    return pictures.chosen(kept.to(pictures.labels.device))


def condition_sensitivity(pipeline: Pipeline, pictures: Pictures, looks: int = LOOKS) -> Tensor:
    """The mean evidence of the objects in each picture: (B,) on the CPU.

    0.01 means that the squared error of x_0 is 1% larger where one object is not named. The noises are the same
    for every network, as strong beside the pixels with any normalisation.
    """
    pipeline.model.eval()
    eps = pipeline.noise(looks, torch.Generator().manual_seed(0))
    noise = NOISE * pipeline.image_size / 64  # a pixel of a smaller picture is a mean over more of a large one's
    log_snr = 2 * math.log(_scale(pipeline.normaliser) / noise)
    parts = []
    for images, labels in zip(pictures.images.split(_BATCH), pictures.labels.split(_BATCH), strict=True):
        x_0, condition = (
            pipeline.normaliser.encode(images.to(pipeline.device)),
            labels.to(pipeline.device, torch.float32),
        )
        target = pipeline.preset.diffusion.target
        wrong = errors(pipeline.model, pipeline.schedule, x_0, condition, eps, target=target, log_snr=log_snr)
        found = class_error_ratio(*wrong)
        parts.append(torch.where(condition > 0, found, 0).sum(dim=1) / condition.sum(dim=1))
    return torch.cat(parts).cpu()


def told_of(heard: Tensor, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a result.json keeps: "by_picture", what `listening` found at the end (B,), and from the lines of
    metrics.jsonl the "curve", pairs of pictures seen and the mean over pictures."""
    curve = [
        [line["images"], round(line["condition_sensitivity"], 5)] for line in metrics if "condition_sensitivity" in line
    ]
    return {"by_picture": [round(value, 5) for value in heard.tolist()], "curve": curve}


def _scale(normaliser: Normaliser) -> float:
    """The [-1, 1] units in one unit of model space; of three scales the geometric mean."""
    std = normaliser.std
    return float(torch.linalg.det(std) ** (1 / 3) if std.ndim else std)

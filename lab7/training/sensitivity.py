"""Condition sensitivity: how much worse is a picture predicted if one of its objects is left out of the condition?

Accuracy says nothing about a network that draws no shapes yet: early in a training every network scores what guessing
scores. But long before it can draw an object, a network predicts a noisy picture better if the condition names what is
in it. That takes seconds to measure at any moment of a training: it is the mean class error ratio (see
diffusion_classifier) of the objects in training pictures, and 0 for a network that ignores the condition.
"""

import math

import torch
from torch import Tensor

from lab7.dataset.images import Pictures
from lab7.dataset.normalizer import draw
from lab7.diffusion_classifier import class_error_ratio, errors
from lab7.pipeline import Pipeline
from lab7.vocabulary import CLASSES

NOISE = 0.86  # deviation of the noise in [-1, 1] units at 64x64, the same with any normalisation
NOISES = 2  # of each picture
PICTURES = 384  # at most, spread evenly, so that all numbers of objects are among them
_BATCH = 32


def condition_sensitivity(pipeline: Pipeline, pictures: Pictures) -> Tensor:
    """The mean class error ratio of the objects in each of PICTURES pictures: (B,) on the CPU.

    0.01 means that the squared error of x_0 is 1% larger if one object is left out of the condition. The noises are the
    same for every network, and equally strong relative to the pixels with any normalisation.
    """
    pipeline.model.eval()
    eps = pipeline.noise(NOISES, torch.Generator().manual_seed(0))
    noise = NOISE * pipeline.image_size / 64  # a pixel of a smaller picture is a mean over several of a larger one
    log_snr, target = 2 * math.log(float(pipeline.normaliser.std) / noise), pipeline.preset.diffusion.target
    chosen = torch.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).long()
    parts = []
    for index in chosen.split(_BATCH):
        x_0, condition = draw(pictures, index, pipeline.normaliser, pipeline.device)
        condition = condition[:, : len(CLASSES)]  # without positions
        pair = errors(pipeline.model, pipeline.schedule, x_0, condition, eps, target=target, log_snr=log_snr)
        ratios = torch.where(condition > 0, class_error_ratio(*pair), 0)  # (B, 24)
        parts.append(ratios.sum(dim=1) / condition.sum(dim=1))
    return torch.cat(parts).cpu()

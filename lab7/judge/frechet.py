"""The Frechet distance between two sets of pictures, on the features of our judge.

It is the formula of the FID (Heusel et al. 2017) on another network's features, made for these scenes: call it Frechet
distance on judge features. Its numbers cannot be compared with any FID.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab7.dataset.synthetic import PER_SCENE
from lab7.judge.evaluation import clean_set
from lab7.judge.networks import Judge, features


def against_renders(
    judge: Judge, images: Tensor, counts: Sequence[int], processes: int | None = None
) -> dict[str, Any]:
    """The distance of drawn pictures (N, 3, 64, 64) to as many unseen renders with as many objects each, and its floor.

    counts: the objects asked for in each picture, 1 to 3. "floor" is the distance of those renders to as many others:
    what a perfect generator would get from so few pictures.
    """
    wanted = torch.as_tensor(counts)
    most = max(int((wanted == k).sum()) for k in range(1, PER_SCENE + 1))
    renders, _ = clean_set(2 * most, processes)
    renders = renders.view(2 * most, PER_SCENE, *renders.shape[1:])  # (scenes, 3, 3, 64, 64)
    halves = []
    for scenes in (renders[:most], renders[most:]):
        parts = [scenes[: int((wanted == k).sum()), k - 1] for k in range(1, PER_SCENE + 1)]
        halves.append(torch.cat(parts).float() / 127.5 - 1)
    return {
        "distance": frechet_distance(judge, halves[0], images),
        "floor": frechet_distance(judge, halves[0], halves[1]),
        "pictures": len(images),
    }


class _Features(nn.Module):
    """The judge's last hidden layer, as torchmetrics calls it."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge.model
        self.num_features = int(judge.model.fc[0].in_features)  # type: ignore[index, union-attr]

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        return features(self.judge, pictures).float()


def frechet_distance(judge: Judge, first: Tensor, second: Tensor, batch_size: int = 256) -> float:
    """The distance between pictures (N, 3, 64, 64) and others (M, 3, 64, 64), floats in [-1, 1].

    |m - n|^2 + tr(C + D - 2 (C D)^(1/2)) of the features' means and covariances. Raises ValueError for fewer than two
    pictures; it is biased upwards for few, so compare sets of equal size only.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(first), len(second)) < 2:
        raise ValueError("each set needs at least two pictures")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of a missing backbone that is not used here
        metric = FrechetInceptionDistance(feature=_Features(judge), normalize=False)
    metric = metric.to(next(judge.model.parameters()).device)
    for pictures, real in ((first, True), (second, False)):
        for batch in pictures.split(batch_size):
            metric.update(batch.to(metric.device), real=real)
    return max(0.0, float(metric.compute()))

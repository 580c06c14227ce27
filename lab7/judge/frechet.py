"""The Frechet distance between two sets of pictures, on the features of our judge.

It is the formula of the FID (Heusel et al. 2017) on another network's features: no number compares with any FID.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lab7.dataset.synthetic import PER_SCENE
from lab7.judge.evaluation import clean_set
from lab7.judge.networks import Judge, features


def against_renders(judge: Judge, images: Tensor, counts: Sequence[int]) -> dict[str, Any]:
    """The distance of drawn pictures (N, 3, 64, 64) to as many unseen renders with as many objects each, 1 to 3 in
    `counts`; and as "floor" that of those renders to as many others: what a perfect generator would get."""
    number = [counts.count(k) for k in range(1, PER_SCENE + 1)]
    renders, _ = clean_set(2 * max(number))
    renders = renders.view(2, max(number), PER_SCENE, *renders.shape[1:])  # (2, scenes, 3, 3, 64, 64)
    first, second = (torch.cat([half[:n, k] for k, n in enumerate(number)]).float() / 127.5 - 1 for half in renders)
    return {
        "distance": frechet_distance(judge, first, images),
        "floor": frechet_distance(judge, first, second),
        "pictures": len(images),
    }


@torch.inference_mode()
def frechet_distance(judge: Judge, first: Tensor, second: Tensor, batch_size: int = 256) -> float:
    """The distance between pictures (N, 3, 64, 64) and others (M, 3, 64, 64), floats in [-1, 1]. |m - n|^2 + tr(C + D -
    2 (C D)^(1/2)) of the features' means and covariances. Raises ValueError for fewer than two pictures; it is biased
    upwards for few, so compare sets of equal size only."""
    if min(len(first), len(second)) < 2:
        raise ValueError("each set needs at least two pictures")
    device = next(judge.model.parameters()).device
    a, b = (
        torch.cat([features(judge.model, batch.to(device)).cpu().double() for batch in pictures.split(batch_size)])
        for pictures in (first, second)
    )
    c, d = a.T.cov(), b.T.cov()
    roots = torch.linalg.eigvals(c @ d).sqrt().real  # the trace of a root is the sum of the eigenvalues' roots
    return max(0.0, float((a.mean(0) - b.mean(0)).square().sum() + c.trace() + d.trace() - 2 * roots.sum()))

"""The Frechet distance between two sets of pictures, on the features of our judge.

It is the formula of the FID (Heusel et al. 2017) on another network's features: no number compares with any FID.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lab7.dataset.images import to_float
from lab7.dataset.synthetic import PER_SCENE, render_conditions
from lab7.judge.evaluation import clean_set
from lab7.judge.networks import Judge, features

IDEAL_SEED = 910_000  # of scenes that nothing else uses


def against_renders(judge: Judge, images: Tensor, conditions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The distance of pictures (N, 3, 64, 64) drawn from N conditions to as many unseen renders with as many objects
    each; and as "floor" that of renders of the same conditions: what a perfect generator would get.

    Conditions of 1 to 3 objects count, at least two. The floor is far from 0: the sets are small, and the conditions
    of a list name some classes more often than others.
    """
    kept = [row for row, names in enumerate(conditions) if len(names) <= PER_SCENE]
    drawn, asked = images[kept], tuple(tuple(conditions[row]) for row in kept)
    counts = [sum(len(names) == k for names in asked) for k in range(1, PER_SCENE + 1)]
    renders = clean_set(max(counts))[0].unflatten(0, (-1, PER_SCENE))  # (scenes, 3, 3, 64, 64)
    unseen = to_float(torch.cat([renders[:count, k] for k, count in enumerate(counts)]))
    distance, floor = (frechet_distance(judge, unseen, pictures) for pictures in (drawn, to_float(_ideal(asked))))
    return {"distance": distance, "floor": floor, "pictures": len(drawn)}


@functools.lru_cache(maxsize=1)  # several runs are scored on the same conditions
def _ideal(conditions: tuple[tuple[str, ...], ...]) -> Tensor:
    return render_conditions(IDEAL_SEED, conditions)


@torch.inference_mode()
def frechet_distance(judge: Judge, first: Tensor, second: Tensor, batch_size: int = 256) -> float:
    """The distance between pictures (N, 3, 64, 64) and others (M, 3, 64, 64), floats in [-1, 1].

    |m - n|^2 + tr(C + D - 2 (C D)^(1/2)) of the features' means and covariances. Raises ValueError for fewer than two
    pictures; it is biased upwards for few, so compare sets of equal size only.
    """
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

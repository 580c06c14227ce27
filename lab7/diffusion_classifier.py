"""Is everything there that was asked for? The network that drew a picture can tell.

A network that predicts x_0 from x_t and a condition is a classifier as well: put noise on a picture, and it is
predicted best under the condition that is true of it (Li et al. 2023, "Your diffusion model is secretly a zero-shot
classifier"). So each object that was asked for is taken out of the condition once. Where it stands in the picture, the
prediction becomes much worse; where it is missing, it does not. And where more stands in the picture than the condition
tells of, the prediction is bad under all of it; less noise shows that best, for it need not be told what to look for.

No judge takes part: this is the condition guiding the drawing once more, after it and not on the way.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from lab7.diffusion import Model, add_noise, predict_x_0_eps
from lab7.schedule import NoiseSchedule
from lab7.vocabulary import COLOURS

LOG_SNR = -2.5  # of the noise to look in: shapes can just be made out in it, with a word of help


@torch.inference_mode()
def error(
    model: Model,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    eps: Tensor,
    *,
    target: str = "eps",
    log_snr: float = LOG_SNR,
) -> Tensor:
    """Mean squared error of x_0 predicted out of noise under its condition: (B,).

    x_0 (B, 3, S, S) is in model space, condition (B, 24); eps (K, 3, S, S) are standard normal noises that all
    pictures get in turn. Costs K evaluations a picture.
    """
    t = torch.full((len(x_0),), step_at(schedule, log_snr), dtype=torch.int64, device=x_0.device)
    found = x_0.new_zeros(len(x_0))
    for noise in eps:
        x_t = add_noise(schedule, x_0, t, noise)
        guess, _ = predict_x_0_eps(schedule, model(x_t, t, condition).float(), x_t, t, target)
        found += (guess - x_0).square().mean(dim=(1, 2, 3)) / len(eps)
    return found


def rivals(condition: Tensor, exchange: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The other conditions that each object is held against: condition (B, 24) -> (P,), (P,), (P, 24).

    For each object that row r asks for, r, its class, and the row without it; with `exchange` also the rows with
    another class of its colour in its place, for each that row r does not ask for.
    """
    rows, classes = condition.nonzero(as_tuple=True)  # (Q,) each
    less = condition[rows].scatter(1, classes[:, None], 0)  # (Q, 24)
    if not exchange:
        return rows, classes, less
    every = torch.arange(condition.shape[1], device=condition.device)
    colour = every % len(COLOURS)
    free = (colour == colour[classes][:, None]) & (condition[rows] == 0)  # (Q, 24)
    which, other = free.nonzero(as_tuple=True)
    swapped = less[which].scatter(1, other[:, None], 1)
    return torch.cat([rows, rows[which]]), torch.cat([classes, classes[which]]), torch.cat([less, swapped])


def errors(
    model: Model,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    eps: Tensor,
    *,
    target: str = "eps",
    log_snr: float = LOG_SNR,
    exchange: bool = False,
) -> tuple[Tensor, Tensor]:
    """`error` with the whole condition (B,), and the least under those in which an object that it asks for is replaced
    by nothing, or with `exchange` by another shape of its colour: (B, 24), infinite where a class is not asked for.

    Arguments as for `error`. Costs K evaluations a picture, K more for each object, and with `exchange` up to 2 K more.
    """
    rows, classes, others = rivals(condition, exchange)
    both = torch.cat([x_0, x_0[rows]]), torch.cat([condition, others])  # (B + P, ...)
    found = error(model, schedule, *both, eps, target=target, log_snr=log_snr)
    without = torch.full_like(condition, torch.inf).flatten()
    without.scatter_reduce_(0, rows * condition.shape[1] + classes, found[len(x_0) :], "amin")
    return found[: len(x_0)], without.view_as(condition)


def evidence(whole: Tensor, without: Tensor) -> Tensor:
    """How evident each asked object is, of the `errors` with all and without each: log(without / whole), (B, 24).

    0 or less if the network does not miss it, infinite where a class is not asked for.
    """
    return (without / whole[:, None]).log()


def verdict(found: Tensor, left: Tensor, enough: float, unexplained: float) -> Tensor:
    """One number a picture (B,), at least `enough` where it will do: how evident the least evident object is of those
    `found` (B, 24) by `evidence`, but less than `enough` where the `error` that is `left` (B,) is above `unexplained`
    for each object asked for. Then something stands there that nobody asked for, or one thing twice."""
    asked = found.isfinite().sum(dim=1).clamp(min=1)
    return torch.minimum(found.amin(dim=1), enough + (unexplained * asked / left).log())


def step_at(schedule: NoiseSchedule, log_snr: float) -> int:
    """The step t in 1..T whose log(alpha_bar / (1 - alpha_bar)) is nearest to the one given."""
    return 1 + int((torch.logit(schedule.alpha_bar64[1:]) - log_snr).abs().argmin())


def best_of_tries(
    draw: Callable[[Tensor, int], Tensor],
    look: Callable[[Tensor, Tensor], Tensor],
    count: int,
    tries: int,
    enough: float,
    batch_size: int,
    progress: bool = False,
) -> Tensor:
    """`count` pictures (count, ...), each the best of those drawn for it: at most `tries`, and none after one in which
    the least evident object is as evident as `enough`.

    draw(rows, attempt) gives the pictures of some rows of the list, look(pictures, rows) the evidence for the least
    evident object of each (len(rows),), on the CPU. Nothing is looked at where a single try is allowed.
    """
    missing, seen = torch.arange(count), torch.full((count,), -torch.inf)
    kept: Tensor | None = None
    for attempt in range(tries):
        what = "draw" if attempt == 0 else f"draw again ({attempt + 1} of {tries})"
        parts = [part for part in missing.split(batch_size) if len(part)]
        for rows in tqdm(parts, what, disable=not progress or not parts, unit="batch"):
            drawn = draw(rows, attempt)
            kept = drawn.new_zeros(count, *drawn.shape[1:]) if kept is None else kept
            evident = look(drawn, rows) if tries > 1 else torch.zeros(len(rows))
            better = (evident > seen[rows]) | (attempt == 0)
            kept[rows[better]], seen[rows[better]] = drawn[better.to(drawn.device)], evident[better]
        missing = missing[seen[missing] < enough]
    if kept is None:
        raise ValueError("nothing to draw")
    return kept

"""The network as a classifier of its own pictures, and best-of-n with it.

A network predicts a noisy picture best under the condition that is true of it (Li et al. 2023, "Your diffusion model is
secretly a zero-shot classifier"). So each asked object is taken out of the condition once: if the picture holds it, the
prediction becomes much worse. If the picture holds more than was asked for, it is bad under the whole condition.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from lab7.diffusion import Model, add_noise, predict_x_0_eps
from lab7.schedule import NoiseSchedule
from lab7.vocabulary import COLOURS

LOG_SNR = -2.5  # log(alpha_bar / (1 - alpha_bar)) of the added noise: shapes can only just be seen in it


def alternative_conditions(condition: Tensor, swap: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Conditions that each object is compared with: condition (B, 24) -> rows (P,), classes (P,), others (P, 24).

    For each object that a row asks for: the row, the object's class, and the row's condition without it. With `swap`
    also the conditions in which another class of its colour stands in its place, if the row does not ask for that one.
    """
    rows, classes = condition.nonzero(as_tuple=True)  # (Q,) each
    without = condition[rows].scatter(1, classes[:, None], 0)  # (Q, 24)
    if not swap:
        return rows, classes, without
    colour = torch.arange(condition.shape[1], device=condition.device) % len(COLOURS)
    free = (colour == colour[classes][:, None]) & (condition[rows] == 0)  # (Q, 24)
    which, other = free.nonzero(as_tuple=True)
    swapped = without[which].scatter(1, other[:, None], 1)
    return torch.cat([rows, rows[which]]), torch.cat([classes, classes[which]]), torch.cat([without, swapped])


@torch.inference_mode()
def errors(
    model: Model,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    eps: Tensor,
    *,
    target: str = "eps",
    log_snr: float = LOG_SNR,
    swap: bool = False,
) -> tuple[Tensor, Tensor]:
    """The denoising error under the whole condition (B,), and the least under each object's alternative conditions,
    (B, 24), infinite for a class that is not asked for.

    The denoising error is the mean squared error of x_0 predicted from noise. x_0 (B, 3, S, S) is in model space,
    condition (B, 24); eps (K, 3, S, S) are standard normal noises, and each picture gets all of them. Costs K
    evaluations a picture, K more for each object, up to 2 K more with swap.
    """
    rows, classes, others = alternative_conditions(condition, swap)
    pictures, conditions = torch.cat([x_0, x_0[rows]]), torch.cat([condition, others])  # (B + P, ...)
    t = torch.full((len(pictures),), step_at(schedule, log_snr), dtype=torch.int64, device=x_0.device)
    error = x_0.new_zeros(len(pictures))
    for noise in eps:
        x_t = add_noise(schedule, pictures, t, noise)
        predicted, _ = predict_x_0_eps(schedule, model(x_t, t, conditions).float(), x_t, t, target)
        error += (predicted - pictures).square().mean(dim=(1, 2, 3)) / len(eps)
    without = torch.full_like(condition, torch.inf).flatten()
    without.scatter_reduce_(0, rows * condition.shape[1] + classes, error[len(x_0) :], "amin")
    return error[: len(x_0)], without.view_as(condition)


def class_error_ratio(whole: Tensor, without: Tensor) -> Tensor:
    """log(without / whole) of the two results of `errors`, (B, 24): how clearly the network sees each asked object.

    0 or less: it does not see it; infinite: the class is not asked for.
    """
    return (without / whole[:, None]).log()


def acceptance(ratios: Tensor, whole: Tensor, accept_threshold: float, max_error: float) -> Tensor:
    """One number a picture (B,), at least `accept_threshold` for one that is accepted.

    It is the least of the class error ratios (B, 24), and below the threshold where the error `whole` (B,) is above
    `max_error` for each object asked for: then the picture holds something that nobody asked for.
    """
    asked = ratios.isfinite().sum(dim=1).clamp(min=1)
    return torch.minimum(ratios.amin(dim=1), accept_threshold + (max_error * asked / whole).log())


def step_at(schedule: NoiseSchedule, log_snr: float) -> int:
    """The step t in 1..T whose log(alpha_bar / (1 - alpha_bar)) is nearest to the one given."""
    return 1 + int((torch.logit(schedule.alpha_bar64[1:]) - log_snr).abs().argmin())


def best_of_n(
    draw: Callable[[Tensor, int], Tensor],
    rate: Callable[[Tensor, Tensor], Tensor],
    count: int,
    num_candidates: int,
    accept_threshold: float,
    batch_size: int,
    progress: bool = False,
) -> Tensor:
    """`count` pictures (count, ...), each the best of at most `num_candidates` drawn for it.

    draw(rows, attempt) gives the pictures of some rows of the list, rate(pictures, rows) their `acceptance`
    (len(rows),) on the CPU. A row with a picture of at least `accept_threshold` is not drawn again. With one candidate
    nothing is rated.
    """
    left, best = torch.arange(count), torch.full((count,), -torch.inf)
    kept: Tensor | None = None
    for attempt in range(num_candidates):
        label = "draw" if attempt == 0 else f"draw again ({attempt + 1} of {num_candidates})"
        parts = [part for part in left.split(batch_size) if len(part)]
        for rows in tqdm(parts, label, disable=not progress or not parts, unit="batch"):
            drawn = draw(rows, attempt)
            kept = drawn.new_zeros(count, *drawn.shape[1:]) if kept is None else kept
            rating = rate(drawn, rows) if num_candidates > 1 else torch.zeros(len(rows))
            better = (rating > best[rows]) | (attempt == 0)
            kept[rows[better]], best[rows[better]] = drawn[better.to(drawn.device)], rating[better]
        left = left[best[left] < accept_threshold]
    if kept is None:
        raise ValueError("nothing to draw")
    return kept

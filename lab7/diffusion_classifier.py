"""The network as a classifier of pictures.

A network predicts a noisy picture best under the condition that is true of it (Li et al. 2023, "Your diffusion model is
secretly a zero-shot classifier"). So each asked object is taken out of the condition once: if the picture holds it, the
prediction becomes much worse.
"""

import torch
from torch import Tensor

from lab7.diffusion import Model, add_noise, predict_x_0_eps
from lab7.schedule import NoiseSchedule

LOG_SNR = -2.5  # log(alpha_bar / (1 - alpha_bar)) of the added noise: shapes can only just be seen in it


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
) -> tuple[Tensor, Tensor]:
    """The denoising error under the whole condition (B,), and under the condition without each object (B, 24),
    infinite for a class that is not asked for.

    The denoising error is the mean squared error of x_0 predicted from noise. x_0 (B, 3, S, S) is in model space,
    condition (B, 24); eps (K, 3, S, S) are standard normal noises, and each picture gets all of them. Costs K
    evaluations a picture and K more for each object.
    """
    rows, classes = condition.nonzero(as_tuple=True)  # (P,) each
    others = condition[rows].scatter(1, classes[:, None], 0)  # (P, 24): each without its object
    pictures, conditions = torch.cat([x_0, x_0[rows]]), torch.cat([condition, others])  # (B + P, ...)
    t = torch.full((len(pictures),), step_at(schedule, log_snr), dtype=torch.int64, device=x_0.device)
    error = x_0.new_zeros(len(pictures))
    for noise in eps:
        x_t = add_noise(schedule, pictures, t, noise)
        predicted, _ = predict_x_0_eps(schedule, model(x_t, t, conditions).float(), x_t, t, target)
        error += (predicted - pictures).square().mean(dim=(1, 2, 3)) / len(eps)
    without = torch.full_like(condition, torch.inf)
    without[rows, classes] = error[len(x_0) :]
    return error[: len(x_0)], without


def class_error_ratio(whole: Tensor, without: Tensor) -> Tensor:
    """log(without / whole) of the two results of `errors`, (B, 24): how clearly the network sees each asked object.

    0 or less: it does not see it; infinite: the class is not asked for.
    """
    return (without / whole[:, None]).log()


def step_at(schedule: NoiseSchedule, log_snr: float) -> int:
    """The step t in 1..T whose log(alpha_bar / (1 - alpha_bar)) is nearest to the one given."""
    return 1 + int((torch.logit(schedule.alpha_bar64[1:]) - log_snr).abs().argmin())

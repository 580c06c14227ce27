"""The forward process, what a network may predict of it, and the loss.

A network is asked for one of three things about x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps:
the noise `eps`, the picture `x_0`, or the velocity `v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0`.
Any of them with x_t gives the other two.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lab7.schedule import NoiseSchedule
from lab7.vocabulary import CLASSES

TARGETS = ("eps", "x_0", "v")

Model = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_t (B, 3, S, S), t (B,) int64 in 1..T, condition (B, 24)) -> (B, 3, S, S); condition (B, 72) with positions"""


def _scales(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    a = schedule.sqrt_alpha_bar[t][:, None, None, None]  # (B, 1, 1, 1)
    s = schedule.sqrt_one_minus_alpha_bar[t][:, None, None, None]  # (B, 1, 1, 1)
    return a, s


def add_noise(schedule: NoiseSchedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (DDPM, Ho et al. 2020, eq. 4); t (B,) in 0..T."""
    a, s = _scales(schedule, t)
    return a * x_0 + s * eps


def target_for(schedule: NoiseSchedule, x_0: Tensor, eps: Tensor, t: Tensor, kind: str) -> Tensor:
    """What the network should answer: eps, x_0, or v (Salimans and Ho 2022, appendix D)."""
    if kind == "eps":
        return eps
    if kind == "x_0":
        return x_0
    if kind == "v":
        a, s = _scales(schedule, t)
        return a * eps - s * x_0
    raise ValueError(f"unknown target '{kind}'; known: {', '.join(TARGETS)}")


def predict_x_0_eps(
    schedule: NoiseSchedule, output: Tensor, x_t: Tensor, t: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    """The network's answer of any kind, with x_t, as (x_0, eps); t (B,) in 1..T."""
    a, s = _scales(schedule, t)
    if kind == "eps":
        return (x_t - s * output) / a, output
    if kind == "x_0":
        return output, (x_t - a * output) / s
    if kind == "v":
        return a * x_t - s * output, s * x_t + a * output
    raise ValueError(f"unknown target '{kind}'; known: {', '.join(TARGETS)}")


def drop_condition(condition: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Blank whole conditions (rows of (B, 24)) with the given probability, once per sample, so that the
    network also learns to draw without one (classifier-free guidance, Ho and Salimans 2022, algorithm 1). Of conditions
    with positions (B, 72), the positions alone are blanked as often."""
    if probability <= 0:
        return condition
    keep = torch.rand(condition.shape[0], 1, generator=generator, device=condition.device) >= probability
    if condition.shape[1] > len(CLASSES):
        stay = torch.rand(condition.shape[0], 1, generator=generator, device=condition.device) >= probability
        condition = torch.cat([condition[:, : len(CLASSES)], condition[:, len(CLASSES) :] * stay], dim=1)
    return condition * keep


def sample_timesteps(schedule: NoiseSchedule, count: int, generator: torch.Generator, how: str = "uniform") -> Tensor:
    """Steps t in 1..T, (count,) int64 on the generator's device.

    "uniform" draws each on its own. "stratified" draws one in each of `count` equal parts of 1..T, so that a batch
    covers all noise levels (Kingma et al. 2021). "logit_normal" stratifies likewise, but log(u / (1 - u)) of u = t / T
    is normal: fewer at both ends (Esser et al. 2024, section 3.1, with m = 0 and s = 1).
    """
    if how == "uniform":
        return torch.randint(1, schedule.num_steps + 1, (count,), generator=generator, device=generator.device)
    place = torch.arange(count, device=generator.device)
    place = (place + torch.rand(count, generator=generator, device=generator.device)) / count
    if how == "logit_normal":
        place = torch.special.ndtri(place.double()).sigmoid()
    return (1 + (schedule.num_steps * place).long()).clamp(max=schedule.num_steps)


def loss_weights(schedule: NoiseSchedule, t: Tensor, kind: str, loss_weighting: str) -> Tensor:
    """What to multiply each step's loss by, (B,) or the like of t, for a network that answers with `kind`.

    With SNR = alpha_bar / (1 - alpha_bar), the error of x_0 then counts min(SNR, 5) times with "min_snr" (Hang et al.
    2023, section 3.4), and min(SNR + 1, 20) times with "v": as a plain loss on v would count it (Salimans and Ho 2022,
    section 4), but for a limit where hardly any noise is left.
    """
    snr = schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t])
    of_x_0 = {"eps": snr, "x_0": torch.ones_like(snr), "v": snr + 1}[kind]  # what the plain loss gives it
    wanted = {"none": of_x_0, "min_snr": snr.clamp(max=5), "v": (snr + 1).clamp(max=20)}[loss_weighting]
    return wanted / of_x_0


def loss(
    model: Model,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    generator: torch.Generator,
    target: str = "eps",
    drop_probability: float = 0.0,
    timestep_sampling: str = "uniform",
    loss_weighting: str = "none",
    part: slice = slice(None),
) -> Tensor:
    """The training loss of one batch: draw t in 1..T and eps from N(0, I), then the mean squared error of the
    network's answer (DDPM, Ho et al. 2020, algorithm 1 and eq. 14). The generator's device is x_0's.
    `part` is the share of one of several processes, which all draw for the whole batch and so agree with one."""
    t = sample_timesteps(schedule, x_0.shape[0], generator, timestep_sampling)
    eps = torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)
    condition = drop_condition(condition, drop_probability, generator)
    x_0, t, eps, condition = x_0[part], t[part], eps[part], condition[part]
    x_t = add_noise(schedule, x_0, t, eps)
    predicted, wanted = model(x_t, t, condition).float(), target_for(schedule, x_0, eps, t, target)
    if loss_weighting == "none":
        return F.mse_loss(predicted, wanted)
    each = (predicted - wanted).square().mean(dim=(1, 2, 3))  # (B,)
    return (loss_weights(schedule, t, target, loss_weighting) * each).mean()

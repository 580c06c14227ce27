"""Samplers: from noise to pictures, one function each, all called alike.

    x_0 = sampler(denoise, schedule, timesteps, x_T, generators)

`denoise(x_t, t)` gives the predicted (x_0, eps); `guided_denoiser` makes one from a network and a condition.
`timesteps` are the steps to visit, from T down to 0 (see NoiseSchedule.timesteps). Noise on the way comes from
`generators`: one for all pictures, or a sequence with one for each.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, pairwise

import torch
from torch import Tensor

from lab7.diffusion import Model, predict_x_0_eps
from lab7.schedule import NoiseSchedule

Denoise = Callable[[Tensor, int], tuple[Tensor, Tensor]]
Callback = Callable[[int, int, Tensor, Tensor], None]
Generators = torch.Generator | Sequence[torch.Generator] | None


def classifier_free_guidance(model: Model, x_t: Tensor, t: Tensor, condition: Tensor, scale: float) -> Tensor:
    """none + scale * (conditional - none) (Ho and Salimans 2022, eq. 6, with w + 1 = scale).

    The unconditional prediction `none` is that for a condition of zeros. A scale of 1 is the plain conditional model
    and costs one evaluation instead of two.
    """
    if scale == 1:
        return model(x_t, t, condition).float()
    both = model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([condition, torch.zeros_like(condition)]))
    conditional, none = both.float().chunk(2)
    return none + scale * (conditional - none)


def guided_denoiser(
    model: Model,
    schedule: NoiseSchedule,
    condition: Tensor,
    *,
    target: str = "eps",
    guidance_scale: float = 1.0,
    clamp: Callable[[Tensor], Tensor] | None = None,
    callback: Callback | None = None,
) -> Denoise:
    """The function (x_t (B, 3, S, S), t) -> (x_0, eps) of one condition (B, 24) that every sampler calls.

    The network predicts `target`. `clamp` changes each predicted x_0; eps then follows from the changed one.
    `callback(step, t, x_t, x_0)` sees each prediction, with step = 0, 1, ...
    """
    step = count()

    def denoise(x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        steps = torch.full((len(x_t),), t, dtype=torch.int64, device=x_t.device)
        output = classifier_free_guidance(model, x_t, steps, condition, guidance_scale)
        x_0, eps = predict_x_0_eps(schedule, output, x_t, steps, target)
        if clamp is not None:
            x_0 = clamp(x_0)
            _, eps = predict_x_0_eps(schedule, x_0, x_t, steps, "x_0")
        if callback is not None:
            callback(next(step), t, x_t, x_0)
        return x_0, eps

    return denoise


@torch.inference_mode()
def ddpm(
    denoise: Denoise,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    x_T: Tensor,
    generators: Generators = None,
) -> Tensor:
    """Ancestral sampling: draw x_s from the posterior q(x_s | x_t, x_0) (DDPM, Ho et al. 2020, eqs. 6 and 7).

    x_T (B, 3, S, S) is standard normal; returns x_0 (B, 3, S, S) in model space.
    """
    x_t = x_T
    for t, s in pairwise(timesteps):
        x_0, _ = denoise(x_t, t)
        posterior = schedule.posterior(t, s)
        x_t = posterior.coef_x_0 * x_0 + posterior.coef_x_t * x_t
        if s > 0:
            x_t = x_t + posterior.variance.sqrt() * _noise_like(x_t, generators)
    return x_t


@torch.inference_mode()
def ddim(
    denoise: Denoise,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    x_T: Tensor,
    generators: Generators = None,
    *,
    eta: float = 0.0,
) -> Tensor:
    """Implicit sampling: from the predicted x_0 go along the predicted eps to x_s (DDIM, Song et al. 2021, eq. 12).

    The loop is that of ddpm; another formula makes x_s. eta = 0 adds no noise, so that x_T alone decides the picture;
    eta = 1 is ancestral sampling (eq. 16). Shapes as for ddpm.
    """
    x_t = x_T
    for t, s in pairwise(timesteps):
        x_0, eps = denoise(x_t, t)
        alpha_bar_s = schedule.alpha_bar64[s]
        variance = eta**2 * schedule.posterior(t, s).variance.double()
        x_t = alpha_bar_s.sqrt().float() * x_0 + (1 - alpha_bar_s - variance).clamp(min=0).sqrt().float() * eps
        if eta > 0 and s > 0:
            x_t = x_t + variance.sqrt().float() * _noise_like(x_t, generators)
    return x_t


@torch.inference_mode()
def dpm_solver_pp(
    denoise: Denoise,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    x_T: Tensor,
    generators: Generators = None,
    *,
    eta: float = 0.0,
) -> Tensor:
    """The second-order multistep solver 2M of the diffusion ODE in x_0 (DPM-Solver++, Lu et al. 2022, algorithm 2).

    One evaluation a step, as ddim: the slope of x_0 comes from the step before. The first step and the last are of
    first order. eta = 0 adds no noise; eta = 1 solves the diffusion SDE, whose noise corrects earlier errors
    (SDE-DPM-Solver++(2M), same paper). Shapes as for ddpm.
    """
    x_t = x_T
    alpha_bar = schedule.alpha_bar64.tolist()
    last: tuple[float, Tensor] | None = None  # the last step's length in lambda, and its x_0
    for t, s in pairwise(timesteps):
        x_0, _ = denoise(x_t, t)
        if s == 0:
            return x_0
        alpha_s, sigma_s, sigma_t = alpha_bar[s] ** 0.5, (1 - alpha_bar[s]) ** 0.5, (1 - alpha_bar[t]) ** 0.5
        length = _half_log_snr(alpha_bar[s]) - _half_log_snr(alpha_bar[t])
        slope = x_0 if last is None else x_0 + length / (2 * last[0]) * (x_0 - last[1])
        x_t = sigma_s / sigma_t * math.exp(-eta * length) * x_t - alpha_s * math.expm1(-(1 + eta) * length) * slope
        if eta > 0:
            x_t = x_t + sigma_s * math.sqrt(-math.expm1(-2 * eta * length)) * _noise_like(x_t, generators)
        last = length, x_0
    return x_t


def _half_log_snr(alpha_bar: float) -> float:
    """lambda = log(alpha / sigma) with alpha^2 = alpha_bar and sigma^2 = 1 - alpha_bar."""
    return (math.log(alpha_bar) - math.log1p(-alpha_bar)) / 2


def _noise_like(x: Tensor, generators: Generators) -> Tensor:
    """Standard normal noise of the shape of x (B, 3, S, S), each picture's from its own generator if it has one."""
    if isinstance(generators, Sequence):
        parts = [torch.randn(x.shape[1:], generator=own, device=own.device, dtype=x.dtype) for own in generators]
        return torch.stack(parts).to(x.device)
    return torch.randn(x.shape, generator=generators, device=x.device, dtype=x.dtype)


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp": dpm_solver_pp,
    "sde_dpm_solver_pp": partial(dpm_solver_pp, eta=1.0),
}

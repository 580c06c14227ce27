"""Samplers: from noise to pictures, one function each, all called alike.

    x_0 = sampler(model, schedule, x_T, condition, num_steps, guidance_scale, generator, callback, *, target, ...)

`model(x_t, t, condition)` answers with what `target` names; an all-zero condition means none. Every sampler first
turns that answer into a prediction of x_0 and eps, lets `transform_x_0` change the picture (clamp it, say), tells
`callback(step, t, x_t, x_0)`, and then steps from t to the next smaller s. `spacing` and `stop_at` say how the steps
lie (see NoiseSchedule.timesteps), `guidance_interval` between which shares of T guidance acts. Noise on the way comes
from `generator`, one for all pictures or a sequence with one for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lab7.diffusion import Model, eps_from_x_0, predict_x_0_eps
from lab7.schedule import NoiseSchedule

Callback = Callable[[int, int, Tensor, Tensor], None]
Transform = Callable[[Tensor], Tensor]
Generators = torch.Generator | Sequence[torch.Generator] | None


def guided(model: Model, x_t: Tensor, t: Tensor, condition: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance: none + w (conditional - none) (Ho and Salimans 2022, eq. 6, with w counted from 0
    at no condition; w = 1 is the plain conditional model and costs one evaluation instead of two)."""
    if guidance_scale == 1:
        return model(x_t, t, condition).float()
    both = model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([condition, torch.zeros_like(condition)]))
    conditional, none = both.float().chunk(2)
    return none + guidance_scale * (conditional - none)


def _predict(
    model: Model,
    schedule: NoiseSchedule,
    x_t: Tensor,
    t: int,
    condition: Tensor,
    guidance_scale: float,
    guidance_interval: tuple[float, float],
    target: str,
    transform_x_0: Transform | None,
) -> tuple[Tensor, Tensor]:
    """The model's (x_0, eps) at step t, both of x_t's shape; guided where t / T lies in the interval (Kynkaanniemi
    et al. 2024, eq. 3)."""
    steps = torch.full((x_t.shape[0],), t, dtype=torch.int64, device=x_t.device)
    low, high = guidance_interval
    scale = guidance_scale if low <= t / schedule.num_steps <= high else 1.0
    output = guided(model, x_t, steps, condition, scale)
    x_0, eps = predict_x_0_eps(schedule, output, x_t, steps, target)
    if transform_x_0 is not None:
        x_0 = transform_x_0(x_0)
        eps = eps_from_x_0(schedule, x_0, x_t, steps)
    return x_0, eps


def _noise_like(x: Tensor, generator: Generators) -> Tensor:
    """Standard normal noise of the shape of x (B, 3, S, S), each picture's from its own generator if it has one."""
    if isinstance(generator, Sequence):
        parts = [torch.randn(x.shape[1:], generator=own, device=own.device, dtype=x.dtype) for own in generator]
        return torch.stack(parts).to(x.device)
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


@torch.inference_mode()
def ddpm(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Tensor,
    condition: Tensor,
    num_steps: int | None = None,
    guidance_scale: float = 1.0,
    generator: Generators = None,
    callback: Callback | None = None,
    *,
    target: str = "eps",
    transform_x_0: Transform | None = None,
    spacing: str = "time",
    stop_at: float = 0.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Ancestral sampling: draw x_s from the posterior q(x_s | x_t, x_0) (DDPM, Ho et al. 2020, eqs. 6 and 7).

    x_T (B, 3, S, S) is standard normal, condition (B, 24); returns x_0 in model space. num_steps None takes all T.
    """
    x_t = x_T
    timesteps = schedule.timesteps(num_steps, spacing, stop_at)
    for step, (t, s) in enumerate(zip(timesteps, timesteps[1:], strict=False)):
        x_0, _ = _predict(model, schedule, x_t, t, condition, guidance_scale, guidance_interval, target, transform_x_0)
        if callback is not None:
            callback(step, t, x_t, x_0)
        posterior = schedule.posterior(t, s)
        x_t = posterior.coef_x_0 * x_0 + posterior.coef_x_t * x_t
        if s > 0:
            x_t = x_t + posterior.variance.sqrt() * _noise_like(x_t, generator)
    return x_t


@torch.inference_mode()
def ddim(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Tensor,
    condition: Tensor,
    num_steps: int | None = None,
    guidance_scale: float = 1.0,
    generator: Generators = None,
    callback: Callback | None = None,
    *,
    target: str = "eps",
    transform_x_0: Transform | None = None,
    spacing: str = "time",
    stop_at: float = 0.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    eta: float = 0.0,
) -> Tensor:
    """Implicit sampling: point from the predicted x_0 along the predicted eps to x_s (DDIM, Song et al. 2021, eq. 12).

    eta = 0 is deterministic; eta = 1 has the variance of ancestral sampling (eq. 16). Shapes as for ddpm.
    """
    x_t = x_T
    timesteps = schedule.timesteps(num_steps, spacing, stop_at)
    for step, (t, s) in enumerate(zip(timesteps, timesteps[1:], strict=False)):
        x_0, eps = _predict(
            model, schedule, x_t, t, condition, guidance_scale, guidance_interval, target, transform_x_0
        )
        if callback is not None:
            callback(step, t, x_t, x_0)
        alpha_bar_s = schedule.alpha_bar64[s]
        variance = eta**2 * schedule.posterior(t, s).variance.double()
        x_t = alpha_bar_s.sqrt().float() * x_0 + (1 - alpha_bar_s - variance).clamp(min=0).sqrt().float() * eps
        if eta > 0 and s > 0:
            x_t = x_t + variance.sqrt().float() * _noise_like(x_t, generator)
    return x_t


@torch.inference_mode()
def dpm_solver_pp(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Tensor,
    condition: Tensor,
    num_steps: int | None = None,
    guidance_scale: float = 1.0,
    generator: Generators = None,
    callback: Callback | None = None,
    *,
    target: str = "eps",
    transform_x_0: Transform | None = None,
    spacing: str = "time",
    stop_at: float = 0.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    eta: float = 0.0,
) -> Tensor:
    """The second-order multistep solver 2M of the diffusion ODE in x_0 (DPM-Solver++, Lu et al. 2022, algorithm 2).

    As dear a step as ddim's: the slope of x_0 comes from the step before. The first step and the last, at whose end no
    noise is left, are of first order. eta = 0 is deterministic; eta = 1 solves the diffusion SDE, whose noise undoes
    some of the errors on the way (SDE-DPM-Solver++(2M) of the same paper). Shapes as for ddpm.
    """
    x_t = x_T
    alpha_bar = schedule.alpha_bar64.tolist()
    timesteps = schedule.timesteps(num_steps, spacing, stop_at)
    before: tuple[float, Tensor] | None = None  # the last step's length in log SNR / 2, and its x_0
    for step, (t, s) in enumerate(zip(timesteps, timesteps[1:], strict=False)):
        x_0, _ = _predict(model, schedule, x_t, t, condition, guidance_scale, guidance_interval, target, transform_x_0)
        if callback is not None:
            callback(step, t, x_t, x_0)
        if s == 0:
            return x_0
        alpha_s, sigma_s, sigma_t = alpha_bar[s] ** 0.5, (1 - alpha_bar[s]) ** 0.5, (1 - alpha_bar[t]) ** 0.5
        length = _half_log_snr(alpha_bar[s]) - _half_log_snr(alpha_bar[t])
        slope = x_0 if before is None else x_0 + length / (2 * before[0]) * (x_0 - before[1])
        x_t = sigma_s / sigma_t * math.exp(-eta * length) * x_t - alpha_s * math.expm1(-(1 + eta) * length) * slope
        if eta > 0:
            x_t = x_t + sigma_s * math.sqrt(-math.expm1(-2 * eta * length)) * _noise_like(x_t, generator)
        before = length, x_0
    return x_t


def _half_log_snr(alpha_bar: float) -> float:
    """lambda = log(alpha / sigma) with alpha^2 = alpha_bar and sigma^2 = 1 - alpha_bar."""
    return (math.log(alpha_bar) - math.log1p(-alpha_bar)) / 2


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp": dpm_solver_pp,
    "sde_dpm_solver_pp": partial(dpm_solver_pp, eta=1.0),
}

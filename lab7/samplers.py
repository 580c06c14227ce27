"""Samplers: from noise to pictures, one function each, all called alike.

    x_0 = sampler(model, schedule, x_T, condition, num_steps, guidance_scale, generator, callback)

`model(x_t, t, condition)` answers with what `target` names; an all-zero condition means none. Every sampler first
turns that answer into a prediction of x_0 and eps, lets `transform_x_0` change the picture (clamp it, say), tells
`callback(step, t, x_t, x_0)`, and then steps from t to the next smaller s.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lab7.diffusion import Model, eps_from_x_0, predict_x_0_eps
from lab7.schedule import NoiseSchedule

Callback = Callable[[int, int, Tensor, Tensor], None]
Transform = Callable[[Tensor], Tensor]


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
    target: str,
    transform_x_0: Transform | None,
) -> tuple[Tensor, Tensor]:
    """The model's (x_0, eps) at step t, both of x_t's shape."""
    steps = torch.full((x_t.shape[0],), t, dtype=torch.int64, device=x_t.device)
    output = guided(model, x_t, steps, condition, guidance_scale)
    x_0, eps = predict_x_0_eps(schedule, output, x_t, steps, target)
    if transform_x_0 is not None:
        x_0 = transform_x_0(x_0)
        eps = eps_from_x_0(schedule, x_0, x_t, steps)
    return x_0, eps


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


@torch.inference_mode()
def ddpm(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Tensor,
    condition: Tensor,
    num_steps: int | None = None,
    guidance_scale: float = 1.0,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    *,
    target: str = "eps",
    transform_x_0: Transform | None = None,
) -> Tensor:
    """Ancestral sampling: draw x_s from the posterior q(x_s | x_t, x_0) (DDPM, Ho et al. 2020, eqs. 6 and 7).

    x_T (B, 3, S, S) is standard normal, condition (B, 24); returns x_0 in model space. num_steps None takes all T.
    """
    x_t = x_T
    timesteps = schedule.timesteps(num_steps)
    for step, (t, s) in enumerate(zip(timesteps, timesteps[1:], strict=False)):
        x_0, _ = _predict(model, schedule, x_t, t, condition, guidance_scale, target, transform_x_0)
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
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    *,
    target: str = "eps",
    transform_x_0: Transform | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Implicit sampling: point from the predicted x_0 along the predicted eps to x_s (DDIM, Song et al. 2021, eq. 12).

    eta = 0 is deterministic; eta = 1 has the variance of ancestral sampling (eq. 16). Shapes as for ddpm.
    """
    x_t = x_T
    timesteps = schedule.timesteps(num_steps)
    for step, (t, s) in enumerate(zip(timesteps, timesteps[1:], strict=False)):
        x_0, eps = _predict(model, schedule, x_t, t, condition, guidance_scale, target, transform_x_0)
        if callback is not None:
            callback(step, t, x_t, x_0)
        alpha_bar_s = schedule.alpha_bar64[s]
        variance = eta**2 * schedule.posterior(t, s).variance.double()
        x_t = alpha_bar_s.sqrt().float() * x_0 + (1 - alpha_bar_s - variance).clamp(min=0).sqrt().float() * eps
        if eta > 0 and s > 0:
            x_t = x_t + variance.sqrt().float() * _noise_like(x_t, generator)
    return x_t


SAMPLERS: dict[str, Callable[..., Tensor]] = {"ddpm": ddpm, "ddim": ddim}

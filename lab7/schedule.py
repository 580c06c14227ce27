"""Noise schedules: how much of the picture is left at each step t = 1..T.

Index 0 stands for the clean picture (beta_0 = 0, alpha_bar_0 = 1), so that `buffer[t]` reads as in the papers.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab7.utils.files import UserError

NAMES = ("linear", "linear_eq3", "linear_listing", "cosine", "shifted")


def make_betas(
    name: str, num_steps: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02, shift: float = 5.0
) -> Tensor:
    """The noise variances beta_0 = 0, beta_1 .. beta_T as float64 (T + 1,), each in [0, 1).

    linear          linspace(min, max, T)                     DDPM, Ho et al. 2020, section 4
    linear_eq3      min + (t - 1)(max - min) / T              the report's eq. (3): never reaches max
    linear_listing  min + t (max - min) / T                   the report's listing, Fig. 8: never equals min
    cosine          1 - alpha_bar_t / alpha_bar_(t-1), capped at 0.999
                                                              Improved DDPM, Nichol and Dhariwal 2021, eq. (17)
    shifted         the cosine, with log(alpha_bar / (1 - alpha_bar)) lower by `shift`: more noise at every t, for
                    pictures in which few pixels say all     Simple diffusion, Hoogeboom et al. 2023, section 3.1

    Raises UserError for an unknown name or fewer than two steps.
    """
    if num_steps < 2:
        raise UserError(f"a noise schedule needs at least 2 steps, not {num_steps}")
    t = torch.arange(1, num_steps + 1, dtype=torch.float64)
    if name == "linear":
        beta = beta_min + (t - 1) * (beta_max - beta_min) / (num_steps - 1)
    elif name == "linear_eq3":
        beta = beta_min + (t - 1) * (beta_max - beta_min) / num_steps
    elif name == "linear_listing":
        beta = beta_min + t * (beta_max - beta_min) / num_steps
    elif name in ("cosine", "shifted"):
        f = cosine_f(torch.arange(num_steps + 1, dtype=torch.float64) / num_steps)
        f = f / f[0]
        if name == "shifted":
            f = f / (f + (1 - f) * math.exp(shift))  # sigmoid(logit(f) - shift), without infinities
        beta = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    else:
        raise UserError(f"unknown schedule '{name}'; known: {', '.join(NAMES)}")
    return torch.cat([torch.zeros(1, dtype=torch.float64), beta])


def cosine_f(fraction: Tensor, s: float = 0.008) -> Tensor:
    """f(t) = cos^2((t/T + s) / (1 + s) * pi/2) for t/T in [0, 1]; alpha_bar_t = f(t) / f(0) (eq. 17)."""
    return torch.cos((fraction + s) / (1 + s) * math.pi / 2) ** 2


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) = N(coef_x_0 * x_0 + coef_x_t * x_t, variance) for s < t."""

    coef_x_0: Tensor
    coef_x_t: Tensor
    variance: Tensor


class NoiseSchedule(nn.Module):
    """The report's pre-computed buffers, float32 (T + 1,), made in float64; `alpha_bar64` keeps full precision."""

    beta: Tensor
    alpha: Tensor
    alpha_bar: Tensor
    sqrt_alpha_bar: Tensor
    sqrt_one_minus_alpha_bar: Tensor
    alpha_bar64: Tensor

    def __init__(self, name: str = "linear", num_steps: int = 1000, **options: float) -> None:
        super().__init__()
        self.name, self.num_steps = name, num_steps
        beta = make_betas(name, num_steps, **options)
        alpha = 1 - beta
        alpha_bar = torch.cumprod(alpha, dim=0)
        buffers = {"beta": beta, "alpha": alpha, "alpha_bar": alpha_bar}
        buffers |= {"sqrt_alpha_bar": alpha_bar.sqrt(), "sqrt_one_minus_alpha_bar": (1 - alpha_bar).sqrt()}
        for key, value in buffers.items():
            self.register_buffer(key, value.float(), persistent=False)
        self.register_buffer("alpha_bar64", alpha_bar, persistent=False)

    def posterior(self, t: int, s: int) -> Posterior:
        """The posterior of step s given step t and x_0, for 0 <= s < t <= T (DDPM, eqs. 6 and 7, for any stride).

        At s = t - 1 these are the paper's: variance = (1 - alpha_bar_(t-1)) / (1 - alpha_bar_t) beta_t.
        """
        a_t, a_s = self.alpha_bar64[t], self.alpha_bar64[s]
        alpha_ts = a_t / a_s
        beta_ts = 1 - alpha_ts
        return Posterior(
            coef_x_0=(a_s.sqrt() * beta_ts / (1 - a_t)).float(),
            coef_x_t=(alpha_ts.sqrt() * (1 - a_s) / (1 - a_t)).float(),
            variance=((1 - a_s) / (1 - a_t) * beta_ts).float(),
        )

    def timesteps(self, num_steps: int | None = None, t_end: float = 0.0) -> list[int]:
        """The steps that a sampler visits, T first and 0 last: `num_steps` strides, equal but for rounding.

        None is visited below `t_end` * T: the picture predicted there is then the answer. Raises UserError unless
        1 <= num_steps <= T and 0 <= t_end < 1, and where more steps are asked for than lie above `t_end`.
        """
        count = self.num_steps if num_steps is None else num_steps
        if not 1 <= count <= self.num_steps:
            raise UserError(f"the number of sampling steps must be 1 to {self.num_steps}, not {count}")
        if not 0 <= t_end < 1:
            raise UserError(f"t_end is a share of T from 0 to below 1, not {t_end}")
        lowest = max(1, round(t_end * self.num_steps))
        if count > (most := self.num_steps - lowest + 1):
            raise UserError(f"only {most} steps lie above t_end={t_end}, not {count}; ask for fewer")
        last = max(self.num_steps / count, lowest)  # the least t that is visited
        stride = (self.num_steps - last) / max(count - 1, 1)
        return [*(round(self.num_steps - stride * k) for k in range(count)), 0]

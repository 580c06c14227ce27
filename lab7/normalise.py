"""From stored pictures to what the model sees, and back; batches by index.

The pictures differ little: their deviation from the mean picture has a standard deviation of about 0.095 in
[-1, 1] units, ten times less than the one that a diffusion schedule assumes. 'deviation' subtracts the mean
picture and divides by that one number; 'plain', the report's way, only scales to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab7.files import UserError
from lab7.pictures import Pictures, to_float

KINDS = ("deviation", "plain")
_CHUNK = 256  # pictures at a time when sums are taken in 64 bits


@dataclass(frozen=True, eq=False)
class Normaliser:
    """x_0 = (picture - mean) / std, both in [-1, 1] units.

    mean: float32 (3, S, S). std: float32 scalar tensor, one for all pixels. Made by fit_normaliser.
    """

    mean: Tensor
    std: Tensor

    def encode(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) -> float32 (B, 3, S, S) in model space, on the pictures' device."""
        return to_float(images).sub_(self.mean).div_(self.std)

    def decode(self, x: Tensor) -> Tensor:
        """Model space -> about [-1, 1], not clamped, the same shape."""
        return x * self.std + self.mean

    def to(self, device: torch.device | str) -> Normaliser:
        """The same on another device; itself if it is there already."""
        if self.mean.device == torch.device(device):
            return self
        return Normaliser(self.mean.to(device), self.std.to(device))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: {"mean": (3, S, S), "std": ()}, on the CPU."""
        return {"mean": self.mean.cpu(), "std": self.std.cpu()}

    @staticmethod
    def from_state(state: dict[str, Tensor]) -> Normaliser:
        """The inverse of state."""
        return Normaliser(state["mean"].to(torch.float32), state["std"].to(torch.float32))


def fit_normaliser(images: Tensor, kind: str = "deviation") -> Normaliser:
    """Fit on training pictures, uint8 (N, 3, S, S). The same pictures give the same bits in any order.

    Sums of whole numbers in float64 are exact here (far below 2^53), so neither order nor device matters.
    Raises UserError for an unknown kind, or if the pictures do not differ at all.
    """
    if kind not in KINDS:
        raise UserError(f"unknown normalisation '{kind}'; choose one of {', '.join(KINDS)}")
    num, shape = len(images), tuple(images.shape[1:])
    if kind == "plain":
        return Normaliser(torch.zeros(shape), torch.ones(()))
    total = torch.zeros(shape, dtype=torch.float64)
    squares = 0.0
    for chunk in images.split(_CHUNK):
        values = chunk.cpu().to(torch.float64)
        total += values.sum(dim=0)
        squares += float(values.square().sum())
    # sum of (x - mean)^2 over everything = sum of x^2 - sum over pixels of (sum of x)^2 / N
    variance = (squares - float(total.square().sum()) / num) / (num * total.numel())
    std = max(variance, 0.0) ** 0.5 / 127.5
    if std < 1e-4:
        raise UserError(
            f"the {num} training pictures are all alike: their deviation from the mean cannot be normalised; "
            "give more pictures or choose the normalisation 'plain'"
        )
    mean = total / num / 127.5 - 1
    return Normaliser(mean.to(torch.float32), torch.tensor(std, dtype=torch.float32))


def epoch_order(num: int, epoch: int, seed: int) -> Tensor:
    """The order in which an epoch visits `num` pictures, (num,) int64 on the CPU; repeatable."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return torch.randperm(num, generator=generator)


def draw(
    pictures: Pictures, index: Tensor, normaliser: Normaliser, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """The batch at `index` (B,): x_0 float32 (B, 3, S, S) in model space and condition float32 (B, 24).

    Both are on `device`. Pictures may be on any device; only the chosen ones travel, as uint8.
    """
    index = index.to(pictures.images.device)
    images = pictures.images[index].to(device)
    condition = pictures.labels[index].to(device, torch.float32)
    return normaliser.to(device).encode(images), condition

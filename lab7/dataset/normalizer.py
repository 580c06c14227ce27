"""From stored pictures to what the model sees, and back; batches by index.

The pictures differ little: their deviation from the mean picture has a standard deviation of about 0.095 in [-1, 1]
units, ten times less than a diffusion schedule assumes. 'deviation' subtracts the mean picture and divides by that one
number. 'plain', the report's way, only scales to [-1, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lab7.dataset.images import Pictures, to_float
from lab7.utils.files import UserError
from lab7.utils.seeds import mix_seed

KINDS = ("deviation", "plain")
_CHUNK = 256  # pictures at a time when sums are taken in 64 bits


@dataclass(frozen=True, eq=False)
class Normaliser:
    """x_0 = (picture - mean) / std, both in [-1, 1] units. Made by fit_normaliser.

    mean: float32 (3, S, S). std: float32, one number for all pixels and channels.
    """

    mean: Tensor
    std: Tensor

    def encode(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) -> float32 (B, 3, S, S) in model space, on the pictures' device."""
        return self.from_pixels(to_float(images))

    def from_pixels(self, pixels: Tensor) -> Tensor:
        """float32 (B, 3, S, S) in [-1, 1] -> model space, the same shape."""
        return (pixels - self.mean).div_(self.std)

    def decode(self, x: Tensor) -> Tensor:
        """Model space -> about [-1, 1], not clamped, the same shape."""
        return x * self.std + self.mean

    def to(self, device: torch.device | str) -> "Normaliser":
        """The same on another device."""
        return Normaliser(self.mean.to(device), self.std.to(device))


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
    squares = torch.zeros((), dtype=torch.float64)
    for chunk in images.split(_CHUNK):
        values = chunk.cpu().to(torch.float64)
        total += values.sum(dim=0)
        squares += values.square().sum()
    # sum of (x - mean)^2 over all pixels = sum of x^2 - sum over places of (sum of x)^2 / N
    std = ((squares - total.square().sum() / num) / (total.numel() * num)).clamp(min=0).sqrt() / 127.5
    if std < 1e-4:
        raise UserError(f"the {num} training pictures are all alike; give other pictures, or set normalise=plain")
    return Normaliser((total / num / 127.5 - 1).float(), std.float())


def epoch_order(num: int, epoch: int, seed: int) -> Tensor:
    """The order in which an epoch visits `num` pictures, (num,) int64 on the CPU; repeatable."""
    return torch.randperm(num, generator=torch.Generator().manual_seed(mix_seed(seed, epoch)))


def draw(
    pictures: Pictures, index: Tensor, normaliser: Normaliser, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """The batch at `index` (B,): x_0 float32 (B, 3, S, S) in model space and condition float32 (B, 24), with positions
    in units of the picture's side (B, 72).

    Both are on `device`. Pictures may be on any device; only the chosen ones travel, as uint8.
    """
    index = index.to(pictures.images.device)
    condition = pictures.labels[index].to(device, torch.float32)
    if pictures.positions is not None:
        condition = torch.cat([condition, pictures.positions[index].to(device) / 255], dim=1)
    return normaliser.to(device).encode(pictures.images[index].to(device)), condition

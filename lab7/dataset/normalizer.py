"""From stored pictures to what the model sees, and back; batches by index.

The pictures differ little: their deviation from the mean picture has a standard deviation of about 0.095 in [-1, 1]
units, ten times less than a diffusion schedule assumes. 'deviation' subtracts the mean picture and divides by that one
number. 'plain', the report's way, only scales to [-1, 1]. 'whitened' divides by the square root of the covariance of
the three channels, so that hue, which tells objects apart, counts as much as brightness.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lab7.dataset.images import Pictures, to_float
from lab7.utils.files import UserError
from lab7.utils.seeds import mix_seed

KINDS = ("deviation", "whitened", "plain")
_CHUNK = 256  # pictures at a time when sums are taken in 64 bits


@dataclass(frozen=True, eq=False)
class Normaliser:
    """x_0 = (picture - mean) / std, both in [-1, 1] units. Made by fit_normaliser.

    mean: float32 (3, S, S). std: float32, one number for all pixels and channels, or a symmetric matrix (3, 3) by
    whose inverse the channels of each pixel are multiplied.
    """

    mean: Tensor
    std: Tensor

    def encode(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) -> float32 (B, 3, S, S) in model space, on the pictures' device."""
        return self.from_pixels(to_float(images))

    def from_pixels(self, pixels: Tensor) -> Tensor:
        """float32 (B, 3, S, S) in [-1, 1] -> model space, the same shape."""
        x = pixels - self.mean
        return _mix(torch.linalg.inv(self.std), x) if self.std.ndim else x.div_(self.std)

    def decode(self, x: Tensor) -> Tensor:
        """Model space -> about [-1, 1], not clamped, the same shape."""
        return (_mix(self.std, x) if self.std.ndim else x * self.std) + self.mean

    def to(self, device: torch.device | str) -> "Normaliser":
        """The same on another device."""
        return Normaliser(self.mean.to(device), self.std.to(device))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: {"mean": (3, S, S), "std": () or (3, 3)}, on the CPU."""
        return {"mean": self.mean.cpu(), "std": self.std.cpu()}

    @staticmethod
    def from_state(state: dict[str, Tensor]) -> "Normaliser":
        """The inverse of state."""
        return Normaliser(state["mean"].float(), state["std"].float())


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
    products = torch.zeros(3, 3, dtype=torch.float64)
    for chunk in images.split(_CHUNK):
        values = chunk.cpu().to(torch.float64)
        total += values.sum(dim=0)
        products += torch.einsum("nihw,njhw->ij", values, values)
    # sum of (x - mean) (y - mean) over all pixels = sum of x y - sum over places of (sum of x) (sum of y) / N
    covariance = (products - torch.einsum("ihw,jhw->ij", total, total) / num) / (num * shape[1] * shape[2] * 127.5**2)
    std = covariance.diagonal().mean().clamp(min=0).sqrt()
    if std < 1e-4:
        raise UserError(
            f"the {num} training pictures are all alike: their deviation from the mean cannot be normalised; "
            "give more pictures or choose the normalisation 'plain'"
        )
    if kind == "whitened":
        variances, axes = torch.linalg.eigh(covariance)
        # No axis counts more than ten times as much as another: channels that say the same hold nothing but grain.
        std = axes @ variances.clamp(min=variances.max() / 100).sqrt().diag() @ axes.T
    return Normaliser((total / num / 127.5 - 1).float(), std.float())


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """Every pixel's channels (B, 3, S, S) times a matrix (3, 3)."""
    parts = [matrix[:, j, None, None] * x[:, j : j + 1] for j in range(3)]  # no product of matrices, which may be bf16
    return parts[0].add_(parts[1]).add_(parts[2])


def epoch_order(num: int, epoch: int, seed: int) -> Tensor:
    """The order in which an epoch visits `num` pictures, (num,) int64 on the CPU; repeatable."""
    return torch.randperm(num, generator=torch.Generator().manual_seed(mix_seed(seed, epoch)))


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

"""Pictures made a little different: the judge is to read what a generator draws, not renders alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far the pictures are changed; the amount is drawn anew for each picture, from none up to this."""

    shift: int = 4  # pixels, either way along both axes; the border is repeated
    through_half: float = 0.4  # share of the pictures that pass through half their size and back
    soften: float = 0.8  # share of the picture's fine detail that is taken away (or half as much added)
    gain: float = 0.15  # contrast about the picture's mean, as a factor of 1 +- this
    brightness: float = 0.15  # added to all channels; pictures are in [-1, 1]
    tint: float = 0.06  # added to each channel apart
    noise: float = 0.08  # standard deviation of pixel noise


def augment(pictures: Tensor, generator: torch.Generator, how: Augmentation | None = None) -> Tensor:
    """uint8 pictures (B, 3, H, W) -> changed float pictures (B, 3, H, W) in about [-1, 1], same device.

    All randomness comes from `generator`, which must live on the pictures' device.
    """
    how = how or Augmentation()
    x = shift(pictures, how.shift, generator).float() / 127.5 - 1
    x = torch.where(_uniform(x, generator) < how.through_half, through_half_size(x), x)
    x = x + how.soften * (1.5 * _uniform(x, generator) - 0.5) * (smooth(x) - x)
    centre = x.mean(dim=(1, 2, 3), keepdim=True)
    x = centre + (1 + how.gain * _spread(x, generator)) * (x - centre)
    x = x + how.brightness * _spread(x, generator) + how.tint * _spread(x, generator, channels=3)
    # Squared, so that most pictures get little noise and a few get much.
    return x + how.noise * _uniform(x, generator) ** 2 * _normal(x, generator)


def shift(x: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each picture (B, C, H, W) moved by whole pixels, up to `pixels` either way, its border repeated."""
    batch, _, height, width = x.shape
    moves = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=generator, device=x.device)
    rows = (torch.arange(height, device=x.device) + moves[0]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=x.device) + moves[1]).clamp(0, width - 1)  # (B, W)
    each = torch.arange(batch, device=x.device)[:, None, None]
    moved = x[each, :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return moved.permute(0, 3, 1, 2)  # (B, C, H, W)


def through_half_size(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W), H and W even, averaged down to half their size and brought back bilinearly."""
    return F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear", align_corners=False)


def smooth(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) under the binomial kernel 1 4 6 4 1 (a Gaussian of one pixel)."""
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device, dtype=x.dtype) / 16
    channels = x.shape[1]
    across = kernel.expand(channels, 1, 1, 5)
    x = F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), across, groups=channels)
    return F.conv2d(F.pad(x, (0, 0, 2, 2), mode="replicate"), across.mT, groups=channels)


def _uniform(x: Tensor, generator: torch.Generator, channels: int = 1) -> Tensor:
    """One number in [0, 1) a picture: (B, channels, 1, 1)."""
    return torch.rand((len(x), channels, 1, 1), generator=generator, device=x.device)


def _spread(x: Tensor, generator: torch.Generator, channels: int = 1) -> Tensor:
    """One number in [-1, 1) a picture: (B, channels, 1, 1)."""
    return 2 * _uniform(x, generator, channels) - 1


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device)

"""Augmentation, so that the judge can read what a generator draws and what other cameras took.

Our judges are trained with `augment`; `other_film` makes pictures for their evaluation in ways that it does not use.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far the pictures are changed; the amount is drawn anew for each picture, from none up to this."""

    shift: int = 4  # pixels, either way along both axes; the border is repeated
    through_half: float = 0.35  # share of the pictures that pass through half their size and back
    resize: float = 0.2  # share of the batches that pass through another size (40 to 95 pixels) and back
    jpeg: float = 0.15  # share of the pictures that pass through JPEG, of quality 40 to 95
    soften: float = 0.8  # share of the picture's fine detail that is taken away (or half as much added)
    gain: float = 0.2  # contrast about the picture's mean, as a factor of 1 +- this
    exposure: float = 0.25  # exponent of the brightness in [0, 1], as a factor of 1 +- this
    brightness: float = 0.15  # added to all channels; pictures are in [-1, 1]
    tint: float = 0.08  # added to each channel apart
    noise: float = 0.10  # standard deviation of pixel noise
    blotches: float = 0.06  # standard deviation of noise of half the fineness


def augment(pictures: Tensor, generator: torch.Generator, how: Augmentation | None = None) -> Tensor:
    """uint8 pictures (B, 3, H, W) -> changed float pictures (B, 3, H, W) in about [-1, 1], on the device that they
    and the generator share."""
    how = how or Augmentation()
    pictures = shift(pictures, how.shift, generator)
    chosen = _uniform(pictures, generator).flatten() < how.jpeg  # (B,)
    qualities = (40 + 55 * _uniform(pictures, generator).flatten()).tolist()
    x = through_jpeg(pictures, chosen.tolist(), qualities).float() / 127.5 - 1
    half = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    x = torch.where(_uniform(x, generator) < how.through_half, half, x)
    if float(torch.rand((), generator=generator, device=x.device)) < how.resize:
        share = 40 + 55 * float(torch.rand((), generator=generator, device=x.device))
        x = through_size(x, round(share * x.shape[-1] / 64))
    x = x + how.soften * (1.5 * _uniform(x, generator) - 0.5) * (smooth(x) - x)
    if how.exposure:
        x = 2 * ((x + 1) / 2).clamp(1e-3, 1) ** (1 + how.exposure * _spread(x, generator)) - 1
    centre = x.mean(dim=(1, 2, 3), keepdim=True)
    x = centre + (1 + how.gain * _spread(x, generator)) * (x - centre)
    x = x + how.brightness * _spread(x, generator) + how.tint * _spread(x, generator, channels=3)
    # Squared, so that most pictures get little noise and a few get much.
    x = x + how.noise * _uniform(x, generator) ** 2 * _normal(x, generator)
    coarse = F.interpolate(_normal(x[..., ::2, ::2], generator), size=x.shape[-2:], mode="bilinear")
    return x + how.blotches * _uniform(x, generator) ** 2 * coarse


def other_film(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 pictures (B, 3, H, W) as other cameras and files show them, in ways that `augment` does not use:
    saturation, warm or cold light, blur by motion, grain of each channel apart, darker corners; uint8 again."""
    x = pictures.float() / 255
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (1 + 0.35 * _spread(x, generator)) * (x - grey)
    warmth = 0.10 * _spread(x, generator)
    x = x * torch.cat([1 + warmth, torch.ones_like(warmth), 1 - warmth], dim=1)
    x = x + 0.8 * _uniform(x, generator) * (_moved(x, generator) - x)
    height, width = x.shape[-2:]
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    corner = (rows.square() + columns.square()).to(x.device) / 2  # (H, W), 1 in the corners
    x = x * (1 - 0.3 * _uniform(x, generator) * corner)
    x = x + 0.04 * _uniform(x, generator, channels=3) * _normal(x, generator)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blur by motion over three pixels, along rows for half of the pictures and along columns for the others."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, :-2] + x + padded[..., 1:-1, 2:]) / 3
    down = (padded[..., :-2, 1:-1] + x + padded[..., 2:, 1:-1]) / 3
    return torch.where(_uniform(x, generator) < 0.5, across, down)


def shift(x: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each picture (B, C, H, W) moved by whole pixels, up to `pixels` either way, its border repeated."""
    batch, _, height, width = x.shape
    moves = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=generator, device=x.device)
    rows = (torch.arange(height, device=x.device) + moves[0]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=x.device) + moves[1]).clamp(0, width - 1)  # (B, W)
    each = torch.arange(batch, device=x.device)[:, None, None]
    moved = x[each, :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return moved.permute(0, 3, 1, 2)  # (B, C, H, W)


def through_jpeg(pictures: Tensor, chosen: list[bool], qualities: list[float]) -> Tensor:
    """uint8 pictures (B, 3, H, W), the chosen ones after JPEG of a quality (1 to 100)."""
    result = pictures.clone()
    for index, (change, quality) in enumerate(zip(chosen, qualities, strict=True)):
        if change:
            packed = io.BytesIO()
            Image.fromarray(pictures[index].permute(1, 2, 0).cpu().numpy()).save(packed, "JPEG", quality=round(quality))
            result[index] = torch.from_numpy(np.array(Image.open(packed))).permute(2, 0, 1)
    return result


def through_size(x: Tensor, size: int) -> Tensor:
    """Pictures (B, C, H, W) resized to (size, size) and back, bilinearly and without alias."""
    there = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(there, size=x.shape[-2:], mode="bilinear", align_corners=False, antialias=True)


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

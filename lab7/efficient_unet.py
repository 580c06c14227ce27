"""An efficient U-Net for the same task: patches, adaptive group norm, attention, and a token for each object.

Shapes are given for 64x64 pictures, patch = 4 and widths (W, D): the picture becomes 16x16 patches of 48 numbers,
which are refined at 16x16 and at 8x8. Nearly all arithmetic is in wide 3x3 convolutions on small maps, which is what
a CPU and a GPU do fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab7.utils.files import UserError

GROUP = 16  # channels that share one mean and deviation in a group norm
HEAD = 32  # channels of an attention head


class Convolution(nn.Module):
    """A convolution whose kernel is kept as the matrix that it is: (out, size * size * in).

    Read as (out, size, size, in) the matrix is a channels-last kernel without any copying, and Muon, which takes
    matrices only, can train it as it stands.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int = 3, stride: int = 1, zero: bool = False) -> None:
        super().__init__()
        self.shape = (out_channels, size, size, in_channels)
        self.stride, self.padding = stride, (size - 1) // 2
        bound = 0.0 if zero else 1 / math.sqrt(size * size * in_channels)  # PyTorch's own default
        self.weight = nn.Parameter(torch.empty(out_channels, size * size * in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.view(self.shape).permute(0, 3, 1, 2)  # (out, in, size, size)
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding)


class Block(nn.Module):
    """A residual block: (B, C, H, W), embedding (B, E) -> (B, C, H, W).

    The embedding scales and shifts what the second group norm gives out (adaptive group norm, Dhariwal and Nichol
    2021, section 3): (1 + c) * h + t, or with `scale_by` "product" the report's c * h + t. The last convolution
    begins at zero, so that a fresh block changes nothing.
    """

    def __init__(self, channels: int, embedding: int, scale_by: str = "one_plus") -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(channels // GROUP, channels)
        self.conv1 = Convolution(channels, channels)
        self.norm2 = nn.GroupNorm(channels // GROUP, channels, affine=False)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.least = 0 if scale_by == "product" else 1
        if self.least:  # a product that begins at 0 would stay there
            nn.init.zeros_(self.modulation.weight)
        self.conv2 = Convolution(channels, channels, zero=True)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        h = torch.addcmul(shift, self.norm2(h), self.least + scale)
        return x + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Every place looks at all places, and at the tokens of the objects that are asked for: (B, C, H, W) -> the same.

    One softmax runs over both, so a place can choose between its neighbourhood and the condition. Without `around`,
    which grows with the square of the places, it looks at the tokens alone.
    """

    def __init__(self, channels: int, token_width: int, around: bool = True) -> None:
        super().__init__()
        self.heads, self.around = channels // HEAD, around
        self.norm = nn.GroupNorm(channels // GROUP, channels)
        self.places = nn.Linear(channels, 3 * channels if around else channels, bias=False)
        self.objects = nn.Linear(token_width, 2 * channels, bias=False) if token_width else None
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor | None, hidden: Tensor | None) -> Tensor:
        """tokens (K, token_width) are those of all classes; hidden (B, 1, 1, H * W + K) is -inf where none may look."""
        batch, channels, height, width = x.shape
        places = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C)
        query, *seen = self._split(self.places(places), 3 if self.around else 1)  # (B, heads, H * W, HEAD) each
        if self.objects is None or tokens is None or hidden is None:
            hidden = None
            key, value = seen
        else:
            key, value = (x.expand(batch, -1, -1, -1) for x in self._split(self.objects(tokens)[None], 2))
            if self.around:
                key, value = (torch.cat(two, dim=2) for two in zip(seen, (key, value), strict=True))
            hidden = hidden[..., -key.shape[2] :]
        # By hand: for so few places this is faster than PyTorch's fused attention, whose backward pass is slow on CPUs.
        weights = (query * HEAD**-0.5 @ key.transpose(-1, -2)).float()  # (B, heads, H * W, H * W + K)
        if hidden is not None:
            weights = weights + hidden
        found = weights.softmax(dim=-1).to(value.dtype) @ value  # (B, heads, H * W, HEAD)
        found = self.out(found.transpose(1, 2).flatten(2))  # (B, H * W, C)
        return x + found.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _split(self, x: Tensor, parts: int) -> Sequence[Tensor]:
        """(B, N, parts * heads * HEAD) -> `parts` tensors (B, heads, N, HEAD)."""
        return x.unflatten(-1, (parts, self.heads, HEAD)).permute(2, 0, 3, 1, 4).unbind(0)


class Level(nn.Module):
    """Blocks of one width and resolution, each followed by attention to all places (`around`), to tokens, or both."""

    def __init__(
        self, channels: int, blocks: int, embedding: int, around: bool, token_width: int, scale_by: str
    ) -> None:
        super().__init__()
        looks = blocks if around or token_width else 0
        self.blocks = nn.ModuleList(Block(channels, embedding, scale_by) for _ in range(blocks))
        self.attentions = nn.ModuleList(Attention(channels, token_width, around) for _ in range(looks))

    def share_modulation(self, other: Level) -> None:
        """Let another level of this width and as many blocks tell this one's blocks what it tells its own."""
        for mine, its in zip(self.blocks, other.blocks, strict=True):
            mine.modulation = its.modulation

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None, hidden: Tensor | None) -> Tensor:
        for place, block in enumerate(self.blocks):
            x = block(x, embedding)
            if len(self.attentions):
                x = self.attentions[place](x, tokens, hidden)
        return x


class EfficientUNet(nn.Module):
    """Answers about x_t: (x_t (B, 3, S, S), t (B,) in 1..T, condition (B, 24)) -> (B, 3, S, S).

    A condition of zeros means none. The time enters every block; the label those on the way "down" or "up", both, only
    the lowest level ("hidden") or "none", as `condition_at` says. Blocks of one level share what modulates them on both
    ways with `embeddings` "shared". Raises UserError for a size that the patches and levels do not divide, for widths
    that do not divide by 32, and where widths and blocks are not of the same number.
    """

    def __init__(
        self,
        image_size: int = 64,
        num_steps: int = 1000,
        patch: int = 4,
        widths: Sequence[int] = (160, 192),
        blocks: Sequence[int] = (2, 2),
        embedding: int = 192,
        tokens: bool = True,
        tokens_at: str = "lowest",
        scale_by: str = "one_plus",
        condition_at: str = "up_down",
        embeddings: str = "separate",
        num_classes: int = 24,
    ) -> None:
        super().__init__()
        _check(image_size, patch, widths, blocks)
        self.num_steps, self.patch, self.condition_at, self.last = num_steps, patch, condition_at, len(widths) - 1
        self.time = nn.Sequential(nn.Linear(128, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Linear(num_classes, embedding, bias=False) if condition_at != "none" else None
        tokens = tokens and condition_at != "none"
        # One token a class, and one more that is always there, so that an empty condition has something to look at.
        self.tokens = nn.Parameter(torch.randn(num_classes + 1, embedding)) if tokens else None

        def level(way: str, place: int) -> Level:
            lowest = place == self.last
            told = tokens and self.hears(way, place) and (lowest or tokens_at == "all")
            return Level(widths[place], blocks[place], embedding, lowest, embedding if told else 0, scale_by)

        self.stem = Convolution(3 * patch**2, widths[0])
        self.down = nn.ModuleList(level("down", place) for place in range(len(widths)))
        self.shrink = nn.ModuleList(Convolution(a, b, 2, 2) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(level("up", place) for place in range(len(widths)))
        self.grow = nn.ModuleList(Convolution(b, 4 * a, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.merge = nn.ModuleList(Convolution(2 * a, a, 1) for a in widths[:-1])
        if embeddings == "shared":
            for place in range(len(widths)):
                cast(Level, self.up[place]).share_modulation(cast(Level, self.down[place]))
        self.norm = nn.GroupNorm(widths[0] // GROUP, widths[0])
        self.head = Convolution(widths[0], 3 * patch**2, zero=True)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        time = self.time(sinusoids(t / self.num_steps))  # (B, E)
        asked = F.silu(time if self.label is None else time + self.label(condition))  # (B, E)
        unasked = asked if self.condition_at == "up_down" else F.silu(time)  # (B, E)
        x = self.stem(F.pixel_unshuffle(x_t, self.patch))  # (B, 48, 16, 16) -> (B, W, 16, 16)
        tokens, hidden = self.tokens, self._hidden(x, condition)
        skips = []
        for place, level in enumerate(self.down):
            x = level(x, asked if self.hears("down", place) else unasked, tokens, hidden)
            if place < len(self.shrink):
                skips.append(x)
                x = self.shrink[place](x)  # (B, D, 8, 8)
        for place in reversed(range(len(self.up))):
            x = self.up[place](x, asked if self.hears("up", place) else unasked, tokens, hidden)
            if place:
                x = F.pixel_shuffle(self.grow[place - 1](x), 2)  # (B, W, 16, 16)
                x = self.merge[place - 1](torch.cat([x, skips.pop()], dim=1))
        x = self.head(F.silu(self.norm(x)))  # (B, 48, 16, 16)
        return F.pixel_shuffle(x, self.patch)  # (B, 3, 64, 64)

    def hears(self, way: str, place: int) -> bool:
        """Whether the level at that place on the way "down" or "up" is told the label."""
        lowest = self.condition_at == "hidden" and place == self.last
        return lowest or self.condition_at in ("up_down", way)

    def matrices(self) -> list[nn.Parameter]:
        """The inner weights, those that Muon is made for: convolutions and attention between the stem and the head."""
        inner = (self.down, self.shrink, self.up, self.grow, self.merge)
        return [
            weight
            for part in inner
            for name, weight in part.named_parameters()
            if weight.ndim == 2 and "modulation" not in name
        ]

    def _hidden(self, x: Tensor, condition: Tensor) -> Tensor | None:
        """What the lowest attention adds to its weights, (B, 1, 1, places + tokens): -inf for absent objects."""
        if self.tokens is None:
            return None
        places = x.shape[-2] * x.shape[-1] // 4 ** len(self.shrink)
        always = condition.new_ones(len(condition), places)
        shown = torch.cat([always, condition, always[:, :1]], dim=1)
        return torch.zeros_like(shown).masked_fill(shown <= 0, -torch.inf)[:, None, None]


def sinusoids(fraction: Tensor, width: int = 128) -> Tensor:
    """Sines and cosines of t / T in [0, 1], (B,) -> (B, width), of periods from 2 pi / 1000 to 20 pi (DDPM's, whose
    positions are t = 1000 t / T; Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=fraction.device) / (width // 2))
    angles = 1000 * fraction[:, None].float() * rates  # (B, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _check(image_size: int, patch: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
    if len(widths) != len(blocks) or not widths:
        raise UserError(f"widths names {len(widths)} levels, but blocks {len(blocks)}; give both for each level")
    if wrong := [width for width in widths if width < HEAD or width % HEAD]:
        raise UserError(f"widths must be multiples of {HEAD}, but one is {wrong[0]}")
    if patch < 1:
        raise UserError(f"patch must be at least 1, not {patch}")
    unit = patch * 2 ** (len(widths) - 1)
    if image_size % unit:
        raise UserError(f"image_size must be a multiple of {unit} with patch {patch} and {len(widths)} levels")

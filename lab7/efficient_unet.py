"""An efficient U-Net for the same task: patches, adaptive group norm, attention, and a token for each object.

Shapes are given for 64x64 pictures, patch = 4 and widths (W, D): the picture becomes 16x16 patches of 48 numbers, and
the network works at 16x16 and at 8x8. Nearly all arithmetic is in wide 3x3 convolutions on small maps, which CPUs and
GPUs compute fastest.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab7.utils.files import UserError

GROUP = 16  # channels that share one mean and deviation in a group norm
HEAD = 32  # channels of an attention head
SPREAD, HEIGHT = 0.05, 10  # of the spot at an object's position: deviation in units of the picture's side; its highest


def conv(in_channels: int, out_channels: int, size: int = 3, stride: int = 1, zero: bool = False) -> nn.Conv2d:
    """A convolution whose bias, and with `zero` also its kernel, begins at zero: (B, in, H, W) -> (B, out, H', W')."""
    layer = nn.Conv2d(in_channels, out_channels, size, stride, padding=(size - 1) // 2)
    for weight in (layer.weight, layer.bias) if zero else (layer.bias,):
        nn.init.zeros_(cast(Tensor, weight))
    return layer


class Block(nn.Module):
    """A residual block: (B, C, H, W), embedding (B, E) -> (B, C, H, W).

    The embedding scales and shifts the output of the second group norm (adaptive group norm, Dhariwal and Nichol 2021,
    section 3): (1 + c) * h + t, or with `scale_by` "product" the report's c * h + t. The last convolution begins at
    zero, so that a fresh block changes nothing.
    """

    def __init__(self, channels: int, embedding: int, scale_by: str = "one_plus") -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(channels // GROUP, channels)
        self.conv1 = conv(channels, channels)
        self.norm2 = nn.GroupNorm(channels // GROUP, channels, affine=False)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.one = 0 if scale_by == "product" else 1
        if self.one:  # a product that begins at 0 would stay there
            nn.init.zeros_(self.modulation.weight)
        self.conv2 = conv(channels, channels, zero=True)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        h = torch.addcmul(shift, self.norm2(h), self.one + scale)
        return x + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Every pixel attends to all pixels and to the tokens of the objects asked for: (B, C, H, W) -> (B, C, H, W).

    One softmax runs over both (scaled dot-product attention, Vaswani et al. 2017, eq. 1). Without `pixels`, whose cost
    grows with the square of H * W, a pixel attends to the tokens alone.
    """

    def __init__(self, channels: int, token_width: int, pixels: bool = True) -> None:
        super().__init__()
        self.heads, self.pixels = channels // HEAD, pixels
        self.norm = nn.GroupNorm(channels // GROUP, channels)
        self.qkv = nn.Linear(channels, 3 * channels if pixels else channels, bias=False)
        self.token_kv = nn.Linear(token_width, 2 * channels, bias=False) if token_width else None
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        """tokens (K, token_width) of all classes; mask (B, 1, 1, H * W + K) is -inf at the tokens of absent objects."""
        batch, channels, height, width = x.shape
        sequence = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C)
        query, *pixel_kv = self._split(self.qkv(sequence), 3 if self.pixels else 1)  # (B, heads, H * W, HEAD) each
        if self.token_kv is None or tokens is None or mask is None:
            mask, (key, value) = None, pixel_kv
        else:
            key, value = (part.expand(batch, -1, -1, -1) for part in self._split(self.token_kv(tokens)[None], 2))
            if self.pixels:
                key, value = (torch.cat(pair, dim=2) for pair in zip(pixel_kv, (key, value), strict=True))
            mask = mask[..., -key.shape[2] :]
        # By hand: for so few pixels this is faster than PyTorch's fused attention, whose backward pass is slow on CPUs.
        scores = (query * HEAD**-0.5 @ key.transpose(-1, -2)).float()  # (B, heads, H * W, H * W + K)
        if mask is not None:
            scores = scores + mask
        mixed = scores.softmax(dim=-1).to(value.dtype) @ value  # (B, heads, H * W, HEAD)
        mixed = self.out(mixed.transpose(1, 2).flatten(2))  # (B, H * W, C)
        return x + mixed.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _split(self, x: Tensor, parts: int) -> Sequence[Tensor]:
        """(B, N, parts * heads * HEAD) -> `parts` tensors (B, heads, N, HEAD)."""
        return x.unflatten(-1, (parts, self.heads, HEAD)).permute(2, 0, 3, 1, 4).unbind(0)


class Level(nn.Module):
    """Blocks of one width and resolution, each followed by attention to pixels, to tokens (of a width above 0) or both.

    (B, C, H, W), embedding (B, E) -> (B, C, H, W); spots (B, 24, 16, 16), if any, are mixed and added first.
    """

    def __init__(
        self, channels: int, blocks: int, embedding: int, pixels: bool, token_width: int, scale_by: str, spots: int
    ) -> None:
        super().__init__()
        self.spots = conv(spots, channels, 1, zero=True) if spots else None
        attentions = blocks if pixels or token_width else 0
        self.blocks = nn.ModuleList(Block(channels, embedding, scale_by) for _ in range(blocks))
        self.attentions = nn.ModuleList(Attention(channels, token_width, pixels) for _ in range(attentions))

    def forward(
        self, x: Tensor, embedding: Tensor, tokens: Tensor | None, mask: Tensor | None, spots: Tensor | None
    ) -> Tensor:
        if self.spots is not None and spots is not None:
            x = x + self.spots(F.adaptive_avg_pool2d(spots, x.shape[-1]))  # (B, C, H, W)
        for place, block in enumerate(self.blocks):
            x = block(x, embedding)
            if len(self.attentions):
                x = self.attentions[place](x, tokens, mask)
        return x


class EfficientUNet(nn.Module):
    """Predicts noise, picture or velocity: (x_t (B, 3, S, S), t (B,) in 1..T, condition (B, 24)) -> (B, 3, S, S).

    A condition of zeros means none. With `positions` it may be (B, 72): the classes, then x and y of each in units of
    the picture's side, or 0 for anywhere. The time enters every block. The label enters the blocks that `condition_at`
    names: those on the way "down", "up", both ("up_down"), those of the lowest level ("hidden") or none ("none"). With
    `embeddings` "shared" the blocks of a level share their modulation on both ways. Raises UserError for an image_size
    that patches and levels do not divide, for widths that 32 does not divide, and for widths and blocks of unequal
    number.
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
        positions: bool = False,
        num_classes: int = 24,
    ) -> None:
        super().__init__()
        _check(image_size, patch, widths, blocks)
        self.num_steps, self.patch, self.condition_at, self.lowest = num_steps, patch, condition_at, len(widths) - 1
        self.num_classes, self.positions = num_classes, positions
        self.time = nn.Sequential(nn.Linear(128, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Linear(num_classes, embedding, bias=False) if condition_at != "none" else None
        tokens = tokens and condition_at != "none"
        # One token a class, and one more that is never masked, so that an empty condition has a token to attend to.
        self.tokens = nn.Parameter(torch.randn(num_classes + 1, embedding)) if tokens else None

        def level(way: str, place: int) -> Level:
            lowest = place == self.lowest
            with_tokens = tokens and self.label_enters(way, place) and (lowest or tokens_at == "all")
            spots = num_classes * (positions and self.label_enters(way, place))
            return Level(widths[place], blocks[place], embedding, lowest, embedding * with_tokens, scale_by, spots)

        places, steps = range(len(widths)), list(pairwise(widths))
        self.stem = conv(3 * patch**2, widths[0])
        self.down = nn.ModuleList(level("down", place) for place in places)
        self.shrink = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.up = nn.ModuleList(level("up", place) for place in places)
        self.grow = nn.ModuleList(conv(b, 4 * a, 1) for a, b in steps)
        self.merge = nn.ModuleList(conv(2 * a, a, 1) for a, _ in steps)
        if embeddings == "shared":
            for down, up in zip(self.down, self.up, strict=True):
                for one, other in zip(cast(Level, down).blocks, cast(Level, up).blocks, strict=True):
                    other.modulation = one.modulation
        self.norm = nn.GroupNorm(widths[0] // GROUP, widths[0])
        self.head = conv(widths[0], 3 * patch**2, zero=True)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x_t, self.patch)  # (B, 48, 16, 16)
        spots = _spots(condition, self.num_classes, x.shape[-1]) if self.positions else None
        condition = condition[:, : self.num_classes]
        time = self.time(sinusoids(t / self.num_steps))  # (B, E)
        both = F.silu(time if self.label is None else time + self.label(condition))  # (B, E): time and label
        time = F.silu(time)  # (B, E)
        x = self.stem(x)  # (B, W, 16, 16)
        mask = self._mask(x, condition)
        skips = []
        for place, level in enumerate(self.down):
            x = level(x, both if self.label_enters("down", place) else time, self.tokens, mask, spots)
            if place < self.lowest:
                skips.append(x)
                x = self.shrink[place](x)  # (B, D, 8, 8)
        for place in reversed(range(len(self.up))):
            x = self.up[place](x, both if self.label_enters("up", place) else time, self.tokens, mask, spots)
            if place:
                x = F.pixel_shuffle(self.grow[place - 1](x), 2)  # (B, W, 16, 16)
                x = self.merge[place - 1](torch.cat([x, skips.pop()], dim=1))
        x = self.head(F.silu(self.norm(x)))  # (B, 48, 16, 16)
        return F.pixel_shuffle(x, self.patch)  # (B, 3, 64, 64)

    def label_enters(self, way: str, place: int) -> bool:
        """Whether the label enters the level at that place on the way "down" or "up"."""
        return self.condition_at in ("up_down", way) or (self.condition_at == "hidden" and place == self.lowest)

    def matrices(self) -> list[nn.Parameter]:
        """The weights that Muon trains: kernels and attention matrices between the stem and the head."""
        inner = (self.down, self.shrink, self.up, self.grow, self.merge)
        named = (pair for part in inner for pair in part.named_parameters())
        return [weight for name, weight in named if weight.ndim > 1 and not ("modulation" in name or "spots" in name)]

    def _mask(self, x: Tensor, condition: Tensor) -> Tensor | None:
        """What the lowest attention adds to its scores, (B, 1, 1, pixels + tokens): -inf for absent objects."""
        if self.tokens is None:
            return None
        pixels = x.shape[-2] * x.shape[-1] // 4**self.lowest
        always = condition.new_ones(len(condition), pixels)
        shown = torch.cat([always, condition, always[:, :1]], dim=1)
        return torch.zeros_like(shown).masked_fill(shown <= 0, -torch.inf)[:, None, None]


def sinusoids(fraction: Tensor, width: int = 128) -> Tensor:
    """Sines and cosines of t / T in [0, 1], (B,) -> (B, width), of periods from 2 pi / 1000 to 20 pi (DDPM's, whose
    positions are t = 1000 t / T; Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=fraction.device) / (width // 2))
    angles = 1000 * fraction[:, None].float() * rates  # (B, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _spots(condition: Tensor, classes: int, side: int) -> Tensor:
    """A soft spot where each object shall stand: condition (B, 72) or (B, 24) -> (B, 24, side, side)."""
    whole = F.pad(condition, (0, 3 * classes - condition.shape[1]))  # (B, 72)
    present, x, y = whole.unflatten(1, (3, classes)).unbind(1)  # (B, 24) each
    axis = (torch.arange(side, device=condition.device) + 0.5) / side
    across, along = (torch.exp(-0.5 * ((axis - at[..., None]) / SPREAD) ** 2) for at in (x, y))  # (B, 24, side)
    return HEIGHT * (present * (x > 0))[..., None, None] * along[..., :, None] * across[..., None, :]


def _check(image_size: int, patch: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
    if len(widths) != len(blocks) or not widths:
        raise UserError(f"widths names {len(widths)} levels, but blocks {len(blocks)}; give both for each level")
    if wrong := [width for width in widths if width < HEAD or width % HEAD]:
        raise UserError(f"widths must be multiples of {HEAD}, but one is {wrong[0]}")
    if image_size % (unit := patch * 2 ** (len(widths) - 1)):
        raise UserError(f"image_size must be a multiple of {unit} with patch {patch} and {len(widths)} levels")

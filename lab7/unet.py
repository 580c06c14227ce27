"""The report's U-Net, block by block (its Figures 1 to 7), with the switches of its ablation as named options.

F is `n_feature`; shapes are given for 64x64 pictures. The label enters together with the time, channel by channel,
as x' = c * x + t (the report's eq. 1), before the blocks that `condition_at` names.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab7.utils.files import UserError

PLACES = {
    "up": ("up1", "up2"),
    "down": ("down1", "down2"),
    "up_down": ("down1", "down2", "up1", "up2"),
    "hidden": (),
    "none": ("down1", "down2", "up1", "up2"),
}
"""Where x' = c * x + t is applied. "hidden" concatenates c and t to the hidden layer instead, and enters nowhere
else; "none" keeps the time (t alone is added) and leaves the label out."""
OPTIONS = {
    "condition_at": tuple(PLACES),
    "embeddings": ("separate", "shared"),
    "init": ("report", "default"),
    "modulation": ("product", "one_plus", "adaptive"),
    "norm": ("batch", "group"),
}


class ResidualConvBlock(nn.Sequential):
    """Two times Conv 3x3, BatchNorm (or GroupNorm), GELU (Fig. 3); despite the report's name nothing is added back.

    (B, in, S, S) -> (B, out, S, S)
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "batch") -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            _norm(norm, out_channels),
            nn.GELU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            _norm(norm, out_channels),
            nn.GELU(),
        )


class DownSample(nn.Sequential):
    """ResidualConvBlock, then MaxPool 2 (Fig. 3): (B, in, S, S) -> (B, out, S/2, S/2)."""

    def __init__(self, in_channels: int, out_channels: int, norm: str = "batch") -> None:
        super().__init__(ResidualConvBlock(in_channels, out_channels, norm), nn.MaxPool2d(2))


class UpSample(nn.Module):
    """Concatenate the skip, double the size by a transposed convolution, then two ResidualConvBlocks (Fig. 5).

    x (B, in - skip channels, S, S), skip (B, skip channels, S, S) -> (B, out, 2S, 2S)
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "batch") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2),
            ResidualConvBlock(out_channels, out_channels, norm),
            ResidualConvBlock(out_channels, out_channels, norm),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.layers(torch.cat([x, skip], dim=1))


class Embedding(nn.Sequential):
    """Linear, GELU, Linear (Fig. 7): (B, in) -> (B, width)."""

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__(nn.Linear(in_features, width), nn.GELU(), nn.Linear(width, width))


class UNet(nn.Module):
    """Predicts the noise in x_t: (x_t (B, 3, S, S), t (B,) in 1..T, condition (B, 24)) -> (B, 3, S, S).

    Raises UserError for a size that does not divide by 32, an n_feature that does not divide by 8 (GroupNorm has
    8 groups) or an unknown option.
    """

    def __init__(
        self,
        n_feature: int = 256,
        image_size: int = 64,
        num_steps: int = 1000,
        condition_at: str = "up_down",
        embeddings: str = "separate",
        init: str = "report",
        modulation: str = "product",
        norm: str = "batch",
        n_classes: int = 24,
    ) -> None:
        super().__init__()
        if image_size % 32 or image_size <= 0:
            raise UserError(f"image_size must divide by 32 (two poolings, then an average over 8), not {image_size}")
        if n_feature % 8 or n_feature <= 0:
            raise UserError(f"n_feature must divide by 8 (GroupNorm has 8 groups), not {n_feature}")
        for name, value in zip(OPTIONS, (condition_at, embeddings, init, modulation, norm), strict=True):
            if value not in OPTIONS[name]:
                raise UserError(f"{name} must be one of {', '.join(OPTIONS[name])}, not '{value}'")
        f = n_feature
        self.n_feature, self.image_size, self.num_steps = n_feature, image_size, num_steps
        self.condition_at, self.modulation = condition_at, modulation

        self.init_conv = ResidualConvBlock(3, f, norm)
        self.down1 = DownSample(f, f, norm)
        self.down2 = DownSample(f, 2 * f, norm)
        self.hidden = nn.Sequential(nn.AvgPool2d(8), nn.GELU())
        self.up0 = nn.ConvTranspose2d((6 if condition_at == "hidden" else 2) * f, 2 * f, 8, stride=8)
        self.up1 = UpSample(4 * f, f, norm)
        self.up2 = UpSample(2 * f, f, norm)
        self.out = nn.Sequential(
            nn.Conv2d(2 * f, f, 3, padding=1), nn.GroupNorm(8, f), nn.ReLU(), nn.Conv2d(f, 3, 3, padding=1)
        )

        width_of = {"down1": f, "down2": f, "up1": 2 * f, "up2": f}  # channels that enter the block
        widths = {"hidden": 2 * f} if condition_at == "hidden" else {at: width_of[at] for at in PLACES[condition_at]}
        self.embedding_of = {  # place -> name of its embedding; equal widths share one where asked
            place: f"width{width}" if embeddings == "shared" else place for place, width in widths.items()
        }
        names = {self.embedding_of[place]: width for place, width in widths.items()}
        self.time_embeddings = nn.ModuleDict({name: Embedding(1, width) for name, width in names.items()})
        labelled = {} if condition_at == "none" else names
        self.label_embeddings = nn.ModuleDict({name: Embedding(n_classes, width) for name, width in labelled.items()})
        if init == "report":
            self.apply(initialise)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        time = (t.to(x_t.dtype) / self.num_steps)[:, None]  # (B, 1)
        condition = condition.to(x_t.dtype)
        start = self.init_conv(x_t)  # (B, F, 64, 64)
        down1 = self.down1(self.inject("down1", start, condition, time))  # (B, F, 32, 32)
        down2 = self.down2(self.inject("down2", down1, condition, time))  # (B, 2F, 16, 16)
        hidden = self.hidden(down2)  # (B, 2F, 2, 2)
        if self.condition_at == "hidden":
            parts = [part.expand_as(hidden) for part in self.embed("hidden", condition, time) if part is not None]
            hidden = torch.cat([hidden, *parts], dim=1)  # (B, 6F, 2, 2)
        up0 = self.up0(hidden)  # (B, 2F, 16, 16)
        up1 = self.up1(self.inject("up1", up0, condition, time), down2)  # (B, F, 32, 32)
        up2 = self.up2(self.inject("up2", up1, condition, time), down1)  # (B, F, 64, 64)
        return self.out(torch.cat([up2, start], dim=1))  # (B, 3, 64, 64)

    def inject(self, place: str, x: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        """x' = c * x + t (eq. 1) where the condition enters at this place, x itself elsewhere.

        "one_plus" is (1 + c) * x + t, which begins near x whatever c is; "adaptive" normalises x in 8 groups first
        (adaptive group norm, Dhariwal and Nichol 2021, section 3).
        """
        if place not in self.embedding_of:
            return x
        c, e = self.embed(place, condition, time)
        if self.modulation == "adaptive":
            x = F.group_norm(x, 8)
        if c is None:
            return x + e
        return c * x + e if self.modulation == "product" else (1 + c) * x + e

    def embed(self, place: str, condition: Tensor, time: Tensor) -> tuple[Tensor | None, Tensor]:
        """The label's and the time's embedding at a place, (B, width, 1, 1) each; no label with "none"."""
        name = self.embedding_of[place]
        e = self.time_embeddings[name](time)[:, :, None, None]
        if self.condition_at == "none":
            return None, e
        return self.label_embeddings[name](condition)[:, :, None, None], e


def initialise(module: nn.Module) -> None:
    """Initialise by hand as the report's Fig. 14 does for convolution, batch norm and linear layers.

    The report does not print its distributions; ours keep the variance of the signal: convolutions He normal
    (He et al. 2015, eq. 10), linear layers Glorot uniform (Glorot and Bengio 2010, eq. 16), batch norm N(1, 0.02),
    every bias 0.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _norm(name: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if name == "batch" else nn.GroupNorm(8, channels)

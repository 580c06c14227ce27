"""What students of the course usually train: diffusers' UNet2DModel, its label added to the time.

Not part of lab7, but what its recipe is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn


class StudentsUNet(nn.Module):
    """(x_t (B, 3, S, S), t (B,) in 1..T, condition (B, 24)) -> noise (B, 3, S, S)."""

    def __init__(self, widths: Sequence[int] = (128, 256, 256, 512), image_size: int = 64) -> None:
        super().__init__()
        down = ("DownBlock2D",) * (len(widths) - 2) + ("AttnDownBlock2D", "DownBlock2D")
        up = ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * (len(widths) - 2)
        self.unet: Any = UNet2DModel(
            sample_size=image_size,
            block_out_channels=tuple(widths),
            down_block_types=down,
            up_block_types=up,
            layers_per_block=2,
            class_embed_type="identity",
        )
        self.label = nn.Linear(24, 4 * widths[0])

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.unet(x_t, t - 1, class_labels=self.label(condition)).sample


def flops_forward(model: nn.Module, image_size: int = 64) -> int:
    """Floating-point operations of one picture's way through the network, as PyTorch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, image_size, image_size), torch.ones(1, dtype=torch.int64), torch.zeros(1, 24))
    return counter.get_total_flops()

"""What a network is made of, read from the live module: every layer in the order in which it runs, the shapes
that went in and came out, its parameters and its multiplications. Nothing here knows the U-Net's sizes.

The network is copied to the meta device first, where tensors have shapes and no values: any size takes no time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab7.unet import UNet
from lab7.vocabulary import CLASSES

Shape = tuple[int, ...]

BLOCKS = ("init_conv", "down1", "down2", "hidden", "up0", "up1", "up2", "out")
"""The blocks of the U-Net from its input to its output."""


@dataclass(frozen=True)
class Call:
    """One call of one module.

    path: its name in the network, such as "down1.0.3". kind: the name of its class. detail: what it does, in a
    few characters. is_layer: whether it has no children. inputs, output: shapes. macs: multiplications with
    addition for the whole batch, of convolutions and linear layers; those of the others are too few to count.
    """

    path: str
    kind: str
    detail: str
    is_layer: bool
    inputs: tuple[Shape, ...]
    output: Shape
    macs: int


def calls(model: UNet, batch_size: int = 1) -> list[Call]:
    """Every module that one forward pass calls, in the order in which they finish (parents after their children)."""
    meta = copy.deepcopy(model).to("meta").eval()
    found: list[Call] = []

    def record(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            entering, leaving = tuple(tuple(x.shape) for x in inputs), tuple(output.shape)
            is_layer, macs = not list(module.children()), _macs(module, entering[0], leaving)
            found.append(Call(path, type(module).__name__, _detail(module), is_layer, entering, leaving, macs))

        return hook

    for path, module in meta.named_modules():
        module.register_forward_hook(record(path))
    with torch.no_grad(), torch.device("meta"):
        meta(
            torch.zeros(batch_size, 3, meta.image_size, meta.image_size),
            torch.ones(batch_size, dtype=torch.int64),
            torch.zeros(batch_size, len(CLASSES)),
        )
    return found


@dataclass(frozen=True)
class Work:
    """What a block costs: the numbers that it learns, and its multiplications with addition for one picture."""

    block: str
    parameters: int
    macs: int


def work(model: UNet) -> list[Work]:
    """Parameters and multiplications of every child of the network, in the order of the module's definition."""
    called = calls(model)
    return [
        Work(
            name,
            sum(p.numel() for p in child.parameters()),
            sum(call.macs for call in called if call.path.split(".")[0] == name),
        )
        for name, child in model.named_children()
    ]


def blocks_that_see_the_label(model: UNet, x_t: Tensor, t: Tensor, one: Tensor, other: Tensor) -> list[str]:
    """The blocks whose input changes when condition `one` (B, 24) is put in place of `other`; the rest stays."""
    seen: dict[str, list[list[Tensor]]] = {name: [] for name in BLOCKS}
    handles = [
        getattr(model, name).register_forward_pre_hook(lambda _m, inputs, name=name: seen[name].append(list(inputs)))
        for name in BLOCKS
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(x_t, t, one)
            model(x_t, t, other)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return [
        name
        for name, (before, after) in seen.items()
        if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    ]


def signal_sizes(model: UNet, x_t: Tensor, t: Tensor, condition: Tensor) -> dict[str, tuple[float, float]]:
    """The standard deviation of the first tensor that enters each block and of what leaves it, batch norm as in
    training (x_t (B, 3, S, S), t (B,), condition (B, 24)). Its running averages are left as they were."""
    copied = copy.deepcopy(model).train()
    sizes: dict[str, tuple[float, float]] = {}
    for name in BLOCKS:

        def record(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            sizes[name] = (inputs[0].std().item(), output.std().item())

        getattr(copied, name).register_forward_hook(record)
    with torch.no_grad():
        copied(x_t, t, condition)
    return sizes


def shape_text(shape: Sequence[int]) -> str:
    """(32, 256, 64, 64) as a reader sees it."""
    return "(" + ", ".join(map(str, shape)) + ")"


def _macs(module: nn.Module, entering: Shape, leaving: Shape) -> int:
    """A convolution multiplies once for every weight of a filter at every place where the filter is laid: a place of
    its output, or of its input where it is transposed."""
    if isinstance(module, nn.Conv2d):
        return math.prod(leaving) * module.in_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.ConvTranspose2d):
        return math.prod(entering) * module.out_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return math.prod(leaving) * module.in_features
    return 0


def _detail(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        kernel = "×".join(map(str, module.kernel_size))
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"{kernel}{stride}\n{module.in_channels} → {module.out_channels}"
    if isinstance(module, nn.Linear):
        return f"{module.in_features} → {module.out_features}"
    if isinstance(module, nn.GroupNorm):
        return f"{module.num_groups} groups"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return f"{module.kernel_size}×{module.kernel_size}"
    return ""

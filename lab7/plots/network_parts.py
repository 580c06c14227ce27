"""What a U-Net is made of, read from a forward pass of the live module: shapes, costs, and who sees the label."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lab7.unet import UNet
from lab7.vocabulary import CLASSES

Shape = tuple[int, ...]

FEEDS = {
    "init_conv": ("x_t",), "down1": ("init_conv",), "down2": ("down1",), "hidden": ("down2",), "up0": ("hidden",),
    "up1": ("up0", "down2"), "up2": ("up1", "down1"), "out": ("up2", "init_conv"),
}  # fmt: skip
"""Whose output enters a block; a second one is the skip, which is concatenated along the channels."""
BLOCKS = tuple(FEEDS)  # from the input to the output


@dataclass(frozen=True)
class Call:
    """The last call of one module, the shapes of the tensors that went in, and the shape that came out."""

    module: nn.Module
    inputs: tuple[Shape, ...]
    output: Shape

    @property
    def kind(self) -> str:
        return type(self.module).__name__


def calls(model: UNet, batch_size: int = 1) -> dict[str, Call]:
    """Every module that a forward pass calls, by its path such as "down1.0.3"; parents come after their children."""
    meta, batch = _on_meta(model, batch_size)
    modules = dict(meta.named_modules())
    return {
        path: Call(modules[path], tuple(tuple(x.shape) for x in inputs), tuple(output.shape))
        for path, (inputs, output) in _trace(meta, *batch).items()
    }


def costs(model: UNet) -> dict[str, tuple[int, int]]:
    """Every child of the network -> its parameters, and its floating-point operations for one picture, as PyTorch
    counts them (those of convolutions and linear layers)."""
    meta, batch = _on_meta(model, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        meta(*batch)
    counted, flops = counter.get_flop_counts(), dict.fromkeys(dict(meta.named_children()), 0)
    for path, module in meta.named_modules():
        if not list(module.children()):  # a layer; what holds layers is counted again by PyTorch
            flops[path.split(".")[0]] += sum(counted.get(f"{type(meta).__name__}.{path}", {}).values())
    return {name: (sum(p.numel() for p in child.parameters()), flops[name]) for name, child in meta.named_children()}


def blocks_that_see_the_label(model: UNet, x_t: Tensor, t: Tensor, one: Tensor, other: Tensor) -> list[str]:
    """The blocks whose input changes if condition `one` (B, 24) is replaced by `other`, in evaluation mode."""
    model = copy.deepcopy(model).eval()
    before, after = _trace(model, x_t, t, one), _trace(model, x_t, t, other)
    return [name for name in BLOCKS if not all(map(torch.equal, before[name][0], after[name][0]))]


def signal_sizes(model: UNet, x_t: Tensor, t: Tensor, condition: Tensor) -> dict[str, tuple[float, float]]:
    """The standard deviation of what enters each block (of two inputs the first) and of what leaves it, in training
    mode; x_t (B, 3, S, S), t (B,), condition (B, 24). The model stays unchanged."""
    traced = _trace(copy.deepcopy(model).train(), x_t, t, condition)
    return {name: (traced[name][0][0].std().item(), traced[name][1].std().item()) for name in BLOCKS}


def _trace(model: UNet, x_t: Tensor, t: Tensor, condition: Tensor) -> dict[str, tuple[tuple[Tensor, ...], Tensor]]:
    """One forward pass: path of a module -> (inputs, output), in the order in which modules finish."""
    traced = {}
    handles = [
        module.register_forward_hook(lambda _m, inputs, output, path=path: traced.update({path: (inputs, output)}))
        for path, module in model.named_modules()
    ]
    with torch.no_grad():
        model(x_t, t, condition)
    for handle in handles:
        handle.remove()
    return traced


def _on_meta(model: UNet, batch_size: int) -> tuple[UNet, tuple[Tensor, Tensor, Tensor]]:
    """A copy of the model and inputs that have shapes and no values: any size takes no time."""
    with torch.device("meta"):
        x_t = torch.zeros(batch_size, 3, model.image_size, model.image_size)
        t, condition = torch.ones(batch_size, dtype=torch.int64), torch.zeros(batch_size, len(CLASSES))
    return copy.deepcopy(model).to("meta").eval(), (x_t, t, condition)

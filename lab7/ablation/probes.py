"""Questions to a trained network: where its predictions err, and for the report's U-Net what its hidden layer is
worth, what batch norm does to it, and what the places that share an embedding would each make of it. Every probe works
on a copy; the network stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab7 import diffusion
from lab7.schedule import NoiseSchedule
from lab7.unet import UNet

HIDDEN = ("zeros", "mean", "another's")


@torch.no_grad()
def loss_by_level(
    model: nn.Module,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    levels: Sequence[int],
    target: str = "eps",
) -> list[float]:
    """The mean squared error at each level t of `levels`, all pictures x_0 (B, 3, S, S) noised alike to it."""
    return [
        F.mse_loss(answer, diffusion.target_for(schedule, x_0, eps, t, target)).item()
        for t, eps, _, answer in _answers(model, schedule, x_0, condition, levels)
    ]


@torch.no_grad()
def errors_of_x_0(
    model: nn.Module,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    levels: Sequence[int],
    target: str = "eps",
) -> list[dict[str, float]]:
    """How far the predicted x_0 lies off at each level t, where pictures x_0 (B, 3, S, S) are flat and where not.

    Flat are pixels with nothing brighter or darker than 0.35 within 4 pixels: there a good prediction errs by no more
    than `flat_itself`. Columns: t, flat and objects (root mean square errors), flat_itself (of x_0), and leaked: the
    share of the noise eps that is left in the prediction where it is flat.
    """
    flat = (F.max_pool2d(x_0.abs().amax(dim=1, keepdim=True), 9, 1, 4) < 0.35).expand_as(x_0)
    rows = []
    for t, eps, x_t, answer in _answers(model, schedule, x_0, condition, levels):
        off = diffusion.predict_x_0_eps(schedule, answer, x_t, t, target)[0] - x_0
        sizes = {"flat": off[flat], "objects": off[~flat], "flat_itself": x_0[flat]}
        row = {"t": t[0].item()} | {name: each.square().mean().sqrt().item() for name, each in sizes.items()}
        rows.append(row | {"leaked": (off * eps)[flat].mean().item()})
    return rows


def _answers(
    model: nn.Module, schedule: NoiseSchedule, x_0: Tensor, condition: Tensor, levels: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(t, eps, x_t, the model's answer) at each level, with the same noise at all of them."""
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    for level in levels:
        t = torch.full((len(x_0),), level)
        x_t = diffusion.add_noise(schedule, x_0, t, eps)
        yield t, eps, x_t, model(x_t, t, condition)


def with_hidden(model: UNet, what: str) -> UNet:
    """A copy whose hidden layer (B, 2F, 2, 2) gives "zeros", the "mean" over the batch, or "another's": the next
    picture's of the batch. Raises ValueError for anything else."""
    if what not in HIDDEN:
        raise ValueError(f"what must be one of {', '.join(HIDDEN)}, not '{what}'")
    copied = copy.deepcopy(model)
    change = {
        "zeros": torch.zeros_like,
        "mean": lambda x: x.mean(dim=0, keepdim=True).expand_as(x),
        "another's": lambda x: x.roll(1, dims=0),
    }[what]
    copied.hidden.register_forward_hook(lambda _module, _inputs, output: change(output))
    return copied


def with_batch_statistics(model: UNet) -> UNet:
    """A copy whose batch norms normalise by the batch at hand, as in training, even when it draws."""
    copied = copy.deepcopy(model)
    for norm in _batch_norms(copied).values():
        norm.running_mean = norm.running_var = None
        norm.track_running_stats = False
    return copied


@torch.no_grad()
def norm_drift(
    model: UNet, schedule: NoiseSchedule, x_0: Tensor, condition: Tensor, levels: Sequence[int]
) -> list[dict[str, float]]:
    """How far what enters the batch norms at one level lies from the averages over all levels that they keep.

    A row a level: "shift", the mean over channels and layers of |mean - kept mean| / kept deviation, and "spread", the
    geometric mean of deviation / kept deviation; 0 and 1 where the level is like the mixture.
    """
    copied = copy.deepcopy(model).eval()
    shifts: list[Tensor] = []
    spreads: list[Tensor] = []

    def compare(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        kept = norm.running_var.sqrt() + 1e-6
        shifts.append((mean - norm.running_mean).abs() / kept)
        spreads.append((var.sqrt() + 1e-6) / kept)

    for norm in _batch_norms(copied).values():
        norm.register_forward_pre_hook(compare)
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    rows = []
    for level in levels:
        shifts.clear()
        spreads.clear()
        t = torch.full((len(x_0),), level)
        copied(diffusion.add_noise(schedule, x_0, t, eps), t, condition)
        spread = torch.cat(spreads).log().mean().exp().item()
        rows.append({"t": level, "shift": torch.cat(shifts).mean().item(), "spread": spread})
    return rows


def place_gradients(
    model: UNet, schedule: NoiseSchedule, x_0: Tensor, condition: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """The gradient of the loss by the label's embedding, taken at each place by itself: place -> (B, width).

    Where places share one embedding, the sum of their gradients moves it.
    """
    copied, leaves = copy.deepcopy(model).eval(), {}
    embed = copied.embed

    def apart(place: str, condition: Tensor, time: Tensor) -> tuple[Tensor | None, Tensor]:
        c, e = embed(place, condition, time)
        if c is not None:
            leaves[place] = c = c.detach().requires_grad_()
        return c, e

    copied.embed = apart  # type: ignore[method-assign]
    loss = diffusion.loss(copied, schedule, x_0, condition, generator)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {place: gradient.flatten(1) for place, gradient in zip(leaves, gradients, strict=True)}


def label_embeddings(model: UNet) -> dict[str, Tensor]:
    """What each place makes of each class alone: place -> (classes, width)."""
    banks = {place: model.label_embeddings[name] for place, name in model.embedding_of.items()}
    weight = next(model.label_embeddings.parameters())  # the first layer's: (width, classes)
    classes = torch.eye(weight.shape[1], device=weight.device)
    with torch.no_grad():
        return {place: bank(classes) for place, bank in banks.items()}


def alike(one: Tensor, other: Tensor) -> float:
    """The mean cosine of the rows of two matrices (N, width)."""
    return F.cosine_similarity(one, other, dim=1).mean().item()


def _batch_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}

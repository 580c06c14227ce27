"""The optimisers: Adam, AdamW, and Muon on the matrices inside a network with AdamW on everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lab7.config import TrainConfig
from lab7.utils.files import UserError
from lab7.utils.provenance import choose_precision


def make_optimizer(plan: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), or Muon (Jordan et al. 2024).

    Every group has a "share": the plan's learning rate times it is the rate of the group. UserError where Muon is
    asked for and the model does not say which of its weights are matrices. On a GPU Adam and AdamW are fused.
    """
    fused = True if next(model.parameters()).is_cuda else None
    if plan.optimizer == "muon":
        if not hasattr(model, "matrices"):
            raise UserError(
                "optimizer=muon needs network=efficient; the report's U-Net names no matrices to train with it"
            )
        optimizer: torch.optim.Optimizer = MuonAndAdamW(model, model.matrices(), plan)  # type: ignore[operator]
    elif plan.optimizer == "adamw":
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=fused
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, fused=fused)
    for group in optimizer.param_groups:
        group.setdefault("share", 1.0)
    return optimizer


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Near the orthogonal matrix that is nearest to this one, (M, N) -> (M, N): singular values of about 1.

    The quintic Newton-Schulz iteration of Jordan et al. 2024, in the dtype that is given; it ends between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a x + (b g + c g g) x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon (Jordan et al. 2024), with two differences.

    It flattens convolution kernels to matrices, and it multiplies in float32 where the hardware has no bf16: emulated
    bf16 makes a step of the laptop preset take 3 times as long as its gradients.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move each matrix against its orthogonalised Nesterov momentum; a closure is not taken."""
        for group in self.param_groups:
            bf16 = choose_precision(group["params"][0].device) == "bf16"
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(momentum, group["momentum"]).flatten(1)  # a kernel as (out, in * size * size)
                update = orthogonal(ahead.bfloat16() if bf16 else ahead)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                rows_per_column = update.shape[0] / update.shape[1]
                weight.sub_(update.view_as(weight), alpha=group["lr"] * max(1.0, rows_per_column) ** 0.5)


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimisers that step together: Muon for `matrices`, AdamW for the model's other weights.

    Muon makes each update orthogonal, so that no direction of a matrix is learned much faster than another. Its
    learning rate is `muon_learning_rate` where AdamW's is `learning_rate`.
    """

    def __init__(self, model: nn.Module, matrices: Iterable[nn.Parameter], plan: TrainConfig) -> None:
        chosen = list(matrices)
        known = {id(weight) for weight in chosen}
        others = [weight for weight in model.parameters() if id(weight) not in known]
        self.parts: dict[str, torch.optim.Optimizer] = {
            "muon": Muon(chosen, lr=plan.muon_learning_rate, weight_decay=plan.weight_decay),
            "adamw": torch.optim.AdamW(others, lr=plan.learning_rate, weight_decay=plan.weight_decay),
        }
        self.parts["muon"].param_groups[0]["share"] = plan.muon_learning_rate / plan.learning_rate
        super().__init__([{"params": chosen + others}], {})
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of both; a closure is not taken."""
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Each part's own state."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of state_dict."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

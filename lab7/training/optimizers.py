"""The optimizers: Adam, AdamW, and Muon for the matrices inside a network with AdamW for its other weights."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lab7.config import TrainConfig
from lab7.utils.files import UserError
from lab7.utils.provenance import choose_precision

MOMENTUM = 0.95  # of Muon


def make_optimizer(plan: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), or Muon for the model's matrices.

    The "share" of a group is its highest learning rate divided by `learning_rate`. Raises UserError for Muon with a
    model that names no matrices. On a GPU Adam and AdamW are fused.
    """
    rate, fused = plan.learning_rate, True if next(model.parameters()).is_cuda else None
    optimizer: torch.optim.Optimizer
    if plan.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=fused)
    elif plan.optimizer == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=plan.weight_decay, fused=fused)
    elif hasattr(model, "matrices"):
        matrices = {id(weight): weight for weight in model.matrices()}  # type: ignore[operator]
        others = [weight for weight in model.parameters() if id(weight) not in matrices]
        optimizer = Muon(matrices.values(), others, plan)
    else:
        raise UserError("optimizer=muon needs network=efficient; the report's U-Net names no matrices to train with it")
    for group in optimizer.param_groups:
        group["share"] = group["lr"] / rate
    return optimizer


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the orthogonal matrix nearest to this one, (M, N) -> (M, N), in the same dtype.

    The quintic Newton-Schulz iteration of Jordan et al. 2024; the singular values end between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a x + (b g + c g g) x
    return x.T if tall else x


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for `matrices` at `muon_learning_rate`, AdamW for `others` at `learning_rate`.

    Muon makes each update orthogonal, so that no direction of a matrix is learned much faster than another. It takes
    the steps of torch.optim.Muon, but flattens convolution kernels to matrices, and multiplies in float32 where the
    hardware has no bf16: emulated bf16 makes a step of the laptop preset take 3 times as long as its gradients.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], plan: TrainConfig) -> None:
        rates = plan.muon_learning_rate, plan.learning_rate
        groups = [{"params": list(part), "lr": rate} for part, rate in zip((matrices, others), rates, strict=True)]
        super().__init__(groups, weight_decay=plan.weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the others by AdamW, and each matrix against its orthogonalised Nesterov momentum; takes no closure."""
        muon, adamw = groups = self.param_groups
        self.param_groups = [adamw]
        super().step()
        self.param_groups = groups
        for weight in muon["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:  # AdamW loads no state without "step"
                state |= {"momentum": torch.zeros_like(weight), "step": torch.zeros(())}
            state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
            ahead = weight.grad.lerp(state["momentum"], MOMENTUM).movedim(1, -1)  # channels last, as in memory
            matrix = ahead.flatten(1)  # a kernel becomes (out, size * size * in)
            update = orthogonal(matrix.bfloat16() if choose_precision(weight.device) == "bf16" else matrix)
            weight.mul_(1 - muon["lr"] * muon["weight_decay"])
            rows_per_column = update.shape[0] / update.shape[1]
            update = update.reshape(ahead.shape).movedim(-1, 1)
            weight.sub_(update, alpha=muon["lr"] * max(1.0, rows_per_column) ** 0.5)

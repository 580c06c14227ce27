"""The length of a run, its learning-rate schedule, and the exponential moving average of its weights."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lab7.config import TrainConfig


@dataclass(frozen=True)
class Length:
    """The length of a run, counted in steps of one batch each."""

    steps: int
    steps_per_epoch: int
    batch: int  # pictures a step, over all processes
    snapshots: tuple[int, ...]  # the steps after which pictures are drawn


def run_length(plan: TrainConfig, num_pictures: int) -> Length:
    """Whole batches only; snapshots lie evenly on the logarithm of the epochs (of the steps in less than an epoch)."""
    batch = min(plan.batch_size, num_pictures)
    per_epoch = num_pictures // batch
    steps = per_epoch * plan.epochs
    if plan.max_steps:
        steps = min(steps, plan.max_steps)
    unit = per_epoch if steps >= per_epoch else 1
    last = steps // unit
    first = 1 if unit > 1 else max(1, last // 10)
    marks = {round(mark) * unit for mark in np.geomspace(first, last, plan.snapshots)}
    return Length(steps, per_epoch, batch, tuple(sorted(marks)))


def rate_factor(plan: TrainConfig, step: int, length: Length) -> float:
    """The learning rate of a step as a fraction of the highest; all schedules begin with a linear warm-up.

    "linear" and "cosine" fall to 0 step by step; "report" falls linearly by epoch, as in the report; "constant" stays.
    For "report" and "plateau" the loop also multiplies by the factor of Plateau.
    """
    if step < plan.warmup_steps:
        return (step + 1) / (plan.warmup_steps + 1)
    done = (step - plan.warmup_steps) / max(1, length.steps - plan.warmup_steps)
    by_epoch = 1 - (step // length.steps_per_epoch) / plan.epochs
    falling = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "report": by_epoch}
    return falling.get(plan.lr_schedule, 1.0)


class Plateau:
    """A factor that falls by 0.95 after more than 5 evaluations without a better accuracy, counted for each list on its
    own: the report's ReduceLROnPlateau on both test accuracies."""

    def __init__(self) -> None:
        self._optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)  # its lr is the factor
        self._schedulers: dict[str, ReduceLROnPlateau] = defaultdict(
            lambda: ReduceLROnPlateau(self._optimizer, mode="max", factor=0.95, patience=5)
        )

    @property
    def factor(self) -> float:
        return self._optimizer.param_groups[0]["lr"]

    def step(self, accuracies: dict[str, float]) -> None:
        for name, accuracy in accuracies.items():
            self._schedulers[name].step(accuracy)

    def state_dict(self) -> dict[str, Any]:
        lists = {name: scheduler.state_dict() for name, scheduler in self._schedulers.items()}
        return {"factor": self.factor, "lists": lists}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, values in state["lists"].items():
            self._schedulers[name].load_state_dict(values)
        self._optimizer.param_groups[0]["lr"] = state["factor"]


def ema_update(decay: float) -> Callable[[Any, Any, Any], None]:
    """The exponential average of AveragedModel with a short memory at first: after n steps its decay is
    min(decay, (1 + n) / (10 + n)), so that a short run is not sampled from its random start."""

    def update(average: Any, current: Any, num_averaged: Any) -> None:
        n = int(num_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, num_averaged)

    return update

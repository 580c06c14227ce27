"""What a training tells on its way: a progress bar, and a line in metrics.jsonl now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lab7.training.lr_schedules import Length
from lab7.training.run_folder import append_metrics

LOG_EVERY = 50  # steps between lines of metrics.jsonl
NOTHING: dict[str, Any] = {"steps": 0, "epochs": 0.0, "images_seen": 0, "seconds": 0.0}  # trained before a new run


class RunLog:
    """The progress bar and metrics.jsonl of the main process; time spent in `paused` is not counted as speed."""

    def __init__(
        self,
        folder: Path,
        length: Length,
        before: dict[str, Any],
        step: int,
        seconds: float,
        main: bool,
        progress: bool,
    ) -> None:
        self._folder, self._length, self._before, self._main = folder, length, before, main
        self._step, self._spent, self._start = step, seconds, time.monotonic()
        self._losses: list[float] = []
        self._window = time.monotonic()
        shown = progress and main
        self._bar = tqdm(
            total=length.steps, initial=step, desc=folder.name, unit="step", disable=not shown, mininterval=1
        )

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._spent + time.monotonic() - self._start

    @property
    def total(self) -> dict[str, Any]:
        """What was trained so far, by the names of result.json, that of the run it began with included."""
        here = {"steps": self._step, "epochs": self._step / self._length.steps_per_epoch}
        here |= {"images_seen": self._step * self._length.batch, "seconds": self.seconds}
        return {name: self._before[name] + value for name, value in here.items()}

    def step(self, loss: float, rate: float) -> None:
        self._step += 1
        self._losses.append(loss)
        self._bar.update()
        if self._step % LOG_EVERY and self._step != self._length.steps:
            return
        speed = len(self._losses) * self._length.batch / (time.monotonic() - self._window)
        mean = sum(self._losses) / len(self._losses)
        total = self.total
        self._bar.set_postfix_str(f"loss {mean:.4f}, {speed:.0f} images/s", refresh=False)
        self.tell(
            {
                "step": total["steps"],
                "epoch": round(total["epochs"], 4),
                "images": total["images_seen"],
                "loss": mean,
                "learning_rate": rate,
                "images_per_second": round(speed, 1),
                "seconds": round(total["seconds"], 1),
            }
        )
        self._losses, self._window = [], time.monotonic()

    def tell(self, line: dict[str, Any]) -> None:
        if self._main:
            append_metrics(self._folder, line)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self._window += time.monotonic() - begin

    def close(self) -> None:
        self._bar.close()

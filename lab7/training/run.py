"""A training run around its loop: set-up, resume, log, snapshots, evaluation, checkpoints and result."""

import dataclasses
import hashlib
import io
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from lab7.config import Preset, to_dict
from lab7.dataset.conditions import load_list
from lab7.dataset.images import save_grid
from lab7.dataset.normalizer import fit_normaliser
from lab7.dataset.positions import layouts_of, training_pictures
from lab7.pipeline import Pipeline, build_model, make_schedule, save_weights, start_from, weights_file
from lab7.training.lr_schedules import Plateau, ema_update, run_length
from lab7.training.optimizers import make_optimizer
from lab7.training.run_folder import copy_metrics, metrics_line, open_run, trim_metrics
from lab7.training.sensitivity import condition_sensitivity
from lab7.utils.files import Failure, UserError, read_json, sha256, short, write_bytes, write_json
from lab7.utils.provenance import choose_precision, device_name, provenance

Evaluate = Callable[[Pipeline], dict[str, float]]
"""The accuracy in [0, 1] on each list, for the learning-rate schedules "plateau" and "report"."""

Callback = Callable[[int, int, float], bool]
"""Called with (step, steps, loss) after each step; the run ends there, complete so far, if it returns True."""

STOP: Any = getattr(signal, "SIGUSR2", None)  # what submitit has Slurm send before it stops a job
LOG_EVERY = 50  # steps between lines of metrics.jsonl
UNTRAINED: dict[str, Any] = {"steps": 0, "epochs": 0.0, "images_seen": 0, "seconds": 0.0}


@dataclasses.dataclass(eq=False)
class Run:
    """What a run trains, how far it is, and what its main process writes; `train` names the errors."""

    preset: Preset
    folder: Path
    resume: bool = False
    start: Path | None = None
    evaluate: Evaluate | None = None
    progress: bool = True
    data: Path | None = None
    callback: Callback | None = None

    def __post_init__(self) -> None:
        preset, state = self.preset, open_run(self.folder, self.preset, self.resume)
        try:
            self.accelerator = Accelerator(mixed_precision="no")  # the loop itself has the autocast
        except (ValueError, RuntimeError) as error:  # WORLD_SIZE is set, but not where the processes meet
            reason = f"the processes cannot meet ({str(error).splitlines()[0]})"
            raise UserError(f"{reason}; start them by `accelerate launch`, or unset WORLD_SIZE") from None
        self.main, device, plan = self.accelerator.is_main_process, self.accelerator.device, preset.train
        self.progress, self.precision = self.progress and self.main, choose_precision(device, plan.precision)
        self.pictures = training_pictures(preset, self.data).to(device)
        self.length = run_length(plan, len(self.pictures))

        net, self.before, self.start = build_model(preset, plan.seed), UNTRAINED, None if state else self.start
        if self.start:
            self.before = self._load_start(net, self.start)
        self.net = net.to(device).to(memory_format=torch.channels_last)
        update = ema_update(plan.ema_decay)
        self.average = AveragedModel(net, multi_avg_fn=update, use_buffers=True) if plan.ema_decay else None
        self.model, self.optimizer = self.accelerator.prepare(net, make_optimizer(plan, net))
        if plan.compile:
            self.model = torch.compile(self.model)
        self.plateau, self.step, self.seconds = Plateau(), 0, 0.0
        self._losses: list[float] = []  # since the last line of metrics.jsonl, which was written at `_window`
        self._window = 0.0
        loss = preset.diffusion
        self.loss_options = loss.target, loss.drop_probability, loss.timestep_sampling, loss.loss_weighting
        normaliser = fit_normaliser(self.pictures.images, preset.data.normalise).to(device)
        drawn_from = self.net if self.average is None else self.average.module
        self._shown = load_list("test", self.data)[:4] + load_list("new_test", self.data)[:4]
        layouts, schedule = layouts_of(self.pictures), make_schedule(preset).to(device)
        self.pipeline = Pipeline(drawn_from, schedule, normaliser, preset, layouts=layouts)
        pixels = hashlib.sha256(normaliser.mean.cpu().numpy().tobytes() + self.pictures.labels.cpu().numpy().tobytes())
        self.trained_on = f"{len(self.pictures)} pictures {pixels.hexdigest()[:12]}"
        if state:
            self._load_state(state)
        self.finished = self.step == self.length.steps and (self.folder / "result.json").exists()

    def begin(self) -> None:
        """Start the clock, write the settings, drop metrics after the last checkpoint, and hold STOP back in a step."""
        self._requeue, self._stopped = STOP and signal.getsignal(STOP), False
        if callable(self._requeue):  # submitit's: it ends the process, which must not happen within a step
            signal.signal(STOP, lambda *_: setattr(self, "_stopped", True))
        self._began = time.monotonic() - self.seconds
        self._window += time.monotonic()
        if self.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.start:
                copy_metrics(weights_file(self.start).parent, self.folder)
                self._save_checkpoint()  # so that a resume needs no `start`
            trim_metrics(self.folder, self.before["steps"] + self.step)
            write_json(self.folder / "config.json", {"run": self.folder.name} | to_dict(self.preset), checksum=True)
            device = device_name(self.accelerator.device)
            self._print(f"{self.length.steps} steps of {self.length.batch} pictures in {self.precision} on {device}")
        self.accelerator.wait_for_everyone()
        self.model.train()
        look: dict[str, Any] = {"desc": self.folder.name, "unit": "step", "disable": not self.progress}
        self._bar = tqdm(total=self.length.steps, initial=self.step, **look)

    def mean_loss(self, loss: Tensor, index: Tensor) -> float:
        """The mean of the loss over all processes; Failure with step, pictures and advice if it is not finite."""
        value = float(self.accelerator.reduce(loss.detach(), reduction="mean"))
        if math.isfinite(value):
            return value
        names = [self.pictures.names[i] for i in index.tolist()]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        advice = "lower learning_rate, set clip_norm=1 or precision=fp32, then train again under another --name"
        fault = f"the loss is {value} at step {self.step} (pictures {shown})"
        raise Failure(f"{short(self.folder)}: {fault}; {advice}; the last good checkpoint is kept")

    def after_step(self, loss: float, rate: float) -> None:
        """Count and log a step; now and then draw pictures, evaluate, and save a checkpoint."""
        plan = self.preset.train
        self.step += 1
        self.seconds = time.monotonic() - self._began
        if self.callback and self.callback(self.step, self.length.steps, loss):
            self.length = dataclasses.replace(self.length, steps=self.step)  # log, checkpoint and result follow
        self._log(loss, rate)
        pause = time.monotonic()
        if self.step in self.length.snapshots and self.main:
            self._snapshot()
        every = plan.evaluate_every * self.length.steps_per_epoch
        if self.evaluate and every and self.step % every == 0:
            scores = broadcast_object_list([self.evaluate(self.pipeline) if self.main else None])[0]
            if plan.lr_schedule in ("plateau", "report"):
                self.plateau.step(scores)
            self._append({"step": self.total["steps"], "accuracy": scores, "plateau": self.plateau.factor})
        self.model.train()  # drawing changed it
        self._window += time.monotonic() - pause
        if self.main and (self.step % plan.save_every == 0 or self.step == self.length.steps or self._stopped):
            self._save_checkpoint()
        if callable(self._requeue) and (self._stopped or self.step == self.length.steps):
            signal.signal(STOP, self._requeue)
            if self._stopped:
                signal.raise_signal(STOP)

    def finish(self) -> Path:
        """Write weights.safetensors and result.json; returns the folder."""
        self._bar.close()
        if self.main:
            weights, total = self.folder / "weights.safetensors", self.total
            save_weights(weights, self.pipeline.model, self.pipeline.normaliser, self.preset, self.pipeline.layouts)
            result: dict[str, Any] = {"name": self.folder.name, "preset": self.preset.name}
            result |= {"settings": to_dict(self.preset), "seed": self.preset.train.seed, "steps": total["steps"]}
            result |= {"epochs": round(total["epochs"], 3), "images_seen": total["images_seen"]}
            result |= {"seconds": round(total["seconds"], 1), "precision": self.precision}
            result |= {"started_from": self.before} if self.before != UNTRAINED else {}
            result |= provenance(self.accelerator.device)
            result |= {"processes": self.accelerator.num_processes, "pictures": len(self.pictures)}
            if self.length.snapshots:
                by_picture = condition_sensitivity(self.pipeline, self.pictures).tolist()
                result["condition_sensitivity"] = {"by_picture": [round(value, 5) for value in by_picture]}
            write_json(self.folder / "result.json", result | {"weights_sha256": sha256(weights)}, checksum=True)
        self.accelerator.wait_for_everyone()
        return self.folder

    @property
    def total(self) -> dict[str, Any]:
        """What was trained so far, with what the run started from, under the names of result.json."""
        here = {"steps": self.step, "epochs": self.step / self.length.steps_per_epoch}
        here |= {"images_seen": self.step * self.length.batch, "seconds": self.seconds}
        return {name: self.before[name] + value for name, value in here.items()}

    def _log(self, loss: float, rate: float) -> None:
        """Move the progress bar, and write the mean loss since the last line every LOG_EVERY steps."""
        self._losses.append(loss)
        self._bar.update()
        if self.step % LOG_EVERY and self.step != self.length.steps:
            return
        speed = len(self._losses) * self.length.batch / (time.monotonic() - self._window)
        mean, total = sum(self._losses) / len(self._losses), self.total
        self._bar.set_postfix_str(f"loss {mean:.4f}, {speed:.0f} images/s", refresh=False)
        line = {"step": total["steps"], "epoch": round(total["epochs"], 4), "images": total["images_seen"]}
        line |= {"loss": mean, "learning_rate": rate, "images_per_second": round(speed, 1)}
        self._append(line | {"seconds": round(total["seconds"], 1)})
        self._losses, self._window = [], time.monotonic()

    def _snapshot(self) -> None:
        """Draw four conditions of each list, always from the same noise."""
        strip = self.folder / "samples" / f"step_{self.total['steps']:07d}.png"
        save_grid(self.pipeline(self._shown), strip, columns=len(self._shown))

    def _append(self, line: dict[str, Any]) -> None:
        if self.main:
            with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(metrics_line(line))

    def _save_checkpoint(self) -> None:
        parts = {"model": self.net, "average": self.average, "optimizer": self.optimizer, "plateau": self.plateau}
        state = {name: {} if part is None else part.state_dict() for name, part in parts.items()}
        packed = io.BytesIO()
        state |= {"step": self.step, "seconds": self.seconds, "before": self.before, "trained_on": self.trained_on}
        torch.save(state | {"losses": self._losses, "window": time.monotonic() - self._window}, packed)
        write_bytes(self.folder / "checkpoint.pt", packed.getbuffer())

    def _load_state(self, state: dict[str, Any]) -> None:
        try:
            self.net.load_state_dict(state["model"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.plateau.load_state_dict(state["plateau"])
            self.step, self.seconds, self.before = state["step"], state["seconds"], state["before"]
            self._losses, self._window = state.get("losses", []), -state.get("window", 0.0)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            path, reason = self.folder / "checkpoint.pt", str(error).splitlines()[0]
            raise UserError(f"{short(path)}: does not fit the run ({reason}); delete it to begin anew") from None
        if (before := state.get("trained_on", self.trained_on)) != self.trained_on:
            fault = f"was trained on other pictures ({before}, not {self.trained_on})"
            raise UserError(f"{short(self.folder)}: {fault}; name theirs by LAB7_DATA, or choose another --name")

    def _load_start(self, net: torch.nn.Module, start: Path) -> dict[str, Any]:
        """Give `net` the weights in `start`; returns whose they are and, if known, how long they were trained."""
        path, fresh = start_from(net, start)
        new = f"; new are {', '.join(fresh[:3])}{' and more' if fresh[3:] else ''}" if fresh else ""
        self._print(f"begins with {short(path)}{new}")
        stored = path.parent / "result.json"
        result = read_json(stored, "a run's result") if stored.exists() else {}
        keys = ("name", "commit", "device", "precision", *UNTRAINED, "started_from")
        return UNTRAINED | {"weights_sha256": sha256(path)} | {key: result[key] for key in keys if key in result}

    def _print(self, line: str) -> None:
        if self.progress:
            tqdm.write(f"{self.folder.name}: {line}", file=sys.stderr)  # stdout is for results

"""The training loop: Accelerate, EMA, learning-rate plans, checkpoints and exact resume.

Nothing random is carried from step to step: the order of an epoch is drawn from (seed, epoch), and the noise of a
step from (seed, step, process). A run that was killed therefore goes on from its last checkpoint to the same
weights, bit for bit, as one that never was.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from lab7 import config, diffusion
from lab7.config import Preset
from lab7.dataset.conditions import held_out_pairs, load_list, without_pairs
from lab7.dataset.images import Pictures, save_grid
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import draw, epoch_order, fit_normaliser
from lab7.pipeline import Pipeline, build_model, make_schedule, save_weights, start_from, weights_file
from lab7.schedule import NoiseSchedule
from lab7.training.lr_schedules import Plateau, ema_update, rate_factor, run_length
from lab7.training.optimizers import make_optimizer
from lab7.training.run_folder import carry_on, open_run, read_metrics, save_checkpoint, trim_metrics
from lab7.training.run_log import NOTHING, RunLog
from lab7.training.sensitivity import condition_sensitivity, some_pictures, told_of
from lab7.utils.files import Failure, UserError, data_dir, read_json, runs_dir, sha256, short, write_json
from lab7.utils.memory import keep_memory
from lab7.utils.provenance import choose_precision, device_name, provenance

Evaluate = Callable[[Pipeline], dict[str, float]]
"""The accuracy in [0, 1] on each list, for the plans "plateau" and "report"; no other plan looks at it."""


def train(
    preset: Preset,
    name: str,
    *,
    resume: bool = False,
    start: Path | None = None,
    evaluate: Evaluate | None = None,
    progress: bool = True,
    data: Path | None = None,
    runs: Path | None = None,
) -> Path:
    """Train the preset's network on the pictures in `data` and return the run's folder, runs/NAME.

    A new run begins with random weights, or with those in `start` (a file or a run's folder). It then carries that
    run's curve and pictures on: steps, epochs, pictures and seconds count from where it ended, told as "started_from".
    Raises UserError if the run exists and `resume` is not set, or was begun with other settings; Failure with the
    step, the pictures and the advice if the loss is no longer finite (the last checkpoint is kept).
    """
    folder = (runs or runs_dir()) / name
    state = open_run(folder, preset, resume)
    plan = preset.train
    accelerator = Accelerator(mixed_precision="no")  # the autocast stands in train_step, where a reader sees it
    device, main = accelerator.device, accelerator.is_main_process
    precision = choose_precision(device, plan.precision)
    if device.type == "cpu":
        keep_memory()
    pictures = load_pictures(data or data_dir(), preset.data.image_size)
    if preset.data.holdout_pairs:
        pictures = pictures.chosen(without_pairs(pictures.labels, held_out_pairs()))
        if not len(pictures):
            raise UserError("holdout_pairs=true leaves no picture to train on; render more scenes, or set it to false")
    normaliser = fit_normaliser(pictures.images, preset.data.normalise).to(device)
    pictures = pictures.to(device)
    watched = some_pictures(pictures)
    schedule = make_schedule(preset).to(device)
    length = run_length(plan, len(pictures))

    net = build_model(preset, plan.seed)
    before = _begin(net, start, main and progress) if start and state is None else NOTHING
    net = net.to(device).to(memory_format=torch.channels_last)
    average = AveragedModel(net, multi_avg_fn=ema_update(plan.ema_decay), use_buffers=True) if plan.ema_decay else None
    model, optimizer = accelerator.prepare(net, make_optimizer(plan, net))
    if plan.compile:
        model = torch.compile(model)
    plateau = Plateau()
    pipeline = Pipeline(net if average is None else average.module, schedule, normaliser, preset)
    step, seconds = 0, 0.0
    if state is not None:
        net.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        plateau.load_state_dict(state["plateau"])
        if average is not None:
            average.load_state_dict(state["average"])
        step, seconds, before = state["step"], state["seconds"], state["before"]
        if step == length.steps and (folder / "result.json").exists():
            return folder  # it was finished, and perhaps scored
    if main:
        folder.mkdir(parents=True, exist_ok=True)
        if start and state is None:
            carry_on(weights_file(start).parent, folder)
        trim_metrics(folder, before["steps"] + step)
        write_json(folder / "config.json", {"run": name} | config.to_dict(preset))
        if progress:
            told = f"{length.steps} steps of {length.batch} pictures in {precision} on {device_name(device)}"
            tqdm.write(f"{name}: {told}", file=sys.stderr)  # stdout is for results
    accelerator.wait_for_everyone()

    generator = torch.Generator(device)

    log = RunLog(folder, length, before, step, seconds, main, progress)

    def state_now() -> dict[str, Any]:
        return {
            "step": step,
            "seconds": log.seconds,
            "before": before,
            "model": net.state_dict(),
            "average": average.state_dict() if average is not None else {},
            "optimizer": optimizer.state_dict(),
            "plateau": plateau.state_dict(),
        }

    if main and start and state is None:
        save_checkpoint(folder, state_now())  # so that a resume needs no word of where it began
    heard: Tensor | None = None  # at the last snapshot
    model.train()
    while step < length.steps:
        epoch, place = divmod(step, length.steps_per_epoch)
        index = epoch_order(len(pictures), epoch, plan.seed)[place * length.batch : (place + 1) * length.batch]
        index = index[accelerator.process_index :: accelerator.num_processes]
        x_0, condition = draw(pictures, index, normaliser, device)  # (B, 3, S, S), (B, 24)
        generator.manual_seed(_step_seed(plan.seed, step, accelerator.process_index))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = _loss(model, schedule, x_0, condition, generator, preset)
        told_loss = float(accelerator.reduce(loss.detach(), reduction="mean"))
        if not math.isfinite(told_loss):
            raise Failure(_not_finite(folder, step, told_loss, pictures, index))

        rate = plan.learning_rate * rate_factor(plan, step, length)
        if plan.lr_schedule in ("plateau", "report"):
            rate *= plateau.factor
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        optimizer.zero_grad()
        accelerator.backward(loss)
        if plan.clip_norm:
            accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        if average is not None:
            average.update_parameters(net)
        step += 1
        log.step(told_loss, rate)

        if step in length.snapshots and main:
            with log.paused():
                _snapshot(pipeline, folder / "samples" / f"step_{log.total['steps']:07d}.png", data)
                heard = condition_sensitivity(pipeline, watched)
                so_far = {"step": log.total["steps"], "images": log.total["images_seen"]}
                log.tell(so_far | {"condition_sensitivity": heard.mean().item()})
        if evaluate and plan.evaluate_every and step % (plan.evaluate_every * length.steps_per_epoch) == 0:
            with log.paused():
                scores = broadcast_object_list([evaluate(pipeline) if main else None])[0]
                plateau.step(scores)
                log.tell({"step": log.total["steps"], "accuracy": scores, "plateau": plateau.factor})
        model.train()
        if main and (step % plan.save_every == 0 or step == length.steps):
            save_checkpoint(folder, state_now())
    log.close()
    if main:
        save_weights(folder / "weights.safetensors", pipeline.model, normaliser, preset)
        total = log.total
        if length.snapshots and (heard is None or step not in length.snapshots):
            heard = condition_sensitivity(
                pipeline, watched
            )  # the last snapshot lies before the end, or before a resume
        write_json(
            folder / "result.json",
            {"name": name, "preset": preset.name, "settings": config.to_dict(preset)}
            | {"seed": plan.seed, "steps": total["steps"], "epochs": round(total["epochs"], 3)}
            | {"images_seen": total["images_seen"], "seconds": round(total["seconds"], 1), "precision": precision}
            | ({"started_from": before} if before != NOTHING else {})
            | provenance(device)
            | {"processes": accelerator.num_processes, "pictures": len(pictures)}
            | ({"condition_sensitivity": told_of(heard, read_metrics(folder))} if heard is not None else {})
            | {"weights_sha256": sha256(folder / "weights.safetensors")},
        )
    accelerator.wait_for_everyone()
    return folder


def _begin(net: nn.Module, start: Path, tell: bool) -> dict[str, Any]:
    """Give `net` the weights in `start`; returns whose they are, and how long they were trained as far as is known."""
    path, fresh = start_from(net, start)
    if tell:
        new = f"; new are {', '.join(fresh[:3])}{' and more' if fresh[3:] else ''}" if fresh else ""
        tqdm.write(f"begins with {short(path)}{new}", file=sys.stderr)
    beside = path.parent / "result.json"
    told = read_json(beside, "a run's result") if beside.exists() else {}
    keys = ("name", "commit", "device", "precision", *NOTHING, "started_from")
    return NOTHING | {"weights_sha256": sha256(path)} | {key: told[key] for key in keys if key in told}


def _loss(
    model: nn.Module,
    schedule: NoiseSchedule,
    x_0: Tensor,
    condition: Tensor,
    generator: torch.Generator,
    preset: Preset,
) -> Tensor:
    x_0 = x_0.contiguous(memory_format=torch.channels_last)
    plan = preset.diffusion
    return diffusion.loss(
        model,
        schedule,
        x_0,
        condition,
        generator,
        plan.target,
        plan.drop_probability,
        plan.timestep_sampling,
        plan.loss_weighting,
    )


def _step_seed(seed: int, step: int, process: int) -> int:
    return (seed * 1_000_003 + step) * 1_024 + process


def _snapshot(pipeline: Pipeline, path: Path, data: Path | None) -> None:
    """The first four conditions of each list, always from the same noise, side by side in one strip."""
    conditions = load_list("test", data)[:4] + load_list("new_test", data)[:4]
    save_grid(pipeline(conditions, seed=0, num_candidates=1), path, columns=len(conditions))


def _not_finite(folder: Path, step: int, value: float, pictures: Pictures, index: Tensor) -> str:
    names = [pictures.names[i] for i in index.tolist()]
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return (
        f"{short(folder)}: the loss is {value} at step {step} (pictures {shown}); lower learning_rate, set clip_norm=1 "
        "or precision=fp32, then train again under another --name; the last good checkpoint is kept"
    )

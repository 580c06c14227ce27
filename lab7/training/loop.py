"""The training loop: Accelerate, EMA, learning-rate schedules, checkpoints and exact resume (see run.py).

Nothing random is carried from step to step: the order of an epoch follows from (seed, epoch), and the noise of a step
from (seed, step), in any number of processes. A killed run therefore resumes at its last checkpoint and ends with the
same weights, bit for bit, as one that was never killed.
"""

from pathlib import Path

import torch

from lab7 import diffusion
from lab7.config import Preset
from lab7.dataset.normalizer import draw, epoch_order
from lab7.training.lr_schedules import rate_factor
from lab7.training.run import Callback, Evaluate, Run
from lab7.training.run_folder import alone
from lab7.utils.files import runs_dir


@alone
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
    callback: Callback | None = None,
) -> Path:
    """Train the preset's network on the pictures in `data` and return the run's folder, runs/NAME.

    A new run begins with random weights, or with those in `start` (a file or a run's folder), whose curve and pictures
    it then continues. `callback` may watch and end it (see run.py). Raises UserError if the run exists
    and `resume` is not set, or if it has other settings; Failure if the loss is no longer finite.
    """
    run = Run(preset, (runs or runs_dir()) / name, resume, start, evaluate, progress, data, callback)
    if run.finished:
        return run.folder
    run.begin()
    plan, accelerator, device = preset.train, run.accelerator, run.accelerator.device
    generator = torch.Generator(device)
    part = slice(accelerator.process_index, None, accelerator.num_processes)
    while run.step < run.length.steps:
        epoch, place = divmod(run.step, run.length.steps_per_epoch)
        order = epoch_order(len(run.pictures), epoch, plan.seed)
        index = order[place * run.length.batch : (place + 1) * run.length.batch]
        x_0, condition = draw(run.pictures, index, run.pipeline.normaliser, device)  # (B, 3, S, S), (B, 24) or (B, 72)
        x_0 = x_0.contiguous(memory_format=torch.channels_last)
        generator.manual_seed(step_seed(plan.seed, run.step))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.precision == "bf16"):
            loss = diffusion.loss(run.model, run.pipeline.schedule, x_0, condition, generator, *run.loss_options, part)
        mean_loss = run.mean_loss(loss, index[part])

        rate = plan.learning_rate * rate_factor(plan, run.step, run.length) * run.plateau.factor
        for group in run.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        run.optimizer.zero_grad()
        accelerator.backward(loss)
        if plan.clip_norm:
            accelerator.clip_grad_norm_(run.model.parameters(), plan.clip_norm)
        run.optimizer.step()
        if run.average is not None:
            run.average.update_parameters(run.net)
        run.after_step(mean_loss, rate)
    return run.finish()


def step_seed(seed: int, step: int) -> int:
    """The seed of a step's timesteps and noise. It is not `mix_seed`: the recorded curves were trained with this one,
    and a demonstration that begins like a recorded run must follow its curve."""
    return (seed * 1_000_003 + step) * 1_024

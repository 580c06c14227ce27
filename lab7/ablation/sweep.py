"""Many arms and seeds: which runs there are, several trained at a time, and their results.

A run is one arm with one seed. Each is made by `Workspace.run`, which finds a finished run and resumes one that was
stopped, so a sweep that was interrupted goes on when it is started again.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lab7.ablation.arms import arm_preset, get_arm, run_name
from lab7.ablation.results import arm_rows, read_arms
from lab7.ablation.workspace import Workspace, open_workspace
from lab7.config import check_used, get_preset
from lab7.dataset.layout import describe
from lab7.training.lr_schedules import run_length
from lab7.training.run_folder import read_metrics
from lab7.utils.files import Failure, UserError
from lab7.utils.pool import process_pool


@dataclass(frozen=True)
class Job:
    """One arm with one seed, which is that of the workspace's preset."""

    arm: str
    workspace: Workspace

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.workspace.runs / run_name(self.arm, self.workspace.preset.train.seed)

    def done(self) -> bool:
        """Whether the run is finished and scored. UserError if it, or its baseline, was made with other settings."""
        if baseline := get_arm(self.arm).baseline:
            self.workspace.finished(baseline)
        return self.workspace.finished(self.arm)

    def __call__(self) -> Path:
        """Make the run; this is what a worker process or a node of a cluster executes."""
        return self.workspace.run(self.arm)

    def checkpoint(self) -> Any:
        """What submitit gives to the cluster again when a job is stopped: the same, for a run that is there resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def plan_jobs(
    arms: Sequence[str], seeds: Sequence[int], preset: str = "laptop", settings: Iterable[str] = ()
) -> list[Job]:
    """Every arm with every seed, seed by seed; an arm that draws with another arm's network comes after that arm.

    Raises UserError for an unknown arm or preset, a bad setting or a seed, and for `quick`, which trains no arm.
    """
    if preset == "quick":
        raise UserError("preset 'quick' only reads recorded runs; choose another preset to train arms")
    chosen, settings = [get_arm(name) for name in dict.fromkeys(arms)], tuple(settings)
    trained = dict.fromkeys(arm.weights_from or arm.name for arm in chosen)
    order = [*trained, *(arm.name for arm in chosen if arm.weights_from)]
    places = [open_workspace(preset, settings, seed) for seed in dict.fromkeys(seeds)]
    if [place.preset.train.seed for place in places] != [*dict.fromkeys(seeds)]:
        raise UserError("--set cannot change the seed of every run; say --seeds instead, such as --seeds 0-2")
    for arm in chosen:
        before, after = (arm_preset(arm, get_preset(preset), changes) for changes in ((), settings))
        check_used(before, after)  # a bad setting is reported before anything is trained
    return [Job(name, place) for place in places for name in order]


def parse_seeds(text: str) -> list[int]:
    """ "0-4" or "0,2,7" -> at most 1000 whole numbers. Raises UserError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if not match or not 0 <= int(match[2] or match[1]) - int(match[1]) < 1000 - len(seeds):
            raise UserError(f"--seeds must be whole numbers such as 0-4 or 0,2,7, not '{text}'")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return seeds


def run_jobs(jobs: Sequence[Job], workers: int = 0, progress: bool = True) -> list[str]:
    """Make every run that is not finished, `workers` at a time (0: one for every two cores), with one progress bar.

    A run that fails does not stop the others. Returns one line for each run that failed.
    """
    left = [job for job in jobs if not job.done()]
    if not left:
        return []
    left[0].workspace.make_pictures(progress)  # once, before several runs look for them
    workers = min(workers or max(1, torch.get_num_threads() // 2), len(left))
    threads = max(1, torch.get_num_threads() // workers)
    trained = [job for job in left if not get_arm(job.arm).weights_from]
    errors: list[str] = []
    pictures = describe(left[0].workspace.data)["pictures"]
    presets = [arm_preset(get_arm(job.arm), job.workspace.preset, job.workspace.settings) for job in trained]
    steps, done = sum(run_length(one.train, pictures).steps for one in presets), sum(map(_steps_done, trained))
    bar = tqdm(total=steps, initial=done, unit="step", desc="ablate", disable=not progress, mininterval=1)
    with bar, process_pool(workers, threads) as pool:
        for batch in (trained, [job for job in left if job not in trained]):
            pending = {pool.submit(job): job for job in batch}
            while pending:
                for future in wait(pending, timeout=1, return_when="FIRST_COMPLETED").done:
                    name, error = pending.pop(future).folder.name, future.exception()
                    if isinstance(error, UserError | Failure | OSError):
                        errors.append(f"{name}: {error}")
                        tqdm.write(errors[-1], file=sys.stderr)
                    elif error:
                        raise error
                bar.n = sum(map(_steps_done, trained))
                bar.refresh()
    return errors


def submit(jobs: Sequence[Job], cluster: str) -> list[Any]:
    """Hand the missing runs to submitit as one array job; returns its tasks, one a run.

    `cluster` is "slurm", whose own variables such as SBATCH_PARTITION choose the nodes, or "local" for processes here.
    A run that Slurm preempts, or stops at its time limit (SBATCH_TIMELIMIT; a day), is requeued and resumed.
    An arm that draws with the network of another arm trains that one first if it is not there, so submit it when the
    others are done. Raises UserError without submitit or without a cluster.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise UserError("--submit needs submitit: pip install '.[cluster]'") from None
    left = [job for job in jobs if not job.done()]
    if not left:
        return []
    left[0].workspace.make_pictures()
    try:
        folder = jobs[0].workspace.runs / "submitit"
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=100)
        executor.update_parameters(name="lab7", timeout_min=24 * 60)
        with executor.batch():
            return [executor.submit(job) for job in left]
    except (RuntimeError, ValueError, NameError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"--submit {cluster}: {str(error).splitlines()[0]}") from None


def table(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The results of the finished runs: a row an arm and list, compared with the arm's baseline of the same seeds."""
    names = dict.fromkeys(job.arm for job in jobs)
    seeds = {job.workspace.preset.train.seed for job in jobs}
    results = read_arms(jobs[0].workspace.runs, [*(get_arm(name).baseline or name for name in names), *names])
    of_seeds = {name: [one for one in arm if one["seed"] in seeds] for name, arm in results.items()}
    return arm_rows({name: arm for name, arm in of_seeds.items() if arm})


def _steps_done(job: Job) -> int:
    lines = read_metrics(job.folder)
    return lines[-1]["step"] if lines else 0

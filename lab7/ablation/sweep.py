"""Many arms and seeds: which runs there are, several trained at a time, and what came out of all.

A run is one arm with one seed. Each is made by `Workspace.run`, which finds a finished run and resumes one that was
stopped, so a sweep that was interrupted goes on when it is asked for again.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lab7.ablation.arms import arm_preset, get_arm, run_name
from lab7.ablation.results import arm_rows, read_arms
from lab7.ablation.workspace import Workspace, open_workspace
from lab7.config import Preset
from lab7.dataset.layout import describe
from lab7.training.lr_schedules import run_length
from lab7.training.run_folder import read_metrics
from lab7.utils.files import Failure, UserError, read_json

MEMORY_GB = 2.0  # that one training of the small presets takes at most


@dataclass(frozen=True)
class Job:
    """One arm with one seed, in the workspace of a preset."""

    arm: str
    seed: int
    preset: str
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return run_name(self.arm, self.seed)

    @property
    def workspace(self) -> Workspace:
        """Where the run lies; its preset has the job's seed and settings."""
        return open_workspace(self.preset, self.settings, self.seed)

    @property
    def folder(self) -> Path:
        """The run's."""
        return self.workspace.runs / self.name

    def done(self) -> bool:
        """Whether the run is finished and scored."""
        path = self.folder / "result.json"
        return path.exists() and "accuracy" in read_json(path, "a run's result")


def plan_jobs(
    arms: Sequence[str], seeds: Sequence[int], preset: str = "laptop", settings: Iterable[str] = ()
) -> list[Job]:
    """Every arm with every seed, seed by seed, those that draw with another's network after it.

    Raises UserError for an unknown arm, an unknown preset, and for `quick`, which trains no arm.
    """
    if preset == "quick":
        raise UserError(
            "preset 'quick' only reads recorded runs; train arms with laptop, small, short, course, best or smoke"
        )
    chosen = [get_arm(name) for name in dict.fromkeys(arms)]
    needed = dict.fromkeys(arm.weights_from or arm.name for arm in chosen)
    order = [*needed, *(arm.name for arm in chosen if arm.weights_from)]
    jobs = [Job(name, seed, preset, tuple(settings)) for seed in dict.fromkeys(seeds) for name in order]
    for job in jobs:
        arm_preset(get_arm(job.arm), job.workspace.preset, job.settings)
    return jobs


def parse_seeds(text: str) -> list[int]:
    """ "0-4" or "0,2,7" -> whole numbers. Raises UserError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"--seeds must be whole numbers such as 0-4 or 0,2,7, not '{text}'")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return seeds


def at_once(wanted: int, jobs: int) -> int:
    """How many runs to train at a time: as many as asked for, or (0) as cores and memory allow, two cores each."""
    if wanted:
        return max(1, min(wanted, jobs))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = _memory_gb()
    return max(1, min(jobs, cores // 2, int(memory // MEMORY_GB) if memory else cores))


def run_jobs(jobs: Sequence[Job], workers: int = 1, progress: bool = True) -> list[str]:
    """Make every run that is not there, `workers` at a time, under one bar; returns what went wrong, a line a run.

    A run that fails does not stop the others.
    """
    left = [job for job in jobs if not job.done()]
    if not left:
        return []
    left[0].workspace.make_pictures(progress)  # once, before several look for them
    trained = [job for job in left if not get_arm(job.arm).weights_from]
    drawn = [job for job in left if get_arm(job.arm).weights_from]
    threads = max(1, torch.get_num_threads() // workers)
    told: list[str] = []
    steps = {job: _steps(job) for job in trained}
    bar = tqdm(total=sum(steps.values()), unit="step", desc="ablate", disable=not progress, mininterval=1)
    with (
        bar,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _watch, (os.getpid(), threads)) as pool,
    ):
        for batch in (trained, drawn):
            futures = {pool.submit(run_one, job): job for job in batch}
            try:
                told += _follow(futures, steps, bar)
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return told


def run_one(job: Job) -> str:
    """Make one run; returns what went wrong in one line, or "". This is what a cluster's node executes."""
    try:
        job.workspace.run(job.arm)
    except (UserError, Failure) as error:
        return f"{job.name}: {error}"
    return ""


def submit(jobs: Sequence[Job], cluster: str, folder: Path, options: dict[str, Any]) -> list[Any]:
    """Hand every missing run to submitit, one task each; returns its jobs.

    `cluster` is "slurm", or "local" for processes on this machine. An arm that draws with another's network trains
    that one itself if it is not there, so submit those when the others are done. Raises UserError without submitit or
    without a cluster.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise UserError("--submit needs submitit: pip install '.[cluster]'") from None
    left = [job for job in jobs if not job.done()]
    if left:
        left[0].workspace.make_pictures()
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**{"name": "lab7", "timeout_min": 24 * 60, **options})
        return [executor.submit(run_one, job) for job in left]
    except (RuntimeError, ValueError, NameError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"--submit {cluster}: {str(error).splitlines()[0]}") from None


def table(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """What came out of the finished runs: a row an arm and list, each beside its baseline of the same seeds."""
    names = dict.fromkeys(job.arm for job in jobs)
    wanted = {job.seed for job in jobs}
    found = read_arms(jobs[0].workspace.runs, [*(get_arm(name).baseline or name for name in names), *names])
    of_seeds = {name: [one for one in results if one["seed"] in wanted] for name, results in found.items()}
    return arm_rows({name: results for name, results in of_seeds.items() if results})


def _follow(futures: dict[Future[str], Job], steps: dict[Job, int], bar: tqdm) -> list[str]:
    """Wait for all, moving the bar by what their metrics tell."""
    told = []
    seen: set[Future[str]] = set()
    while len(seen) < len(futures):
        for future in [one for one in futures if one.done() and one not in seen]:
            seen.add(future)
            if error := future.result():
                told.append(error)
                tqdm.write(error, file=sys.stderr)
        bar.n = sum(_step(job) for job in steps)
        bar.set_postfix_str(f"{len(seen)} of {len(futures)} runs", refresh=False)
        bar.refresh()
        time.sleep(0.2)
    return told


def _step(job: Job) -> int:
    lines = read_metrics(job.folder)
    return lines[-1]["step"] if lines else 0


def _steps(job: Job) -> int:
    preset: Preset = arm_preset(get_arm(job.arm), job.workspace.preset, job.settings)
    return run_length(preset.train, describe(job.workspace.data)["pictures"]).steps


def _watch(parent: int, threads: int) -> None:
    """Set up a worker: its threads, and an end with its parent, which else it would outlive if that is killed."""
    torch.set_num_threads(threads)

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _memory_gb() -> float:
    """Free memory, 0 where the system does not tell."""
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0.0
    match = re.search(r"MemAvailable:\s+(\d+) kB", told)
    return int(match[1]) / 1e6 if match else 0.0

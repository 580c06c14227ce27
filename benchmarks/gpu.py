"""Trainings that fill a few minutes of one GPU, made to be stopped: started by gpu.sh, which says more.

arms     report_up_down and report_up with three seeds each, all at once, then one at F = 256 with preset course
network  preset best, its averaged weights saved every minute

The speed is measured first, and the epochs are chosen by it, so that the learning rate falls to zero in time. Arguments
are read by argparse, for tyro need not be there.
"""

import argparse
import contextlib
import gzip
import math
import multiprocessing
import os
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import interval, print_table
from benchmarks.record import write_record
from lab7.ablation.evaluate import LISTS, score_run
from lab7.ablation.sweep import Job, plan_jobs, run_jobs
from lab7.config import Preset, SamplingConfig, get_preset, override
from lab7.dataset.layout import describe
from lab7.dataset.normalizer import Normaliser, fit_normaliser
from lab7.dataset.positions import layouts_of, training_pictures
from lab7.dataset.synthetic import write_synthetic
from lab7.judge.networks import default_judge, second_judge
from lab7.pipeline import build_model, save_weights
from lab7.training import run as training_run
from lab7.training.loop import train
from lab7.training.run_folder import read_metrics
from lab7.utils.files import Failure, UserError, data_dir, read_json, runs_dir, write_json
from lab7.utils.provenance import best_device, device_name

ARMS = ("report_up_down", "report_up")
ARM = ("n_feature=128", "batch_size=32", "save_every=1000")
COURSE = ("samples=1", "save_every=500")  # the report scores one sample a condition
NETWORK = ("save_every=500",)
TOY = ("image_size=32", "batch_size=4", "diffusion.num_steps=50", "sampling.num_steps=2", "samples=1", "snapshots=2")
TOY_ARM = (*TOY, "n_feature=8", "warmup_steps=5", "save_every=20")
TOY_NETWORK = (*TOY, "widths=32,32", "blocks=1,1", "embedding=32", "compile=false")
SHARE = 0.7  # of the time that is left, for the six trainings
OVERHEAD = 75  # seconds to start, and to judge and compare with renders
MARGIN = 0.9  # of the measured speed
PART = 15 << 20  # bytes of a part of the weights
SMALL = 8_000_000  # bytes of weights that are packed


class Plan:
    """The time that is left, where results go, and the settings chosen by the measured speed, kept for a resume."""

    def __init__(self, mode: str, out: Path, minutes: float, toy: bool) -> None:
        self.mode, self.out, self.toy, self.end = mode, out, toy, time.monotonic() + 60 * minutes
        self.overhead = 25 if toy else OVERHEAD
        self.path = runs_dir() / f"gpu_{mode}.json"
        self.chosen: dict[str, Any] = read_json(self.path, "the settings of trainings") if self.path.exists() else {}

    def left(self) -> float:
        """Seconds until the end; ten are kept for packing."""
        return self.end - time.monotonic() - 10

    def choose(self, **settings: Any) -> None:
        """Keep what was chosen."""
        self.chosen |= settings
        write_json(self.path, self.chosen)


def main() -> int:
    """Train, score and pack one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("arms", "network"))
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--toy", action="store_true", help="sizes for a trial on a CPU")
    options = parser.parse_args()
    if options.toy:
        os.environ |= {"LAB7_DATA": "build/gpu_toy/data", "LAB7_RUNS": "build/gpu_toy/runs"}
    plan = Plan(options.mode, options.out, options.minutes, options.toy)
    plan.out.mkdir(parents=True, exist_ok=True)
    print(f"{device_name(best_device())}, torch {torch.__version__}, {options.minutes:g} minutes")
    try:
        if not (data_dir(new=True) / "train.json").exists():
            write_synthetic(data_dir(new=True), 60 if options.toy else 6003, (64, 64), seed=0)
        done = arms(plan) if options.mode == "arms" else network(plan)
    except (UserError, Failure) as error:
        sys.exit(f"gpu: {error}")
    print("all done" if done else "the time is over; the same command goes on")
    return 0


def arms(plan: Plan) -> bool:
    """The report's two arms; then, if time is left, one with preset course. Whether all of it is done."""
    own = TOY_ARM if plan.toy else ARM
    pictures = describe(data_dir())["pictures"]
    seeds = (0,) if plan.toy else (0, 1, 2)
    if "arms" not in plan.chosen:
        presets = [job.workspace.preset for job in plan_jobs(ARMS, seeds, "small", own)]
        rate = measured_speed(presets, plan)
        epochs = whole_epochs(presets[0], rate, SHARE * plan.left() - plan.overhead, pictures)
        plan.choose(arms=[*own, f"epochs={max(1, epochs)}"], total_rate=rate * len(presets))
    jobs = plan_jobs(ARMS, seeds, "small", plan.chosen["arms"])
    print(f"{len(jobs)} trainings with {' '.join(plan.chosen['arms'])}")
    run_until(plan.left(), partial(run_jobs, jobs, len(jobs), False))
    pack_runs(plan.out, jobs)
    if not all(job.done() for job in jobs):
        return False
    if "course" not in plan.chosen:
        course = override(get_preset("course"), TOY_ARM if plan.toy else COURSE)
        rate = plan.chosen["total_rate"] * (1 if plan.toy else (128 / course.model.n_feature) ** 2)  # the work is F^2
        epochs = whole_epochs(course, rate, plan.left() - plan.overhead, pictures)
        if epochs < 1:
            print(f"no time for the arm with preset course: {plan.left():.0f} s are left")
            return False
        plan.choose(course=[*(TOY_ARM if plan.toy else COURSE), f"epochs={epochs}"])
    course_jobs = plan_jobs(ARMS[:1], [0], "course", plan.chosen["course"])
    print(f"preset course with {' '.join(plan.chosen['course'])}")
    run_until(plan.left(), partial(run_jobs, course_jobs, 1, False))
    pack_runs(plan.out, course_jobs, "course_")
    return course_jobs[0].done()


def network(plan: Plan) -> bool:
    """Preset best, trained for the time that is left, and scored. Whether all of it is done."""
    own = TOY_NETWORK if plan.toy else NETWORK
    pictures = describe(data_dir())["pictures"]
    folder = runs_dir() / "best"
    if "network" not in plan.chosen:
        preset = override(get_preset("best"), own)
        try:
            rate = measured_speed([preset], plan)
        except Failure as error:  # torch.compile needs a compiler that works
            print(f"{error}; without torch.compile:")
            own = (*own, "compile=false")
            rate = measured_speed([override(preset, own)], plan)
        batch = min(preset.train.batch_size, pictures)
        seconds = plan.left() - 1.2 * plan.overhead
        steps = max(10, int(MARGIN * rate * seconds - drawing_cost(preset.sampling)) // batch)
        chosen = {"max_steps": steps, "epochs": math.ceil(steps / (pictures // batch)) + 1}
        chosen |= {"warmup_steps": min(preset.train.warmup_steps, steps // 20)}
        chosen |= {"save_every": max(1, int(rate * (10 if plan.toy else 50)) // batch)}
        plan.choose(network=[*own, *(f"{name}={value}" for name, value in chosen.items())])
    preset = override(get_preset("best"), plan.chosen["network"])
    print(f"preset best with {' '.join(plan.chosen['network'])}")
    save_parts = partial(save_average, folder, preset, plan.out)
    run_until(plan.left(), partial(train_and_score, preset), save_parts, 10 if plan.toy else 60)
    save_parts()
    pack(plan.out / "network.tar.gz", {"best": folder})
    print_results([folder])
    return is_scored(folder)


def train_and_score(preset: Preset) -> None:
    """The run runs/best, gone on with where it was stopped."""
    device, folder = best_device(), runs_dir() / "best"
    train(preset, "best", resume=folder.exists(), progress=False)
    if not is_scored(folder):
        score_run(folder, default_judge(device), second=second_judge(device), device=device)


def measured_speed(presets: list[Preset], plan: Plan) -> float:
    """Pictures a second of the slowest of these trainings, all at once, each the real loop stopped after a while.

    Raises Failure where one of them fails, or writes no three lines of metrics in a third of the time or three minutes.
    """
    context, limit = multiprocessing.get_context("spawn"), time.monotonic() + max(plan.left() / 3, 180)
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / str(number) for number in range(len(presets))]
        endless = [override(preset, ["epochs=1000000", "max_steps=0", "snapshots=0"]) for preset in presets]
        workers = [
            context.Process(target=train_noting, args=(preset, run, 5 if plan.toy else 20))
            for preset, run in zip(endless, runs, strict=True)
        ]
        for worker in workers:
            worker.start()
        while time.monotonic() < limit and all(worker.is_alive() for worker in workers):
            if all(len(read_metrics(run, "loss")) >= 4 for run in runs):
                break
            time.sleep(0.5)
        failed = not all(worker.is_alive() for worker in workers)
        for worker in workers:
            worker.kill()
            worker.join()
        curves = [read_metrics(run, "loss") for run in runs]
    if failed or min(map(len, curves)) < 3:
        raise Failure("the speed could not be measured: " + ("a training failed" if failed else "it is too slow"))
    spans = [(curve[1], curve[-1]) for curve in curves]  # the first line warms up
    rate = min((end["images"] - begin["images"]) / (end["seconds"] - begin["seconds"]) for begin, end in spans)
    print(f"trainings at once: {len(presets)}, with {rate:.0f} pictures a second each")
    return rate


def train_noting(preset: Preset, run: Path, steps: int) -> None:
    """Train, with a line of metrics after so many steps."""
    training_run.LOG_EVERY = steps
    train(preset, run.name, runs=run.parent, progress=False)


def drawing_cost(sampling: SamplingConfig, conditions: int = 96) -> float:
    """How many training pictures cost as much as a scoring; a picture's way forward is a third of its training."""
    guidance = 1 if sampling.guidance_scale == 1 else 2
    return conditions * sampling.samples * sampling.num_steps * guidance / 3


def whole_epochs(preset: Preset, rate: float, seconds: float, pictures: int) -> int:
    """The epochs that fit into the seconds with the scorings, those on the way included."""
    cost = float(pictures)
    if preset.train.evaluate_every:  # one sample of each of the course's 64 conditions
        on_the_way = drawing_cost(preset.sampling, 64) / preset.sampling.samples
        cost += on_the_way / preset.train.evaluate_every
    return int((MARGIN * rate * seconds - drawing_cost(preset.sampling)) / cost)


def run_until(
    seconds: float, work: Callable[[], object], meanwhile: Callable[[], object] = lambda: None, every: float = 60
) -> None:
    """Do the work in a process of its own, which is ended when the time is over; and `meanwhile` now and then."""
    end = time.monotonic() + seconds
    process = multiprocessing.get_context("spawn").Process(target=in_own_group, args=(work,))
    process.start()
    while process.is_alive() and time.monotonic() < end:
        process.join(max(0.1, min(every, end - time.monotonic())))
        if process.is_alive() and time.monotonic() < end:
            meanwhile()
    if process.is_alive() and process.pid:
        with contextlib.suppress(ProcessLookupError):  # it has not even begun
            os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        process.kill()
        process.join()


def in_own_group(work: Callable[[], object]) -> None:
    """Do the work as the head of a new process group, which can be ended as a whole."""
    os.setpgid(0, 0)
    work()


@cache  # weights are packed every minute
def with_weights(preset: Preset) -> tuple[Normaliser, Preset, torch.Tensor | None]:
    """What is kept with a network's weights."""
    pictures = training_pictures(preset)
    return fit_normaliser(pictures.images, preset.data.normalise), preset, layouts_of(pictures)


def save_average(folder: Path, preset: Preset, out: Path) -> None:
    """The averaged weights in float16, packed into parts small enough to be carried: cat PARTS | gunzip > FILE."""
    weights = folder / "weights.safetensors"
    with tempfile.TemporaryDirectory() as temporary:
        if not weights.exists():
            if not (folder / "checkpoint.pt").exists():
                return
            state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
            average = {name.removeprefix("module."): value for name, value in state["average"].items()}
            average.pop("n_averaged", None)
            net = build_model(preset)
            net.load_state_dict(average)
            weights = Path(temporary) / "weights.safetensors"
            save_weights(weights, net, *with_weights(preset))
        packed = gzip.compress(weights.read_bytes(), 1)
    for number, start in enumerate(range(0, len(packed), PART)):
        (out / f"best.safetensors.gz.{number}").write_bytes(packed[start : start + PART])


def pack_runs(out: Path, jobs: list[Job], prefix: str = "") -> None:
    """The record of the scored runs as benchmarks/record.py writes it, the runs' own small files, and a table."""
    pack(out / f"{prefix}arms.tar.gz", {f"{prefix}{job.folder.name}": job.folder for job in jobs})
    if any(job.done() for job in jobs):
        write_record(out / f"{prefix}ablation.json", jobs[0].workspace.runs, [job.arm for job in jobs])
    print_results(job.folder for job in jobs)


def pack(path: Path, folders: dict[str, Path]) -> None:
    """The settings, results, metrics and pictures of runs, and small weights of seed 0, in one file."""
    with tarfile.open(path, "w:gz") as file:
        for name, folder in folders.items():
            kept = [folder / one for one in ("config.json", "result.json", "metrics.jsonl", "samples")]
            if "_seed" not in name:
                kept += [one for one in folder.glob("weights.safetensors") if one.stat().st_size < SMALL]
            for one in kept:
                if one.exists():
                    file.add(one, f"{name}/{one.name}")


def is_scored(folder: Path) -> bool:
    """Whether a run is finished and scored."""
    path = folder / "result.json"
    return path.exists() and "accuracy" in read_json(path, "a run's result")


def print_results(folders: Iterable[Path]) -> None:
    """A table of the scored runs."""
    rows = []
    for folder in filter(is_scored, folders):
        result = read_json(folder / "result.json", "a run's result")
        accuracy = [result["accuracy"].get(name) for name in LISTS]
        exact = " / ".join(f"{one['exact']['accuracy']:.2f}" for one in accuracy if one)
        scores = [interval(one["top_k"]) if one else "" for one in accuracy]
        trained = (result["name"], result["seed"], f"{result['epochs']:.1f}", f"{result['seconds'] / 60:.1f}")
        rows.append((*trained, *scores, exact, f"{result['frechet']['distance']:.0f}"))
    print_table(("run", "seed", "epochs", "minutes", *LISTS, "exact", "Frechet"), rows)


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `lab7 doctor|data|train|sample|judge|ablate|report`.

Progress goes to stderr, results to stdout (`--json` for machines). Exit code 0: done; 1: failed; 2: bad input.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg

from lab7.config import from_dict, get_preset, override
from lab7.files import Failure, UserError, data_dir, read_json, shipped_dir, short, write_json

Settings = Annotated[tuple[str, ...], arg(name="set", metavar="field=value ...")]
PresetName = Literal["smoke", "quick", "small", "laptop", "course", "best"]


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, which data and weights were found, and what to do where the lab cannot run.

    Example: lab7 doctor
    """

    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7 import doctor

        return doctor.run(json=self.json)


@dataclass(frozen=True)
class Data:
    """Render the stand-in pictures in the course's own layout; a second call goes on where the first stopped.

    Example: lab7 data --scenes 6003 --size 64x64
    """

    scenes: int = 6003
    """Scenes; each gives three pictures, of its first one, two and three objects."""
    size: str = "64x64"
    """Width x height in pixels; the course's own pictures are 320x240."""
    seed: int = 0
    """The same seed gives the same bytes."""
    out: Path | None = None
    """Folder to write to (default: data/)."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7.data import describe
        from lab7.standin import write_standin

        match = re.fullmatch(r"(\d+)x(\d+)", self.size)
        if not match:
            raise UserError(f"--size must be WIDTHxHEIGHT such as 64x64 or 320x240, not '{self.size}'")
        out = self.out or data_dir()
        write_standin(out, self.scenes, (int(match[1]), int(match[2])), seed=self.seed, progress=True)
        found = describe(out)
        _tell(self.json, found, f"{short(out)}: {found['pictures']} pictures of {found['scenes']} scenes")
        return 0


@dataclass(frozen=True)
class Train:
    """Train the preset's network on the pictures in data/ into runs/NAME, and have the judge score it.

    Example: lab7 train --preset laptop --name mine --set widths=128,192 epochs=20
    """

    preset: PresetName | None = None
    """Where all settings come from that --set does not change (default: quick; with --resume, the run's own)."""
    name: str = ""
    """Name of the run (default: the preset's)."""
    resume: bool = False
    """Go on with a run that was stopped."""
    weights: Path | None = None
    """Begin a new run with these weights, or those of a run's folder, wherever they fit (default: random ones)."""
    settings: Settings = ()
    """Settings to change, such as batch_size=16."""
    score: bool = True
    """Have the judge score the finished run on test and new_test."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from accelerate import PartialState

        from lab7 import experiments
        from lab7.checkpoints import open_run
        from lab7.files import runs_dir
        from lab7.judge import default_judge, second_judge
        from lab7.provenance import best_device
        from lab7.training import train

        name = self.name or self.preset or "quick"
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise UserError(f"--name must be letters, digits, '.', '_' or '-', not '{name}'")
        stored = runs_dir() / name / "config.json"
        if self.resume and not self.preset and stored.exists():
            preset = from_dict(read_json(stored, "a run's settings"), where=short(stored))
        else:
            preset = get_preset(self.preset or "quick")
        preset = override(preset, self.settings)
        open_run(runs_dir() / name, preset, self.resume)
        judge = default_judge(best_device()) if self.score or preset.train.evaluate_every else None
        second = second_judge(best_device()) if self.score else None
        evaluate = experiments.plateau_scores(judge) if judge else None
        folder = train(preset, name, resume=self.resume, start=self.weights, evaluate=evaluate)
        if not PartialState().is_main_process:
            return 0
        if self.score and judge:
            experiments.score_run(folder, judge, second=second, device=best_device(), progress=True)
        result = read_json(folder / "result.json", "a run's result")
        lines = [f"{short(folder)}: {result['images_seen']} pictures seen in {result['seconds']:.0f} s"]
        lines += [_score_line(name, found["top_k"]) for name, found in result.get("accuracy", {}).items()]
        lines += [_ceiling_line(judge)] if judge else []
        _tell(self.json, result, *lines)
        return 0


@dataclass(frozen=True)
class Sample:
    """Draw pictures of conditions into a folder: 000_0.png ... one a sample, and grid.png.

    Example: lab7 sample --conditions "red cube, cyan sphere" --samples 4 --out drawn
    """

    conditions: tuple[str, ...]
    """A JSON file of conditions, or conditions such as "red cube, cyan sphere"."""
    out: Path
    """Folder to write to."""
    weights: Path | None = None
    """Weights that 'lab7 train' wrote, or a run's folder (default: the shipped model)."""
    sampler: Literal["ddpm", "ddim", "dpm_solver_pp"] | None = None
    """How to draw (default: as the weights' preset says)."""
    steps: int | None = None
    """Steps of the sampler (default: as the weights' preset says)."""
    guidance: float | None = None
    """Strength of the condition; 1 is the plain conditional model (default: as the weights' preset says)."""
    samples: int = 1
    """Pictures of each condition."""
    seed: int = 0
    """The same seed gives the same pictures."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7.drawing import load_drawer
        from lab7.pictures import save_grid, save_png
        from lab7.provenance import best_device

        conditions = _conditions(self.conditions)
        drawer = load_drawer(self.weights or shipped_dir() / "runs" / "laptop", best_device())
        images = drawer.draw(
            conditions,
            sampler=self.sampler,
            num_steps=self.steps,
            guidance_scale=self.guidance,
            samples=self.samples,
            seed=self.seed,
            progress=True,
        )
        names = [f"{index:03d}_{k}.png" for index in range(len(conditions)) for k in range(self.samples)]
        for name, image in zip(names, images, strict=True):
            save_png(image, self.out / name)
        save_grid(images, self.out / "grid.png", columns=self.samples if self.samples > 1 else 8)
        write_json(self.out / "conditions.json", conditions)
        found = {"out": str(self.out), "pictures": names, "conditions": conditions}
        _tell(
            self.json,
            found,
            f"{short(self.out)}: {len(names)} pictures of {len(conditions)} conditions, grid.png",
        )
        return 0


@dataclass(frozen=True)
class JudgeCommand:
    """Count how many of the asked objects a judge finds in pictures; or train our own judge.

    Example: lab7 judge --images drawn --conditions drawn/conditions.json
    """

    images: Path | None = None
    """Folder with 000.png or 000_0.png, 000_1.png ...: one number a condition."""
    conditions: tuple[str, ...] = ()
    """The JSON file of conditions that the pictures were drawn from, or the conditions themselves."""
    weights: Path | None = None
    """A judge's file (default: data/checkpoint.pth of the course, else the shipped one). With --train: the start."""
    compare: tuple[str, str] | None = None
    """Instead: two scored runs, by name or folder; several seeds of one arm are joined by commas."""
    examine: bool = False
    """Instead: examine the judge on renders that no judge was trained on."""
    train: bool = False
    """Instead: train a judge on rendered pictures."""
    kind: Literal["resnet18", "small"] = "resnet18"
    """With --train: the course's architecture, or the second judge's."""
    out: Path | None = None
    """With --train: the file to write (default: runs/judge.safetensors). With --examine: a JSON file."""
    settings: Settings = ()
    """With --train and --examine: settings to change, such as passes=4 judge_scenes=2000."""
    seed: int = 0
    """With --train: the seed of its scenes and weights."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        if self.compare:
            return self._compare(*self.compare)
        return self._train() if self.train else self._examine() if self.examine else self._count()

    def _compare(self, first: str, second: str) -> int:
        from lab7 import results

        arms = [results.read_arm(text.split(",")) for text in (first, second)]
        rows = results.compare_arms(*arms)
        lines = [f"{first} against {second}: objects found, with the difference and its 95% interval"]
        for row in rows:
            told = f"{row['list']}, {row['judge']}: {row['first']:.3f} and {row['second']:.3f}, {row['told']}"
            lines.append(f"{told}: {row['verdict']}")
        needed = rows[0]["seeds_needed"]
        lines.append(
            "trainings an arm to see a difference of 2 points: "
            + (str(needed) if needed else "unknown, since no arm was trained with two seeds")
        )
        _tell(self.json, rows, *lines)
        return 0

    def _examine(self) -> int:
        from lab7.examination import examine
        from lab7.judge import default_judge, load_judge
        from lab7.provenance import best_device

        plan = override(get_preset("laptop"), self.settings).judge
        judge = load_judge(self.weights, best_device()) if self.weights else default_judge(best_device())
        exam = examine(judge, plan.exam_scenes)
        found = {"judge": judge.name, "sha256": judge.sha256, "examination": exam}
        if self.out:
            write_json(self.out, found)
        _tell(self.json, found, f"{judge.name}: {exam['pictures']} unseen pictures of each set", *_exam_lines(exam))
        return 0

    def _train(self) -> int:
        from lab7.files import runs_dir
        from lab7.judge_training import train_judge
        from lab7.provenance import best_device

        plan = override(get_preset("laptop"), self.settings).judge
        out = self.out or runs_dir() / "judge.safetensors"
        record = train_judge(
            out,
            kind=self.kind,
            scenes=plan.judge_scenes,
            epochs=plan.passes,
            examination_scenes=plan.exam_scenes,
            learning_rate=plan.peak_rate,
            plain_share=plan.plain_share,
            start=self.weights,
            seed=self.seed,
            device=best_device(),
        )
        exam = record["examination"]
        _tell(self.json, record, f"{short(out)}: examined on unseen renders", *_exam_lines(exam))
        return 0

    def _count(self) -> int:
        from lab7.experiments import count_pictures
        from lab7.judge import default_judge, load_judge
        from lab7.provenance import best_device

        if self.images is None or not self.conditions:
            raise UserError(
                "say --images DIR and --conditions FILE.json, or --train, --examine or --compare RUN_A RUN_B"
            )
        judge = load_judge(self.weights, best_device()) if self.weights else default_judge(best_device())
        found = count_pictures(judge, self.images, _conditions(self.conditions))
        lines = [f"{found['pictures']} pictures, {judge.name}", _score_line("top-k", found["top_k"])]
        _tell(self.json, found, *lines, _score_line("exact", found["exact"]), _ceiling_line(judge))
        return 0


@dataclass(frozen=True)
class Ablate:
    """Train and score arms of the ablation with several seeds, several at a time; a sweep that was stopped goes on.

    Example: lab7 ablate --arms report_up report_up_down --seeds 0-2 --jobs 2
    """

    preset: PresetName = "laptop"
    """laptop trains each arm at the scale for two CPU cores that it names; every other preset at its own."""
    arms: tuple[str, ...] = ("report_up_down", "report_up")
    """Names of arms (--list tells them all), or `all`."""
    seeds: str = "0"
    """Seeds such as 0-4 or 0,2,7."""
    jobs: int = 0
    """Runs at a time (default: as cores and memory allow, two cores each)."""
    settings: Settings = ()
    """Settings to change in every arm, such as epochs=4."""
    submit: Literal["no", "slurm", "local"] = "no"
    """Hand the runs to a cluster by submitit, one task each; local: as processes of this machine."""
    cluster: Annotated[tuple[str, ...], arg(metavar="option=value ...")] = ()
    """With --submit: submitit's parameters, such as slurm_partition=gpu gpus_per_node=1."""
    list: bool = False
    """Instead: name the arms and which seeds of them are finished."""
    record: Annotated[Path | None, arg(metavar="FILE")] = None
    """Instead: put what is finished of these arms, every seed, into one small file such as data/runs/ablation.json."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7 import ablation
        from lab7.arms import ARMS, seeds_of
        from lab7.results import write_record
        from lab7.workspace import open_workspace

        arms = tuple(ARMS) if self.arms == ("all",) else self.arms
        if self.list:
            runs = open_workspace(self.preset).runs
            finished = {name: sorted(seeds_of(name, runs)) for name in ARMS}
            lines = [f"{name:20} {arm.title:45} seeds {finished[name] or 'none'}" for name, arm in ARMS.items()]
            _tell(self.json, finished, *lines)
            return 0
        jobs = ablation.plan_jobs(arms, ablation.parse_seeds(self.seeds), self.preset, self.settings)
        if self.record:
            runs = jobs[0].workspace.runs
            added, held = write_record(self.record, runs, arms)
            line = f"{short(self.record)}: {added} runs of {short(runs)} put in; it now holds {held}"
            _tell(self.json, {"added": added, "held": held}, line)
            return 0
        if self.submit != "no":
            options = _options(self.cluster)
            tasks = ablation.submit(jobs, self.submit, jobs[0].workspace.runs / "submitit", options)
            names = [str(task.job_id) for task in tasks]
            _tell(
                self.json, names, f"{len(names)} of {len(jobs)} runs submitted: {', '.join(names) or 'all were done'}"
            )
            return 0
        wrong = ablation.run_jobs(jobs, ablation.at_once(self.jobs, len(jobs)))
        rows = ablation.table(jobs)
        _tell(self.json, rows, *(_arm_line(row) for row in rows))
        if wrong:
            raise Failure(f"{len(wrong)} of {len(jobs)} runs failed; say the same again to go on. {wrong[0]}")
        return 0


@dataclass(frozen=True)
class Report:
    """Run the six notebooks in order and bind the report: figures, tables and one PDF.

    Example: lab7 report --preset quick --set samples=2
    """

    preset: PresetName = "quick"
    """quick reads the recorded runs; every other preset makes its own."""
    settings: Annotated[tuple[str, ...], arg(name="set", metavar="name=value ...")] = ()
    """Notebook parameters to change, such as seed=1."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        try:
            from lab7 import report
        except ModuleNotFoundError as error:
            raise Failure(
                f"the report needs {error.name}; install the notebooks' packages: pip install '.[lab]'"
            ) from None

        found = report.run(self.preset, self.settings)
        _tell(self.json, found, *found["lines"])
        return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "doctor": Doctor,
    "data": Data,
    "train": Train,
    "sample": Sample,
    "judge": JudgeCommand,
    "ablate": Ablate,
    "report": Report,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    arguments = _join_repeated(list(sys.argv[1:] if arguments is None else arguments), "--set")
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="lab7",
            description="Learn conditional diffusion by drawing i-CLEVR scenes.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        return command()
    except UserError as error:
        print(f"lab7: {error}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"lab7: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab7: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _conditions(given: Sequence[str]) -> list[list[str]]:
    """One JSON file, or one condition an argument."""
    from lab7.conditions import read_conditions
    from lab7.vocabulary import parse_condition

    if len(given) == 1 and (given[0].endswith(".json") or Path(given[0]).is_file()):
        return read_conditions(given[0])
    return [parse_condition(text) for text in given]


def _join_repeated(arguments: list[str], flag: str) -> list[str]:
    """`--set a=1 --set b=2` as `--set a=1 b=2`, for either is natural and the parser keeps the last flag only."""
    if arguments.count(flag) < 2:
        return arguments
    values: list[str] = []
    rest: list[str] = []
    inside = False
    for word in arguments:
        if word == flag or word.startswith("--"):
            inside = word == flag
            if inside:
                continue
        (values if inside else rest).append(word)
    return [*rest, flag, *values]


def _tell(as_json: bool, value: Any, *lines: str) -> None:
    print(json.dumps(value, indent=1, default=str) if as_json else "\n".join(lines))


def _score_line(name: str, found: dict[str, Any]) -> str:
    return (
        f"{name}: {found['hits']}/{found['total']} = {found['accuracy']:.4f} "
        f"(95% interval {found['low']:.4f} to {found['high']:.4f})"
    )


def _ceiling_line(judge: Any) -> str:
    from lab7.examination import ceiling

    most = ceiling(judge)
    if most != most:
        return f"ceiling: unknown, for {judge.name} was not examined; 'lab7 judge --examine' does"
    return f"ceiling: on unseen renders this judge finds {most:.4f} of the objects"


def _arm_line(row: dict[str, Any]) -> str:
    told = f"{row['title']}, {row['list']}: {row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    if row["difference"] == row["difference"]:
        told += f", {row['difference']:+.3f} [{row['diff_low']:+.3f}, {row['diff_high']:+.3f}] to the baseline"
    return f"{told}: {row['verdict']} ({row['seeds']} seeds)"


def _options(given: Sequence[str]) -> dict[str, str | int]:
    """ "gpus_per_node=1" -> {"gpus_per_node": 1}."""
    options: dict[str, str | int] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--cluster must be option=value such as slurm_partition=gpu, not '{text}'")
        options[name] = int(value) if value.isdecimal() else value
    return options


def _exam_lines(exam: dict[str, Any]) -> list[str]:
    return [
        _score_line(f"{how} {name}", exam[how][name])
        for how in ("clean", "through_32x32", "shifted")
        for name in ("top_k", "exact")
    ]


if __name__ == "__main__":
    sys.exit(main())

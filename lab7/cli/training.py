"""The commands about trainings: `lab7 train`, `lab7 score` and `lab7 ablate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro.conf
from tyro.conf import arg

from lab7.cli.print_result import PresetName, Settings, ceiling_line, score_line, tell
from lab7.config import from_dict, get_preset, override
from lab7.utils.files import Failure, UserError, read_json, short


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

        from lab7.ablation import evaluate as experiments
        from lab7.judge.networks import default_judge, second_judge
        from lab7.training.loop import train
        from lab7.training.run_folder import open_run
        from lab7.utils.files import runs_dir
        from lab7.utils.provenance import best_device

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
        lines += [score_line(name, found["top_k"]) for name, found in result.get("accuracy", {}).items()]
        lines += [ceiling_line(judge)] if judge else []
        tell(self.json, result, *lines)
        return 0


@dataclass(frozen=True)
class ScoreCommand:
    """Have the judge score a finished run again; with --set, let it draw otherwise from now on.

    Example: lab7 score mine --set sampler=sde_dpm_solver_pp num_candidates=8
    """

    run: tyro.conf.Positional[Annotated[str, arg(metavar="RUN")]]
    """Name of a run in runs/, or of a recorded one in data/runs/."""
    settings: Settings = ()
    """Settings of how it draws, such as num_candidates=8 or guidance_scale=3; they are kept with the run."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7.ablation.evaluate import change_sampling, score_run
        from lab7.ablation.results import find_run
        from lab7.judge.networks import default_judge, second_judge
        from lab7.utils.provenance import best_device

        folder = find_run(self.run)
        if folder is None:
            raise UserError(f"{self.run}: no such run in runs/ or data/runs/; 'lab7 train' makes one")
        change_sampling(folder, self.settings)
        judge = default_judge(best_device())
        second = second_judge(best_device())
        result = score_run(folder, judge, second=second, device=best_device(), progress=True)
        lines = [f"{short(folder)}: scored by {judge.name}"]
        for name, found in result["accuracy"].items():
            lines += [score_line(name, found["top_k"]), score_line(f"{name}, exact", found["exact"])]
        tell(self.json, result, *lines, ceiling_line(judge))
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
        from lab7.ablation import sweep as ablation
        from lab7.ablation.arms import ARMS, seeds_of
        from lab7.ablation.results import write_record
        from lab7.ablation.workspace import open_workspace

        arms = tuple(ARMS) if self.arms == ("all",) else self.arms
        if self.list:
            runs = open_workspace(self.preset).runs
            finished = {name: sorted(seeds_of(name, runs)) for name in ARMS}
            lines = [f"{name:20} {arm.title:45} seeds {finished[name] or 'none'}" for name, arm in ARMS.items()]
            tell(self.json, finished, *lines)
            return 0
        jobs = ablation.plan_jobs(arms, ablation.parse_seeds(self.seeds), self.preset, self.settings)
        if self.record:
            runs = jobs[0].workspace.runs
            added, held = write_record(self.record, runs, arms)
            line = f"{short(self.record)}: {added} runs of {short(runs)} put in; it now holds {held}"
            tell(self.json, {"added": added, "held": held}, line)
            return 0
        if self.submit != "no":
            options = _options(self.cluster)
            tasks = ablation.submit(jobs, self.submit, jobs[0].workspace.runs / "submitit", options)
            names = [str(task.job_id) for task in tasks]
            tell(self.json, names, f"{len(names)} of {len(jobs)} runs submitted: {', '.join(names) or 'all were done'}")
            return 0
        wrong = ablation.run_jobs(jobs, ablation.at_once(self.jobs, len(jobs)))
        rows = ablation.table(jobs)
        tell(self.json, rows, *(_arm_line(row) for row in rows))
        if wrong:
            raise Failure(f"{len(wrong)} of {len(jobs)} runs failed; say the same again to go on. {wrong[0]}")
        return 0


def _arm_line(row: dict[str, Any]) -> str:
    told = f"{row['title']}, {row['list']}: {row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    if row["difference"] == row["difference"]:
        told += f", {row['difference']:+.3f} [{row['diff_low']:+.3f}, {row['diff_high']:+.3f}] to the baseline"
    return f"{told}: {row['verdict']} ({row['seeds']} seed{'s' if row['seeds'] > 1 else ''})"


def _options(given: Sequence[str]) -> dict[str, str | int]:
    """ "gpus_per_node=1" -> {"gpus_per_node": 1}."""
    options: dict[str, str | int] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--cluster must be option=value such as slurm_partition=gpu, not '{text}'")
        options[name] = int(value) if value.isdecimal() else value
    return options

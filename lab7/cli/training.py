"""The commands about trainings: `lab7 train`, `lab7 score` and `lab7 ablate`."""

import re
from typing import Annotated, Any, Literal

import tyro.conf
from tyro.conf import arg

from lab7.cli import options as opt
from lab7.config import check_used, from_dict, get_preset, override
from lab7.utils.files import Failure, UserError, plural, read_json, runs_dir, shipped_dir, short


def train(
    preset: opt.OptionalPreset = None,
    name: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    resume: opt.Flag = False,
    weights: opt.OptionalPath = None,
    settings: opt.Settings = (),
    no_score: opt.Flag = False,
    json: opt.Json = False,
) -> int:
    """Train the preset's network on the pictures in data/ into runs/NAME, and have the judge score it.

    Example: lab7 train --preset laptop --name mine --set widths=128,192 epochs=20

    Args:
        preset: All settings that --set does not change. The default is quick; with --resume, the run's own.
        name: Name of the run. The default is the preset's.
        resume: Continue a run that was stopped.
        weights: Begin with these weights, or those of a run's folder, as far as they fit. The default is random ones.
        settings: Settings to change, such as batch_size=16.
        no_score: Do not have the judge score the finished run.
    """
    from accelerate import PartialState

    from lab7.ablation.evaluate import plateau_scores, score_run
    from lab7.judge.networks import default_judge, second_judge
    from lab7.training import loop
    from lab7.training.run_folder import open_run
    from lab7.utils.provenance import best_device

    name = (preset or "quick") if name is None else name
    if not re.fullmatch(r"\w[\w.-]{,99}", name):
        raise UserError(f"--name must be at most 100 letters, digits, '.', '_' or '-', a letter first, not '{name}'")
    stored = runs_dir() / name / "config.json"
    before = get_preset(preset or "quick")
    if resume and not preset and stored.exists():
        before = from_dict(read_json(stored, "a run's settings"), where=short(stored))
    plan = override(before, settings)
    check_used(before, plan)
    open_run(runs_dir() / name, plan, resume)  # refuses before the judge is read
    judge = None if no_score and not plan.train.evaluate_every else default_judge(best_device())
    second = None if no_score else second_judge(best_device())
    evaluate = plateau_scores(judge) if judge else None
    folder = loop.train(plan, name, resume=resume, start=weights, evaluate=evaluate)
    if not PartialState().is_main_process:
        return 0
    if judge and not no_score:
        score_run(folder, judge, second=second, device=best_device(), progress=True)
    result = read_json(folder / "result.json", "a run's result")
    lines = [f"{short(folder)}: {result['images_seen']} pictures seen in {result['seconds']:.0f} s"]
    lines += [opt.score_line(which, scores["top_k"]) for which, scores in result.get("accuracy", {}).items()]
    return opt.print_result(json, result, *lines, *([opt.ceiling_line(judge)] if judge else []))


def score(
    run: tyro.conf.Positional[Annotated[str, arg(metavar="RUN")]],
    settings: opt.Settings = (),
    json: opt.Json = False,
) -> int:
    """Have the judges score a finished run again; the scores replace those in its result.json.

    Example: lab7 score mine --set num_steps=16

    Args:
        run: Name of a run in runs/, of a recorded one in data/runs/, or a run's folder.
        settings: Settings of how it draws this time, such as sampler=ddim guidance_scale=3.
    """
    from lab7.ablation.evaluate import score_run
    from lab7.ablation.results import find_run
    from lab7.judge.networks import default_judge, second_judge
    from lab7.utils.provenance import best_device

    folder, device = find_run(run), best_device()
    judge, second = default_judge(device), second_judge(device)
    result = score_run(folder, judge, second=second, settings=settings, device=device, progress=True)
    lines = [f"{short(folder)}: by {judge.name}"]
    for name, scores in result["accuracy"].items():
        lines += [opt.score_line(name, scores["top_k"]), opt.score_line(f"{name}, exact", scores["exact"])]
    return opt.print_result(json, result, *lines, opt.ceiling_line(judge))


def ablate(
    preset: opt.PresetName = "laptop",
    arms: tuple[str, ...] = ("report_up_down", "report_up"),
    seeds: str = "0",
    jobs: opt.Jobs = 0,
    settings: opt.Settings = (),
    submit: Literal["no", "slurm", "local"] = "no",
    list: opt.Flag = False,
    json: opt.Json = False,
) -> int:
    """Train and score arms of the ablation with several seeds, several at a time; a stopped sweep continues.

    Example: lab7 ablate --arms report_up report_up_down --seeds 0-2 --jobs 2

    Args:
        preset: With laptop, each arm is trained at its own size for two CPU cores; with others, at the preset's.
        arms: Names of arms (see --list), "ours_*" for those that begin so, or all.
        seeds: Seeds such as 0-4 or 0,2,7.
        jobs: Runs at a time, each with up to 2 GB of memory. The default is one for every two cores.
        settings: Settings to change in every arm, such as epochs=4.
        submit: Hand the runs to a cluster as one array job. SBATCH_PARTITION, SBATCH_TIMELIMIT etc. count.
        list: List the arms with the seeds that are finished here and those recorded in data/runs/; train nothing.
    """
    from lab7.ablation import sweep
    from lab7.ablation.arms import ARMS, find_arms
    from lab7.ablation.results import read_arms
    from lab7.ablation.workspace import open_workspace

    if submit != "no" and (jobs or list):
        raise UserError("--submit goes without --jobs and --list: each run becomes a task of the cluster's own")
    runs, names = open_workspace(preset).runs, find_arms(arms)
    if list:
        shipped, lines = shipped_dir() / "runs", []
        seeds_by_arm: dict[str, dict[str, Any]] = {name: {} for name in ARMS}
        for place, folder in (("finished", runs), ("recorded", shipped), ("recorded with short", shipped / "short")):
            for name, results in read_arms(folder, ARMS).items():
                seeds_by_arm[name][place] = [result["seed"] for result in results]
        for name, places in seeds_by_arm.items():
            text = "; ".join(f"{place}: {str(numbers)[1:-1]}" for place, numbers in places.items())
            lines.append(f"{name:21} {ARMS[name].title:45} {text or 'no run'}")
        return opt.print_result(json, seeds_by_arm, *lines)
    if not names:
        raise UserError("--arms: none are given; name some, or all; --list lists them")
    plan = sweep.plan_jobs(names, sweep.parse_seeds(seeds), preset, settings)
    if submit != "no":
        tasks = [str(task.job_id) for task in sweep.submit(plan, submit)]
        line = f"{len(tasks)} of {len(plan)} runs submitted: {', '.join(tasks) or 'none left'}"
        return opt.print_result(json, tasks, line)
    errors = sweep.run_jobs(plan, jobs)
    rows = sweep.table(plan)
    opt.print_result(json, rows, *map(_arm_line, rows))
    if errors:
        raise Failure(f"{len(errors)} of {len(plan)} runs failed; the same command tries them again. {errors[0]}")
    return 0


def _arm_line(row: dict[str, Any]) -> str:
    line = f"{row['title']}, {row['list']}: {row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    if row["difference"] == row["difference"]:
        line += f", {row['difference']:+.3f} [{row['diff_low']:+.3f}, {row['diff_high']:+.3f}] to the baseline"
    return f"{line}: {row['verdict']} ({plural(row['seeds'], 'seed')})"

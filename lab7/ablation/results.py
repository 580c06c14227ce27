"""The results of many runs: found on disk, collected in one file, and compared in tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from lab7.ablation.arms import Arm, get_arm
from lab7.ablation.evaluate import LISTS
from lab7.ablation.statistics import Counts, bootstrap, compare, counts_of
from lab7.utils.files import UserError, absolute, read_json, runs_dir, shipped_dir, short

RECORD = "ablation.json"  # one file with the results of many runs, in a folder of runs
ALL = "all"  # the lists test, new_test and unseen together


def find_run(name: str) -> Path:
    """The folder of a finished run: a folder, or a name in runs/, else in data/runs/. UserError unless there is one."""
    for folder in (absolute(name), runs_dir() / name, shipped_dir() / "runs" / name):
        if (folder / "result.json").exists():
            return folder
        if (folder / "config.json").exists():
            raise UserError(f"{short(folder)}: is not finished; go on with 'lab7 train --name {folder.name} --resume'")
    raise UserError(f"{name}: no such run in runs/ or data/runs/, and no folder with a result.json")


def read_result(folder: Path) -> dict[str, Any]:
    """The result.json of a run's folder. UserError if it is damaged, or its scores cannot be compared."""
    result = read_json(folder / "result.json", "a run's result")
    try:
        if "accuracy" in result:
            _ = result["judge"]["sha256"], [counts_of([result], [name]) for name in result["accuracy"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{short(folder / 'result.json')}: holds no scores of a judge; score the run again") from None
    return result


def compare_arms(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two arms, each the results of its seeds, on every list that both were scored on, by both judges: a row each.

    Columns: list, judge, first, second (accuracies), difference, low, high, verdict. Raises UserError without a common
    list, for runs that were not scored, or by different judges, and for a training that one arm holds twice.
    """
    for a, b in (*combinations(first, 2), *combinations(second, 2)):
        if a == b or any(key in a and a[key] == b.get(key) for key in ("seed", "weights_sha256")):
            raise UserError(f"runs '{a.get('name')}' and '{b.get('name')}' are of one seed; join different seeds")
    results = (*first, *second)
    if bare := next((result.get("name") for result in results if "accuracy" not in result), None):
        raise UserError(f"run '{bare}' was not scored; 'lab7 score {bare}' does it")
    if len({result["judge"]["sha256"] for result in results}) > 1:
        raise UserError("the runs were scored by different judges; score them again with one")
    rows = []
    for name in sorted(set.intersection(*(set(result["accuracy"]) for result in results))):
        two_judges = all("second_judge" in result["accuracy"][name] for result in results)
        for judge in ("judge", "second_judge") if two_judges else ("judge",):
            counts_of(results, [name], judge)  # refuses other conditions
            one, two = counts_of(first, [name], judge), counts_of(second, [name], judge)
            gap, means = compare(one, two), [float(arm.accuracies.mean()) for arm in (one, two)]
            row = {"list": name, "judge": judge.replace("_", " "), "first": means[0], "second": means[1]}
            row |= {"difference": gap.difference, "low": gap.low, "high": gap.high}
            rows.append(row | {"verdict": gap.verdict()})
    if not rows:
        raise UserError("the runs were scored on no list in common; score them again")
    return rows


def read_arms(runs: Path, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The scored results of those arms, in order of seeds, from the folders in `runs`, else from its record. Arms
    without any are left out."""
    arms = {}
    record = read_record(runs / RECORD)
    for name in dict.fromkeys(names):
        seeds = {result["seed"]: result for result in record if result["arm"] == name}
        seeds |= {seed: result for seed, (_, result) in scored_runs(name, runs).items()}
        if seeds:
            arms[name] = [seeds[seed] for seed in sorted(seeds)]
    return arms


def read_record(path: Path) -> list[dict[str, Any]]:
    """The results in a file that benchmarks/record.py wrote; none if there is no file."""
    record = read_json(path, "a record of an ablation") if path.exists() else {"runs": []}
    if not isinstance(record.get("runs"), list):
        raise UserError(f"{short(path)}: holds no record of an ablation; restore it")
    return record["runs"]


def scored_runs(arm: str, runs: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """The folder and the result of an arm's scored runs in a folder of runs, by seed, which a folder's name repeats."""
    scored = {}
    for folder in (runs / arm, *runs.glob(f"{arm}_seed*")):
        seed = folder.name.removeprefix(arm).removeprefix("_seed")
        if (folder / "result.json").exists() and (seed.isdecimal() or not seed):
            result = {"seed": int(seed or 0)} | read_result(folder)
            if seed and result["seed"] != int(seed):
                raise UserError(f"{short(folder)}: holds a run of seed {result['seed']}; delete it, or rename it")
            scored[result["seed"]] = folder, result
    return {seed: scored[seed] for seed in sorted(scored) if "accuracy" in scored[seed][1]}


def arm_rows(arms: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every arm on every list and on all lists together, by the first judge: a row each, compared with its baseline.

    `arms` gives the results of each arm's seeds. Columns: arm, title, list ("all": together), seeds, accuracy, those
    of `comparison`, claim.
    """
    rows = []
    for name, results in arms.items():
        arm = get_arm(name)
        shared = set.intersection(*(set(result["accuracy"]) for result in results))
        usual = [one for one in LISTS if one in shared]
        for which, parts in [*((one, [one]) for one in (*usual, *sorted(shared - set(LISTS)))), (ALL, usual)]:
            baseline = [result for result in arms.get(arm.baseline, ()) if set(parts) <= set(result["accuracy"])]
            row = {"arm": name, "title": arm.title, "list": which, "seeds": len(results)}
            counts = partial(counts_of, lists=parts)
            counts([*baseline, *results])  # refuses other conditions
            row |= comparison("accuracy", arm, results, baseline, counts, "helps", "hurts")
            rows.append(row | {"claim": arm.claim})
    return rows


def comparison(
    name: str,
    arm: Arm,
    results: Sequence[dict[str, Any]],
    baseline: Sequence[dict[str, Any]],
    counts: Callable[[Sequence[dict[str, Any]]], Counts],
    higher: str,
    lower: str,
) -> dict[str, Any]:
    """Columns of an arm: its mean under `name`, low, high (hierarchical bootstrap) and by_seed; then difference,
    diff_low, diff_high and verdict against its baseline on the seeds that both have, NaN where there are none."""
    own = counts(results)
    mean, low, high = bootstrap(own)
    row = {name: mean, "low": low, "high": high, "by_seed": own.accuracies.tolist()}
    seeds = {result["seed"] for result in results} & {result["seed"] for result in baseline}
    if arm.baseline in ("", arm.name) or not seeds:
        verdict = {"": "not compared", arm.name: "the baseline"}.get(arm.baseline, "no baseline of the same seed")
        return row | {"difference": nan, "diff_low": nan, "diff_high": nan, "verdict": verdict}
    mine, other = ([one for one in part if one["seed"] in seeds] for part in (results, baseline))
    gap = compare(counts(mine), counts(other))
    row |= {"difference": gap.difference, "diff_low": gap.low, "diff_high": gap.high}
    return row | {"verdict": gap.verdict(higher, lower)}


def arm_table(rows: Sequence[Mapping[str, Any]], arms: Mapping[str, Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """The rows of `arm_rows`, one line an arm, with the size of its runs.

    Columns: arm, title, baseline, seeds, pixels, pictures, minutes, test, new_test, unseen, all, low, high,
    difference, diff_low, diff_high (of all lists), verdict, claim.
    """
    lines = []
    for name, results in arms.items():
        by_list = {row["list"]: row for row in rows if row["arm"] == name}
        total, settings = by_list[ALL], results[0]["settings"]
        line = {"arm": name, "title": total["title"], "baseline": get_arm(name).baseline, "seeds": total["seeds"]}
        line |= {"pixels": settings["data"]["image_size"], "pictures": results[0]["images_seen"]}
        line |= {"minutes": round(fmean(result["seconds"] for result in results) / 60)}
        line |= {which: by_list[which]["accuracy"] if which in by_list else nan for which in (*LISTS, ALL)}
        keys = ("low", "high", "difference", "diff_low", "diff_high", "verdict", "claim")
        lines.append(line | {key: total[key] for key in keys})
    return pd.DataFrame(lines)


def sensitivity_table(arms: Mapping[str, Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """The condition sensitivity in percent (see training/sensitivity.py), one line an arm whose runs were measured.

    `arms` gives the results of each arm's seeds. Columns: arm, title, baseline, seeds, pictures (seen), minutes,
    condition_sensitivity and those of `comparison`. Arms that draw with the network of another are left out.
    """
    measured = {name: [one for one in arm if "condition_sensitivity" in one] for name, arm in arms.items()}
    lines = []
    for name, results in measured.items():
        arm = get_arm(name)
        if results and not arm.weights_from:
            line = {"arm": name, "title": arm.title, "baseline": arm.baseline, "seeds": len(results)}
            line |= {"pictures": results[0]["images_seen"], "minutes": fmean(one["seconds"] for one in results) / 60}
            words = ("more sensitive", "less sensitive")
            baseline = measured.get(arm.baseline, ())
            lines.append(line | comparison("condition_sensitivity", arm, results, baseline, _sensitivities, *words))
    return pd.DataFrame(lines)


def _sensitivities(results: Sequence[dict[str, Any]]) -> Counts:
    """The input of the bootstrap: each picture is a condition with one sample, its value in percent."""
    values = [100 * np.array(result["condition_sensitivity"]["by_picture"])[:, None] for result in results]
    return Counts(tuple(values), np.ones(len(values[0])))

"""The results of many runs: found on disk, collected in one file, and compared in tables."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from lab7.ablation.arms import ARMS, Arm, get_arm, seeds_of
from lab7.ablation.evaluate import LISTS
from lab7.ablation.statistics import Counts, bootstrap, compare, counts_of
from lab7.training.run_folder import read_metrics
from lab7.utils.files import UserError, absolute, json_checksum, read_json, runs_dir, shipped_dir, short, write_text

RECORD = "ablation.json"  # one file with the results of many runs, in a folder of runs
ALL = "all"  # the lists test, new_test and unseen together


def find_run(name: str) -> Path:
    """The folder of a finished run: a folder, or a name in runs/, else in data/runs/. UserError if there is none."""
    for folder in (absolute(name), runs_dir() / name, shipped_dir() / "runs" / name):
        if (folder / "result.json").exists():
            return folder
    raise UserError(f"{name}: no such run in runs/ or data/runs/, and no folder with a result.json")


def read_result(folder: Path) -> dict[str, Any]:
    """The result.json of a run's folder."""
    return read_json(folder / "result.json", "a run's result")


def compare_arms(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two arms, each the results of its seeds, on every list that both were scored on, by both judges: a row each.

    Columns: list, judge, first, second (accuracies), difference, low, high, verdict. Raises UserError without a common
    list, and for runs scored by different judges.
    """
    results = (*first, *second)
    if len({result["judge"]["sha256"] for result in results}) > 1:
        raise UserError("the runs were scored by different judges; score them again with one")
    rows = []
    for name in sorted(set.intersection(*(set(result["accuracy"]) for result in results))):
        two_judges = all("second_judge" in result["accuracy"][name] for result in results)
        for judge in ("judge", "second_judge") if two_judges else ("judge",):
            one, two = counts_of(first, [name], judge), counts_of(second, [name], judge)
            gap = compare(one, two)
            row = {"list": name, "judge": judge.replace("_", " ")}
            row |= {"first": float(one.accuracies.mean()), "second": float(two.accuracies.mean())}
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
        seeds |= {seed: result for seed, (_, result) in _scored(name, runs).items()}
        if seeds:
            arms[name] = [seeds[seed] for seed in sorted(seeds)]
    return arms


def read_record(path: Path) -> list[dict[str, Any]]:
    """The results in a file that `write_record` wrote; none if there is no file."""
    return read_json(path, "a record of an ablation")["runs"] if path.exists() else []


def write_record(path: Path, runs: Path, names: Iterable[str]) -> tuple[int, int]:
    """Add the scored runs of those arms in `runs` to one file, a line each; what it holds of other runs is kept.

    Returns how many runs were added and how many the file then holds. Raises UserError if no such run is scored.
    """
    kept = {(result["arm"], result["seed"]): result for result in read_record(path)}
    new = {
        (name, seed): _condensed(name, result, folder)
        for name in names
        for seed, (folder, result) in _scored(name, runs).items()
    }
    if not new:
        raise UserError(f"{short(runs)}: no scored run of {', '.join(names)}; 'lab7 ablate --arms ...' makes them")
    kept |= new
    keys = sorted(kept, key=lambda key: ([*ARMS, key[0]].index(key[0]), key[1]))  # unknown arms come last
    lines = [json.dumps(kept[key], separators=(",", ":")) for key in keys]
    checksum = json_checksum({"runs": [kept[key] for key in keys]})
    write_text(path, '{"runs": [\n' + ",\n".join(lines) + f'\n], "checksum": "{checksum}"}}\n')
    return len(new), len(lines)


def _scored(name: str, runs: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """The folder and the result of each scored seed of an arm."""
    results = {seed: (folder, read_result(folder)) for seed, folder in seeds_of(name, runs).items()}
    return {seed: (folder, result) for seed, (folder, result) in results.items() if "accuracy" in result}


def _condensed(arm: str, result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a record keeps of a run: where it was made, its settings of drawing, and its counts."""
    keys = (
        *("name", "preset", "seed", "steps", "epochs", "images_seen", "seconds", "precision", "device", "cores"),
        *("commit", "versions", "weights_from", "judge", "second_judge", "sampling", "frechet"),
        "condition_sensitivity",
    )
    kept = {"arm": arm} | {key: result[key] for key in keys if key in result}
    if lines := read_metrics(folder, "loss"):
        kept["loss"] = round(lines[-1]["loss"], 5)
    kept["settings"] = {"data": {"image_size": result["settings"]["data"]["image_size"]}}
    return kept | {"accuracy": {name: _condensed_list(scores) for name, scores in result["accuracy"].items()}}


def _condensed_list(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores and counts of one list; the counts of a condition become a string of digits, for they are below ten."""
    kept: dict[str, Any] = {key: scores[key] for key in ("top_k", "exact", "samples") if key in scores}
    counts = scores["by_picture"]
    kept["by_picture"] = counts | {"hits": ["".join(map(str, row)) for row in counts["hits"]]}
    if "second_judge" in scores:
        kept["second_judge"] = _condensed_list(scores["second_judge"])
    return kept


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

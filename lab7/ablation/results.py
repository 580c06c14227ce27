"""The results of many runs, found and laid side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab7.ablation.arms import ARMS, get_arm, seeds_of
from lab7.ablation.evaluate import LISTS
from lab7.ablation.statistics import Counts, bootstrap, compare, counts_of, of_same_seeds
from lab7.training.run_folder import losses, read_metrics
from lab7.utils.files import UserError, read_json, runs_dir, shipped_dir, short, write_text

RECORD = "ablation.json"  # one file with the condensed results of many runs, in a folder of runs
ALL = "all"  # the usual lists pooled


def find_run(name: str) -> Path | None:
    """A finished run of that name: one's own in runs/, else the recorded one in data/runs/."""
    for place in (runs_dir(), shipped_dir() / "runs"):
        if (place / name / "result.json").exists():
            return place / name
    return None


def read_arm(runs: Sequence[str]) -> list[dict[str, Any]]:
    """The result.json of each seed of an arm, by run name or folder. UserError for a run that is not there."""
    results = []
    for run in runs:
        folder = Path(run) if (Path(run) / "result.json").exists() else find_run(run)
        if folder is None:
            raise UserError(f"{run}: no such run in runs/ or data/runs/, and no folder with a result.json")
        results.append(read_json(folder / "result.json", "a run's result"))
    return results


def compare_arms(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two arms, each the results of its seeds, on every list that both were scored on, by both judges: a row each.

    Columns: list, judge, first, second, difference, low, high, told, verdict, seeds_needed. Raises UserError where
    the arms have no list in common or were read by other judges.
    """
    judges = {result["judge"]["sha256"] for result in (*first, *second)}
    if len(judges) > 1:
        raise UserError("the runs were scored by different judges; score them again with one")
    rows = []
    for name in sorted(set.intersection(*(set(result["accuracy"]) for result in (*first, *second)))):
        for judge in ("judge", "second_judge"):
            if judge == "second_judge" and not all("second_judge" in r["accuracy"][name] for r in (*first, *second)):
                continue
            one, two = counts_of(first, name, judge), counts_of(second, name, judge)
            found = compare(one, two)
            rows.append(
                {
                    "list": name,
                    "judge": judge.replace("_", " "),
                    "first": float(one.accuracies.mean()),
                    "second": float(two.accuracies.mean()),
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "told": str(found),
                    "verdict": found.verdict,
                    "seeds_needed": found.needed,
                }
            )
    if not rows:
        raise UserError("the runs were scored on no list in common; score them again")
    return rows


def read_runs(places: Sequence[Path] | None = None) -> pd.DataFrame:
    """The scored runs in the places (runs/ and data/runs/ by default), one row a run and list.

    Columns: run, list, hits, total, accuracy, low, high, exact, single_hits, single_total, samples, preset, seed,
    images_seen, seconds, device, commit, judge, folder.
    """
    rows = []
    for place in places if places is not None else (runs_dir(), shipped_dir() / "runs"):
        for path in sorted(place.glob("*/result.json")):
            result = read_json(path, "a run's result")
            for name, found in result.get("accuracy", {}).items():
                rows.append(
                    {"run": result["name"], "list": name}
                    | found["top_k"]
                    | {"exact": found["exact"]["accuracy"], "samples": found["samples"]}
                    | {f"single_{key}": found["single"][key] for key in ("hits", "total")}
                    | {key: result[key] for key in ("preset", "seed", "images_seen", "seconds", "device", "commit")}
                    | {"judge": result["judge"]["name"], "folder": path.parent}
                )
    return pd.DataFrame(rows)


def read_arms(runs: Path, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The scored results of the arms of those names, by seed: from the folders in `runs`, else from its record.

    Arms without any are left out.
    """
    found = {}
    recorded = read_record(runs / RECORD)
    for name in dict.fromkeys(names):
        seeds = {result["seed"]: result for result in recorded if result["arm"] == name}
        seeds |= {seed: result for seed, (_, result) in _scored(name, runs).items()}
        if seeds:
            found[name] = [seeds[seed] for seed in sorted(seeds)]
    return found


def read_record(path: Path) -> list[dict[str, Any]]:
    """The condensed results in a file that `write_record` wrote; none where there is no file."""
    return read_json(path, "a record of an ablation")["runs"] if path.exists() else []


def write_record(path: Path, runs: Path, names: Iterable[str]) -> tuple[int, int]:
    """Put the scored runs of those arms in the folder `runs` into one file, beside what it holds of others.

    Returns how many were put in and how many it then holds. A run is one line; of single pictures it keeps the counts.
    Raises UserError where no such run is scored.
    """
    held = {(result["arm"], result["seed"]): result for result in read_record(path)}
    new = {
        (name, seed): _condensed(name, result, read_metrics(folder))
        for name in names
        for seed, (folder, result) in _scored(name, runs).items()
    }
    if not new:
        raise UserError(f"{short(runs)}: no scored run of {', '.join(names)}; 'lab7 ablate --arms ...' makes them")
    held |= new
    places = {name: place for place, name in enumerate(ARMS)}
    order = sorted(held, key=lambda key: (places.get(key[0], len(ARMS)), key[1]))
    lines = [json.dumps(held[key], separators=(",", ":")) for key in order]
    write_text(path, '{"runs": [\n' + ",\n".join(lines) + "\n]}\n")
    return len(new), len(lines)


def _scored(name: str, runs: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """The folder and result of each seed of an arm that is scored."""
    found = {
        seed: (path, read_json(path / "result.json", "a run's result")) for seed, path in seeds_of(name, runs).items()
    }
    return {seed: (path, result) for seed, (path, result) in found.items() if "accuracy" in result}


def _condensed(arm: str, result: dict[str, Any], metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = (
        *("name", "preset", "seed", "steps", "epochs", "images_seen", "seconds", "precision", "device", "commit"),
        *("versions", "weights_from", "judge", "second_judge", "sampling", "frechet", "condition_sensitivity"),
    )
    lines = losses(metrics)
    told = {"arm": arm} | {key: result[key] for key in keys if key in result}
    told |= {"loss": round(lines[-1]["loss"], 5)} if lines else {}
    told["settings"] = {"data": {"image_size": result["settings"]["data"]["image_size"]}}
    return told | {"accuracy": {name: _condensed_list(found) for name, found in result["accuracy"].items()}}


def _condensed_list(found: dict[str, Any]) -> dict[str, Any]:
    """Scores and counts of one list; each condition's counts become one text of digits, for they are below ten."""
    kept: dict[str, Any] = {key: found[key] for key in ("top_k", "exact", "samples") if key in found}
    counts = found["by_picture"]
    kept["by_picture"] = counts | {"hits": ["".join(map(str, row)) for row in counts["hits"]]}
    if "second_judge" in found:
        kept["second_judge"] = _condensed_list(found["second_judge"])
    return kept


def arm_rows(arms: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every arm on every list and on all of them together, read by the first judge: a row each, beside its baseline.

    `arms` gives the results of an arm's seeds. Columns: arm, title, list ("all": pooled), seeds, accuracy, low, high
    (hierarchical bootstrap), by_seed, second (judge's accuracy), difference, diff_low, diff_high, verdict, claim,
    reported. The difference is taken on the seeds that both arms have, and NaN with the baseline itself or without one.
    """
    rows = []
    for name, results in arms.items():
        arm = get_arm(name)
        lists = sorted(set.intersection(*(set(result["accuracy"]) for result in results)), key=_place)
        usual = [which for which in lists if which in LISTS]
        for which, some in [*((one, [one]) for one in lists), (ALL, usual)]:
            counts = _counts(results, some)
            accuracy, low, high = bootstrap(counts)
            row = {"arm": name, "title": arm.title, "list": which, "seeds": len(results)}
            row |= {"accuracy": accuracy, "low": low, "high": high, "by_seed": counts.accuracies.tolist()}
            row |= {"second": _second(results, some)}
            verdict = "the baseline" if arm.baseline else "not compared"
            row |= {"difference": nan, "diff_low": nan, "diff_high": nan, "verdict": verdict}
            if arm.baseline not in ("", name):
                row |= _beside(results, arms.get(arm.baseline, ()), some)
            rows.append(row | {"claim": arm.claim, "reported": arm.reported.get(which, nan)})
    return rows


def arm_table(rows: Sequence[Mapping[str, Any]], arms: Mapping[str, Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """The rows of `arm_rows`, one line an arm, with the scale that its runs have.

    Columns: arm, title, beside, seeds, pixels, pictures, minutes, test, new_test, unseen, all, low, high,
    difference, diff_low, diff_high (of all lists), verdict, claim.
    """
    lines = []
    for name, results in arms.items():
        mine = {row["list"]: row for row in rows if row["arm"] == name}
        scale = {"pixels": results[0]["settings"]["data"]["image_size"], "pictures": results[0]["images_seen"]}
        line = {"arm": name, "title": mine[ALL]["title"], "beside": get_arm(name).baseline, "seeds": mine[ALL]["seeds"]}
        line |= scale | {"minutes": round(sum(one["seconds"] for one in results) / len(results) / 60)}
        line |= {which: mine[which]["accuracy"] if which in mine else nan for which in LISTS}
        line |= {ALL: mine[ALL]["accuracy"], "low": mine[ALL]["low"], "high": mine[ALL]["high"]}
        lines.append(
            line | {key: mine[ALL][key] for key in ("difference", "diff_low", "diff_high", "verdict", "claim")}
        )
    return pd.DataFrame(lines)


def _counts(results: Sequence[dict[str, Any]], lists: Sequence[str], judge: str = "judge") -> Counts:
    """The counts of an arm's seeds on some lists together."""
    parts = [counts_of(results, which, judge) for which in lists]
    hits = (np.concatenate(seed) for seed in zip(*(part.hits for part in parts), strict=True))
    return Counts(tuple(hits), np.concatenate([part.asked for part in parts]))


def _beside(
    results: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], lists: Sequence[str]
) -> dict[str, Any]:
    scored = [result for result in baseline if set(lists) <= set(result["accuracy"])]
    mine, base = of_same_seeds(results, scored)
    if not mine:
        return {"verdict": "no baseline of the same seed"}
    return compare(_counts(mine, lists), _counts(base, lists)).row("helps", "hurts")


def _second(results: Sequence[dict[str, Any]], lists: Sequence[str]) -> float:
    if not all("second_judge" in result["accuracy"][which] for result in results for which in lists):
        return nan
    return float(_counts(results, lists, "second_judge").accuracies.mean())


def _place(which: str) -> int:
    return LISTS.index(which) if which in LISTS else len(LISTS)

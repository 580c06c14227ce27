"""The results of many runs, found and laid side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from lab7.arms import BASELINE, get_arm
from lab7.comparison import bootstrap, compare, counts_of
from lab7.files import UserError, read_json, runs_dir, shipped_dir


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


def arm_rows(arms: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every arm on every list, read by the first judge: a row each, with the difference to the baseline.

    `arms` gives the results of an arm's seeds. Columns: arm, title, list, seeds, accuracy, low, high (hierarchical
    bootstrap), second (judge's accuracy), difference, diff_low, diff_high, verdict, claim, reported. The difference is
    taken on the seeds that both arms have, and NaN with the baseline itself or without one.
    """
    rows = []
    for name, results in arms.items():
        arm = get_arm(name)
        for which in sorted(set.intersection(*(set(result["accuracy"]) for result in results)), key=_place):
            accuracy, low, high = bootstrap(counts_of(results, which))
            row = {"arm": name, "title": arm.title, "list": which, "seeds": len(results)}
            row |= {"accuracy": accuracy, "low": low, "high": high, "second": _second(results, which)}
            row |= {"difference": nan, "diff_low": nan, "diff_high": nan, "verdict": "the baseline"}
            if name != BASELINE:
                row |= _beside(results, arms.get(BASELINE, ()), which)
            rows.append(row | {"claim": arm.claim, "reported": arm.reported.get(which, nan)})
    return rows


def _beside(results: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], which: str) -> dict[str, Any]:
    both = {result["seed"] for result in results} & {
        result["seed"] for result in baseline if which in result["accuracy"]
    }
    if not both:
        return {"verdict": "no baseline of the same seed"}
    mine, base = ([result for result in some if result["seed"] in both] for some in (results, baseline))
    found = compare(counts_of(mine, which), counts_of(base, which))
    helped = found.verdict.replace("higher", "helps").replace("lower", "hurts")
    return {"difference": found.difference, "diff_low": found.low, "diff_high": found.high, "verdict": helped}


def _second(results: Sequence[dict[str, Any]], which: str) -> float:
    if not all("second_judge" in result["accuracy"][which] for result in results):
        return nan
    return float(counts_of(results, which, "second_judge").accuracies.mean())


def _place(which: str) -> int:
    return ("test", "new_test", "unseen").index(which) if which in ("test", "new_test", "unseen") else 3

"""Write the scored runs of arms into one small file, which `results.read_arms` reads: the records in data/runs/.

python -m benchmarks.record --preset laptop --arms all
python -m benchmarks.record --preset short --arms all --out data/runs/short/ablation.json
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.common import run
from lab7.ablation.arms import ARMS, find_arms
from lab7.ablation.results import RECORD, read_record, scored_runs
from lab7.ablation.workspace import open_workspace
from lab7.training.run_folder import read_metrics
from lab7.utils.files import UserError, json_checksum, shipped_dir, short, write_text

OUT = shipped_dir() / "runs" / RECORD


def main(preset: str = "laptop", arms: tuple[str, ...] = ("all",), out: Path = OUT) -> None:
    """Add the scored runs of these arms, made with that preset, to the file `out`."""
    added, total = write_record(out, open_workspace(preset).runs, find_arms(arms))
    print(f"{short(out)}: {added} runs added; it now holds {total}")


def write_record(path: Path, runs: Path, names: Iterable[str]) -> tuple[int, int]:
    """Add the scored runs of those arms in `runs` to one file, a line each; what it holds of other runs is kept.

    Returns how many runs were added and how many the file then holds. Raises UserError if no such run is scored.
    """
    kept = {(result["arm"], result["seed"]): result for result in read_record(path)}
    new = {
        (name, seed): _condensed(name, result, folder)
        for name in names
        for seed, (folder, result) in scored_runs(name, runs).items()
    }
    if not new:
        raise UserError(f"{short(runs)}: no scored run of {', '.join(names)}; 'lab7 ablate --arms ...' makes them")
    kept |= new
    keys = sorted(kept, key=lambda key: ([*ARMS, key[0]].index(key[0]), key[1]))  # unknown arms come last
    lines = [json.dumps(kept[key], separators=(",", ":")) for key in keys]
    checksum = json_checksum({"runs": [kept[key] for key in keys]})
    write_text(path, '{"runs": [\n' + ",\n".join(lines) + f'\n], "checksum": "{checksum}"}}\n')
    return len(new), len(lines)


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
    kept: dict[str, Any] = {
        key: scores[key] for key in ("top_k", "exact", "samples", "conditions_sha256") if key in scores
    }
    counts = scores["by_picture"]
    kept["by_picture"] = counts | {"hits": ["".join(map(str, row)) for row in counts["hits"]]}
    if "second_judge" in scores:
        kept["second_judge"] = _condensed_list(scores["second_judge"])
    return kept


if __name__ == "__main__":
    run(main)

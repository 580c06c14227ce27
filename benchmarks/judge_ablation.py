"""What each kind of augmentation does for the judge: one short training for each that is left out (Table 7).

    python -m benchmarks.judge_ablation --out data/weights/judge_ablation.json

All arms see as many pictures. They are scored on 6,000 clean unseen renders and on 6,000 of the shifted set, whose
cameras, lamps and film no training used. An arm that the file holds is not trained again.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.common import interval, machine_line, print_table, run
from lab7.dataset.randomization import TRAINING
from lab7.dataset.synthetic import render_pictures
from lab7.judge.augmentation import Augmentation
from lab7.judge.evaluation import clean_set, scores, shifted_set
from lab7.judge.networks import Judge
from lab7.judge.training import TRAINING_SEED, fit
from lab7.utils.files import write_json
from lab7.utils.provenance import choose_precision, provenance

PARTS = {  # fields that are switched off together
    "shift": ("shift",),
    "sizes and blur": ("through_half", "resize", "soften"),
    "JPEG": ("jpeg",),
    "light and tint": ("gain", "exposure", "brightness", "tint"),
    "grain": ("noise", "blotches"),
}


def without(part: str | None = None) -> Augmentation:
    """All augmentation but one of PARTS; none at all for "all"."""
    fields = [name for names in PARTS.values() for name in names] if part == "all" else PARTS.get(part or "", ())
    return replace(Augmentation(), **dict.fromkeys(fields, 0))


def main(
    out: Path = Path("runs/judge_ablation.json"), scenes: int = 4000, epochs: int = 3, seed: int = 0, threads: int = 2
) -> None:
    """Train the arms that are missing, and print a table of all."""
    torch.set_num_threads(threads)
    arms = {  # other cameras and lamps, and the augmentation
        "all of it": (TRAINING, without()),
        "nothing": (None, without("all")),
        "without other cameras and lamps": (None, without()),
        **{f"without {part}": (TRAINING, without(part)) for part in PARTS},
        "other cameras and lamps alone": (TRAINING, without("all")),
    }
    record = json.loads(out.read_text()) if out.exists() else {"arms": {}}
    record |= {"scenes": scenes, "passes": epochs, "seed": seed, "provenance": provenance()}
    sets = {"clean": clean_set(2000), "shifted": shifted_set(2000)}
    precision = choose_precision("cpu")
    for name, (cameras, augmentation) in arms.items():
        if name in record["arms"]:
            continue
        pictures = render_pictures(TRAINING_SEED, scenes, cameras)
        started = time.monotonic()
        classifier, _ = fit(*pictures, epochs=epochs, augmentation=augmentation, seed=seed, precision=precision)
        seconds, judge = round(time.monotonic() - started), Judge(classifier, name, "", False)
        found = {kind: scores(judge.probabilities(x.float() / 127.5 - 1), y) for kind, (x, y) in sets.items()}
        record["arms"][name] = {"seconds": seconds} | {
            kind: {key: found[kind][key] for key in ("top_k", "exact")} for kind in found
        }
        write_json(out, record)
    print(machine_line())
    columns = [(kind, key) for kind in sets for key in ("top_k", "exact")]
    rows = [(name, *(interval(record["arms"][name][kind][key]) for kind, key in columns)) for name in arms]
    print_table(("training", *(f"{kind} {key}" for kind, key in columns)), rows)


if __name__ == "__main__":
    run(main)

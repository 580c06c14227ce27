"""What each kind of variety in its training does for the judge: one short training for each that is left out.

    python benchmarks/judge_ablation.py [--scenes 6000] [--passes 3] [--seed 0] [--threads 2] [--out FILE.json]

All arms see the same number of pictures. Scored on 6,000 clean unseen renders and on 6,000 of the shifted set, whose
cameras, lamps and film no training used. An arm that is already in FILE.json is not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from lab7.dataset import randomization as domain
from lab7.judge.augmentation import PARTS, Augmentation, without
from lab7.judge.evaluation import clean_set, scores, shifted_set
from lab7.judge.networks import Judge
from lab7.judge.training import TRAINING_SEED, fit, rendered
from lab7.utils.files import write_json
from lab7.utils.provenance import choose_precision, provenance


def main() -> None:
    """Train what is missing, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/judge_ablation.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arms: dict[str, tuple[domain.Variety | None, Augmentation]] = {
        "all of it": (domain.TRAINING, without()),
        "nothing": (None, without("all")),
        "without other cameras and lamps": (None, without()),
        **{f"without {part}": (domain.TRAINING, without(part)) for part in PARTS},
        "other cameras and lamps alone": (domain.TRAINING, without("all")),
    }
    told = json.loads(options.out.read_text()) if options.out.exists() else {"arms": {}}
    told |= {"scenes": options.scenes, "passes": options.passes, "seed": options.seed, "provenance": provenance()}
    sets = {"clean": clean_set(2000), "shifted": shifted_set(2000)}
    pictures: dict[domain.Variety | None, tuple[torch.Tensor, torch.Tensor]] = {}
    precision = choose_precision(torch.device("cpu"), "auto")
    for name, (variety, augmentation) in arms.items():
        if name in told["arms"]:
            continue
        if variety not in pictures:
            pictures[variety] = rendered(TRAINING_SEED, options.scenes, None, variety)
        begun = time.monotonic()
        classifier, _ = fit(
            *pictures[variety],
            epochs=options.passes,
            augmentation=augmentation,
            seed=options.seed,
            precision=precision,
        )
        judge = Judge(classifier, name, "", False)
        found = {how: scores(judge.probabilities(x.float() / 127.5 - 1), y) for how, (x, y) in sets.items()}
        told["arms"][name] = {"seconds": round(time.monotonic() - begun)} | {
            how: {key: found[how][key] for key in ("top_k", "exact")} for how in found
        }
        write_json(options.out, told)
    print("| training | clean top-k | clean exact | shifted top-k | shifted exact |\n|---|---|---|---|---|")
    for name in arms:
        cells = []
        for how in sets:
            for key in ("top_k", "exact"):
                score = told["arms"][name][how][key]
                cells.append(f"{score['accuracy']:.4f} [{score['low']:.4f}, {score['high']:.4f}]")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""Accuracy and Frechet distance of a run against the number of steps, for each sampler.

    python benchmarks/sampler_sweep.py [--run laptop] [--samples 8] [--threads 2] [--plans ddim:time:8:0.25 ...]
    python benchmarks/sampler_sweep.py --tune [--samples 2] [--plans dpm_solver_pp:time:8:0.1:3 ...]

Every condition of the three lists is drawn so many times, from the same noise by every plan of as many samples. Written
to samplers.json in the run's folder after each plan; a plan that is in the file is not drawn again. A plan is
sampler:timestep_spacing:steps, with a fourth part where the network is not asked below that share of T, a fifth where guidance
is not --guidance, a sixth where more than one try is allowed, and a seventh where `accept_threshold` is not the preset's.
With --tune other triples are drawn, up to 96 that neither training nor any scored list shows, so that a way of drawing
can be chosen without a look at the lists; written to tuned.json.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from lab7.ablation.evaluate import LISTS, score
from lab7.ablation.results import find_run
from lab7.dataset.conditions import load_list, read_labels, subsets, unseen_triples
from lab7.judge.frechet import against_renders
from lab7.judge.networks import default_judge, second_judge
from lab7.pipeline import load_pipeline
from lab7.plots.sampling import candidates_of, kind_of, pooled
from lab7.utils.files import UserError, write_json
from lab7.utils.provenance import choose_precision, provenance

PLANS = (
    *(
        f"dpm_solver_pp:{timestep_spacing}:{steps}"
        for steps in (4, 6, 8, 10, 12, 16, 25)
        for spacing in ("time", "log_snr")
    ),
    *(f"dpm_solver_pp:time:{steps}:0.25" for steps in (4, 6, 8, 10, 12, 16, 25)),
    *(f"sde_dpm_solver_pp:time:{steps}:0.25" for steps in (4, 6, 8, 12, 25)),
    *(f"ddim:time:{steps}:0.25" for steps in (4, 8, 12, 16, 25, 50)),
    *(f"ddpm:time:{steps}:0.25" for steps in (8, 25, 50, 100, 750)),
    "ddpm:time:1000",
)
TUNED = tuple(
    f"dpm_solver_pp:time:{steps}:{t_end}:{scale}"
    for steps in (8, 12)
    for t_end in (0, 0.1, 0.25)
    for scale in (2, 3, 4)
)


def main() -> None:
    """Draw what is missing, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="laptop")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--plans", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = find_run(options.run)
    if folder is None:
        raise UserError(f"{options.run}: no such run")
    path, pipeline = folder / ("tuned.json" if options.tune else "samplers.json"), load_pipeline(folder)
    judge, second = default_judge(), second_judge()
    conditions = {name: asked for name in LISTS if (asked := load_list(name))}
    if options.tune:
        conditions = {"other": other_triples(list(conditions.values()))}
    counts = [len(names) for asked in conditions.values() for names in asked for _ in range(options.samples)]
    told = json.loads(path.read_text()) if path.exists() else {"plans": {}}
    told |= {"guidance_scale": options.guidance, "judge": judge.sha256}
    for plan in options.plans or (TUNED if options.tune else PLANS):
        if plan in told["plans"]:
            continue
        sampler, timestep_spacing, steps, *rest = plan.split(":")
        t_end = float(rest[0]) if rest else 0.0
        scale = float(rest[1]) if len(rest) > 1 else options.guidance
        how: dict[str, Any] = {
            "sampler": sampler,
            "timestep_spacing": timestep_spacing,
            "num_steps": int(steps),
            "t_end": t_end,
        }
        how |= {"guidance_scale": scale, "num_candidates": int(rest[2]) if len(rest) > 2 else 1}
        how |= {"accept_threshold": float(rest[3]) if len(rest) > 3 else pipeline.preset.sampling.accept_threshold}
        pictures: list[torch.Tensor] = []
        begun = time.monotonic()
        found = {
            name: score(pipeline, judge, asked, samples=options.samples, second=second, kept=pictures, **how)
            for name, asked in conditions.items()
        }
        told["plans"][plan] = {
            "sampler": sampler,
            "timestep_spacing": timestep_spacing,
            "steps": int(steps),
            "t_end": t_end,
            "guidance_scale": scale,
            "num_candidates": how["num_candidates"],
            "accept_threshold": how["accept_threshold"],
            "max_error": pipeline.preset.sampling.max_error,
            "samples": options.samples,
            "precision": choose_precision("cpu"),
            "provenance": provenance(),
            "seconds": round(time.monotonic() - begun, 1),
            "frechet": against_renders(judge, torch.cat(pictures), counts),
            "accuracy": {
                name: {key: each[key] for key in ("top_k", "exact", "duplicated", "right")}
                | {"second": each["second_judge"]["top_k"]}
                for name, each in found.items()
            },
        }
        write_json(path, told)
        print(plan, told["plans"][plan]["seconds"], "s", flush=True)
    print(f"| sampler | spacing | not below | guidance | steps | tries | {' | '.join(conditions)} | exact | Frechet |")
    print("|---" * (8 + len(conditions)) + "|")
    for found in sorted(told["plans"].values(), key=lambda one: (*kind_of(one), one["steps"], candidates_of(one))):
        shares = [f"{found['accuracy'][name]['top_k']['accuracy']:.3f}" for name in conditions]
        hits, total = pooled(found, "exact")
        sampler, timestep_spacing, t_end = kind_of(found)
        scale = found.get("guidance_scale", told["guidance_scale"])
        cells = [
            sampler,
            timestep_spacing,
            f"{t_end:g} T",
            f"{scale:g}",
            str(found["steps"]),
            str(candidates_of(found)),
            *shares,
            f"{hits / total:.3f}",
        ]
        print(f"| {' | '.join(cells)} | {found['frechet']['distance']:.1f} |")


def other_triples(lists: list[list[list[str]]], count: int = 96) -> list[list[str]]:
    """Triples that neither a training picture nor a condition of `lists` holds."""
    scored = subsets((names for asked in lists for names in asked), 3)
    free = [names for names in unseen_triples(read_labels().values(), 10_000) if frozenset(names) not in scored]
    return free[:count]


if __name__ == "__main__":
    main()

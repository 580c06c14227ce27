"""Accuracy and Frechet distance of a run by sampler and number of steps: the record behind Figure 21.

    python -m benchmarks.samplers --run laptop --plans ddim:8 sde_dpm_solver_pp:4

Every condition of the three lists is drawn `samples` times, from the same noise by every plan. A plan is sampler:steps;
all else is drawn as the run's preset says. The run's samplers.json is written after each plan; a plan that it holds is
not drawn again.
"""

import dataclasses
import json
import time
from typing import Any

import torch

from benchmarks.common import interval, machine_line, print_table, run
from lab7.ablation.evaluate import LISTS, score
from lab7.ablation.results import find_run
from lab7.config import SamplingConfig, change_sampling
from lab7.dataset.conditions import load_list
from lab7.judge.frechet import against_renders
from lab7.judge.metrics import Score
from lab7.judge.networks import default_judge, second_judge
from lab7.pipeline import load_pipeline
from lab7.utils.files import UserError, write_json
from lab7.utils.provenance import provenance

PLANS = (
    *(f"{sampler}:{steps}" for sampler in ("ddim", "dpm_solver_pp", "sde_dpm_solver_pp") for steps in (4, 8, 12)),
    "ddpm:25",
)
KEPT = ("top_k", "exact")


def main(run: str = "laptop", samples: int = 8, threads: int = 2, plans: tuple[str, ...] = PLANS) -> None:
    """Draw and score what is missing, and print a table of all plans."""
    torch.set_num_threads(threads)
    folder, judge, second = find_run(run), default_judge(), second_judge()
    path, pipeline = folder / "samplers.json", load_pipeline(folder)
    conditions = {name: listed for name in LISTS if (listed := load_list(name))}
    asked = [names for listed in conditions.values() for names in listed for _ in range(samples)]
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"plans": {}}
    for plan in plans:
        sampling = pipeline.sampling(parse_plan(plan, pipeline.preset.sampling))
        settings = dataclasses.asdict(sampling) | {"samples": samples}
        if settings.items() <= record["plans"].get(plan, {}).items():
            continue
        pictures: list[torch.Tensor] = []
        started = time.monotonic()
        scores = {
            name: score(pipeline, judge, listed, samples=samples, second=second, kept=pictures, sampling=sampling)
            for name, listed in conditions.items()
        }
        record["plans"][plan] = settings | {
            "seconds": round(time.monotonic() - started, 1),
            "frechet": against_renders(judge, torch.cat(pictures), asked),
            "accuracy": {
                name: {key: found[key] for key in KEPT} | {"second": found["second_judge"]["top_k"]}
                for name, found in scores.items()
            },
            "provenance": provenance(),
        }
        write_json(path, record | {"judge": judge.sha256})
    rows = [
        (plan, *(interval(pooled(done, key)) for key in ("top_k", "exact")), f"{done['frechet']['distance']:.0f}")
        for plan, done in sorted(record["plans"].items())
    ]
    print(machine_line())
    print_table(("plan", "objects, all lists", "exact", "Frechet"), rows)


def parse_plan(plan: str, sampling: SamplingConfig) -> SamplingConfig:
    """ "ddim:8" -> the run's sampling with these changes. UserError for a plan of another form."""
    sampler, colon, steps = plan.partition(":")
    if not colon:
        raise UserError(f"a plan is sampler:steps, not '{plan}'")
    return change_sampling(sampling, sampler=sampler, num_steps=steps)


def pooled(done: dict[str, Any], key: str) -> dict[str, Any]:
    """A score of all lists together."""
    scores = [found[key] for found in done["accuracy"].values()]
    return Score(sum(one["hits"] for one in scores), sum(one["total"] for one in scores)).to_dict()


if __name__ == "__main__":
    run(main)

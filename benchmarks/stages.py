"""At which noise level does a network go wrong? Real pictures are noised to a level and drawn from there on.

    python benchmarks/stages.py [--run laptop] [--scenes 200] [--threads 2]

Started early, the network must find everything out; started late, most of the picture is given to it. Where the share
of objects found climbs from one start to the next, the network is wrong at the levels between. The pictures are renders
of unseen scenes with three objects.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from lab7 import diffusion
from lab7.ablation.evaluate import as_stored
from lab7.ablation.results import find_run
from lab7.judge.evaluation import clean_set
from lab7.judge.metrics import Score, exact_match, top_k
from lab7.judge.networks import Judge, default_judge
from lab7.pipeline import Pipeline, load_pipeline
from lab7.samplers import guided
from lab7.utils.provenance import choose_precision, device_name

STARTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # t / T


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="laptop")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=24, help="from the start to the picture")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = find_run(options.run)
    if folder is None:
        sys.exit(f"{options.run}: no such run")
    pipeline, judge = load_pipeline(folder), default_judge()
    images, labels = clean_set(options.scenes)
    three = labels.sum(dim=1) == 3
    x_0, condition = pipeline.normaliser.encode(images[three]), labels[three].float()
    print(f"{options.run}: {len(x_0)} pictures, DDIM {options.steps} steps; {device_name('cpu')}\n")
    print(
        "| start t / T | log SNR | w = 1: objects | all right | w = 3: objects | all right |\n|---|---|---|---|---|---|"
    )
    for start in STARTS:
        t = round(start * pipeline.schedule.num_steps)
        cells = [f"{start:.1f}", f"{float(torch.logit(pipeline.schedule.alpha_bar64[t])):.1f}"]
        for scale in (1.0, 3.0):
            found, right = drawn_from(pipeline, judge, x_0, condition, t, options.steps, scale)
            cells += [f"{found.accuracy:.3f} [{found.low:.3f}, {found.high:.3f}]", f"{right.accuracy:.3f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


@torch.inference_mode()
def drawn_from(
    pipeline: Pipeline, judge: Judge, x_0: Tensor, condition: Tensor, start: int, steps: int, scale: float
) -> tuple[Score, Score]:
    """Noise the pictures to `start`, draw on from there by DDIM, and have the judge count."""
    schedule, target = pipeline.schedule, pipeline.preset.diffusion.target
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    x = diffusion.add_noise(schedule, x_0, torch.full((len(x_0),), start), eps)
    moments = torch.linspace(start, 0, min(steps, start) + 1).round().long().tolist()
    bf16 = choose_precision("cpu") == "bf16"
    for t, s in zip(moments, moments[1:], strict=False):
        now = torch.full((len(x),), t)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            answer = guided(pipeline.model, x, now, condition, scale)
        guess, noise = diffusion.predict_x_0_eps(schedule, answer.float(), x, now, target)
        x = schedule.sqrt_alpha_bar[s] * guess + schedule.sqrt_one_minus_alpha_bar[s] * noise
    outputs = judge.probabilities(as_stored(pipeline.to_pixels(x)))
    return top_k(outputs, condition), exact_match(outputs, condition)


if __name__ == "__main__":
    main()

"""How well the network tells its own complete pictures from those that lack an object, by the noise it looks in.

    python benchmarks/self_check.py [--run laptop] [--samples 4] [--threads 2] [--log-snr -2 -3.5 ...] [--looks 1 2]

Pictures are drawn once each, of up to 96 triples that neither training nor any scored list shows, so that the noise to
look in (lab7/evidence.py) is chosen without a look at the lists. The area is that under the ROC curve: how often a
picture in which the judge finds all three objects has more evidence for the least evident one than a picture in which
it does not; 0.5 is chance.
"""

from __future__ import annotations

import argparse

import torch
from sampler_sweep import other_triples
from torch import Tensor

from lab7.conditions import conditions_tensor, load_list
from lab7.drawing import load_drawer
from lab7.evidence import LOG_SNR, evidence
from lab7.experiments import LISTS, as_stored
from lab7.files import UserError
from lab7.judge import default_judge
from lab7.metrics import top_k_hits
from lab7.results import find_run


def main() -> None:
    """Draw, look, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="laptop")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-snr", type=float, nargs="+", default=[-2.0, -3.0, -3.7, LOG_SNR, -5.0, -5.7, -6.5, -7.5])
    parser.add_argument("--looks", type=int, nargs="+", default=[2])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = find_run(options.run)
    if folder is None:
        raise UserError(f"{options.run}: no such run")
    drawer, judge = load_drawer(folder), default_judge()
    asked = other_triples([names for name in LISTS if (names := load_list(name))])
    labels = conditions_tensor(asked).repeat_interleave(options.samples, dim=0)  # (N, 24)
    pictures = drawer.draw(asked, samples=options.samples, tries=1, size=drawer.image_size, progress=True)
    complete = top_k_hits(judge.probabilities(as_stored(pictures)), labels) == labels.sum(dim=1)
    x_0 = drawer.normaliser.from_pixels(pictures)
    noises = drawer.noise(max(options.looks), torch.Generator().manual_seed(0))
    print(f"{len(pictures)} pictures, {int(complete.sum())} complete\n")
    print(f"| log SNR | {' | '.join(f'{looks} noises' for looks in options.looks)} |")
    print("|---" * (1 + len(options.looks)) + "|")
    for log_snr in options.log_snr:
        areas = []
        for looks in options.looks:
            least = [
                evidence(
                    drawer.model,
                    drawer.schedule,
                    x_0[rows],
                    labels[rows],
                    noises[:looks],
                    target=drawer.preset.diffusion.target,
                    log_snr=log_snr,
                ).amin(dim=1)
                for rows in torch.arange(len(x_0)).split(64)
            ]
            areas.append(f"{area(torch.cat(least), complete):.3f}")
        print(f"| {log_snr:g} | {' | '.join(areas)} |", flush=True)


def area(values: Tensor, positive: Tensor) -> float:
    """How often a value of the positive ones is larger than one of the others, ties counted by half."""
    more, less = values[positive][:, None], values[~positive][None]
    return float(((more > less).double() + 0.5 * (more == less).double()).mean())


if __name__ == "__main__":
    main()

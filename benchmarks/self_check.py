"""How well the network tells its own complete pictures from those that lack an object, by the noise it looks in.

    python benchmarks/self_check.py [--run laptop] [--samples 16] [--tries 8] [--threads 2] [--log-snr -1.5 -2.5 ...]
                                    [--looks 1 2] [--rivals without both] [--enough 0.3 0.4] [--max_error 0 0.007]

Pictures are drawn once each, of up to 96 triples that neither training nor any scored list shows and of the pairs of
one colour that no list holds, so that how to look (lab7/diffusion_classifier.py) is chosen without a look at the
lists. Each object is held against its absence ("without"), or against the other shapes of its colour as well
("both"). The area is that
under the ROC curve: how often a picture in which the judge finds all that was asked for has more evidence for the least
evident object than a picture in which it does not; 0.5 is chance. It is told for conditions of different colours and
for those with a colour twice.
Then, for each `accept_threshold` and `max_error`: what would be found, how many pictures would be exactly right, would hold
something twice (lab7/judge/blobs.py), and would be right in both, of all and of those with a colour twice, and how many
would be drawn for one that is kept, if up to `num_candidates` of a condition's pictures, in random order, were drawn until one
is good enough.
"""

from __future__ import annotations

import argparse
import itertools
import math

import torch
from sampler_sweep import other_triples
from torch import Tensor

from lab7.ablation.evaluate import LISTS, as_stored
from lab7.ablation.results import find_run
from lab7.dataset.conditions import conditions_tensor, load_list
from lab7.diffusion_classifier import LOG_SNR, acceptance, class_error_ratio, errors
from lab7.judge.blobs import has_duplicate
from lab7.judge.metrics import exact_hits, top_k_hits
from lab7.judge.networks import default_judge
from lab7.pipeline import LOOKS, load_pipeline
from lab7.utils.files import UserError
from lab7.utils.provenance import choose_precision
from lab7.vocabulary import COLOURS, SHAPES

ORDERS = 50  # random orders of a condition's pictures
RIVALS = ("without", "both")


def main() -> None:
    """Draw, look, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="laptop")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--num_candidates", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-snr", type=float, nargs="+", default=[-1.5, LOG_SNR, -3.5])
    parser.add_argument("--looks", type=int, nargs="+", default=[LOOKS])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--accept_threshold", type=float, nargs="+", default=[0.2, 0.3, 0.4, 0.6])
    parser.add_argument("--max_error", type=float, nargs="+", default=[0.0, 0.007, 0.008, 0.01])
    options = parser.parse_args()
    if options.num_candidates > options.samples:
        raise UserError(f"--tries {options.num_candidates}: more than the --samples {options.samples} of a triple")
    torch.set_num_threads(options.threads)
    folder = find_run(options.run)
    if folder is None:
        raise UserError(f"{options.run}: no such run")
    pipeline, judge = load_pipeline(folder), default_judge()
    lists = [names for name in LISTS if (names := load_list(name))]
    asked = other_triples(lists) + other_pairs(lists)
    labels = conditions_tensor(asked).repeat_interleave(options.samples, dim=0)  # (N, 24)
    pictures = pipeline.draw(asked, samples=options.samples, num_candidates=1, size=pipeline.image_size, progress=True)
    images = as_stored(pictures)
    outputs = judge.probabilities(images)
    hits, exact = top_k_hits(outputs, labels), exact_hits(outputs, labels)
    complete, twice = hits == labels.sum(dim=1), has_duplicate(images, labels)
    kept = {
        "found": hits / labels.sum(dim=1),
        "exact": exact,
        "duplicated": twice,
        "exact_without_duplicates": exact & ~twice,
    }  # (N,) each
    alike = torch.tensor([len({name.split()[0] for name in names}) < len(names) for names in asked])
    alike = alike.repeat_interleave(options.samples)  # (N,): two of the asked objects have one colour
    x_0 = pipeline.normaliser.from_pixels(pictures)
    noises = pipeline.noise(max(options.looks), torch.Generator().manual_seed(0))
    bf16 = choose_precision("cpu", pipeline.preset.sampling.draw_precision) == "bf16"

    @torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    def seen(log_snr: float, looks: int, rivals: str) -> tuple[Tensor, Tensor]:
        """The evidence (N, 24), and what is left max_error (N,)."""
        found, left = [], []
        for rows in torch.arange(len(x_0)).split(64):
            what = (pipeline.model, pipeline.schedule, x_0[rows], labels[rows], noises[:looks])
            how = {"target": pipeline.preset.diffusion.target, "log_snr": log_snr, "exchange": rivals == "both"}
            whole, without = errors(*what, **how)  # type: ignore[arg-type]
            found.append(class_error_ratio(whole, without))
            left.append(whole)
        return torch.cat(found), torch.cat(left)

    print(f"{len(pictures)} pictures, {int(complete.sum())} complete, {int(twice.sum())} hold something twice\n")
    told = ("log SNR", "looks", "rivals", "area", "other colours", "a colour twice", "accept_threshold", "max_error")
    columns = (*told, *kept, "right, a colour twice", "drawn")
    print(f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|")
    for log_snr, looks, rivals in itertools.product(options.log_snr, options.looks, options.rivals):
        found, left = seen(log_snr, looks, rivals)
        least = found.amin(dim=1)
        areas = [area(least[of], complete[of]) for of in (torch.ones_like(alike), ~alike, alike)]
        for accept_threshold, max_error in itertools.product(options.accept_threshold, options.max_error):
            good = acceptance(found, left, accept_threshold, max_error or math.inf).view(len(asked), -1)
            chosen, drawn = choose(good, options.num_candidates, enough)  # (conditions, ORDERS)
            of_kept = {name: each.view_as(good).gather(1, chosen).double() for name, each in kept.items()}
            shares = [float(each.mean()) for each in of_kept.values()]
            shares.append(float(of_kept["exact_without_duplicates"][alike.view_as(good)[:, 0]].mean()))
            cells = [f"{log_snr:g}", str(looks), rivals, *(f"{each:.3f}" for each in areas)]
            cells += [f"{enough:g}", f"{max_error:g}", *(f"{share:.3f}" for share in shares), f"{drawn:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def other_pairs(lists: list[list[list[str]]]) -> list[list[str]]:
    """The pairs of one colour that are in none of the lists."""
    taken = {frozenset(names) for asked in lists for names in asked}
    pairs = [[f"{c} {one}", f"{c} {other}"] for c in COLOURS for one, other in itertools.combinations(SHAPES, 2)]
    return [pair for pair in pairs if frozenset(pair) not in taken]


def choose(evident: Tensor, num_candidates: int, accept_threshold: float) -> tuple[Tensor, float]:
    """Which of the K pictures of every condition (N, K) would be kept, as a column for each of ORDERS (N, ORDERS), and
    how many would be drawn for one."""
    generator, columns, drawn = torch.Generator().manual_seed(0), [], 0.0
    for _ in range(ORDERS):
        order = torch.rand(evident.shape, generator=generator).argsort(dim=1)[:, :num_candidates]
        seen = evident.gather(1, order)
        good = seen >= enough
        place = torch.where(good.any(dim=1), good.int().argmax(dim=1), seen.argmax(dim=1))
        columns.append(order.gather(1, place[:, None]))
        drawn += float(torch.where(good.any(dim=1), place + 1, num_candidates).double().mean()) / ORDERS
    return torch.cat(columns, dim=1), drawn


def area(values: Tensor, positive: Tensor) -> float:
    """How often a value of the positive ones is larger than one of the others, ties counted by half."""
    more, less = values[positive][:, None], values[~positive][None]
    return float(((more > less).double() + 0.5 * (more == less).double()).mean())


if __name__ == "__main__":
    main()

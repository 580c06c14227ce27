"""How well the network tells its own complete pictures from those that lack an object, by the noise it looks in.

    python benchmarks/self_check.py [--run laptop] [--samples 16] [--tries 8] [--threads 2]
                                    [--log-snr -2 -3.5 ...] [--looks 1 2] [--enough 0.6 0.7]

Pictures are drawn once each, of up to 96 triples that neither training nor any scored list shows, so that the noise to
look in (lab7/evidence.py) is chosen without a look at the lists. The area is that under the ROC curve: how often a
picture in which the judge finds all three objects has more evidence for the least evident one than a picture in which
it does not; 0.5 is chance. It is told for triples of three colours and for those with a colour twice, too.
Then, for each threshold: what would be found, how many pictures would be exactly right, and how many would be drawn for
one that is kept, if up to `tries` of a triple's pictures, in random order, were drawn until one is evident enough.
"""

from __future__ import annotations

import argparse

import torch
from sampler_sweep import other_triples
from torch import Tensor

from lab7.conditions import conditions_tensor, load_list
from lab7.drawing import LOOKS, load_drawer
from lab7.evidence import LOG_SNR, evidence
from lab7.experiments import LISTS, as_stored
from lab7.files import UserError
from lab7.judge import default_judge
from lab7.metrics import exact_hits, top_k_hits
from lab7.provenance import choose_precision
from lab7.results import find_run

ORDERS = 50  # random orders of a triple's pictures


def main() -> None:
    """Draw, look, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="laptop")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tries", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-snr", type=float, nargs="+", default=[-2.5, LOG_SNR, -4.4, -5.5])
    parser.add_argument("--looks", type=int, nargs="+", default=[LOOKS])
    parser.add_argument("--enough", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8])
    options = parser.parse_args()
    if options.tries > options.samples:
        raise UserError(f"--tries {options.tries}: more than the --samples {options.samples} of a triple")
    torch.set_num_threads(options.threads)
    folder = find_run(options.run)
    if folder is None:
        raise UserError(f"{options.run}: no such run")
    drawer, judge = load_drawer(folder), default_judge()
    asked = other_triples([names for name in LISTS if (names := load_list(name))])
    labels = conditions_tensor(asked).repeat_interleave(options.samples, dim=0)  # (N, 24)
    pictures = drawer.draw(asked, samples=options.samples, tries=1, size=drawer.image_size, progress=True)
    outputs = judge.probabilities(as_stored(pictures))
    hits, exact = top_k_hits(outputs, labels), exact_hits(outputs, labels)
    complete = hits == labels.sum(dim=1)
    twice = torch.tensor([len({name.split()[0] for name in names}) < len(names) for names in asked])
    twice = twice.repeat_interleave(options.samples)  # (N,)
    x_0 = drawer.normaliser.from_pixels(pictures)
    noises = drawer.noise(max(options.looks), torch.Generator().manual_seed(0))
    bf16 = choose_precision("cpu", drawer.preset.sampling.draw_precision) == "bf16"

    @torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    def least(log_snr: float, looks: int) -> Tensor:
        """The evidence for the least evident object of every picture (N,)."""
        target = drawer.preset.diffusion.target
        how = (drawer.model, drawer.schedule)
        found = [
            evidence(*how, x_0[rows], labels[rows], noises[:looks], target=target, log_snr=log_snr).amin(dim=1)
            for rows in torch.arange(len(x_0)).split(64)
        ]
        return torch.cat(found)

    print(f"{len(pictures)} pictures, {int(complete.sum())} complete, {int(exact.sum())} exactly right\n")
    print("| log SNR | looks | area | three colours | a colour twice | enough | found | exact | drawn for one |")
    print("|---" * 9 + "|")
    for log_snr in options.log_snr:
        for looks in options.looks:
            evident = least(log_snr, looks)
            areas = [area(evident[of], complete[of]) for of in (torch.ones_like(twice), ~twice, twice)]
            for enough in options.enough:
                chosen, drawn = choose(evident.view(len(asked), -1), options.tries, enough)  # (triples, ORDERS)
                shares = [
                    float(each.view(len(asked), -1).gather(1, chosen).double().mean())
                    for each in (hits / labels.sum(dim=1), exact)
                ]
                *told, found, exactly = (f"{share:.3f}" for share in (*areas, *shares))
                cells = [f"{log_snr:g}", str(looks), *told, f"{enough:g}", found, exactly, f"{drawn:.2f}"]
                print(f"| {' | '.join(cells)} |", flush=True)


def choose(evident: Tensor, tries: int, enough: float) -> tuple[Tensor, float]:
    """Which of the K pictures of every condition (N, K) would be kept, as a column for each of ORDERS (N, ORDERS), and
    how many would be drawn for one."""
    generator, columns, drawn = torch.Generator().manual_seed(0), [], 0.0
    for _ in range(ORDERS):
        order = torch.rand(evident.shape, generator=generator).argsort(dim=1)[:, :tries]
        seen = evident.gather(1, order)
        good = seen >= enough
        place = torch.where(good.any(dim=1), good.int().argmax(dim=1), seen.argmax(dim=1))
        columns.append(order.gather(1, place[:, None]))
        drawn += float(torch.where(good.any(dim=1), place + 1, tries).double().mean()) / ORDERS
    return torch.cat(columns, dim=1), drawn


def area(values: Tensor, positive: Tensor) -> float:
    """How often a value of the positive ones is larger than one of the others, ties counted by half."""
    more, less = values[positive][:, None], values[~positive][None]
    return float(((more > less).double() + 0.5 * (more == less).double()).mean())


if __name__ == "__main__":
    main()

"""Evidence for the explanations in notebook 6: probes of a trained U-Net of the report, and of short twin trainings.

    python benchmarks/explain.py --run report_up_down [--threads 2] [--parts hidden norm shared clamp]

The run must hold its weights (`lab7 train --preset small --name report_up_down`, an hour on two cores); the parts
"shared" and "clamp" train twins with few features of their own. Written to explanations.json in --out after each part;
a part that is in the file is not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab7.ablation import probes
from lab7.ablation.evaluate import REPORTED_LISTS, as_stored
from lab7.ablation.results import find_run
from lab7.config import get_preset, override
from lab7.dataset.conditions import conditions_tensor, load_list
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import draw
from lab7.judge.metrics import top_k
from lab7.judge.networks import default_judge
from lab7.pipeline import Pipeline, load_pipeline
from lab7.training.loop import train
from lab7.training.run_folder import losses, read_metrics
from lab7.unet import UNet
from lab7.utils.files import UserError, data_dir, read_json, shipped_dir, write_json
from lab7.utils.provenance import provenance

LEVELS = (10, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
TWIN = ("n_feature=16", "epochs=3", "save_every=100000", "snapshots=0", "warmup_steps=50", "drop_probability=0")


def main() -> None:
    """Make the parts that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="report_up_down", help="its name or folder")
    parser.add_argument("--out", type=Path, default=shipped_dir() / "runs" / "report_up_down" / "explanations.json")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--steps", type=int, default=600, help="of each twin")
    parser.add_argument("--seeds", type=int, default=2, help="of each twin")
    parser.add_argument("--pictures", type=int, default=192)
    parser.add_argument("--samples", type=int, default=2, help="of each condition, where pictures are drawn")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    told: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    folder = find_run(options.run) or Path(options.run)
    pipeline, result = load_pipeline(folder), read_json(folder / "result.json", "a run's result")
    whose = {key: result[key] for key in ("name", "commit", "images_seen", "weights_sha256")}
    for part in options.parts:
        if part in told:
            continue
        told[part] = PARTS[part](pipeline, options) | {"provenance": provenance(), "run": whose}
        write_json(options.out, told)
        print(part, json.dumps(told[part])[:2000], flush=True)


def hidden(pipeline: Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """The loss by level, and the objects found, with the hidden layer as it is and without what it says."""
    x_0, condition = batch(pipeline, options.pictures)
    nets = {"as it is": pipeline.model} | {what: probes.with_hidden(unet(pipeline), what) for what in probes.HIDDEN}
    losses = {what: probes.loss_by_level(net, pipeline.schedule, x_0, condition, LEVELS) for what, net in nets.items()}
    found = {what: objects_found(pipeline, net, options.samples) for what, net in nets.items()}
    return {"levels": LEVELS, "loss": losses, "found": found, "pictures": len(x_0)}


def norm(pipeline: Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """How each level drifts from the kept averages, and what normalising by the batch at hand does to the score."""
    x_0, condition = batch(pipeline, options.pictures)
    nets = {"kept averages": pipeline.model, "this batch's": probes.with_batch_statistics(unet(pipeline))}
    losses = {
        what: probes.loss_by_level(net.eval(), pipeline.schedule, x_0, condition, LEVELS) for what, net in nets.items()
    }
    found = {what: objects_found(pipeline, net, options.samples) for what, net in nets.items()}
    drift = probes.norm_drift(unet(pipeline), pipeline.schedule, x_0, condition, LEVELS)
    return {"levels": LEVELS, "loss": losses, "found": found, "drift": drift, "pictures": len(x_0)}


def shared(pipeline: Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """Whether the places want the same of an embedding: in the trained network, and in twins of either kind."""
    x_0, condition = batch(pipeline, options.pictures)
    pairs = (("down1", "down2"), ("down1", "up2"), ("down2", "up2"))

    def cosines(values: dict[str, Tensor]) -> dict[str, float]:
        return {f"{one} and {other}": probes.alike(values[one], values[other]) for one, other in pairs}

    told: dict[str, Any] = {"embeddings": cosines(probes.label_embeddings(unet(pipeline))), "twins": {}}
    for kind in ("separate", "shared"):
        twins = []
        for seed in range(options.seeds):
            twin, losses = train_twin(options.steps, f"embeddings={kind}", f"train.seed={seed}")
            gradients = probes.place_gradients(unet(twin), twin.schedule, x_0, condition, generator(seed))
            summed = {place: g.sum(dim=0, keepdim=True) for place, g in gradients.items()}
            sizes = {place: g.norm().item() for place, g in summed.items()}
            twins.append({"gradients": cosines(summed), "sizes": sizes, "losses": losses})
        told["twins"][kind] = twins
    return told | {"steps": options.steps}


def clamp(pipeline: Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """What a clamp of x_0 meets on the way, for twins on pictures in [-1, 1] and on normalised ones."""
    conditions = load_list("test")[:16]
    told: dict[str, Any] = {}
    for normalise in ("plain", "deviation"):
        twin, losses = train_twin(options.steps, f"normalise={normalise}", "train.seed=0")
        told[normalise] = {"losses": losses, "clamps": {}}
        for where in ("none", "output", "x_0"):
            steps: list[dict[str, float]] = []

            def watch(step: int, t: int, x_t: Tensor, x_0: Tensor, steps: list = steps, twin: Pipeline = twin) -> None:
                guess = twin.normaliser.decode(x_0)
                if step % 5 == 0:
                    row = {
                        "mean": guess.mean(),
                        "white": (guess >= 1).float().mean(),
                        "black": (guess <= -1).float().mean(),
                    }
                    steps.append({"t": t} | {key: round(value.item(), 4) for key, value in row.items()})

            images = twin.draw(
                conditions, sampler="ddpm", num_steps=100, guidance_scale=1.0, clamp=where, size=32, callback=watch
            )
            quantiles = images.flatten().quantile(torch.tensor([0.001, 0.05, 0.5, 0.95, 0.999])).tolist()
            counts = torch.histc(images, bins=60, min=-1.5, max=1.5) / images.numel()
            told[normalise]["clamps"][where] = {
                "steps": steps,
                "quantiles": quantiles,
                "histogram": [round(value, 6) for value in counts.tolist()],
                "white": (images >= 0.98).float().mean().item(),
                "black": (images <= -0.98).float().mean().item(),
            }
    return told | {"steps": options.steps, "sampler": "ddpm, 100 steps", "pictures": len(conditions)}


def unet(pipeline: Pipeline) -> UNet:
    """The pipeline's network, which must be the report's."""
    if not isinstance(pipeline.model, UNet):
        raise UserError("only the report's U-Net can be probed so")
    return pipeline.model


def batch(pipeline: Pipeline, count: int) -> tuple[Tensor, Tensor]:
    """The first training pictures and their labels, in model space."""
    pictures = load_pictures(data_dir(), pipeline.image_size)
    return draw(pictures, torch.arange(count), pipeline.normaliser, pipeline.device)


def train_twin(steps: int, *settings: str) -> tuple[Pipeline, list[float]]:
    """A short training of the report's U-Net with few features, and its loss every 50 steps."""
    preset = override(get_preset("small"), [*TWIN, f"max_steps={steps}", *settings])
    with tempfile.TemporaryDirectory() as folder:
        run = train(preset, "twin", runs=Path(folder), progress=False)
        return load_pipeline(run), [line["loss"] for line in losses(read_metrics(run))]


def objects_found(pipeline: Pipeline, net: torch.nn.Module, samples: int) -> dict[str, float]:
    """What the judge finds of both course's lists, drawn by `net` in the pipeline's way."""
    asked = [names for name in REPORTED_LISTS for names in load_list(name)]
    images = dataclasses.replace(pipeline, model=net).draw(asked, samples=samples, num_steps=25)
    labels = conditions_tensor(asked).repeat_interleave(samples, dim=0)
    return top_k(default_judge().probabilities(as_stored(images)), labels).to_dict()


def generator(seed: int) -> torch.Generator:
    """A generator of that seed."""
    return torch.Generator().manual_seed(seed)


PARTS = {"hidden": hidden, "norm": norm, "shared": shared, "clamp": clamp}

if __name__ == "__main__":
    main()

"""What clamping x_0 does in a young network, on pictures in [-1, 1] and on normalised ones: the record of Figure 24.

python -m benchmarks.clamping
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import print_table, run
from lab7.config import get_preset, override
from lab7.dataset.conditions import load_list
from lab7.pipeline import Pipeline, load_pipeline
from lab7.training.loop import train
from lab7.training.run_folder import read_metrics
from lab7.utils.files import shipped_dir, write_json
from lab7.utils.provenance import provenance

SHORT = ("n_feature=16", "epochs=3", "save_every=100000", "snapshots=0", "warmup_steps=50", "drop_probability=0")
RECORD = shipped_dir() / "runs" / "report_up_down" / "clamping.json"
CLAMPS = ("none", "output", "x_0")


def main(out: Path = RECORD, steps: int = 600, threads: int = 1) -> None:
    """Train the report's U-Net briefly on either kind of pictures, draw with each clamp, and write the record."""
    torch.set_num_threads(threads)
    record: dict[str, Any] = {}
    for normalise in ("plain", "deviation"):
        preset = override(get_preset("small"), [*SHORT, f"max_steps={steps}", f"normalise={normalise}"])
        with tempfile.TemporaryDirectory() as folder:
            trained = train(preset, "short", runs=Path(folder), progress=False)
            pipeline, curve = load_pipeline(trained), [line["loss"] for line in read_metrics(trained, "loss")]
        record[normalise] = {"losses": curve, "clamps": {clamp: drawn_with(pipeline, clamp) for clamp in CLAMPS}}
    record |= {"steps": steps, "sampler": "ddpm, 100 steps", "pictures": 16, "provenance": provenance()}
    write_json(out, record)
    rows = [
        (kind, clamp, f"{drawn['white']:.3f}", f"{drawn['black']:.3f}")
        for kind in ("plain", "deviation")
        for clamp, drawn in record[kind]["clamps"].items()
    ]
    print_table(("pictures", "clamp", "white pixels", "black pixels"), rows)


def drawn_with(pipeline: Pipeline, clamp: str) -> dict[str, Any]:
    """The predicted x_0 on the way and the pixels of the pictures, drawn by DDPM in 100 steps with that clamp."""
    steps: list[dict[str, float]] = []

    def watch(step: int, t: int, x_t: Tensor, x_0: Tensor) -> None:
        if step % 5 == 0:
            pixels = pipeline.normaliser.decode(x_0)
            row = {"mean": pixels.mean(), "white": (pixels >= 1).float().mean(), "black": (pixels <= -1).float().mean()}
            steps.append({"t": t} | {key: round(value.item(), 4) for key, value in row.items()})

    images = pipeline(
        load_list("test")[:16], sampler="ddpm", num_steps=100, guidance_scale=1, clamp=clamp, size=32, callback=watch
    )
    counts = torch.histc(images, bins=60, min=-1.5, max=1.5) / images.numel()
    return {
        "steps": steps,
        "quantiles": images.flatten().quantile(torch.tensor([0.001, 0.05, 0.5, 0.95, 0.999])).tolist(),
        "histogram": [round(value, 6) for value in counts.tolist()],
        "white": (images >= 0.98).float().mean().item(),
        "black": (images <= -0.98).float().mean().item(),
    }


if __name__ == "__main__":
    run(main)

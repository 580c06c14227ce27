"""Training our own judge, on rendered scenes that neither the generator nor the examination sees."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lab7.dataset.randomization import TRAINING, Variety
from lab7.dataset.renderer import LOOK
from lab7.dataset.synthetic import look_hash, render_pictures
from lab7.judge.augmentation import Augmentation, augment
from lab7.judge.evaluation import examine
from lab7.judge.networks import BUILDERS, features, load_judge, save_judge
from lab7.utils.files import UserError, read_json, write_json
from lab7.utils.memory import keep_memory
from lab7.utils.provenance import choose_precision, provenance

# The generator's scenes come from small seeds, those of the examination lie beyond 900,000.
TRAINING_SEED = 700_000


def train_judge(
    out: Path | str,
    *,
    kind: str = "resnet18",
    scenes: int = 6000,
    epochs: int = 8,
    evaluation_scenes: int = 2000,
    seed: int = 0,
    batch_size: int = 64,
    learning_rate: float = 1.5e-3,
    plain_share: float = 0.0,
    start: Path | str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "auto",
    processes: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Render, train, write the weights to `out` (float16 safetensors), examine what was written.

    Training begins with fresh weights, or with those of the judge in the file `start`. A share of the scenes,
    `plain_share` in [0, 1], is rendered as the generator's are, the rest with other cameras and lamps.
    Returns the record that is also written beside the weights, as `out` with suffix .json: settings, seconds,
    mean loss of each epoch, provenance, the file's SHA-256 and its examination on unseen scenes (see
    examination.examine); with `start` also where that came from, if its record lies beside it.
    Raises UserError where `out` cannot be written, and if the loss is no longer a number.
    """
    out, device, precision = Path(out), torch.device(device), choose_precision(device, precision)
    settings = {
        "kind": kind,
        "scenes": scenes,
        "epochs": epochs,
        "evaluation_scenes": evaluation_scenes,
        "seed": seed,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "plain_share": plain_share,
        "precision": precision,
        "renderer": look_hash(LOOK),
    }
    begun_from = load_judge(start) if start else None
    if begun_from:
        settings["started_from"] = begun_from.sha256
    before = Path(start).with_suffix(".json") if start else None
    started = time.perf_counter()
    images, labels = varied(TRAINING_SEED + seed, scenes, plain_share, processes)
    rendering_done = time.perf_counter()
    classifier, losses = fit(
        images,
        labels,
        kind=kind,
        start=begun_from.model if begun_from else None,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        precision=precision,
        progress=progress,
    )
    training_done = time.perf_counter()
    save_judge(out, classifier)
    judge = load_judge(out, device)
    record = {
        "what": f"{kind} judge trained on rendered pictures",
        "command": f"lab7 judge --train --kind {kind} --seed {seed} --set judge_scenes={scenes} judge_epochs={epochs} "
        f"evaluation_scenes={evaluation_scenes} judge_learning_rate={learning_rate} plain_share={plain_share}"
        + (" --weights FIRST" if begun_from else ""),
        "sha256": judge.sha256,
        "settings": settings,
        "seconds": {
            "rendering": round(rendering_done - started, 1),
            "training": round(training_done - rendering_done, 1),
        },
        "losses": [round(loss, 6) for loss in losses],
        "evaluation": examine(judge, evaluation_scenes, processes),
        "provenance": provenance(device),
    }
    if before and before.exists():
        first = read_json(before, "a judge's record")
        record["first"] = {key: first.get(key) for key in ("command", "sha256", "seconds", "provenance")}
    write_json(out.with_suffix(".json"), record)
    return record


def varied(seed: int, scenes: int, plain_share: float, processes: int | None = None) -> tuple[Tensor, Tensor]:
    """As `rendered`, the first scenes with other cameras and lamps, and a share of them, the last, without."""
    plain = round(plain_share * scenes)
    parts = [rendered(seed, scenes - plain, processes, TRAINING)] if plain < scenes else []
    if plain:
        parts.append(rendered(seed + 10_000, plain, processes))
    images, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(labels)


def rendered(
    seed: int, scenes: int, processes: int | None = None, variety: Variety | None = None
) -> tuple[Tensor, Tensor]:
    """Three pictures a scene: uint8 (3 * scenes, 3, 64, 64), and their labels uint8 (3 * scenes, 24)."""
    images, labels = render_pictures(seed, scenes, 64, variety, processes)
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def fit(
    images: Tensor,
    labels: Tensor,
    *,
    kind: str = "resnet18",
    start: nn.Module | None = None,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float = 1.5e-3,
    weight_decay: float = 0.05,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    progress: bool = True,
) -> tuple[nn.Module, list[float]]:
    """Train a classifier by binary cross-entropy; returns it, ready to use, and each epoch's mean loss.

    It is a fresh one, or has the weights of `start`, which must be of the same kind.
    images uint8 (N, 3, 64, 64), labels (N, 24) multi-hot. AdamW with one cycle of the learning rate (Smith
    and Topin 2019), every picture augmented anew each time. Raises UserError if the loss is not a number.
    """
    device = torch.device(device)
    if device.type == "cpu":
        keep_memory()
    # Whoever goes on meets other changes than those of the first time.
    generator = torch.Generator(device).manual_seed(seed if start is None else seed + 1_000_003)
    with torch.random.fork_rng(devices=[]):  # PyTorch draws fresh weights from its global stream only
        torch.manual_seed(seed)
        classifier = BUILDERS[kind]()
    if start is not None:
        classifier.load_state_dict(start.state_dict())
    classifier = classifier.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if device.type == "cpu" and precision == "bf16" and kind == "resnet18":
        _speed_up_small_maps(classifier)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * math.ceil(len(images) / batch_size)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.2)

    losses = []
    with tqdm(total=steps, desc="training the judge", unit="step", disable=not progress) as bar:
        for epoch in range(epochs):
            total = 0.0
            for chosen in _batches(len(images), batch_size, generator):
                x = augment(images[chosen.to(images.device)].to(device), generator, augmentation)
                y = labels[chosen.to(labels.device)].to(device).float()
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    # Logits, not the sigmoid's outputs: the same weights without overflow in the logarithm.
                    logits = classifier.fc[0](features(classifier, x))
                loss = F.binary_cross_entropy_with_logits(logits.float(), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                plan.step()
                total += loss.item() * len(x)
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            losses.append(total / len(images))
            if not math.isfinite(losses[-1]):
                raise UserError(f"the judge's loss is {losses[-1]} after epoch {epoch + 1}; lower its learning rate")
    for module in classifier.modules():
        vars(module).pop("forward", None)  # back to PyTorch's own convolutions
    return classifier.eval(), losses


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All indices below `count` in a new random order, `size` at a time."""
    yield from torch.randperm(count, generator=generator, device=generator.device).split(size)


def _speed_up_small_maps(classifier: nn.Module) -> None:
    """Convolve the 2x2 maps of the last stage by matrix products: four times faster in bf16 on a CPU."""
    for module in classifier.layer4.modules():  # type: ignore[union-attr]
        if isinstance(module, nn.Conv2d):
            module.forward = partial(convolve_by_matrix, module)  # type: ignore[method-assign]


def convolve_by_matrix(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A square convolution without groups, dilation and bias, of x (B, C, H, W), as one matrix product."""
    size, stride, padding = convolution.kernel_size[0], convolution.stride[0], int(convolution.padding[0])
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))  # (B, H + 2p, W + 2p, C)
    height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
    patches = torch.cat(
        [
            x[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
            for i in range(size)
            for j in range(size)
        ],
        dim=-1,
    )  # (B, h, w, size * size * C)
    matrix = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (size * size * C, O)
    return (patches @ matrix).permute(0, 3, 1, 2)  # (B, O, h, w)

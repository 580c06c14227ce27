"""Training our own judge, on rendered scenes that neither the generator nor the judge's evaluation uses."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lab7.config import JudgeConfig
from lab7.dataset.look import LOOK, look_hash
from lab7.dataset.randomization import TRAINING
from lab7.dataset.synthetic import render_pictures
from lab7.judge.augmentation import Augmentation, augment
from lab7.judge.evaluation import evaluate_judge
from lab7.judge.networks import BUILDERS, features, load_judge, save_judge
from lab7.utils.files import UserError, check_writable, read_json, short, write_json
from lab7.utils.provenance import choose_precision, provenance

TRAINING_SEED = 700_000  # the generator's scenes come from small seeds, those of the evaluation lie beyond 900,000


def train_judge(
    out: Path | str,
    plan: JudgeConfig,
    *,
    kind: str = "resnet18",
    seed: int = 0,
    start: Path | str | None = None,
    device: str | torch.device = "cpu",
    processes: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Render, train, write the weights to `out` (float16 safetensors), evaluate what was written.

    Training begins with fresh weights, or with those of the judge in the file `start`. A share of the scenes,
    `plain_share`, is rendered as the generator's are, the rest with other cameras and lamps.
    Returns the record that is also written beside the weights, as `out` with suffix .json: settings, seconds,
    mean loss of each epoch, provenance, the file's SHA-256 and its evaluation on unseen scenes (see
    evaluation.evaluate_judge); with `start` also where that came from, if its record lies beside it.
    Raises UserError where `out` cannot be written or would replace another's record, where `start` is of another kind,
    and if the loss is no longer a number.
    """
    out, device, precision = Path(out), torch.device(device), choose_precision(device)
    beside = out.with_suffix(".json")
    if out.suffix != ".safetensors" or out.is_dir():  # now, and not after the training
        raise UserError(f"{short(out)}: a judge is written to a file; name one that ends in .safetensors")
    if beside.exists() and "losses" not in read_json(beside, "a judge's record"):
        raise UserError(f"{short(beside)}: is no judge's record, and would be replaced; choose another name")
    check_writable(out.parent)
    first = load_judge(start) if start else None
    if first and type(first.model) is not type(BUILDERS[kind]()):
        raise UserError(f"{short(start or '')}: is no {kind} judge; choose the other --kind")
    record: dict[str, Any] = {}
    if start and (path := Path(start).with_suffix(".json")).exists():
        before = read_json(path, "a judge's record")
        record = {"first": {key: before.get(key) for key in ("command", "sha256", "seconds", "provenance")}}
    began = time.perf_counter()
    plain = round(plan.plain_share * plan.judge_scenes)  # scenes with the stand-in's own camera and lamps
    kinds = (TRAINING_SEED + seed, plan.judge_scenes - plain, TRAINING), (TRAINING_SEED + seed + 10_000, plain, None)
    parts = [render_pictures(first, number, look, processes) for first, number, look in kinds if number]
    images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    rendered = time.perf_counter()
    fitting: dict[str, Any] = {"epochs": plan.judge_epochs, "learning_rate": plan.judge_learning_rate}
    fitting |= {"kind": kind, "seed": seed, "precision": precision}
    model, origin = (first.model, {"started_from": first.sha256}) if first else (None, {})
    classifier, losses = fit(images, labels, start=model, device=device, progress=progress, **fitting)
    trained = time.perf_counter()
    beside.unlink(missing_ok=True)  # an earlier judge's record
    save_judge(out, classifier)
    judge = load_judge(out, device)
    changes = " ".join(f"{name}={value}" for name, value in asdict(plan).items())
    record |= {
        "what": f"{kind} judge trained on rendered pictures",
        "command": f"lab7 judge --train --kind {kind} --seed {seed} --set {changes}{' --weights FIRST' * bool(start)}",
        "sha256": judge.sha256,
        "settings": asdict(plan) | fitting | {"renderer": look_hash(LOOK)} | origin,
        "seconds": {"rendering": round(rendered - began, 1), "training": round(trained - rendered, 1)},
        "losses": [round(loss, 6) for loss in losses],
        "evaluation": evaluate_judge(judge, plan.evaluation_scenes, processes),
        "provenance": provenance(device),
    }
    write_json(beside, record, checksum=True)
    return record


def fit(
    images: Tensor,
    labels: Tensor,
    *,
    kind: str = "resnet18",
    start: nn.Module | None = None,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float = 1.5e-3,
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
    # Continued training gets other augmentations than the first one.
    generator = torch.Generator(device).manual_seed(seed if start is None else seed + 1_000_003)
    with torch.random.fork_rng(devices=[]):  # PyTorch draws fresh weights from its global stream only
        torch.manual_seed(seed)
        classifier = BUILDERS[kind]()
    if start is not None:
        classifier.load_state_dict(start.state_dict())
    classifier = classifier.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=learning_rate, weight_decay=0.05)
    steps = epochs * math.ceil(len(images) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.2)

    losses = []
    with tqdm(total=steps, desc="training the judge", unit="step", disable=not progress) as bar:
        for epoch in range(epochs):
            total = 0.0
            order = torch.randperm(len(images), generator=generator, device=device)
            for chosen in order.split(batch_size):
                x = augment(images[chosen.to(images.device)].to(device), generator, augmentation)
                y = labels[chosen.to(labels.device)].to(device).float()
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    # Logits, not the sigmoid's outputs: the same weights without overflow in the logarithm.
                    logits = classifier.fc[0](features(classifier, x))
                loss = F.binary_cross_entropy_with_logits(logits.float(), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(x)
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            losses.append(total / len(images))
            if not math.isfinite(losses[-1]):
                raise UserError(f"the judge's loss is {losses[-1]} after epoch {epoch + 1}; lower its learning rate")
    return classifier.eval(), losses

"""Where objects stand, so that a network is told what to draw *and where*
(Reed et al. 2016, "Learning what and where to draw").

Positions of training pictures are found from the pictures alone. i-CLEVR builds a scene up: picture `_1` is `_0` with
one object more, and `_2` has a third. So the object that a picture adds stands where it differs from the one before,
and its class is the label that it adds. A picture to be drawn takes the positions of some training picture.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lab7.config import Preset
from lab7.dataset.conditions import held_out_pairs, without_pairs
from lab7.dataset.images import Pictures
from lab7.dataset.layout import load_pictures
from lab7.utils.files import UserError, data_dir, short

LAYOUTS = 1000  # training pictures whose positions are kept to draw with
_FIRST = 256  # first pictures whose mean stands for the empty scene


def training_pictures(preset: Preset, data: Path | None = None) -> Pictures:
    """The pictures in `data` that the preset trains on, with positions if its network is told them."""
    pictures = load_pictures(data or data_dir(), preset.data.image_size)
    if preset.data.holdout_pairs:
        pictures = pictures.chosen(without_pairs(pictures.labels, held_out_pairs()))
        if not len(pictures):
            raise UserError("holdout_pairs=true leaves no picture to train on; render more scenes, or set it to false")
    if preset.model.network == "efficient" and preset.efficient.positions:
        positions = find_positions(pictures)
        if not positions.any():
            fault = "iclevr/ has no scenes that pictures _0, _1, ... build up, so no object can be placed"
            raise UserError(f"{short(data or data_dir())}: {fault}; set positions=false")
        pictures = dataclasses.replace(pictures, positions=positions)
    return pictures


def find_positions(pictures: Pictures) -> Tensor:
    """uint8 (N, 48): x of the 24 classes, then y, in 255ths of the picture's side from the left upper corner.

    A class that is absent has 0, and so has every class of a picture whose scene is not built up one by one. A position
    is the centre of mass of the squared difference from the picture before; of a scene's first picture from the mean of
    first pictures. `pictures` must be in the order of their names, as load_pictures gives them.
    """
    labels, size = pictures.labels.long().cpu(), pictures.images.shape[-1]
    axis, found = (torch.arange(size) + 0.5) / size, torch.zeros(len(labels), 2, labels.shape[1])
    firsts = (labels.sum(dim=1) == 1).nonzero().flatten()
    empty = pictures.images[firsts[:_FIRST]].float().mean(dim=0).cpu()  # (3, S, S)
    parts = [Path(name).stem.rpartition("_") for name in pictures.names]  # scene, "_", number in the scene
    for index, label in enumerate(labels):
        first, scene = bool(label.sum() == 1), parts[index][0]
        added = label if first else label - labels[index - 1]  # (24,)
        if not first and (scene != parts[index - 1][0] or not found[index - 1].any()):
            continue
        if added.amin() < 0 or added.sum() != 1 or parts[index][2] != str(int(label.sum()) - 1):
            continue
        before = empty if first else pictures.images[index - 1].float().cpu()
        change = (pictures.images[index].float().cpu() - before).square().sum(dim=0)  # (S, S)
        place = torch.stack([change.sum(dim=0) @ axis, change.sum(dim=1) @ axis]) / change.sum().clamp(min=1e-9)
        found[index] = place[:, None] * added + (0 if first else found[index - 1])
    return (found * 255).round().to(torch.uint8).flatten(1)


def layouts_of(pictures: Pictures) -> Tensor | None:
    """Positions of LAYOUTS random pictures at most, to draw with: (K, 48) in units of the picture's side."""
    if pictures.positions is None:
        return None
    return pictures.positions[torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))[:LAYOUTS]] / 255


def take_positions(labels: Tensor, layouts: Tensor, seeds: Sequence[int]) -> Tensor:
    """Labels (B, 24) -> labels and positions (B, 72) in units of the picture's side, each row's by its own seed: those
    of one of the `layouts` (K, 48), positions in training pictures, with as many objects; 0 if there is none."""
    found, layouts = labels.new_zeros(len(labels), 2, labels.shape[1]), layouts.unflatten(1, (2, -1))
    counts = (layouts[:, 0] > 0).sum(dim=1)  # (K,)
    for row, (asked, seed) in enumerate(zip(labels > 0, seeds, strict=True)):
        fitting = (counts == asked.sum()).nonzero().flatten().tolist()
        if asked.any() and fitting:
            choice = torch.randint(len(fitting), (), generator=torch.Generator().manual_seed(seed))
            chosen = layouts[fitting[choice]]  # (2, 24)
            found[row][:, asked] = chosen[:, chosen[0] > 0]
    return torch.cat([labels, found.flatten(1)], dim=1)

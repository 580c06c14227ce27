"""The judge, a ResNet18 that names the objects of a picture: the course's own file, or the one trained here.

A course checkpoint is `{"model": state_dict}` with keys conv1.weight ... fc.0.weight, fc.0.bias.
"""

import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from lab7.utils.files import UserError, data_dir, read_json, sha256, shipped_dir, short, write_bytes
from lab7.vocabulary import CLASSES

SIZE = (64, 64)  # of the pictures that the judge reads; others are resized to it
_WANTED = 'it should hold a ResNet18 judge saved as {"model": state_dict}'


def build_classifier() -> nn.Module:
    """The course's classifier with fresh weights: pictures (B, 3, 64, 64) in [-1, 1] -> (B, 24) in [0, 1]."""
    from torchvision.models import resnet18  # here, for it takes seconds to import, and a small judge needs none

    classifier = resnet18(weights=None)
    classifier.fc = nn.Sequential(nn.Linear(512, len(CLASSES)), nn.Sigmoid())
    return classifier


class SmallClassifier(nn.Module):
    """The second judge: pictures (B, 3, 64, 64) in [-1, 1] -> (B, 24) in [0, 1], by 1.3 million weights. Unlike the
    ResNet18 it keeps the full resolution for its first layers, has no skips, and pools by the maximum."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((3, 24, 48), (48, 96, 96), (96, 160, 160), (160, 224, 224))
        stages = [nn.Sequential(*_convolution(a, b), *_convolution(b, c)) for a, b, c in widths]
        self.stages = nn.Sequential(*(layer for stage in stages for layer in (stage, nn.MaxPool2d(2))))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Sequential(nn.Linear(widths[-1][-1], len(CLASSES)), nn.Sigmoid())

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(features(self, pictures))


def _convolution(entering: int, leaving: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(entering, leaving, 3, padding=1, bias=False), nn.BatchNorm2d(leaving), nn.ReLU()


BUILDERS: dict[str, Callable[[], nn.Module]] = {"resnet18": build_classifier, "small": SmallClassifier}


def features(classifier: nn.Module, pictures: Tensor) -> Tensor:
    """What the classifier's last layer sees: pictures (B, 3, 64, 64) in [-1, 1] -> (B, 512), or (B, 224) if small."""
    body = list(classifier.children())[:-1]
    return nn.Sequential(*body)(pictures).flatten(1)


@dataclass(frozen=True)
class Judge:
    """A classifier that is ready to read pictures, and where it came from."""

    model: nn.Module
    name: str  # for a reader
    sha256: str  # of the file of weights
    is_course: bool  # the course's own checkpoint rather than ours

    @torch.inference_mode()
    def probabilities(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """Pictures (N, 3, H, W), float in about [-1, 1] -> each class's probability (N, 24), on the CPU. Pictures of
        another size than 64x64 (a generator's 32x32, say) are first resized bilinearly to 64x64. Raises ValueError for
        another shape or for integer pictures."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"the judge reads float pictures (N, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        device = next(self.model.parameters()).device
        outputs = [self.model(_fit(batch.to(device).float())).cpu() for batch in images.split(batch_size)]
        return torch.cat(outputs) if len(images) else torch.empty(0, len(CLASSES))


def _fit(x: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) resized bilinearly to (B, 3, 64, 64), larger ones without alias."""
    if x.shape[-2:] == SIZE:
        return x
    return F.interpolate(x, SIZE, mode="bilinear", align_corners=False, antialias=min(x.shape[-2:]) > min(SIZE))


def default_judge(device: str | torch.device = "cpu") -> Judge:
    """The course's `data/checkpoint.pth` where it is present, else the judge that lab7 ships. Raises UserError where
    neither is there, or where the course's file cannot be read as a judge."""
    course = data_dir() / "checkpoint.pth"
    return load_judge(course if os.path.lexists(course) else shipped_dir() / "weights" / "judge.safetensors", device)


def second_judge(device: str | torch.device = "cpu") -> Judge:
    """The small judge that lab7 ships, of another architecture and trained on other scenes. UserError if it is gone."""
    return load_judge(shipped_dir() / "weights" / "second_judge.safetensors", device)


def load_judge(path: Path | str, device: str | torch.device = "cpu") -> Judge:
    """The judge in a file: ours where it ends in .safetensors, else a checkpoint of the course's form. Only tensors and
    plain containers are unpickled: a file that would run code is refused. Raises UserError for that, and where the file
    is missing, damaged, of another form, does not fit the classifier, holds NaN or infinity, or has not the checksum of
    the record beside it."""
    path = Path(path)
    is_course = path.suffix != ".safetensors"
    state = _read(path, is_course)
    record, digest = path.with_suffix(".json"), sha256(path)
    if not is_course and record.exists() and read_json(record, "a judge's record").get("sha256") != digest:
        raise UserError(f"{short(path)}: is damaged: its checksum is not the one in {record.name}; restore both files")
    if bad := next((name for name, value in state.items() if not _is_usable(value)), None):
        raise UserError(f"{short(path)}: '{bad}' holds NaN or infinity, or is no plain tensor; {_WANTED}")
    kind = "small" if not is_course and any(key.startswith("stages.") for key in state) else "resnet18"
    with torch.device("meta"):  # no fresh weights are drawn only to be replaced
        model = BUILDERS[kind]()
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:  # several lines: the network's name, then one for each fault
        fault = str(error).splitlines()[1].strip()[:150]
        raise UserError(f"{short(path)}: does not fit the classifier ({fault}); {_WANTED}") from None
    model = model.float().to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    name = f"{'the course' if is_course else 'lab7'}'s judge ({path.name})"
    return Judge(model.requires_grad_(False), name, digest, is_course)


def save_judge(path: Path | str, classifier: nn.Module) -> None:
    """Write the classifier's weights as float16 safetensors, atomically."""
    state = {name: v.half() if v.is_floating_point() else v for name, v in classifier.state_dict().items()}
    write_bytes(path, save({name: value.detach().cpu().contiguous() for name, value in state.items()}))


def _is_usable(value: Any) -> bool:
    """Whether it is a dense tensor of real, finite numbers."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and not (value.is_quantized or value.is_complex()) and bool(value.isfinite().all())


def _read(path: Path, is_course: bool) -> dict[str, Any]:
    """The weights in a file, by name, on the CPU; `module.` prefixes are taken off."""
    remedy = _WANTED if is_course else "train a judge with `lab7 judge --train`"
    try:
        if is_course and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch itself does not compare its checksums
                if any(part.CRC for part in archive.infolist()) and archive.testzip():
                    raise ValueError("damaged")
        content = torch.load(path, map_location="cpu", weights_only=True) if is_course else load_file(path)
    except FileNotFoundError:
        raise UserError(f"{short(path)}: no such file; {remedy}") from None
    except Exception as error:  # of many kinds, depending on where the file is damaged
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            fault = "refused, because reading it would run code and not only load weights; save it again: " + _WANTED
            raise UserError(f"{short(path)}: {fault}") from None
        raise UserError(f"{short(path)}: is damaged or holds no weights; {remedy}") from None
    if is_course:
        content = content.get("model") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f'{short(path)}: has no entry "model" with weights; {remedy}')
    return {key.removeprefix("module."): value for key, value in content.items()}

"""The judge, a ResNet18 that names the objects of a picture: the course's own file, or the one trained here.

A course checkpoint is `{"model": state_dict}` with keys conv1.weight ... fc.0.weight, fc.0.bias.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from lab7.utils.files import UserError, atomic_path, data_dir, sha256, shipped_dir, short
from lab7.vocabulary import CLASSES

PICTURE_SIZE = 64  # the judge reads pictures of this side; others are brought to it
_WANTED = 'a ResNet18 judge saved as {"model": state_dict}'


def build_classifier() -> nn.Module:
    """The course's classifier with fresh weights: pictures (B, 3, 64, 64) in [-1, 1] -> (B, 24) in [0, 1]."""
    classifier = resnet18(weights=None)
    classifier.fc = nn.Sequential(nn.Linear(512, len(CLASSES)), nn.Sigmoid())
    return classifier


class SmallClassifier(nn.Module):
    """The second judge: pictures (B, 3, 64, 64) in [-1, 1] -> (B, 24) in [0, 1], by 1.3 million weights.

    Unlike the ResNet18 it keeps the full resolution for its first layers, has no skips, and asks of each feature
    whether it is found anywhere (the largest value) rather than how much of it there is (the mean).
    """

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
"""The kinds of judges. The first is the course's own."""


def features(classifier: nn.Module, pictures: Tensor) -> Tensor:
    """What the classifier's last layer sees: pictures (B, 3, 64, 64) in [-1, 1] -> (B, 512), or (B, 224) if small."""
    body = list(classifier.children())[:-1]
    return nn.Sequential(*body)(pictures).flatten(1)


@dataclass(frozen=True)
class Judge:
    """A classifier that is ready to read pictures, and where it came from."""

    model: nn.Module
    name: str  # for a reader: which judge spoke
    sha256: str  # of the file of weights
    is_course: bool  # the course's own checkpoint rather than ours

    @torch.inference_mode()
    def probabilities(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """Pictures (N, 3, H, W), float in about [-1, 1] -> each class's probability (N, 24), on the CPU.

        Pictures of another size than 64x64 (a generator's 32x32, say) are first resized bilinearly to 64x64.
        Raises ValueError for another shape or for integer pictures.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"the judge reads float pictures (N, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        device = next(self.model.parameters()).device
        outputs = [self.model(_fit(batch.to(device).float())).cpu() for batch in images.split(batch_size)]
        return torch.cat(outputs) if len(images) else torch.empty(0, len(CLASSES))


def _fit(x: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) resized bilinearly to (B, 3, 64, 64), larger ones without alias."""
    if x.shape[-2:] == (PICTURE_SIZE, PICTURE_SIZE):
        return x
    size = (PICTURE_SIZE, PICTURE_SIZE)
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=min(x.shape[-2:]) > PICTURE_SIZE)


def default_judge(device: str | torch.device = "cpu") -> Judge:
    """The course's `data/checkpoint.pth` where it is present, else the judge that lab7 ships.

    Raises UserError where neither is there, or where the course's file cannot be read as a judge.
    """
    course = data_dir() / "checkpoint.pth"
    return load_judge(course if course.exists() else shipped_dir() / "weights" / "judge.safetensors", device)


def second_judge(device: str | torch.device = "cpu") -> Judge:
    """The small judge that lab7 ships, of another architecture and trained on other scenes. UserError if it is gone."""
    return load_judge(shipped_dir() / "weights" / "second_judge.safetensors", device)


def load_judge(path: Path | str, device: str | torch.device = "cpu") -> Judge:
    """The judge in a file: ours where it ends in .safetensors, else a checkpoint of the course's form.

    Raises UserError where the file is missing, damaged, would run code, or does not fit the classifier.
    """
    path = Path(path)
    is_course = path.suffix != ".safetensors"
    state = read_course_checkpoint(path) if is_course else _read_safetensors(path)
    with torch.device("meta"):  # no fresh weights are drawn only to be replaced
        model = BUILDERS[_kind(state)]()
    model.load_state_dict(state, assign=True)
    model = model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    name = f"{'the course' if is_course else 'lab7'}'s judge ({path.name})"
    return Judge(model.requires_grad_(False), name, sha256(path), is_course)


def save_judge(path: Path | str, classifier: nn.Module) -> None:
    """Write the classifier's weights as float16 safetensors, atomically."""
    state = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in classifier.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def read_course_checkpoint(path: Path | str) -> dict[str, Tensor]:
    """The state_dict of a file `{"model": state_dict}`, float32 on the CPU; `module.` prefixes are taken off.

    Only tensors and plain containers are unpickled: a file that would run code is refused. Raises UserError
    for that, and for a file that is missing, damaged, of another form, or whose weights do not fit.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{short(path)}: no such file; it should hold {_WANTED}") from None
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise UserError(
                f"{short(path)}: refused, because reading it would run code and not only load weights; "
                f"save it again as {_WANTED.removeprefix('a ResNet18 judge saved as ')}"
            ) from None
        raise _not_a_checkpoint(path) from None
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError):
        raise _not_a_checkpoint(path) from None
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UserError(f'{short(path)}: has no entry "model" with weights; it should hold {_WANTED}')
    return _checked(path, {key.removeprefix("module."): value for key, value in state.items()})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        state = dict(load_file(path))
        return _checked(path, state, _kind(state))
    except FileNotFoundError:
        raise UserError(
            f"{short(path)}: no such file; train a judge with `lab7 judge --train`, or put the course's "
            "checkpoint.pth into the data folder"
        ) from None
    except (SafetensorError, OSError):
        raise UserError(
            f"{short(path)}: is damaged or no safetensors file; train it with `lab7 judge --train`"
        ) from None


def _kind(state: dict[str, Any]) -> str:
    return "small" if any(key.startswith("stages.") for key in state) else "resnet18"


def _checked(path: Path, state: dict[str, Any], kind: str = "resnet18") -> dict[str, Tensor]:
    """The state in float32 if it fits the classifier name by name and shape by shape; UserError otherwise."""
    with torch.device("meta"):
        expected = BUILDERS[kind]().state_dict()
    for name, fresh in expected.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.tensor(0))  # files of old PyTorch lack it; nothing is computed from it
        if name not in state:
            raise UserError(f"{short(path)}: lacks the weight '{name}'; it should hold {_WANTED}")
        value = state[name]
        if not isinstance(value, Tensor) or value.shape != fresh.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UserError(f"{short(path)}: '{name}' should have shape {tuple(fresh.shape)}, but has {found}")
    if extra := sorted(set(state) - set(expected)):
        raise UserError(f"{short(path)}: holds '{extra[0]}', which no ResNet18 has; it should hold {_WANTED}")
    return {name: state[name].to(fresh.dtype) for name, fresh in expected.items()}


def _not_a_checkpoint(path: Path) -> UserError:
    return UserError(f"{short(path)}: is damaged or no PyTorch checkpoint; it should hold {_WANTED}")

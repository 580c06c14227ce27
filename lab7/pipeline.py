"""A trained network as a file, and pictures drawn with it: conditions in, pictures in [-1, 1] out."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lab7 import config
from lab7.config import Preset
from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.normalizer import Normaliser
from lab7.diffusion_classifier import best_of_tries, errors, evidence, verdict
from lab7.efficient_unet import EfficientUNet
from lab7.samplers import SAMPLERS, Callback
from lab7.schedule import NoiseSchedule
from lab7.unet import UNet
from lab7.utils.files import UserError, atomic_path, short
from lab7.utils.memory import keep_memory
from lab7.utils.provenance import choose_precision

CLAMPS = ("none", "output", "x_0")
LOOKS = 2  # noises in which a drawn picture is looked at, where more than one try is allowed


def build_model(preset: Preset, seed: int = 0) -> nn.Module:
    """The preset's network with freshly drawn weights, the same for the same seed; the caller's random state
    is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes: dict[str, Any] = {"image_size": preset.data.image_size, "num_steps": preset.diffusion.num_steps}
        switches = dataclasses.asdict(preset.model)
        if switches.pop("network") == "report":
            return UNet(**sizes, **switches)
        common = {name: switches[name] for name in ("condition_at", "embeddings")}
        return EfficientUNet(**sizes, **dataclasses.asdict(preset.modern), **common)


def make_schedule(preset: Preset) -> NoiseSchedule:
    """The preset's noise schedule."""
    plan = preset.diffusion
    return NoiseSchedule(plan.schedule, plan.num_steps, shift=plan.shift)


def save_weights(path: Path | str, model: nn.Module, normaliser: Normaliser, preset: Preset) -> None:
    """Write weights in float16, normaliser and configuration as one safetensors file, atomically."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    tensors |= {f"normaliser.{key}": value for key, value in normaliser.state().items()}
    _write_weights(path, tensors, preset)


def relabel_weights(path: Path, preset: Preset) -> None:
    """Write another configuration into a file of `save_weights`, whose weights stay as they are; atomically."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _write_weights(path, tensors, preset)


def _write_weights(path: Path | str, tensors: dict[str, Tensor], preset: Preset) -> None:
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"lab7": json.dumps(config.to_dict(preset))})


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A trained network with all that it needs to draw."""

    model: nn.Module
    schedule: NoiseSchedule
    normaliser: Normaliser
    preset: Preset
    path: Path | None = None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def image_size(self) -> int:
        return self.preset.data.image_size

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard normal x_T (count, 3, S, S), made on the CPU so that it is the same on every device."""
        shape = (count, 3, self.image_size, self.image_size)
        return torch.randn(shape, generator=generator).to(self.device)

    def to_pixels(self, x: Tensor, size: int = 64) -> Tensor:
        """Model space (B, 3, S, S) -> pictures (B, 3, size, size) in about [-1, 1], on the CPU."""
        pixels = self.normaliser.decode(x).float()
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        return pixels.cpu()

    def clamp(self, x: Tensor) -> Tensor:
        """Model space -> model space with pixels outside [-1, 1] brought back to it."""
        return self.normaliser.from_pixels(self.normaliser.decode(x).clamp(-1, 1))

    def look(self, x_0: Tensor, labels: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        """How evident each asked object is to the network in x_0 (B, 3, S, S) of model space, (B, 24), infinite where
        labels (B, 24) are 0, and what is left unexplained, the mean squared error of x_0 under the whole condition,
        (B,): see evidence.py. `seed` makes the noises to look in, the same for all pictures."""
        noises = self.noise(LOOKS, torch.Generator().manual_seed(_mix(-1 - seed, 0)))
        target = self.preset.diffusion.target
        whole, without = errors(self.model, self.schedule, x_0, labels, noises, target=target, exchange=True)
        return evidence(whole, without), whole

    def draw(
        self,
        conditions: Sequence[Sequence[str]],
        *,
        sampler: str | None = None,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        spacing: str | None = None,
        stop_at: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        precision: str | None = None,
        samples: int = 1,
        seed: int = 0,
        batch_size: int = 64,
        size: int = 64,
        clamp: str | None = None,
        tries: int | None = None,
        enough: float | None = None,
        unexplained: float | None = None,
        callback: Callback | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Draw every condition `samples` times -> (len(conditions) * samples, 3, size, size) in about [-1, 1].

        All samples of the first condition come first. What is not given comes from the preset's `sampling`.
        The noise of a picture depends on the seed and on its place in the list alone, not on the batch size.
        `clamp` brings pixels back to [-1, 1] in the "output" once, or in the predicted "x_0" at every step. A picture
        in which some asked object is less evident to the network than `enough`, or more is `unexplained` for each, is
        drawn anew, up to `tries` times in all, and the best is kept (see evidence.verdict); `callback` wants one try.
        Raises UserError for an unknown sampler or clamp, a bad number of steps, samples or tries, and bad conditions.
        """
        plan = self.preset.sampling
        function = _known("sampler", sampler or plan.sampler, SAMPLERS)
        clamp = _known("clamp", clamp or plan.clamp, {name: name for name in CLAMPS})
        tries = (1 if callback else plan.tries) if tries is None else tries
        enough = plan.enough if enough is None else enough
        unexplained = plan.unexplained if unexplained is None else unexplained
        for what, number in (("samples", samples), ("tries", tries)):
            if number < 1:
                raise UserError(f"the number of {what} must be at least 1, not {number}")
        if callback and tries > 1:
            raise UserError(f"a callback follows one drawing of each picture; set tries to 1, not {tries}")
        steps = min(plan.num_steps, self.schedule.num_steps) if num_steps is None else num_steps
        spacing = spacing or plan.spacing
        stop_at = plan.stop_at if stop_at is None else stop_at
        self.schedule.timesteps(steps, spacing, stop_at)
        labels = conditions_tensor(conditions).repeat_interleave(samples, dim=0).to(self.device)  # (N * K, 24)
        bf16 = choose_precision(self.device, precision or plan.draw_precision) == "bf16"
        if self.device.type == "cpu":
            keep_memory()
        self.model.eval()

        def draw_rows(rows: Tensor, attempt: int) -> Tensor:
            """x_0 in model space of some rows of `labels`, from noise that each attempt has for itself."""
            own = seed if attempt == 0 else _mix(seed, -attempt)
            generators = [torch.Generator().manual_seed(_mix(own, row)) for row in rows.tolist()]
            x_0 = function(
                self.model,
                self.schedule,
                torch.cat([self.noise(1, generator) for generator in generators]),
                labels[rows],
                steps,
                plan.guidance_scale if guidance_scale is None else guidance_scale,
                generators,
                callback,
                target=self.preset.diffusion.target,
                transform_x_0=self.clamp if clamp == "x_0" else None,
                spacing=spacing,
                stop_at=stop_at,
                guidance_interval=guidance_interval or (plan.guidance_from, plan.guidance_to),
            )
            return self.clamp(x_0) if clamp == "output" else x_0

        def look(x_0: Tensor, rows: Tensor) -> Tensor:
            return verdict(*self.look(x_0, labels[rows], seed), enough, unexplained or math.inf).cpu()

        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            kept = best_of_tries(draw_rows, look, len(labels), tries, enough, batch_size, progress)
        return torch.cat([self.to_pixels(part, size) for part in kept.split(batch_size)])


def load_pipeline(path: Path | str, device: str | torch.device = "cpu") -> Pipeline:
    """Read a file that `save_weights` wrote. Raises UserError if it is missing, damaged or of another kind."""
    path, tensors, metadata = _read_weights(path)
    try:
        preset = config.from_dict(json.loads(metadata["lab7"]), where=short(path))
        normaliser = Normaliser.from_state({key: tensors.pop(f"normaliser.{key}") for key in ("mean", "std")})
        model = build_model(preset)
        model.load_state_dict(tensors)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _not_ours(path, error) from None
    model = model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    schedule = make_schedule(preset).to(device)
    return Pipeline(model, schedule, normaliser.to(device), preset, path)


def start_from(model: nn.Module, path: Path | str) -> tuple[Path, list[str]]:
    """Give a model the weights of a file that `save_weights` wrote, wherever name and shape are the same.

    Returns the file and the names of the model's weights that it lacks, which stay as they were: the parts in which
    the two networks differ. Raises UserError if the file is missing or damaged, or holds nothing that fits.
    """
    path, tensors, _ = _read_weights(path)
    own = model.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise UserError(f"{short(path)}: holds no weights of this network; train from the weights of its own kind")
    model.load_state_dict(fitting, strict=False)
    return path, [name for name in own if name not in fitting]


def weights_file(path: Path | str) -> Path:
    """A file of weights: itself, or that of a run where the run's folder is given."""
    path = Path(path)
    return path / "weights.safetensors" if path.is_dir() else path


def _read_weights(path: Path | str) -> tuple[Path, dict[str, Tensor], dict[str, str]]:
    """The file (see weights_file), its tensors in float32, and what is written beside them."""
    path = weights_file(path)
    if not path.exists():
        raise UserError(f"{short(path)}: no such weights; train some with 'lab7 train', or name another file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, ValueError, OSError) as error:
        raise _not_ours(path, error) from None
    return path, {name: v.float() if v.is_floating_point() else v for name, v in tensors.items()}, metadata


def _not_ours(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{short(path)}: not weights that 'lab7 train' wrote ({reason})")


def _known(what: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise UserError(f"unknown {what} '{name}'; known: {', '.join(table)}")
    return table[name]


def _mix(seed: int, index: int) -> int:
    """One seed out of two numbers, far from those of neighbouring pairs."""
    return (seed * 1_000_003 + index * 7_919 + 12_345) % (2**63 - 1)

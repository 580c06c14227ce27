"""A trained network as a file, and pictures drawn with it: conditions in, pictures in [-1, 1] out."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from lab7 import config
from lab7.config import Preset, SamplingConfig
from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.normalizer import Normaliser
from lab7.dataset.positions import take_positions
from lab7.efficient_unet import EfficientUNet
from lab7.samplers import SAMPLERS, Callback, guided_denoiser
from lab7.schedule import NoiseSchedule
from lab7.unet import UNet
from lab7.utils.files import UserError, read_json, sha256, short, write_bytes
from lab7.utils.provenance import choose_precision
from lab7.utils.seeds import mix_seed
from lab7.vocabulary import CLASSES


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
        return EfficientUNet(**sizes, **dataclasses.asdict(preset.efficient), **common)


def make_schedule(preset: Preset) -> NoiseSchedule:
    """The preset's noise schedule."""
    plan = preset.diffusion
    return NoiseSchedule(plan.schedule, plan.num_steps, shift=plan.shift)


def save_weights(
    path: Path | str, model: nn.Module, normaliser: Normaliser, preset: Preset, layouts: Tensor | None = None
) -> None:
    """Write weights in float16 (in float32 where one is too large for it), layouts, normaliser and configuration as one
    safetensors file, atomically."""
    state = model.state_dict() | ({} if layouts is None else {"layouts": layouts})
    tensors = {name: v.detach().cpu().contiguous() for name, v in state.items()}
    halves = {name: v.half() for name, v in tensors.items() if v.is_floating_point()}
    tensors |= {name: half for name, half in halves.items() if half.isfinite().all()}
    tensors |= {"normaliser.mean": normaliser.mean.cpu(), "normaliser.std": normaliser.std.cpu()}
    write_bytes(path, save(tensors, metadata={"lab7": json.dumps(config.to_dict(preset))}))


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A trained network with all that it needs to draw."""

    model: nn.Module
    schedule: NoiseSchedule
    normaliser: Normaliser
    preset: Preset
    layouts: Tensor | None = None  # (K, 48), see dataset/positions.py; None for a network that is not told positions

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

    def condition(
        self,
        conditions: Sequence[Sequence[str]],
        samples: int = 1,
        seed: int = 0,
        first: int = 0,
        place_objects: bool = True,
    ) -> Tensor:
        """What the network is told to draw these conditions: (N * samples, 24), with positions (N * samples, 72)."""
        labels = conditions_tensor(conditions).repeat_interleave(samples, dim=0).to(self.device)  # (N * K, 24)
        if self.layouts is None or not place_objects:
            return labels
        return take_positions(labels, self.layouts, [mix_seed(seed, 1, first + row) for row in range(len(labels))])

    def __call__(
        self,
        conditions: Sequence[Sequence[str]],
        *,
        sampling: SamplingConfig | None = None,
        samples: int = 1,
        seed: int = 0,
        first: int = 0,
        size: int = 64,
        batch_size: int = 64,
        callback: Callback | None = None,
        progress: bool = False,
        **changes: Any,
    ) -> Tensor:
        """Draw every condition `samples` times -> (len(conditions) * samples, 3, size, size) in about [-1, 1].

        All samples of the first condition come first. They are drawn as `sampling` says, by default the preset's, with
        `changes` to its fields, such as num_steps=20. The noise of a picture and the positions of its objects depend
        on the seed and its place alone, which counts from `first` on.
        Raises UserError for a bad setting, condition or number of samples.
        """
        if not len(conditions):
            raise UserError("there are no conditions to draw")
        plan = self.sampling(sampling, samples=samples, **changes)
        timesteps = self.schedule.timesteps(plan.num_steps, plan.t_end)
        condition = self.condition(conditions, samples, seed, first, plan.place_objects)  # (N * K, 24) or (N * K, 72)
        self.model.eval()

        def draw(rows: Tensor) -> Tensor:
            """Pictures of some rows of `condition`."""
            generators = [torch.Generator().manual_seed(mix_seed(seed, 0, first + row)) for row in rows.tolist()]
            denoise = guided_denoiser(
                self.model,
                self.schedule,
                condition[rows],
                target=self.preset.diffusion.target,
                guidance_scale=plan.guidance_scale,
                clamp=self.clamp if plan.clamp == "x_0" else None,
                callback=callback,
            )
            x_T = torch.cat([self.noise(1, generator) for generator in generators])
            x_0 = SAMPLERS[plan.sampler](denoise, self.schedule, timesteps, x_T, generators)
            return self.to_pixels(self.clamp(x_0) if plan.clamp == "output" else x_0, size)

        batches = torch.arange(len(condition)).split(batch_size)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=plan.draw_precision == "bf16"):
            return torch.cat([draw(rows) for rows in tqdm(batches, "draw", disable=not progress, unit="batch")])

    def sampling(self, sampling: SamplingConfig | None = None, **changes: Any) -> SamplingConfig:
        """What a call with these arguments draws with: precision chosen, and at most T steps unless they are given."""
        plan = sampling or self.preset.sampling
        if "num_steps" not in changes:
            plan = dataclasses.replace(plan, num_steps=min(plan.num_steps, self.schedule.num_steps))
        plan = config.change_sampling(plan, **changes)
        return dataclasses.replace(plan, draw_precision=choose_precision(self.device, plan.draw_precision))  # type: ignore[arg-type]


def load_pipeline(path: Path | str, device: str | torch.device = "cpu") -> Pipeline:
    """Read a file that `save_weights` wrote. Raises UserError if it is missing, damaged or of another kind, or if its
    checksum is not the one in the run's result.json."""
    path, tensors, metadata = _read_weights(path)
    try:
        preset = config.from_dict(json.loads(metadata["lab7"]), where=short(path))
        normaliser = Normaliser(tensors.pop("normaliser.mean"), tensors.pop("normaliser.std"))
        model, size = build_model(preset), preset.data.image_size
        layouts = tensors.pop("layouts", torch.empty(0)) if getattr(model, "positions", False) else None
        model.load_state_dict(tensors)
        if layouts is not None and layouts.shape[1:] != (2 * len(CLASSES),):
            raise ValueError(f"the positions to draw with are missing or of another shape, {tuple(layouts.shape)}")
        if normaliser.mean.shape != (3, size, size) or normaliser.std.shape != ():
            raise ValueError(f"its mean picture is not of {size}x{size} pixels")
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _not_ours(path, error) from None
    model = model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    schedule = make_schedule(preset).to(device)
    return Pipeline(model, schedule, normaliser.to(device), preset, None if layouts is None else layouts.to(device))


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
        recorded = "this run is recorded without weights; of the shipped runs only 'laptop' has some"
        reason = recorded if path.with_name("result.json").exists() else "no such weights"
        raise UserError(f"{short(path)}: {reason}; train some with 'lab7 train', or name another file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        record = path.with_name("result.json")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("holds numbers that are not finite")
        if path.name == "weights.safetensors" and record.exists():
            recorded = read_json(record, "a run's result").get("weights_sha256")
            if recorded not in (None, sha256(path)):
                raise ValueError("damaged or exchanged: its checksum is not the one in result.json")
    except (SafetensorError, ValueError, OSError) as error:
        raise _not_ours(path, error) from None
    return path, {name: v.float() if v.is_floating_point() else v for name, v in tensors.items()}, metadata


def _not_ours(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{short(path)}: not weights that 'lab7 train' wrote ({reason})")

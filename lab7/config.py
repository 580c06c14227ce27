"""Every choice of the lab in one place: frozen dataclasses, and one table of presets."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lab7.utils.files import UserError

SamplerName = Literal["ddpm", "ddim", "dpm_solver_pp", "sde_dpm_solver_pp"]


@dataclass(frozen=True)
class DataConfig:
    """The pictures."""

    scenes: int = 6003  # scenes of the stand-in; three pictures each
    scene_seed: int = 0  # of the stand-in
    image_size: int = 64  # pixels; pictures are squashed to a square of this side
    normalise: Literal["deviation", "whitened", "plain"] = "deviation"  # see normalise.py; "plain" is [-1, 1]
    holdout_pairs: Literal["no", "yes"] = "no"  # yes: pictures with one of 24 pairs of classes are not trained on


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and the switches of the report's U-Net; our own knows condition_at and embeddings too."""

    network: Literal["report", "modern"] = "report"  # the report's U-Net, or our efficient one (section modern)
    n_feature: int = 256  # channels F of the report's U-Net
    condition_at: Literal["up", "down", "up_down", "hidden", "none"] = "up_down"  # where label and time enter
    embeddings: Literal["separate", "shared"] = "separate"  # one pair a place, or one a width
    init: Literal["report", "default"] = "report"  # by hand (Fig. 14), or PyTorch's
    modulation: Literal["product", "one_plus", "adaptive"] = "product"  # c * x + t; (1 + c) * x + t; that on group norm
    norm: Literal["batch", "group"] = "batch"  # in every convolution block


@dataclass(frozen=True)
class ModernConfig:
    """Our efficient U-Net."""

    patch: int = 4  # side of the squares of pixels that it works on
    widths: tuple[int, ...] = (160, 192)  # channels of each level; a level has half the size of the one before
    blocks: tuple[int, ...] = (2, 2)  # of each level, on the way down and again on the way up
    embedding: int = 192  # width of time, label and object tokens
    tokens: Literal["yes", "no"] = "yes"  # one an object, to be looked at
    tokens_at: Literal["lowest", "all"] = "lowest"  # the levels that look at them
    scale_by: Literal["one_plus", "product"] = "one_plus"  # how a block is told: (1 + c) * h + t, or c * h + t


@dataclass(frozen=True)
class DiffusionConfig:
    """The forward process and what the network is asked for."""

    schedule: Literal["linear", "linear_eq3", "linear_listing", "cosine", "shifted"] = "linear"
    shift: float = 5.0  # of "shifted": how much lower its log signal-to-noise ratio is than the cosine's
    num_steps: int = 1000  # T
    target: Literal["eps", "x_0", "v"] = "eps"  # what the network predicts
    draw_t: Literal["uniform", "stratified", "logit_normal"] = "uniform"  # logit_normal: fewer at both ends of 1..T
    weight: Literal["none", "min_snr", "v"] = "none"  # of a step in the loss; v: as a loss on v would weigh it
    drop_probability: float = 0.1  # how often a sample is trained without its condition (for guidance)


@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    seed: int = 0  # of weights, order of pictures, steps and noise
    epochs: int = 500  # passes over the pictures
    max_steps: int = 0  # stop after so many steps if that is sooner; 0: never
    batch_size: int = 32  # over all processes together
    optimizer: Literal["adam", "adamw", "muon"] = "adam"  # muon: for the inner matrices, with AdamW for the rest
    learning_rate: float = 1e-3  # the highest
    matrix_rate: float = 0.02  # the highest of Muon
    weight_decay: float = 0.0  # AdamW and Muon
    plan: Literal["constant", "linear", "cosine", "plateau", "report"] = "linear"  # report: linear times plateau
    warmup_steps: int = 0  # steps of linear rise before the plan
    clip_norm: float = 1.0  # largest norm of the gradient; 0: no clipping
    ema_decay: float = 0.999  # of the average of the weights that is sampled from; 0: none
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 where the hardware has it
    compile: Literal["no", "yes"] = "no"  # by torch.compile: for GPUs, where it pays after a minute
    save_every: int = 500  # steps between checkpoints
    snapshots: int = 8  # sets of pictures drawn along the way, spread evenly over the logarithm of the epochs
    evaluate_every: int = 0  # epochs between scorings by the judge (plans "plateau" and "report" need them); 0: never


@dataclass(frozen=True)
class SamplingConfig:
    """How pictures are drawn and scored."""

    sampler: SamplerName = "ddim"
    num_steps: int = 50  # network evaluations (twice as many with guidance)
    spacing: Literal["time", "log_snr"] = "time"  # in what the steps are equally long
    stop_at: float = 0.0  # t / T below which the network is not asked: the picture predicted there is the answer
    guidance_scale: float = 2.0  # 1: the plain conditional model
    guidance_from: float = 0.0  # guidance acts where t / T is at least this
    guidance_to: float = 1.0  # and at most this
    clamp: Literal["none", "output", "x_0"] = "none"  # pixels to [-1, 1]: of the drawn picture, or of each x_0
    draw_precision: Literal["auto", "bf16", "fp32"] = "auto"  # of the network; auto: bf16 where the hardware has it
    tries: int = (
        1  # pictures drawn at most in place of one, until the network sees in one what was asked; see evidence.py
    )
    enough: float = 0.4  # how evident the least evident object must be
    unexplained: float = 0.0  # and how large the error may be for each object, in model space; 0: any
    samples: int = 8  # pictures of each condition in an evaluation
    noise_seed: int = 0


@dataclass(frozen=True)
class JudgeConfig:
    """The training of our own judge."""

    judge_scenes: int = 6000  # scenes that the judge is trained on, apart from those of the generator
    passes: int = 8  # over their pictures
    peak_rate: float = 1.5e-3  # the highest learning rate, of one cycle
    plain_share: float = 0.0  # of the scenes: rendered as the generator's are, not with other cameras and lamps
    exam_scenes: int = 2000  # unseen scenes on which the judge is examined


@dataclass(frozen=True)
class Preset:
    """All choices of a run."""

    name: str
    what: str  # one line for a reader
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    modern: ModernConfig = field(default_factory=ModernConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


_SMALL = Preset(
    name="small",
    what="the report's U-Net from scratch, at a size for two CPU cores: an hour an arm with bf16, two without",
    data=DataConfig(image_size=32),
    model=ModelConfig(n_feature=48),
    train=TrainConfig(epochs=24, warmup_steps=200),
)
_SHORT = dataclasses.replace(
    _SMALL,
    name="short",
    what="the same, narrow and stopped early: eight minutes an arm on one core, to see which begins to listen",
    model=ModelConfig(n_feature=24),
    train=TrainConfig(epochs=5, warmup_steps=100),
    sampling=SamplingConfig(num_steps=25, samples=2),
)
_LAPTOP = Preset(
    name="laptop",
    what="our own U-Net from scratch on two CPU cores: an hour with bf16 in hardware, four without",
    model=ModelConfig(network="modern"),
    modern=ModernConfig(tokens_at="all"),
    diffusion=DiffusionConfig(schedule="shifted", target="x_0", weight="v", draw_t="logit_normal"),
    train=TrainConfig(epochs=24, batch_size=48, optimizer="muon", weight_decay=0.01, warmup_steps=200, save_every=1000),
    sampling=SamplingConfig(
        sampler="sde_dpm_solver_pp", num_steps=8, stop_at=0.25, tries=8, enough=0.3, unexplained=0.01
    ),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="smoke",
            what="everything from scratch at toy size, in about two minutes",
            data=DataConfig(scenes=60, image_size=32),
            model=ModelConfig(n_feature=8),
            modern=ModernConfig(widths=(32, 32), blocks=(1, 1), embedding=32),
            diffusion=DiffusionConfig(num_steps=100),
            train=TrainConfig(epochs=3, save_every=10, snapshots=2, ema_decay=0.9),
            sampling=SamplingConfig(num_steps=5, samples=1),
            judge=JudgeConfig(judge_scenes=60, passes=1, exam_scenes=20),
        ),
        dataclasses.replace(
            _SMALL,
            name="quick",
            what="shipped weights and recorded runs; trains only a short demonstration",
            train=dataclasses.replace(_SMALL.train, max_steps=60, save_every=60, snapshots=3),
        ),
        _SMALL,
        _SHORT,
        _LAPTOP,
        Preset(
            name="course",
            what="the report's own hyperparameters, for one GPU",
            data=DataConfig(normalise="plain"),
            diffusion=DiffusionConfig(drop_probability=0.0),
            train=TrainConfig(plan="report", clip_norm=0.0, ema_decay=0.0, evaluate_every=5),
            sampling=SamplingConfig(sampler="ddpm", num_steps=1000, guidance_scale=1.0),
        ),
        Preset(
            name="best",
            what="the strongest model that we know how to train, for one or more GPUs",
            model=_LAPTOP.model,
            modern=ModernConfig(patch=2, widths=(128, 256, 384), blocks=(2, 2, 3), embedding=512),
            diffusion=_LAPTOP.diffusion,
            train=dataclasses.replace(
                _LAPTOP.train,
                epochs=300,
                batch_size=128,
                warmup_steps=1000,
                ema_decay=0.9998,
                compile="yes",
                save_every=2000,
            ),
            sampling=_LAPTOP.sampling,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; UserError with the known names otherwise."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}'{_suggest(name, PRESETS)}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def override(preset: Preset, settings: Iterable[str]) -> Preset:
    """The preset with settings such as "batch_size=16" or "train.seed=3" changed.

    A field may be named alone where only one section has it. Raises UserError for an unknown or ambiguous field
    (with the nearest name) and for a value that does not fit the field's type.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"setting '{setting}' is not of the form field=value, such as batch_size=16")
        section, name = _find_field(path.strip())
        part = getattr(preset, section)
        value = _parse(get_type_hints(type(part))[name], text.strip(), path.strip())
        preset = dataclasses.replace(preset, **{section: dataclasses.replace(part, **{name: value})})
    return preset


def to_dict(preset: Preset) -> dict[str, Any]:
    """Nested plain dictionaries, for JSON."""
    return dataclasses.asdict(preset)


def from_dict(values: dict[str, Any], where: str = "config") -> Preset:
    """The preset that `to_dict` wrote; UserError for a field that this version does not know."""
    sections = {}
    for section, kind in _SECTIONS.items():
        given = values.get(section, {})
        unknown = set(given) - {f.name for f in dataclasses.fields(kind)}
        if unknown:
            raise UserError(f"{where}: unknown setting '{section}.{min(unknown)}'; was it made by a newer lab7?")
        sections[section] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    return Preset(name=values["name"], what=values["what"], **sections)


_SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "modern": ModernConfig,
    "diffusion": DiffusionConfig,
    "train": TrainConfig,
    "sampling": SamplingConfig,
    "judge": JudgeConfig,
}


def field_names() -> list[str]:
    """Every setting as section.field, in order."""
    return [f"{section}.{f.name}" for section, kind in _SECTIONS.items() for f in dataclasses.fields(kind)]


def _find_field(path: str) -> tuple[str, str]:
    known = field_names()
    matches = [name for name in known if path in (name, name.split(".")[1])]
    if len(matches) > 1:
        raise UserError(f"setting '{path}' is ambiguous; say {' or '.join(matches)}")
    if not matches:
        names = known + [name.split(".")[1] for name in known]
        raise UserError(f"unknown setting '{path}'{_suggest(path, names)}; known: {', '.join(known)}")
    section, name = matches[0].split(".")
    return section, name


def _parse(kind: Any, text: str, path: str) -> Any:
    if get_origin(kind) is tuple:
        parts = text.strip("()[] ").rstrip(",").split(",")  # 160,192 or (160, 192)
        return tuple(_parse(get_args(kind)[0], part.strip(), path) for part in parts)
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UserError(f"{path} must be one of {', '.join(get_args(kind))}, not '{text}'")
        return text
    try:
        value = kind(text)
    except ValueError:
        raise UserError(f"{path} must be {'a whole number' if kind is int else 'a number'}, not '{text}'") from None
    if value < 0:
        raise UserError(f"{path} must not be negative, but is {text}")
    return value


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""

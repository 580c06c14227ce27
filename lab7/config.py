"""Every choice of the lab in one place: frozen dataclasses, and one table of presets."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, get_type_hints

from lab7.utils import settings
from lab7.utils.files import UserError
from lab7.utils.settings import Count, CountOrNone, NotNegative, Positive, Precision, Range, Seed, Share

SamplerName = Literal["ddpm", "ddim", "dpm_solver_pp", "sde_dpm_solver_pp"]


@dataclass(frozen=True)
class DataConfig:
    """The pictures."""

    scenes: Count = 6003  # of the synthetic pictures, three of each scene
    scene_seed: Seed = 0  # of the synthetic pictures
    image_size: Annotated[int, Range(8, 1024)] = 64  # pixels; pictures are squashed to a square of this side
    normalise: Literal["deviation", "plain"] = "deviation"  # see dataset/normalizer.py; plain is [-1, 1]
    holdout_pairs: bool = False  # leave out the pictures that hold one of 24 pairs of classes


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and the switches of the report's U-Net; our own knows condition_at and embeddings too."""

    network: Literal["report", "efficient"] = "report"  # the report's U-Net, or ours (section efficient)
    n_feature: Count = 256  # channels F of the report's U-Net
    condition_at: Literal["up", "down", "up_down", "hidden", "none"] = "up_down"  # where label and time enter
    embeddings: Literal["separate", "shared"] = "separate"  # one pair for each place, or one for each width
    init: Literal["report", "default"] = "report"  # by hand (Fig. 14), or PyTorch's
    modulation: Literal["product", "one_plus", "adaptive"] = "product"  # c * x + t; (1 + c) * x + t; that on group norm
    norm: Literal["batch", "group"] = "batch"  # in every convolution block


@dataclass(frozen=True)
class EfficientConfig:
    """Our efficient U-Net."""

    patch: Annotated[int, Range(1, 16)] = 4  # side of the squares of pixels that it works on
    widths: tuple[Count, ...] = (160, 192)  # channels of each level; a level has half the size of the one before
    blocks: tuple[Count, ...] = (2, 2)  # of each level, on the way down and again on the way up
    embedding: Count = 192  # width of time, label and object tokens
    tokens: bool = True  # one token for each object, for attention
    tokens_at: Literal["lowest", "all"] = "lowest"  # the levels that attend to them
    scale_by: Literal["one_plus", "product"] = "one_plus"  # modulation of a block: (1 + c) * h + t; c * h + t
    positions: bool = False  # also tell the network where each object stands


@dataclass(frozen=True)
class DiffusionConfig:
    """The forward process and what the network predicts."""

    schedule: Literal["linear", "linear_eq3", "linear_listing", "cosine", "shifted"] = "linear"
    shift: Annotated[float, Range(-20, 20)] = 5.0  # of "shifted": how much lower its log SNR is than the cosine's
    num_steps: Annotated[int, Range(2, 100_000)] = 1000  # T
    target: Literal["eps", "x_0", "v"] = "eps"  # what the network predicts
    timestep_sampling: Literal["uniform", "stratified", "logit_normal"] = "uniform"  # of t in training
    loss_weighting: Literal["none", "min_snr", "v"] = "none"  # of a timestep; v: as a loss on v would weigh it
    drop_probability: Share = 0.1  # how often a sample is trained without its condition (for guidance)


@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    seed: Seed = 0  # of weights, order of pictures, timesteps and noise
    epochs: Annotated[int, Range(1, 10**9)] = 500  # passes over the pictures
    max_steps: CountOrNone = 0  # stop after so many steps if that is sooner; 0: never
    batch_size: Count = 32  # over all processes together
    optimizer: Literal["adam", "adamw", "muon"] = "adam"  # muon: for the inner matrices, with AdamW for the rest
    learning_rate: Positive = 1e-3  # the highest
    muon_learning_rate: Positive = 0.02  # the highest of Muon
    weight_decay: NotNegative = 0.0  # AdamW and Muon
    lr_schedule: Literal["constant", "linear", "cosine", "plateau", "report"] = "linear"  # report: linear times plateau
    warmup_steps: CountOrNone = 0  # steps of linear rise at the beginning
    clip_norm: NotNegative = 1.0  # largest norm of the gradient; 0: no clipping
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.999  # of the averaged weights that are sampled from; 0: none
    precision: Precision = "auto"
    compile: bool = False  # by torch.compile: for GPUs, where it pays after a minute
    save_every: Count = 500  # steps between checkpoints
    snapshots: CountOrNone = 8  # sets of pictures drawn on the way, spread evenly over the logarithm of the epochs
    evaluate_every: CountOrNone = 0  # epochs between scorings (lr_schedule plateau and report need them); 0: never


@dataclass(frozen=True)
class SamplingConfig:
    """How pictures are drawn and scored."""

    sampler: SamplerName = "ddim"
    num_steps: Count = 50  # network evaluations (twice as many with guidance)
    t_end: Annotated[float, Range(0, 0.999)] = 0.0  # stop at this t / T: the x_0 predicted there is the picture
    guidance_scale: NotNegative = 2.0  # 1: the plain conditional model
    place_objects: bool = True  # each at a position drawn from training pictures, if the network is told positions
    clamp: Literal["none", "output", "x_0"] = "none"  # pixels to [-1, 1]: of the drawn picture, or of each x_0
    draw_precision: Precision = "auto"  # of the network
    samples: Annotated[int, Range(1, 100_000)] = 8  # pictures of each condition in an evaluation
    noise_seed: Seed = 0


@dataclass(frozen=True)
class JudgeConfig:
    """The training of our own judge."""

    judge_scenes: Count = 6000  # scenes that the judge is trained on, apart from those of the generator
    judge_epochs: Count = 8  # over their pictures
    judge_learning_rate: Positive = 1.5e-3  # the highest, of one cycle
    plain_share: Share = 0.0  # of the scenes: rendered as the generator's are, without domain randomization
    evaluation_scenes: Count = 2000  # unseen scenes on which the judge is evaluated


@dataclass(frozen=True)
class Preset:
    """All choices of a run."""

    name: str = ""
    what: str = ""  # one line for a reader
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    efficient: EfficientConfig = field(default_factory=EfficientConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


_SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in fields(Preset) if f.name not in ("name", "what")}


def get_preset(name: str) -> Preset:
    """The preset of that name; UserError with the known names otherwise."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}'{settings.suggest(name, PRESETS)}")
    return PRESETS[name]


def field_names() -> list[str]:
    """Every setting as section.field, in order."""
    return [f"{section}.{f.name}" for section, kind in _SECTIONS.items() for f in fields(kind)]


def override(preset: Preset, changes: Iterable[str]) -> Preset:
    """The preset with settings such as "batch_size=16" or "train.seed=3" changed.

    A field may be named alone where only one section has it. Raises UserError for an unknown or ambiguous field
    (with the nearest name), and for a value that is not of the field's type or lies outside its range.
    """
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"setting '{change}' is not of the form field=value, such as batch_size=16")
        section, name = _find_field(path.strip())
        part = getattr(preset, section)
        kind = get_type_hints(type(part), include_extras=True)[name]
        value = settings.parse_value(kind, text.strip(), path.strip())
        preset = replace(preset, **{section: replace(part, **{name: value})})
    return preset


def check_used(before: Preset, after: Preset) -> None:
    """Raises UserError where settings changed our own network, but the network is the report's."""
    if after.model.network == "report" and after.efficient != before.efficient:
        raise UserError("widths, blocks and the like are settings of network=efficient; the report's network has none")


def change_sampling(sampling: SamplingConfig, **changes: Any) -> SamplingConfig:
    """A SamplingConfig with some fields changed and checked, as `override` does; None leaves a field as it is."""
    texts = [f"sampling.{name}={_text(value)}" for name, value in changes.items() if value is not None]
    return override(Preset(sampling=sampling), texts).sampling


def to_dict(preset: Preset) -> dict[str, Any]:
    """Nested plain dictionaries, for JSON."""
    return asdict(preset)


def from_dict(values: dict[str, Any], where: str = "config") -> Preset:
    """The preset that `to_dict` wrote; UserError for a field that this version does not know, or a bad value."""
    try:
        preset = Preset(name=values["name"], what=values["what"])
        stored = {name: values.get(name) for name in _SECTIONS}
        changes = [f"{part}.{name}={_text(value)}" for part, of in stored.items() if of for name, value in of.items()]
        return override(preset, changes)
    except (UserError, KeyError, AttributeError) as error:
        raise UserError(f"{where}: {error}; was it made by another version of lab7? Train the run again") from None


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _find_field(path: str) -> tuple[str, str]:
    known = field_names()
    matches = [name for name in known if path in (name, name.split(".")[1])]
    if len(matches) > 1:
        raise UserError(f"setting '{path}' is ambiguous; say {' or '.join(matches)}")
    if not matches:
        short_names = [name.split(".")[1] for name in known]
        raise UserError(f"unknown setting '{path}'{settings.suggest(path, [*short_names, *known])}")
    section, name = matches[0].split(".")
    return section, name


_PRESETS = (  # name, the preset that it changes ("": the defaults), one line for a reader, settings
    ("smoke", "", "everything from scratch at toy size, in about two minutes",
     "scenes=60 image_size=32 n_feature=8 widths=32,32 blocks=1,1 embedding=32 diffusion.num_steps=100 epochs=3 "
     "save_every=10 snapshots=2 ema_decay=0.9 sampling.num_steps=5 samples=1 judge_scenes=20 judge_epochs=1 "
     "evaluation_scenes=10"),
    ("small", "", "the report's U-Net from scratch, narrow: an hour an arm on one CPU core with bf16, two without",
     "n_feature=32 epochs=10 batch_size=4 warmup_steps=200 save_every=2000 sampling.num_steps=25 "
     "guidance_scale=4"),
    ("quick", "small", "shipped weights and recorded runs; trains only a short demonstration",
     "max_steps=200 save_every=200 snapshots=3"),
    ("short", "", "the report's U-Net at 32x32, stopped early: eight minutes an arm, to see which begins to obey",
     "image_size=32 n_feature=24 epochs=5 warmup_steps=100 sampling.num_steps=25 samples=2"),
    ("laptop", "", "our own U-Net from scratch on two CPU cores: an hour with bf16 in hardware, several without",
     "network=efficient tokens_at=all positions=true schedule=shifted target=x_0 loss_weighting=v "
     "timestep_sampling=logit_normal epochs=18 batch_size=48 optimizer=muon weight_decay=0.01 warmup_steps=200 "
     "save_every=1000 sampler=sde_dpm_solver_pp sampling.num_steps=8 t_end=0.25 guidance_scale=1.5"),
    ("course", "", "the report's own hyperparameters, for one GPU",
     "normalise=plain drop_probability=0 lr_schedule=report clip_norm=0 ema_decay=0 evaluate_every=5 sampler=ddpm "
     "sampling.num_steps=1000 guidance_scale=1"),
    ("best", "laptop", "the strongest model that we know how to train, for one or more GPUs",
     "patch=2 widths=128,256,384 blocks=2,2,3 embedding=512 tokens_at=lowest epochs=300 batch_size=128 "
     "warmup_steps=1000 ema_decay=0.9998 compile=true save_every=2000"),
)  # fmt: skip
PRESETS: dict[str, Preset] = {}
for _name, _base, _what, _settings in _PRESETS:
    PRESETS[_name] = override(replace(PRESETS.get(_base, Preset()), name=_name, what=_what), _settings.split())

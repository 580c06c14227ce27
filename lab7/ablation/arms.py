"""The arms of the ablation: a named configuration each, and what the report claims of it."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lab7.config import Preset, get_preset, override
from lab7.utils.files import UserError
from lab7.utils.settings import suggest

BASELINE = "report_up_down"
OURS = "ours_up_down"


@dataclass(frozen=True)
class Arm:
    """One line of the ablation: its changes to a preset, and what the report says of it."""

    name: str
    title: str
    settings: tuple[str, ...] = ()
    claim: str = ""  # the report's, in a few words
    reported: dict[str, float] = field(default_factory=dict)  # accuracy by list, as the report prints it
    base: str = "small"  # the preset that it is trained with on two CPU cores
    cpu_settings: tuple[str, ...] = ()  # settings for two CPU cores only
    weights_from: str = ""  # the arm whose trained network it draws with; "": it is trained
    baseline: str = BASELINE  # the arm that it is compared with; "": none, because it differs in more than one thing
    lists: tuple[str, ...] = ()  # that it is scored on in addition to the usual ones


_OURS = (
    *("network=efficient", "schedule=shifted", "shift=5", "target=v", "loss_weighting=none", "normalise=deviation"),
    *("timestep_sampling=stratified", "optimizer=muon", "weight_decay=0.01", "tokens_at=all", "positions=false"),
)
_DRAW = ("sampler=dpm_solver_pp", "sampling.num_steps=12", "guidance_scale=3")
_SMALL = ("image_size=32", "widths=96,128", "blocks=1,1", "epochs=4")  # ten minutes on one core
_X_0 = ("target=x_0", "loss_weighting=v")
_TOKENS = "tokens=true"
_LOGIT = (_TOKENS, *_X_0, "timestep_sampling=logit_normal")
_MIN_SNR = "loss_weighting=min_snr"
_BOTH_REPORTED = {"test": 0.6528, "new_test": 0.7262}
_UP_REPORTED = {"test": 0.6308, "new_test": 0.6777}
_UP_CLAIM = "shapes appear earlier, a little worse"


def _report(name: str, title: str, *settings: str, **more: Any) -> Arm:
    """An arm of the report's U-Net."""
    return Arm(f"report_{name}", title, settings, **more)


def _our(name: str, title: str, *settings: str, **more: Any) -> Arm:
    """An arm of our own U-Net; without object tokens, which would bring the condition to the lowest level."""
    options = {"base": "laptop", "cpu_settings": _SMALL, "baseline": OURS} | more
    return Arm(f"ours_{name}", f"ours: {title}", (*_OURS, *_DRAW, "tokens=false", *settings), **options)


def _by_name(*arms: Arm) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms}


ARMS = _by_name(
    _report("up_down", "condition in up- and down-sampling", claim="the best", reported=_BOTH_REPORTED),
    _report("up", "condition in up-sampling only", "condition_at=up", claim=_UP_CLAIM, reported=_UP_REPORTED),
    _report("hidden", "condition at the hidden layer only", "condition_at=hidden", claim="should be worse"),
    _report("down", "condition in down-sampling only", "condition_at=down"),
    _report("none", "no condition", "condition_at=none"),
    _report("shared", "embeddings shared by equal widths", "embeddings=shared", claim="only noise"),
    _report("cosine", "cosine schedule", "schedule=cosine", claim="loses information more slowly"),
    _report("eq3", "linear schedule of the report's eq. (3)", "schedule=linear_eq3"),
    _report("listing", "linear schedule of the report's listing", "schedule=linear_listing"),
    _report("default_init", "PyTorch's initialisation", "init=default", claim="by hand helps"),
    _report("constant", "constant learning rate", "lr_schedule=constant"),
    _report("plateau", "learning rate falls on plateaus", "lr_schedule=plateau", "evaluate_every=1"),
    _report("both_schedules", "learning rate as in the report", "lr_schedule=report", "evaluate_every=1"),
    _report("one_plus", "modulation (1 + c) * x + t", "modulation=one_plus"),
    _report("adaptive", "adaptive group norm", "modulation=adaptive"),
    _report("group_norm", "group norm instead of batch norm", "norm=group"),
    _report("no_average", "last weights instead of their average", "ema_decay=0"),
    _report("plain", "pictures in [-1, 1], mean not subtracted", "normalise=plain"),
    _report("guidance_1", "no guidance", "guidance_scale=1", weights_from=BASELINE),
    _report("guidance_2", "guidance scale 2", "guidance_scale=2", weights_from=BASELINE),
    _report("clamp_output", "output clamped once", "clamp=output", claim="turns white", weights_from=BASELINE),
    _report("clamp_x_0", "x_0 clamped at every step", "clamp=x_0", claim="turns white", weights_from=BASELINE),
    Arm("laptop", "our own U-Net, told positions", (*_OURS, *_LOGIT, "positions=true"), base="laptop", baseline=""),
    _our("up_down", "condition in up- and down-sampling", "condition_at=up_down"),
    _our("up", "condition in up-sampling only", "condition_at=up", claim="a little worse"),
    _our("down", "condition in down-sampling only", "condition_at=down"),
    _our("hidden", "condition at the lowest level only", "condition_at=hidden", claim="should be worse"),
    _our("none", "no condition", "condition_at=none"),
    _our("shared", "modulation shared by both ways", "embeddings=shared", claim="only noise"),
    _our("product", "modulation c * h + t, as in the report", "scale_by=product"),
    _our("tokens", "a token for each object", _TOKENS, lists=("held_out",)),
    _our(
        "pairs",
        "object tokens, 24 pairs of classes left out",
        _TOKENS,
        "holdout_pairs=true",
        cpu_settings=(*_SMALL, "epochs=5", "max_steps=1500"),  # as many steps, though of fewer pictures
        baseline="ours_tokens",
        lists=("held_out",),
    ),
    _our("x_0", "object tokens, predicts x_0", _TOKENS, *_X_0, baseline="ours_tokens"),
    _our("logit_normal", "object tokens, x_0, few t near 0 and T", *_LOGIT, baseline="ours_x_0"),
    _our("min_snr", "object tokens, x_0, min-SNR weights", *_LOGIT, _MIN_SNR, baseline="ours_logit_normal"),
    _our("v_min_snr", "object tokens, v, min-SNR weights", *_LOGIT, "target=v", _MIN_SNR, baseline="ours_min_snr"),
    _our("cosine", "cosine schedule", "schedule=cosine", claim="loses information more slowly"),
    _our("linear", "linear schedule", "schedule=linear"),
    _our("plain", "cosine schedule, pictures in [-1, 1]", "schedule=cosine", "normalise=plain", baseline="ours_cosine"),
    _our("no_average", "last weights instead of their average", "ema_decay=0"),
    _our("guidance_1", "no guidance", "guidance_scale=1", weights_from=OURS),
    _our("guidance_2", "guidance scale 2", "guidance_scale=2", weights_from=OURS),
    _our("clamp_x_0", "x_0 clamped at every step", "clamp=x_0", claim="turns white", weights_from=OURS),
)


def get_arm(name: str) -> Arm:
    """The arm of that name; UserError with the nearest name otherwise."""
    if name not in ARMS:
        raise UserError(f"unknown arm '{name}'{suggest(name, ARMS)}")
    return ARMS[name]


def find_arms(patterns: Iterable[str]) -> list[str]:
    """The names that fit: "all", or names in which * stands for any letters. UserError for one that fits none."""
    texts = ("*" if one == "all" else one for one in patterns)
    return [*dict.fromkeys(name for text in texts for name in fnmatch.filter(ARMS, text) or [get_arm(text).name])]


def arm_preset(arm: Arm, preset: Preset, settings: Iterable[str] = ()) -> Preset:
    """For `laptop` the arm's base with its `cpu_settings`, else the preset; then the arm's settings and `settings`."""
    base = override(get_preset(arm.base), arm.cpu_settings) if preset.name == "laptop" else preset
    return override(base, [*arm.settings, f"train.seed={preset.train.seed}", *settings])


def run_name(arm: str, seed: int) -> str:
    """The folder of an arm's run: the arm's name for seed 0, followed by the seed for others."""
    return arm if seed == 0 else f"{arm}_seed{seed}"

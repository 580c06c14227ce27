"""The arms of the ablation: one named configuration each, what the report claims of it, and where its runs lie."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab7.config import Preset, get_preset, override
from lab7.utils.files import UserError

BASELINE = "report_up_down"


@dataclass(frozen=True)
class Arm:
    """One line of the ablation: its settings beside the preset's, and what the report says of it."""

    name: str
    title: str
    settings: tuple[str, ...] = ()
    claim: str = ""  # the report's, in a few words
    reported: dict[str, float] = field(default_factory=dict)  # accuracy by list, as the report prints it
    base: str = "small"  # the preset that it is trained with on two CPU cores
    cpu_settings: tuple[str, ...] = ()  # settings for two CPU cores alone
    weights_from: str = ""  # the arm whose trained network it draws with; "": it is trained
    baseline: str = BASELINE  # the arm that it is compared with; "": with none, for more than one thing differs
    lists: tuple[str, ...] = ()  # that it is scored on beside the usual ones


_UP_DOWN = {"test": 0.6528, "new_test": 0.7262}
_OURS = (
    *("network=efficient", "schedule=shifted", "target=v", "loss_weighting=none", "timestep_sampling=stratified"),
    *("optimizer=muon", "weight_decay=0.01", "tokens_at=all", "normalise=deviation", "shift=5"),
)
_OF_X_0 = ("target=x_0", "loss_weighting=v")
_DRAWN = (
    "sampler=dpm_solver_pp",
    "sampling.num_steps=12",
    "guidance_scale=3",
    "num_candidates=1",
    "accept_threshold=0.4",
)
_PLACED = (*_OURS, *_DRAWN, "tokens=false")  # for tokens would tell the lowest level, wherever else the label enters
_BRIEF = ("image_size=32", "widths=96,128", "blocks=1,1", "epochs=4")  # ten minutes on one core
OURS = "ours_up_down"


def _our(name: str, title: str, *settings: str, **more: Any) -> Arm:
    """An arm of our own U-Net, small enough for many trainings."""
    options = {"base": "laptop", "cpu_settings": _BRIEF, "baseline": OURS} | more
    return Arm(f"ours_{name}", f"ours: {title}", (*_PLACED, *settings), **options)


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(BASELINE, "condition in up- and down-sampling", (), "the best", _UP_DOWN),
        Arm(
            "report_up",
            "condition in up-sampling only",
            ("condition_at=up",),
            "shapes appear earlier, a little worse",
            {"test": 0.6308, "new_test": 0.6777},
        ),
        Arm("report_hidden", "condition at the hidden layer only", ("condition_at=hidden",), "should be worse"),
        Arm("report_down", "condition in down-sampling only", ("condition_at=down",)),
        Arm("report_none", "no condition", ("condition_at=none",)),
        Arm("report_shared", "embeddings shared by equal widths", ("embeddings=shared",), "only noise"),
        Arm("report_cosine", "cosine schedule", ("schedule=cosine",), "loses information more slowly"),
        Arm("report_eq3", "linear schedule of eq. (3)", ("schedule=linear_eq3",)),
        Arm("report_listing", "linear schedule of the listing", ("schedule=linear_listing",)),
        Arm("report_default_init", "PyTorch's initialisation", ("init=default",), "by hand helps"),
        Arm("report_constant", "constant learning rate", ("lr_schedule=constant",)),
        Arm("report_plateau", "learning rate by plateau", ("lr_schedule=plateau", "evaluate_every=1")),
        Arm("report_both_schedules", "linear decay and plateau", ("lr_schedule=report", "evaluate_every=1"), "its own"),
        Arm("report_one_plus", "(1 + c) * x + t", ("modulation=one_plus",)),
        Arm("report_adaptive", "adaptive group norm", ("modulation=adaptive",)),
        Arm("report_group_norm", "group norm instead of batch norm", ("norm=group",)),
        Arm("report_no_average", "last weights, not their average", ("ema_decay=0",)),
        Arm("report_plain", "pictures in [-1, 1], mean not subtracted", ("normalise=plain",)),
        Arm("report_guidance_1", "no guidance", ("guidance_scale=1",), weights_from=BASELINE),
        Arm("report_guidance_4", "guidance 4", ("guidance_scale=4",), weights_from=BASELINE),
        Arm("report_clamp_output", "output clamped once", ("clamp=output",), "turns white", weights_from=BASELINE),
        Arm("report_clamp_x_0", "x_0 clamped at every step", ("clamp=x_0",), "turns white", weights_from=BASELINE),
        Arm(
            "laptop", "our own U-Net", (*_OURS, *_OF_X_0, "timestep_sampling=logit_normal"), base="laptop", baseline=""
        ),
        _our("up_down", "condition both ways", "condition_at=up_down"),
        _our("up", "condition in up-sampling only", "condition_at=up", claim="a little worse"),
        _our("down", "condition in down-sampling only", "condition_at=down"),
        _our("hidden", "condition at the lowest level only", "condition_at=hidden", claim="should be worse"),
        _our("none", "no condition", "condition_at=none"),
        _our("shared", "shared modulation", "embeddings=shared", claim="only noise"),
        _our("product", "c * h + t", "scale_by=product"),
        _our("tokens", "with object tokens", "tokens=true", lists=("held_out",)),
        _our(
            "pairs",
            "object tokens, 24 pairs never shown",
            *("tokens=true", "holdout_pairs=true"),
            cpu_settings=(*_BRIEF, "epochs=5", "max_steps=1500"),  # as many steps, though of fewer pictures
            baseline="ours_tokens",
            lists=("held_out",),
        ),
        _our("x_0", "object tokens, x_0 predicted", "tokens=true", *_OF_X_0, baseline="ours_tokens"),
        _our(
            "logit_normal",
            "that, fewer t at both ends",
            *("tokens=true", *_OF_X_0, "timestep_sampling=logit_normal"),
            baseline="ours_x_0",
        ),
        _our(
            "whitened",
            "that, hue counting as much as brightness",
            *("tokens=true", *_OF_X_0, "timestep_sampling=logit_normal", "normalise=whitened"),
            baseline="ours_logit_normal",
        ),
        _our(
            "min_snr",
            "object tokens, x_0, min-SNR weights",
            *("tokens=true", "target=x_0", "loss_weighting=min_snr", "timestep_sampling=logit_normal"),
            baseline="ours_logit_normal",
        ),
        _our(
            "v_min_snr",
            "object tokens, v, min-SNR weights",
            *("tokens=true", "target=v", "loss_weighting=min_snr", "timestep_sampling=logit_normal"),
            baseline="ours_min_snr",
        ),
        _our("cosine", "cosine schedule", "schedule=cosine", claim="loses information more slowly"),
        _our("linear", "linear schedule", "schedule=linear"),
        _our("plain", "cosine, pictures in [-1, 1]", "schedule=cosine", "normalise=plain", baseline="ours_cosine"),
        _our("no_average", "last weights, not their average", "ema_decay=0"),
        _our("guidance_1", "no guidance", "guidance_scale=1", weights_from=OURS),
        _our("guidance_2", "guidance 2", "guidance_scale=2", weights_from=OURS),
        _our("clamp_x_0", "x_0 clamped at every step", "clamp=x_0", weights_from=OURS, claim="turns white"),
    )
}


def get_arm(name: str) -> Arm:
    """The arm of that name; UserError with the nearest and all known names otherwise."""
    if name not in ARMS:
        near = difflib.get_close_matches(name, list(ARMS), n=1)
        guess = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(f"unknown arm '{name}'{guess}; known: {', '.join(ARMS)}")
    return ARMS[name]


def arm_preset(arm: Arm, preset: Preset, settings: Iterable[str] = ()) -> Preset:
    """The preset that an arm is trained with: `laptop` gives each arm the one of its base, at the arm's brief scale;
    others are taken as they are. The arm's settings, the preset's seed and `settings` come on top."""
    base = override(get_preset(arm.base), arm.cpu_settings) if preset.name == "laptop" else preset
    return override(base, [*arm.settings, f"train.seed={preset.train.seed}", *settings])


def run_name(arm: str, seed: int) -> str:
    """The folder of an arm's run: the arm's own name for seed 0, with the seed behind it for others."""
    return arm if seed == 0 else f"{arm}_seed{seed}"


def seeds_of(arm: str, runs: Path) -> dict[int, Path]:
    """The finished runs of an arm in a folder of runs, by seed."""
    found = {}
    for path in (runs / arm, *runs.glob(f"{arm}_seed*")):
        tail = path.name.removeprefix(arm).removeprefix("_seed")
        if (path / "result.json").exists() and (tail.isdecimal() or not tail):
            found[int(tail or 0)] = path
    return dict(sorted(found.items()))

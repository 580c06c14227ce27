"""lab7: conditional diffusion taught by drawing i-CLEVR scenes. The names below load their modules when first used."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Pipeline": "pipeline",
    "load_pipeline": "pipeline",
    "NoiseSchedule": "schedule",
    "UNet": "unet",
    "EfficientUNet": "efficient_unet",
    "SAMPLERS": "samplers",
    "get_preset": "config",
    "override": "config",
    "build_model": "pipeline",
    "load_list": "dataset.conditions",
    "draw": "dataset.normalizer",
    "fit_normaliser": "dataset.normalizer",
    "load_pictures": "dataset.layout",
    "describe": "dataset.layout",
    "open_workspace": "ablation.workspace",
    "train": "training.loop",
    "scrubber": "widgets.controls",
    "compose_scene": "widgets.controls",
    "found_objects": "ablation.evaluate",
    "as_stored": "ablation.evaluate",
    "conditions_tensor": "dataset.conditions",
    "has_duplicate": "judge.blobs",
    "save_gif": "dataset.images",
    "ARMS": "ablation.arms",
    "Score": "judge.metrics",
    "wilson": "judge.metrics",
    "read_json": "utils.files",
    "shipped_dir": "utils.files",
    "browse_scenes": "widgets.controls",
    "noise_slider": "widgets.controls",
    "show": "widgets.controls",
    "show_source": "widgets.controls",
}
_MODULES = ("diffusion", "samplers", "schedule", "unet", "efficient_unet", "diffusion_classifier", "vocabulary")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"lab7.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'lab7' has no attribute '{name}'")
    return getattr(import_module(f"lab7.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})

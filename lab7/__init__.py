"""lab7: conditional diffusion taught by drawing i-CLEVR scenes. The names below load their modules when first used."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "pipeline": "Pipeline load_pipeline build_model",
    "schedule": "NoiseSchedule",
    "unet": "UNet",
    "efficient_unet": "EfficientUNet",
    "samplers": "SAMPLERS",
    "config": "get_preset override",
    "dataset.conditions": "load_list conditions_tensor",
    "dataset.normalizer": "draw fit_normaliser",
    "dataset.layout": "load_pictures describe",
    "dataset.images": "save_gif",
    "dataset.positions": "find_positions",
    "training.loop": "train",
    "ablation.workspace": "open_workspace",
    "ablation.evaluate": "found_objects as_stored",
    "ablation.arms": "ARMS",
    "judge.blobs": "has_duplicate",
    "judge.metrics": "Score wilson difference",
    "exercises.check": "check",
    "utils.files": "read_json shipped_dir temporary_folder",
    "widgets.display": "show show_source",
    "widgets.pictures": "browse_scenes schedule_explorer",
    "widgets.training": "train_live epoch_walk",
    "widgets.drawing": "compose_scene denoising_walk",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = ("diffusion", "samplers", "schedule", "unet", "efficient_unet", "diffusion_classifier", "vocabulary")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"lab7.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'lab7' has no attribute '{name}'")
    return getattr(import_module(f"lab7.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})

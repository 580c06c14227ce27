"""The notebooks' controls, one module each, and how source and figures are shown."""

from lab7.widgets.composer import compose_scene
from lab7.widgets.denoising import denoising_walk
from lab7.widgets.display import show, show_source
from lab7.widgets.epochs import epoch_walk
from lab7.widgets.live_training import train_live
from lab7.widgets.scenes import browse_scenes
from lab7.widgets.schedule import schedule_explorer

__all__ = [
    "browse_scenes",
    "compose_scene",
    "denoising_walk",
    "epoch_walk",
    "schedule_explorer",
    "show",
    "show_source",
    "train_live",
]

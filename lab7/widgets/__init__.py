"""The notebooks' controls, one module each, and how source and figures are shown."""

from lab7.widgets.composer import compose_scene as compose_scene
from lab7.widgets.denoising import denoising_walk as denoising_walk
from lab7.widgets.display import show as show
from lab7.widgets.display import show_source as show_source
from lab7.widgets.epochs import epoch_walk as epoch_walk
from lab7.widgets.live_training import train_live as train_live
from lab7.widgets.scenes import browse_scenes as browse_scenes
from lab7.widgets.schedule import schedule_explorer as schedule_explorer

"""Browse the pictures, all of them or those that show one class."""

import ipywidgets
import torch

from lab7.dataset.images import Pictures
from lab7.vocabulary import CLASSES, to_names
from lab7.widgets.display import WIDE, Control, connect, strip

ANY = "(any)"


def with_class(pictures: Pictures, name: str) -> list[int]:
    """The indices of the pictures that show a class; of all pictures for "(any)"."""
    shown = torch.ones(len(pictures)) if name == ANY else pictures.labels[:, CLASSES.index(name)]
    return shown.nonzero().flatten().tolist()


def browse_scenes(pictures: Pictures) -> Control:
    """Choose a class and move through its pictures."""
    of_class = ipywidgets.Dropdown(options=[ANY, *CLASSES], description="with")
    place = ipywidgets.IntSlider(0, 0, len(pictures) - 1, description="picture", layout=WIDE)
    control = Control([of_class, place])

    def update() -> None:
        indices = with_class(pictures, of_class.value)
        place.max = max(len(indices) - 1, 0)
        index = indices[min(place.value, place.max)]
        objects = ", ".join(to_names(pictures.labels[index].numpy()))
        control.draw(strip([pictures.images[index]], side=256), objects, f"{pictures.names[index]}: {objects}")

    connect(update, [of_class, place])
    return control

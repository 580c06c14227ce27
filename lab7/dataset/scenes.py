"""Scenes: which objects there are, where they stand and how they are turned; and how i-CLEVR arranges them.

The floor is the plane z = 0; one unit is 5/3 of an object's radius or half-side. The first object stands at the
origin. Later ones are placed by CLEVR's rules (Johnson et al. 2017, section 3 and its generator's defaults).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab7.vocabulary import CLASSES

EXTENT = 3.0  # later objects are uniform over [-EXTENT, EXTENT]^2
MIN_DISTANCE = 2.4  # between any two centres
MARGIN = 0.4  # between any two centres, along the left-right axis and along the front-behind axis
CAMERA_AZIMUTH = math.radians(-41.34)  # where the camera stands, seen from the origin; fitted
_RIGHT = (-math.sin(CAMERA_AZIMUTH), math.cos(CAMERA_AZIMUTH))
_FRONT = (math.cos(CAMERA_AZIMUTH), math.sin(CAMERA_AZIMUTH))


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, where it stands, how it is turned."""

    label: int  # class index 0..23
    x: float  # centre on the floor
    y: float
    yaw: float  # turn about the vertical, radians


@dataclass(frozen=True)
class Scene:
    """Objects in the order in which they were placed."""

    objects: tuple[SceneObject, ...]

    @property
    def labels(self) -> list[str]:
        """The objects' names, in the order in which they were placed."""
        return [CLASSES[thing.label] for thing in self.objects]


def sample_scene(
    rng: np.random.Generator,
    num_objects: int = 3,
    extent: float = EXTENT,
    min_distance: float = MIN_DISTANCE,
    classes: Sequence[int] = range(len(CLASSES)),
) -> Scene:
    """A random scene of 1 to 5 objects, each of another of `classes`; for more there may be no room: ValueError."""
    if not 1 <= num_objects <= 5:
        raise ValueError(f"a scene holds 1 to 5 objects, not {num_objects}")
    labels = rng.choice(classes, size=num_objects, replace=False).tolist()
    while (places := _place(rng, num_objects, extent, min_distance)) is None:
        pass  # the last object found no room
    yaws = rng.uniform(0, 2 * math.pi, num_objects).tolist()
    things = zip(labels, places, yaws, strict=True)
    return Scene(tuple(SceneObject(label, x, y, yaw) for label, (x, y), yaw in things))


def scene_at(seed: int, index: int) -> Scene:
    """Scene number `index` of a data set: three objects, from a random stream of its own."""
    return sample_scene(np.random.default_rng([seed, index]))


def _place(
    rng: np.random.Generator, count: int, extent: float, min_distance: float
) -> list[tuple[float, float]] | None:
    """Centres of `count` objects, the first at the origin; None where 50 tries found no room for the next."""
    places = [(0.0, 0.0)]
    while len(places) < count:
        for _ in range(50):
            x, y = rng.uniform(-extent, extent, 2).tolist()
            if all(has_room(x - a, y - b, min_distance) for a, b in places):
                places.append((x, y))
                break
        else:
            return None
    return places


def has_room(dx: float, dy: float, min_distance: float = MIN_DISTANCE) -> bool:
    """Whether two centres that differ by (dx, dy) keep CLEVR's distance and margins."""
    right = dx * _RIGHT[0] + dy * _RIGHT[1]
    front = dx * _FRONT[0] + dy * _FRONT[1]
    return math.hypot(dx, dy) >= min_distance and abs(right) >= MARGIN and abs(front) >= MARGIN

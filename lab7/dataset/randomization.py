"""Domain randomization: scenes rendered under other cameras, lamps, floors and rules than the data set's.

A judge that was trained on one camera and one set of lamps can read nothing else (Tobin et al. 2017, "Domain
randomization for transferring deep neural networks from simulation to the real world"). Our judges are trained on
`TRAINING`. `SHIFTED` changes other things, or more: a judge is evaluated on it and never trained.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from lab7.dataset import scenes
from lab7.dataset.look import LOOK, Lamp, Look
from lab7.dataset.scenes import Scene, SceneObject


@dataclass(frozen=True)
class Randomization:
    """How far pictures may differ from the data set's; the amounts are drawn anew for each scene."""

    plain: float = 0.0  # share of the scenes that are left as the data set's
    azimuth: float = 0.0  # of the camera, radians either way
    elevation: float = 0.0  # of the camera, radians either way
    distance: float = 0.0  # of the camera and its focal length, apart: share either way
    lamp_place: float = 0.0  # each coordinate of each lamp, scene units either way
    lamp_power: float = 0.0  # of each lamp and the sun: share either way
    lamp_colour: float = 0.0  # of each lamp, by channel: share either way
    lamp_off: float = 0.0  # chance that the fill or the back lamp is off
    mirrored: float = 0.0  # chance that the lamps stand on the camera's other side
    ambient: float = 0.0  # light from sky and floor: share either way
    floor: float = 0.0  # the floor's reflectance: share either way
    paint: float = 0.0  # the objects' reflectance: share either way
    sheen: float = 0.0  # colourless reflectance of the objects, up to
    radius: float = 0.0  # of the objects: share either way
    bevel: float = 0.0  # rounding of edges: share either way
    blur: float = 0.0  # of the film: share either way
    grain: float = 0.0  # of the film: times 1 up to 1 + this
    origin: float = 0.0  # how far the whole scene is moved on the floor, either way
    extent: float = 0.0  # how much further out objects may stand: share
    nearness: float = 0.0  # how much nearer they may stand to each other: share


# fmt: off
TRAINING = Randomization(
    plain=0.5, azimuth=0.10, elevation=0.06, distance=0.06, lamp_place=0.6, lamp_power=0.3, lamp_colour=0.10,
    ambient=0.25, floor=0.15, paint=0.25, sheen=0.01, radius=0.10, bevel=0.7, blur=0.6, grain=3.0,
    origin=0.4, extent=0.12, nearness=0.12,
)
SHIFTED = Randomization(
    azimuth=0.15, elevation=0.10, lamp_power=0.4, lamp_off=0.5, mirrored=0.3, ambient=0.35, floor=0.2, radius=0.05,
    origin=0.3,
)
# fmt: on


def randomize(seed: list[int], amount: Randomization) -> tuple[Scene, Look]:
    """A scene of three objects and a look to render it with, both from the seed (numbers for numpy's default_rng)."""
    rng = np.random.default_rng(seed)
    if rng.random() < amount.plain:
        return scenes.sample_scene(rng), LOOK
    extent = scenes.EXTENT * (1 + amount.extent * rng.random())
    min_distance = scenes.MIN_DISTANCE * (1 - amount.nearness * rng.random())
    scene = scenes.sample_scene(rng, extent=extent, min_distance=min_distance)
    dx, dy = rng.uniform(-amount.origin, amount.origin, 2).tolist()
    moved = tuple(SceneObject(thing.label, thing.x + dx, thing.y + dy, thing.yaw) for thing in scene.objects)
    return Scene(moved), _randomize_look(rng, amount)


def _randomize_look(rng: np.random.Generator, amount: Randomization) -> Look:
    def about(value: float, share: float) -> float:
        return value * float(1 + rng.uniform(-share, share))

    def light(power: tuple[float, ...]) -> tuple[float, float, float]:
        tint = 1 + rng.uniform(-amount.lamp_colour, amount.lamp_colour, 3)
        return _triple(about(1.0, amount.lamp_power) * np.array(power) * tint)

    off = int(rng.integers(1, len(LOOK.lamps))) if rng.random() < amount.lamp_off else None
    mirrored = rng.random() < amount.mirrored
    lamps = []
    for number, lamp in enumerate(LOOK.lamps):
        x, y, z = _triple(np.array(lamp.position) + rng.uniform(-amount.lamp_place, amount.lamp_place, 3))
        aim = lamp.aim
        if mirrored:
            (x, y), aim = _mirror(x, y), _mirror(*aim)
        if number != off:
            lamps.append(Lamp((x, y, z), aim, lamp.size, light(lamp.power)))
    ambient = about(1.0, amount.ambient)
    return dataclasses.replace(
        LOOK,
        azimuth=LOOK.azimuth + float(rng.uniform(-amount.azimuth, amount.azimuth)),
        elevation=LOOK.elevation + float(rng.uniform(-amount.elevation, amount.elevation)),
        distance=about(LOOK.distance, amount.distance),
        focal_length=about(LOOK.focal_length, amount.distance),
        lamps=tuple(lamps),
        sun=light(LOOK.sun),
        sky=_triple(np.array(LOOK.sky) * ambient),
        bounce=_triple(np.array(LOOK.bounce) * ambient),
        floor=about(LOOK.floor, amount.floor),
        gain=about(LOOK.gain, amount.paint),
        sheen=LOOK.sheen + float(rng.uniform(0, amount.sheen)),
        radius=about(LOOK.radius, amount.radius),
        cube_bevel=about(LOOK.cube_bevel, amount.bevel),
        cylinder_bevel=about(LOOK.cylinder_bevel, amount.bevel),
        blur=about(LOOK.blur, amount.blur),
        grain=LOOK.grain * float(1 + rng.uniform(0, amount.grain)),
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def _mirror(x: float, y: float) -> tuple[float, float]:
    """A point of the floor on the other side of the plane in which the camera looks."""
    c, s = math.cos(2 * LOOK.azimuth), math.sin(2 * LOOK.azimuth)
    return c * x + s * y, s * x - c * y

"""Domain randomisation: scenes rendered under other cameras, lamps, floors and rules than the stand-in's.

A judge that has seen one camera and one set of lamps reads nothing else (Tobin et al. 2017, "Domain randomization for
transferring deep neural networks from simulation to the real world"). `TRAINING` is what our judges are trained on;
`SHIFTED` changes other things, or more: a judge is examined on it and never trained.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from lab7.dataset import scenes
from lab7.dataset.renderer import LOOK, Lamp, Look
from lab7.dataset.scenes import Scene, SceneObject


@dataclass(frozen=True)
class Variety:
    """How far pictures may differ from the stand-in's; the amounts are drawn anew for each scene."""

    plain: float = 0.0  # share of the scenes that are left as the stand-in's
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


TRAINING = Variety(
    plain=0.5,
    azimuth=0.10,
    elevation=0.06,
    distance=0.06,
    lamp_place=0.6,
    lamp_power=0.3,
    lamp_colour=0.10,
    ambient=0.25,
    floor=0.15,
    paint=0.25,
    sheen=0.01,
    radius=0.10,
    bevel=0.7,
    blur=0.6,
    grain=3.0,
    origin=0.4,
    extent=0.12,
    nearness=0.12,
)
SHIFTED = Variety(
    azimuth=0.15,
    elevation=0.10,
    lamp_power=0.4,
    lamp_off=0.5,
    mirrored=0.3,
    ambient=0.35,
    floor=0.2,
    radius=0.05,
    origin=0.3,
)


def vary(scene_seed: list[int], variety: Variety, num_objects: int = 3) -> tuple[Scene, Look]:
    """A scene and a look to render it with, both from the seed alone (numbers for numpy's default_rng)."""
    rng = np.random.default_rng(scene_seed)
    if rng.random() < variety.plain:
        return scenes.sample_scene(rng, num_objects), LOOK
    scene = scenes.sample_scene(
        rng,
        num_objects,
        extent=scenes.EXTENT * (1 + variety.extent * rng.random()),
        min_distance=scenes.MIN_DISTANCE * (1 - variety.nearness * rng.random()),
    )
    dx, dy = rng.uniform(-variety.origin, variety.origin, 2).tolist()
    moved = tuple(SceneObject(thing.label, thing.x + dx, thing.y + dy, thing.yaw) for thing in scene.objects)
    return Scene(moved), vary_look(rng, variety)


def vary_look(rng: np.random.Generator, variety: Variety, look: Look = LOOK) -> Look:
    """A look drawn about another one."""

    def about(value: float, share: float) -> float:
        return value * float(1 + rng.uniform(-share, share))

    def light(power: tuple[float, ...]) -> tuple[float, float, float]:
        tint = 1 + rng.uniform(-variety.lamp_colour, variety.lamp_colour, 3)
        red, green, blue = (about(1.0, variety.lamp_power) * np.array(power) * tint).tolist()
        return red, green, blue

    off = int(rng.integers(1, len(look.lamps))) if rng.random() < variety.lamp_off else None
    mirrored = rng.random() < variety.mirrored
    lamps = []
    for number, lamp in enumerate(look.lamps):
        x, y, z = (np.array(lamp.position) + rng.uniform(-variety.lamp_place, variety.lamp_place, 3)).tolist()
        aim = lamp.aim
        if mirrored:
            (x, y), aim = _mirror(x, y, look.azimuth), _mirror(*aim, look.azimuth)
        if number != off:
            lamps.append(Lamp((x, y, z), aim, lamp.size, light(lamp.power)))
    ambient = about(1.0, variety.ambient)
    return dataclasses.replace(
        look,
        azimuth=look.azimuth + float(rng.uniform(-variety.azimuth, variety.azimuth)),
        elevation=look.elevation + float(rng.uniform(-variety.elevation, variety.elevation)),
        distance=about(look.distance, variety.distance),
        focal_length=about(look.focal_length, variety.distance),
        lamps=tuple(lamps),
        sun=light(look.sun),
        sky=_scaled(look.sky, ambient),
        bounce=_scaled(look.bounce, ambient),
        floor=about(look.floor, variety.floor),
        gain=about(look.gain, variety.paint),
        sheen=look.sheen + float(rng.uniform(0, variety.sheen)),
        radius=about(look.radius, variety.radius),
        cube_bevel=about(look.cube_bevel, variety.bevel),
        cylinder_bevel=about(look.cylinder_bevel, variety.bevel),
        blur=about(look.blur, variety.blur),
        grain=look.grain * float(1 + rng.uniform(0, variety.grain)),
    )


def _scaled(light: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return light[0] * factor, light[1] * factor, light[2] * factor


def _mirror(x: float, y: float, azimuth: float) -> tuple[float, float]:
    """A point of the floor on the other side of the plane in which the camera looks."""
    c, s = math.cos(2 * azimuth), math.sin(2 * azimuth)
    return c * x + s * y, s * x - c * y

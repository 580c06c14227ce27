"""The look of the rendered pictures: camera, lamps, floor and film, with the constants fitted to i-CLEVR's frames."""

import hashlib
import math
from dataclasses import dataclass

from lab7.dataset.scenes import CAMERA_AZIMUTH

VERSION = 1  # of the renderer: raise it when the same look would give other bytes


@dataclass(frozen=True)
class Lamp:
    """A square area lamp with Lambert's cosine law, facing a point on the floor."""

    position: tuple[float, float, float]
    aim: tuple[float, float]  # the point on the floor that it faces
    size: float  # side of the square: how soft its shadows are
    power: tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class Look:
    """Camera, lamps, floor and film. Lengths in scene units, light in units in which white paper shows 1."""

    azimuth: float = CAMERA_AZIMUTH  # of the camera about the vertical, radians
    elevation: float = math.radians(23.968)  # of the camera above the floor, radians
    distance: float = 12.122  # from the camera to the origin, at which it is aimed
    focal_length: float = 350.0  # pixels of a frame 320 wide
    radius: float = 0.6  # of spheres and cylinders; half the side of cubes
    cube_bevel: float = 0.0438  # radius of the rounded edges
    cylinder_bevel: float = 0.0329
    lamps: tuple[Lamp, ...] = (
        Lamp((6.2831, -2.8905, 3.4730), (1.8666, -1.1214), 2.1386, (14.5993, 13.4932, 11.7513)),  # key
        Lamp((-4.4524, -3.6283, 2.3939), (-2.8816, -2.9926), 1.9148, (4.3148, 4.5796, 5.7328)),  # fill
        Lamp((-0.8900, 2.2648, 5.2236), (-1.8696, 0.4223), 1.8411, (13.2377, 12.7613, 13.1716)),  # back
    )
    sun_direction: tuple[float, float, float] = (0.5139, -0.3069, 0.8505)  # towards the sun
    sun_softness: float = 0.0854  # spread of the sun's direction
    sun: tuple[float, float, float] = (0.3530, 0.3572, 0.3462)
    sky: tuple[float, float, float] = (0.2519, 0.2455, 0.2512)  # ambient light from above
    bounce: tuple[float, float, float] = (0.6846, 0.6593, 0.6744)  # ambient light from below, off the floor
    occlusion: float = 0.4215  # how much of the ambient light a near object keeps away
    floor: float = 0.2546  # reflectance, over pi
    gain: float = 0.2946  # of the objects' reflectance
    sheen: float = 0.0027  # reflectance that does not take the object's colour
    blur: float = 0.8095  # half width of the film's tent filter, pixels
    grain: float = 1.33  # deviation of the film's grain at 320x240, in 255ths


LOOK = Look()


def look_hash(look: Look) -> str:
    """What decides the pixels besides the scenes: the renderer's version and the look."""
    return hashlib.sha256(f"{VERSION} {look!r}".encode()).hexdigest()[:16]

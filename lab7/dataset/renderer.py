"""The renderer: rays are cast at spheres, rounded cubes and cylinders on a grey floor.

The picture follows from the scene, the look and one grain seed alone, so that the same scene gives the same bytes in
every process. The camera's frame is 4:3 and is squashed to the size asked for.
"""

import math

import numpy as np

from lab7.dataset.look import LOOK, Lamp, Look
from lab7.dataset.scenes import Scene
from lab7.vocabulary import COLOURS

REFLECTANCE = np.array([  # linear, by colour: CLEVR's base colours
    (87, 87, 87), (173, 35, 35), (42, 75, 215), (29, 105, 20),
    (129, 74, 25), (129, 38, 192), (41, 208, 208), (255, 238, 51),
]) / 255.0  # fmt: skip


def render(scene: Scene, width: int = 64, height: int = 64, look: Look = LOOK, grain_seed: int = 0) -> np.ndarray:
    """Draw a scene -> uint8 (height, width, 3), sRGB. `grain_seed` chooses the film's grain and nothing else."""
    light, _ = radiance(scene, width, height, look)
    share = math.sqrt(width * height / (320 * 240))  # grain averages out in smaller pictures
    noise = _grain(height, width, grain_seed) * (look.grain * share)
    return np.clip(np.rint(to_srgb(light) * 255 + noise[:, :, None]), 0, 255).astype(np.uint8)


def radiance(scene: Scene, width: int, height: int, look: Look = LOOK) -> tuple[np.ndarray, np.ndarray]:
    """The light on the film, linear float64 (height, width, 3), and the share of each pixel that each object covers,
    float64 (objects, height, width)."""
    from lab7.dataset.ray_casting import cast  # here, for numba takes a second to import

    objects = scene.objects
    shapes, colours = np.divmod(np.array([thing.label for thing in objects], dtype=np.int64), len(COLOURS))
    centres = np.array([(thing.x, thing.y, look.radius) for thing in objects]).reshape(-1, 3)
    turns = np.array([(math.cos(thing.yaw), math.sin(thing.yaw)) for thing in objects]).reshape(-1, 2)
    # Of the spheres about a cube, a sphere and a cylinder.
    bounds = look.radius * np.array((1.7320508075688772, 1.0, 1.4142135623730951))[shapes]
    paint = look.gain * REFLECTANCE[colours] + look.sheen  # (objects, 3)
    light, cover = np.zeros((height, width, 3)), np.zeros((len(objects), height, width))
    # A ray's place in its pixel: the k-th of three under a tent of half width `blur`, at equal shares of its area.
    tent = [math.copysign(1 - math.sqrt(1 - abs(place)), place) for place in ((2 * k + 1) / 3 - 1 for k in range(3))]
    film = np.array(tent) * look.blur
    cast(
        shapes, centres, bounds, turns, paint, _camera(look), np.array([_lamp_row(lamp) for lamp in look.lamps]),
        np.array((*look.sun_direction, look.sun_softness, *look.sun)), np.array((look.sky, look.bounce)),
        np.array((look.radius, look.cube_bevel, look.cylinder_bevel, look.occlusion, look.floor)),
        film, light, cover,
    )  # fmt: skip
    return light / 9, cover


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB in [0, 1] (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _camera(look: Look) -> np.ndarray:
    """Eye, forward, right, up, and (focal length, 0, 0): float64 (5, 3)."""
    ca, sa, ce, se = (f(angle) for angle in (look.azimuth, look.elevation) for f in (math.cos, math.sin))
    towards = np.array((ce * ca, ce * sa, se))
    right, up = (-sa, ca, 0), (-se * ca, -se * sa, ce)
    return np.array((look.distance * towards, -towards, right, up, (look.focal_length, 0, 0)))


def _lamp_row(lamp: Lamp) -> tuple:
    """Position, direction that it faces, the two sides of its square, power: 5 vectors."""
    position = np.array(lamp.position)
    facing = np.array((*lamp.aim, 0.0)) - position
    facing /= np.linalg.norm(facing)
    side = np.array((facing[1], -facing[0], 0.0))
    side *= lamp.size / max(float(np.linalg.norm(side)), 1e-9)
    return position, facing, side, np.cross(side, facing), lamp.power


def _grain(height: int, width: int, seed: int) -> np.ndarray:
    """Noise of mean 0 and deviation 1 from a counter (SplitMix64, Steele et al. 2014): float64 (height, width).

    The sum of four 16-bit digits of the hash is near enough to normal for film.
    """
    x = np.arange(1, height * width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(seed * 0x2545F4914F6CDD1D % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    digits = x.view(np.uint16).reshape(height, width, 4)
    return ((digits + 0.5).sum(axis=2) / 65536 - 2.0) * 1.7320508075688772

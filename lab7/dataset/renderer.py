"""The renderer: a scene becomes a picture by casting rays at spheres, rounded cubes and cylinders on a grey floor.

Everything is computed from the scene, the look and one grain seed: no random state, no threads, so that the same
scene gives the same bytes in every process. The camera sees a 4:3 frame and squashes it to the size asked for.
The constants were fitted to real frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from lab7.dataset.scenes import CAMERA_AZIMUTH, Scene
from lab7.vocabulary import COLOURS, SHAPES

VERSION = 1  # of the algorithm: raise it when the same look would give other bytes

REFLECTANCE = np.array(  # linear, by colour: CLEVR's base colours
    [
        (87, 87, 87),
        (173, 35, 35),
        (42, 75, 215),
        (29, 105, 20),
        (129, 74, 25),
        (129, 38, 192),
        (41, 208, 208),
        (255, 238, 51),
    ]
) / 255.0  # fmt: skip


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


def render(scene: Scene, width: int = 64, height: int = 64, look: Look = LOOK, grain_seed: int = 0) -> np.ndarray:
    """Draw a scene -> uint8 (height, width, 3), sRGB. `grain_seed` chooses the film's grain and nothing else."""
    light, _ = radiance(scene, width, height, look)
    share = math.sqrt(width * height / (320 * 240))  # grain averages out in smaller pictures
    noise = _grain(height, width, np.uint64(grain_seed)) * (look.grain * share)
    return np.clip(np.rint(to_srgb(light) * 255 + noise[:, :, None]), 0, 255).astype(np.uint8)


def radiance(scene: Scene, width: int, height: int, look: Look = LOOK) -> tuple[np.ndarray, np.ndarray]:
    """The light that falls on the film, linear float64 (height, width, 3), and which share of each pixel every
    object covers, float64 (objects, height, width)."""
    shapes = np.array([SHAPES.index(thing.shape) for thing in scene.objects], dtype=np.int64)
    colours = np.array([thing.label % len(COLOURS) for thing in scene.objects], dtype=np.int64)
    places = np.array([(thing.x, thing.y, math.cos(thing.yaw), math.sin(thing.yaw)) for thing in scene.objects])
    paint = look.gain * REFLECTANCE[colours] + look.sheen  # (objects, 3)
    light = np.empty((height, width, 3))
    cover = np.zeros((len(shapes), height, width))
    _cast(
        shapes, places.reshape(-1, 4), paint.reshape(-1, 3), _camera(look), _lamps(look),
        np.array((*look.sun_direction, look.sun_softness, *look.sun)), np.array((look.sky, look.bounce)),
        np.array((look.radius, look.cube_bevel, look.cylinder_bevel, look.occlusion, look.floor, look.blur)),
        light, cover,
    )  # fmt: skip
    return light, cover


def project(x: float, y: float, z: float, look: Look = LOOK) -> tuple[float, float]:
    """Where a point of the scene falls on the film: (column, row) as fractions of width and height."""
    eye, forward, right, up, focal = (
        _camera(look).reshape(-1)[[0, 1, 2]],
        *_camera(look)[1:4],
        look.focal_length,
    )
    ray = np.array((x, y, z)) - eye
    depth = ray @ forward
    return 0.5 + focal * (ray @ right) / depth / 320, 0.5 - focal * (ray @ up) / depth / 240


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB in [0, 1] (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _camera(look: Look) -> np.ndarray:
    """Eye, forward, right, up, and (focal length, 0, 0): float64 (5, 3)."""
    ca, sa, ce, se = (
        math.cos(look.azimuth),
        math.sin(look.azimuth),
        math.cos(look.elevation),
        math.sin(look.elevation),
    )
    towards = np.array((ce * ca, ce * sa, se))
    return np.array(
        (look.distance * towards, -towards, (-sa, ca, 0), (-se * ca, -se * sa, ce), (look.focal_length, 0, 0))
    )


def _lamps(look: Look) -> np.ndarray:
    """One row a lamp: position, the way it faces, two sides of its square, power: float64 (lamps, 15)."""
    rows = []
    for lamp in look.lamps:
        position = np.array(lamp.position)
        facing = np.array((*lamp.aim, 0.0)) - position
        facing /= np.linalg.norm(facing)
        side = np.array((facing[1], -facing[0], 0.0))
        side *= lamp.size / max(float(np.linalg.norm(side)), 1e-9)
        rows.append(np.concatenate((position, facing, side, np.cross(side, facing), lamp.power)))
    return np.array(rows)


@njit(cache=True)
def _cast(shapes, places, paint, camera, lamps, sun, ambient, sizes, light, cover):  # pragma: no cover
    """Nine rays a pixel; each has its own point on every lamp, so that shadows are soft without noise."""
    radius, occlusion, floor, blur = sizes[0], sizes[3], sizes[4], sizes[5]
    height, width, _ = light.shape
    eye, forward, right, up, focal = camera[0], camera[1], camera[2], camera[3], camera[4, 0]
    for row in range(height):
        for column in range(width):
            red, green, blue = 0.0, 0.0, 0.0
            for sample in range(9):
                i, j = sample % 3, sample // 3
                px = ((column + 0.5 + _tent(i) * blur) / width - 0.5) * 320 / focal
                py = (0.5 - (row + 0.5 + _tent(j) * blur) / height) * 240 / focal
                ray = _unit(
                    forward[0] + px * right[0] + py * up[0],
                    forward[1] + px * right[1] + py * up[1],
                    forward[2] + px * right[2] + py * up[2],
                )
                depth = -eye[2] / ray[2] if ray[2] < -1e-6 else 1e6
                normal, hit = (0.0, 0.0, 1.0), -1
                for k in range(len(shapes)):
                    bevel = sizes[1] if shapes[k] == 0 else sizes[2]
                    start = (eye[0] - places[k, 0], eye[1] - places[k, 1], eye[2] - radius)
                    t, facing = _meet(shapes[k], start, ray, radius, bevel, places[k, 2], places[k, 3], depth)
                    if t > 0:
                        depth, hit, normal = t, k, facing
                point = (eye[0] + depth * ray[0], eye[1] + depth * ray[1], eye[2] + depth * ray[2])
                if hit >= 0:
                    cover[hit, row, column] += 1 / 9

                free = _free_sky(point, normal, places, radius, hit, occlusion)
                above = free * (0.5 + 0.5 * normal[2])
                below = free - above
                r = ambient[0, 0] * above + ambient[1, 0] * below
                g = ambient[0, 1] * above + ambient[1, 1] * below
                b = ambient[0, 2] * above + ambient[1, 2] * below
                # another shuffle of the 3x3 grid than the pixel's own, so that the two do not march together
                u = ((2 * i + j + 1) % 3 + 0.5) / 3 - 0.5
                v = ((2 * j + i + 2) % 3 + 0.5) / 3 - 0.5
                for n in range(len(lamps)):
                    wx = lamps[n, 0] + u * lamps[n, 6] + v * lamps[n, 9] - point[0]
                    wy = lamps[n, 1] + u * lamps[n, 7] + v * lamps[n, 10] - point[1]
                    wz = lamps[n, 2] + u * lamps[n, 8] + v * lamps[n, 11] - point[2]
                    far = math.sqrt(wx * wx + wy * wy + wz * wz)
                    way = (wx / far, wy / far, wz / far)
                    slant = _dot(normal, way)
                    leaving = -(lamps[n, 3] * way[0] + lamps[n, 4] * way[1] + lamps[n, 5] * way[2])
                    if slant > 0 and leaving > 0 and not _shadowed(point, normal, way, far, shapes, places, radius):
                        share = slant * leaving / (far * far)
                        r += lamps[n, 12] * share
                        g += lamps[n, 13] * share
                        b += lamps[n, 14] * share
                way = _unit(sun[0] + sun[3] * u, sun[1] + sun[3] * v, sun[2])
                slant = _dot(normal, way)
                if slant > 0 and not _shadowed(point, normal, way, 1e6, shapes, places, radius):
                    r += sun[4] * slant
                    g += sun[5] * slant
                    b += sun[6] * slant
                red += r * (floor if hit < 0 else paint[hit, 0])
                green += g * (floor if hit < 0 else paint[hit, 1])
                blue += b * (floor if hit < 0 else paint[hit, 2])
            light[row, column] = (red / 9, green / 9, blue / 9)


@njit(cache=True)
def _dot(a, b):  # pragma: no cover
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True)
def _unit(x, y, z):  # pragma: no cover
    size = math.sqrt(x * x + y * y + z * z)
    return x / size, y / size, z / size


@njit(cache=True)
def _tent(k):  # pragma: no cover
    """The k-th of three places under a tent of half width 1, at equal shares of its area."""
    place = (2 * k + 1) / 3 - 1
    return math.copysign(1 - math.sqrt(1 - abs(place)), place)


@njit(cache=True)
def _reach(shape, radius):  # pragma: no cover
    """Radius of the sphere about a cube, a sphere or a cylinder."""
    if shape == 1:
        return radius
    return radius * (1.7320508075688772 if shape == 0 else 1.4142135623730951)


@njit(cache=True)
def _free_sky(point, normal, places, radius, hit, occlusion):  # pragma: no cover
    """The share of the ambient light that the other objects let through, each taken as a sphere."""
    free = 1.0
    for k in range(len(places)):
        if k == hit:
            continue
        dx, dy, dz = places[k, 0] - point[0], places[k, 1] - point[1], radius - point[2]
        square = dx * dx + dy * dy + dz * dz
        slant = (normal[0] * dx + normal[1] * dy + normal[2] * dz) / math.sqrt(square)
        facing = max(0.0, slant if hit < 0 else 0.5 + 0.5 * slant)
        free *= max(0.0, 1 - occlusion * facing * min(1.0, radius * radius / square))
    return free


@njit(cache=True)
def _outside(shape, x, y, z, radius, bevel):  # pragma: no cover
    """Distance from a point to the surface of a rounded cube or cylinder about the origin, negative inside."""
    if shape == 0:
        qx, qy = abs(x) - (radius - bevel), abs(y) - (radius - bevel)
    else:
        qx, qy = math.sqrt(x * x + y * y) - (radius - bevel), -1e9
    qz = abs(z) - (radius - bevel)
    ax, ay, az = max(qx, 0.0), max(qy, 0.0), max(qz, 0.0)
    return math.sqrt(ax * ax + ay * ay + az * az) + min(max(qx, max(qy, qz)), 0.0) - bevel


@njit(cache=True)
def _meet(shape, start, ray, radius, bevel, c, s, limit):  # pragma: no cover
    """Where a ray, whose start is relative to the object's centre, first meets it: (distance, outward normal),
    the distance -1 unless it is in (0, limit). Spheres by formula, the others by sphere tracing (Hart 1996)."""
    nothing = (-1.0, (0.0, 0.0, 0.0))
    reach = _reach(shape, radius)
    along = _dot(start, ray)
    disc = along * along - _dot(start, start) + reach * reach
    if disc <= 0:
        return nothing
    t, end = -along - math.sqrt(disc), min(limit, -along + math.sqrt(disc))
    if t < 1e-4 or t > limit:
        return nothing
    if shape == 1:
        x, y, z = start[0] + t * ray[0], start[1] + t * ray[1], start[2] + t * ray[2]
        return t, (x / radius, y / radius, z / radius)
    ox, oy, oz = c * start[0] + s * start[1], c * start[1] - s * start[0], start[2]
    dx, dy, dz = c * ray[0] + s * ray[1], c * ray[1] - s * ray[0], ray[2]
    for _ in range(80):
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        gap = _outside(shape, x, y, z, radius, bevel)
        if gap < 2e-4:
            h = 1e-4
            nx = _outside(shape, x + h, y, z, radius, bevel) - _outside(shape, x - h, y, z, radius, bevel)
            ny = _outside(shape, x, y + h, z, radius, bevel) - _outside(shape, x, y - h, z, radius, bevel)
            nz = _outside(shape, x, y, z + h, radius, bevel) - _outside(shape, x, y, z - h, radius, bevel)
            return t, _unit(c * nx - s * ny, s * nx + c * ny, nz)
        t += gap
        if t > end:
            return nothing
    return nothing


@njit(cache=True)
def _shadowed(point, normal, way, far, shapes, places, radius):  # pragma: no cover
    """Whether an object stands between a point and a lamp `far` away; objects are taken with sharp edges."""
    for k in range(len(shapes)):
        ox = point[0] + 1e-3 * normal[0] - places[k, 0]
        oy = point[1] + 1e-3 * normal[1] - places[k, 1]
        oz = point[2] + 1e-3 * normal[2] - radius
        reach = _reach(shapes[k], radius)
        along = ox * way[0] + oy * way[1] + oz * way[2]
        disc = along * along - (ox * ox + oy * oy + oz * oz) + reach * reach
        if disc <= 0:
            continue
        near, end = -along - math.sqrt(disc), -along + math.sqrt(disc)
        if end < 1e-3 or near > far:
            continue
        if shapes[k] != 1:
            near, end = _slab(oz, way[2], radius)
            c, s = places[k, 2], places[k, 3]
            if shapes[k] == 0:
                low, high = _slab(c * ox + s * oy, c * way[0] + s * way[1], radius)
                near, end = max(near, low), min(end, high)
                low, high = _slab(c * oy - s * ox, c * way[1] - s * way[0], radius)
                near, end = max(near, low), min(end, high)
            else:
                square = way[0] ** 2 + way[1] ** 2
                across = ox * way[0] + oy * way[1]
                disc = across * across - square * (ox * ox + oy * oy - radius * radius)
                if disc <= 0 or square < 1e-12:
                    continue
                near = max(near, (-across - math.sqrt(disc)) / square)
                end = min(end, (-across + math.sqrt(disc)) / square)
        if near < end and near > 1e-3 and near < far:
            return True
    return False


@njit(cache=True)
def _slab(o, d, half):  # pragma: no cover
    """Where a line o + t d runs between -half and half: (first t, last t), empty if first > last."""
    if abs(d) < 1e-12:
        return (-1e9, 1e9) if abs(o) <= half else (1e9, -1e9)
    a, b = (-half - o) / d, (half - o) / d
    return (a, b) if a < b else (b, a)


@njit(cache=True)
def _grain(height, width, seed):  # pragma: no cover
    """Noise of mean 0 and deviation 1 from a counter (SplitMix64, Steele et al. 2014): float64 (height, width).

    The sum of four 16-bit digits of the hash is near enough to normal for film.
    """
    noise = np.empty((height, width))
    for row in range(height):
        for column in range(width):
            x = seed * np.uint64(0x2545F4914F6CDD1D) + np.uint64(row * width + column + 1) * np.uint64(
                0x9E3779B97F4A7C15
            )
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
            total = 0.0
            for shift in range(4):
                total += float((x >> np.uint64(16 * shift)) & np.uint64(0xFFFF)) / 65536 + 0.5 / 65536
            noise[row, column] = (total - 2.0) * 1.7320508075688772
    return noise

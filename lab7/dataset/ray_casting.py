"""The compiled inner loop of the renderer: rays from the camera, and from what they meet to the lamps.

Vectors are tuples or rows of three numbers; objects are named by their place in the arrays of `renderer.radiance`.
"""

import math
from typing import Any

import numpy as np
from numba import njit


def compiled(function: Any) -> Any:
    """The function compiled by numba, and kept for the next start where there is a folder that can be written."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:
        return njit(function)


@compiled
def cast(shapes, centres, bounds, turns, paint, camera, lamps, sun, ambient, sizes, film, light, cover):
    """Nine rays a pixel; each has its own point on every lamp, so that shadows are soft without noise."""
    radius, occlusion, floor = sizes[0], sizes[3], sizes[4]
    height, width, _ = light.shape
    eye, forward, right, up, focal = camera[0], camera[1], camera[2], camera[3], camera[4, 0]
    received = np.empty(3)
    for row in range(height):
        for column in range(width):
            for sample in range(9):
                i, j = sample % 3, sample // 3
                px = ((column + 0.5 + film[i]) / width - 0.5) * 320 / focal
                py = (0.5 - (row + 0.5 + film[j]) / height) * 240 / focal
                ray, _ = _unit(_along(_along(forward, px, right), py, up))
                depth = -eye[2] / ray[2] if ray[2] < -1e-6 else 1e6
                normal, hit = (0.0, 0.0, 1.0), -1
                for k in range(len(shapes)):
                    bevel = sizes[1] if shapes[k] == 0 else sizes[2]
                    start = _along(eye, -1.0, centres[k])
                    t, facing = _meet(shapes[k], start, ray, bounds[k], radius, bevel, turns[k], depth)
                    if t > 0:
                        depth, hit, normal = t, k, facing
                point = _along(eye, depth, ray)
                if hit >= 0:
                    cover[hit, row, column] += 1 / 9

                free = _free_sky(point, normal, centres, radius, hit, occlusion)
                above = free * (0.5 + 0.5 * normal[2])
                below = free - above
                for c in range(3):
                    received[c] = ambient[0, c] * above + ambient[1, c] * below
                # another shuffle of the 3x3 grid than the pixel's own, so that the two do not march together
                u = ((2 * i + j + 1) % 3 + 0.5) / 3 - 0.5
                v = ((2 * j + i + 2) % 3 + 0.5) / 3 - 0.5
                for n in range(len(lamps)):
                    place = _along(_along(lamps[n, 0], u, lamps[n, 2]), v, lamps[n, 3])
                    way, far = _unit(_along(place, -1.0, point))
                    slant, leaving = _dot(normal, way), -_dot(lamps[n, 1], way)
                    if (
                        slant > 0
                        and leaving > 0
                        and not _shadowed(point, normal, way, far, shapes, centres, bounds, turns)
                    ):
                        share = slant * leaving / (far * far)
                        for c in range(3):
                            received[c] += lamps[n, 4, c] * share
                way, _ = _unit((sun[0] + sun[3] * u, sun[1] + sun[3] * v, sun[2]))
                slant = _dot(normal, way)
                lit = slant > 0 and not _shadowed(point, normal, way, 1e6, shapes, centres, bounds, turns)
                for c in range(3):
                    received[c] += sun[4 + c] * slant if lit else 0.0
                    light[row, column, c] += received[c] * (floor if hit < 0 else paint[hit, c])


@compiled
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _along(a, t, b):
    """a + t b"""
    return a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]


@compiled
def _unit(a):
    """A vector of length 1, and the length before."""
    size = math.sqrt(_dot(a, a))
    return (a[0] / size, a[1] / size, a[2] / size), size


@compiled
def _turn(a, c, s):
    """A vector as seen by an object that is turned by the angle with cosine c and sine s."""
    return c * a[0] + s * a[1], c * a[1] - s * a[0], a[2]


@compiled
def _sphere(start, way, radius):
    """Where a line enters and leaves a sphere about the origin: (first t, last t), (1, -1) where it passes by."""
    along = _dot(start, way)
    disc = along * along - _dot(start, start) + radius * radius
    if disc <= 0:
        return 1.0, -1.0
    return -along - math.sqrt(disc), -along + math.sqrt(disc)


@compiled
def _free_sky(point, normal, centres, radius, hit, occlusion):
    """The share of the ambient light that the other objects let through, each taken as a sphere."""
    free = 1.0
    for k in range(len(centres)):
        if k != hit:
            way = _along(centres[k], -1.0, point)
            square = _dot(way, way)
            slant = _dot(normal, way) / math.sqrt(square)
            facing = max(0.0, slant if hit < 0 else 0.5 + 0.5 * slant)
            free *= max(0.0, 1 - occlusion * facing * min(1.0, radius * radius / square))
    return free


@compiled
def _outside(shape, x, y, z, radius, bevel):
    """Distance from a point to the surface of a rounded cube or cylinder about the origin, negative inside."""
    if shape == 0:
        qx, qy = abs(x) - (radius - bevel), abs(y) - (radius - bevel)
    else:
        qx, qy = math.sqrt(x * x + y * y) - (radius - bevel), -1e9
    qz = abs(z) - (radius - bevel)
    ax, ay, az = max(qx, 0.0), max(qy, 0.0), max(qz, 0.0)
    return math.sqrt(ax * ax + ay * ay + az * az) + min(max(qx, max(qy, qz)), 0.0) - bevel


@compiled
def _meet(shape, start, ray, bound, radius, bevel, turn, limit):
    """Where a ray, whose start is relative to the object's centre, first meets it: (distance, outward normal),
    the distance -1 unless it is in (0, limit). Spheres by formula, the others by sphere tracing (Hart 1996)."""
    nothing = (-1.0, (0.0, 0.0, 0.0))
    t, end = _sphere(start, ray, bound)
    if end < t or t < 1e-4 or t > limit:
        return nothing
    if shape == 1:
        x, y, z = _along(start, t, ray)
        return t, (x / radius, y / radius, z / radius)
    c, s = turn[0], turn[1]
    start, ray, end = _turn(start, c, s), _turn(ray, c, s), min(limit, end)
    for _ in range(80):
        x, y, z = _along(start, t, ray)
        gap = _outside(shape, x, y, z, radius, bevel)
        if gap < 2e-4:
            h = 1e-4
            nx = _outside(shape, x + h, y, z, radius, bevel) - _outside(shape, x - h, y, z, radius, bevel)
            ny = _outside(shape, x, y + h, z, radius, bevel) - _outside(shape, x, y - h, z, radius, bevel)
            nz = _outside(shape, x, y, z + h, radius, bevel) - _outside(shape, x, y, z - h, radius, bevel)
            normal, _ = _unit(_turn((nx, ny, nz), c, -s))
            return t, normal
        t += gap
        if t > end:
            break
    return nothing


@compiled
def _shadowed(point, normal, way, far, shapes, centres, bounds, turns):
    """Whether an object stands between a point and a lamp `far` away; objects are taken with sharp edges."""
    for k in range(len(shapes)):
        radius = centres[k, 2]
        start = _along(_along(point, 1e-3, normal), -1.0, centres[k])
        near, end = _sphere(start, way, bounds[k])
        if end < 1e-3 or near > far:
            continue
        if shapes[k] != 1:
            near, end = _slab(start[2], way[2], radius)
        if shapes[k] == 0:
            seen, ahead = _turn(start, turns[k, 0], turns[k, 1]), _turn(way, turns[k, 0], turns[k, 1])
            for axis in range(2):
                low, high = _slab(seen[axis], ahead[axis], radius)
                near, end = max(near, low), min(end, high)
        elif shapes[k] == 2:
            square = way[0] ** 2 + way[1] ** 2
            across = start[0] * way[0] + start[1] * way[1]
            disc = across * across - square * (start[0] * start[0] + start[1] * start[1] - radius * radius)
            if disc <= 0 or square < 1e-12:
                continue
            near = max(near, (-across - math.sqrt(disc)) / square)
            end = min(end, (-across + math.sqrt(disc)) / square)
        if near < end and near > 1e-3 and near < far:
            return True
    return False


@compiled
def _slab(o, d, half):
    """Where a line o + t d runs between -half and half: (first t, last t), empty if first > last."""
    if abs(d) < 1e-12:
        return (-1e9, 1e9) if abs(o) <= half else (1e9, -1e9)
    a, b = (-half - o) / d, (half - o) / d
    return (a, b) if a < b else (b, a)

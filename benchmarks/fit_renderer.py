"""How near the renderer comes to real i-CLEVR frames, and how its constants were found.

    python benchmarks/fit_renderer.py --frames FOLDER           # prints the errors of lab7.render.LOOK
    python benchmarks/fit_renderer.py --frames FOLDER --fit     # fits again from LOOK, prints the result

The folder holds six frames of 320x240: a scene that grows from one object to five (seqA_0 .. seqA_4), and one of
three objects (seqB_2). They are not part of the project. The fit minimises a robust (pseudo-Huber) difference of
pixels by Levenberg and Marquardt's method with numerical derivatives, over camera, lamps, floor, film and places.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lab7.dataset.renderer import LOOK, Lamp, Look, radiance, to_srgb
from lab7.dataset.scenes import Scene, SceneObject
from lab7.vocabulary import class_index

Placed = tuple[tuple[str, float, float, float], ...]

# name, x, y, yaw as fitted; the first object of a scene stands at the origin
SEQUENCE_A = (
    ("purple sphere", 0.0, 0.0, 0.0),
    ("brown cylinder", 2.6357, 2.3139, 0.0),
    ("red sphere", -0.3097, -2.7968, 0.0),
    ("brown cube", -3.0860, -0.8752, 1.1782),
    ("blue cylinder", 3.2879, -1.5200, 0.0),
)
SEQUENCE_B = (
    ("yellow cube", 0.0, 0.0, 1.0401),
    ("red sphere", 0.4393, -2.9929, 0.0),
    ("gray cylinder", 2.8348, -1.4111, 0.0),
)
FRAMES = {  # start of the file's name -> which objects it shows
    **{f"seqA_{k}": SEQUENCE_A[: k + 1] for k in range(5)},
    "seqB_2": SEQUENCE_B,
}
FITTED = (0, 2, 3, 4, 5)  # frames used in the fit; the other shows nothing new
POSITIVE = {"distance", "cube_bevel", "cylinder_bevel", "sun_softness", "occlusion", "gain", "sheen", "blur"}
PLAIN = {"azimuth", "elevation"}
COLOURS = ("sun", "sky", "bounce")


def scene_of(placed: Placed) -> Scene:
    """The scene of a frame."""
    return Scene(tuple(SceneObject(class_index(name), x, y, yaw) for name, x, y, yaw in placed))


def read_frames(folder: Path, width: int = 64, height: int = 64) -> list[np.ndarray]:
    """The frames in the order of FRAMES, squashed as the course does: float64 (height, width, 3) in 0..255."""
    frames = []
    for start in FRAMES:
        path = next(iter(sorted(folder.glob(f"{start}_*.png"))), None)
        if path is None:
            raise SystemExit(f"{folder}: no frame {start}_*.png; give the folder of the six frames by --frames")
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        frames.append(np.asarray(image, dtype=np.float64))
    return frames


def frame_errors(
    folder: Path, look: Look = LOOK, scenes: tuple[Placed, ...] | None = None
) -> list[tuple[float, float]]:
    """For each frame: the mean absolute difference, of 255, over the picture and over the objects' own pixels."""
    errors = []
    for frame, placed in zip(read_frames(folder), scenes or FRAMES.values(), strict=True):
        light, cover = radiance(scene_of(placed), 64, 64, look)
        difference = np.abs(to_srgb(light) * 255 - frame)
        errors.append((difference.mean(), difference[cover.sum(axis=0) > 0.5].mean()))
    return errors


def to_vector(look: Look) -> np.ndarray:
    """The free constants of a look; positive ones by their logarithm. The scale is set by the fixed radius."""
    values = [np.log(getattr(look, name)) for name in sorted(POSITIVE)]
    values += [getattr(look, name) for name in sorted(PLAIN)]
    values += [np.log(x) for name in COLOURS for x in getattr(look, name)] + list(look.sun_direction)
    for lamp in look.lamps:
        values += [*lamp.position, *lamp.aim, np.log(lamp.size), *np.log(lamp.power)]
    return np.array(values)


def from_vector(vector: np.ndarray, look: Look) -> Look:
    """The inverse of to_vector; what is not free is taken from `look`."""
    values = iter(vector.tolist())
    take = lambda count: tuple(next(values) for _ in range(count))  # noqa: E731
    changes: dict[str, Any] = {name: float(np.exp(next(values))) for name in sorted(POSITIVE)}
    changes |= {name: next(values) for name in sorted(PLAIN)}
    changes |= {name: tuple(np.exp(take(3)).tolist()) for name in COLOURS} | {"sun_direction": take(3)}
    lamps = []
    for _ in look.lamps:
        position, aim, size, power = take(3), take(2), np.exp(take(1))[0], np.exp(take(3))
        lamps.append(Lamp(position, aim, float(size), tuple(power.tolist())))
    return dataclasses.replace(look, **changes, lamps=tuple(lamps))


def place(vector: np.ndarray) -> list[tuple]:
    """The scenes of the six frames with the places and turns in a vector."""
    values, sequences = iter(vector.tolist()), []
    for sequence in (SEQUENCE_A, SEQUENCE_B):
        placed = [sequence[0]] + [(name, next(values), next(values), yaw) for name, _, _, yaw in sequence[1:]]
        turned = [(n, x, y, next(values) if n.endswith("cube") else yaw) for n, x, y, yaw in placed]
        sequences.append(tuple(turned))
    return [sequences[0][: k + 1] for k in range(5)] + [sequences[1]]


def places() -> np.ndarray:
    """The places and turns to start from, as `place` reads them."""
    vector = []
    for sequence in (SEQUENCE_A, SEQUENCE_B):
        vector += [value for _, x, y, _ in sequence[1:] for value in (x, y)]
        vector += [yaw for name, _, _, yaw in sequence if name.endswith("cube")]
    return np.array(vector)


def fit(folder: Path, rounds: int, width: int = 80, height: int = 60) -> tuple[Look, list[tuple]]:
    """Levenberg and Marquardt from LOOK; residuals r enter as 6 * sqrt(2 (sqrt(1 + (r / 6)^2) - 1)), a soft |r|."""
    frames = read_frames(folder, width, height)
    num_look = len(to_vector(LOOK))

    def residuals(vector: np.ndarray) -> np.ndarray:
        look, scenes = from_vector(vector[:num_look], LOOK), place(vector[num_look:])
        parts = []
        for index in FITTED:
            light, cover = radiance(scene_of(scenes[index]), width, height, look)
            weight = 1 + 1.5 * (cover.sum(axis=0) > 0.3)
            parts.append(((to_srgb(light) * 255 - frames[index]) * weight[..., None]).ravel())
        r = np.concatenate(parts)
        return np.sign(r) * 6 * np.sqrt(2 * (np.sqrt(1 + (r / 6) ** 2) - 1))

    vector = np.concatenate((to_vector(LOOK), places()))
    now, damping = residuals(vector), 1e-2
    for turn in range(rounds):
        step = 2e-3 * np.maximum(np.abs(vector), 0.3)
        jacobian = np.stack([(residuals(vector + e) - now) / s for e, s in zip(np.diag(step), step, strict=True)], 1)
        square, slope = jacobian.T @ jacobian, jacobian.T @ now
        for _ in range(6):
            candidate = vector - np.linalg.solve(square + damping * np.diag(np.diag(square) + 1e-6), slope)
            new = residuals(candidate)
            if new @ new < now @ now:
                vector, now, damping = candidate, new, damping / 4
                break
            damping *= 6
        print(f"round {turn + 1}: root mean square {np.sqrt(np.mean(now**2)):.4f}", flush=True)
    return from_vector(vector[:num_look], LOOK), place(vector[num_look:])


def main() -> None:
    """Print the table of errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--fit", action="store_true", help="fit again, starting from the constants in the code")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    look, scenes = fit(options.frames, options.rounds) if options.fit else (LOOK, list(FRAMES.values()))
    if options.fit:
        print(look, *scenes[-2:], sep="\n")
    errors = frame_errors(options.frames, look, tuple(scenes))
    print("| frame | whole picture | objects' own pixels |\n|---|---|---|")
    for name, (whole, own) in zip(FRAMES, errors, strict=True):
        print(f"| {name} | {whole:.2f} | {own:.2f} |")
    print("| mean | {:.2f} | {:.2f} |".format(*np.mean(errors, axis=0)))


if __name__ == "__main__":
    main()

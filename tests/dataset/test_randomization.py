"""Other cameras, lamps and rules: repeatable, within their bounds, and apart from what training uses."""

import dataclasses

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.judge_ablation import without
from lab7.dataset import scenes
from lab7.dataset.look import LOOK
from lab7.dataset.randomization import SHIFTED, TRAINING, Randomization, randomize
from lab7.judge.augmentation import Augmentation, other_film, through_jpeg
from lab7.judge.evaluation import clean_set, shifted_set


def test_no_randomization_is_the_stand_ins_look():
    scene, look = randomize([1, 2], Randomization())
    assert look == LOOK and len(scene.objects) == 3
    assert randomize([1, 2], dataclasses.replace(TRAINING, plain=1.0))[1] == LOOK


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_a_look_stays_within_its_bounds_and_repeats(seed):
    amount = dataclasses.replace(TRAINING, plain=0.0)
    scene, look = randomize([seed], amount)
    assert (scene, look) == randomize([seed], amount)
    assert abs(look.azimuth - LOOK.azimuth) <= amount.azimuth
    assert abs(look.radius / LOOK.radius - 1) <= amount.radius
    assert len(look.lamps) == 3
    for thing in scene.objects:
        assert max(abs(thing.x), abs(thing.y)) <= scenes.EXTENT * (1 + amount.extent) + amount.origin
    places = [(thing.x, thing.y) for thing in scene.objects]
    for i, (x, y) in enumerate(places):
        for a, b in places[:i]:
            assert np.hypot(x - a, y - b) >= scenes.MIN_DISTANCE * (1 - amount.nearness) - 1e-9


def test_the_shifted_set_changes_what_training_leaves_alone():
    assert TRAINING.lamp_off == TRAINING.mirrored == 0 < min(SHIFTED.lamp_off, SHIFTED.mirrored)
    counts = {len(randomize([seed], SHIFTED)[1].lamps) for seed in range(30)}
    assert counts == {2, 3}
    mirrored = dataclasses.replace(Randomization(), mirrored=1.0)
    sides = []
    for amount in (Randomization(), mirrored):  # of the key lamp, seen from the camera: to the right, and towards it
        x, y, _ = randomize([0], amount)[1].lamps[0].position
        ca, sa = np.cos(LOOK.azimuth), np.sin(LOOK.azimuth)
        sides.append((-sa * x + ca * y, ca * x + sa * y))
    assert np.allclose(sides[1], (-sides[0][0], sides[0][1])) and abs(sides[0][0]) > 1


def test_the_sets_are_fixed_and_differ():
    clean, labels = clean_set(4, processes=1)
    shifted, shifted_labels = shifted_set(4, processes=1)
    assert clean.shape == shifted.shape == (12, 3, 64, 64) and clean.dtype == shifted.dtype == torch.uint8
    assert torch.equal(shifted, shifted_set(4, processes=2)[0])
    assert labels.sum(1).tolist() == shifted_labels.sum(1).tolist() == [1, 2, 3] * 4
    assert not torch.equal(labels, shifted_labels)


def test_jpeg_changes_the_chosen_alone():
    pictures = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    out = through_jpeg(pictures, [False, True, False], [50.0] * 3)
    assert torch.equal(out[0], pictures[0]) and torch.equal(out[2], pictures[2])
    assert not torch.equal(out[1], pictures[1]) and out.dtype == torch.uint8


def test_other_film_repeats_and_keeps_the_scene():
    pictures, _ = clean_set(2, processes=1)
    first, again, other = (other_film(pictures, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first.float() - pictures.float()).abs().mean() < 40


def test_a_part_can_be_left_out():
    assert without() == Augmentation()
    assert without("grain").noise == without("grain").blotches == 0 < without("grain").jpeg
    assert not any(dataclasses.asdict(without("all")).values())

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab7.dataset.renderer import radiance
from lab7.dataset.scenes import EXTENT, MIN_DISTANCE, Scene, has_room, sample_scene, scene_at
from lab7.vocabulary import CLASSES


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_scenes_keep_clevrs_rules(seed, count):
    scene = sample_scene(np.random.default_rng(seed), count)
    assert len(scene.objects) == count and len(set(scene.labels)) == count
    assert (scene.objects[0].x, scene.objects[0].y) == (0, 0)
    for i, a in enumerate(scene.objects):
        assert abs(a.x) <= EXTENT and abs(a.y) <= EXTENT and 0 <= a.yaw < 2 * math.pi
        for b in scene.objects[:i]:
            assert math.dist((a.x, a.y), (b.x, b.y)) >= MIN_DISTANCE
            assert has_room(a.x - b.x, a.y - b.y) and has_room(b.x - a.x, b.y - a.y)


def test_no_object_is_hidden():
    """At least a quarter of every object is seen in 60 scenes, and nine in ten are seen for the most part."""
    seen = []
    for index in range(60):
        scene = scene_at(5, index)
        _, cover = radiance(scene, 32, 32)
        for k, thing in enumerate(scene.objects):
            _, alone = radiance(Scene((thing,)), 32, 32)
            seen.append(cover[k].sum() / alone.sum())
    assert min(seen) > 0.25
    assert np.mean(np.array(seen) > 0.7) > 0.9


def test_scene_numbers_have_streams_of_their_own():
    assert scene_at(0, 7) == scene_at(0, 7)
    assert scene_at(0, 7) != scene_at(0, 8) and scene_at(0, 7) != scene_at(1, 7)


def test_classes_occur_evenly():
    counts = np.zeros(24)
    for index in range(2000):
        for thing in scene_at(0, index).objects:
            counts[thing.label] += 1
    assert abs(counts / 250 - 1).max() < 0.25  # 250 expected, deviation 15


def test_no_more_objects_than_fit_are_placed():
    scene = scene_at(0, 0)
    assert scene.labels[0] == CLASSES[scene.objects[0].label]
    with pytest.raises(ValueError, match="1 to 5 objects, not 6"):
        sample_scene(np.random.default_rng(0), 6)

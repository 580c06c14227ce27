"""The Frechet distance against its formula, worked out with numpy's eigenvalues."""

import numpy as np
import pytest
import torch

from lab7.dataset.images import to_float
from lab7.dataset.synthetic import render_conditions
from lab7.judge.frechet import against_renders, frechet_distance
from lab7.judge.networks import Judge, SmallClassifier, features


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(SmallClassifier().eval(), "fresh", "", False)


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_hand(judge: Judge, first: torch.Tensor, second: torch.Tensor) -> float:
    with torch.inference_mode():
        a, b = (features(judge.model, x).double().numpy() for x in (first, second))
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.linalg.eigvals(c @ d).astype(complex) ** 0.5
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c) + np.trace(d) - 2 * roots.real.sum())


def test_it_is_the_formula(judge):
    first, second = pictures(12, 0), pictures(12, 1) * 0.5
    assert frechet_distance(judge, first, second, batch_size=5) == pytest.approx(
        by_hand(judge, first, second), rel=1e-2
    )


def test_it_is_nothing_between_equals_and_grows_with_what_is_changed(judge):
    first = pictures(12, 0)
    assert frechet_distance(judge, first, first) == pytest.approx(0, abs=1e-3)
    near, far = (frechet_distance(judge, first, first * scale) for scale in (0.9, 0.3))
    assert 0 < near < far


def test_one_picture_is_not_enough(judge):
    with pytest.raises(ValueError, match="at least two pictures"):
        frechet_distance(judge, pictures(1, 0), pictures(4, 1))


def test_renders_of_the_conditions_are_at_the_floor_and_other_conditions_above_it(judge):
    conditions = [["red cube"], ["red cube", "cyan sphere"], ["cyan sphere", "red cube", "gray cube"]] * 4
    found = against_renders(judge, to_float(render_conditions(1, conditions)), conditions)
    assert found["pictures"] == 12 and found["distance"] == pytest.approx(found["floor"], rel=0.5)
    others = to_float(render_conditions(1, [["yellow sphere"]] * 12))
    assert against_renders(judge, others, conditions)["distance"] > 2 * found["distance"]


def test_conditions_of_more_objects_than_a_scene_has_do_not_count(judge):
    conditions = [["red cube"], ["red cube", "cyan sphere"], ["red cube", "cyan sphere", "gray cube", "gray sphere"]]
    assert against_renders(judge, pictures(3, 0), conditions)["pictures"] == 2

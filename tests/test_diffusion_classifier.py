"""Whether the network sees in a picture what was asked for, and best-of-n with it."""

import math

import pytest
import torch

from lab7.diffusion import TARGETS, target_for
from lab7.diffusion_classifier import (
    acceptance,
    alternative_conditions,
    best_of_n,
    class_error_ratio,
    errors,
    step_at,
)
from lab7.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule("cosine", 200)
TEMPLATES = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))  # a pattern for each class
SIMILAR = TEMPLATES[:8].repeat(3, 1, 1, 1) + 0.3 * TEMPLATES[8:11].repeat_interleave(8, dim=0)
"""Patterns that show the colour clearly and the shape faintly."""
NOISES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def picture(*classes):
    return 0.3 + sum(TEMPLATES[index] for index in classes)


def one_hot(*classes):
    condition = torch.zeros(24)
    condition[torch.tensor(classes)] = 1
    return condition


def errors_of(x_0, condition, target="x_0", patterns=TEMPLATES, swap=False):
    """`errors` of a model that takes every picture for the sum of the patterns of its condition."""

    def model(x_t, t, condition):
        predicted = torch.einsum("bk,kchw->bchw", condition, patterns)
        a, s = (scale[t][:, None, None, None] for scale in (SCHEDULE.sqrt_alpha_bar, SCHEDULE.sqrt_one_minus_alpha_bar))
        return target_for(SCHEDULE, predicted, (x_t - a * predicted) / s, t, target)

    return errors(model, SCHEDULE, x_0, condition, NOISES, target=target, swap=swap)


@pytest.mark.parametrize("target", TARGETS)
def test_the_ratio_is_the_logarithm_of_the_errors_without_an_object_and_with_all(target):
    x_0, condition = torch.stack([picture(2, 7), picture(5)]), torch.stack([one_hot(2, 7), one_hot(5)])
    ratios = class_error_ratio(*errors_of(x_0, condition, target))
    whole = (x_0[0] - picture(2, 7) + 0.3).square().mean()
    without = (x_0[0] - picture(7) + 0.3).square().mean()
    assert ratios[0, 2].item() == pytest.approx(math.log(without / whole), rel=1e-3)
    assert ratios.shape == (2, 24) and ratios[1, 5] > 0 and torch.isfinite(ratios).sum() == 3


def test_a_missing_object_has_a_negative_ratio():
    asked = one_hot(2, 7, 20)[None]
    assert class_error_ratio(*errors_of(picture(2, 7, 20)[None], asked)).min() > 0.5
    lacking = class_error_ratio(*errors_of(picture(2, 20, 20)[None], asked))
    assert lacking.argmin() == 7 and lacking[0, 7] < 0 < lacking[0, 2]


def test_alternatives_leave_an_object_out_or_swap_its_shape():
    condition = torch.stack([one_hot(2, 10), one_hot(23), one_hot(1, 9, 17)])  # blue cube and sphere; yellow; all reds

    def alternatives(swap):
        rows, classes, others = alternative_conditions(condition, swap)
        names = (tuple(other.nonzero().flatten().tolist()) for other in others)
        listed = list(zip(rows.tolist(), classes.tolist(), names, strict=True))
        assert len(listed) == len(set(listed))
        return set(listed)

    without = {(0, 2, (10,)), (0, 10, (2,)), (1, 23, ()), (2, 1, (9, 17)), (2, 9, (1, 17)), (2, 17, (1, 9))}
    swapped = {(0, 2, (10, 18)), (0, 10, (2, 18)), (1, 23, (7,)), (1, 23, (15,))}
    assert alternatives(swap=False) == without
    assert alternatives(swap=True) == without | swapped


def test_a_duplicated_object_is_noticed_only_with_swapped_shapes():
    def least(x_0, swap):
        return class_error_ratio(*errors_of(x_0[None], one_hot(2, 10)[None], patterns=SIMILAR, swap=swap)).min()

    both, cube_twice = 0.1 + SIMILAR[2] + SIMILAR[10], 0.1 + 2 * SIMILAR[2]
    assert least(both, swap=False) > 1 and least(both, swap=True) > 1
    assert least(cube_twice, swap=False) > 1, "without the sphere one blue thing too many stands there"
    assert least(cube_twice, swap=True) < 0.2, "but it might as well be a cylinder"


def test_nothing_asked_for_has_infinite_ratios():
    assert torch.isinf(class_error_ratio(*errors_of(picture(1)[None], torch.zeros(1, 24)))).all()


def test_an_error_above_its_limit_is_not_accepted():
    def rated(x_0, max_error):
        whole, without = errors_of(x_0[None], one_hot(2, 7)[None])
        ratios = class_error_ratio(whole, without)
        return whole.item(), ratios.min().item(), acceptance(ratios, whole, 0.4, max_error).item()

    error, least, value = rated(picture(2, 7), 0.1)  # the model knows of all but 0.3
    assert error == pytest.approx(0.09, rel=1e-4)
    assert value == pytest.approx(0.4 + math.log(2 * 0.1 / error), rel=1e-5) and least > value > 0.4
    assert rated(picture(2, 7), 10.0)[2] == least
    error, least, value = rated(picture(2, 7, 7), 0.1)
    assert value == pytest.approx(0.4 + math.log(2 * 0.1 / error), rel=1e-5) and value < 0.4 < least


@pytest.mark.parametrize("name", ["linear", "cosine", "shifted"])
def test_the_step_is_the_one_nearest_to_a_log_snr(name):
    schedule = NoiseSchedule(name)
    t = step_at(schedule, -4.4)
    near = torch.logit(schedule.alpha_bar64[max(1, t - 1) : t + 2])
    assert abs(torch.logit(schedule.alpha_bar64[t]) + 4.4) == (near + 4.4).abs().min()
    assert step_at(schedule, 1e9) == 1 and step_at(schedule, -1e9) == 1000


def numbered(rows, attempt):
    """Two numbers instead of a picture: its row and its attempt."""
    return torch.stack([rows, torch.full_like(rows, attempt)], dim=1).float()


@pytest.mark.parametrize("batch_size", [2, 64])
def test_best_of_n_draws_again_what_was_not_accepted_and_keeps_the_best(batch_size):
    calls = []

    def draw(rows, attempt):
        calls.append((rows.tolist(), attempt))
        return numbered(rows, attempt)

    def rate(drawn, rows):  # row k is accepted from attempt k on
        assert torch.equal(drawn[:, 0].long(), rows)
        return torch.where(drawn[:, 1] >= drawn[:, 0], 1.0, -((drawn[:, 1] - 1) ** 2))

    kept = best_of_n(draw, rate, 5, num_candidates=3, accept_threshold=0.5, batch_size=batch_size)
    assert kept[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert kept[:, 1].tolist() == [0, 1, 2, 1, 1], "rows 3 and 4 are never accepted: attempt 1 was the least bad"
    drawn = [[row for rows, number in calls if number == attempt for row in rows] for attempt in range(3)]
    assert drawn == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4]]
    assert all(len(rows) <= batch_size for rows, _ in calls)


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_best_of_n_keeps_the_first_where_no_rating_is_a_number(value):
    kept = best_of_n(numbered, lambda _, rows: torch.full((len(rows),), value), 3, 2, 1.0, batch_size=2)
    assert kept[:, 1].tolist() == [0, 0, 0]


def test_a_single_candidate_is_not_rated():
    kept = best_of_n(numbered, lambda *_: pytest.fail("rated"), 3, 1, 1.0, batch_size=2)
    assert kept[:, 1].tolist() == [0, 0, 0]

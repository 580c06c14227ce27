"""Whether a network sees in a picture what was asked for, and drawing anew until it does."""

import math

import pytest
import torch

from lab7.diffusion import TARGETS, target_for
from lab7.diffusion_classifier import (
    acceptance,
    alternative_conditions,
    best_of_n,
    class_error_ratio,
    error,
    errors,
    step_at,
)
from lab7.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule("cosine", 200)


def templates(size=16):
    """A pattern for each of the 24 classes."""
    return torch.randn(24, 3, size, size, generator=torch.Generator().manual_seed(0))


def picture(*classes):
    return 0.3 + sum(templates()[index] for index in classes)


def one_hot(*classes):
    condition = torch.zeros(24)
    condition[torch.tensor(classes)] = 1
    return condition


def knowing(target, patterns=None):
    """A model that takes every picture for the sum of what it is asked for, whatever it looks like."""

    def model(x_t, t, condition):
        x_0 = torch.einsum("bk,kchw->bchw", condition, templates() if patterns is None else patterns)
        a, s = (
            SCHEDULE.sqrt_alpha_bar[t][:, None, None, None],
            SCHEDULE.sqrt_one_minus_alpha_bar[t][:, None, None, None],
        )
        return target_for(SCHEDULE, x_0, (x_t - a * x_0) / s, t, target)

    return model


def alike():
    """Patterns that say much of the colour and little of the shape."""
    colours, shapes = templates()[:8], templates()[8:11]
    return torch.stack([colours[index % 8] + 0.3 * shapes[index // 8] for index in range(24)])


def noises(count):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("target", TARGETS)
def test_evidence_is_the_log_ratio_of_the_errors_without_an_object_and_with_all(target):
    x_0 = torch.stack([picture(2, 7), picture(5)])
    condition = torch.stack([one_hot(2, 7), one_hot(5)])
    found = class_error_ratio(*errors(knowing(target), SCHEDULE, x_0, condition, noises(2), target=target))
    assert found.shape == (2, 24)
    error = (x_0[0] - picture(2, 7) + 0.3).square().mean()
    without = (x_0[0] - picture(7) + 0.3).square().mean()
    assert found[0, 2].item() == pytest.approx(math.log(without / error), rel=1e-3)
    assert found[1, 5] > 0 and torch.isfinite(found).sum() == 3


def test_a_missing_object_is_found_out():
    asked = one_hot(2, 7, 20)[None]
    whole = class_error_ratio(
        *errors(knowing("x_0"), SCHEDULE, picture(2, 7, 20)[None], asked, noises(1), target="x_0")
    )
    lacking = class_error_ratio(
        *errors(knowing("x_0"), SCHEDULE, picture(2, 20, 20)[None], asked, noises(1), target="x_0")
    )
    assert whole.min() > 0.5
    assert lacking.argmin() == 7 and lacking[0, 7] < 0 < lacking[0, 2]


def test_each_object_is_held_against_nothing_and_against_the_other_shapes_of_its_colour():
    condition = torch.stack([one_hot(2, 10), one_hot(23), one_hot(1, 9, 17)])  # blue cube and sphere; yellow; all reds
    rows, classes, others = alternative_conditions(condition, exchange=False)
    assert list(zip(rows.tolist(), classes.tolist(), strict=True)) == [
        (0, 2),
        (0, 10),
        (1, 23),
        (2, 1),
        (2, 9),
        (2, 17),
    ]
    assert all(
        torch.equal(other, condition[row] - one_hot(index))
        for row, index, other in zip(rows, classes, others, strict=True)
    )
    rows, classes, others = alternative_conditions(condition, exchange=True)
    told = {
        (int(row), int(index), tuple(other.nonzero().flatten().tolist()))
        for row, index, other in zip(rows, classes, others, strict=True)
    }
    swapped = {(0, 2, (10, 18)), (0, 10, (2, 18)), (1, 23, (7,)), (1, 23, (15,))}
    without = {(0, 2, (10,)), (0, 10, (2,)), (1, 23, ()), (2, 1, (9, 17)), (2, 9, (1, 17)), (2, 17, (1, 9))}
    assert told == swapped | without and len(rows) == len(told)


def test_one_thing_twice_passes_for_another_of_its_colour_unless_shapes_are_exchanged():
    blue_cube_and_sphere = one_hot(2, 10)[None]

    def least(picture, exchange):
        model = knowing("x_0", alike())
        wrong = errors(model, SCHEDULE, picture[None], blue_cube_and_sphere, noises(1), target="x_0", exchange=exchange)
        return class_error_ratio(*wrong).min().item()

    both, cube_twice = 0.1 + alike()[2] + alike()[10], 0.1 + 2 * alike()[2]
    assert least(both, exchange=False) > 1 and least(both, exchange=True) > 1
    assert least(cube_twice, exchange=False) > 1, "without the sphere one blue thing too many stands there"
    assert least(cube_twice, exchange=True) < 0.2, "but it might as well be a cylinder"


def test_nothing_asked_is_as_evident_as_can_be():
    found = class_error_ratio(
        *errors(knowing("x_0"), SCHEDULE, picture(1)[None], torch.zeros(1, 24), noises(1), target="x_0")
    )
    assert torch.isinf(found).all()


def test_what_stands_there_unasked_makes_the_best_evidence_worse_than_enough():
    asked = one_hot(2, 7)[None]

    def judged(x_0, max_error):
        found = class_error_ratio(*errors(knowing("x_0"), SCHEDULE, x_0[None], asked, noises(1), target="x_0"))
        left = error(knowing("x_0"), SCHEDULE, x_0[None], asked, noises(2), target="x_0")
        told = acceptance(found, left, accept_threshold=0.4, max_error=max_error)
        assert told.shape == left.shape == (1,)
        return left.item(), found.min().item(), told.item()

    left, least, told = judged(picture(2, 7), 0.1)  # the model knows of all but 0.3
    assert left == pytest.approx(0.09, rel=1e-4)
    assert told == pytest.approx(0.4 + math.log(2 * 0.1 / left), rel=1e-5) and least > told > 0.4
    assert judged(picture(2, 7), 10.0)[2] == least
    left, least, told = judged(picture(2, 7, 7), 0.1)
    assert told == pytest.approx(0.4 + math.log(2 * 0.1 / left), rel=1e-5) and told < 0.4 < least
    assert judged(picture(2, 7, 7), left / 2 * 1.001)[2] > 0.4 > judged(picture(2, 7, 7), left / 2 * 0.999)[2]


@pytest.mark.parametrize("name", ["linear", "cosine", "shifted"])
def test_the_noise_to_look_in_is_that_of_the_log_snr(name):
    schedule = NoiseSchedule(name)
    t = step_at(schedule, -4.4)
    assert 1 <= t <= 1000
    near = torch.logit(schedule.alpha_bar64[max(1, t - 1) : t + 2])
    assert abs(torch.logit(schedule.alpha_bar64[t]) + 4.4) == (near + 4.4).abs().min()
    assert step_at(schedule, 1e9) == 1 and step_at(schedule, -1e9) == 1000


def worth(rows, attempt):
    """Row k first shows its object in attempt k; one number stands for a picture."""
    return torch.stack([rows, torch.full_like(rows, attempt)], dim=1).float()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_only_what_is_missing_is_drawn_again_and_the_best_is_kept(batch_size):
    asked = []

    def draw(rows, attempt):
        asked.append((rows.tolist(), attempt))
        return worth(rows, attempt)

    def look(drawn, rows):
        assert torch.equal(drawn[:, 0].long(), rows)
        return torch.where(drawn[:, 1] >= drawn[:, 0], 1.0, -((drawn[:, 1] - 1) ** 2))

    kept = best_of_n(draw, look, 5, num_candidates=3, accept_threshold=0.5, batch_size=batch_size)
    assert kept[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert kept[:, 1].tolist() == [0, 1, 2, 1, 1], "rows 3 and 4 never show it: attempt 1 was the least bad"
    drawn = [[row for rows, number in asked if number == attempt for row in rows] for attempt in range(3)]
    assert drawn == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4]]
    assert all(len(rows) <= batch_size for rows, _ in asked)


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_the_first_is_kept_where_no_look_tells_anything(value):
    kept = best_of_n(
        worth, lambda _, rows: torch.full((len(rows),), value), 3, num_candidates=2, accept_threshold=1.0, batch_size=2
    )
    assert kept[:, 1].tolist() == [0, 0, 0]


def test_a_single_try_is_not_looked_at():
    kept = best_of_n(worth, lambda *_: pytest.fail("looked"), 3, num_candidates=1, accept_threshold=1.0, batch_size=2)
    assert kept[:, 1].tolist() == [0, 0, 0]

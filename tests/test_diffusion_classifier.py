"""Whether the network sees in a picture what was asked for."""

import math

import pytest
import torch

from lab7.diffusion import TARGETS, target_for
from lab7.diffusion_classifier import class_error_ratio, errors, step_at
from lab7.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule("cosine", 200)
TEMPLATES = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))  # a pattern for each class
NOISES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def picture(*classes):
    return 0.3 + sum(TEMPLATES[index] for index in classes)


def one_hot(*classes):
    condition = torch.zeros(24)
    condition[torch.tensor(classes)] = 1
    return condition


def errors_of(x_0, condition, target="x_0"):
    """`errors` of a model that takes every picture for the sum of the patterns of its condition."""

    def model(x_t, t, condition):
        predicted = torch.einsum("bk,kchw->bchw", condition, TEMPLATES)
        a, s = (scale[t][:, None, None, None] for scale in (SCHEDULE.sqrt_alpha_bar, SCHEDULE.sqrt_one_minus_alpha_bar))
        return target_for(SCHEDULE, predicted, (x_t - a * predicted) / s, t, target)

    return errors(model, SCHEDULE, x_0, condition, NOISES, target=target)


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


def test_nothing_asked_for_has_infinite_ratios():
    assert torch.isinf(class_error_ratio(*errors_of(picture(1)[None], torch.zeros(1, 24)))).all()


@pytest.mark.parametrize("name", ["linear", "cosine", "shifted"])
def test_the_step_is_the_one_nearest_to_a_log_snr(name):
    schedule = NoiseSchedule(name)
    t = step_at(schedule, -4.4)
    near = torch.logit(schedule.alpha_bar64[max(1, t - 1) : t + 2])
    assert abs(torch.logit(schedule.alpha_bar64[t]) + 4.4) == (near + 4.4).abs().min()
    assert step_at(schedule, 1e9) == 1 and step_at(schedule, -1e9) == 1000

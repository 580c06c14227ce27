"""Condition sensitivity: of a network that uses the condition, one that ignores it, and with any normalisation."""

import math

import pytest
import torch
from torch import nn

from lab7.ablation.results import sensitivity_table
from lab7.config import get_preset, override
from lab7.dataset.images import Pictures
from lab7.dataset.normalizer import Normaliser, fit_normaliser
from lab7.pipeline import Pipeline
from lab7.schedule import NoiseSchedule
from lab7.training.sensitivity import NOISE, condition_sensitivity

SIZE = 8


class Knowing(nn.Module):
    """Predicts x_0 as the sum of the patterns of its condition, or a grey if it ignores it."""

    def __init__(self, patterns, ignores=False):
        super().__init__()
        self.patterns, self.ignores, self.asked_at = nn.Parameter(patterns), ignores, []

    def forward(self, x_t, t, condition):
        self.asked_at.append(int(t[0]))
        return torch.einsum("bk,kchw->bchw", condition * (0 if self.ignores else 1), self.patterns)


@pytest.fixture
def pictures():
    """Six pictures with one, two and three objects, each object a pattern of its own."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(-40, 41, (24, 3, SIZE, SIZE), generator=generator)
    labels = torch.zeros(6, 24)
    for row, classes in enumerate([(0,), (1, 2), (3, 4, 5), (6,), (7, 8), (9, 10, 11)]):
        labels[row, list(classes)] = 1
    images = 127 + torch.einsum("bk,kchw->bchw", labels, patterns.float())
    noise = torch.randint(-3, 4, images.shape, generator=generator)
    names = [f"{row}.png" for row in range(6)]
    return Pictures((images + noise).clamp(0, 255).to(torch.uint8), labels, names), patterns / 127.5


def pipeline(model, normaliser):
    preset = override(get_preset("small"), ["target=x_0", f"image_size={SIZE}"])
    return Pipeline(model, NoiseSchedule("cosine", 1000), normaliser, preset)


def test_a_network_that_ignores_the_condition_has_none(pictures):
    some, patterns = pictures
    normaliser = Normaliser(torch.full((3, SIZE, SIZE), -1 / 255), torch.tensor(0.1))
    sensitivity = condition_sensitivity(pipeline(Knowing(patterns / 0.1), normaliser), some)
    assert (
        sensitivity.shape == (6,) and (sensitivity > 1).all()
    )  # without an object the error is several times as large
    assert condition_sensitivity(pipeline(Knowing(patterns / 0.1, ignores=True), normaliser), some).tolist() == [0] * 6


@pytest.mark.parametrize("kind", ["deviation", "plain"])
def test_the_noise_is_as_strong_beside_the_pixels_with_any_normalisation(kind, pictures):
    some, patterns = pictures
    normaliser = fit_normaliser(some.images, kind)
    model = Knowing(patterns)
    able = pipeline(model, normaliser)
    condition_sensitivity(able, some)
    (t,) = set(model.asked_at)
    alpha_bar = able.schedule.alpha_bar64[t].item()
    assert normaliser.std.item() * math.sqrt((1 - alpha_bar) / alpha_bar) == pytest.approx(NOISE * SIZE / 64, rel=0.01)


def test_at_most_so_many_pictures_are_measured_evenly_spread(pictures, monkeypatch):
    some, patterns = pictures
    able = pipeline(Knowing(patterns), fit_normaliser(some.images, "plain"))
    every = condition_sensitivity(able, some)
    monkeypatch.setattr("lab7.training.sensitivity.PICTURES", 3)
    torch.testing.assert_close(condition_sensitivity(able, some), every[[0, 2, 5]])


def result(seed, *values):
    by_picture = [value / 100 for value in values]
    return {"seed": seed, "images_seen": 960, "seconds": 120.0, "condition_sensitivity": {"by_picture": by_picture}}


def test_the_table_compares_each_arm_with_its_baseline_on_the_seeds_of_both():
    arms = {
        "report_up_down": [result(0, 2.0, 2.2, 1.8, 2.0), result(1, 2.1, 2.1, 1.9, 2.0)],
        "report_none": [result(0, 0.0, 0.0, 0.0, 0.0), result(1, 0.0, 0.0, 0.0, 0.0)],
        "report_up": [result(1, 2.1, 2.1, 1.9, 2.0)],
        "report_guidance_1": [result(0, 2.0, 2.2, 1.8, 2.0)],
        "report_hidden": [{"seed": 0}],
        "laptop": [result(0, 9.0, 9.0, 9.0, 9.0)],
    }
    table = sensitivity_table(arms).set_index("arm")
    assert list(table.index) == ["report_up_down", "report_none", "report_up", "laptop"]
    assert table.condition_sensitivity["report_up_down"] == pytest.approx(2.0125)
    assert table.low["report_up_down"] < 2.0125 < table.high["report_up_down"]
    assert table.difference["report_none"] == pytest.approx(-2.0125)
    assert table.verdict.to_dict() == {
        "report_up_down": "the baseline",
        "report_none": "two trainings",
        "report_up": "one training",
        "laptop": "not compared",
    }
    assert table.minutes["report_up"] == 2 and table.seeds["report_none"] == 2

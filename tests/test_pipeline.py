"""Weights as files, and drawing with them: repeatable, independent of batches, and in pixels."""

import dataclasses

import pytest
import torch

from lab7.config import get_preset, override
from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.normalizer import Normaliser
from lab7.pipeline import CLAMPS, Pipeline, build_model, load_pipeline, save_weights
from lab7.schedule import NoiseSchedule
from lab7.utils.files import UserError

CONDITIONS = [["red cube"], ["cyan sphere", "blue cylinder"], ["gray cube"]]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Pipeline:
    """A fresh network written to a file and read again."""
    preset = override(get_preset("smoke"), ["n_feature=8", "image_size=32", "sampling.num_steps=3"])
    mean = torch.linspace(-0.5, 0.5, 3 * 32 * 32).view(3, 32, 32)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, build_model(preset), Normaliser(mean, torch.tensor(0.3)), preset)
    return load_pipeline(path)


def test_weights_come_back_to_float16_with_normaliser_and_settings(pipeline):
    fresh = build_model(pipeline.preset).state_dict()
    for name, value in pipeline.model.state_dict().items():
        expected = fresh[name].half().float() if value.is_floating_point() else fresh[name]
        assert torch.equal(value, expected), name
    assert pipeline.preset.model.n_feature == 8 and float(pipeline.normaliser.std) == pytest.approx(0.3)
    assert (
        isinstance(pipeline.schedule, NoiseSchedule)
        and pipeline.schedule.num_steps == pipeline.preset.diffusion.num_steps
    )


def test_bf16_draws_the_same_scene(pipeline):
    exact, close = (pipeline.draw(CONDITIONS, seed=5, precision=precision) for precision in ("fp32", "bf16"))
    assert 0 < (exact - close).abs().mean() < 0.05 * exact.std()


def test_the_same_seed_gives_the_same_pictures_in_any_batches(pipeline):
    for sampler in ("ddim", "ddpm"):
        whole = pipeline.draw(CONDITIONS, samples=2, seed=5, sampler=sampler)
        assert whole.shape == (6, 3, 64, 64)
        assert torch.equal(whole, pipeline.draw(CONDITIONS, samples=2, seed=5, sampler=sampler))
        assert not torch.equal(whole[0], whole[1])
    parts = pipeline.draw(CONDITIONS, samples=2, seed=5, sampler="ddim", batch_size=4)
    assert torch.allclose(pipeline.draw(CONDITIONS, samples=2, seed=5, sampler="ddim"), parts, atol=1e-4)
    assert not torch.allclose(parts, pipeline.draw(CONDITIONS, samples=2, seed=6, sampler="ddim"), atol=0.1)


def test_drawing_leaves_the_global_random_state_alone(pipeline):
    before = torch.get_rng_state()
    pipeline.draw(CONDITIONS[:1], sampler="ddpm")
    build_model(pipeline.preset, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_pixels_are_the_inverse_of_the_normaliser(pipeline):
    x_0 = torch.zeros(2, 3, 32, 32)
    assert torch.allclose(pipeline.to_pixels(x_0, 32)[0], pipeline.normaliser.mean, atol=1e-6)
    assert pipeline.to_pixels(x_0).shape == (2, 3, 64, 64)


def test_clamping_brings_pixels_back_and_nothing_else(pipeline):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 5
    pixels, clamped = pipeline.normaliser.decode(x), pipeline.normaliser.decode(pipeline.clamp(x))
    inside = pixels.abs() <= 1
    assert clamped.abs().max() <= 1 + 1e-5 and not inside.all()
    assert torch.allclose(clamped[inside], pixels[inside], atol=1e-5)
    drawn = {clamp: pipeline.draw(CONDITIONS, clamp=clamp, size=32) for clamp in CLAMPS}
    assert torch.allclose(drawn["output"], drawn["none"].clamp(-1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'; known: ddpm, ddim, dpm_solver_pp, sde_dpm_solver_pp"),
        ({"clamp": "x_t"}, "unknown clamp 'x_t'; known: none, output, x_0"),
        ({"samples": 0}, "at least 1, not 0"),
        ({"num_steps": 0}, "steps"),
        ({"num_steps": 10_000}, "steps"),
    ],
)
def test_what_cannot_be_drawn_is_refused(pipeline, options, told):
    with pytest.raises(UserError) as caught:
        pipeline.draw(CONDITIONS, **options)
    assert told in str(caught.value)
    with pytest.raises(UserError, match="red cub"):
        pipeline.draw([["red cub"]])


@pytest.mark.parametrize("content", [None, b"", b"not weights", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_file_that_holds_no_weights_is_told(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors: (no such|not) weights"):
        load_pipeline(path)


def test_weights_of_another_shape_are_told(pipeline, tmp_path):
    preset = override(pipeline.preset, ["n_feature=16"])
    path = tmp_path / "mixed.safetensors"
    save_weights(path, build_model(pipeline.preset), pipeline.normaliser, preset)
    with pytest.raises(UserError, match="not weights that 'lab7 train' wrote"):
        load_pipeline(path)


def test_more_tries_are_kept_only_where_the_network_sees_more(pipeline):
    once = pipeline.draw(CONDITIONS, size=32, num_candidates=1)
    assert torch.equal(pipeline.draw(CONDITIONS, size=32, num_candidates=3, accept_threshold=-100), once), (
        "enough at once"
    )
    never = {
        batch: pipeline.draw(CONDITIONS, size=32, num_candidates=3, accept_threshold=100, batch_size=batch)
        for batch in (1, 64)
    }
    assert torch.allclose(never[1], never[64], atol=1e-4)
    both = torch.cat([once, never[64]])
    told, _ = pipeline.look(pipeline.normaliser.from_pixels(both), conditions_tensor(CONDITIONS).repeat(2, 1))
    first, best = told.amin(dim=1).view(2, -1)
    changed = (once != never[64]).flatten(1).any(dim=1)
    assert changed.any() and (best > first)[changed].all()


def test_a_picture_that_leaves_too_much_unexplained_is_drawn_again(pipeline):
    labels = conditions_tensor(CONDITIONS)

    def drawn(max_error):
        pictures = pipeline.draw(CONDITIONS, size=32, num_candidates=3, accept_threshold=-100, max_error=max_error)
        return pictures, pipeline.look(pipeline.normaliser.from_pixels(pictures), labels)[1]

    once, left = drawn(0)
    assert left.shape == (len(CONDITIONS),) and torch.equal(once, pipeline.draw(CONDITIONS, size=32, num_candidates=1))
    assert torch.equal(drawn(10 * left.max().item())[0], once), "little enough at once"
    never, least = drawn(1e-30)
    changed = (once != never).flatten(1).any(dim=1)
    assert changed.any() and (least < left)[changed].all() and torch.equal(least[~changed], left[~changed])


def test_one_try_where_the_way_is_followed(pipeline):
    pipeline = dataclasses.replace(
        pipeline, preset=override(pipeline.preset, ["num_candidates=3", "accept_threshold=100"])
    )
    steps = []
    followed = pipeline.draw(CONDITIONS, size=32, callback=lambda *told: steps.append(told[0]))
    assert torch.equal(followed, pipeline.draw(CONDITIONS, size=32, num_candidates=1)) and len(set(steps)) == len(steps)
    with pytest.raises(UserError, match="set tries to 1, not 2"):
        pipeline.draw(CONDITIONS, num_candidates=2, callback=lambda *_: None)
    with pytest.raises(UserError, match="number of tries must be at least 1, not 0"):
        pipeline.draw(CONDITIONS, num_candidates=0)

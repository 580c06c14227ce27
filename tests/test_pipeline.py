"""Weights as files, and drawing with them: repeatable, independent of batches, and in pixels."""

import dataclasses
import math

import pytest
import torch

from lab7.config import get_preset, override
from lab7.dataset.normalizer import Normaliser
from lab7.pipeline import Pipeline, build_model, load_pipeline, save_weights
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


def test_weights_come_back_in_float16_with_normaliser_and_settings(pipeline):
    fresh = build_model(pipeline.preset).state_dict()
    for name, value in pipeline.model.state_dict().items():
        expected = fresh[name].half().float() if value.is_floating_point() else fresh[name]
        assert torch.equal(value, expected), name
    assert torch.equal(pipeline.normaliser.mean, torch.linspace(-0.5, 0.5, 3 * 32 * 32).view(3, 32, 32))
    assert pipeline.preset.model.n_feature == 8 and pipeline.normaliser.std == torch.tensor(0.3)
    assert pipeline.schedule.num_steps == pipeline.preset.diffusion.num_steps


def test_bf16_draws_the_same_scene(pipeline):
    exact, close = (pipeline(CONDITIONS, seed=5, draw_precision=precision) for precision in ("fp32", "bf16"))
    assert 0 < (exact - close).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_same_seed_gives_the_same_pictures_in_any_batches(pipeline, sampler):
    whole = pipeline(CONDITIONS, samples=2, seed=5, sampler=sampler)
    assert whole.shape == (6, 3, 64, 64)
    assert torch.equal(whole, pipeline(CONDITIONS, samples=2, seed=5, sampler=sampler))
    assert not torch.equal(whole[0], whole[1])
    assert torch.allclose(whole, pipeline(CONDITIONS, samples=2, seed=5, sampler=sampler, batch_size=4), atol=1e-4)
    assert not torch.allclose(whole, pipeline(CONDITIONS, samples=2, seed=6, sampler=sampler), atol=0.1)


def test_a_long_list_may_be_drawn_in_parts(pipeline):
    whole = pipeline([["red cube"]] * 3, num_steps=2, seed=5)
    assert torch.allclose(pipeline([["red cube"]], num_steps=2, seed=5, first=2), whole[2:], atol=1e-5)


def test_settings_come_from_the_preset_a_config_or_single_fields(pipeline):
    assert pipeline.sampling().num_steps == 3 and pipeline.sampling().draw_precision in ("bf16", "fp32")
    given = dataclasses.replace(pipeline.preset.sampling, num_steps=4, sampler="ddpm")
    assert pipeline.sampling(given, num_steps=2).num_steps == 2 and pipeline.sampling(given).sampler == "ddpm"
    assert pipeline.sampling(dataclasses.replace(given, num_steps=5000)).num_steps == pipeline.schedule.num_steps
    assert torch.equal(pipeline(CONDITIONS, sampling=given), pipeline(CONDITIONS, num_steps=4, sampler="ddpm"))


def test_drawing_leaves_the_global_random_state_alone(pipeline):
    before = torch.get_rng_state()
    pipeline(CONDITIONS[:1], sampler="ddpm")
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
    output, none = (pipeline(CONDITIONS, clamp=clamp, size=32) for clamp in ("output", "none"))
    assert torch.allclose(output, none.clamp(-1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "sampler must be one of ddpm, ddim, dpm_solver_pp, sde_dpm_solver_pp, not 'euler'"),
        ({"clamp": "x_t"}, "clamp must be one of none, output, x_0, not 'x_t'"),
        ({"samples": 0}, "at least 1"),
        ({"num_steps": 0}, "num_steps must be at least 1, but is 0"),
        ({"num_steps": 10_000}, "steps"),
        ({"steps": 3}, "unknown setting 'sampling.steps'"),
    ],
)
def test_bad_settings_are_refused(pipeline, options, message):
    with pytest.raises(UserError) as caught:
        pipeline(CONDITIONS, **options)
    assert message in str(caught.value)


def test_an_unknown_label_is_refused(pipeline):
    with pytest.raises(UserError, match="red cub"):
        pipeline([["red cub"]])


@pytest.mark.parametrize("content", [None, b"", b"not weights", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_file_without_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors: (no such|not) weights"):
        load_pipeline(path)


def test_weights_of_another_shape_are_refused(pipeline, tmp_path):
    path = tmp_path / "mixed.safetensors"
    save_weights(path, build_model(pipeline.preset), pipeline.normaliser, override(pipeline.preset, ["n_feature=16"]))
    with pytest.raises(UserError, match="not weights that 'lab7 train' wrote"):
        load_pipeline(path)


def test_a_weight_too_large_for_float16_is_kept(pipeline, tmp_path):
    model = build_model(pipeline.preset)
    with torch.no_grad():
        model.init_conv[1].running_var[0] = 3e5
    save_weights(tmp_path / "large.safetensors", model, pipeline.normaliser, pipeline.preset)
    assert load_pipeline(tmp_path / "large.safetensors").model.init_conv[1].running_var[0] == 3e5


@pytest.mark.parametrize("where", ["weight", "normaliser"])
def test_weights_that_are_no_numbers_are_refused(pipeline, tmp_path, where):
    model, normaliser = build_model(pipeline.preset), pipeline.normaliser
    if where == "weight":
        torch.nn.init.constant_(model.init_conv[0].weight, math.nan)
    else:
        normaliser = dataclasses.replace(normaliser, std=torch.tensor(math.nan))
    save_weights(tmp_path / "nan.safetensors", model, normaliser, pipeline.preset)
    with pytest.raises(UserError, match="holds numbers that are not finite"):
        load_pipeline(tmp_path / "nan.safetensors")


@pytest.mark.parametrize("mean, std", [((3,), ()), ((3, 5, 5), ()), ((3, 32, 32), (3,))])
def test_a_normaliser_of_another_shape_is_refused(pipeline, tmp_path, mean, std):
    normaliser = Normaliser(torch.zeros(mean), torch.ones(std))
    save_weights(tmp_path / "odd.safetensors", build_model(pipeline.preset), normaliser, pipeline.preset)
    with pytest.raises(UserError, match="its mean picture is not of 32x32 pixels"):
        load_pipeline(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("layouts", [None, torch.zeros(5, 7)])
def test_weights_of_a_network_that_is_told_positions_hold_layouts(pipeline, tmp_path, layouts):
    preset = override(pipeline.preset, ["network=efficient", "positions=true"])
    path, normaliser = tmp_path / "told.safetensors", Normaliser(torch.zeros(3, 32, 32), torch.tensor(1.0))
    save_weights(path, build_model(preset), normaliser, preset, torch.full((5, 48), 0.5))
    assert load_pipeline(path).layouts.shape == (5, 48)
    save_weights(path, build_model(preset), normaliser, preset, layouts)
    with pytest.raises(UserError, match=r"told\.safetensors: not weights"):
        load_pipeline(path)

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab7.diffusion import (
    TARGETS,
    add_noise,
    drop_condition,
    loss,
    predict_x_0_eps,
    sample_timesteps,
    target_for,
)
from lab7.schedule import NAMES, NoiseSchedule


def batch(seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    x_0 = torch.randn(count, 3, 8, 8, generator=generator)
    eps = torch.randn(count, 3, 8, 8, generator=generator)
    return x_0, eps, generator


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(TARGETS), st.sampled_from(NAMES), st.integers(0, 9), st.data())
def test_every_target_gives_back_picture_and_noise(kind, name, seed, data):
    schedule = NoiseSchedule(name)
    # near t = 1 eps cannot be had from x_0, nor x_0 from eps near T, to float32 precision
    t = torch.tensor(data.draw(st.lists(st.integers(50, 900), min_size=4, max_size=4)))
    x_0, eps, _ = batch(seed)
    x_t = add_noise(schedule, x_0, t, eps)
    answer = target_for(schedule, x_0, eps, t, kind)
    got_x_0, got_eps = predict_x_0_eps(schedule, answer, x_t, t, kind)
    torch.testing.assert_close(got_x_0, x_0, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(got_eps, eps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_noise_and_velocity_agree_with_diffusers(name):
    from diffusers import DDPMScheduler

    oracle = DDPMScheduler(1000, beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[name])
    schedule = NoiseSchedule(name)
    x_0, eps, _ = batch()
    t = torch.tensor([1, 37, 500, 990])
    torch.testing.assert_close(
        add_noise(schedule, x_0, t, eps), oracle.add_noise(x_0, eps, t - 1), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        target_for(schedule, x_0, eps, t, "v"), oracle.get_velocity(x_0, eps, t - 1), rtol=1e-5, atol=1e-5
    )


def test_step_zero_leaves_the_picture_alone():
    x_0, eps, _ = batch()
    assert torch.equal(add_noise(NoiseSchedule("linear"), x_0, torch.zeros(4, dtype=torch.int64), eps), x_0)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_perfect_answer_has_no_loss_and_a_wrong_one_has(kind):
    schedule = NoiseSchedule("linear")
    x_0, _, generator = batch()
    seen = {}

    def oracle(x_t, t, condition):
        a, s = (
            schedule.sqrt_alpha_bar[t].view(-1, 1, 1, 1),
            schedule.sqrt_one_minus_alpha_bar[t].view(-1, 1, 1, 1),
        )
        seen["t"] = t
        return target_for(schedule, x_0, (x_t - a * x_0) / s, t, kind)

    assert loss(oracle, schedule, x_0, torch.zeros(4, 24), generator, kind) < 1e-4
    assert seen["t"].min() >= 1 and seen["t"].max() <= 1000
    wrong = loss(lambda x_t, t, c: oracle(x_t, t, c) + 1, schedule, x_0, torch.zeros(4, 24), generator, kind)
    assert wrong.item() == pytest.approx(1, abs=0.05)


def test_steps_are_drawn_from_one_to_T_evenly():
    schedule = NoiseSchedule("linear", 10)
    seen = []

    def spy(x_t, t, condition):
        seen.append(t)
        return x_t

    loss(spy, schedule, torch.zeros(20_000, 3, 1, 1), torch.zeros(20_000, 24), torch.Generator().manual_seed(0))
    counts = torch.bincount(seen[0], minlength=11)
    assert counts[0] == 0 and len(counts) == 11
    assert (counts[1:] - 2000).abs().max() < 5 * 2000**0.5


@pytest.mark.parametrize("how", ["uniform", "stratified"])
def test_each_way_of_drawing_steps_is_even_and_stratified_ones_cover_all_parts(how):
    schedule = NoiseSchedule("linear", 10)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([sample_timesteps(schedule, 5, generator, how) for _ in range(4000)])  # (4000, 5)
    counts = torch.bincount(drawn.flatten(), minlength=11)
    assert counts[0] == 0 and len(counts) == 11
    assert (counts[1:] - 2000).abs().max() < 5 * 2000**0.5
    parts = ((drawn - 1) // 2).sort(dim=1).values == torch.arange(5)
    assert bool(parts.all()) == (how == "stratified")


def test_logit_normal_steps_are_stratified_and_as_many_as_the_formula_says():
    schedule = NoiseSchedule("linear", 1000)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([sample_timesteps(schedule, 4, generator, "logit_normal") for _ in range(4000)])  # (4000, 4)
    assert drawn.min() >= 1 and drawn.max() <= 1000
    bounds = [round(1000 * e) for e in (0.33753, 0.5, 0.66247)]  # 1 / (1 + exp(-z)) at the quartiles z of a normal
    part = torch.bucketize(drawn, torch.tensor(bounds) + 0.5).sort(dim=1).values
    assert (part == torch.arange(4)).double().mean() > 0.99  # but where a quartile falls within a step
    low = (drawn <= 250).double().mean()  # the normal has 0.1360 below log(1 / 3)
    assert abs(low - 0.1360) < 0.01


@pytest.mark.parametrize("weight", ["min_snr", "v"])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_weight_is_one_of_the_error_of_the_picture_whatever_is_predicted(kind, weight):
    schedule = NoiseSchedule("linear")
    x_0, _, generator = batch()
    wrong = 0.1 * torch.randn(x_0.shape, generator=generator)  # what the network gets wrong about x_0

    def model(x_t, t, condition):
        a, s = (
            schedule.sqrt_alpha_bar[t][:, None, None, None],
            schedule.sqrt_one_minus_alpha_bar[t][:, None, None, None],
        )
        guess = x_0 + wrong
        eps = (x_t - a * guess) / s
        seen.append(t)
        return {"eps": eps, "x_0": guess, "v": a * eps - s * guess}[kind]

    seen = []
    got = loss(
        model, schedule, x_0, torch.zeros(4, 24), generator, kind, timestep_sampling="stratified", loss_weighting=weight
    )
    alpha_bar = schedule.alpha_bar[seen[0]]
    snr = alpha_bar / (1 - alpha_bar)
    counted = {"min_snr": snr.clamp(max=5), "v": (snr + 1).clamp(max=20)}[weight]
    expected = (counted * wrong.square().mean(dim=(1, 2, 3))).mean()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


def test_conditions_are_dropped_whole_at_the_asked_rate():
    condition = torch.ones(10_000, 24)
    dropped = drop_condition(condition, 0.2, torch.Generator().manual_seed(1))
    rows = dropped.sum(1)
    assert set(rows.tolist()) == {0.0, 24.0}
    assert abs((rows == 0).float().mean() - 0.2) < 0.02
    assert drop_condition(condition, 0.0, torch.Generator()) is condition


def test_positions_are_dropped_alone_as_often_as_whole_conditions():
    dropped = drop_condition(torch.ones(4000, 72), 0.2, torch.Generator().manual_seed(1)).view(-1, 3, 24)
    assert set(dropped.sum(dim=2).unique().tolist()) == {0.0, 24.0}
    classes, places = dropped[:, 0, 0] > 0, dropped[:, 1, 0] > 0
    assert abs((~classes).float().mean() - 0.2) < 0.02 and not (places & ~classes).any()
    assert abs((classes & ~places).float().mean() - 0.16) < 0.02


def test_an_unknown_target_is_refused():
    x_0, eps, _ = batch()
    t = torch.ones(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="known: eps, x_0, v"):
        target_for(NoiseSchedule("linear"), x_0, eps, t, "score")
    with pytest.raises(ValueError, match="known: eps, x_0, v"):
        predict_x_0_eps(NoiseSchedule("linear"), x_0, x_0, t, "score")

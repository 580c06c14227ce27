import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab7.schedule import NAMES, NoiseSchedule, make_betas
from lab7.utils.files import UserError

schedules = st.builds(NoiseSchedule, st.sampled_from(NAMES), st.integers(2, 1200))


@settings(max_examples=40, deadline=None)
@given(schedules)
def test_alpha_bar_falls_strictly_from_one_and_stays_positive(schedule):
    alpha_bar = schedule.alpha_bar64
    assert alpha_bar[0] == 1
    assert (alpha_bar[1:] < alpha_bar[:-1]).all()
    assert (alpha_bar > 0).all()


@settings(max_examples=25, deadline=None)
@given(schedules, st.data())
def test_steps_composed_equal_the_closed_form(schedule, data):
    """x_t = sqrt(alpha_t) x_(t-1) + sqrt(beta_t) eps, followed as mean and variance, is q(x_t | x_0)."""
    t = data.draw(st.integers(1, schedule.num_steps))
    beta = make_betas(schedule.name, schedule.num_steps)
    mean, variance = 1.0, 0.0
    for b in beta[1 : t + 1].tolist():
        mean, variance = math.sqrt(1 - b) * mean, (1 - b) * variance + b
    assert mean == pytest.approx(schedule.alpha_bar64[t].sqrt().item(), rel=1e-9, abs=1e-12)
    assert variance == pytest.approx(1 - schedule.alpha_bar64[t].item(), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(schedules, st.data())
def test_posterior_is_bayes_rule(schedule, data):
    """q(x_s | x_t, x_0) by completing the square of q(x_t | x_s) q(x_s | x_0), in float64."""
    t = data.draw(st.integers(2, schedule.num_steps))
    s = data.draw(st.integers(1, t - 1))
    a_t, a_s = schedule.alpha_bar64[t].item(), schedule.alpha_bar64[s].item()
    alpha = a_t / a_s
    precision = alpha / (1 - alpha) + 1 / (1 - a_s)
    posterior = schedule.posterior(t, s)
    assert posterior.variance.item() == pytest.approx(1 / precision, rel=1e-5)
    assert posterior.coef_x_t.item() == pytest.approx(math.sqrt(alpha) / (1 - alpha) / precision, rel=1e-5, abs=1e-7)
    assert posterior.coef_x_0.item() == pytest.approx(math.sqrt(a_s) / (1 - a_s) / precision, rel=1e-5, abs=1e-7)


def test_posterior_of_one_step_is_the_papers():
    schedule = NoiseSchedule("linear")
    t = 500
    beta, alpha_bar = make_betas("linear"), schedule.alpha_bar64
    posterior = schedule.posterior(t, t - 1)
    assert posterior.variance.item() == pytest.approx(
        ((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t]).item(), rel=1e-6
    )
    assert posterior.coef_x_0.item() == pytest.approx(
        (alpha_bar[t - 1].sqrt() * beta[t] / (1 - alpha_bar[t])).item(), rel=1e-6
    )


def test_the_last_step_gives_the_predicted_picture():
    posterior = NoiseSchedule("cosine", 50).posterior(1, 0)
    assert (posterior.coef_x_0, posterior.coef_x_t, posterior.variance) == (1, 0, 0)


def test_three_linear_schedules_are_told_apart():
    paper, eq3, listing = (make_betas(name) for name in ("linear", "linear_eq3", "linear_listing"))
    assert paper[1] == 1e-4 and paper[1000] == pytest.approx(0.02)
    assert eq3[1] == 1e-4 and eq3[1000] == pytest.approx(0.02 - 0.0199 / 1000)
    assert listing[1] == pytest.approx(1e-4 + 0.0199 / 1000) and listing[1000] == pytest.approx(0.02)


def test_cosine_is_improved_ddpm():
    schedule = NoiseSchedule("cosine")

    def f(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (1, 250, 500, 900):
        assert schedule.alpha_bar64[t].item() == pytest.approx(f(t) / f(0), rel=1e-9)
    assert make_betas("cosine").max() == 0.999


def test_shifted_is_the_cosine_in_more_noise():
    cosine, shifted = NoiseSchedule("cosine"), NoiseSchedule("shifted", shift=3.0)
    for t in (1, 250, 500, 900):
        difference = torch.logit(cosine.alpha_bar64[t]) - torch.logit(shifted.alpha_bar64[t])
        assert difference.item() == pytest.approx(3.0, rel=1e-6)
    torch.testing.assert_close(NoiseSchedule("shifted", shift=0.0).alpha_bar64, cosine.alpha_bar64, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_betas_agree_with_diffusers(name):
    from diffusers import DDPMScheduler

    other = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[name]
    oracle = DDPMScheduler(num_train_timesteps=1000, beta_schedule=other)
    torch.testing.assert_close(NoiseSchedule(name).beta[1:], oracle.betas, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(NoiseSchedule(name).alpha_bar[1:], oracle.alphas_cumprod, rtol=1e-4, atol=1e-7)


def test_buffers_of_the_report():
    schedule = NoiseSchedule("linear")
    t = 123
    beta, alpha_bar = make_betas("linear")[t], schedule.alpha_bar64[t]
    expected = {
        "alpha": 1 - beta,
        "alpha_bar": alpha_bar,
        "sqrt_alpha_bar": alpha_bar.sqrt(),
        "sqrt_one_minus_alpha_bar": (1 - alpha_bar).sqrt(),
    }
    for name, value in expected.items():
        buffer = getattr(schedule, name)
        assert buffer.dtype == torch.float32 and buffer.shape == (1001,)
        assert buffer[t].item() == pytest.approx(value.item(), rel=1e-6)


@given(st.integers(2, 1000), st.sampled_from(["linear", "cosine"]), st.data())
def test_timesteps_lead_from_T_to_zero_without_repeats(num_steps, name, data):
    schedule = NoiseSchedule(name, num_steps)
    t_end = data.draw(st.sampled_from([0.0, 0.15, 0.5]) | st.floats(0, 0.99))
    lowest = max(1, round(t_end * num_steps))
    count = data.draw(st.integers(1, num_steps - lowest + 1))
    steps = schedule.timesteps(count, t_end)
    assert steps[0] == num_steps and steps[-1] == 0 and len(steps) == count + 1
    assert all(a > b for a, b in zip(steps, steps[1:], strict=False))
    assert steps[-2] >= lowest


def test_time_is_divided_evenly_down_to_where_the_network_is_no_more_asked():
    schedule = NoiseSchedule("linear")
    assert schedule.timesteps(4) == [1000, 750, 500, 250, 0] == schedule.timesteps(4, 0.25)
    assert schedule.timesteps(4, 0.4) == [1000, 800, 600, 400, 0]
    with pytest.raises(UserError, match="only 601 steps lie above t_end=0.4, not 602; ask for fewer"):
        schedule.timesteps(602, 0.4)
    with pytest.raises(UserError, match="t_end is a share of T from 0 to below 1, not 1"):
        schedule.timesteps(4, 1)


@pytest.mark.parametrize("count", [0, 1001, -3])
def test_a_bad_number_of_steps_is_told(count):
    with pytest.raises(UserError, match=f"must be 1 to 1000, not {count}"):
        NoiseSchedule("linear").timesteps(count)


def test_an_unknown_schedule_is_told():
    with pytest.raises(UserError, match="known: linear, linear_eq3, linear_listing, cosine, shifted"):
        NoiseSchedule("sigmoid")
    with pytest.raises(UserError, match="at least 2 steps"):
        NoiseSchedule("linear", 1)

"""The samplers against diffusers' schedulers: same network, same noise, same pictures."""

import pytest
import torch

from lab7.diffusion import TARGETS
from lab7.samplers import SAMPLERS, ddim, ddpm, dpm_solver_pp, guided
from lab7.schedule import NoiseSchedule

KINDS = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}


def toy_model(x_t, t, condition):
    """A smooth, bounded stand-in for a network that depends on all three inputs."""
    mood = condition.sum(1)[:, None, None, None] * 0.1
    return torch.tanh(x_t * 0.5 + mood) * (0.5 + 0.5 * t[:, None, None, None] / 1000)


@pytest.fixture
def start():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, 8, 8, generator=generator), torch.eye(24)[:2]


def in_float64(scheduler, name):
    """diffusers multiplies its table in float32; the comparison is of samplers, so both get the same table."""
    scheduler.alphas_cumprod = NoiseSchedule(name).alpha_bar64[1:]
    return scheduler


def oracle_run(scheduler, x_T, condition, num_steps, seed, **step_options):
    scheduler.set_timesteps(num_steps)
    generator = torch.Generator().manual_seed(seed)
    x_t = x_T
    for t in scheduler.timesteps:
        steps = torch.full((len(x_t),), int(t) + 1)
        x_t = scheduler.step(toy_model(x_t, steps, condition), t, x_t, generator=generator, **step_options).prev_sample
    return x_t


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("num_steps", [1000, 100, 8])
def test_ddpm_agrees_with_diffusers(start, name, num_steps, kind):
    from diffusers import DDPMScheduler

    x_T, condition = start
    oracle = DDPMScheduler(
        1000,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[name],
        clip_sample=False,
        prediction_type=KINDS[kind],
        timestep_spacing="trailing",
    )
    expected = oracle_run(in_float64(oracle, name), x_T, condition, num_steps, seed=5)
    generator = torch.Generator().manual_seed(5)
    got = ddpm(toy_model, NoiseSchedule(name), x_T, condition, num_steps, generator=generator, target=kind)
    assert relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_steps", [100, 8])
def test_ddim_agrees_with_diffusers(start, name, eta, num_steps, kind):
    from diffusers import DDIMScheduler

    x_T, condition = start
    oracle = DDIMScheduler(
        1000,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[name],
        clip_sample=False,
        prediction_type=KINDS[kind],
        timestep_spacing="trailing",
    )
    expected = oracle_run(in_float64(oracle, name), x_T, condition, num_steps, seed=5, eta=eta)
    generator = torch.Generator().manual_seed(5)
    got = ddim(toy_model, NoiseSchedule(name), x_T, condition, num_steps, generator=generator, target=kind, eta=eta)
    assert relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("timestep_spacing", ["time", "log_snr"])
@pytest.mark.parametrize("num_steps", [1, 2, 8, 50])
@pytest.mark.parametrize("eta", [0, 1])
def test_dpm_solver_pp_agrees_with_diffusers(start, name, timestep_spacing, num_steps, kind, eta):
    from diffusers import DPMSolverMultistepScheduler

    x_T, condition = start
    schedule = NoiseSchedule(name)
    oracle = DPMSolverMultistepScheduler(
        1000,
        prediction_type=KINDS[kind],
        algorithm_type=["dpmsolver++", "sde-dpmsolver++"][eta],
        solver_order=2,
        lower_order_final=False,
        euler_at_final=True,
        final_sigmas_type="zero",
    )
    timesteps = schedule.timesteps(num_steps, timestep_spacing)
    oracle.set_timesteps(num_steps)
    sigma = ((1 - schedule.alpha_bar64) / schedule.alpha_bar64).sqrt()
    oracle.sigmas = torch.cat([sigma[timesteps[:-1]], torch.zeros(1, dtype=torch.float64)])
    oracle.timesteps = torch.tensor(timesteps[:-1]) - 1
    theirs, ours = (torch.Generator().manual_seed(5) for _ in range(2))
    x_t = x_T.double()
    for t in oracle.timesteps:
        steps = torch.full((len(x_t),), int(t) + 1)
        noise = torch.randn(x_T.shape, generator=theirs)
        x_t = oracle.step(toy_model(x_t, steps, condition.double()), t, x_t, variance_noise=noise).prev_sample
    sampler = SAMPLERS[["dpm_solver_pp", "sde_dpm_solver_pp"][eta]]
    got = sampler(
        toy_model, schedule, x_T, condition, num_steps, 1.0, ours, target=kind, timestep_spacing=timestep_spacing
    )
    assert relative_error(got, x_t.float()) < 2e-4


@pytest.mark.parametrize("name", ["ddpm", "sde_dpm_solver_pp"])
def test_pictures_with_generators_of_their_own_do_not_see_their_neighbours(name, start):
    x_T, condition = start
    schedule = NoiseSchedule("cosine")

    def drawn(rows):
        generators = [torch.Generator().manual_seed(row) for row in rows]
        return SAMPLERS[name](toy_model, schedule, x_T[rows], condition[rows], 5, generator=generators)

    together = drawn([0, 1])
    assert torch.allclose(together[1:], drawn([1]), atol=1e-6)
    assert not torch.allclose(together[0], drawn([1])[0], atol=1e-2)


def test_dpm_solver_pp_converges_faster_than_ddim(start):
    x_T, condition = start
    schedule = NoiseSchedule("cosine")
    exact = ddim(toy_model, schedule, x_T, condition, 1000, target="v")

    def error(sampler, num_steps):
        got = sampler(toy_model, schedule, x_T, condition, num_steps, target="v", timestep_spacing="log_snr")
        return relative_error(got, exact)

    assert error(dpm_solver_pp, 40) < 0.5 * error(ddim, 40)
    assert error(dpm_solver_pp, 80) < 0.5 * error(dpm_solver_pp, 20)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
@pytest.mark.parametrize("kind", TARGETS)
def test_a_sampler_that_stops_early_answers_with_the_picture_predicted_there(sampler, kind, start):
    x_T, condition = start
    held = []
    options = {"target": kind, "t_end": 0.3, "callback": lambda step, t, x_t, x_0: held.append((t, x_0))}
    got = sampler(toy_model, NoiseSchedule("cosine"), x_T, condition, 5, **options)
    assert [t for t, _ in held] == [1000, 825, 650, 475, 300]
    assert torch.allclose(got, held[-1][1], atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_guidance_acts_in_its_interval_alone(sampler, start):
    x_T, condition = start
    rows = {}

    def counting(x_t, t, condition):
        rows[int(t[0])] = len(x_t)
        return toy_model(x_t, t, condition)

    def draw(**options):
        generator = torch.Generator().manual_seed(0)
        return sampler(counting, NoiseSchedule("linear"), x_T, condition, 10, 3.0, generator, **options)

    everywhere = draw()
    assert set(rows.values()) == {4}
    part = draw(guidance_interval=(0.3, 0.6))
    assert {t for t, count in rows.items() if count == 4} == {300, 400, 500, 600}
    assert not torch.equal(part, everywhere)


def relative_error(got, expected):
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_a_network_that_knows_the_picture_draws_it(sampler, start):
    x_T, condition = start
    picture = torch.full_like(x_T, 0.3)
    got = sampler(
        lambda x_t, t, c: picture, NoiseSchedule("cosine"), x_T, condition, 20,
        generator=torch.Generator().manual_seed(0), target="x_0",
    )  # fmt: skip
    torch.testing.assert_close(got, picture)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_the_callback_sees_every_step_in_order(sampler, start):
    x_T, condition = start
    seen = []
    schedule = NoiseSchedule("linear")
    got = sampler(
        toy_model, schedule, x_T, condition, 10, generator=torch.Generator().manual_seed(0),
        callback=lambda step, t, x_t, x_0: seen.append((step, t, x_t, x_0)),
    )  # fmt: skip
    assert [(step, t) for step, t, _, _ in seen] == list(enumerate(range(1000, 0, -100)))
    assert torch.equal(seen[0][2], x_T)
    torch.testing.assert_close(seen[-1][3], got)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_the_same_generator_draws_the_same(sampler, start):
    x_T, condition = start

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return sampler(toy_model, NoiseSchedule("linear"), x_T, condition, 10, generator=generator)

    assert torch.equal(draw(1), draw(1))
    assert torch.equal(draw(1), draw(2)) == (sampler in (ddim, dpm_solver_pp))


def test_guidance_is_linear_in_its_scale_and_one_is_plain(start):
    x_t, condition = start
    t = torch.full((2,), 400)
    plain, none = toy_model(x_t, t, condition), toy_model(x_t, t, torch.zeros_like(condition))
    torch.testing.assert_close(guided(toy_model, x_t, t, condition, 1.0), plain)
    torch.testing.assert_close(guided(toy_model, x_t, t, condition, 0.0), none)
    torch.testing.assert_close(guided(toy_model, x_t, t, condition, 3.0), none + 3 * (plain - none))


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_transform_is_applied_to_every_prediction(sampler, start):
    x_T, condition = start
    seen = []
    sampler(
        toy_model, NoiseSchedule("linear"), x_T, condition, 10, generator=torch.Generator().manual_seed(0),
        transform_x_0=lambda x: x.clamp(-0.1, 0.1), callback=lambda step, t, x_t, x_0: seen.append(x_0),
    )  # fmt: skip
    assert max(x.abs().max() for x in seen) <= 0.1

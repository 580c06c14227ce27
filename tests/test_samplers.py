"""The samplers against diffusers' schedulers: same network, same noise, same pictures."""

import pytest
import torch

from lab7.diffusion import TARGETS
from lab7.samplers import SAMPLERS, classifier_free_guidance, ddim, ddpm, dpm_solver_pp, guided_denoiser
from lab7.schedule import NoiseSchedule

KINDS = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}  # our name: that of diffusers
CONDITION = torch.eye(24)[:2]


def toy_model(x_t, t, condition):
    """A smooth, bounded function of all three inputs, instead of a network."""
    mood = condition.sum(1)[:, None, None, None] * 0.1
    return torch.tanh(x_t * 0.5 + mood) * (0.5 + 0.5 * t[:, None, None, None] / 1000)


@pytest.fixture
def x_T():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def draw(
    sampler, name, x_T, num_steps=10, *, model=toy_model, generators=None, t_end=0.0, eta=None,
    **options,
):  # fmt: skip
    schedule = NoiseSchedule(name)
    denoise = guided_denoiser(model, schedule, CONDITION[: len(x_T)], **options)
    generators = torch.Generator().manual_seed(5) if generators is None else generators
    more = {} if eta is None else {"eta": eta}
    return sampler(denoise, schedule, schedule.timesteps(num_steps, t_end), x_T, generators, **more)


def diffusers_draw(scheduler, name, x_T, num_steps, **step_options):
    """With our float64 table: diffusers multiplies its own in float32, and the comparison is of samplers."""
    scheduler.alphas_cumprod = NoiseSchedule(name).alpha_bar64[1:]
    scheduler.set_timesteps(num_steps)
    generator = torch.Generator().manual_seed(5)
    x_t = x_T
    for t in scheduler.timesteps:
        output = toy_model(x_t, torch.full((len(x_t),), int(t) + 1), CONDITION)
        x_t = scheduler.step(output, t, x_t, generator=generator, **step_options).prev_sample
    return x_t


def relative_error(result, expected):
    return ((result - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [100, 8])
def test_ddpm_agrees_with_diffusers(x_T, name, num_steps, target):
    from diffusers import DDPMScheduler

    kinds = {"beta_schedule": SCHEDULES[name], "prediction_type": KINDS[target], "timestep_spacing": "trailing"}
    expected = diffusers_draw(DDPMScheduler(1000, clip_sample=False, **kinds), name, x_T, num_steps)
    assert relative_error(draw(ddpm, name, x_T, num_steps, target=target), expected) < 1e-5


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_agrees_with_diffusers(x_T, name, eta, target):
    from diffusers import DDIMScheduler

    kinds = {"beta_schedule": SCHEDULES[name], "prediction_type": KINDS[target], "timestep_spacing": "trailing"}
    expected = diffusers_draw(DDIMScheduler(1000, clip_sample=False, **kinds), name, x_T, 20, eta=eta)
    assert relative_error(draw(ddim, name, x_T, 20, target=target, eta=eta), expected) < 1e-5


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("num_steps", [1, 2, 20])
@pytest.mark.parametrize("eta", [0, 1])
def test_dpm_solver_pp_agrees_with_diffusers(x_T, num_steps, target, eta):
    from diffusers import DPMSolverMultistepScheduler

    schedule = NoiseSchedule("cosine")
    oracle = DPMSolverMultistepScheduler(
        1000,
        prediction_type=KINDS[target],
        algorithm_type=["dpmsolver++", "sde-dpmsolver++"][eta],
        solver_order=2,
        lower_order_final=False,
        euler_at_final=True,
        final_sigmas_type="zero",
    )
    timesteps = schedule.timesteps(num_steps)
    oracle.set_timesteps(num_steps)
    sigma = ((1 - schedule.alpha_bar64) / schedule.alpha_bar64).sqrt()
    oracle.sigmas = torch.cat([sigma[timesteps[:-1]], torch.zeros(1, dtype=torch.float64)])
    oracle.timesteps = torch.tensor(timesteps[:-1]) - 1
    generator = torch.Generator().manual_seed(5)
    x_t = x_T.double()
    for t in oracle.timesteps:
        output = toy_model(x_t, torch.full((len(x_t),), int(t) + 1), CONDITION.double())
        noise = torch.randn(x_T.shape, generator=generator)
        x_t = oracle.step(output, t, x_t, variance_noise=noise).prev_sample
    sampler = SAMPLERS[["dpm_solver_pp", "sde_dpm_solver_pp"][eta]]
    result = draw(sampler, "cosine", x_T, num_steps, target=target)
    assert relative_error(result, x_t.float()) < 2e-4


@pytest.mark.parametrize("name", ["ddpm", "sde_dpm_solver_pp"])
def test_pictures_with_their_own_generators_do_not_depend_on_their_neighbours(name, x_T):
    def drawn(rows):
        generators = [torch.Generator().manual_seed(row) for row in rows]
        return draw(SAMPLERS[name], "cosine", x_T[rows], 5, generators=generators)

    together = drawn([0, 1])
    assert torch.allclose(together[1:], drawn([1]), atol=1e-6)
    assert not torch.allclose(together[0], drawn([1])[0], atol=1e-2)


def test_dpm_solver_pp_converges_faster_than_ddim(x_T):
    exact = draw(ddim, "cosine", x_T, 500, target="v")

    def error(sampler, num_steps):
        return relative_error(draw(sampler, "cosine", x_T, num_steps, target="v"), exact)

    assert error(dpm_solver_pp, 20) < 0.1 * error(ddim, 20)
    assert error(dpm_solver_pp, 20) < 0.3 * error(dpm_solver_pp, 10)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
class TestEverySampler:
    @pytest.mark.parametrize("target", TARGETS)
    def test_returns_the_last_prediction_when_it_stops_early(self, sampler, target, x_T):
        seen = []
        result = draw(sampler, "cosine", x_T, 5, target=target, t_end=0.3, callback=lambda *values: seen.append(values))
        assert [t for _, t, _, _ in seen] == [1000, 825, 650, 475, 300]
        assert torch.allclose(result, seen[-1][3], atol=1e-4)

    def test_draws_the_picture_of_a_network_that_knows_it(self, sampler, x_T):
        picture = torch.full_like(x_T, 0.3)
        result = draw(sampler, "cosine", x_T, model=lambda x_t, t, condition: picture, target="x_0")
        torch.testing.assert_close(result, picture)

    def test_calls_back_at_every_step_in_order(self, sampler, x_T):
        seen = []
        result = draw(sampler, "linear", x_T, callback=lambda *values: seen.append(values))
        assert [values[:2] for values in seen] == list(enumerate(range(1000, 0, -100)))
        assert torch.equal(seen[0][2], x_T)
        torch.testing.assert_close(seen[-1][3], result)

    def test_repeats_itself_with_the_same_generator(self, sampler, x_T):
        one, again, other = (
            draw(sampler, "linear", x_T, generators=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(one, again)
        assert torch.equal(one, other) == (sampler in (ddim, dpm_solver_pp))

    def test_clamps_every_prediction(self, sampler, x_T):
        seen = []
        draw(
            sampler, "linear", x_T, clamp=lambda x_0: x_0.clamp(-0.1, 0.1), callback=lambda *values: seen.append(values)
        )
        assert max(x_0.abs().max() for _, _, _, x_0 in seen) <= 0.1


def test_guidance_is_linear_in_its_scale_and_one_is_the_conditional_model(x_T):
    t = torch.full((2,), 400)
    conditional, none = toy_model(x_T, t, CONDITION), toy_model(x_T, t, torch.zeros_like(CONDITION))
    for scale, expected in ((1.0, conditional), (0.0, none), (3.0, none + 3 * (conditional - none))):
        torch.testing.assert_close(classifier_free_guidance(toy_model, x_T, t, CONDITION, scale), expected)

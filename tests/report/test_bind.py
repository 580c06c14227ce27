"""What the report states beside tables: facts that are gathered from recorded files."""

import pytest

from lab7.judge.metrics import wilson
from lab7.report import bind as binding

SAMPLING = {
    "sampler": "ddim",
    "timestep_spacing": "time",
    "t_end": 0.25,
    "guidance_scale": 3.0,
    "num_steps": 12,
    "num_candidates": 4,
}


def plan(hits: int, **changes) -> dict:
    own = {"sampler": "ddim", "timestep_spacing": "time", "t_end": 0.25, "guidance_scale": 3.0, "steps": 12}
    scores = {name: {"top_k": {"hits": hits, "total": 60}} for name in ("test", "unseen")}
    return own | {"frechet": {"distance": 3.5}, "accuracy": scores} | changes


def test_tries_are_those_of_plans_that_draw_as_the_run_does():
    plans = [plan(58, num_candidates=4), plan(10, steps=8, num_candidates=4), plan(11, guidance_scale=2.0), plan(50)]
    once, more = binding._tries({"plans": dict(enumerate(plans))}, SAMPLING)
    assert (once["num_candidates"], once["hits"], once["total"]) == (1, 100, 120)
    assert (more["num_candidates"], more["accuracy"], more["frechet"]) == (4, pytest.approx(116 / 120), 3.5)
    assert (more["low"], more["high"]) == wilson(116, 120)


@pytest.mark.parametrize("plans", [[], [plan(50)], [plan(50), plan(58, num_candidates=4, t_end=0.0)]])
def test_one_way_of_trying_is_nothing_to_tell(plans):
    assert binding._tries({"plans": dict(enumerate(plans))}, SAMPLING) is None

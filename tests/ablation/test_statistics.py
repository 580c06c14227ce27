"""The bootstrap: its intervals cover what they should, and see what they should."""

import numpy as np
import pytest

from lab7.ablation.statistics import Counts, bootstrap, compare, counts_of, seeds_needed
from lab7.utils.files import UserError

ASKED = np.array([1, 2, 3] * 10)


def simulated(rng: np.random.Generator, rates: list[float], spread: float = 0.0, samples: int = 4) -> Counts:
    """An arm whose seeds have these rates, and whose conditions differ in difficulty by `spread`."""
    ease = rng.normal(0, spread, len(ASKED))
    hits = []
    for rate in rates:
        chance = np.clip(rate + ease, 0, 1)
        hits.append(rng.binomial(ASKED[:, None], chance[:, None], (len(ASKED), samples)))
    return Counts(tuple(hits), ASKED)


def test_an_arm_against_itself_is_no_different():
    arm = simulated(np.random.default_rng(0), [0.6, 0.6])
    found = compare(arm, arm, resamples=500)
    assert found.difference == 0 and found.low < 0 < found.high
    assert found.verdict == "cannot be told with 2 trainings an arm"


def test_a_large_difference_is_seen_and_turns_with_the_order():
    rng = np.random.default_rng(1)
    good, bad = simulated(rng, [0.9, 0.91, 0.89]), simulated(rng, [0.5, 0.52, 0.51])
    found, turned = compare(good, bad, 1000), compare(bad, good, 1000)
    assert found.low > 0.3 and found.verdict == "higher" and turned.verdict == "lower"
    assert turned.difference == pytest.approx(-found.difference)
    assert "other seeds were not tried" in compare(simulated(rng, [0.9]), simulated(rng, [0.4]), 500).verdict


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    inside = 0
    for trial in range(120):
        _, low, high = bootstrap(simulated(rng, [0.7], samples=6), resamples=300, seed=trial)
        inside += low <= 0.7 <= high
    assert inside / 120 > 0.88


def test_seeds_that_scatter_widen_the_interval():
    rng = np.random.default_rng(3)
    alike, apart = simulated(rng, [0.6, 0.6, 0.6]), simulated(rng, [0.4, 0.6, 0.8])
    narrow, wide = (np.diff(bootstrap(arm, 1000)[1:]).item() for arm in (alike, apart))
    assert wide > 1.5 * narrow
    assert seeds_needed(apart, apart) > seeds_needed(alike, alike) >= 2
    assert seeds_needed(simulated(rng, [0.6]), simulated(rng, [0.6])) is None


def test_the_formula_for_seeds_is_the_usual_one():
    """Deviation 0.02 between seeds, difference 0.02: n = 2 (1.96 + 0.8416)^2 = 15.7."""
    hits = np.zeros((1, 1), dtype=int)
    arm = Counts((hits, hits), np.array([1]))
    arms = type("Arm", (), {"hits": (0, 0), "accuracies": np.array([0.5 - 0.02 / 2**0.5, 0.5 + 0.02 / 2**0.5])})
    assert seeds_needed(arms, arm) == 8  # the pooled variance is half of that
    assert seeds_needed(arms, arms) == 16


def test_counts_come_from_results_and_must_fit_each_other():
    found = {"by_picture": {"hits": [[1, 0], [2, 2]], "asked": [1, 2]}}
    result = {"name": "a", "accuracy": {"test": found | {"second_judge": found}}}
    counts = counts_of([result, result], "test")
    assert counts.accuracies.tolist() == [2.5 / 3] * 2
    assert counts_of([result], "test", "second_judge").accuracies.tolist() == [2.5 / 3]
    with pytest.raises(UserError, match="run 'a' has no counts by picture on 'unseen'; score it again"):
        counts_of([result], "unseen")
    other = {"name": "b", "accuracy": {"test": {"by_picture": {"hits": [[1]], "asked": [1]}}}}
    with pytest.raises(UserError, match="run 'b' was scored on another list"):
        counts_of([result, other], "test")
    with pytest.raises(ValueError, match="different conditions"):
        compare(counts, counts_of([other], "test"))

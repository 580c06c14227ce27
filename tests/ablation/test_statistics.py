"""The bootstrap: its intervals cover the truth, and a verdict needs enough trainings."""

import numpy as np
import pytest

from lab7.ablation.statistics import Counts, Difference, bootstrap, compare, counts_of
from lab7.utils.files import UserError

ASKED = np.array([1, 2, 3] * 10)


def simulated(rng: np.random.Generator, rates: list[float], samples: int = 4) -> Counts:
    """An arm whose trainings have these accuracies."""
    hits = [rng.binomial(ASKED[:, None], rate, (len(ASKED), samples)) for rate in rates]
    return Counts(tuple(hits), ASKED)


def test_an_arm_does_not_differ_from_itself():
    arm = simulated(np.random.default_rng(0), [0.6, 0.6, 0.6])
    same = compare(arm, arm, resamples=500)
    assert same.difference == 0 and same.low < 0 < same.high
    assert same.verdict() == "no clear difference"


def test_a_large_difference_is_found_and_changes_sign_with_the_order():
    rng = np.random.default_rng(1)
    good, bad = simulated(rng, [0.9, 0.91, 0.89]), simulated(rng, [0.5, 0.52, 0.51])
    forward, back = compare(good, bad, 1000), compare(bad, good, 1000)
    assert forward.low > 0.3 and forward.verdict() == "higher" and back.verdict("helps", "hurts") == "hurts"
    assert back.difference == pytest.approx(-forward.difference)


def test_fewer_than_three_trainings_of_an_arm_get_no_verdict():
    rng = np.random.default_rng(2)
    one, two, three = (simulated(rng, [rate] * number) for number, rate in ((1, 0.9), (2, 0.5), (3, 0.1)))
    assert compare(three, one, 100).verdict() == "one training"
    assert compare(two, three, 100).verdict() == "two trainings"
    assert Difference(0.1, 0.05, 0.15, 3).verdict() == "higher"


def test_intervals_cover_the_truth_about_as_often_as_they_should():
    rng = np.random.default_rng(2)
    inside = 0
    for trial in range(120):
        _, low, high = bootstrap(simulated(rng, [0.7], samples=6), resamples=300, seed=trial)
        inside += low <= 0.7 <= high
    assert inside / 120 > 0.88


def test_trainings_that_scatter_widen_the_interval():
    rng = np.random.default_rng(3)
    alike, apart = simulated(rng, [0.6, 0.6, 0.6]), simulated(rng, [0.4, 0.6, 0.8])
    narrow, wide = (np.diff(bootstrap(arm, 1000)[1:]).item() for arm in (alike, apart))
    assert wide > 1.5 * narrow


def test_counts_come_from_results_and_must_fit_each_other():
    scores = {"by_picture": {"hits": [[1, 0], [2, 2]], "asked": [1, 2]}}
    result = {"name": "a", "accuracy": {"test": scores | {"second_judge": scores}, "unseen": scores}}
    counts = counts_of([result, result], ["test"])
    assert counts.accuracies.tolist() == [2.5 / 3] * 2
    assert counts_of([result], ["test"], "second_judge").accuracies.tolist() == [2.5 / 3]
    assert counts_of([result], ["test", "unseen"]).asked.tolist() == [1, 2, 1, 2]
    with pytest.raises(UserError, match="run 'a' has no counts by picture on 'new_test'; score it again"):
        counts_of([result], ["test", "new_test"])
    other = {"name": "b", "accuracy": {"test": {"by_picture": {"hits": [[1]], "asked": [1]}}}}
    with pytest.raises(UserError, match="run 'b' was scored on other conditions"):
        counts_of([result, other], ["test"])
    with pytest.raises(UserError, match="different conditions"):
        compare(counts, counts_of([other], ["test"]))

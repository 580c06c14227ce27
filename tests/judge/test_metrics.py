"""Scores against known values and a brute-force oracle."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lab7.judge.metrics import Score, difference, exact_match, per_count, top_k, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_gives_published_values(hits, total, low, high):
    assert wilson(hits, total) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("hits", "total"), [(47, 72), (61, 84)])
def test_ends_of_the_interval_are_just_not_rejected(hits, total):
    # The interval's definition: at its ends the observed proportion lies 1.96 standard errors away.
    for end in wilson(hits, total):
        assert abs(hits / total - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / total), rel=1e-5)
    assert wilson(47, 72) == pytest.approx((0.54, 0.75), abs=0.005)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion_and_mirrors(hits_total):
    hits, total = hits_total
    low, high = wilson(hits, total)
    assert 0 <= low <= hits / total <= high <= 1
    mirrored_low, mirrored_high = wilson(total - hits, total)
    assert (1 - mirrored_high, 1 - mirrored_low) == pytest.approx((low, high), abs=1e-12)


def test_score_arithmetic_and_refusals():
    assert str(Score(47, 72)) == "47/72 = 0.653 [0.538, 0.752]"
    assert math.isnan(Score(0, 0).accuracy) and (Score(0, 0).low, Score(0, 0).high) == (0.0, 1.0)
    assert set(Score(3, 4).to_dict()) - set(Score(0, 0).to_dict()) == {"accuracy"}
    for hits, total in [(-1, 3), (4, 3), (1, 0)]:
        with pytest.raises(ValueError, match="between 0 and total"):
            Score(hits, total)


def _oracle(outputs: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """Top-k by the words of its definition, one image and one output at a time."""
    hits = total = 0
    for row, wanted in zip(outputs, labels, strict=True):
        k = int(wanted.sum())
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]
        hits += sum(int(wanted[c]) for c in best)
        total += k
    return hits, total


# Outputs come from a few values only, so that ties are common.
_batches = st.integers(0, 6).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float32, (n, 24), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
        hnp.arrays(np.uint8, (n, 24), elements=st.integers(0, 1)),
    )
)


@given(_batches)
def test_scores_agree_with_the_oracle(batch):
    outputs, labels = batch
    assert top_k(outputs, labels) == Score(*_oracle(outputs, labels))
    assert top_k(torch.tensor(outputs), torch.tensor(labels).float()) == top_k(outputs, labels)
    exact = sum(
        (row > 0.5).tolist() == wanted.astype(bool).tolist() for row, wanted in zip(outputs, labels, strict=True)
    )
    assert exact_match(outputs, labels) == Score(exact, len(labels))
    if len(labels):
        counts = pd.DataFrame(per_count(outputs, labels))
        assert Score(sum(counts["hits"]), sum(counts["total"])) == top_k(outputs, labels)
        assert (sum(counts["exact_hits"]), sum(counts["images"])) == (exact, len(labels))


def test_an_extra_object_is_seen_by_exact_match_only():
    labels, outputs = np.zeros((2, 24)), np.zeros((2, 24))
    labels[:, [1, 9]] = 1
    outputs[:, 1], outputs[:, 9] = 0.9, 0.8
    outputs[1, 20] = 0.7  # an object that nobody asked for
    assert top_k(outputs, labels) == Score(4, 4)
    assert exact_match(outputs, labels) == Score(1, 2)


def test_per_count_separates_the_numbers_of_objects():
    labels, outputs = np.zeros((3, 24)), np.zeros((3, 24))
    labels[0, 0] = labels[1, :3] = labels[2, 3:6] = 1
    outputs[0, 0] = 0.9
    outputs[1, [0, 1, 7]] = 0.9
    outputs[2, 3:6] = 0.4  # ranked right, but none is above one half
    table = pd.DataFrame(per_count(outputs, labels))
    assert table[["objects", "images", "hits", "total", "exact_hits"]].values.tolist() == [
        [1, 1, 1, 1, 1],
        [3, 2, 5, 6, 0],
    ]
    for row in table.to_dict("records"):
        assert row["low"] < row["accuracy"] <= row["high"]
        assert (row["exact_low"], row["exact_high"]) == wilson(row["exact_hits"], row["images"])


def test_what_cannot_be_scored_is_refused():
    good, labels = np.zeros((2, 24)), np.zeros((2, 24))
    with pytest.raises(ValueError, match=r"\(2, 24\) and \(3, 24\)"):
        top_k(good, np.zeros((3, 24)))
    with pytest.raises(ValueError, match="finite"):
        exact_match(np.full((2, 24), np.nan), labels)
    with pytest.raises(ValueError, match="multi-hot"):
        top_k(good, labels + 0.5)


def test_the_interval_of_a_difference_is_the_published_one():
    """Newcombe 1998, Table II, the first pair, method 10."""
    found = difference(Score(56, 70), Score(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.integers(1, 50))
def test_a_difference_lies_in_its_interval_and_turns_with_the_order(a, m, b, n):
    first, second = Score(min(a, m), m), Score(min(b, n), n)
    more, low, high = difference(first, second)
    assert -1 - 1e-9 <= low <= more <= high <= 1 + 1e-9
    assert difference(second, first) == pytest.approx((-more, -high, -low))


def test_no_difference_is_known_of_nothing():
    assert difference(Score(0, 0), Score(1, 2))[1:] == (-1, 1)

"""What training shows and what it does not: unseen triples, and pairs that are held out."""

import contextlib
from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from lab7.config import get_preset, override
from lab7.dataset.conditions import (
    conditions_tensor,
    held_out_pairs,
    load_list,
    read_labels,
    subsets,
    unseen_triples,
    without_pairs,
)
from lab7.dataset.layout import load_pictures
from lab7.training.loop import train
from lab7.vocabulary import CLASSES

conditions = st.lists(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True), max_size=30)


def test_the_held_out_pairs_are_24_and_each_class_is_in_two():
    pairs = held_out_pairs()
    assert len({frozenset(pair) for pair in pairs}) == 24 and all(len(set(pair)) == 2 for pair in pairs)
    assert set(Counter(name for pair in pairs for name in pair).values()) == {2}
    assert pairs == held_out_pairs() == load_list("held_out")


@given(conditions)
def test_no_picture_that_is_kept_holds_a_held_out_pair(given_conditions):
    labels = conditions_tensor(given_conditions)
    kept = without_pairs(labels, held_out_pairs())
    dropped = {frozenset(pair) for pair in held_out_pairs()}
    for names, keep in zip(given_conditions, kept.tolist(), strict=True):
        assert keep == (not subsets([names], 2) & dropped)


@given(conditions)
def test_unseen_triples_are_unseen(given_conditions):
    found = unseen_triples(given_conditions)
    assert len(found) == 32 and all(len(set(triple)) == 3 for triple in found)
    assert not {frozenset(triple) for triple in found} & subsets(given_conditions, 3)
    assert found == unseen_triples(reversed(given_conditions))


def test_unseen_follows_from_the_train_json_at_hand(tiny_synthetic):
    shown = subsets(read_labels(tiny_synthetic).values(), 3)
    found = load_list("unseen", tiny_synthetic)
    assert len(found) == 32 and not {frozenset(triple) for triple in found} & shown


def test_training_without_the_pairs_sees_none_of_them(tiny_synthetic, tmp_path, monkeypatch):
    settings = ["holdout_pairs=true", "n_feature=8", "epochs=1", "max_steps=1", "snapshots=0"]
    seen = []
    monkeypatch.setattr("lab7.training.run.fit_normaliser", lambda images, kind: seen.append(len(images)) or _stop())
    pictures = load_pictures(tiny_synthetic, 32)
    kept = int(without_pairs(pictures.labels, held_out_pairs()).sum())
    with contextlib.suppress(_Stop):
        train(override(get_preset("smoke"), settings), "a", data=tiny_synthetic, runs=tmp_path, progress=False)
    assert seen == [kept] and 0 < kept <= len(pictures)
    chosen = pictures.chosen(torch.arange(len(pictures)) % 2 == 0)
    assert chosen.names == pictures.names[::2] and torch.equal(chosen.labels, pictures.labels[::2])


class _Stop(Exception):
    pass


def _stop():
    raise _Stop

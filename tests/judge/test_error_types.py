"""Error types of hand-made outputs, and what holds for any."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab7.judge.error_types import KINDS, read, tally
from lab7.vocabulary import CLASSES


def outputs(*names: str) -> torch.Tensor:
    return torch.tensor([0.9 if name in names else 0.1 for name in CLASSES])


@pytest.mark.parametrize(
    ("asked", "seen", "kinds", "extra"),
    [
        (["red cube"], ["red cube"], ["found"], ()),
        (["red cube"], ["red cube", "gray sphere"], ["found"], ("gray sphere",)),
        (["red cube"], [], ["missing"], ()),
        (["red cube"], ["blue cube"], ["wrong colour"], ()),
        (["red cube"], ["red sphere"], ["wrong shape"], ()),
        (["red cube"], ["blue sphere"], ["missing"], ("blue sphere",)),
        (["red cube", "cyan sphere"], ["cyan cube", "red sphere"], ["attribute swap", "attribute swap"], ()),
        (["red cube", "cyan sphere"], ["cyan cube", "cyan sphere"], ["wrong colour", "found"], ()),
        (["red cube", "red sphere"], ["red cube", "red cylinder"], ["found", "wrong shape"], ()),
        (["red cube", "blue cube"], ["gray cube"], ["wrong colour", "missing"], ()),
    ],
)
def test_error_types_are_named(asked, seen, kinds, extra):
    found = read(outputs(*seen), asked)
    assert list(found.kinds.values()) == kinds and found.extra == extra


names = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True)


@given(names, st.lists(st.sampled_from(CLASSES), max_size=5, unique=True))
def test_every_asked_and_every_seen_object_is_counted_once(asked, seen):
    found = read(outputs(*seen), asked)
    assert list(found.kinds) == asked and set(found.kinds.values()) <= set(KINDS[:-1])
    accounted = [name for name, kind in found.kinds.items() if kind == "found"] + list(found.taken_for.values())
    assert sorted([*accounted, *found.extra]) == sorted(seen)
    table = pd.DataFrame(tally([found])).set_index("what")
    assert table.objects[list(KINDS[:-1])].sum() == len(asked) and table.objects["extra"] == len(found.extra)

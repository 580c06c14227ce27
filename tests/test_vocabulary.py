"""Names, indices and multi-hot vectors of the 24 classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab7.utils.files import UserError
from lab7.vocabulary import (
    CLASSES,
    COLOURS,
    SHAPES,
    check_condition,
    class_index,
    nearest_class,
    parse_condition,
    to_multi_hot,
    to_names,
)

some_classes = st.lists(st.sampled_from(CLASSES), unique=True, min_size=1)


def test_the_courses_order():
    assert len(CLASSES) == 24
    for name in CLASSES:
        colour, shape = name.split()
        assert class_index(name) == 8 * SHAPES.index(shape) + COLOURS.index(colour)
    assert (CLASSES[0], CLASSES[8], CLASSES[23]) == ("gray cube", "gray sphere", "yellow cylinder")


@given(some_classes)
def test_names_to_multi_hot_and_back(names):
    vector = to_multi_hot(names)
    assert vector.shape == (24,) and vector.dtype == np.float32
    assert vector.sum() == len(names)
    assert to_names(vector) == sorted(names, key=class_index)


@given(st.lists(st.integers(0, 1), min_size=24, max_size=24))
def test_multi_hot_to_names_and_back(bits):
    assert to_multi_hot(to_names(bits)).tolist() == bits


@given(some_classes)
def test_parsing_keeps_the_order(names):
    assert parse_condition(", ".join(names)) == names


def test_parsing_forgives_case_and_blanks():
    assert parse_condition(" Red  CUBE,cyan sphere, ") == ["red cube", "cyan sphere"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("red cubes", "red cube"),
        ("grey sphere", "gray sphere"),
        ("gren cylinder", "green cylinder"),
        ("purple ball", "purple sphere"),
        ("yelow box", "yellow cube"),
    ],
)
def test_an_unknown_label_suggests_the_nearest(typed, meant):
    with pytest.raises(UserError, match=f"unknown label '{typed}'; did you mean '{meant}'"):
        parse_condition(typed)


@given(st.text())
def test_any_text_has_a_nearest_class(text):
    assert nearest_class(text) in CLASSES


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "empty condition"),
        (["red cube", "Red cube"], "'red cube' is repeated"),
        ("red cube", "must be a list of labels"),
        (3, "must be a list of labels"),
        ([["red cube"]], "a label must be a text"),
        ([None], "a label must be a text"),
    ],
)
def test_a_bad_condition_is_told_with_its_place(names, told):
    with pytest.raises(UserError, match=f"^list.json: .*{told}") as error:
        check_condition(names, "list.json")
    assert "\n" not in str(error.value)


def test_an_empty_text_is_an_empty_condition():
    with pytest.raises(UserError, match="empty condition"):
        parse_condition(" , ")


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError):
        to_names([1.0] * 23)

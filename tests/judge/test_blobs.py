"""Counting blobs of a colour: touching ones are one, gray is not counted, renders hold no duplicate."""

import torch

from lab7.dataset.conditions import conditions_tensor
from lab7.dataset.renderer import REFLECTANCE
from lab7.judge.blobs import COLOURFUL, SMALLEST, count_blobs, has_duplicate
from lab7.judge.evaluation import clean_set
from lab7.vocabulary import COLOURS


def picture(*squares, size=6):
    """A gray picture in [-1, 1] with squares (colour, row, column)."""
    pixels = torch.full((3, 64, 64), 0.4)
    for colour, row, column in squares:
        paint = torch.from_numpy(REFLECTANCE[COLOURS.index(colour)]).float()
        pixels[:, row : row + size, column : column + size] = paint[:, None, None]
    return pixels * 2 - 1


def counts(image):
    found = count_blobs(image[None])
    assert found.shape == (1, len(COLOURS))
    return {name: number for name, number in zip(COLOURS, found[0].tolist(), strict=True) if number}


def test_blobs_of_every_colour_are_counted():
    for colour in COLOURS[1:]:
        assert counts(picture((colour, 5, 5))) == {colour: 1}
        assert counts(picture((colour, 5, 5), (colour, 40, 30))) == {colour: 2}
    assert counts(picture(("gray", 5, 5))) == {}
    assert counts(picture(("red", 5, 5), ("cyan", 5, 20), ("red", 50, 50))) == {"red": 2, "cyan": 1}


def test_what_touches_is_one_blob_and_what_is_small_none():
    assert counts(picture(("red", 5, 5), ("red", 11, 5))) == {"red": 1}
    assert counts(picture(("red", 5, 5), ("red", 11, 11))) == {"red": 1}, "at a corner"
    assert counts(picture(("red", 5, 5), ("red", 5, 12))) == {"red": 2}
    assert counts(picture(("red", 5, 5), size=2)) == {} and SMALLEST > 4
    ring = picture(("red", 10, 10), size=20)
    ring[:, 13:27, 13:27] = picture()[:, 13:27, 13:27]
    assert counts(ring) == {"red": 1}, "however far its ends are apart"


def test_a_faint_hue_is_none():
    faint = picture()
    faint[0, 5:15, 5:15] += 2 * COLOURFUL * 0.9
    assert counts(faint) == {}
    faint[0, 5:15, 5:15] += COLOURFUL
    assert counts(faint) == {"red": 1}


def test_more_blobs_than_asked_are_a_duplicate():
    two = picture(("red", 5, 5), ("red", 40, 30), ("blue", 20, 50))
    asked = [["red cube", "blue sphere"], ["red cube", "red sphere", "blue sphere"], ["blue cube"], ["gray cube"]]
    found = has_duplicate(two.repeat(4, 1, 1, 1), conditions_tensor(asked))
    assert found.tolist() == [True, False, False, False], "colours that nobody asked for are not counted"


def test_renders_hold_no_duplicate_and_most_objects_are_counted():
    images, labels = clean_set(15, processes=1)
    pixels = images.float() / 127.5 - 1
    assert not has_duplicate(pixels, labels).any()
    asked = labels.view(len(labels), -1, len(COLOURS)).sum(dim=1)[:, 1:]
    found = count_blobs(pixels)[:, 1:]
    assert (found <= asked).all() and found.sum() > 0.9 * asked.sum()
    assert found.sum(dim=0).tolist() == [5, 10, 11, 9, 16, 9, 13], "as the recorded runs were counted"

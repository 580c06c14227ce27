"""Where objects stand: found in pictures that build a scene up, and taken from them to draw with."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lab7.dataset.images import Pictures, to_float
from lab7.dataset.layout import load_pictures
from lab7.dataset.positions import LAYOUTS, find_positions, layouts_of, take_positions
from lab7.dataset.renderer import REFLECTANCE
from lab7.dataset.synthetic import write_synthetic
from lab7.vocabulary import CLASSES

SIZE = 32


def with_squares(*places: tuple[int, int]) -> Tensor:
    """A grey picture with a square of 6 pixels around each place (x, y), each of another brightness."""
    picture = torch.full((3, SIZE, SIZE), 100, dtype=torch.uint8)
    for number, (x, y) in enumerate(places):
        picture[:, y - 3 : y + 3, x - 3 : x + 3] = 150 + 40 * number
    return picture


def scene(names: list[str], classes: list[list[int]], images: list[Tensor]) -> Pictures:
    labels = torch.zeros(len(names), 24, dtype=torch.uint8)
    for row, present in enumerate(classes):
        labels[row, present] = 1
    return Pictures(torch.stack(images), labels, names)


def test_an_object_stands_where_a_picture_differs_from_the_one_before():
    first, second, third = (16, 10), (5, 20), (26, 25)
    built = [with_squares(first), with_squares(first, second), with_squares(first, second, third)]
    empty = [with_squares()] * 40  # the mean of first pictures is nearly the empty scene
    names = [f"A_{row:06d}_0.png" for row in range(40)] + [f"B_000000_{k}.png" for k in range(3)]
    pictures = scene(names, [[0]] * 40 + [[7], [3, 7], [3, 7, 20]], empty + built)
    found = find_positions(pictures)[-1].view(2, 24) / 255 * SIZE
    assert torch.allclose(found[:, [7, 3, 20]].T, torch.tensor([first, second, third]).float(), atol=0.2)
    assert set(found[0].nonzero().flatten().tolist()) == {3, 7, 20}


@pytest.mark.parametrize(
    ("names", "classes", "known"),
    [
        (["A_0.png", "A_1.png"], [[1], [1, 2]], True),
        (["A_0.png", "B_1.png"], [[1], [1, 2]], False),  # another scene
        (["A_0.png", "A_1.png"], [[1], [2, 3]], False),  # not one object more
        (["A_0.png", "A_1.png"], [[1], [1, 2, 3]], False),
        (["A_0.png", "A_2.png"], [[1], [1, 2]], False),  # not the next picture
        (["A_1.png", "A_2.png"], [[1, 2], [1, 2, 3]], False),  # the first is not there
    ],
)
def test_only_pictures_that_build_a_scene_up_have_positions(names, classes, known):
    empty = [f"0_{row:06d}_0.png" for row in range(40)]
    images = [with_squares()] * 40 + [with_squares((9, 9)), with_squares((9, 9), (20, 20))]
    assert find_positions(scene(empty + names, [[0]] * 40 + classes, images))[-1].any() == known


@pytest.mark.parametrize("scenes", [333, 1000, 1998])
def test_layouts_are_of_pictures_with_each_number_of_objects(scenes):
    positions = torch.zeros(3 * scenes, 48, dtype=torch.uint8)
    for row in range(len(positions)):
        positions[row, : row % 3 + 1] = 100
    pictures = Pictures(torch.empty(0), torch.empty(0), [""] * len(positions), positions)
    counts = (layouts_of(pictures) > 0).sum(dim=1).bincount()
    assert counts.sum() == min(LAYOUTS, 3 * scenes) and counts[1:].min() > 280


def test_in_rendered_pictures_the_objects_own_colour_is_there(tmp_path):
    write_synthetic(tmp_path, 30, progress=False)
    pictures = load_pictures(tmp_path)
    paint = torch.from_numpy(REFLECTANCE).float()
    hues = F.normalize(paint - paint.mean(dim=1, keepdim=True), dim=1)  # (8, 3), 0 for gray
    found, right = find_positions(pictures).view(-1, 2, 24), []
    assert torch.equal(found[:, 0] > 0, pictures.labels > 0)
    for image, labels, (x, y) in zip(pictures.images, pictures.labels, found.int() * 64 // 255, strict=True):
        chroma = to_float(image) - to_float(image).mean(dim=0)
        colours = torch.einsum("kc,chw->khw", hues, chroma).argmax(dim=0)  # (64, 64)
        coloured = [index for index in labels.nonzero().flatten().tolist() if not CLASSES[index].startswith("gray")]
        right += [int(colours[y[index], x[index]]) == index % 8 for index in coloured]
    assert sum(right) > 0.95 * len(right) > 100


def test_positions_to_draw_with_are_those_of_a_picture_with_as_many_objects():
    layouts = torch.zeros(4, 2, 24)
    layouts[0, :, 5] = torch.tensor([0.5, 0.4])
    layouts[1, :, [2, 9]] = torch.tensor([[0.1, 0.3], [0.2, 0.4]])
    layouts[2, :, [1, 8]] = torch.tensor([[0.6, 0.8], [0.7, 0.9]])
    labels = torch.zeros(50, 24)
    labels[:, [0, 23]] = 1
    drawn = take_positions(labels, layouts.flatten(1), range(50))
    assert drawn.shape == (50, 72) and torch.equal(drawn[:, :24], labels)
    places = drawn[:, 24:].view(-1, 2, 24)
    assert not places[:, :, 1:23].any()
    pairs = {tuple(round(value, 4) for value in place[:, [0, 23]].T.flatten().tolist()) for place in places}
    assert pairs == {(0.1, 0.2, 0.3, 0.4), (0.6, 0.7, 0.8, 0.9)}
    assert torch.equal(drawn, take_positions(labels, layouts.flatten(1), range(50)))
    more = torch.ones(1, 24)
    assert not take_positions(more, layouts.flatten(1), [0])[:, 24:].any(), "no picture has 24 objects"

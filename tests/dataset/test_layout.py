"""The course's layout read into memory; normalisation; batches; lists of conditions; PNG files."""

import collections
import itertools
import json
import os

import numpy as np
import pytest
import torch
from course_folder import FIRST, LABELS, make_folder, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import Resize

from lab7.dataset import images, layout
from lab7.dataset.conditions import (
    conditions_tensor,
    load_list,
    read_conditions,
    unseen_combinations,
    unseen_triples,
)
from lab7.dataset.images import read_picture, save_gif, save_grid, save_png, to_float
from lab7.dataset.layout import describe, load_pictures
from lab7.dataset.normalizer import KINDS, draw, epoch_order, fit_normaliser
from lab7.utils import files
from lab7.vocabulary import CLASSES, class_index


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data")


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by one whenever pictures are read from their files."""
    calls, decode = [], images.decode
    for module in (layout, images):  # the second writes them to the cache
        monkeypatch.setattr(module, "decode", lambda paths, *rest: calls.append(len(paths)) or decode(paths, *rest))
    return calls


# ---- pictures ----


def test_pictures_of_the_right_size_are_untouched(folder):
    loaded = load_pictures(folder)
    assert loaded.images.shape == (5, 3, 64, 64) and loaded.images.dtype == torch.uint8
    assert loaded.labels.shape == (5, 24) and loaded.labels.dtype == torch.uint8
    assert loaded.names == list(LABELS) and len(loaded) == 5
    for seed, image in enumerate(loaded.images):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(noise(seed=seed)))
    assert loaded.conditions() == [sorted(labels, key=class_index) for labels in LABELS.values()]


def test_pictures_come_by_file_name(folder):
    (folder / "train.json").write_text(json.dumps(dict(reversed(LABELS.items()))))
    assert load_pictures(folder).names == sorted(LABELS)


@pytest.mark.parametrize(("size", "image_size"), [((320, 240), 64), ((50, 91), 32)])
def test_squashed_as_torchvision_does(tmp_path, size, image_size):
    loaded = load_pictures(make_folder(tmp_path / "data", *size), image_size)
    assert loaded.images.shape == (5, 3, image_size, image_size)
    for seed, image in enumerate(loaded.images):
        expected = Resize((image_size, image_size))(noise(*size, seed=seed))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    picture = noise().convert(mode)
    path = tmp_path / f"picture.{'tiff' if mode == 'CMYK' else 'png'}"
    picture.save(path)
    assert np.array_equal(read_picture(path), np.asarray(picture.convert("RGB")))


def test_transparency_is_dropped_without_a_warning(tmp_path, recwarn):
    palette = noise().convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes(range(256)))
    assert np.array_equal(read_picture(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    clear = noise().convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    assert np.array_equal(read_picture(tmp_path / "clear.png"), np.asarray(noise()))
    assert not recwarn.list


def test_jpeg_is_read_too(tmp_path):
    make_folder(tmp_path / "data", labels={"one.jpg": ["red cube"], "two.png": ["blue cube"]})
    loaded = load_pictures(tmp_path / "data")
    with Image.open(tmp_path / "data" / "iclevr" / "one.jpg") as picture:
        assert np.array_equal(loaded.images[0].permute(1, 2, 0).numpy(), np.asarray(picture))


def test_hidden_and_other_files_are_ignored(folder):
    (folder / "iclevr" / ".CLEVR_train_000009_0.png.123.tmp").write_bytes(b"half")
    (folder / "iclevr" / "._CLEVR_train_000000_0.png").write_bytes(b"another program's")
    (folder / "iclevr" / "notes.txt").write_text("mine")
    assert len(load_pictures(folder)) == 5


# ---- the cache ----


def test_the_second_load_comes_from_the_cache(folder, decoded):
    first, second = load_pictures(folder), load_pictures(folder)
    assert decoded == [5]
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
    assert first.names == second.names


def test_a_changed_picture_is_read_anew(folder, decoded):
    before = load_pictures(folder)
    noise(seed=99).save(folder / "iclevr" / FIRST)
    after = load_pictures(folder)
    assert decoded == [5, 5]
    assert np.array_equal(after.images[0].permute(1, 2, 0).numpy(), np.asarray(noise(seed=99)))
    assert torch.equal(before.images[1:], after.images[1:])
    assert len(list((folder / "cache").glob("*.npy"))) == 1, "the old cache is removed"


def test_a_changed_time_or_changed_labels_are_read_anew(folder, decoded):
    load_pictures(folder)
    os.utime(folder / "iclevr" / FIRST, ns=(1, 1))
    load_pictures(folder)
    (folder / "train.json").write_text(json.dumps(LABELS | {FIRST: ["blue cube"]}))
    assert load_pictures(folder).conditions()[0] == ["blue cube"]
    assert decoded == [5, 5, 5]


def test_a_removed_picture_does_not_come_from_the_cache(folder):
    load_pictures(folder)
    fewer = {name: labels for name, labels in LABELS.items() if name != FIRST}
    (folder / "iclevr" / FIRST).unlink()
    (folder / "train.json").write_text(json.dumps(fewer))
    loaded = load_pictures(folder)
    assert loaded.names == list(fewer)
    assert np.array_equal(loaded.images[0].permute(1, 2, 0).numpy(), np.asarray(noise(seed=1)))


def test_every_size_has_its_cache(folder, decoded):
    for _ in range(2):
        assert load_pictures(folder, 64).images.shape[-1] == 64
        assert load_pictures(folder, 32).images.shape[-1] == 32
    assert decoded == [5, 5]


@pytest.mark.parametrize("spoil", ["cut", "emptied", "flipped", "another"])
def test_a_spoilt_cache_is_made_anew(folder, decoded, spoil):
    expected = load_pictures(folder).images.clone()  # not mapped from the file
    (cache,) = (folder / "cache").glob("*.npy")
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt = {
        "cut": content[: len(content) // 2],
        "emptied": b"",
        "flipped": content,
        "another": b"PK not a zip",
    }
    cache.write_bytes(spoilt[spoil])
    assert torch.equal(load_pictures(folder).images, expected)
    assert torch.equal(load_pictures(folder).images, expected)
    assert decoded == [5, 5]


def test_where_the_folder_cannot_be_written_the_cache_is_under_build(folder, decoded, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path / "build"))
    other = make_folder(tmp_path / "other")
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    for place in (folder, other, folder, other):
        load_pictures(place)
    assert decoded == [5, 5] and len(list((tmp_path / "build").rglob("*.npy"))) == 2
    assert not (folder / "cache").exists()


# ---- normalisation and batches ----


def random_images(num=40, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(60, 180, (3, size, size), generator=generator)
    images = base + torch.randint(-40, 41, (num, 3, size, size), generator=generator)
    return images.to(torch.uint8)


def test_deviation_gives_mean_0_and_standard_deviation_1():
    images = random_images(num=700)
    normaliser = fit_normaliser(images)
    x = normaliser.encode(images)
    assert x.dtype == torch.float32 and x.shape == images.shape
    assert x.mean(dim=0).abs().max() < 1e-5
    assert abs(x.double().square().mean().sqrt().item() - 1) < 1e-5
    floats = images.double() / 127.5 - 1
    assert torch.allclose(normaliser.mean.double(), floats.mean(dim=0), atol=1e-7)
    assert abs(normaliser.std.item() - (floats - floats.mean(dim=0)).square().mean().sqrt().item()) < 1e-7


def test_plain_only_scales():
    images = random_images()
    images[0, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    normaliser = fit_normaliser(images, "plain")
    x = normaliser.encode(images)
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(normaliser.decode(x), x)
    assert torch.allclose(x, images.float() / 127.5 - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_decode_undoes_encode(kind):
    images = random_images()
    normaliser = fit_normaliser(images, kind)
    back = normaliser.decode(normaliser.encode(images))
    assert torch.equal(((back + 1) * 127.5).round().to(torch.uint8), images)


def test_the_fit_does_not_depend_on_order():
    images = random_images(num=600)
    for kind in KINDS:
        first, second = fit_normaliser(images, kind), fit_normaliser(images.flip(0), kind)
        assert torch.equal(first.mean, second.mean) and torch.equal(first.std, second.std)


@given(st.integers(1, 300), st.integers(0, 1000), st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_an_epoch_visits_every_picture_once(num, epoch, seed):
    order = epoch_order(num, epoch, seed)
    assert order.sort().values.tolist() == list(range(num))
    assert torch.equal(order, epoch_order(num, epoch, seed))


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_order(100, epoch, seed).tolist()) for epoch in range(5) for seed in range(5)}
    assert len(orders) == 25
    state = torch.get_rng_state()
    epoch_order(100, 0, 0)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"


def test_a_batch_by_index(folder):
    loaded = load_pictures(folder)
    normaliser = fit_normaliser(loaded.images)
    x_0, condition = draw(loaded, torch.tensor([4, 0]), normaliser, "cpu")
    assert x_0.shape == (2, 3, 64, 64) and x_0.dtype == torch.float32
    assert torch.equal(x_0[1], normaliser.encode(loaded.images[:1])[0])
    assert torch.equal(condition, conditions_tensor([["red cube", "gray sphere"], ["cyan cube"]]))
    moved = loaded.to("cpu")
    assert moved.images.data_ptr() == loaded.images.data_ptr() and moved.names == loaded.names


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_on_the_gpu_is_the_same(folder):
    loaded = load_pictures(folder)
    normaliser, index = fit_normaliser(loaded.images), torch.tensor([4, 0])
    expected, _ = draw(loaded, index, normaliser, "cpu")
    for source in (loaded, loaded.to("cuda")):
        x_0, condition = draw(source, index, normaliser, "cuda")
        assert x_0.is_cuda and condition.is_cuda
        assert torch.allclose(x_0.cpu(), expected, atol=1e-6)


# ---- lists of conditions ----


@pytest.mark.parametrize(
    ("name", "counts", "objects", "repeated"),
    [("test", {1: 6, 2: 12, 3: 14}, 72, 3), ("new_test", {2: 12, 3: 20}, 84, 28)],
)
def test_the_shipped_lists_have_the_courses_structure(name, counts, objects, repeated):
    conditions = read_conditions(files.shipped_dir() / f"{name}.json")
    assert collections.Counter(map(len, conditions)) == counts
    assert sum(map(len, conditions)) == objects
    colours = [[label.split()[0] for label in condition] for condition in conditions]
    assert sum(len(set(names)) < len(names) for names in colours) == repeated
    assert len({frozenset(condition) for condition in conditions}) == 32
    per_class = collections.Counter(itertools.chain.from_iterable(conditions))
    assert set(per_class.values()) <= {objects // 24, -(-objects // 24)} and len(per_class) == 24


def test_the_folders_own_list_goes_first(folder):
    assert load_list("test", folder) == read_conditions(files.shipped_dir() / "test.json")
    (folder / "test.json").write_text('[["Red cube"], ["blue cube", "gray sphere"]]')
    assert load_list("test", folder) == [["red cube"], ["blue cube", "gray sphere"]]
    assert load_list("new_test", folder) == read_conditions(files.shipped_dir() / "new_test.json")


def test_conditions_as_a_tensor():
    tensor = conditions_tensor([["gray cube", "yellow cylinder"], ["red cube"]])
    assert tensor.shape == (2, 24) and tensor.dtype == torch.float32
    assert tensor.nonzero().tolist() == [[0, 0], [0, 23], [1, 1]]
    assert conditions_tensor([]).shape == (0, 24)


def test_unseen_triples_are_not_in_training(folder):
    rng = np.random.default_rng(0)
    training = [[CLASSES[i] for i in rng.choice(24, 4, replace=False)] for _ in range(300)]
    triples = unseen_triples(training)
    assert len(triples) == len({frozenset(triple) for triple in triples}) == 32
    for triple in triples:
        assert [class_index(name) for name in triple] == sorted(class_index(name) for name in triple)
        assert not any(set(triple) <= set(names) for names in training)
    assert unseen_triples(reversed(training)) == triples
    assert unseen_triples(training, count=10) == triples[:10]
    assert len(set(itertools.chain.from_iterable(triples))) > 20, "spread over the classes"
    assert load_list("unseen", folder) == unseen_triples(LABELS.values())


def test_no_more_unseen_triples_than_there_are():
    everything = [list(triple) for triple in itertools.combinations(CLASSES, 3)]
    assert unseen_triples(everything) == []
    assert unseen_triples(everything[:7] + everything[9:]) in (everything[7:9], everything[8:6:-1])


def test_unseen_combinations_are_whole_sets():
    training = [["red cube", "blue cube", "gray cube"], ["cyan cube"]]
    conditions = [["cyan cube"], ["red cube", "blue cube"], ["gray cube", "red cube", "blue cube"]]
    assert unseen_combinations(conditions, training) == [["red cube", "blue cube"]]


def test_describe_counts(folder):
    counts = describe(folder)
    assert (counts["pictures"], counts["scenes"], counts["by_objects"]) == (5, 2, {1: 2, 2: 2, 3: 1})
    assert (counts["pairs"], counts["triples"]) == (4, 1)
    assert (counts["pairs_total"], counts["triples_total"]) == (276, 2024)
    assert counts["test"] == {"conditions": 32, "objects": 72, "unseen": 31}
    assert counts["synthetic"] is False
    json.dumps(counts)


# ---- PNG files ----


def test_png_round_trip(tmp_path):
    x = torch.randint(0, 256, (3, 5, 7), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
    save_png(x, tmp_path / "new" / "picture.png")
    read = torch.from_numpy(read_picture(tmp_path / "new" / "picture.png").copy())  # (H, W, 3)
    assert torch.allclose(to_float(read.permute(2, 0, 1)), x, atol=1e-6)
    assert read_picture(tmp_path / "new" / "picture.png", image_size=4).shape == (4, 4, 3)


def test_png_clamps_what_is_out_of_range(tmp_path):
    x = torch.tensor([-3.0, 3.0, float("nan")]).expand(3, 1, 3)
    save_png(x, tmp_path / "picture.png")
    assert read_picture(tmp_path / "picture.png")[0, :, 0].tolist() == [0, 255, 128]


def test_a_grid_goes_row_by_row(tmp_path):
    levels = torch.tensor([-1.0, -0.5, 0.0, 0.5, 0.9])
    save_grid(levels.view(5, 1, 1, 1).expand(5, 3, 4, 6), tmp_path / "grid.png", columns=3, border=2)
    grid = read_picture(tmp_path / "grid.png")
    assert grid.shape == (2 + 2 * 6, 2 + 3 * 8, 3)
    for index, level in enumerate(levels):
        top, left = 2 + index // 3 * 6, 2 + index % 3 * 8
        assert (grid[top : top + 4, left : left + 6] == round((level.item() + 1) * 127.5)).all()
    assert (grid[:2] == 255).all() and (grid[:, :2] == 255).all() and (grid[8:, 18:] == 255).all()
    save_grid(torch.zeros(2, 3, 4, 4), tmp_path / "short.png", columns=8)
    assert read_picture(tmp_path / "short.png").shape == (8, 14, 3)


def test_an_animation_holds_every_frame_enlarged_and_rests_on_the_last(tmp_path):
    frames = [[torch.full((3, 4, 6), level), torch.full((3, 4, 6), -level)] for level in (-1.0, 0.0, 1.0)]
    save_gif(frames, tmp_path / "moving.gif", scale=3, milliseconds=80)
    with Image.open(tmp_path / "moving.gif") as found:
        assert found.n_frames == 3 and found.size == (36, 12) and found.info["loop"] == 0
        for index, (left, right, stay) in enumerate([(0, 255, 80), (128, 128, 80), (255, 0, 2000)]):
            found.seek(index)
            pixels = np.asarray(found.convert("RGB"))
            assert found.info["duration"] == stay
            assert (pixels[:, :18] == left).all() and (pixels[:, 18:] == right).all()

"""A folder of the course's own form, thousands of 320x240 pictures linked to few files: read, described, trained on."""

import os

import numpy as np
import pytest
from PIL import Image

from lab7.cli.main import main
from lab7.config import get_preset, override
from lab7.dataset.layout import describe, load_pictures
from lab7.dataset.scenes import scene_at
from lab7.dataset.synthetic import picture_name
from lab7.training.loop import train
from lab7.utils.files import shipped_dir, write_json

SCENES, FILES = 1200, 6  # a fifth of the course's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("course")
    (place / "iclevr").mkdir()
    rng = np.random.default_rng(0)
    sources = []
    for number in range(FILES):
        sources.append(place / f"source_{number}.png")
        shades = rng.integers(60, 200, (15, 20, 3), dtype=np.uint8)
        Image.fromarray(shades).resize((320, 240), Image.Resampling.NEAREST).save(sources[-1])
    labels = {}
    for scene in range(SCENES):
        names = scene_at(0, scene).labels
        for k in range(3):
            name = picture_name(scene, k)
            labels[name] = names[: k + 1]
            os.link(sources[(scene + k) % FILES], place / "iclevr" / name)
    write_json(place / "train.json", labels)
    for name in ("objects.json", "test.json", "new_test.json"):
        (place / name).write_bytes((shipped_dir() / name).read_bytes())
    return place


def test_all_of_it_is_read_squashed_and_not_cropped(folder):
    pictures = load_pictures(folder, 64)
    assert len(pictures) == 3 * SCENES and pictures.images.shape[1:] == (3, 64, 64)
    assert pictures.names[0] == "CLEVR_train_000000_0.png" and pictures.labels.sum(dim=1)[:3].tolist() == [1, 2, 3]
    whole = np.asarray(Image.open(folder / "iclevr" / pictures.names[0]), dtype=float)
    # The means of the left and right edges of the whole frame are those of the square's: nothing was cut off.
    for columns, edge in ((slice(0, 5), 0), (slice(-5, None), -1)):
        assert abs(whole[:, columns].mean() - pictures.images[0, :, :, edge].float().mean()) < 4
    again = load_pictures(folder, 64)  # from the cache
    assert np.array_equal(pictures.images, again.images)


def test_it_is_described_and_trained_on(folder, tmp_path, monkeypatch, capsys):
    facts = describe(folder)
    assert facts["pictures"] == 3 * SCENES and facts["scenes"] == SCENES and not facts["synthetic"]
    monkeypatch.setenv("LAB7_DATA", str(folder))
    main(["doctor"])
    assert f"{3 * SCENES} pictures of {SCENES} scenes" in capsys.readouterr().out.replace(",", "")
    preset = override(get_preset("smoke"), ["image_size=64", "epochs=1", "max_steps=2", "snapshots=0"])
    run = train(preset, "a", data=folder, runs=tmp_path, progress=False)
    assert (run / "weights.safetensors").exists()

"""The notebooks' controls, without a browser: their values are set, and what they show is read back."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lab7.config import get_preset, override
from lab7.dataset.images import save_grid
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import Normaliser, fit_normaliser
from lab7.judge.networks import second_judge
from lab7.pipeline import Pipeline, build_model
from lab7.plots.style import new_figure, picture_grid
from lab7.schedule import NoiseSchedule
from lab7.utils.files import UserError
from lab7.vocabulary import CLASSES
from lab7.widgets import controls as widgets


@pytest.fixture(scope="module")
def pictures(tiny_synthetic):
    return load_pictures(tiny_synthetic, 32)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    preset = override(get_preset("smoke"), ["n_feature=8", "image_size=32"])
    schedule = NoiseSchedule(preset.diffusion.schedule, preset.diffusion.num_steps)
    normaliser = Normaliser(torch.zeros(3, 32, 32), torch.tensor(0.5))
    return Pipeline(build_model(preset).eval(), schedule, normaliser, preset)


def parts(widget, kind: str) -> list:
    """All widgets of a kind within one, in order."""
    found = [widget] if type(widget).__name__ == kind else []
    for child in getattr(widget, "children", ()):
        found += parts(child, kind)
    return found


def size(image) -> tuple[int, int]:
    return Image.open(io.BytesIO(image.value)).size


def test_source_is_read_from_the_module():
    source = widgets.show_source(widgets.with_class, widgets.compose).data
    assert source.startswith("def with_class") and "\n\ndef compose" in source


def test_png_keeps_pixels_sharp():
    picture = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    shown = np.asarray(Image.open(io.BytesIO(widgets.png_bytes([picture, picture], side=4))))
    assert shown.shape == (4, 4 + 6 + 4, 3)
    assert shown[:2, :2].reshape(-1, 3).tolist() == [[0, 4, 8]] * 4 and (shown[:, 4:10] == 255).all()


def test_pictures_are_shown_as_jpeg_and_lines_as_png(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display", lambda image: shown.append(Image.open(io.BytesIO(image.data))))
    lines = new_figure()
    lines.subplots().plot([0, 1], [0, 1])
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 8, 8)
    widgets.show(lines)
    widgets.show(picture_grid([[red]]))
    assert [image.format for image in shown] == ["PNG", "JPEG"]
    middle = shown[1].getpixel((shown[1].width // 2, shown[1].height // 2))
    assert np.abs(np.array(middle) - (255, 0, 0)).max() < 12


def test_scenes_are_browsed_and_chosen_by_class(pictures):
    box = widgets.browse_scenes(pictures)
    (of_class,), (place,), (image,), (text,) = (
        parts(box, kind) for kind in ("Dropdown", "IntSlider", "Image", "Label")
    )
    assert place.max == len(pictures) - 1
    seen = set()
    for k in range(3):
        place.value = k
        assert text.value.startswith(pictures.names[k])
        seen.add(image.value)
    assert len(seen) == 3
    chosen = next(name for c, name in enumerate(CLASSES) if pictures.labels[:, c].any())
    of_class.value = chosen
    assert chosen in text.value and place.max == len(widgets.with_class(pictures, chosen)) - 1


def test_noise_grows_with_t_and_both_schedules_can_be_chosen(pictures):
    normaliser = fit_normaliser(pictures.images, "deviation")
    schedules = [NoiseSchedule("linear", 100), NoiseSchedule("cosine", 100)]
    far, alpha_bar = widgets.noisy_picture(pictures.images[0], normaliser, schedules[0], 100)
    near, full = widgets.noisy_picture(pictures.images[0], normaliser, schedules[0], 0)
    assert torch.allclose(near, pictures.images[0].float() / 127.5 - 1, atol=1e-5) and full == 1
    assert (far - near).abs().mean() > 0.01 and alpha_bar < 0.5

    box = widgets.noise_slider(pictures, {"deviation": normaliser}, schedules)
    t, _ = parts(box, "IntSlider")
    schedule, _ = parts(box, "Dropdown")
    (image,), (text,) = parts(box, "Image"), parts(box, "Label")
    t.value = 50
    linear = (image.value, text.value)
    schedule.value = schedules[1]
    assert image.value != linear[0] and text.value != linear[1]


def test_a_scene_is_composed_and_a_mistake_is_shown(pipeline):
    box = widgets.compose_scene(pipeline, second_judge())
    steps, seed = parts(box, "IntSlider")[0], parts(box, "IntText")[0]
    first, second, _ = [drop for drop in parts(box, "Dropdown") if drop.description.startswith("object")]
    (button,), (image,), (text,) = parts(box, "Button"), parts(box, "Image"), parts(box, "HTML")
    steps.value = 5
    button.click()
    drawn = image.value
    assert size(image) == (4 * 144 + 3 * 6, 144)
    seed.value = 1
    button.click()
    assert image.value != drawn
    second.value = first.value
    button.click()
    assert "red cube" in text.value and "repeated" in text.value
    first.value = second.value = "(none)"
    button.click()
    assert text.value and "\n" not in text.value


def test_a_run_is_scrubbed(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        widgets.scrubber(tmp_path)
    strips = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for step, strip in zip((5, 10), strips, strict=True):
        save_grid(strip[None], tmp_path / "samples" / f"step_{step:07d}.png", columns=1)
    box = widgets.scrubber(tmp_path)
    (slider,), (image,) = parts(box, "SelectionSlider"), parts(box, "Image")
    last = image.value
    slider.value = 5
    assert image.value != last

"""The notebooks' controls, without a browser: their values are set, and what they show is read back."""

import asyncio
import base64
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from lab7.config import get_preset, override
from lab7.dataset.images import save_grid
from lab7.dataset.layout import load_pictures
from lab7.dataset.normalizer import Normaliser, fit_normaliser
from lab7.judge.networks import second_judge
from lab7.pipeline import Pipeline, build_model, load_pipeline
from lab7.plots.style import picture_grid, subplots
from lab7.schedule import NoiseSchedule
from lab7.training.loop import train
from lab7.training.run_folder import read_metrics
from lab7.utils.files import UserError, read_json, shipped_dir, write_json
from lab7.vocabulary import CLASSES
from lab7.widgets import display, drawing, pictures, training


@pytest.fixture(scope="module")
def scenes(tiny_synthetic):
    return load_pictures(tiny_synthetic, 32)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    preset = override(get_preset("smoke"), ["n_feature=8", "image_size=32"])
    noise_schedule = NoiseSchedule(preset.diffusion.schedule, preset.diffusion.num_steps)
    normaliser = Normaliser(torch.zeros(3, 32, 32), torch.tensor(0.5))
    return Pipeline(build_model(preset).eval(), noise_schedule, normaliser, preset)


@pytest.fixture(scope="module")
def judge():
    return second_judge()


def parts(widget, kind: str) -> dict:
    """All widgets of a kind within one, by their descriptions."""
    found = {widget.description or widget.tooltip: widget} if type(widget).__name__ == kind else {}
    for child in getattr(widget, "children", ()):
        found |= parts(child, kind)
    return found


def test_source_is_read_from_the_module():
    source = display.show_source(display.grid, display.show).data
    assert source.startswith("def grid") and "\n\ndef show" in source


def test_pictures_are_shown_as_jpeg_and_lines_as_png_with_a_text(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    lines, axis = subplots()
    axis.plot([0, 1], [0, 1], label="one run")
    axis.set(xlabel="step", ylabel="loss", title="Training")
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 8, 8)
    display.show(lines)
    display.show(picture_grid([[red]], ["x_t"], ["t = 9"], title="red cube"))
    files = [Image.open(io.BytesIO(image.data)) for image in shown]
    assert [file.format for file in files] == ["PNG", "JPEG"]
    middle = files[1].getpixel((files[1].width // 2 + 30, files[1].height * 2 // 3))
    assert np.abs(np.array(middle) - (255, 0, 0)).max() < 12
    assert [image.alt for image in shown] == [
        "Training; vertical: loss; horizontal: step; one run",
        "red cube. vertical: x_t; horizontal: t = 9",
    ]


def test_a_grid_keeps_pixels_sharp_and_captions_apart():
    picture = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    plain = np.asarray(display.grid([picture] * 3, columns=2, side=4))
    below = display.LINE + display.MARGIN
    assert plain.shape == (2 * (4 + below), 2 * (4 + display.MARGIN), 3)
    assert plain[:2, :2].reshape(-1, 3).tolist() == [[0, 4, 8]] * 4 and (plain[:, 4:10] == 255).all()
    assert (plain[4 + below :][:4, :4] == plain[:4, :4]).all()
    right, wrong = (np.asarray(display.grid([picture], [f"{mark} cube"], side=64))[64:] for mark in "✓✗")
    assert right.min() < 90 and (right != wrong).any(axis=(1, 2)).any()
    assert (right.max(axis=2) == right.min(axis=2)).all() and (wrong.max(axis=2) > wrong.min(axis=2)).any()


def test_where_no_widget_is_shown_a_picture_stands_with_its_text(scenes):
    control = pictures.browse_scenes(scenes)
    data, metadata = control._repr_mimebundle_()
    still = Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))
    assert still.width >= control.picture.width and still.height > control.picture.height
    assert data["text/plain"].startswith(control.alt) and "JupyterLab" in data["text/plain"]
    assert metadata["image/jpeg"]["alt"] == control.alt and f'alt="{control.alt}"' in control.view.value
    assert "application/vnd.jupyter.widget-view+json" in data


def test_scenes_are_browsed_and_chosen_by_class(scenes):
    control = pictures.browse_scenes(scenes)
    of_class, place = parts(control, "Dropdown")["class"], parts(control, "IntSlider")["picture"]
    assert place.max == len(scenes) - 1
    seen = set()
    for k in range(3):
        place.value = k
        assert scenes.names[k] in control.view.value
        seen.add(control.view.value)
    assert len(seen) == 3
    place.value = place.max
    for chosen in of_class.options[1:]:  # each of them has pictures
        of_class.value = chosen
        assert chosen in control.alt and place.max == scenes.labels[:, CLASSES.index(chosen)].sum() - 1
    of_class.index = 0
    assert place.max == len(scenes) - 1


def test_schedules_are_explored(scenes):
    normaliser = fit_normaliser(scenes.images, "deviation")
    schedules = [NoiseSchedule("linear", 100), NoiseSchedule("cosine", 100)]
    _, (beta, alpha_bar, log_snr) = pictures.curve_sheet(schedules[1])
    for axis, rises in (beta, True), (alpha_bar, False), (log_snr, False):
        values = axis.lines[0].get_ydata()
        assert values.shape == (100,) and ((np.diff(values) > 0) == rises).all()

    control = pictures.schedule_explorer(scenes, {"deviation": normaliser}, schedules)
    sliders, chosen = parts(control, "IntSlider"), parts(control, "Dropdown")["schedule"]

    def difference():  # between x_0 and x_t, side by side on the right
        shown = np.asarray(control.picture, dtype=float)[:192, -396:]
        return np.abs(shown[:, :192] - shown[:, 198:390]).mean()

    sliders["t"].value = 1
    near = difference()
    sliders["t"].value = 50
    before = control.view.value
    assert difference() > 2 * near and "beta_t = 0.009949" in before and "t = 50" in control.alt
    chosen.value = schedules[1]
    assert control.view.value != before and "cosine" in control.alt


def compose(pipeline, judge, scene):
    control = drawing.compose_scene(pipeline, judge, scene)
    buttons, sliders, choices = (parts(control, kind) for kind in ("Button", "IntSlider", "Dropdown"))

    def press_draw():
        buttons["Draw"].click()
        control.thread.join()

    return control, buttons, sliders, choices, press_draw


def test_a_scene_is_composed_and_kept(pipeline, judge, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB7_BUILD", str(tmp_path))
    scene = ["red cube", "cyan sphere"]
    control, buttons, sliders, choices, press_draw = compose(pipeline, judge, scene)
    first = control.picture
    assert first.width == 4 * display.grid([torch.zeros(3, 4, 4)]).width
    assert "The judge reads picture 1:" in control.alt and "red cube, cyan sphere" in control.alt
    shown = []
    control.view.observe(lambda change: shown.append(change.new), names="value")
    choices["object 2"].value, choices["shape 2"].value = "yellow", "cylinder"
    sliders["steps"].value = 6
    press_draw()
    assert scene == ["red cube", "yellow cylinder"] and control.picture != first
    assert ["opacity: 0.35" in view for view in shown] == [True, False, False]
    assert "previous" in shown[0] and "preview with 4 steps" in shown[1] and "drawn with 6 steps" in shown[2]
    assert not buttons["Draw"].disabled and buttons["Stop"].disabled
    sliders["seed"].value = 7  # of the next picture
    buttons["Save as PNG"].click()
    (saved,) = (tmp_path / "scenes").iterdir()
    assert saved.name == "red_cube_yellow_cylinder_seed_0.png" and Image.open(saved).size == control.picture.size
    again = drawing.compose_scene(pipeline, judge, scene)
    assert parts(again, "Dropdown")["object 2"].value == "yellow" and "yellow cylinder" in again.alt


def test_a_mistake_in_a_scene_is_one_line(pipeline, judge):
    scene = ["red cube"]
    control, buttons, _, choices, press_draw = compose(pipeline, judge, scene)
    choices["object 2"].value, choices["shape 2"].value = "red", "cube"
    press_draw()
    assert "repeated" in control.view.value and "opacity: 0.35" in control.view.value and not buttons["Draw"].disabled
    choices["object 1"].value = choices["object 2"].value = drawing.NOTHING
    press_draw()
    assert "empty condition" in control.view.value and scene == ["red cube"]


def test_drawing_is_stopped(pipeline, judge, monkeypatch):
    scene = ["red cube"]
    control, buttons, _, choices, _ = compose(pipeline, judge, scene)
    choices["object 1"].value = "blue"
    entered, go_on = threading.Event(), threading.Event()

    def wait(*_):
        entered.set()
        go_on.wait(10)
        return ["?"] * drawing.SAMPLES

    monkeypatch.setattr(drawing, "readings", wait)  # after the preview
    buttons["Draw"].click()
    assert entered.wait(20) and buttons["Draw"].disabled and not buttons["Stop"].disabled
    buttons["Stop"].click()
    go_on.set()
    control.thread.join()
    assert "stopped" in control.view.value and scene == ["red cube"] and not buttons["Draw"].disabled


def test_the_judges_reading_tells_right_from_wrong(judge):
    pictures = load_pipeline(shipped_dir() / "runs" / "laptop")([["red cube"]], num_steps=4, guidance_scale=1)
    assert drawing.readings(judge, pictures, ["red cube"]) == ["✓ red cube"]
    assert drawing.readings(judge, pictures, ["blue cube"]) == ["✗ red cube"]


def test_a_denoising_is_walked_through(pipeline):
    states = []
    names = ["red cube", "cyan sphere"]
    pipeline([names], sampler="ddpm", num_steps=5, callback=lambda *state: states.append(state))
    control = drawing.denoising_walk(pipeline, names, states)
    slider, buttons = parts(control, "SelectionSlider")["time"], parts(control, "Button")
    assert [label for label, _ in slider.options] == [f"t = {t}" for _, t, _, _ in states]
    first = control.view.value
    buttons["step on"].click()
    assert slider.index == 1 and control.view.value != first and f"t = {states[1][1]}" in control.alt
    buttons["step back"].click()
    buttons["step back"].click()
    assert slider.index == 0 and control.view.value == first
    (play,) = parts(control, "Play").values()
    assert play.max == len(states) - 1
    _, with_condition, without, difference = np.split(np.asarray(control.picture, dtype=float)[:192], 4, axis=1)
    assert (with_condition != without).any() and difference[:, :192].max() > 0


def snapshots(folder, steps):
    colours = torch.rand(len(steps), 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for step, colour in zip(steps, colours, strict=True):
        save_grid(colour.expand(2, 3, 16, 16), folder / "samples" / f"step_{step:07d}.png", columns=2)
    write_json(folder / "result.json", {"epochs": 2.0, "steps": 20})
    (folder / "metrics.jsonl").write_text('{"step": 5, "loss": 0.5}\n')
    return folder


def test_trainings_are_walked_through_side_by_side(tmp_path):
    runs = {"down and up": snapshots(tmp_path / "a", (5, 10, 20)), "up only": snapshots(tmp_path / "b", (10, 20))}
    control = training.epoch_walk(runs, [["red cube"], ["cyan sphere", "gray cube"]])
    slider = parts(control, "SelectionSlider")["training"]
    assert [label for label, _ in slider.options] == ["epoch 1", "epoch 2"] and slider.index == 1
    last = control.view.value
    slider.index = 0
    assert control.view.value != last and "down and up" in control.alt and "loss 0.5000" in control.view.value
    runs["elsewhere"] = snapshots(tmp_path / "c", (7,))
    with pytest.raises(UserError, match="no pictures at the same step"):
        training.epoch_walk(runs, [["red cube"], ["gray cube"]])


@pytest.fixture
def short_run(tiny_synthetic, tmp_path):
    settings = ["n_feature=8", "batch_size=4", "snapshots=0", "save_every=1000"]
    return override(get_preset("smoke"), settings), {"data": tiny_synthetic, "runs": tmp_path, "progress": False}


def test_a_training_is_watched(short_run, monkeypatch):
    shown = []
    monkeypatch.setattr(training, "display", lambda control, **_: shown.append(control) or Handle(shown))
    preset, places = short_run
    folder = asyncio.run(training.train_live(preset, "live", **places))
    control, updated = shown
    assert control is updated and "step 27 of 27" in control.alt and "done" in control.view.value
    assert read_json(folder / "result.json", "a result")["steps"] == 27
    assert control.picture.size > (300, 100)


@pytest.mark.parametrize("how", ["button", "interrupt"])
def test_a_stopped_training_can_be_used_and_resumed(short_run, monkeypatch, how):
    shown = []
    monkeypatch.setattr(training, "EVERY", 0.02)
    monkeypatch.setattr(training, "display", lambda control, **_: shown.append(control) or Handle(shown))
    preset, places = short_run

    async def stop_early():
        task = asyncio.create_task(training.train_live(preset, "live", **places))
        while not (shown and "step" in shown[0].alt):
            await asyncio.sleep(0.01)
        parts(shown[0], "Button")["Stop"].click() if how == "button" else task.cancel()
        return await task

    folder = asyncio.run(stop_early())
    steps = read_json(folder / "result.json", "a result")["steps"]
    assert "stopped" in shown[0].alt and steps == read_metrics(folder)[-1]["step"] < 27
    assert len(load_pipeline(folder)([["red cube"]], num_steps=2)) == 1
    train(preset, "live", resume=True, **places)
    assert read_json(folder / "result.json", "a result")["steps"] == 27


class Handle:
    """What IPython's display returns, which shows a thing again."""

    def __init__(self, shown):
        self.update = shown.append


@pytest.mark.parametrize(
    ("scene", "seed"),
    [
        (["red cube", "cyan cube", "blue cube", "gray cube"], 0),
        (("red cube",), 0),
        ("red cube", 0),
        ([], 0),
        (["red cub"], 0),
        ([3], 0),
        (["red cube"], -1),
        (["red cube"], 1.5),
        (["red cube"], "1.5"),
        (["red cube"], None),
    ],
)
def test_a_scene_that_cannot_be_drawn_is_refused_at_once(pipeline, judge, scene, seed):
    with pytest.raises(UserError):
        drawing.compose_scene(pipeline, judge, scene, seed)

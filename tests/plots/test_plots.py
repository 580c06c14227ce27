"""The figures: what is drawn is what was given, in one style, and leaves matplotlib's settings alone."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

from lab7.dataset.images import save_grid
from lab7.plots import ablation as plots_results
from lab7.plots import judge as plots_judge
from lab7.plots import sampling as plots_samplers
from lab7.plots import style as plots
from lab7.plots import training as plots_training
from lab7.schedule import NoiseSchedule
from lab7.utils.files import UserError, write_json, write_text

SCORES = pd.DataFrame(
    {
        "label": ["up: test", "up: new_test", "none: test"],
        "accuracy": [0.5, 0.6, 0.1],
        "low": [0.45, 0.5, 0.05],
        "high": [0.56, 0.7, 0.2],
        "reported": [0.63, 0.68, float("nan")],
        "by_seed": [[0.4, 0.5, 0.6], [0.6], [0.1]],
    }
)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


EXAM = {
    "calibration": [{"said": 0.1, "true": 0.2, "low": 0.1, "high": 0.3}],
    "clean": {"per_count": [{"objects": k, "accuracy": 0.9, "low": 0.8, "high": 0.95} for k in (1, 2, 3)]},
}
FIGURES = {
    "picture_grid": lambda: plots.picture_grid([list(noise(3, 3, 8, 8)), list(noise(2, 3, 8, 8))], ["a", "b"], "xyz"),
    "mean_and_deviation": lambda: plots.mean_and_deviation(
        noise(3, 8, 8), noise(3, 8, 8).abs(), [("a", noise(99)), ("b", noise(99) / 2)]
    ),
    "steps_figure": lambda: plots_samplers.steps_figure(SWEEP),
    "schedule_curves": lambda: plots.schedule_curves([NoiseSchedule("linear", 50), NoiseSchedule("cosine", 50)]),
    "labelled_pictures": lambda: plots_results.labelled_pictures(
        noise(3, 3, 8, 8),
        [["red cube"], ["cyan sphere", "red cube"], ["blue cube"]],
        [[True], [False, True], [True]],
        "t",
    ),
    "arms_figure": lambda: plots_results.arms_figure(ARMS.to_dict("records")),
    "clamp_figure": lambda: plots_results.clamp_figure(
        {name: [(10, 0.75), (0, 0.0)] for name in ("none", "x_0")},
        {"none": 9 * noise(2, 3, 8, 8), "output": noise(2, 3, 8, 8).clamp(-1, 1), "x_0": noise(2, 3, 8, 8)},
    ),
    "accuracy_points": lambda: plots_results.accuracy_points(SCORES),
    "judges_figure": lambda: plots_judge.judges_figure({"a": EXAM, "b": EXAM}),
    "confusion_figure": lambda: plots_judge.confusion_figure(np.eye(24) + 0.01),
    "error_types_figure": lambda: plots_judge.error_types_figure({"test": ERRORS, "new_test": ERRORS}),
    "run_curves": lambda: plots_training.run_curves({"a": LINES, "b": LINES}, LINES[:2]),
    "recipes_figure": lambda: plots_training.recipes_figure(CURVES),
    "rate_curves": lambda: plots_training.rate_curves({"cosine": np.linspace(1, 0, 9)}, [np.ones(9) / 2]),
    "initialisation_figure": lambda: plots_training.initialisation_figure(
        {"report": [{"up0": (1.0, 2.0), "out": (2.0, 1.0)}] * 2}, {"report": [[2.0, 1.0], [1.9, 0.9]]}
    ),
}
ERRORS = [
    {"error_type": "missing", "share": 0.1, "low": 0.05, "high": 0.2},
    {"error_type": "extra", "share": 0.0, "low": 0.0, "high": 0.02},
]
CURVES = {
    name: {
        "weights": 7_000_000,
        "threads": threads,
        "marks": [
            {
                "minutes": minutes,
                "accuracy": {
                    name: {"top_k": {"hits": hits, "total": 10}}
                    for name, hits in (("test", found), ("new_test", found + 1), ("unseen", 0))
                },
            }
            for minutes, found in ((10.0, 3), (20.0, 6))
        ],
    }
    for name, threads in (("ours", 2), ("other", 1))
}
ARMS = pd.DataFrame(
    {
        "title": ["baseline", "an arm", "another", "a third"],
        "by_seed": [[1.0, 1.2], [0.4, 0.5], [1.3], [1.1]],
        "low": [0.9, 0.3, 1.2, 1.0],
        "high": [1.3, 0.6, 1.4, 1.2],
        "difference": [np.nan, -0.65, 0.3, 0.0],
        "diff_low": [np.nan, -0.9, 0.1, -0.1],
        "diff_high": [np.nan, -0.4, 0.5, 0.1],
    }
)
SWEEP = {
    "plans": {
        f"{sampler}:{steps}": {
            "sampler": sampler,
            "num_steps": steps,
            "frechet": {"distance": 100 / steps, "floor": 5.0},
            "accuracy": {name: {"top_k": {"hits": 3 * steps, "total": 99}} for name in ("test", "unseen")},
        }
        for sampler in ("ddim", "dpm_solver_pp")
        for steps in (16, 4, 8)
    }
}
LINES = [{"step": s, "images": 8 * s, "loss": 1 / s, "images_per_second": 50.0} for s in (1, 2, 3)]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_its_axes_say_what_they_show(name):
    before = dict(mpl.rcParams)
    figure = FIGURES[name]()
    figure.savefig(buffer := io.BytesIO(), format="svg")
    assert dict(mpl.rcParams) == before and buffer.getvalue().startswith(b"<?xml")
    width, _ = figure.get_size_inches()
    assert width <= 8.2
    drawn = [axis for axis in figure.axes if axis.axison and axis.lines + axis.patches + axis.collections]
    for axis in drawn:
        alike = axis.get_shared_y_axes().get_siblings(axis)
        assert any(axis.get_ylabel() or axis.yaxis.get_ticklabels() for axis in alike), name
    sizes = [text.get_fontsize() for axis in figure.axes for text in axis.texts]
    assert all(size >= 6.5 for size in sizes)


def test_uint8_and_numbers_are_shown_alike():
    picture = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).expand(3, 1, 5)
    assert plots.to_shown(picture)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    bytes_ = torch.arange(0, 24, 4, dtype=torch.uint8).view(3, 1, 2)
    assert plots.to_shown(bytes_)[0].tolist() == [[0, 8, 16], [4, 12, 20]]
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 256)
    assert np.abs(plots.to_shown(every)[0, :, 0].astype(int) - np.arange(256)).max() <= 2


def test_a_miss_is_marked_by_more_than_a_colour():
    figure = FIGURES["labelled_pictures"]()
    captions = [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text().strip()]
    assert captions == ["red cube", "× cyan sphere", "red cube", "blue cube"]


def test_steps_stand_in_order_and_pool_all_lists():
    left, right = plots_samplers.steps_figure(SWEEP).axes
    assert left.lines[0].get_xdata().tolist() == right.lines[0].get_xdata().tolist() == [4, 8, 16]
    assert left.lines[0].get_ydata().tolist() == [12 / 99, 24 / 99, 48 / 99]
    assert plots_samplers.pooled(SWEEP["plans"]["ddim:8"]) == (48, 198)


def test_errors_are_bars_in_percent():
    axis = FIGURES["error_types_figure"]().axes[0]
    assert [bar.get_width() for bar in axis.patches] == [10, 0, 10, 0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["missing", "extra"]


def test_points_and_intervals_are_those_of_the_table():
    axis = plots_results.accuracy_points(SCORES).axes[0]
    assert axis.containers[0].lines[0].get_xdata().tolist() == [0.5, 0.6, 0.1]
    bars = axis.containers[0].lines[2][0].get_segments()
    assert np.allclose([bar[:, 0] for bar in bars], SCORES[["low", "high"]].to_numpy())
    assert [label.get_text() for label in axis.get_yticklabels()] == SCORES.label.tolist()
    trainings = [line for line in axis.lines if line.get_marker() == "|" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in trainings[-3:]] == SCORES.by_seed.tolist()


def test_snapshots_have_step_epoch_and_the_last_loss(tmp_path):
    strip = noise(3, 3, 16, 16).clamp(-1, 1)
    for step in (2, 6):
        save_grid(strip, tmp_path / "samples" / f"step_{step:07d}.png", columns=3)
    lines = ['{"step": 4, "loss": 0.5}', '{"step": 5, "accuracy": {}}', '{"step": 6, "loss": 0.25}']
    write_text(tmp_path / "metrics.jsonl", "".join(f"{line}\n" for line in lines))
    write_json(tmp_path / "result.json", {"epochs": 2.0, "steps": 6})
    table = plots_training.read_snapshots(tmp_path)
    assert np.isnan(table.loss[0]) and table.loss[1] == 0.25
    assert table.step.tolist() == [2, 6] and table.epoch.tolist() == [0.667, 2]
    axis = plots_training.snapshot_figure(table, [["red cube"], ["cyan sphere", "red cube"], ["a"]]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["epoch 0.667", "epoch 2"]
    assert len(axis.images) == 2 * 3


def test_a_run_without_pictures_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        plots_training.read_snapshots(tmp_path)


def test_an_arm_is_marked_by_where_the_interval_of_its_difference_lies():
    right = FIGURES["arms_figure"]().axes[1]
    points = [line for line in right.lines if len(line.get_xdata()) == 1 and np.isfinite(line.get_xdata()[0])]
    assert [line.get_marker() for line in points] == ["v", "^", "o"]


def test_clamps_are_lines_on_the_way_and_shares_of_all_pixels_at_the_end():
    left, right = FIGURES["clamp_figure"]().axes
    assert [list(line.get_ydata()) for line in left.lines] == [[0.75, 0.0]] * 2  # a clamp at the end is not on the way
    heights = [patch.get_data().values - 1e-6 for patch in right.patches if hasattr(patch, "get_data")]
    np.testing.assert_allclose([shares.sum() for shares in heights], 1)
    assert heights[0][0] > 0.3 and heights[1][:19].sum() == pytest.approx(0)  # beyond 2 counts as 2; nothing is left


def test_recipes_are_drawn_by_their_minutes_and_both_lists_of_the_course():
    lines = plots_training.recipes_figure(CURVES).axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        "ours: 7.0 million weights, 2 cores",
        "other: 7.0 million weights, one core",
    ]
    np.testing.assert_allclose(lines[0].get_xdata(), [10, 20])
    np.testing.assert_allclose(lines[0].get_ydata(), [7 / 20, 13 / 20])

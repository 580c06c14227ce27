"""Where a preset works, and how what it needs comes to be: pictures, judge and runs, found or made.

`quick` reads the shipped judge and the recorded runs. Every other preset makes its own from scratch, once, and
goes on where it was stopped. `smoke` keeps all of it under build/smoke, away from the real data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lab7.ablation import evaluate as experiments
from lab7.ablation.arms import arm_preset, get_arm, run_name
from lab7.config import Preset, get_preset, override, to_dict
from lab7.judge import evaluation as examination
from lab7.judge.networks import Judge, default_judge, load_judge, second_judge
from lab7.utils.files import (
    UserError,
    atomic_path,
    build_dir,
    data_dir,
    figures_dir,
    read_json,
    runs_dir,
    shipped_dir,
    write_json,
    write_text,
)
from lab7.utils.provenance import best_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Workspace:
    """A preset and its folders. Made by `open_workspace`."""

    preset: Preset
    data: Path
    runs: Path
    figures: Path
    settings: tuple[str, ...] = ()  # changed beside the preset's

    def make_pictures(self, progress: bool = False) -> Path:
        """The folder of pictures in the course's layout, rendered first where there is none."""
        from lab7.dataset.synthetic import write_synthetic

        if not (self.data / "train.json").exists():
            write_synthetic(
                self.data,
                self.preset.data.scenes,
                (64, 64),
                seed=self.preset.data.scene_seed,
                progress=progress,
            )
        return self.data

    def judge(self, progress: bool = False) -> Judge:
        """The course's judge where its file is in data/; else the shipped one, or with `smoke` a toy of its own."""
        if self.preset.name != "smoke" or (self.data / "checkpoint.pth").exists():
            return default_judge()
        from lab7.judge.training import train_judge

        path = self.data / "weights" / "judge.safetensors"
        if not path.exists():
            plan = self.preset.judge
            train_judge(
                path,
                scenes=plan.judge_scenes,
                epochs=plan.judge_epochs,
                evaluation_scenes=plan.evaluation_scenes,
                progress=progress,
            )
        return load_judge(path)

    def second_judge(self) -> Judge:
        """The small judge that is shipped; with `smoke` a toy of its own."""
        if self.preset.name != "smoke":
            return second_judge()
        from lab7.judge.training import train_judge

        path = self.data / "weights" / "second_judge.safetensors"
        if not path.exists():
            plan = self.preset.judge
            train_judge(
                path,
                kind="small",
                seed=1,
                scenes=plan.judge_scenes,
                epochs=plan.judge_epochs,
                evaluation_scenes=plan.evaluation_scenes,
                progress=False,
            )
        return load_judge(path)

    def examination(self, judge: Judge) -> dict[str, Any] | None:
        """How that judge did on renders that it never saw; None for one without a record, such as the course's."""
        return examination.recorded(judge, self.data)

    def run(self, name: str, progress: bool = False) -> Path:
        """The folder of an arm's finished, scored run: recorded (`quick`), found, or trained and scored now.

        Its seed is the preset's, but 0 in `quick`. Raises UserError for an unknown arm, and in `quick` for one that is
        not recorded.
        """
        arm = get_arm(name)
        if self.preset.name == "quick":
            recorded = shipped_dir() / "runs" / name
            if not (recorded / "result.json").exists():
                raise UserError(
                    f"{recorded}: no recorded run; train one with 'lab7 train --preset {arm.base} --name {name}'"
                )
            return recorded
        from lab7.training.loop import train

        self.make_pictures(progress)
        seed = self.preset.train.seed
        folder, preset = self.runs / run_name(name, seed), arm_preset(arm, self.preset, self.settings)
        judge = self.judge(progress)
        if arm.weights_from:
            trained = self.run(arm.weights_from, progress)
            if not (folder / "result.json").exists():
                told = read_json(trained / "result.json", "a run's result")
                told |= {"name": folder.name, "settings": to_dict(preset), "weights_from": trained.name}
                write_json(folder / "result.json", {key: told[key] for key in told if key != "accuracy"})
        else:
            trained = folder
            train(
                preset,
                folder.name,
                resume=folder.exists(),
                evaluate=experiments.plateau_scores(judge, self.data),
                progress=progress,
                data=self.data,
                runs=self.runs,
            )
        if "accuracy" not in read_json(folder / "result.json", "a run's result"):
            experiments.score_run(
                folder,
                judge,
                second=self.second_judge(),
                data=self.data,
                weights=trained,
                preset=preset,
                lists=(*experiments.LISTS, *arm.lists),
                device=best_device(),
                progress=progress,
            )
        return folder

    def save_figure(self, figure: Figure, name: str) -> None:
        """Write figures/NAME.png and NAME.svg; the same figure gives the same bytes. The PNG of one that holds no
        pictures has a palette, which makes it less than half as large."""
        import matplotlib

        from lab7.dataset.images import with_palette
        from lab7.plots.style import STYLE

        unsaid = ("Date", "Creator", "Format", "Type")  # they would change with the day and the version
        finest: dict[str, Any] = {
            "png": {"pil_kwargs": {"optimize": True}},
            "svg": {"metadata": dict.fromkeys(unsaid)},
        }
        for suffix, options in finest.items():
            with atomic_path(self.figures / f"{name}.{suffix}") as temporary, matplotlib.rc_context(STYLE):
                figure.savefig(temporary, format=suffix, **options)
                if suffix == "png" and not any(axis.images for axis in figure.axes):
                    with_palette(temporary)

    def save_table(self, table: pd.DataFrame, name: str) -> None:
        """Write figures/NAME.csv and NAME.md."""
        write_text(self.figures / f"{name}.csv", table.to_csv(index=False, float_format="%.4f"))
        write_text(self.figures / f"{name}.md", _markdown(table))


def open_workspace(preset: str = "quick", settings: Iterable[str] = (), seed: int = 0) -> Workspace:
    """The workspace of a preset; `seed` is the training's. Raises UserError for an unknown preset or setting."""
    settings = tuple(settings)
    chosen = override(get_preset(preset), [f"train.seed={seed}", *settings])
    if preset == "quick":
        return Workspace(chosen, data_dir(), shipped_dir() / "runs", figures_dir(), settings)
    base = build_dir() / preset
    if preset == "smoke":
        return Workspace(chosen, base / "data", base / "runs", base / "figures", settings)
    return Workspace(chosen, data_dir(), runs_dir() / preset, base / "figures", settings)


def _markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; numbers that are not whole to four digits."""

    def text(value: object) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|")

    rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows += [[text(value) for value in row] for row in table.itertuples(index=False)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)

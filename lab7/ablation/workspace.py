"""The folders of a preset, and what they need: pictures, judges and runs, found there or made once.

`quick` reads the shipped judge and the recorded runs. Every other preset makes its own runs and goes on where it was
stopped. `smoke` keeps everything under build/smoke, apart from the real data.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lab7.ablation.arms import arm_preset, get_arm, run_name
from lab7.ablation.evaluate import LISTS, plateau_scores, score_run
from lab7.config import Preset, from_dict, get_preset, override, to_dict
from lab7.dataset.layout import describe
from lab7.dataset.synthetic import is_synthetic, write_synthetic
from lab7.judge.evaluation import recorded
from lab7.judge.networks import Judge, default_judge, load_judge, second_judge
from lab7.training.run_folder import first_difference
from lab7.utils import files
from lab7.utils.files import UserError, build_dir, data_dir, read_json, shipped_dir, short, write_json
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
    settings: tuple[str, ...] = ()  # changes to the preset, for every arm

    def make_pictures(self, progress: bool = False) -> Path:
        """The folder of pictures in the course's layout, rendered if there is none; in `smoke`, with the set scenes."""
        if not (self.data / "train.json").exists() or (self.preset.name == "smoke" and is_synthetic(self.data)):
            plan = self.preset.data
            write_synthetic(self.data, plan.scenes, (64, 64), seed=plan.scene_seed, progress=progress)
        return self.data

    def finished(self, name: str) -> bool:
        """Whether an arm's run is finished and scored. Raises UserError if it was made with other settings."""
        path = self.runs / run_name(name, self.preset.train.seed) / "result.json"
        preset = arm_preset(get_arm(name), self.preset, self.settings)
        result = read_json(path, "a run's result") if path.exists() else {}
        if result and (difference := first_difference(from_dict(result.get("settings", {}), short(path)), preset)):
            remedy = f"delete it, or choose another LAB7_{'BUILD' if preset.name == 'smoke' else 'RUNS'}"
            raise UserError(f"{short(path.parent)}: was made with {difference}; {remedy}")
        return "accuracy" in result

    def describe(self) -> dict[str, Any]:
        """The counts of the pictures (see dataset.layout.describe), also kept for the report, which states them."""
        facts = describe(self.data)
        write_json(build_dir() / self.preset.name / "data.json", facts)
        return facts

    def judge(self, progress: bool = False) -> Judge:
        """The course's judge if its file is in data/; else the shipped one, or with `smoke` a toy of its own."""
        toy = self.preset.name == "smoke" and not (self.data / "checkpoint.pth").exists()
        return self._toy_judge("judge", progress) if toy else default_judge()

    def second_judge(self, progress: bool = False) -> Judge:
        """The small judge that is shipped; with `smoke` a toy of its own."""
        toy = self.preset.name == "smoke"
        return self._toy_judge("second_judge", progress, kind="small", seed=1) if toy else second_judge()

    def _toy_judge(self, name: str, progress: bool, **options: Any) -> Judge:
        from lab7.judge.training import train_judge

        path = self.data / "weights" / f"{name}.safetensors"
        with files.locked(path.parent, wait=True):  # of several processes that need it, one trains it
            if not path.with_suffix(".json").exists():  # its record, which is written last
                train_judge(path, self.preset.judge, progress=progress, **options)
        return load_judge(path)

    def judge_evaluation(self, judge: Judge) -> dict[str, Any] | None:
        """The recorded scores of that judge on unseen renders; None for one without a record, such as the course's."""
        return recorded(judge, self.data)

    def run(self, name: str, progress: bool = False) -> Path:
        """The folder of an arm's finished, scored run: recorded (`quick`), found, or trained and scored now.

        Its seed is the preset's; `quick` has seed 0 only. Raises UserError for an unknown arm, and in `quick` for an
        arm that is not recorded.
        """
        arm = get_arm(name)
        if self.preset.name == "quick":
            recorded_run = shipped_dir() / "runs" / name
            if not (recorded_run / "result.json").exists():
                command = f"lab7 train --preset {arm.base} --name {name}"
                raise UserError(f"{recorded_run}: no recorded run; train one with '{command}'")
            return recorded_run
        from lab7.training.loop import train

        folder = self.runs / run_name(name, self.preset.train.seed)
        if self.finished(name):
            return folder
        self.make_pictures(progress)
        preset, result = arm_preset(arm, self.preset, self.settings), folder / "result.json"
        judge = self.judge(progress)
        with files.locked(folder, wait=True):  # another notebook may make it
            trained = self.run(arm.weights_from, progress) if arm.weights_from else folder
            if trained == folder:
                places: dict[str, Any] = {"data": self.data, "runs": self.runs, "progress": progress}
                train(preset, folder.name, resume=True, evaluate=plateau_scores(judge, self.data), **places)
            elif not result.exists():
                copied = read_json(trained / "result.json", "a run's result")
                copied |= {"name": folder.name, "settings": to_dict(preset), "weights_from": trained.name}
                copied.pop("accuracy", None)
                write_json(result, copied, checksum=True)
            if "accuracy" not in read_json(result, "a run's result"):
                how: dict[str, Any] = {"preset": preset, "second": self.second_judge(progress), "device": best_device()}
                how |= {"lists": (*LISTS, *arm.lists), "progress": progress}
                score_run(folder, judge, data=self.data, weights=trained, **how)
        return folder

    def save_figure(self, figure: "Figure", name: str) -> None:
        """Write figures/NAME.png and NAME.svg; the same figure gives the same bytes.

        A PNG without pictures gets a palette, which more than halves its size.
        """
        import matplotlib

        from lab7.dataset.images import with_palette
        from lab7.plots.style import STYLE

        no_date = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # they change with the day and the version
        options: dict[str, Any] = {"png": {"pil_kwargs": {"optimize": True}}, "svg": {"metadata": no_date}}
        for suffix, option in options.items():
            with files.atomic_path(self.figures / f"{name}.{suffix}") as temporary, matplotlib.rc_context(STYLE):
                figure.savefig(temporary, format=suffix, **option)
                if suffix == "png" and not any(axis.images for axis in figure.axes):
                    with_palette(temporary)

    def save_table(self, table: pd.DataFrame, name: str) -> None:
        """Write figures/NAME.csv and NAME.md, numbers that are not whole with four digits."""
        files.write_text(self.figures / f"{name}.csv", table.to_csv(index=False, float_format="%.4f"))
        rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
        for row in table.itertuples(index=False):
            rows.append([f"{x:.4f}" if isinstance(x, float) else str(x).replace("|", "\\|") for x in row])
        files.write_text(self.figures / f"{name}.md", "".join("| " + " | ".join(row) + " |\n" for row in rows))


def open_workspace(preset: str = "quick", settings: Iterable[str] = (), seed: int = 0) -> Workspace:
    """The workspace of a preset; `seed` is the training's. Raises UserError for an unknown preset or setting."""
    settings = tuple(settings)
    chosen = override(get_preset(preset), [f"train.seed={seed}", *settings])
    base = build_dir() / preset
    if preset == "quick":
        return Workspace(chosen, data_dir(), shipped_dir() / "runs", base / "figures", settings)
    data, runs = (base / "data", base / "runs") if preset == "smoke" else (data_dir(), files.runs_dir() / preset)
    return Workspace(chosen, data, runs, base / "figures", settings)

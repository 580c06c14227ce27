"""The commands about pictures: `lab7 data`, `lab7 sample` and `lab7 judge`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab7.cli.print_result import Settings, ceiling_line, score_line, tell
from lab7.config import SamplerName, get_preset, override
from lab7.utils.files import UserError, data_dir, shipped_dir, short, write_json


@dataclass(frozen=True)
class Data:
    """Render the stand-in pictures in the course's own layout; a second call goes on where the first stopped.

    Example: lab7 data --scenes 6003 --size 64x64
    """

    scenes: int = 6003
    """Scenes; each gives three pictures, of its first one, two and three objects."""
    size: str = "64x64"
    """Width x height in pixels; the course's own pictures are 320x240."""
    seed: int = 0
    """The same seed gives the same bytes."""
    out: Path | None = None
    """Folder to write to (default: data/)."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7.dataset.layout import describe
        from lab7.dataset.synthetic import write_synthetic

        match = re.fullmatch(r"(\d+)x(\d+)", self.size)
        if not match:
            raise UserError(f"--size must be WIDTHxHEIGHT such as 64x64 or 320x240, not '{self.size}'")
        out = self.out or data_dir()
        write_synthetic(out, self.scenes, (int(match[1]), int(match[2])), seed=self.seed, progress=True)
        found = describe(out)
        tell(self.json, found, f"{short(out)}: {found['pictures']} pictures of {found['scenes']} scenes")
        return 0


@dataclass(frozen=True)
class Sample:
    """Draw pictures of conditions into a folder: 000_0.png ... one a sample, and grid.png.

    Example: lab7 sample --conditions "red cube, cyan sphere" --samples 4 --out drawn
    """

    conditions: tuple[str, ...]
    """A JSON file of conditions, or conditions such as "red cube, cyan sphere"."""
    out: Path
    """Folder to write to."""
    weights: Path | None = None
    """Weights that 'lab7 train' wrote, or a run's folder (default: the shipped model)."""
    sampler: SamplerName | None = None
    """How to draw (default: as the weights' preset says)."""
    steps: int | None = None
    """Steps of the sampler (default: as the weights' preset says)."""
    guidance: float | None = None
    """Strength of the condition; 1 is the plain conditional model (default: as the weights' preset says)."""
    candidates: int = 1
    """Best of n: candidates drawn for each picture; the network keeps the one in which it best sees what was asked."""
    samples: int = 1
    """Pictures of each condition."""
    seed: int = 0
    """The same seed gives the same pictures."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        from lab7.dataset.images import save_grid, save_png
        from lab7.pipeline import load_pipeline
        from lab7.utils.provenance import best_device

        conditions = _conditions(self.conditions)
        pipeline = load_pipeline(self.weights or shipped_dir() / "runs" / "laptop", best_device())
        images = pipeline(
            conditions,
            sampler=self.sampler,
            num_steps=self.steps,
            guidance_scale=self.guidance,
            num_candidates=self.candidates,
            samples=self.samples,
            seed=self.seed,
            progress=True,
        )
        names = [f"{index:03d}_{k}.png" for index in range(len(conditions)) for k in range(self.samples)]
        for name, image in zip(names, images, strict=True):
            save_png(image, self.out / name)
        save_grid(images, self.out / "grid.png", columns=self.samples if self.samples > 1 else 8)
        write_json(self.out / "conditions.json", conditions)
        found = {"out": str(self.out), "pictures": names, "conditions": conditions}
        tell(
            self.json,
            found,
            f"{short(self.out)}: {len(names)} pictures of {len(conditions)} conditions, grid.png",
        )
        return 0


@dataclass(frozen=True)
class JudgeCommand:
    """Count how many of the asked objects a judge finds in pictures; or train our own judge.

    Example: lab7 judge --images drawn --conditions drawn/conditions.json
    """

    images: Path | None = None
    """Folder with 000.png or 000_0.png, 000_1.png ...: one number a condition."""
    conditions: tuple[str, ...] = ()
    """The JSON file of conditions that the pictures were drawn from, or the conditions themselves."""
    weights: Path | None = None
    """A judge's file (default: data/checkpoint.pth of the course, else the shipped one). With --train: the start."""
    compare: tuple[str, str] | None = None
    """Instead: two scored runs, by name or folder; several seeds of one arm are joined by commas."""
    examine: bool = False
    """Instead: examine the judge on renders that no judge was trained on."""
    train: bool = False
    """Instead: train a judge on rendered pictures."""
    kind: Literal["resnet18", "small"] = "resnet18"
    """With --train: the course's architecture, or the second judge's."""
    out: Path | None = None
    """With --train: the file to write (default: runs/judge.safetensors). With --examine: a JSON file."""
    settings: Settings = ()
    """With --train and --examine: settings to change, such as judge_epochs=4 judge_scenes=2000."""
    seed: int = 0
    """With --train: the seed of its scenes and weights."""
    json: bool = False
    """Print one JSON document instead of lines."""

    def __call__(self) -> int:
        if self.compare:
            return self._compare(*self.compare)
        return self._train() if self.train else self._examine() if self.examine else self._count()

    def _compare(self, first: str, second: str) -> int:
        from lab7.ablation import results

        arms = [results.read_arm(text.split(",")) for text in (first, second)]
        rows = results.compare_arms(*arms)
        lines = [f"{first} against {second}: objects found, with the difference and its 95% interval"]
        for row in rows:
            told = f"{row['list']}, {row['judge']}: {row['first']:.3f} and {row['second']:.3f}, {row['told']}"
            lines.append(f"{told}: {row['verdict']}")
        needed = rows[0]["seeds_needed"]
        lines.append(
            "trainings an arm to see a difference of 2 points: "
            + (str(needed) if needed else "unknown, since no arm was trained with two seeds")
        )
        tell(self.json, rows, *lines)
        return 0

    def _examine(self) -> int:
        from lab7.judge.evaluation import examine
        from lab7.judge.networks import default_judge, load_judge
        from lab7.utils.provenance import best_device

        plan = override(get_preset("laptop"), self.settings).judge
        judge = load_judge(self.weights, best_device()) if self.weights else default_judge(best_device())
        exam = examine(judge, plan.evaluation_scenes)
        found = {"judge": judge.name, "sha256": judge.sha256, "evaluation": exam}
        if self.out:
            write_json(self.out, found)
        tell(self.json, found, f"{judge.name}: {exam['pictures']} unseen pictures of each set", *_exam_lines(exam))
        return 0

    def _train(self) -> int:
        from lab7.judge.training import train_judge
        from lab7.utils.files import runs_dir
        from lab7.utils.provenance import best_device

        plan = override(get_preset("laptop"), self.settings).judge
        out = self.out or runs_dir() / "judge.safetensors"
        record = train_judge(
            out,
            kind=self.kind,
            scenes=plan.judge_scenes,
            epochs=plan.judge_epochs,
            evaluation_scenes=plan.evaluation_scenes,
            learning_rate=plan.judge_learning_rate,
            plain_share=plan.plain_share,
            start=self.weights,
            seed=self.seed,
            device=best_device(),
        )
        exam = record["evaluation"]
        tell(self.json, record, f"{short(out)}: examined on unseen renders", *_exam_lines(exam))
        return 0

    def _count(self) -> int:
        from lab7.ablation.evaluate import count_pictures
        from lab7.judge.networks import default_judge, load_judge
        from lab7.utils.provenance import best_device

        if self.images is None or not self.conditions:
            raise UserError(
                "say --images DIR and --conditions FILE.json, or --train, --examine or --compare RUN_A RUN_B"
            )
        judge = load_judge(self.weights, best_device()) if self.weights else default_judge(best_device())
        found = count_pictures(judge, self.images, _conditions(self.conditions))
        lines = [f"{found['pictures']} pictures, {judge.name}", score_line("top-k", found["top_k"])]
        tell(self.json, found, *lines, score_line("exact", found["exact"]), ceiling_line(judge))
        return 0


def _conditions(given: Sequence[str]) -> list[list[str]]:
    """One JSON file, or one condition an argument."""
    from lab7.dataset.conditions import read_conditions
    from lab7.vocabulary import parse_condition

    if len(given) == 1 and (given[0].endswith(".json") or Path(given[0]).is_file()):
        return read_conditions(given[0])
    return [parse_condition(text) for text in given]


def _exam_lines(exam: dict[str, Any]) -> list[str]:
    return [
        score_line(f"{how} {name}", exam[how][name])
        for how in ("clean", "through_32x32", "shifted")
        for name in ("top_k", "exact")
    ]

"""The commands about pictures: `lab7 data`, `lab7 sample` and `lab7 judge`."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain, product
from typing import Annotated, Any, Literal

from tyro.conf import arg

from lab7.cli import options as opt
from lab7.config import get_preset, override
from lab7.utils.files import UserError, absolute, data_dir, plural, runs_dir, shipped_dir, short, write_json


def data(
    scenes: int = 6003,
    size: str = "64x64",
    seed: opt.SeedOption = 0,
    out: opt.OptionalPath = None,
    json: opt.Json = False,
) -> int:
    """Render synthetic pictures in the course's own layout; a second call continues where the first stopped.

    Example: lab7 data --scenes 6003 --size 64x64

    Args:
        scenes: Scenes; each gives three pictures: of its first one, two and three objects.
        size: Width x height in pixels; the course's own pictures are 320x240.
        seed: The same seed gives the same bytes.
        out: Folder to write to. The default is data/.
    """
    from lab7.dataset.layout import describe
    from lab7.dataset.synthetic import write_synthetic

    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", size)
    if not match:
        raise UserError(f"--size must be WIDTHxHEIGHT such as 64x64 or 320x240, not '{size:.50}'")
    folder = out or data_dir(new=True)
    write_synthetic(folder, scenes, (int(match[1]), int(match[2])), seed=seed, progress=True)
    counts = describe(folder)
    line = f"{short(folder)}: {plural(counts['pictures'], 'picture')} of {plural(counts['scenes'], 'scene')}"
    return opt.print_result(json, counts, line)


def sample(
    conditions: tuple[str, ...],
    out: opt.SomePath,
    weights: opt.OptionalPath = None,
    sampler: opt.OptionalSampler = None,
    steps: opt.OptionalInt = None,
    guidance: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None,
    samples: int = 1,
    seed: opt.SeedOption = 0,
    json: opt.Json = False,
) -> int:
    """Draw pictures of conditions into a folder: 000_0.png ... one a sample, and grid.png.

    Example: lab7 sample --conditions "red cube, cyan sphere" --samples 4 --out drawn

    Args:
        conditions: A JSON file of conditions, or conditions such as "red cube, cyan sphere".
        out: Folder to write to.
        weights: Weights that 'lab7 train' wrote, or a run's folder. The default is the shipped model.
        sampler: How to draw. The default is that of the weights' preset.
        steps: Steps of the sampler. The default is that of the weights' preset.
        guidance: Strength of the condition; 1 is no guidance. The default is that of the weights' preset.
        samples: Pictures of each condition.
        seed: The same seed gives the same pictures.
    """
    from lab7.dataset.drawn import write_drawn
    from lab7.pipeline import load_pipeline
    from lab7.utils.provenance import best_device

    entries = _conditions(conditions)
    pipeline = load_pipeline(weights or shipped_dir() / "runs" / "laptop", best_device())
    drawing: dict[str, Any] = {"sampler": sampler, "num_steps": steps, "guidance_scale": guidance}
    pipeline.sampling(samples=samples, **drawing)  # refuses a number out of its range
    if (total := len(entries) * samples) > 1_000_000:
        raise UserError(f"{samples} samples of each condition are {total} pictures; draw at most 1000000 at a time")

    def draw(at: int) -> Any:
        part = [entries[place // samples] for place in range(at, min(at + 256, total))]  # in memory at a time
        return pipeline(part, seed=seed, first=at, progress=True, **drawing)

    parts = map(draw, range(0, total, 256))
    names = write_drawn(out, chain([next(parts)], parts), entries, samples)  # what is refused makes no folder
    value = {"out": str(out), "pictures": names, "conditions": entries}
    line = f"{short(out)}: {plural(len(names), 'picture')} of {plural(len(entries), 'condition')}, grid.png"
    return opt.print_result(json, value, line)


def judge(
    images: opt.OptionalPath = None,
    conditions: Annotated[tuple[str, ...], arg(help_behavior_hint="")] = (),
    weights: opt.OptionalPath = None,
    compare: Annotated[tuple[str, str] | None, arg(metavar="RUN RUN", help_behavior_hint="")] = None,
    evaluate: opt.Flag = False,
    train: opt.Flag = False,
    kind: Literal["resnet18", "small"] = "resnet18",
    out: opt.OptionalPath = None,
    settings: opt.Settings = (),
    seed: opt.SeedOption = 0,
    json: opt.Json = False,
) -> int:
    """Count the objects in pictures that were drawn from conditions; or compare runs, evaluate or train a judge.

    Example: lab7 judge --images drawn

    Args:
        images: Folder with 000.png or 000_0.png, 000_1.png ...: one number a condition, from 000 on.
        conditions: What the pictures were drawn from, a JSON file or conditions. The default is the folder's own file.
        weights: A judge's file; with --train, the one to start from. The default is the course's, else the shipped one.
        compare: Compare two scored runs, by name or folder; join several seeds of one arm by commas.
        evaluate: Score the judge on renders that no judge was trained on.
        train: Train a judge on rendered pictures.
        kind: With --train: the course's architecture, or the second judge's.
        out: With --train: the file to write (default: runs/judge.safetensors). With --evaluate: a JSON file to write.
        settings: With --train and --evaluate: settings to change, such as judge_epochs=4 judge_scenes=2000.
        seed: With --train: the seed of its scenes and weights.
    """
    from lab7.dataset.drawn import CONDITIONS
    from lab7.judge.networks import default_judge, load_judge
    from lab7.utils.provenance import best_device

    modes = {"--images": images, "--compare": compare, "--evaluate": evaluate, "--train": train}
    if len(chosen := [name for name, value in modes.items() if value]) > 1:
        raise UserError(f"{' and '.join(chosen)} are different tasks; give one of them")
    preset = get_preset("laptop")
    plan = (changed := override(preset, settings)).judge
    if changed != replace(preset, judge=plan) or (settings and not (train or evaluate)):
        raise UserError(f"--set is for --train and --evaluate, and only for {', '.join(asdict(plan))}")
    if compare:
        return _compare(*compare, json)
    if train:
        from lab7.judge.training import train_judge

        path = out or runs_dir() / "judge.safetensors"
        record = train_judge(path, plan, kind=kind, seed=seed, start=weights, device=best_device())
        title = f"{short(path)}: evaluated on unseen renders"
        return opt.print_result(json, record, title, *_evaluation_lines(record["evaluation"]))
    if images and not conditions and (beside := images / CONDITIONS).exists():
        conditions = (str(beside),)
    if not evaluate and (images is None or not conditions):
        raise UserError("say --images DIR and --conditions FILE.json, or --train, --evaluate or --compare RUN RUN")
    reader = load_judge(weights, best_device()) if weights else default_judge(best_device())
    if evaluate:
        from lab7.judge.evaluation import evaluate_judge

        evaluation = evaluate_judge(reader, plan.evaluation_scenes)
        value = {"judge": reader.name, "sha256": reader.sha256, "evaluation": evaluation}
        if out:
            write_json(out, value)
        title = f"{reader.name}: {evaluation['pictures']} unseen pictures of each set"
        return opt.print_result(json, value, title, *_evaluation_lines(evaluation))

    from lab7.ablation.evaluate import count_pictures

    assert images is not None
    scores = count_pictures(reader, images, _conditions(conditions))
    lines = [f"{plural(scores['pictures'], 'picture')}, {reader.name}"]
    if left_out := scores["left_out"]:
        names = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
        lines += [f"left out, of another drawing or named otherwise: {names}"]
    lines += [opt.score_line("top-k", scores["top_k"])]
    return opt.print_result(json, scores, *lines, opt.score_line("exact", scores["exact"]), opt.ceiling_line(reader))


def _compare(first: str, second: str, json: bool) -> int:
    from lab7.ablation.results import compare_arms, find_run, read_result
    from lab7.ablation.statistics import NO_VERDICT

    rows = compare_arms(*([read_result(find_run(name)) for name in text.split(",")] for text in (first, second)))
    lines = [f"{first} against {second}: objects found, with the difference and its 95% interval"]
    line = "{list}, {judge}: {first:.3f} and {second:.3f}, {difference:+.3f} [{low:+.3f}, {high:+.3f}]: {verdict}"
    lines += [line.format(**row) for row in rows]
    if rows[0]["verdict"] in NO_VERDICT.values():
        lines += ["no verdict: it needs 3 seeds an arm, such as --compare a,a_seed1,a_seed2 b,b_seed1,b_seed2"]
    return opt.print_result(json, rows, *lines)


def _conditions(given: Sequence[str]) -> list[list[str]]:
    """One JSON file, or one condition an argument. UserError for what is neither."""
    from lab7.dataset.conditions import read_conditions
    from lab7.vocabulary import parse_condition

    if len(given) == 1 and (given[0].endswith(".json") or os.path.isfile(absolute(given[0]))):
        return read_conditions(absolute(given[0]))
    if not given:
        raise UserError("--conditions: none are given; name objects, such as 'red cube', or give a JSON file")
    try:
        return [parse_condition(text) for text in given]
    except UserError:
        for text in given:
            if re.search(r"[/\\]|\.\w+$", text) or (text and os.path.exists(absolute(text))):
                raise UserError(f"--conditions {text}: neither a file that is given alone nor a condition") from None
        raise


def _evaluation_lines(evaluation: dict[str, Any]) -> list[str]:
    shown = product(("clean", "through_32x32", "shifted"), ("top_k", "exact"))
    return [opt.score_line(f"{how} {name}", evaluation[how][name]) for how, name in shown]

"""`lab7 doctor`: what is installed, what was found, what to do if the lab cannot run; one line each."""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from lab7 import __version__
from lab7.cli.options import Json, print_result
from lab7.utils import files
from lab7.utils.files import ROOT, UserError, build_dir, data_dir, plural, runs_dir, shipped_dir, short

PYTHONS = ((3, 11), (3, 13))  # the first and the last version that lab7 is tested on
INSTALL = "run `make .venv`, or pip install -c constraints.txt -e '.[lab,dev]'"
NEEDS = {"data": 0.4, "train": 0.5, "report": 0.3}  # GB that a command writes; a quarter of what is free is no worry


@dataclass(frozen=True)
class Check:
    """One line: `ok` is True, False if the lab cannot run, None for a warning."""

    name: str
    ok: bool | None
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", None: "warn", False: "FAIL"}[self.ok]
        return f"{mark:<5} {self.name:<10} {self.text}" + (f"; {self.remedy}" if self.remedy else "")


def doctor(json: Json = False) -> int:
    """Say what is installed, which data and weights were found, and what to do if the lab cannot run.

    Example: lab7 doctor
    """
    checks = list(check())
    ok = all(one.ok is not False for one in checks)
    print_result(json, {"ok": ok, "checks": [asdict(one) for one in checks]}, *map(str, checks))
    return 0 if ok else 1


def check() -> Iterator[Check]:
    """Everything that the lab needs, in the order in which it is needed. Raises nothing."""
    yield _python()
    yield from _packages()
    yield _attempt("device", _device, INSTALL)
    yield _attempt("disk", _disk, "choose others by LAB7_DATA, LAB7_RUNS and LAB7_BUILD")
    yield _attempt("data", _data)
    yield _attempt("judge", _judge)
    yield _attempt("weights", _weights, "put it back: git checkout -- data/runs")


def _attempt(name: str, look: Callable[[], Check], remedy: str = "") -> Check:
    try:
        return look()
    except (UserError, ImportError, OSError) as error:  # OSError: a library of torch's that cannot be loaded, for one
        told = files.write_error(None, error) if isinstance(error, OSError) else error
        return Check(name, False, (str(told).splitlines() or [type(error).__name__])[0], remedy)


def _python() -> Check:
    ok, text = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1], f"{platform.python_version()} ({sys.executable})"
    return Check("python", ok, text, "" if ok else "install Python 3.11, 3.12 or 3.13 and make .venv again")


def _packages() -> Iterator[Check]:
    """lab7 itself, its dependencies, and those of the notebooks (a warning if one is missing)."""
    requirements = _ask(metadata.requires, "lab7")
    if requirements is None:
        yield Check("lab7", None, f"{__version__}, not installed: its packages were not checked", INSTALL)
        return
    yield Check("lab7", True, f"{__version__} in {ROOT}")
    for extra, name in (("", "packages"), ("lab", "notebooks")):
        wanted = list(_wanted(requirements, extra))
        fits = [_misfit(f"lab7[{extra}]" if extra else "lab7", one) for one in wanted]
        others = ((one.name, other) for one in wanted for other in _wanted(_ask(metadata.requires, one.name) or ()))
        fits += [_misfit(owner, other) for owner, other in others if _ask(metadata.version, other.name)]
        wrong = [misfit for misfit in fits if misfit]
        ok = True if not wrong else None if extra else False
        text = ", ".join(wrong or [f"{one.name} {_ask(metadata.version, one.name)}" for one in wanted])
        yield Check(name, ok, text, INSTALL if wrong else "")


def _wanted(requirements: Iterable[str], extra: str = "") -> Iterator[Requirement]:
    """The requirements of an extra; "" stands for those of the package itself."""
    for one in map(Requirement, requirements):
        if one.marker.evaluate({"extra": extra}) if one.marker else not extra:
            yield one


def _misfit(package: str, wanted: Requirement) -> str:
    """Why a package cannot have what it requires, in a few words; "" if it has it."""
    version = _ask(metadata.version, wanted.name)
    if not version:
        return f"{wanted.name} is absent"
    fits = wanted.specifier.contains(version, prereleases=True)
    return "" if fits else f"{wanted.name} {version} does not fit {package}, which needs {wanted.specifier}"


def _ask(question: Callable[[str], Any], package: str) -> Any:
    """What importlib.metadata knows of a package; None if it is not installed."""
    try:
        return question(package)
    except metadata.PackageNotFoundError:
        return None


def _device() -> Check:
    from lab7.utils.provenance import best_device, choose_precision, device_name

    device = best_device()
    return Check("device", True, f"{device}: {device_name(device)}, {os.cpu_count()} cores, {choose_precision(device)}")


def _disk() -> Check:
    """Whether each command may write its folder, and has the room; pictures that are there may be another's."""
    places = {"data": data_dir(new=True), "train": runs_dir(), "report": build_dir()}
    if (places["data"] / "train.json").exists():
        del places["data"]
    frees = {command: files.check_writable(place) for command, place in places.items()}
    text = ", ".join(f"{free:.1f} GB free for `lab7 {name}` (writes {NEEDS[name]})" for name, free in frees.items())
    least = min(free / NEEDS[name] for name, free in frees.items())
    return Check("disk", True if least >= 4 else None if least >= 1 else False, text, "" if least >= 4 else "make room")


def _data() -> Check:
    from lab7.dataset.conditions import has_labels

    folder = data_dir()
    if not has_labels(folder):
        remedy = "run `lab7 data` to render synthetic pictures (`make report` does), or see data/README.md"
        return Check("data", None, f"no pictures in {short(folder)} yet", remedy)
    from lab7.dataset.layout import describe

    counts = describe(folder)
    kind = "synthetic pictures" if counts["synthetic"] else "the course's own pictures"
    number, scenes = plural(counts["pictures"], "picture"), plural(counts["scenes"], "scene")
    return Check("data", True, f"{kind} in {short(folder)}: {number} of {scenes}")


def _judge() -> Check:
    from lab7.judge.networks import default_judge

    judge = default_judge()
    return Check("judge", True, f"{judge.name}, sha256 {judge.sha256[:12]}")


def _weights() -> Check:
    """The shipped network, loaded to see that its file is whole, and the names of the user's own runs."""
    from lab7.pipeline import load_pipeline

    pipeline = load_pipeline(shipped_dir() / "runs" / "laptop")
    own = sorted(path.parent.name for path in runs_dir().glob("*/weights.safetensors"))
    text = f"laptop ({pipeline.image_size}x{pipeline.image_size}); your own runs: {', '.join(own) or 'none'}"
    return Check("weights", True, text)

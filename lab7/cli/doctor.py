"""`lab7 doctor`: what is installed, what was found, what to do if the lab cannot run; one line each."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata

from lab7 import __version__
from lab7.cli.options import Json, print_result
from lab7.utils.files import ROOT, UserError, data_dir, runs_dir, shipped_dir, short

PYTHONS = ((3, 11), (3, 13))  # the first and the last version that lab7 is tested on
INSTALL = "run `make .venv`, or pip install -c constraints.txt -e '.[lab,dev]'"
LITTLE_DISK, NO_DISK = 2.0, 0.5  # GB free; pictures, their cache and a training run take about 1


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
    yield _disk()
    yield _attempt("data", _data)
    yield _attempt("judge", _judge)
    yield _attempt("weights", _weights, "put it back: git checkout -- data/runs")


def _attempt(name: str, look: Callable[[], Check], remedy: str = "") -> Check:
    try:
        return look()
    except (UserError, ImportError, OSError) as error:  # OSError: a library of torch's that cannot be loaded, for one
        return Check(name, False, (str(error).splitlines() or [type(error).__name__])[0], remedy)


def _python() -> Check:
    ok = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    remedy = "" if ok else "install Python 3.11, 3.12 or 3.13 and make .venv again"
    return Check("python", ok, f"{platform.python_version()} ({sys.executable})", remedy)


def _packages() -> Iterator[Check]:
    """lab7 itself, its dependencies, and those of the notebooks (a warning if one is missing)."""
    try:
        requirements = metadata.requires("lab7") or []
    except metadata.PackageNotFoundError:
        yield Check("lab7", None, f"{__version__}, not installed: its packages were not checked", INSTALL)
        return
    yield Check("lab7", True, f"{__version__} in {ROOT}")
    for extra, name in (("", "packages"), ("lab", "notebooks")):
        versions = [(package, least, _version(package)) for package, least in _parse(requirements, extra)]
        wrong = [
            f"{package} {version} is older than {least}" if version else f"{package} is absent"
            for package, least, version in versions
            if not version or _numbers(version) < _numbers(least)
        ]
        ok = True if not wrong else None if extra else False
        text = ", ".join(wrong or [f"{package} {version}" for package, _, version in versions])
        yield Check(name, ok, text, INSTALL if wrong else "")


def _parse(requirements: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """The (package, least version) of the requirements of an extra; "" stands for those of lab7 itself."""
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:\s*;\s*extra == [\"'](\w+)[\"'])?", requirement)
        if match and (match[3] or "") == extra:
            yield match[1], match[2]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers: (2, 15, 0) of "2.15.0+cu132"."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _device() -> Check:
    from lab7.utils.provenance import best_device, choose_precision, device_name

    device = best_device()
    return Check("device", True, f"{device}: {device_name(device)}, {os.cpu_count()} cores, {choose_precision(device)}")


def _disk() -> Check:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free >= LITTLE_DISK:
        return Check("disk", True, f"{free:.1f} GB free")
    ok = None if free >= NO_DISK else False
    return Check("disk", ok, f"{free:.1f} GB free in {ROOT}", f"the lab needs {LITTLE_DISK:.0f} GB")


def _data() -> Check:
    from lab7.dataset.conditions import has_labels

    folder = data_dir()
    if not has_labels(folder):
        remedy = "run `lab7 data` to render the stand-in (`make report` does), or see data/README.md"
        return Check("data", None, f"no pictures in {short(folder)} yet", remedy)
    from lab7.dataset.layout import describe

    counts = describe(folder)
    kind = "the stand-in" if counts["synthetic"] else "the course's own pictures"
    text = f"{kind} in {short(folder)}: {counts['pictures']} pictures of {counts['scenes']} scenes"
    return Check("data", True, text)


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

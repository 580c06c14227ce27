"""`lab7 doctor`: what is installed, what was found, what to do where the lab cannot run; one line each."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata

from lab7 import __version__
from lab7.utils.files import ROOT, UserError, data_dir, runs_dir, shipped_dir, short

PYTHONS = ((3, 11), (3, 13))  # the first and the last version that lab7 is tested on
RECORDED = ("laptop",)  # the runs whose weights are shipped
INSTALL = "run `make .venv`, or pip install -c constraints.txt -e '.[lab,dev]'"
LITTLE_DISK, NO_DISK = 2.0, 0.5  # GB free; pictures, their cache and a training run take about 1


@dataclass(frozen=True)
class Check:
    """One finding: `ok` is True, False where the lab cannot run, None where it can and something is amiss."""

    name: str
    ok: bool | None
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", None: "warn", False: "FAIL"}[self.ok]
        return f"{mark:<5} {self.name:<10} {self.text}" + (f"; {self.remedy}" if self.remedy else "")


def check() -> list[Check]:
    """Everything that the lab needs, looked at in the order in which it is needed. Raises nothing."""
    return [_python(), *_packages(), *_device(), _disk(), _data(), _judge(), _weights()]


def run(json: bool = False) -> int:
    """Print the checks, one line each or as one JSON document; 1 if the lab cannot run, else 0."""
    checks = check()
    good = all(found.ok is not False for found in checks)
    print(_as_json(good, checks) if json else "\n".join(map(str, checks)))
    return 0 if good else 1


def _as_json(good: bool, checks: list[Check]) -> str:
    return json.dumps({"ok": good, "checks": [asdict(found) for found in checks]}, indent=1)


def _python() -> Check:
    first, last = PYTHONS
    good = first <= sys.version_info[:2] <= last
    remedy = "" if good else "install Python 3.11, 3.12 or 3.13 and make .venv anew"
    return Check("python", good, f"{platform.python_version()} ({sys.executable})", remedy)


def _packages() -> Iterator[Check]:
    """lab7 itself, its dependencies, and those of the notebooks (whose absence is a warning)."""
    try:
        requirements = metadata.requires("lab7") or []
    except metadata.PackageNotFoundError:
        yield Check("lab7", None, f"{__version__}, not installed: its packages were not looked at", INSTALL)
        return
    yield Check("lab7", True, f"{__version__} in {ROOT}")
    for extra, name in (("", "packages"), ("lab", "notebooks")):
        found: list[str] = []
        amiss: list[str] = []
        for package, least in _parse(requirements, extra):
            version = _version(package)
            good = version is not None and _numbers(version) >= _numbers(least)
            (found if good else amiss).append(f"{package} {version or 'is absent'}")
            if version is not None and not good:
                amiss[-1] += f" is older than {least}"
        if amiss:
            yield Check(name, None if extra else False, ", ".join(amiss), INSTALL)
        else:
            yield Check(name, True, ", ".join(found))


def _parse(requirements: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """The (package, least version) of the requirements of an extra; "" stands for those of lab7 itself."""
    for requirement in requirements:
        found = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:\s*;\s*extra == [\"'](\w+)[\"'])?", requirement)
        if found and (found[3] or "") == extra:
            yield found[1], found[2]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers: (2, 15, 0) of "2.15.0+cu132"."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _device() -> Iterator[Check]:
    try:
        from lab7.utils.provenance import best_device, choose_precision, device_name
    except (ImportError, OSError) as error:  # OSError: a library of torch's that cannot be loaded
        yield Check("device", False, f"torch does not load ({_first_line(error)})", INSTALL)
        return
    device = best_device()
    yield Check("device", True, f"{device}: {device_name(device)}, {os.cpu_count()} cores")
    precision = choose_precision(device)
    why = "in hardware" if precision == "bf16" else "no bf16 in hardware"
    yield Check("precision", True, f"{precision} ({why})")


def _disk() -> Check:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free >= LITTLE_DISK:
        return Check("disk", True, f"{free:.1f} GB free")
    good = None if free >= NO_DISK else False
    return Check("disk", good, f"{free:.1f} GB free in {ROOT}", f"free some: the lab needs {LITTLE_DISK:.0f} GB")


def _data() -> Check:
    folder = data_dir()
    if not (folder / "train.json").exists():
        remedy = "run `lab7 data` to render the stand-in (`make report` does), or see data/README.md"
        return Check("data", None, f"no pictures in {short(folder)} yet", remedy)
    try:
        from lab7.dataset.layout import describe

        found = describe(folder)
    except (UserError, ImportError, OSError) as error:
        return Check("data", False, _first_line(error))
    kind = "the stand-in" if found["synthetic"] else "the course's own pictures"
    return Check("data", True, f"{kind} in {short(folder)}: {found['pictures']} pictures of {found['scenes']} scenes")


def _judge() -> Check:
    try:
        from lab7.judge.networks import default_judge

        judge = default_judge()
    except (UserError, ImportError, OSError) as error:
        return Check("judge", False, _first_line(error))
    return Check("judge", True, f"{judge.name}, sha256 {judge.sha256[:12]}")


def _weights() -> Check:
    """The recorded runs, read for a proof that they are whole, and the names of the user's own."""
    found = []
    try:
        from lab7.pipeline import load_pipeline

        for name in RECORDED:
            preset = load_pipeline(shipped_dir() / "runs" / name).preset
            size = preset.data.image_size
            network = "efficient" if preset.model.network == "efficient" else f"F = {preset.model.n_feature}"
            found.append(f"{name} ({network}, {size}x{size})")
    except (UserError, ImportError, OSError) as error:
        return Check("weights", False, _first_line(error), "put it back: git checkout -- data/runs")
    own = sorted(path.parent.name for path in runs_dir().glob("*/weights.safetensors"))
    return Check("weights", True, f"{', '.join(found)}; your own runs: {', '.join(own) or 'none'}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

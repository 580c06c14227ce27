"""The install: one set of dependencies in all files, what the Makefile promises, what an import needs."""

import itertools
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import lab7
from lab7.ablation.results import arm_rows, read_arms
from lab7.cli import doctor
from lab7.cli.main import COMMANDS
from lab7.utils.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = [Requirement(text) for text in itertools.chain(PROJECT["dependencies"], *EXTRAS.values())]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def test_constraints_hold_versions_alone():
    assert [line for line in PINS if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    names = [line.partition("==")[0] for line in PINS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("wanted", DEPENDENCIES, ids=lambda wanted: wanted.name)
def test_every_dependency_is_pinned_within_its_bound(wanted):
    pins = dict(line.split("==") for line in PINS)
    assert wanted.name in pins and wanted.specifier.contains(pins[wanted.name])


def test_conda_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert python == f"python {PROJECT['requires-python']}" and pip == "pip"
    assert by_pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(EXTRAS)}]"]}


def test_one_range_of_pythons_everywhere():
    allowed = SpecifierSet(PROJECT["requires-python"])
    fits = re.search(r"not (\(3, \d+\)) <= sys.version_info\[:2\] <= (\(3, \d+\))", read("Makefile"))
    assert fits and fits.groups() == tuple(map(str, doctor.PYTHONS))
    for minor in range(9, 16):
        assert allowed.contains(f"3.{minor}.0") == (doctor.PYTHONS[0] <= (3, minor) <= doctor.PYTHONS[1])


def test_pyproject_gives_a_reason_for_every_dependency():
    reasons = dict(
        re.findall(r'^    "([\w-]+)>=.*", # (\S.*)$', re.sub(" +#", " #", read("pyproject.toml")), re.MULTILINE)
    )
    assert [wanted.name for wanted in DEPENDENCIES if wanted.name not in reasons] == []


def test_the_readme_leads_to_what_is_there():
    readme = read("README.md")
    assert {"make report", "make test"} <= {line.split("#")[0].strip() for line in readme.splitlines()}
    links = re.findall(r"\]\((?!http)([^)]+)\)", readme)
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []
    places = re.findall(r"\| [^|]*?((?:`\w+`[^|`]*)+) in \[`(lab7/[\w/]+\.py)`\]", readme)
    assert len(places) >= 6
    for names, path in places:
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^ *(?:def )?{name}\b", read(path), re.MULTILINE), f"{path} has no {name}"


def test_the_readme_names_every_room_and_every_module_at_the_top():
    names = {path.stem for path in (ROOT / "lab7").iterdir() if path.stem[0] not in "_."}
    assert [name for name in names if f"`{name}`" not in read("README.md")] == []


def test_the_readme_shows_every_command():
    assert [name for name in COMMANDS if f"lab7 {name}" not in read("README.md")] == []


def test_no_tracked_file_names_a_package_registry():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("which files are tracked is known in a git checkout alone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    hosts = re.compile(
        "|".join(["py" + r"pi\.org", "python" + "hosted", "download.py" + "torch", "anaconda" + r"\.org"])
    )
    texts = {name: (ROOT / name).read_bytes() for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    assert [name for name, text in texts.items() if hosts.search(text.decode("utf-8", "ignore"))] == []


def test_only_the_report_and_the_widgets_load_the_notebooks_packages():
    needs_them = {"report", "widgets"}
    modules = {f"lab7.{module.name}" for module in pkgutil.iter_modules(lab7.__path__) if module.name not in needs_them}
    unwanted = {
        *("IPython", "diffusers", "hypothesis", "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core"),
        *("jupyterlab", "nbclient", "nbconvert", "nbformat", "papermill", "pytest", "typst"),
    }
    code = f"import sys, {', '.join(modules)}; print(*sorted({unwanted!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == []


# The Makefile, run for real with a Python that only notes what it is asked.

PRETENDED = """#!/bin/sh
echo "$@" >> "{log}"
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") exit ${{PIP_EXIT:-0}} ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A folder with the Makefile, and run(target, **variables) in it, where there is no uv."""
    if not shutil.which("make"):
        pytest.skip("there is no make here")
    folder, tools, log = tmp_path / "a folder", tmp_path / "tools", tmp_path / "log"
    folder.mkdir()
    tools.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("cp", "find", "mkdir", "rm", "sh", "touch"):
        (tools / name).symlink_to(str(shutil.which(name)))
    script(tools / "python3", PRETENDED.format(log=log))

    def run(target, **variables):
        log.write_text("")
        done = subprocess.run(
            [str(shutil.which("make")), target],
            cwd=folder,
            env={"PATH": str(tools)} | variables,
            capture_output=True,
            text=True,
        )
        asked = [line for line in log.read_text().splitlines() if not line.startswith("-c")]
        return done.returncode, asked, done.stdout + done.stderr

    return folder, run


def test_make_installs_the_pinned_versions_once(project):
    _, run = project
    code, asked, _ = run(".venv/.installed")
    assert code == 0 and asked == ["-m venv .venv", "-m pip install -c constraints.txt -e .[lab,dev]"]
    assert run(".venv/.installed")[:2] == (0, [])


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_make_brings_an_old_install_up_to_date_in_place(project, changed):
    folder, run = project
    run(".venv/.installed")
    (folder / ".venv" / "kept").touch()
    later = (folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(folder / changed, (later, later))
    code, asked, _ = run(".venv/.installed")
    assert code == 0 and asked == ["-m pip install -c constraints.txt -e .[lab,dev]"]
    assert (folder / ".venv" / "kept").exists()


def test_an_install_that_failed_is_begun_anew(project):
    folder, run = project
    assert run(".venv/.installed", PIP_EXIT="3")[0] != 0
    (folder / ".venv" / "half").touch()
    code, asked, _ = run(".venv/.installed")
    assert code == 0 and asked[0] == "-m venv .venv"
    assert not (folder / ".venv" / "half").exists()


def test_uv_is_used_where_there_is_one(project, tmp_path):
    _, run = project
    log = tmp_path / "uv.log"
    script(tmp_path / "tools" / "uv", f'#!/bin/sh\necho "$@" >> "{log}"\nmkdir -p .venv\n')
    code, asked, _ = run(".venv/.installed")
    assert code == 0 and asked == []
    assert log.read_text().splitlines() == [
        "venv --quiet --seed --python python3 .venv",
        "pip install --python .venv/bin/python -c constraints.txt -e .[lab,dev]",
    ]


def test_no_python_that_fits_is_told_in_one_line(project, tmp_path):
    folder, run = project
    script(tmp_path / "tools" / "python3", "#!/bin/sh\nexit 1\n")
    code, _, printed = run("report")
    lines = [line for line in printed.splitlines() if not line.startswith("make: ***")]
    assert code != 0 and len(lines) == 1 and "lab7 needs Python 3.11, 3.12 or 3.13" in lines[0]
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3.13"])
def test_a_fitting_python_beside_an_old_one_is_found(project, tmp_path, name):
    _, run = project
    tools = tmp_path / "tools"
    (tools / "python3").rename(tools / name)
    script(tools / "python3", "#!/bin/sh\nexit 1\n")
    assert run(".venv/.installed")[:2] == (
        0,
        ["-m venv .venv", "-m pip install -c constraints.txt -e .[lab,dev]"],
    )


def test_clean_keeps_what_is_the_users(project):
    folder, run = project
    kept = ["data/iclevr/a.png", "data/train.json", "runs/mine/weights.safetensors", "figures/fig01.png"]
    built = [
        "build/report.pdf",
        "data/cache/a.npy",
        "lab7/__pycache__/a.pyc",
        "notebooks/.ipynb_checkpoints/a",
    ]
    for name in [*kept, *built, "tests/a.py", "benchmarks/a.py"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    code, _, printed = run("clean")
    assert code == 0 and "Kept: " in printed
    assert all((folder / name).exists() for name in kept)
    assert not any((folder / name).exists() for name in built)


@pytest.mark.parametrize("target", ["report", "test", "figures", "lab"])
def test_every_target_makes_the_environment_first(project, target):
    _, run = project
    assert run(target)[1][:1] == ["-m venv .venv"]


@pytest.mark.parametrize(
    ("refuses", "checkpoint", "used"),
    [(False, False, "data"), (True, False, "build/test/data"), (False, True, "build/test/data")],
)
def test_the_tests_read_the_stand_in_whatever_is_in_data(project, tmp_path, refuses, checkpoint, used):
    folder, run = project
    run(".venv/.installed")
    (folder / "data").mkdir()
    if checkpoint:
        (folder / "data" / "checkpoint.pth").touch()
    programs, calls, data = folder / ".venv" / "bin", tmp_path / "calls", tmp_path / "data"
    for name in ("ruff", "mypy"):
        script(programs / name, "#!/bin/sh\n")
    refused = "data" if refuses else "none"
    script(programs / "lab7", f'#!/bin/sh\necho "$@" >> "{calls}"\n[ "$3" != {refused} ]\n')
    note = f'[ "$2" != pytest ] || echo "$LAB7_DATA" > "{data}"\n'
    script(programs / "python", PRETENDED.format(log=tmp_path / "log") + note)
    code, asked, _ = run("test", LAB7_DATA="elsewhere")
    spread = "-n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder"
    assert code == 0 and asked == [f"-m pytest --nbval {spread} --durations=10 notebooks tests"]
    assert data.read_text() == f"{folder / used}\n"
    assert calls.read_text().splitlines()[-1] == f"data --out {used}"


@pytest.mark.parametrize(("closing", "code"), [("== 3 passed in 0.10s ==", 0), ("== 1 failed in 0.10s ==", 1)])
def test_ci_ends_with_the_closing_line_of_pytest(tmp_path, closing, code):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "Makefile").write_text(f"test:\n\t@echo {closing!r} && exit {code}\n")
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True)
    assert (done.returncode != 0) == (code != 0)
    assert done.stdout.splitlines()[-1] == closing


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def script(path: Path, text):
    """An executable file; one that is a link is replaced, not written through."""
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize("run", ["report_up_down", "report_up", "laptop"])
def test_accuracies_in_the_readme_are_those_of_the_recorded_trainings(run):
    (row,) = (line for line in read("README.md").splitlines() if f"(`{run}`)" in line)
    scores = {scored["list"]: scored for scored in arm_rows(read_arms(ROOT / "data" / "runs", [run]))}
    for name in ("test", "new_test"):
        assert "{accuracy:.3f} [{low:.3f}, {high:.3f}]".format(**scores[name]) in row

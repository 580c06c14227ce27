"""The notebooks in a real JupyterLab and browser: opened, run whole, each control moved by mouse and keyboard.

One module, so that all tests share one server, one page, and the notebooks that were run in it. They run where
LAB7_BROWSER=1 asks for them; they need a chromium and the package playwright.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab7.utils.files import ROOT, data_dir

if not os.environ.get("LAB7_BROWSER"):
    pytest.skip("set LAB7_BROWSER=1 to try the notebooks in a browser", allow_module_level=True)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SHORTER = {  # what takes long is checked elsewhere: here it matters that all cells run in a browser
    "04_training": {"live_steps": 1000, "resume_steps": 6, "trainings": 2},  # 1000: until Stop is pressed
    "05_sampling": {"denoising_steps": 8},
    "08_own_network": {"pictures": 4},
}
ORDER = ("04_training", "05_sampling", "08_own_network", "02_unet", "07_judge", "06_ablation", "03_schedule", "01_data")
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
MOVED = 10_000  # milliseconds in which a picture must have changed; benchmarks/widgets.py measures how long it takes
RUN = 240_000  # in which a notebook must have run

IN_PAGE = """
window.lab = {
  panel: name => [...jupyterapp.shell.widgets('main')].find(one => one.context?.path === name + '.ipynb'),
  open: async name => {
    const panel = await jupyterapp.commands.execute('docmanager:open', {path: name + '.ipynb'});
    await panel.context.ready; await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info;
  },
  activate: async name => {
    const panel = lab.panel(name);
    jupyterapp.shell.activateById(panel.id);
    while (jupyterapp.shell.currentWidget !== panel || !panel.node.contains(document.activeElement))
      await new Promise(done => setTimeout(done, 50));
    return panel;
  },
  run: async name => {
    await lab.activate(name);
    lab[name] = false;
    jupyterapp.commands.execute('notebook:run-all-cells').then(() => { lab[name] = true });
  },
  show: async (name, id) => {
    const notebook = (await lab.activate(name)).content;
    const index = notebook.widgets.findIndex(cell => cell.model.id === id);
    notebook.activeCellIndex = index;
    notebook.widgets[index].node.setAttribute('data-cell', id);
    for (let times = 0; times < 3; times++) {  // what comes into view may grow and push the cell away
      notebook.widgets[index].outputArea.node.scrollIntoView({block: 'center'});
      await new Promise(done => setTimeout(done, 100));
    }
  },
  cells: name => lab.panel(name).content.model.toJSON().cells,
};
"""


def chromium() -> str:
    """The browser; without one the tests are skipped, or fail in CI."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "no Chromium was found: install one (Debian: apt-get install chromium), see `lab7 doctor`"
        )
    return found


def copy_notebooks(folder: Path) -> None:
    """The notebooks with shorter parameters, and the metadata that JupyterLab writes with this Python."""
    folder.mkdir()
    for name in NAMES:
        content = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        content["metadata"]["language_info"]["version"] = sys.version.split()[0]
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        cell = next(cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", []))
        text = "".join(cell["source"])
        for key, value in SHORTER.get(name, {}).items():
            text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.MULTILINE)
            assert count == 1, f"{name} has no parameter {key}"
        cell["source"] = text.splitlines(keepends=True)
        (folder / f"{name}.ipynb").write_text(
            json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="module")
def address(place) -> Iterator[str]:
    """A JupyterLab of this environment on a copy of the notebooks; all that it writes stays in `place`."""
    copy_notebooks(place / "notebooks")
    own = {f"JUPYTER_{name}_DIR": str(place / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(place / name) for name in ("SETTINGS", "WORKSPACES")}
    own |= {f"LAB7_{name}": str(place / name) for name in ("BUILD", "RUNS", "FIGURES")} | {"LAB7_DATA": str(data_dir())}
    own |= {"IPYTHONDIR": str(place / "ipython"), "TMPDIR": str(place / "tmp"), "OMP_NUM_THREADS": "1"}
    own |= {"JUPYTER_PATH": f"{sys.prefix}/share/jupyter", "JUPYTER_PREFER_ENV_PATH": "1"}
    (place / "tmp").mkdir()
    news = place / "SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')  # no question, and no request to the network
    port = free_port()
    options = [
        f"--port={port}",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        "--ServerApp.port_retries=0",
    ]
    options += [
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=",
        f"--ServerApp.root_dir={place / 'notebooks'}",
    ]
    with (place / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=os.environ | own, stdout=log, stderr=log
        )
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < until, (place / "log").read_text()[-2000:]
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def page(place) -> Iterator[Any]:
    """One page with JupyterLab in it."""
    browser = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(place / "profile"),
            executable_path=browser,
            headless=True,
            args=FLAGS,
            viewport={"width": 1300, "height": 1000},
        )
        yield context.pages[0]
        context.close()


@pytest.fixture(scope="module")
def lab(page, address) -> Any:
    page.goto(f"{address}/lab?reset", timeout=60_000)
    page.wait_for_function("window.jupyterapp", timeout=60_000)
    page.evaluate("() => jupyterapp.restored")
    page.evaluate(IN_PAGE)
    return page


def test_opening_a_notebook_changes_nothing(lab, place):
    before = {path.name: path.read_bytes() for path in (place / "notebooks").iterdir()}
    for name in NAMES:
        lab.evaluate("name => lab.open(name)", name)
    lab.wait_for_timeout(500)
    assert [name for name in NAMES if lab.evaluate("name => lab.panel(name).context.model.dirty", name)] == []
    after = {path.name: path.read_bytes() for path in (place / "notebooks").glob("*.ipynb")}
    assert before == after


@pytest.fixture(scope="module")
def start(lab) -> Any:
    """Begin to run a notebook whole, unless it runs already."""
    started = set()

    def begin(name: str) -> None:
        if name not in started:
            started.add(name)
            lab.evaluate("name => lab.run(name)", name)

    return begin


def test_a_training_is_watched_and_stopped(lab, start):
    start(ORDER[0])
    start(ORDER[1])
    control = show(lab, "04_training", "nb04-live-code")
    control.get_by_role("status").get_by_text(re.compile(r"step \d+ of 1000, loss .*s left")).wait_for(timeout=RUN)
    picture_changes(lab, control, lambda: None)
    control.get_by_role("button", name="Stop").click()
    control.get_by_role("status").get_by_text("stopped").wait_for(timeout=RUN)


@pytest.mark.parametrize("name", ORDER)
def test_a_notebook_runs_whole(lab, start, name):
    for one in ORDER[: ORDER.index(name) + 2]:  # the next one runs beside it
        start(one)
    lab.wait_for_function("name => lab[name]", arg=name, timeout=RUN)
    cells = [cell for cell in lab.evaluate("name => lab.cells(name)", name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    wrong = [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"]
    assert wrong == []
    assert lab.locator(".jp-Dialog").count() == lab.get_by_text("Error displaying widget").count() == 0


def show(lab, name: str, cell: str) -> Any:
    """Scroll to a cell that shows a control; returns its first output."""
    lab.evaluate("([name, cell]) => lab.show(name, cell)", [name, cell])
    output = lab.locator(f"[data-cell={cell}] .jp-OutputArea-output").first
    output.locator("img[alt]").wait_for(timeout=RUN)
    return output


def picture_changes(lab, control, act) -> None:
    """Do something that must change the control's picture within MOVED."""
    assert control.locator("img").get_attribute("alt")
    before = control.locator("img").get_attribute("src")
    act()
    changed = "([control, before]) => control.querySelector('img').getAttribute('src') !== before"
    lab.wait_for_function(changed, arg=[control.element_handle(), before], timeout=MOVED)


def press(control, key: str, slider: int = 0) -> None:
    control.locator(".noUi-handle").nth(slider).press(key)


def click_on_track(lab, control, share: float, slider: int = 0) -> None:
    box = control.locator(".noUi-base").nth(slider).bounding_box()
    lab.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)


@pytest.mark.parametrize(
    ("name", "cell", "slider"),
    [
        ("01_data", "nb01-26", 0),
        ("03_schedule", "nb03-28", 0),
        ("03_schedule", "nb03-28", 1),
        ("04_training", "nb04-scrubber", 0),
        ("05_sampling", "nb05-walk-code", 0),
    ],
)
def test_a_slider_changes_its_picture(lab, name, cell, slider):
    control = show(lab, name, cell)
    picture_changes(lab, control, lambda: click_on_track(lab, control, 0.4, slider))
    picture_changes(lab, control, lambda: press(control, "ArrowRight", slider))
    picture_changes(lab, control, lambda: press(control, "ArrowLeft", slider))


@pytest.mark.parametrize(("name", "cell"), [("01_data", "nb01-26"), ("03_schedule", "nb03-28")])
def test_a_choice_changes_its_picture(lab, name, cell):
    control = show(lab, name, cell)
    picture_changes(lab, control, lambda: control.locator("select").first.select_option(index=3))
    control.locator("select").first.focus()

    def choose_by_keyboard() -> None:
        for key in ("Space", "ArrowUp", "Enter"):  # without the space the arrow is JupyterLab's own shortcut
            lab.keyboard.press(key)

    picture_changes(lab, control, choose_by_keyboard)


@pytest.mark.parametrize(("name", "cell"), [("04_training", "nb04-scrubber"), ("05_sampling", "nb05-walk-code")])
def test_a_walk_is_stepped_and_played(lab, name, cell):
    control = show(lab, name, cell)
    press(control, "Home")
    picture_changes(lab, control, lambda: control.get_by_role("button", name="step on").click())
    picture_changes(lab, control, lambda: control.get_by_role("button", name="step back").press("Enter"))
    play = control.locator(".widget-play button").first
    picture_changes(lab, control, play.click)
    play.click()


def test_a_scene_is_composed(lab, place):
    control = show(lab, "05_sampling", "nb05-compose-code")
    draw, stop, save = (control.get_by_role("button", name=name) for name in ("Draw", "Stop", "Save as PNG"))
    status = control.get_by_role("status")
    control.locator("select").first.select_option("yellow")
    picture_changes(lab, control, lambda: draw.press("Enter"))  # the preview
    status.get_by_text(re.compile(r"drawn with .* scene = .'yellow cube', 'cyan sphere'")).wait_for(timeout=RUN)
    assert "yellow cube, cyan sphere. The judge reads" in control.locator("img").get_attribute("alt")
    save.click()
    status.get_by_text("saved as").wait_for(timeout=MOVED)
    assert [path.suffix for path in (place / "BUILD" / "scenes").iterdir()] == [".png"]
    press(control, "ArrowRight", slider=-1)  # another seed
    draw.click()
    stop.click()
    status.get_by_text("stopped").wait_for(timeout=MOVED)
    assert draw.is_enabled() and stop.is_disabled()


def test_a_run_leaves_nothing_behind(place):
    assert [path.name for path in (place / "tmp").iterdir() if not path.name.startswith("torchinductor")] == []
    assert {path.name for path in (place / "BUILD").iterdir()} <= {"scenes", "quick"}
    assert not (place / "RUNS").exists()

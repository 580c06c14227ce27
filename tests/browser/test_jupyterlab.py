"""The notebooks in a real JupyterLab and browser: opened, run whole, each control moved by mouse and keyboard.

One module, so that all tests share one server and one page. The notebooks are opened, run, used and closed one after
the other. Without a Chromium or the package playwright the tests are skipped; in CI they fail.
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
from browsers import find_chromium

from lab7.utils.files import ROOT, data_dir

SHORTER = {  # what takes long is checked elsewhere: here it matters that all cells run in a browser
    "02_unet": {"first_seeds": 1, "first_steps": 10},
    "04_training": {"live_steps": 1000, "resume_steps": 6, "trainings": 2},  # 1000: until Stop is pressed
    "05_sampling": {"denoising_steps": 8, "per_list": 4},
    "07_judge": {"scenes": 4, "per_list": 4},
    "08_own_network": {"pictures": 4},
}
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
MOVED = 20_000  # milliseconds in which a picture must have changed; benchmarks/widgets.py measures how long it takes
RUN = 300_000  # in which a notebook must have run

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
    lab.running = jupyterapp.commands.execute('notebook:run-all-cells');
  },
  ran: milliseconds => Promise.race([
    lab.running,
    new Promise((_, fail) => setTimeout(() => fail(Error('the notebook still runs')), milliseconds)),
  ]),
  close: async name => {
    const panel = lab.panel(name);
    await panel.sessionContext.shutdown();
    panel.dispose();
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
    shutil.copytree(place / "notebooks", place / "before")
    own = {f"JUPYTER_{name}_DIR": str(place / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(place / name) for name in ("SETTINGS", "WORKSPACES")}
    own |= {f"LAB7_{name}": str(place / name) for name in ("BUILD", "RUNS")} | {"LAB7_DATA": str(data_dir())}
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
def lab(page, address) -> Any:
    page.context.set_default_timeout(MOVED)
    page.goto(f"{address}/lab?reset", timeout=RUN)
    page.wait_for_function("window.jupyterapp", timeout=RUN)
    page.evaluate("() => jupyterapp.restored")
    page.evaluate(IN_PAGE)
    return page


def show(lab, name: str, cell: str) -> Any:
    """Scroll to a cell that shows a control; returns its first output."""
    lab.evaluate("([name, cell]) => lab.show(name, cell)", [name, cell])
    output = lab.locator(f"[data-cell={cell}] .jp-OutputArea-output").first
    output.locator("img[alt]").wait_for(timeout=RUN)
    return output


def picture_changes(lab, control, act=lambda: None) -> None:
    """Do something that must change the control's picture within MOVED."""
    assert control.locator("img").get_attribute("alt")
    before = control.locator("img").get_attribute("src")
    act()
    changed = "([control, before]) => control.querySelector('img').getAttribute('src') !== before"
    lab.wait_for_function(changed, arg=[control.element_handle(), before], timeout=MOVED, polling=50)


def press(control, key: str, slider: int = 0) -> None:
    control.locator(".noUi-handle").nth(slider).press(key)


def move(lab, control, slider: int = 0) -> None:
    """A slider: a click on its track, an arrow key and the other."""
    box = control.locator(".noUi-base").nth(slider).bounding_box()
    middle = box["y"] + box["height"] / 2
    picture_changes(lab, control, lambda: lab.mouse.click(box["x"] + 0.4 * box["width"], middle))
    picture_changes(lab, control, lambda: press(control, "ArrowRight", slider))
    picture_changes(lab, control, lambda: press(control, "ArrowLeft", slider))


def move_second(lab, control) -> None:
    move(lab, control, slider=1)


def choose(lab, control) -> None:
    """A list of choices: with the mouse, then with the keyboard."""
    choices = control.locator("select").first
    picture_changes(lab, control, lambda: choices.select_option(index=3))
    choices.focus()

    def by_keyboard() -> None:
        for key in ("Space", "ArrowUp", "Enter"):  # without the space the arrow is JupyterLab's own shortcut
            lab.keyboard.press(key)

    picture_changes(lab, control, by_keyboard)


def step_and_play(lab, control) -> None:
    """The buttons of a walk that does not stand at its beginning."""
    picture_changes(lab, control, lambda: press(control, "Home"))
    picture_changes(lab, control, lambda: control.get_by_role("button", name="step on").click())
    picture_changes(lab, control, lambda: control.get_by_role("button", name="step back").press("Enter"))
    play = control.locator(".widget-play button").first
    picture_changes(lab, control, play.click)
    play.click()


def watch_and_stop_a_training(lab, control) -> None:
    status = control.get_by_role("status")
    status.get_by_text(re.compile(r"step \d+ of 1000, loss .*s left")).wait_for(timeout=RUN)
    picture_changes(lab, control)
    control.get_by_role("button", name="Stop").click()
    status.get_by_text("stopped").wait_for(timeout=RUN)


def compose_a_scene(lab, control, folder: Path) -> None:
    draw, stop, save = (control.get_by_role("button", name=name) for name in ("Draw", "Stop", "Save as PNG"))
    status = control.get_by_role("status")
    control.locator("select").first.select_option("yellow")
    picture_changes(lab, control, lambda: draw.press("Enter"))  # the preview
    status.get_by_text(re.compile(r"drawn with .* scene = .'yellow cube', 'cyan sphere'")).wait_for(timeout=RUN)
    assert "yellow cube, cyan sphere. The judge reads" in control.locator("img").get_attribute("alt")
    save.click()
    status.get_by_text("saved as").wait_for()
    assert [path.name for path in folder.iterdir()] == ["yellow_cube_cyan_sphere_seed_0.png"]
    press(control, "ArrowRight", slider=-1)  # another seed
    draw.click()
    stop.click()
    status.get_by_text("stopped").wait_for()
    assert draw.is_enabled() and stop.is_disabled()


CONTROLS = {
    "01_data": {"nb01-26": (move, choose)},
    "03_schedule": {"nb03-28": (move, move_second, choose)},
    "04_training": {"nb04-scrubber": (move, step_and_play)},
    "05_sampling": {"nb05-walk-code": (move, step_and_play)},
}


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_a_browser_the_tests_are_skipped_but_fail_in_ci(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(outcome, match=r"apt-get install chromium\)$"):
        find_chromium()


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_opened_run_and_used(lab, place, name):
    """Opening it changes nothing, it runs whole without a word of an error, its controls move; then its kernel ends."""
    lab.evaluate("name => lab.open(name)", name)
    lab.wait_for_timeout(500)
    assert not lab.evaluate("name => lab.panel(name).context.model.dirty", name)
    assert (place / "notebooks" / f"{name}.ipynb").read_bytes() == (place / "before" / f"{name}.ipynb").read_bytes()

    lab.evaluate("name => lab.run(name)", name)
    if name == "04_training":
        watch_and_stop_a_training(lab, show(lab, name, "nb04-live-code"))
    lab.evaluate("milliseconds => lab.ran(milliseconds)", RUN)
    cells = [cell for cell in lab.evaluate("name => lab.cells(name)", name) if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"] == []
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert lab.locator(".jp-Dialog").count() == lab.get_by_text("Error displaying widget").count() == 0

    for cell, uses in CONTROLS.get(name, {}).items():
        control = show(lab, name, cell)
        for use in uses:
            use(lab, control)
    if name == "05_sampling":
        compose_a_scene(lab, show(lab, name, "nb05-compose-code"), place / "BUILD" / "scenes")
    lab.evaluate("name => lab.close(name)", name)


def test_a_run_leaves_nothing_behind(lab, place):
    assert [path.name for path in (place / "tmp").iterdir() if not path.name.startswith("torchinductor")] == []
    assert {path.name for path in (place / "BUILD").iterdir()} <= {"scenes", "quick"}
    assert not (place / "RUNS").exists()

"""For maintainers (`make figures`): renew figures/ and the outputs in notebooks/ from a run of `quick`."""

import shutil

import nbformat

from benchmarks.common import run
from lab7.ablation.workspace import open_workspace
from lab7.report import build
from lab7.utils.files import ROOT


def main() -> None:
    """Make the report with the defaults, then store its figures, tables and the notebooks' outputs."""
    records, figures = build.run()["notebooks"], open_workspace("quick").figures
    for record in records:
        path = ROOT / "notebooks" / f"{record['name']}.ipynb"
        content, executed = (nbformat.read(file, as_version=4) for file in (path, record["executed"]))
        for cell, done in zip(content.cells, executed.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
                for output in cell.outputs:  # a widget is nothing without its kernel
                    output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        nbformat.write(content, path)
    made = {name for record in records for name in record["figures"] if not name.endswith(".svg")}
    for path in (ROOT / "figures").glob("*"):
        if path.name not in made:
            path.unlink()
    for name in made:
        shutil.copy(figures / name, ROOT / "figures")


if __name__ == "__main__":
    run(main)

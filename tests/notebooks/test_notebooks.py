"""The committed notebooks: what their sources give, run again, run otherwise, readable everywhere."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from tests.notebooks import runs
from widgets import authoring
from widgets.server import outputs, picture_of

SOURCES = authoring.sources()
CHAPTERS = [path for path in SOURCES if path.stem[:2] != "00"]
#: Bytes a notebook may have: Binder and GitHub show more than this slowly or not at all.
LARGEST = 3_000_000
#: From this value on a parameter is a size; small runs have a tenth of it.
SIZE = 1_000

each_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
each_chapter = pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)


def load(source: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(source.with_suffix(".ipynb").read_text("utf-8"))
    return notebook


def parameters(source: Path) -> dict[str, Any]:
    """Return the defaults of a chapter's ``parameters`` cell."""
    found = papermill.inspect_notebook(str(source.with_suffix(".ipynb")))
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def test_notebooks_are_found() -> None:
    assert "05_caching" in [path.stem for path in CHAPTERS]
    written = {path.stem for path in authoring.NOTEBOOKS.glob("*.ipynb")}
    assert written <= {path.stem for path in SOURCES}, "a notebook without a source"


@each_notebook
def test_stored_as_it_should_be(source: Path) -> None:
    assert authoring.drift(source, fast=True) == []
    nbformat.validate(nbformat.read(source.with_suffix(".ipynb"), as_version=4))
    assert source.with_suffix(".ipynb").stat().st_size < LARGEST


@each_notebook
@pytest.mark.needs("chromium")
def test_is_what_its_source_gives(source: Path) -> None:
    done = runs.check(source.stem, authoring.ROOT)
    assert (done.status, done.said) == (0, "1 notebooks agree with their sources\n"), done.said


@each_notebook
def test_text_outputs_come_again(source: Path) -> None:
    code = [cell for cell in load(source)["cells"] if cell["cell_type"] == "code"]
    found = runs.nbval(source.with_suffix(".ipynb"))
    assert found.cells == len(code) > 0, found.said
    assert found.different == 0, found.said


@each_chapter
def test_chapter_has_parameters_and_conclusions(source: Path) -> None:
    defaults = parameters(source)
    assert defaults.get("seed") == 1
    assert any(isinstance(value, int) and value >= SIZE for value in defaults.values()), "no size to vary"
    assert len(runs.conclusions(load(source))) > 0, "no conclusion that another seed could refute"


@each_chapter
@pytest.mark.parametrize("other", ["seed 2", "seed 3", "small"])
def test_conclusions_hold_otherwise(source: Path, other: str, tmp_path: Path) -> None:
    if other == "small":
        changed = {
            name: value // 10
            for name, value in parameters(source).items()
            if isinstance(value, int) and not isinstance(value, bool) and name != "seed" and value >= SIZE
        }
    else:
        changed = {"seed": int(other.removeprefix("seed "))}
    done = runs.papermill(source.with_suffix(".ipynb"), tmp_path, changed)
    assert done.status == 0, done.said
    # papermill injects a cell of its own; the others ran to the end.
    ran = nbformat.read(tmp_path / f"{source.stem}.ipynb", as_version=4)
    assert all(cell.execution_count for cell in ran.cells if cell.cell_type == "code" and cell.source.strip())


@each_notebook
def test_reads_well_as_a_page(source: Path) -> None:
    from nbconvert import HTMLExporter

    stored = load(source)
    page, _ = HTMLExporter().from_filename(str(source.with_suffix(".ipynb")))
    shown = [output for output in outputs(stored) if picture_of(output)]
    assert page.count('src="data:image/png;base64,') >= len(shown)
    assert all(output["metadata"]["image/png"]["alt"].strip() for output in shown)
    for wrong in ("widget-view+json", "widget-state+json", "model not found", "Error displaying"):
        assert wrong not in page
    if source in CHAPTERS:
        assert shown, "a chapter without a picture"

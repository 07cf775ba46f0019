"""The runs by other programs see what they are there for."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks import runs
from widgets import authoring

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the sound notebook, built; its pictures are stand-ins."""

    @contextmanager
    def server() -> Iterator[Any]:
        yield lambda _recorded: b"picture"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authoring, "picture_server", server)
        return authoring.build(Path(shutil.copy(FIXTURES / "01_sound.py", tmp_path_factory.mktemp("sound"))))


def output(notebook: dict[str, Any], start: str) -> dict[str, Any]:
    """Return the output of the cell whose source starts so."""
    cell = next(cell for cell in notebook["cells"] if cell["source"].startswith(start))
    found: dict[str, Any] = cell["outputs"][0]
    return found


def test_nbval_sees_another_output(sound: dict[str, Any], tmp_path: Path) -> None:
    output(sound, '"always the same"')["data"]["text/plain"] = "'something else'"
    output(sound, 'print("always')["text"] = "something else"
    output(sound, "one(rate=5)")["data"]["text/plain"] = "an old sentence"
    output(sound, 'print("measured')["text"] = "measured: 0"
    path = tmp_path / "01_sound.ipynb"
    path.write_text(authoring.serialize(sound), "utf-8")
    found = runs.nbval(path)
    # Three differ; the measured cell and the other four do not.
    assert (found.cells, found.different) == (8, 3), found.said


def test_nbval_that_finds_no_cell_says_so(tmp_path: Path) -> None:
    path = tmp_path / "01_empty.ipynb"
    path.write_text(nbformat.writes(nbformat.v4.new_notebook()))
    assert runs.nbval(path).cells == 0


def test_papermill_sees_a_lucky_seed(tmp_path: Path) -> None:
    path = tmp_path / "in" / "15_lucky_seed.ipynb"
    path.parent.mkdir()
    path.write_text(authoring.serialize(authoring.read_source(FIXTURES / "15_lucky_seed.py")), "utf-8")
    lucky = runs.papermill(path, tmp_path, {"seed": 1})
    assert lucky.status == 0, lucky.said
    other = runs.papermill(path, tmp_path, {"seed": 2})
    assert other.status != 0 and "AssertionError" in other.said


def test_conclusions_are_found_and_have_to_assert(sound: dict[str, Any]) -> None:
    assert runs.conclusions(sound) == ["assert abs(mean - 0.5) < 12 / (12 * requests) ** 0.5"]
    assert runs.conclusions({"cells": []}) == []
    cell = {"cell_type": "code", "metadata": {"tags": ["conclusion"]}, "source": ["print(mean)"]}
    with pytest.raises(AssertionError, match="asserts something"):
        runs.conclusions({"cells": [cell]})


def test_a_run_that_takes_too_long_ends(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        runs.run("timeit", "-n1", "-r1", "import time; time.sleep(60)", folder=tmp_path, timeout=1)


@pytest.mark.parametrize(
    ("said", "attempts"),
    [
        ("RuntimeError: Kernel didn't respond in 60 seconds", 2),
        ("AssertionError", 1),
        ("A cell timed out while it was being executed, after 120 seconds", 1),
    ],
)
def test_only_a_kernel_that_did_not_start_is_tried_again(said: str, attempts: int, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"open('log', 'a').write('x'); print({said!r})")
    assert runs.run("program", folder=tmp_path).said.strip() == said
    assert (tmp_path / "log").read_text() == "x" * attempts


def test_every_fixture_is_used() -> None:
    tests = [Path(__file__), *Path(__file__).parents[1].glob("widgets/test_authoring.py")]
    here = "".join(path.read_text("utf-8") for path in tests)
    names = [path.stem for path in FIXTURES.glob("*.py")]
    assert len(names) >= 7 and [name for name in names if name not in here] == []

"""What authors run: each check fails on the one fault it is there for, and on no other.

``tests/notebooks/fixtures`` holds one sound notebook and some that fail in one known way when they are run.
Faults of the stored side are put into a copy of the sound one.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from widgets import authoring
from widgets.authoring import AuthoringError
from widgets.explorable import STRICT, WIDGET_TYPE
from widgets.server import HINT, outputs, picture_of

FIXTURES = Path(__file__).resolve().parents[1] / "notebooks" / "fixtures"
#: Where the cells of the sound notebook are.
PICTURE, PRINTED, VALUE, MEASURED = 3, 5, 6, 7


# Apart, so that this file itself names no path of anybody's machine.
SEP = "/"


class Drawn:
    """Stands in for the browser that draws; counts."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    @contextmanager
    def server(self) -> Iterator[Any]:
        def draw(recorded: dict[str, Any]) -> bytes:
            json.dumps(authoring.static_figure(recorded), allow_nan=False)
            self.titles.append(recorded["title"])
            return f"picture {len(self.titles)}".encode()

        yield draw


def sync(source: Path) -> bool:
    return authoring.write_if_changed(
        source.with_suffix(".ipynb"), authoring.serialize(authoring.build(source))
    )


def load(source: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(source.with_suffix(".ipynb").read_text("utf-8"))
    return notebook


def store(source: Path, notebook: dict[str, Any]) -> None:
    source.with_suffix(".ipynb").write_text(authoring.serialize(notebook), "utf-8")


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source of the sound notebook, with the ``.ipynb`` that sync wrote."""
    folder = tmp_path_factory.mktemp("sound")
    source = Path(shutil.copy(FIXTURES / "01_sound.py", folder))
    drawn = Drawn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authoring, "picture_server", drawn.server)
        assert sync(source)
    assert drawn.titles == ["One", "One"]
    return source


@pytest.fixture
def sound(synced: Path, tmp_path: Path) -> Path:
    """Return a copy of the sound notebook, to put a fault into."""
    shutil.copy(synced.with_suffix(".ipynb"), tmp_path)
    return Path(shutil.copy(synced, tmp_path))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    result = Drawn()
    monkeypatch.setattr(authoring, "picture_server", result.server)
    return result


# Faults of the source: sync says what is wrong, and writes nothing ------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("10_raises", r"ZeroDivisionError"),
        ("11_stderr", r"11_stderr\.py: cell 0 writes to stderr: .*this function is going away"),
        ("12_machine_path", r"12_machine_path\.py: cell 0 names a path of this machine"),
        ("13_callback_raises", r"ZeroDivisionError"),
    ],
)
def test_a_fault_of_the_source(name: str, says: str, tmp_path: Path, drawn: Drawn) -> None:
    source = Path(shutil.copy(FIXTURES / f"{name}.py", tmp_path))
    with pytest.raises(AuthoringError, match=re.compile(says, re.DOTALL)):
        sync(source)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_broken_callback_leaves_a_cell_green_for_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Drawn
) -> None:
    """Why the checks need COURSE_STRICT: without it the fault is a sentence, and the cell passes."""
    source = Path(shutil.copy(FIXTURES / "13_callback_raises.py", tmp_path))
    monkeypatch.setattr(authoring, "STRICT", f"NOT_{STRICT}")
    monkeypatch.delenv(STRICT, raising=False)
    assert sync(source)


def test_an_endless_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(shutil.copy(FIXTURES / "14_endless.py", tmp_path))
    monkeypatch.setattr(authoring, "CELL_TIMEOUT", 2)
    with pytest.raises(AuthoringError, match="timed out while it was being executed, after 2 seconds"):
        sync(source)
    assert not source.with_suffix(".ipynb").exists()


def test_a_folder_without_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "05_caching.ipynb").write_text("{}")
    (tmp_path / "helper.py").write_text("")
    with pytest.raises(AuthoringError, match="no notebook sources"):
        authoring.sources(tmp_path)


# Faults of the stored side: check says which notebook, and what to do ---------------------------------------


def put(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def put_in(source: Path) -> None:
        notebook = load(source)
        change(notebook)
        store(source, notebook)

    return put_in


def data(notebook: dict[str, Any], cell: int) -> dict[str, Any]:
    found: dict[str, Any] = notebook["cells"][cell]["outputs"][0]["data"]
    return found


def stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "capacity = 0", "traceback": []}
FAST = {
    "the .ipynb is missing": (
        lambda source: source.with_suffix(".ipynb").unlink(),
        "01_sound.ipynb is missing",
    ),
    "a widget view is stored": (
        put(lambda nb: data(nb, PICTURE).update({WIDGET_TYPE: {"model_id": "f00"}})),
        f"cell {PICTURE} stores a widget",
    ),
    "states of widgets are stored": (
        put(lambda nb: nb["metadata"].update(widgets={"state": {}})),
        "stores widgets",
    ),
    "a picture is missing": (
        put(lambda nb: data(nb, PICTURE).pop("image/png")),
        f"cell {PICTURE} has no static picture",
    ),
    "an error is stored": (
        put(lambda nb: nb["cells"][PRINTED]["outputs"].append(ERROR)),
        f"cell {PRINTED} stores an error: capacity = 0",
    ),
    "stderr is stored": (
        put(lambda nb: nb["cells"][PRINTED]["outputs"].append(stream("stderr", "deprecated"))),
        f"cell {PRINTED} writes to stderr: deprecated",
    ),
    **{
        f"a path is stored: {path}": (
            put(
                lambda nb, path=path: nb["cells"][PRINTED]["outputs"].append(stream("stdout", f"see {path}"))
            ),
            f"cell {PRINTED} names a path of this machine",
        )
        for path in (
            f"{SEP}home/ada/x.py",
            f"{SEP}root/x",
            f"{SEP}Users/ada/x",
            "/tmp/x",
            "/var/folders/ab/x",
            r"C:\Users\ada",
            str(authoring.ROOT),
            f"{SEP}opt/python/lib/site-packages/numpy",
        )
    },
    "the source has changed": (
        lambda source: source.write_text(source.read_text().replace("always the same", "changed")),
        "differs from its .py source",
    ),
    "the source has one more cell": (
        lambda source: source.write_text(source.read_text() + "\n# %%\n1 + 1\n"),
        "differs from its .py source",
    ),
    "the .ipynb was edited": (
        put(lambda nb: nb["cells"][PRINTED].update(source='print("by hand")')),
        "differs from its .py source",
    ),
    "a cell id was given anew": (
        put(lambda nb: nb["cells"][PRINTED].update(id="another")),
        "differs from its .py source",
    ),
    "a tag was lost": (
        put(lambda nb: nb["cells"][MEASURED].update(metadata={})),
        "differs from its .py source",
    ),
}
FULL = {
    "text output": (
        put(lambda nb: data(nb, VALUE).update({"text/plain": "'something else'"})),
        f"cell {VALUE}",
    ),
    "printed output": (
        put(lambda nb: nb["cells"][PRINTED].update(outputs=[stream("stdout", "something else\n")])),
        f"cell {PRINTED}",
    ),
    "no output": (put(lambda nb: nb["cells"][PRINTED].update(outputs=[])), f"cell {PRINTED}"),
    "fingerprint of a picture": (
        put(lambda nb: nb["cells"][PICTURE]["outputs"][0]["metadata"]["workbook"].update(picture="0" * 16)),
        f"cell {PICTURE}",
    ),
    "words of a picture": (
        put(lambda nb: data(nb, PICTURE).update({"text/plain": "old"})),
        f"cell {PICTURE}",
    ),
    "kernel": (put(lambda nb: nb["metadata"]["kernelspec"].update(name="python2")), "metadata"),
}


def test_the_sound_notebook_is_sound(sound: Path) -> None:
    assert authoring.drift(sound, fast=True) == []


@pytest.mark.parametrize("fault", FAST)
def test_the_fast_check_sees(fault: str, sound: Path) -> None:
    put_in, says = FAST[fault]
    put_in(sound)
    found = authoring.drift(sound, fast=True)
    assert len(found) == 1 and says in found[0], found


@pytest.fixture(scope="module")
def rebuilt(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the sound notebook built once more where it is stored already."""
    folder = tmp_path_factory.mktemp("again")
    shutil.copy(synced.with_suffix(".ipynb"), folder)
    drawn = Drawn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authoring, "picture_server", drawn.server)
        notebook = authoring.build(Path(shutil.copy(synced, folder)))
    assert drawn.titles == [], "a picture was drawn again though it shows the same"
    return notebook


@pytest.fixture
def as_rebuilt(rebuilt: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a run of the notebook where only the comparison is tested."""
    monkeypatch.setattr(authoring, "build", lambda _source: copy.deepcopy(rebuilt))


@pytest.mark.usefixtures("as_rebuilt")
@pytest.mark.parametrize("fault", FULL)
def test_the_full_check_sees(fault: str, sound: Path) -> None:
    assert authoring.drift(sound, fast=False) == []
    put_in, place = FULL[fault]
    put_in(sound)
    found = authoring.drift(sound, fast=False)
    assert len(found) == 1, found
    assert (
        found[0].startswith("01_sound.ipynb: is not what its source gives now") and f"({place})" in found[0]
    )


@pytest.mark.usefixtures("as_rebuilt")
def test_the_bytes_of_a_picture_are_no_drift(sound: Path) -> None:
    """Another version of the browser draws the same picture with other bytes."""
    put(lambda nb: data(nb, PICTURE).update({"image/png": "b3RoZXI="}))(sound)
    assert authoring.drift(sound, fast=False) == []


# Sync ------------------------------------------------------------------------------------------------------


def test_sync_twice_changes_nothing(sound: Path, rebuilt: dict[str, Any]) -> None:
    target = sound.with_suffix(".ipynb")
    os.utime(target, (1, 1))
    before = target.read_bytes()
    assert not authoring.write_if_changed(target, authoring.serialize(rebuilt))
    assert target.read_bytes() == before and target.stat().st_mtime == 1


def test_measured_cells_keep_what_was_measured(synced: Path, rebuilt: dict[str, Any]) -> None:
    assert authoring.MEASURED in rebuilt["cells"][MEASURED]["metadata"]["tags"]
    assert rebuilt["cells"][MEASURED]["outputs"] == load(synced)["cells"][MEASURED]["outputs"]
    # It is the tag that keeps it, as long as the source is the same.
    fresh = copy.deepcopy(rebuilt)
    for change in ({"id": "edited"}, {"metadata": {}}):
        fresh["cells"][MEASURED].update(change, outputs=["new"])
        authoring.keep_measured(fresh, load(synced))
        assert fresh["cells"][MEASURED]["outputs"] == ["new"]


def test_only_a_changed_picture_is_drawn(sound: Path, drawn: Drawn) -> None:
    before = [output["data"]["image/png"] for output in outputs(load(sound))[:2]]
    sound.write_text(sound.read_text().replace("one(rate=5)", "one(rate=6)"))
    assert sync(sound)
    after = [output["data"]["image/png"] for output in outputs(load(sound))[:2]]
    assert drawn.titles == ["One"]
    assert after[0] == before[0] and after[1] != before[1]
    # A sentence of the cell before has nothing to do with its measured neighbour.
    assert authoring.drift(sound, fast=True) == []


def test_ids_follow_the_cell_and_not_its_place(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        path = tmp_path / "01_x.py"
        path.write_text(text)
        return [cell["id"] for cell in authoring.read_source(path)["cells"]]

    first, second = "# %%\na = 1\n", "# %% [markdown]\n# Text\n"
    before = ids(f"{first}\n{second}")
    after = ids(f"# %%\nnew = 1\n\n{first}\n{second}")
    assert after[1:] == before and len(set(after)) == 3
    # Equal cells get ids of their own, and text is not code.
    assert len(set(ids(f"{first}\n{first}\n# %% [markdown]\n# a = 1\n"))) == 3
    assert ids(first) == ids(first)


def test_a_stored_notebook_is_what_jupyter_and_jupytext_expect(synced: Path) -> None:
    notebook = nbformat.read(synced.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert "version" not in notebook.metadata.language_info, "the machine's Python"
    again = jupytext.reads(jupytext.writes(notebook, fmt="py:percent"), fmt="py:percent")
    assert [cell.source for cell in again.cells] == [cell.source for cell in notebook.cells]
    assert len(notebook.cells) == 9


def test_stored_pictures_have_words(synced: Path) -> None:
    stored = outputs(load(synced))
    shown = [output for output in stored if picture_of(output)]
    assert len(shown) == 2
    for output in shown:
        assert output["data"].keys() == {"image/png", "text/plain"}
        assert output["metadata"]["image/png"]["alt"].startswith("One ")
        assert HINT not in "".join(output["data"]["text/plain"])  # it stands in the picture


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.ipynb"
    target.write_text("old")

    def full(_self: Path, _target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        authoring.write_if_changed(target, "new")
    assert target.read_text() == "old"


# The picture itself ----------------------------------------------------------------------------------------


@pytest.mark.needs("chromium")
def test_a_real_picture() -> None:
    figure = {
        "data": [{"type": "scatter", "x": [0, 1], "y": [0, 1], "name": "a", "showlegend": True}],
        "layout": {"height": 300, "margin": {"t": 10, "b": 40}, "annotations": [], "showlegend": True},
    }
    recorded = {"title": "One", "sentence": "So it is.", "figure": figure}
    with authoring.picture_server() as draw:
        png, again = draw(recorded), draw(recorded)
    assert png.startswith(b"\x89PNG") and int.from_bytes(png[16:20], "big") == 760
    assert png == again and 3_000 < len(b64encode(png)) < 200_000


def test_a_static_figure_leaves_the_recorded_one_alone() -> None:
    figure = {"data": [], "layout": {"height": 300, "margin": {"t": 10, "b": 40}, "annotations": [],
              "showlegend": False, "font": {"color": "$ink"}}}  # fmt: skip
    before = copy.deepcopy(figure)
    words = "So it is, and so on. " * 12
    static = authoring.static_figure({"title": "One", "sentence": words, "figure": figure})
    assert figure == before
    assert static["layout"]["height"] > 300 and "$" not in json.dumps(static)
    texts = re.sub("<.*?>", " ", " ".join(note["text"] for note in static["layout"]["annotations"]))
    assert words.split() == [word for word in texts.split() if word in words.split()][: len(words.split())]


def test_a_static_sentence_leaves_room_for_names_of_rows() -> None:
    layout = {"height": 300, "margin": {"t": 10, "b": 40}, "annotations": [], "showlegend": False}
    rows = {"yaxis": {"ticktext": ["IP hash", "response ×<br>connections"]}}
    widest = []
    for more in ({}, rows):
        figure = {"data": [], "layout": {**layout, **more}}
        static = authoring.static_figure({"title": "One", "sentence": "so it is " * 40, "figure": figure})
        texts = " ".join(note["text"] for note in static["layout"]["annotations"])
        widest.append(max(len(part) for part in re.split("<.*?>", texts)))
    # The longest part of a name has 11 letters, 3 of which fit where numbers would stand.
    assert widest[0] - widest[1] == pytest.approx(8, abs=4)


# The command -----------------------------------------------------------------------------------------------


@pytest.fixture
def command(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(authoring, "sources", lambda: [sound])
    monkeypatch.setattr(authoring, "ROOT", sound.parent)

    def run(*words: str) -> tuple[int, str, str]:
        status = authoring.main(list(words))
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.mark.usefixtures("as_rebuilt")
def test_the_command(command: Callable[..., tuple[int, str, str]], sound: Path) -> None:
    assert command("check", "--fast") == (0, "1 notebooks agree with their sources\n", "")
    assert command("check", "01_sound") == (0, "1 notebooks agree with their sources\n", "")
    assert command("sync") == (0, "01_sound.ipynb: unchanged\n", "")
    FULL["text output"][0](sound)
    status, said, problem = command("check")
    assert status == 1 and said == "" and "01_sound.ipynb" in problem and "make sync" in problem
    assert command("sync") == (0, "01_sound.ipynb: written\n", "")
    assert command("check")[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ((), 2, "usage"),
        (("chek",), 2, "usage"),
        (("check", "06_typo"), 1, "no notebook is named 06_typo"),
        (("check", "--fast", "01_sound", "06_typo"), 1, "no notebook is named 06_typo"),
        (("check", "--fats"), 1, "no notebook is named --fats"),
    ],
)
def test_a_wrong_command_is_a_sentence(
    words: tuple[str, ...], status: int, says: str, command: Callable[..., tuple[int, str, str]]
) -> None:
    found = command(*words)
    assert found[0] == status and found[1] == "" and says in found[2]

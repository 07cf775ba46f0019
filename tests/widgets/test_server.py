"""The hook that keeps a saved notebook readable: right where it knows the shape, harmless elsewhere."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_server.services.contents.filemanager import FileContentsManager

from widgets.explorable import METADATA, WIDGET_TYPE
from widgets.server import HINT, _load_jupyter_server_extension, keep_readable, picture_of

PNG = "iVBORw0KGgo="


def output(picture: str | None = "abc", *, live: bool = True, png: str | None = None) -> dict[str, Any]:
    data: dict[str, Any] = {"text/plain": "What a cache buys"}
    if live:
        data[WIDGET_TYPE] = {"model_id": "f00"}
    if png:
        data["image/png"] = png
    metadata = {METADATA: {"explorable": "caching.x", "picture": picture}} if picture else {}
    return {"output_type": "execute_result", "execution_count": 1, "data": data, "metadata": metadata}


def notebook(*outputs: dict[str, Any]) -> dict[str, Any]:
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1, "source": "x"}
    text = {"cell_type": "markdown", "id": "b", "metadata": {}, "source": "Text"}
    return {
        "cells": [text, {**cell, "outputs": list(outputs)}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def save(content: Any, folder: Path, path: str = "x.ipynb") -> Any:
    model = {"type": "notebook", "content": content}
    keep_readable(model=model, path=path, contents_manager=SimpleNamespace(root_dir=str(folder)))
    return model["content"]


def data(content: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = content["cells"][1]["outputs"][index]["data"]
    return found


def store(folder: Path, content: Any, path: str = "x.ipynb") -> None:
    (folder / path).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_the_picture_of_the_same_view_comes_back(tmp_path: Path) -> None:
    store(tmp_path, notebook(output("other", live=False, png="b3RoZXI="), output("abc", live=False, png=PNG)))
    saved = save(notebook(output("abc")), tmp_path)
    assert data(saved) == {"text/plain": "What a cache buys", "image/png": PNG}


def test_without_a_picture_a_hint_stands_in_the_text(tmp_path: Path) -> None:
    store(tmp_path, notebook(output("abc", live=False, png=PNG)))
    for stranger in (output("changed"), output(None)):
        saved = data(save(notebook(stranger), tmp_path))
        assert saved == {"text/plain": f"What a cache buys\n{HINT}"}
    lines = output("changed")
    lines["data"]["text/plain"] = ["one\n", "two"]
    assert data(save(notebook(lines), tmp_path))["text/plain"] == f"one\ntwo\n{HINT}"


def test_saving_again_and_again_changes_nothing_more(tmp_path: Path) -> None:
    store(tmp_path, notebook(output("abc", live=False, png=PNG)))
    once = save(notebook(output("abc"), output("new")), tmp_path)
    store(tmp_path, once)
    assert save(copy.deepcopy(once), tmp_path) == once
    # Run again: live outputs come, pictures come back from the file just saved.
    assert save(notebook(output("abc"), output("new")), tmp_path) == once


def test_states_of_widgets_are_not_stored(tmp_path: Path) -> None:
    content = notebook()
    content["metadata"] = {"widgets": {"state": {}}, "kernelspec": {"name": "python3"}}
    assert save(content, tmp_path)["metadata"] == {"kernelspec": {"name": "python3"}}


def test_other_outputs_stay_as_they_are(tmp_path: Path) -> None:
    others = [
        {"output_type": "stream", "name": "stdout", "text": "hello"},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": []},
        {"output_type": "display_data", "data": {"image/png": PNG, "text/plain": "p"}, "metadata": {}},
        output("abc", live=False, png=PNG),
    ]
    content = notebook(*others)
    assert save(copy.deepcopy(content), tmp_path) == content


@pytest.mark.parametrize("kind", ["file", "directory", None])
def test_what_is_no_notebook_is_not_touched(kind: str | None, tmp_path: Path) -> None:
    model = {"type": kind, "content": notebook(output())}
    before = copy.deepcopy(model)
    keep_readable(model=model, path="x.ipynb", contents_manager=SimpleNamespace(root_dir=str(tmp_path)))
    assert model == before


@pytest.mark.parametrize(
    "broken",
    ["", "{", "[]", "null", "3", '{"cells": null}', '{"cells": [null, 3, {"outputs": {}}]}', "[" * 100_000,
     '{"cells": [{"outputs": [null, {"data": {"image/png": "x"}, "metadata": {"workbook": []}}]}]}'],
)  # fmt: skip
def test_a_broken_file_on_disk_is_no_reason_to_fail(broken: str, tmp_path: Path) -> None:
    store(tmp_path, broken)
    assert data(save(notebook(output()), tmp_path))["text/plain"].endswith(HINT)


def test_a_file_that_is_no_text_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "x.ipynb").write_bytes(b"\xff\xfe\x00PK")
    assert data(save(notebook(output()), tmp_path))["text/plain"].endswith(HINT)
    assert data(save(notebook(output()), tmp_path, "no/such\0name.ipynb"))["text/plain"].endswith(HINT)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["cells", "outputs", "data", "metadata", METADATA, "picture", "text/plain", WIDGET_TYPE, "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


def without_widgets(value: Any) -> Any:
    """Return `value` without what the hook may take or add."""
    if isinstance(value, list):
        return [without_widgets(entry) for entry in value]
    if isinstance(value, dict):
        return {
            key: without_widgets(entry)
            for key, entry in value.items()
            if key not in (WIDGET_TYPE, "widgets", "text/plain")
        }
    return value


@given(content=junk)
@settings(max_examples=300)
def test_no_shape_of_a_notebook_loses_a_save(content: Any) -> None:
    before = copy.deepcopy(content)
    after = save(content, Path("no-such-folder"))
    json.dumps(after)
    assert without_widgets(after) == without_widgets(before)


@pytest.mark.parametrize(
    "metadata", [None, [], {METADATA: None}, {METADATA: {"picture": 5}}, {METADATA: "x"}]
)
def test_an_odd_picture_is_none(metadata: object) -> None:
    assert picture_of({"metadata": metadata}) is None


def test_jupyter_server_saves_through_it(tmp_path: Path) -> None:
    """The real contents manager, with the extension loaded as Jupyter Server loads it."""
    manager = FileContentsManager(root_dir=str(tmp_path), delete_to_trash=False)
    _load_jupyter_server_extension(SimpleNamespace(contents_manager=manager))
    store(tmp_path, notebook(output("abc", live=False, png=PNG)))
    manager.save({"type": "notebook", "content": notebook(output("abc"), output("new"))}, "x.ipynb")
    saved = json.loads((tmp_path / "x.ipynb").read_text())
    assert data(saved)["image/png"] == PNG and WIDGET_TYPE not in json.dumps(saved)
    assert HINT in "".join(data(saved, 1)["text/plain"])

"""Jupyter Server extension: a notebook that is saved stays readable without a kernel.

A live output says only which widget it shows; opened again tomorrow, JupyterLab would answer "model not
found".  So on saving, the reference to the widget goes, and the static picture of the same view comes back if
the file on disk has it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from widgets.explorable import METADATA, WIDGET_TYPE

HINT = "To make this live: Run, then Run All Cells."


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "widgets.server"}]


def _load_jupyter_server_extension(server: Any) -> None:
    server.contents_manager.register_pre_save_hook(keep_readable)


def keep_readable(
    model: dict[str, Any], path: str = "", contents_manager: Any = None, **_others: object
) -> None:
    """Rewrite the outputs of a notebook that is about to be saved, in place.

    Parameters
    ----------
    model : dict
        Jupyter's model of the file.
    path : str
        Where it is saved, for the pictures that are there already.
    contents_manager : ContentsManager
        Whose root the path is relative to.
    """
    if not isinstance(model, dict) or model.get("type") != "notebook":
        return
    root = Path(getattr(contents_manager, "root_dir", "."))
    replace_widgets(model.get("content"), stored_pictures(root / path.lstrip("/")))


# What is saved may be of any shape, and a save must not be lost over it.
def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def outputs(notebook: object) -> list[dict[str, Any]]:
    """Return the outputs of a notebook's code cells that hold data; none where it is no notebook."""
    return [
        output
        for cell in _list(_dict(notebook).get("cells"))
        for output in _list(_dict(cell).get("outputs"))
        if isinstance(_dict(output).get("data"), dict)
    ]


def picture_of(output: dict[str, Any]) -> str | None:
    """Return the fingerprint of the picture an output shows, or None."""
    fingerprint = _dict(_dict(output.get("metadata")).get(METADATA)).get("picture")
    return fingerprint if isinstance(fingerprint, str) else None


def stored_pictures(path: Path) -> dict[str, str]:
    """Return a notebook file's static pictures (base64 PNG) by fingerprint; none if it cannot be read."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        fingerprint: output["data"]["image/png"]
        for output in outputs(notebook)
        if (fingerprint := picture_of(output)) and "image/png" in output["data"]
    }


def replace_widgets(notebook: object, pictures: dict[str, str]) -> None:
    """Put pictures in the place of widgets, in place; without a picture a hint stands in the text."""
    _dict(_dict(notebook).get("metadata")).pop("widgets", None)
    for output in outputs(notebook):
        data = output["data"]
        if data.pop(WIDGET_TYPE, None) is None:
            continue
        picture = pictures.get(picture_of(output) or "")
        if picture is not None:
            data["image/png"] = picture
        else:
            text = data.get("text/plain", "")
            lines = text if isinstance(text, list) else [text]
            data["text/plain"] = f"{''.join(map(str, lines))}\n{HINT}"

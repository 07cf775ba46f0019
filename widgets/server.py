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
    if model.get("type") != "notebook" or not isinstance(model.get("content"), dict):
        return
    root = Path(getattr(contents_manager, "root_dir", "."))
    replace_widgets(model["content"], stored_pictures(root / path.lstrip("/")))


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of a notebook's code cells that hold data."""
    return [
        output
        for cell in notebook.get("cells", [])
        for output in cell.get("outputs", [])
        if isinstance(output.get("data"), dict)
    ]


def picture_of(output: dict[str, Any]) -> str | None:
    """Return the fingerprint of the picture an output shows, or None."""
    fingerprint = output.get("metadata", {}).get(METADATA, {}).get("picture")
    return fingerprint if isinstance(fingerprint, str) else None


def stored_pictures(path: Path) -> dict[str, str]:
    """Return a notebook file's static pictures (base64 PNG) by fingerprint; none if it cannot be read."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {
        fingerprint: output["data"]["image/png"]
        for output in outputs(notebook)
        if (fingerprint := picture_of(output)) and "image/png" in output["data"]
    }


def replace_widgets(notebook: dict[str, Any], pictures: dict[str, str]) -> None:
    """Put pictures in the place of widgets, in place; without a picture a hint stands in the text."""
    notebook.get("metadata", {}).pop("widgets", None)
    for output in outputs(notebook):
        data = output["data"]
        if data.pop(WIDGET_TYPE, None) is None:
            continue
        picture = pictures.get(picture_of(output) or "")
        if picture is not None:
            data["image/png"] = picture
        else:
            text = data.get("text/plain", "")
            data["text/plain"] = f"{text if isinstance(text, str) else ''.join(text)}\n{HINT}"

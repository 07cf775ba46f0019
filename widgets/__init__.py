"""What is seen and moved: the explorables of every chapter, ``widgets.caching.effective_access_time()``."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

_FRAMEWORK = {"authoring", "controls", "explorable", "library", "palette", "plot", "quiz", "server"}


def concepts() -> list[str]:
    """Return the names of the modules that hold explorables."""
    return sorted(
        path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem not in _FRAMEWORK
    )


def __getattr__(name: str) -> ModuleType | Any:
    # Loaded where it is used: a page needs the explorables of its own concepts only.
    if name == "quiz":
        return importlib.import_module("widgets.quiz").quiz
    if name == "restore":
        return importlib.import_module("widgets.explorable").restore
    if name in concepts():
        return importlib.import_module(f"widgets.{name}")
    raise AttributeError(
        f"there is no {name!r} in widgets; there are {', '.join(concepts())} quiz and restore"
    )

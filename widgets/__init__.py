"""What is seen and moved: the explorables of every chapter, ``widgets.caching.effective_access_time()``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

_FRAMEWORK = {
    *("authoring", "chapters", "controls", "explorable", "library", "palette", "plot", "quizzes", "server"),
}
#: Functions a chapter calls by the package's name, and the modules that hold them.
_FUNCTIONS = {"course_map": "chapters", "check_yourself": "quizzes", "restore": "explorable"}


def concepts() -> list[str]:
    """Return the names of the modules that hold explorables."""
    return sorted(
        path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem not in _FRAMEWORK
    )


def __getattr__(name: str) -> Any:
    # Loaded where it is used: a page needs the explorables of its own concepts only.
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"widgets.{_FUNCTIONS[name]}"), name)
    if name in concepts():
        return importlib.import_module(f"widgets.{name}")
    known = ", ".join([*concepts(), *_FUNCTIONS])
    raise AttributeError(f"there is no {name!r} in widgets; there are {known}")

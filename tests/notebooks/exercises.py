"""The check cells of a chapter's exercises, without the rest of the chapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def check_cells(chapter: str, exercises: int) -> dict[str, Any]:
    """Run a chapter's imports and the cells that check its exercises, of which there are `exercises`."""
    source = jupytext.read(NOTEBOOKS / f"{chapter}.py", fmt="py:percent")
    cells = [cell for cell in source.cells if cell.cell_type == "code"]
    wanted = [cells[0], *(cell for cell in cells if "check" in cell.metadata.get("tags", ()))]
    assert len(wanted) == 1 + exercises
    names: dict[str, Any] = {}
    for cell in wanted:
        # Without its last line, which checks what the learner has written.
        definitions, _, _ = cell.source.partition("\n\nreport(")
        exec(definitions, names)
    return names


def problems(chapter: dict[str, Any], check: str, answer: object) -> list[str]:
    """List what the check called `check` finds wrong with `answer`."""
    found: Iterator[str] = chapter[check](answer)
    return list(found)

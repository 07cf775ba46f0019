"""The map of the course: which chapters there are, and which can be read today."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


class CourseMap:
    """A table of the chapters, with links to those that are ready."""

    def __init__(self, chapters: list[tuple[int, str, str, bool]]) -> None:
        self._chapters = chapters

    def _repr_html_(self) -> str:
        rows = []
        for number, slug, title, ready in self._chapters:
            name = f"<a href='{number:02}_{slug}.ipynb'>{escape(title)}</a>" if ready else escape(title)
            state = "ready" if ready else "to come"
            rows.append(f"<tr><td>{number}</td><td style='text-align:left'>{name}</td><td>{state}</td></tr>")
        head = "<tr><th>chapter</th><th style='text-align:left'>title</th><th>state</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"

    def __repr__(self) -> str:
        return "\n".join(
            f"{number:2}  {title}{'  (ready)' if ready else ''}" for number, _, title, ready in self._chapters
        )


def course_map() -> CourseMap:
    """Return the map, from the guide's outline and the notebooks that are there."""
    outline = json.loads((_ROOT / "data" / "outline.json").read_text(encoding="utf-8"))
    chapters = {row["chapter"]: (row["slug"], row["title"]) for row in outline if row["chapter"] <= 17}
    return CourseMap(
        [
            (number, slug, title, (_ROOT / "notebooks" / f"{number:02}_{slug}.ipynb").exists())
            for number, (slug, title) in sorted(chapters.items())
        ]
    )

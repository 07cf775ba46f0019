"""Every heading and every erratum of a chapter that is present has a cell that says it covers it.

A cell names them in its percent header: ``# %% [markdown] covers=["5.2.1"] errata=["E68"]``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTLINE: list[dict[str, Any]] = json.loads((ROOT / "data/outline.json").read_text("utf-8"))
ERRATA: list[dict[str, Any]] = json.loads((ROOT / "data/errata.json").read_text("utf-8"))
CHAPTERS = sorted(path for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py") if path.stem[:2] != "00")


def faults(source: str, chapter: int, key: str) -> list[str]:
    """List what the metadata `key` of the cells lacks, or names though there is no such thing."""
    known = (
        {row["id"]: f"{row['id']} {row['heading']} (guide, line {row['line']})" for row in OUTLINE}
        if key == "covers"
        else {row["id"]: f"{row['id']} {row['claim']} (guide, lines {row['lines']})" for row in ERRATA}
    )
    rows = OUTLINE if key == "covers" else ERRATA
    named: list[str] = []
    result = []
    for number, cell in enumerate(jupytext.reads(source, fmt="py:percent").cells, 1):
        ids = cell.metadata.get(key, [])
        if not isinstance(ids, list):
            result.append(f"cell {number}: {key}={ids!r} is not a list")
            continue
        named += ids
        result += [
            f"cell {number}: {key} names {name!r}, which does not exist" for name in ids if name not in known
        ]
    missing = [row["id"] for row in rows if row["chapter"] == chapter and row["id"] not in named]
    return result + [f"missing: {known[name]}" for name in missing]


def test_outline_is_whole() -> None:
    ids = [row["id"] for row in OUTLINE]
    assert len(ids) == len(set(ids)) == 230  # what the inventory counts
    assert sorted({row["chapter"] for row in OUTLINE}) == list(range(1, 19))  # 18 is the summary
    assert len({(row["chapter"], row["slug"], row["title"]) for row in OUTLINE}) == 18
    numbers = [tuple(map(int, row["id"].split("."))) for row in OUTLINE]
    assert numbers == sorted(numbers)
    assert [row["line"] for row in OUTLINE] == sorted(row["line"] for row in OUTLINE)
    for row, number in zip(OUTLINE, numbers, strict=True):
        assert number[0] == row["chapter"] and row["heading"].strip() == row["heading"] != ""
        assert len(number) == 2 or ".".join(map(str, number[:-1])) in ids


def test_errata_are_whole() -> None:
    ids = [row["id"] for row in ERRATA]
    assert len(ids) == len(set(ids)) == 188  # what the inventory counts
    for row in ERRATA:
        assert row["severity"] in {"WRONG", "CONTRA", "BUG", "DATED", "MISL", "OMIT"}, row
        assert re.fullmatch(r"\d+(-\d+)?(, \d+(-\d+)?)*", row["lines"]), row
        assert row["claim"].endswith(".") and len(row["claim"]) < 120, row


def test_chapters_are_found() -> None:
    assert "05_caching" in [path.stem for path in CHAPTERS]
    slugs = {(row["chapter"], row["slug"]) for row in OUTLINE}
    assert [path.stem for path in CHAPTERS if (int(path.stem[:2]), path.stem[3:]) not in slugs] == []


@pytest.mark.parametrize("key", ["covers", "errata"])
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_covers(path: Path, key: str) -> None:
    found = faults(path.read_text("utf-8"), int(path.stem[:2]), key)
    assert not found, "\n".join([f"{path.name}, {key}:", *found])


@pytest.mark.parametrize(("key", "some", "absent"), [("covers", "5.6.1", "5.6.2"), ("errata", "E68", "E69")])
def test_a_gap_is_seen(key: str, some: str, absent: str) -> None:
    found = faults(f'# %% [markdown] {key}=["{some}", "5.99"]\n# Text\n', 5, key)
    assert any(fault.startswith(f"missing: {absent} ") for fault in found)
    assert not any(some in fault for fault in found)
    assert f"cell 1: {key} names '5.99', which does not exist" in found
    assert faults(f'# %% {key}="{some}"\n1\n', 5, key)[0] == f"cell 1: {key}='{some}' is not a list"

"""The exercises can be solved from the chapter alone, and their checks tell right from wrong."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jupytext
import pytest

SOURCE = Path(__file__).resolve().parents[2] / "notebooks" / "05_caching.py"


@pytest.fixture(scope="module")
def chapter() -> dict[str, Any]:
    """The names that the chapter's imports and its check cells define; nothing else is run."""
    cells = [cell for cell in jupytext.read(SOURCE, fmt="py:percent").cells if cell.cell_type == "code"]
    wanted = [cells[0], *(cell for cell in cells if "check" in cell.metadata.get("tags", ()))]
    assert len(wanted) == 1 + 5
    names: dict[str, Any] = {}
    for cell in wanted:
        # Without its last line, which checks what the learner has written.
        definitions, _, _ = cell.source.partition("\n\nreport(")
        exec(definitions, names)
    return names


class Lru:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.entries: dict[int, str] = {}

    def get(self, key: int) -> str | None:
        if key not in self.entries:
            return None
        self.entries[key] = self.entries.pop(key)
        return self.entries[key]

    def put(self, key: int, value: str) -> None:
        self.entries.pop(key, None)
        self.entries[key] = value
        if len(self.entries) > self.capacity:
            del self.entries[next(iter(self.entries))]


class Fifo(Lru):
    def get(self, key: int) -> str | None:
        return self.entries.get(key)


class Unwritten:
    def __init__(self, argument: object) -> None:
        pass

    def get(self, key: object) -> None:
        return None

    def put(self, key: object, value: object) -> None:
        pass


class UnwrittenFlight(Unwritten):
    async def get(self, key: object) -> None:  # type: ignore[override]
        return None


Load = Callable[[str], Any]


class SingleFlight:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.flying: dict[str, asyncio.Task[Any]] = {}

    async def get(self, key: str) -> Any:
        if key not in self.flying:
            self.flying[key] = asyncio.ensure_future(self.load(key))
            self.flying[key].add_done_callback(lambda _: self.flying.pop(key))
        return await asyncio.shield(self.flying[key])


class EveryoneLoads:
    def __init__(self, load: Load) -> None:
        self.load = load

    async def get(self, key: str) -> Any:
        return await self.load(key)


class NeverAgain(SingleFlight):
    async def get(self, key: str) -> Any:
        if key not in self.flying:
            self.flying[key] = asyncio.ensure_future(self.load(key))
        return await asyncio.shield(self.flying[key])


def stale_orders() -> int:
    stale = 0
    for turns in itertools.combinations(range(4), 2):
        steps = {"A": iter(("write", "put")), "B": iter(("write", "put"))}
        held = {"write": "", "put": ""}
        for place in range(4):
            who = "A" if place in turns else "B"
            held[next(steps[who])] = who
        stale += held["write"] != held["put"]
    return stale


def problems(chapter: dict[str, Any], check: str, answer: object) -> list[str]:
    found: Iterator[str] = chapter[check](answer)
    return list(found)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("check_hit_ratio_for", lambda target, hit, miss: (hit + miss - target) / miss),
        ("check_lru", Lru),
        ("check_single_flight", SingleFlight),
        ("check_size", 2_600),
        ("check_stale", stale_orders),
    ],
)
def test_a_right_answer_is_right(chapter: dict[str, Any], check: str, answer: object) -> None:
    assert problems(chapter, check, answer) == []


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        ("check_hit_ratio_for", lambda target, hit, miss: None, "not written yet"),
        ("check_hit_ratio_for", lambda target, hit, miss: (miss - target) / (miss - hit), "the mean is not 5 ms"),
        ("check_lru", Unwritten, "not written yet"),
        ("check_lru", Fifo, "where LRU"),
        ("check_single_flight", UnwrittenFlight, "not written yet"),
        ("check_single_flight", EveryoneLoads, "the five who asked got"),
        ("check_single_flight", NeverAgain, "after a failure"),
        ("check_size", None, "not written yet"),
        ("check_size", 1_000, "too few"),
        ("check_size", 6_000, "more than it takes"),
        ("check_stale", lambda: None, "not written yet"),
        ("check_stale", lambda: 3, "is not what running them all gives"),
    ],
)
def test_a_wrong_answer_is_told_why(chapter: dict[str, Any], check: str, answer: object, said: str) -> None:
    found = problems(chapter, check, answer)
    assert found and said in found[0]

"""The exercises of caching can be solved from the chapter alone, and their checks tell right from wrong."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from course import caching, workloads
from tests.notebooks.exercises import check_cells, problems


@pytest.fixture(scope="module")
def chapter() -> dict[str, Any]:
    """What the chapter's imports and its check cells define."""
    return check_cells("05_caching", exercises=6)


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


class EvictsTooSoon(Lru):
    """Makes room before it looks whether the key is there already."""

    def put(self, key: int, value: str) -> None:
        if len(self.entries) >= self.capacity:
            del self.entries[next(iter(self.entries))]
        self.entries.pop(key, None)
        self.entries[key] = value


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


class OneForAll(SingleFlight):
    """Knows no keys: whoever comes while a load is under way gets its result."""

    async def get(self, key: str) -> Any:
        return await super().get("a")


def orders() -> Iterator[list[str]]:
    for places in itertools.combinations(range(5), 3):
        reader, writer = iter(("get", "read", "fill")), iter(("delete", "write"))
        yield [next(reader) if place in places else next(writer) for place in range(5)]


def stale_orders() -> list[list[str]]:
    found = []
    for order in orders():
        database, cached, read = "old", "", ""
        for step in order:
            if step == "read":
                read = database
            elif step == "fill":
                cached = read
            elif step == "delete":
                cached = ""
            elif step == "write":
                database = "new"
        if cached == "old" and database == "new":
            found.append(order)
    return found


def shortest_ttl() -> float:
    rates = workloads.zipf_probabilities(100_000, 0.8) * 5_000
    low, high = 1.0, 1e5
    while high - low > 0.1:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if caching.ttl_hit_ratio(rates, middle).fills_per_s <= 800 else (middle, high)
        )
    return high


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("check_hit_ratio_for", lambda target, hit, miss: max(0, (hit + miss - target) / miss)),
        ("check_lru", Lru),
        ("check_single_flight", SingleFlight),
        ("check_size", caching.size_for_hit_ratio(workloads.zipf_probabilities(10_000, 1.0), 0.8)),
        ("check_ttl", shortest_ttl()),
        ("check_stale", stale_orders),
    ],
)
def test_a_right_answer_is_right(chapter: dict[str, Any], check: str, answer: object) -> None:
    assert problems(chapter, check, answer) == []


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        ("check_hit_ratio_for", lambda target, hit, miss: None, "not written yet"),
        (
            "check_hit_ratio_for",
            lambda target, hit, miss: (miss - target) / (miss - hit),
            "not the least ratio",
        ),
        (
            "check_hit_ratio_for",
            lambda target, hit, miss: (hit + miss - target) / miss,
            "(200, 1, 100) gives -",
        ),
        ("check_lru", Unwritten, "not written yet"),
        ("check_lru", Fifo, "LRU gives"),
        ("check_lru", EvictsTooSoon, "LRU gives"),
        ("check_single_flight", UnwrittenFlight, "not written yet"),
        ("check_single_flight", EveryoneLoads, "the three who asked got"),
        ("check_single_flight", OneForAll, "two for b"),
        ("check_single_flight", NeverAgain, "after a failure"),
        ("check_size", None, "not written yet"),
        ("check_size", 1_000, "too few"),
        ("check_size", 2_800, "more than it takes"),
        ("check_stale", lambda: None, "not written yet"),
        ("check_stale", lambda: stale_orders()[:-1], "1 orders that end stale are not among your 5"),
        ("check_stale", lambda: list(orders()), "does not end stale"),
        ("check_ttl", None, "not written yet"),
        ("check_ttl", shortest_ttl() * 0.9, "too many"),
        ("check_ttl", shortest_ttl() * 1.1, "longer than it takes"),
    ],
)
def test_a_wrong_answer_is_told_why(chapter: dict[str, Any], check: str, answer: object, said: str) -> None:
    found = problems(chapter, check, answer)
    assert found and said in found[0]

"""Typical answers to the exercises of caching: the right ones earn all, the wrong ones are told why."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from course import caching, exercises, workloads
from course.classroom.check import Result, examine


def result_of(exercise_id: str, answer: object) -> Result:
    exercise = exercises.find(exercise_id)
    return examine(exercise, {exercise.name: answer})


# The pages of another author: nothing of these is the reference.
class Lru:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.order: list[int] = []
        self.values: dict[int, int] = {}

    def get(self, key: int) -> int | None:
        if key not in self.values:
            return None
        self.order.remove(key)
        self.order.append(key)
        return self.values[key]

    def put(self, key: int, value: int) -> None:
        if key in self.values:
            self.order.remove(key)
        elif len(self.values) == self.capacity:
            del self.values[self.order.pop(0)]
        self.order.append(key)
        self.values[key] = value


class Fifo(Lru):
    def get(self, key: int) -> int | None:
        return self.values.get(key)


class EvictsTooSoon(Lru):
    """Makes room before it looks whether the key is there already."""

    def put(self, key: int, value: int) -> None:
        if len(self.values) >= self.capacity:
            del self.values[self.order.pop(0)]
        super().put(key, value)


class NeverEvicts(Lru):
    def __init__(self, capacity: int) -> None:
        super().__init__(1_000)


class EvictsTheNewest(Lru):
    def put(self, key: int, value: int) -> None:
        if key not in self.values and len(self.values) == self.capacity:
            del self.values[self.order.pop()]
        super().put(key, value)


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
        self.flying: dict[str, asyncio.Future[Any]] = {}

    async def get(self, key: str) -> Any:
        if key in self.flying:
            return await asyncio.shield(self.flying[key])
        future = self.flying[key] = asyncio.get_running_loop().create_future()
        try:
            row = await self.load(key)
        except Exception as error:
            future.set_exception(error)
            future.exception()  # it may be that nobody else waits
            raise
        else:
            future.set_result(row)
            return row
        finally:
            del self.flying[key]


class KeepsWhatItLoaded(SingleFlight):
    """A cache as well: the task does not forbid it."""

    rows: dict[str, Any]

    async def get(self, key: str) -> Any:
        self.rows = getattr(self, "rows", {})
        if key not in self.rows:
            self.rows[key] = await super().get(key)
        return self.rows[key]


class EveryoneLoads(SingleFlight):
    async def get(self, key: str) -> Any:
        return await self.load(key)


class NeverAgain(SingleFlight):
    async def get(self, key: str) -> Any:
        if key not in self.flying:
            self.flying[key] = asyncio.ensure_future(self.load(key))
        return await asyncio.shield(self.flying[key])


class OneForAll(SingleFlight):
    """Knows no keys: whoever comes while a load is under way gets its result."""

    one: asyncio.Future[Any] | None = None

    async def get(self, key: str) -> Any:
        if self.one is None or self.one.done():
            self.one = asyncio.ensure_future(self.load(key))
        return await asyncio.shield(self.one)


class TellsOnlyTheFirst(SingleFlight):
    """Who waits gets None where the load failed."""

    async def get(self, key: str) -> Any:
        waits = key in self.flying
        try:
            return await super().get(key)
        except ConnectionError:
            if waits:
                return None
            raise


class WaitsForItself(SingleFlight):
    async def get(self, key: str) -> Any:
        return await asyncio.get_running_loop().create_future()


class NotACoroutine(SingleFlight):
    def get(self, key: str) -> Any:  # type: ignore[override]
        return f"row {key}"


def orders() -> Iterator[list[str]]:
    for places in itertools.combinations(range(5), 3):
        reader, writer = iter(("get", "read", "fill")), iter(("delete", "write"))
        yield [next(reader) if place in places else next(writer) for place in range(5)]


def stale_orders() -> list[list[str]]:
    return [
        order
        for order in orders()
        if order.index("read") < order.index("write") and order.index("fill") > order.index("delete")
    ]


@cache
def shortest_ttl() -> float:
    rates = workloads.zipf_probabilities(100_000, 0.8) * 5_000
    low, high = 1.0, 1e5
    while high - low > 0.1:
        middle = (low + high) / 2
        few = caching.ttl_hit_ratio(rates, middle).fills_per_s <= 800
        low, high = (low, middle) if few else (middle, high)
    return high


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("caching.hit_ratio", lambda target, hit, miss: max(0, (hit + miss - target) / miss)),
        ("caching.hit_ratio", lambda target, hit, miss: max(0.0, 1 - (target - hit) / miss)),
        ("caching.lru", Lru),
        ("caching.single_flight", SingleFlight),
        ("caching.single_flight", KeepsWhatItLoaded),
        ("caching.size", caching.size_for_hit_ratio(workloads.zipf_probabilities(10_000, 1.0), 0.8)),
        ("caching.size", 2_515.0),
        ("caching.ttl", shortest_ttl()),
        ("caching.stale_orders", stale_orders),
        ("caching.stale_orders", lambda: tuple(map(tuple, reversed(stale_orders())))),
        ("caching.stale_orders", lambda: set(map(tuple, stale_orders()))),
    ],
)
def test_a_right_answer_is_right(exercise_id: str, answer: object) -> None:
    result = result_of(exercise_id, answer)
    assert result.state == "right", result
    assert result.points == result.of


@pytest.mark.parametrize(
    ("exercise_id", "answer", "points", "said"),
    [
        ("caching.hit_ratio", lambda target, hit, miss: None, 0, "not written yet"),
        (
            "caching.hit_ratio",
            lambda target, hit, miss: (miss - target) / (miss - hit),
            0,
            "not the least ratio",
        ),
        (
            "caching.hit_ratio",
            lambda target, hit, miss: (hit + miss - target) / miss,
            2,
            "hit_ratio_for(200, 1, 100)\n  expected  0\n  got       -0.99",
        ),
        ("caching.hit_ratio", lambda target, hit, miss: 0, 0, "expected  0.81"),
        ("caching.hit_ratio", lambda target, hit, miss: "0.81", 0, "'0.81'"),
        ("caching.hit_ratio", lambda target: target, 0, "TypeError"),
        ("caching.lru", Unwritten, 0, "not written yet"),
        ("caching.lru", Fifo, 2, "LRU("),
        ("caching.lru", EvictsTooSoon, 1, "LRU("),
        ("caching.lru", NeverEvicts, 1, "expected  None"),
        ("caching.lru", EvictsTheNewest, 1, "LRU("),
        ("caching.lru", Lru(3), 0, "must be a class"),
        ("caching.lru", stale_orders, 0, "must be a class"),
        ("caching.single_flight", UnwrittenFlight, 0, "not written yet"),
        ("caching.single_flight", EveryoneLoads, 0, "waits for that one"),
        ("caching.single_flight", OneForAll, 1, "'row b'"),
        ("caching.single_flight", NeverAgain, 2, "fails for all who wait for it, and is then forgotten"),
        ("caching.single_flight", TellsOnlyTheFirst, 2, "['ConnectionError', None]"),
        ("caching.single_flight", WaitsForItself, 0, "something that never happens"),
        ("caching.single_flight", NotACoroutine, 0, "async def get"),
        ("caching.size", None, 0, "not written yet"),
        ("caching.size", 1_000, 0, "too few"),
        ("caching.size", 2_800, 0, "more than it takes"),
        ("caching.size", "2515", 0, "'2515'"),
        ("caching.size", True, 0, "a number of entries"),
        ("caching.size", -5, 0, "from 1 to 10,000"),
        ("caching.size", lambda: 2_515, 0, "must be a value"),
        ("caching.stale_orders", lambda: None, 0, "not written yet"),
        ("caching.stale_orders", list, 0, "must be a function"),
        ("caching.stale_orders", lambda: [], 0, "an order that ends stale"),
        ("caching.stale_orders", lambda: stale_orders()[:-1], 2, "1 order that ends stale is not among them"),
        ("caching.stale_orders", lambda: stale_orders()[:2], 2, "4 orders that end stale are not among them"),
        ("caching.stale_orders", lambda: list(orders()), 1, "does not end stale"),
        ("caching.stale_orders", lambda: 6, 0, "a list of orders"),
        ("caching.ttl", None, 0, "not written yet"),
        ("caching.ttl", shortest_ttl() * 0.9, 0, "too many"),
        ("caching.ttl", shortest_ttl() * 1.1, 0, "longer than it takes"),
        ("caching.ttl", float("nan"), 0, "nan"),
    ],
)
def test_a_wrong_answer_is_told_why(exercise_id: str, answer: object, points: int, said: str) -> None:
    result = result_of(exercise_id, answer)
    assert result.state in {"wrong", "unwritten"}
    assert said in repr(result)
    assert result.points == points


@pytest.mark.parametrize(
    ("answer", "most"), [(Fifo, 5), (EvictsTooSoon, 4), (NeverEvicts, 3), (EvictsTheNewest, 4)]
)
def test_the_case_shown_is_small(answer: type, most: int) -> None:
    """No operation can be left out: so few tell this cache from LRU."""
    finding = result_of("caching.lru", answer).finding
    assert finding is not None
    assert finding.given.count("put") + finding.given.count("get") <= most

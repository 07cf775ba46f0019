"""The exercises of chapter 5, caching."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from course import cache_interleavings, caching, workloads
from course.exercises import drivers
from course.exercises.definition import Case, Exercise, Finding, Part
from course.exercises.judging import (
    count_operations,
    fewer,
    is_number,
    nothing_given,
    same,
    same_operations,
    shown,
    written_call,
    written_operations,
)

# --- 1 · which hit ratio? -----------------------------------------------------------------------------------


def hit_ratio_for(target_ms: float, hit_ms: float, miss_ms: float) -> float | None:
    """Return the least hit ratio at which the mean is at most the target."""
    return max(0.0, (hit_ms + miss_ms - target_ms) / miss_ms)


def _targets_for_a_cache(rng: random.Random) -> Iterator[Case]:
    yield from (Case([20, 1, 100]), Case([5, 1, 100]), Case([1.5, 0.5, 20]))
    for _ in range(37):
        hit, miss = round(rng.uniform(0.1, 5), 2), round(rng.uniform(10, 500), 1)
        yield Case([round(rng.uniform(hit + 0.01 * miss, hit + 0.99 * miss), 2), hit, miss])


def _any_target(rng: random.Random) -> Iterator[Case]:
    yield from (Case([200, 1, 100]), Case([20, 1, 100]))
    for _ in range(18):
        hit, miss = round(rng.uniform(0.1, 5), 2), round(rng.uniform(10, 500), 1)
        yield Case([round(rng.uniform(hit + 0.01 * miss, 3 * miss), 2), hit, miss])


HIT_RATIO = Exercise(
    id="caching.hit_ratio",
    title="Compute: which hit ratio?",
    task="""\
A hit takes `hit_ms`. A miss takes the look-up and then `miss_ms` in the database; the fill is done in the background.
Return the least hit ratio at which the mean is at most `target_ms`. For 20 ms, with 1 ms and 100 ms, that is 0.81; a
target that misses alone can meet needs a hit ratio of 0.""",
    stub="""\
def hit_ratio_for(target_ms: float, hit_ms: float, miss_ms: float) -> float | None:
    return None  # your code
""",
    reference=hit_ratio_for,
    drive=drivers.call,
    parts=(
        Part(
            "targets that need a cache",
            2,
            _targets_for_a_cache,
            same(
                hit_ratio_for, drivers.call, absolute=1e-5, because="It is not the least ratio that meets it."
            ),
        ),
        Part(
            "targets that misses alone may meet",
            1,
            _any_target,
            same(
                hit_ratio_for, drivers.call, absolute=1e-5, because="It is not the least ratio that meets it."
            ),
        ),
    ),
    hints=(
        "What does a miss take, in all?",
        "Write the mean as a function of the hit ratio, and solve for it.",
        "The mean is `hit_ms + (1 - h) * miss_ms`; and no ratio is below 0.",
    ),
    reason="Every request takes the look-up, and the share $1 - h$ takes the database too. Set the mean equal to the "
    "target, solve for $h$, and cut at 0: where the target is above `hit_ms + miss_ms`, $h$ would be negative.",
    written=written_call("hit_ratio_for"),
)

# --- 2 · an LRU cache ---------------------------------------------------------------------------------------


class LRU:
    """Evicts the entry that was not used for longest."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.entries: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        """Return the value, or None; a hit counts as a use."""
        if key not in self.entries:
            return None
        self.entries[key] = self.entries.pop(key)
        return self.entries[key]

    def put(self, key: Any, value: Any) -> None:
        """Store a value; that counts as a use, and may evict another entry."""
        self.entries.pop(key, None)
        self.entries[key] = value
        if len(self.entries) > self.capacity:
            del self.entries[next(iter(self.entries))]


# The smallest caches first, and for each the shortest sequences.
CAPACITIES_AND_LENGTHS = [(capacity, length) for capacity in (1, 2, 3, 4) for length in (4, 8, 16, 30, 42)]


def _operations(rng: random.Random, length: int, keys: int) -> list[list[Any]]:
    """Draw operations: each put stores another value, the last operation is a get."""
    result: list[list[Any]] = []
    for number in range(1, length + 1):
        key = rng.randint(1, keys)
        write = number == 1 or (number < length and rng.random() < 0.5)
        result.append(["put", key, 10 * number] if write else ["get", key])
    return result


def _sequence(capacity: int, operations: list[list[Any]]) -> Case:
    return Case({"made_with": [capacity], "operations": operations})


def _room_for_all(rng: random.Random) -> Iterator[Case]:
    for capacity, length in CAPACITIES_AND_LENGTHS:
        yield _sequence(capacity, _operations(rng, length, capacity))


def _first_in(rng: random.Random) -> Iterator[Case]:
    """Put each key once, and only then ask for all: the order of the puts is the order of use."""
    for capacity, length in CAPACITIES_AND_LENGTHS:
        keys = rng.sample(range(1, 30), max(capacity + 1, length // 2))
        puts = [["put", key, 10 * place] for place, key in enumerate(keys, 1)]
        # From the newest to the oldest, so that a get that counts as a use changes nothing.
        yield _sequence(capacity, [*puts, *(["get", key] for key in reversed(keys))])


def _any_use(rng: random.Random) -> Iterator[Case]:
    for number, (capacity, length) in enumerate(CAPACITIES_AND_LENGTHS):
        yield _sequence(capacity, _operations(rng, length, capacity + 1 + number % 3))


LRU_CACHE = Exercise(
    id="caching.lru",
    title="Build: an LRU cache",
    task="""\
`get(key)` returns the value or `None`; `put(key, value)` stores it, also over an old value, and evicts the least
recently used entry when there are more than `capacity`. Both count as a use.""",
    stub="""\
class LRU:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    def get(self, key):
        return None  # your code

    def put(self, key, value):
        pass  # your code
""",
    reference=LRU,
    drive=drivers.operations,
    parts=(
        Part(
            "what fits is found, with its last value",
            1,
            _room_for_all,
            same_operations(LRU, ["get"]),
            fewer("operations"),
        ),
        Part(
            "what does not fit is evicted, the oldest first",
            1,
            _first_in,
            same_operations(LRU, ["get"]),
            fewer("operations"),
        ),
        Part(
            "a get and a put over an old value count as a use",
            2,
            _any_use,
            same_operations(LRU, ["get"]),
            fewer("operations"),
        ),
    ),
    hints=(
        "You need the entries in the order of their last use.",
        "`dict` remembers the order of insertion: taking a key out and putting it back moves it to the end.",
        "`next(iter(d))` is the oldest key. Evict *after* storing, and only when there are too many.",
    ),
    reason="The order of the dictionary is the order of use: every use takes the key out and puts it back at the end, so "
    "the first is the one not used for longest. Evicting after storing keeps a put over an old value from costing "
    "another entry its place.",
    written=written_operations("LRU"),
    proved=count_operations,
)

# --- 3 · single-flight --------------------------------------------------------------------------------------


class MySingleFlight:
    """Loads a key once for all who ask for it at the same time."""

    def __init__(self, load: Callable[[Any], Awaitable[Any]]) -> None:
        self.load = load
        self.under_way: dict[Any, asyncio.Future[Any]] = {}

    async def get(self, key: Any) -> Any:
        """Return what the load of this key gives, one's own or the one under way."""
        if key not in self.under_way:
            self.under_way[key] = asyncio.ensure_future(self.load(key))
            self.under_way[key].add_done_callback(lambda _: self.under_way.pop(key))
        return await asyncio.shield(self.under_way[key])


# Loads end between two moments at which someone may ask.
LOAD_S = 0.25


def _asks(asks: Sequence[tuple[float, str]], failing: Sequence[tuple[str, int]] = ()) -> Case:
    return Case({"load_s": LOAD_S, "asks": list(map(list, asks)), "failing": list(map(list, failing))})


def _one_key(rng: random.Random) -> Iterator[Case]:
    yield from (_asks([(0.0, "a"), (0.0, "a")]), _asks([(0.0, "a"), (0.1, "a"), (0.2, "a")]))
    for number in range(8):
        later = sorted(rng.choice((0.0, 0.1, 0.2)) for _ in range(2 + number))
        yield _asks([(0.0, "k"), *((at, "k") for at in later)])


def _several_keys(rng: random.Random) -> Iterator[Case]:
    yield _asks([(0.0, "a"), (0.0, "b"), (0.0, "b")])
    for number in range(9):
        asked = [(rng.choice((0.0, 0.1, 0.2)), rng.choice("bcd")) for _ in range(3 + number)]
        yield _asks([(0.0, "b"), (0.0, "c"), (0.0, "d"), *sorted(asked)])


def _failures(rng: random.Random) -> Iterator[Case]:
    yield _asks([(0.0, "a"), (0.0, "a"), (0.3, "a")], [("a", 1)])
    yield _asks([(0.0, "a")] * 3 + [(0.3, "a")] * 3 + [(0.3, "b")] * 2, [("a", 1)])
    for number in range(8):
        failures = 1 + number % 3
        rounds = [
            (round(0.3 * turn, 1), "k") for turn in range(failures + 1) for _ in range(rng.randint(1, 3))
        ]
        yield _asks(rounds, [("k", turn + 1) for turn in range(failures)])


@lru_cache(maxsize=256)
def _right_flight(case: Case) -> dict[str, Any]:
    return drivers.single_flight(MySingleFlight, case.given)


def _judge_flight(case: Case, got: Any) -> Finding | None:
    if not isinstance(got, dict) or not all(isinstance(got.get(key), list) for key in ("loads", "answers")):
        return Finding(shown(got))
    loads, answers = [str(key) for key in got["loads"]], got["answers"]
    expected = _right_flight(case)
    if answers != expected["answers"]:
        failures = "ConnectionError" in [*answers, *expected["answers"]]
        return Finding(
            f"they got {shown(answers)}",
            f"they get {shown(expected['answers'])}",
            "A load that fails fails for all who wait for it, and is then forgotten." if failures else "",
        )
    if sorted(loads) != sorted(expected["loads"]):
        return Finding(
            f"loads of {', '.join(loads)}",
            f"loads of {', '.join(expected['loads'])}",
            "Whoever asks while a load of the same key is under way waits for that one.",
        )
    return None


def _written_flight(given: dict[str, Any]) -> str:
    times = itertools.groupby(given["asks"], key=lambda ask: ask[0])
    asked = "; ".join(
        f"at {at:g} s get({'), get('.join(repr(key) for _, key in asks)})" for at, asks in times
    )
    failing = "".join(f"; load {number} of {key!r} fails" for key, number in given["failing"])
    return f"{asked}; a load takes {given['load_s']:g} s{failing}"


SINGLE_FLIGHT = Exercise(
    id="caching.single_flight",
    title="Build: single-flight",
    task="""\
`get(key)` calls `await load(key)` once for each key, however many ask at the same time; all who asked for it get the
result, or the exception. After a failure the next call loads again.""",
    stub="""\
class MySingleFlight:
    def __init__(self, load) -> None:
        self.load = load

    async def get(self, key):
        return None  # your code
""",
    reference=MySingleFlight,
    drive=drivers.single_flight,
    parts=(
        Part("one load for all who ask at the same time", 1, _one_key, _judge_flight, fewer("asks")),
        Part("keys are kept apart", 1, _several_keys, _judge_flight, fewer("asks")),
        Part(
            "a failure reaches all who asked, and the next call loads again",
            2,
            _failures,
            _judge_flight,
            fewer("asks"),
        ),
    ),
    hints=(
        "The first who asks starts the load; the others must find it under way.",
        "Keep an `asyncio.Task` by key while a load is under way. Several may await the same task.",
        "Take it away when it is done, *however* it ends: `task.add_done_callback`.",
    ),
    reason="Between the look into the dictionary and the entry there is no `await`, so no two can both find nothing. The "
    "callback runs however the load ends, so a failure is not kept. `shield`: one who gives up must not cancel the load "
    "of the others.",
    written=_written_flight,
)

# --- 4 · how large? -----------------------------------------------------------------------------------------

ITEMS = 10_000
REQUESTS = 1_000_000
WARM_UP = 200_000
WANTED = 0.8


def size_for_the_ratio() -> int:
    """Halve the interval in which the hit ratio passes 80 %."""
    chances = workloads.zipf_probabilities(10_000, 1.0)
    too_small, enough = 0, 10_000
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if caching.che(chances, middle).hit_ratio < 0.8:
            too_small = middle
        else:
            enough = middle
    return enough


@cache
def _trace(seed: int) -> workloads.Trace:
    return workloads.as_trace(workloads.zipf_trace(REQUESTS, ITEMS, 1.0, seed=seed))


def _one_trace(rng: random.Random) -> Iterator[Case]:
    yield Case(None, rng.randrange(2**31))


def _judge_size(case: Case, got: Any) -> Finding | None:
    if not is_number(got) or not 1 <= got <= ITEMS:
        return Finding(shown(got), f"a number of entries, from 1 to {ITEMS:,}")
    # Three standard errors of a share of the requests, and what Che's approximation is off.
    slack = 3 * math.sqrt(WANTED * (1 - WANTED) / (REQUESTS - WARM_UP)) + 0.002
    measured, smaller = (
        caching.simulate("LRU", _trace(case.hidden), max(1, int(entries)), warmup=WARM_UP).hit_ratio
        for entries in (got, got * 0.95)
    )
    if measured < WANTED - slack:
        return Finding(f"{got:,} entries hit {measured:.1%} of the time", "80 %", "These are too few.")
    if smaller > WANTED + slack:
        return Finding(
            f"{got:,} entries hit {measured:.1%} of the time",
            "80 %",
            f"That is more than it takes: a twentieth fewer still hit {smaller:.1%}.",
        )
    return None


SIZE = Exercise(
    id="caching.size",
    title="Decide: how large?",
    task="""\
10,000 items, popularity Zipf with $s = 1$, LRU. Give the size of a cache, in entries, that hits 80 % of the time and
wastes nothing. The check *measures* your size and one that is a twentieth smaller, so it knows no answer by heart.""",
    stub="""\
my_size = None  # your number
""",
    reference=size_for_the_ratio,
    drive=drivers.value,
    parts=(Part("it hits 80 % of the time and wastes nothing", 2, _one_trace, _judge_size),),
    hints=(
        "The explorable *How large must it be?* has the curve.",
        "`caching.che(workloads.zipf_probabilities(10_000, 1.0), size).hit_ratio` is a function of the size that only "
        "rises.",
        "Bisection: halve the interval in which it passes 0.8. (The course has `caching.size_for_hit_ratio`, to compare "
        "with.)",
    ),
    reason="A larger cache never hits less under LRU, so one size parts those that are too small from those that are "
    "enough, and bisection finds it in 14 steps.",
    written=nothing_given,
    proved=lambda cases: f"{REQUESTS * len(cases):,} simulated requests",
)

# --- 5 · every order that ends stale ------------------------------------------------------------------------


def stale_orders() -> list[list[str]] | None:
    """Run all ten orders and keep those that end stale."""
    found = []
    for places in itertools.combinations(range(5), 3):
        reader, writer = iter(["get", "read", "fill"]), iter(["delete", "write"])
        order = [next(reader) if place in places else next(writer) for place in range(5)]
        database, cached, was_read = "old", None, None
        for step in order:
            if step == "read":
                was_read = database
            elif step == "fill":
                cached = was_read
            elif step == "delete":
                cached = None
            elif step == "write":
                database = "new"
        if cached == "old":
            found.append(order)
    return found


def _no_input(rng: random.Random) -> Iterator[Case]:
    yield Case([])


@cache
def _stale() -> frozenset[tuple[str, ...]]:
    scenario = cache_interleavings.SCENARIOS["reader and writer that deletes first"]
    return frozenset(
        tuple(step.partition(".")[2] for step in one.order)
        for one in cache_interleavings.interleavings(scenario)
        if one.stale
    )


def _orders(got: Any) -> set[tuple[str, ...]] | Finding:
    if not isinstance(got, list):
        return Finding(shown(got), "a list of orders")
    if not got:
        return Finding("no order", because="There is an order that ends stale.")
    for order in got:
        if not isinstance(order, list) or not all(isinstance(step, str) for step in order):
            return Finding(shown(order), "a list of five steps")
    return set(map(tuple, got))


def _judge_listed(case: Case, got: Any) -> Finding | None:
    orders = _orders(got)
    if isinstance(orders, Finding):
        return orders
    for order in sorted(orders - _stale()):
        return Finding(shown(list(order)), because="It does not end stale, or is no order of the five steps.")
    return None


def _judge_missing(case: Case, got: Any) -> Finding | None:
    orders = _orders(got)
    if isinstance(orders, Finding):
        return orders
    missing = len(_stale() - orders)
    if not missing:
        return None
    if missing == 1:
        return Finding(f"{len(orders)} orders", because="1 order that ends stale is not among them.")
    return Finding(f"{len(orders)} orders", because=f"{missing} orders that end stale are not among them.")


STALE_ORDERS = Exercise(
    id="caching.stale_orders",
    title="Find: every order that ends stale",
    task="""\
A reader does `get`, `read`, `fill`; a writer **deletes first** and then writes: `delete`, `write`. The cache starts
empty. Return the list of the orders that end with a stale cache, each as a list like
`["get", "delete", "read", "write", "fill"]`. Enumerate and simulate them yourself.""",
    stub="""\
def stale_orders() -> list[list[str]] | None:
    return None  # your code
""",
    reference=stale_orders,
    drive=drivers.call,
    parts=(
        Part("every order you list ends stale", 2, _no_input, _judge_listed),
        Part("none is missing", 1, _no_input, _judge_missing),
    ),
    hints=(
        "Which of the five places belong to the reader? `itertools.combinations(range(5), 3)`.",
        "Keep three variables: what the database holds, what the cache holds, what the reader has read.",
        "`fill` puts what was read into the cache; `delete` empties it; stale is a cache that holds the old value when the "
        "database holds the new one.",
    ),
    reason="Three of five places are the reader's: ten orders. Each ends stale whose `read` is before `write` and whose "
    "`fill` is after `delete`, for nothing empties the cache any more.",
    written=lambda given: "stale_orders()",
    proved=lambda cases: "all 10 orders",
)

# --- 6 · which time to live? --------------------------------------------------------------------------------

LOADS_PER_S = 800
MAX_TTL_S = 1e9


def shortest_ttl() -> float:
    """Halve the interval in which the loads pass 800 a second."""
    rates = workloads.zipf_probabilities(100_000, 0.8) * 5_000
    too_short, enough = 0.0, 10_000.0
    while enough - too_short > 0.1:
        middle = (too_short + enough) / 2
        if caching.ttl_hit_ratio(rates, middle).fills_per_s > 800:
            too_short = middle
        else:
            enough = middle
    return enough


@cache
def _rates() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(workloads.zipf_probabilities(100_000, 0.8) * 5_000)


def _nothing(rng: random.Random) -> Iterator[Case]:
    yield Case(None)


def _judge_ttl(case: Case, got: Any) -> Finding | None:
    if not is_number(got) or not 0 <= got <= MAX_TTL_S:
        return Finding(shown(got), "a number of seconds, from 0 to a billion")
    loads, sooner = (float((_rates() / (1 + _rates() * ttl_s)).sum()) for ttl_s in (got, got * 0.95))
    if loads > LOADS_PER_S:
        return Finding(
            f"{got:,.0f} s cause {loads:,.0f} loads a second", "800 at most", "These are too many."
        )
    if sooner <= LOADS_PER_S:
        return Finding(
            f"{got:,.0f} s cause {loads:,.0f} loads a second",
            "800 at most",
            f"That is longer than it takes: a twentieth less causes {sooner:,.0f} loads.",
        )
    return None


TTL = Exercise(
    id="caching.ttl",
    title="Decide: which time to live?",
    task="""\
100,000 items, 5,000 requests a second, Zipf with $s = 0.8$, nothing is ever evicted. The database bears 800 loads a
second from expiry. Give the shortest time to live, in seconds, to within a twentieth.""",
    stub="""\
my_ttl_s = None  # your number
""",
    reference=shortest_ttl,
    drive=drivers.value,
    parts=(Part("800 loads a second at most, and no second longer than it takes", 2, _nothing, _judge_ttl),),
    hints=(
        "An item asked for λ times a second is loaded λ / (1 + λT) times a second.",
        "`caching.ttl_hit_ratio(rates, ttl_s).fills_per_s` adds that up.",
        "It only falls with T: bisection again.",
    ),
    reason="Each item is loaded once and then hit λT times on average before it expires: λ / (1 + λT) loads a second. The "
    "sum over the items falls with T, so bisection finds where it passes 800.",
    written=nothing_given,
    proved=lambda cases: "100,000 items",
)

EXERCISES = (HIT_RATIO, LRU_CACHE, SINGLE_FLIGHT, SIZE, STALE_ORDERS, TTL)

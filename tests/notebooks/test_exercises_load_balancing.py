"""The exercises of load balancing can be solved from the chapter alone, and their checks tell right from wrong."""

from __future__ import annotations

import asyncio
import hashlib
import math
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.notebooks.exercises import check_cells, problems


@pytest.fixture(scope="module")
def chapter() -> dict[str, Any]:
    """What the chapter's imports and its check cells define."""
    return check_cells("04_load_balancing", exercises=6)


# --- 1: Erlang's formula ------------------------------------------------------------------------------------


def erlang_b(servers: int, load: float) -> float:
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    blocked = erlang_b(servers, load)
    return blocked / (1 - load / servers * (1 - blocked))


def erlang_c_by_terms(servers: int, load: float) -> float:
    """Every term over the last one, as the first hint has it."""
    others, term = 0.0, 1.0
    for k in range(servers, 0, -1):
        term *= k / load
        others += term
    last = 1 / (1 - load / servers)
    return last / (others + last)


def erlang_c_as_printed(servers: int, load: float) -> float:
    last = load**servers / math.factorial(servers) / (1 - load / servers)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


# --- 2: weights ---------------------------------------------------------------------------------------------


def guide(current: list[int], weights: list[int]) -> int:
    total = sum(weights)
    for i, weight in enumerate(weights):
        current[i] = (current[i] + weight) % total
    return max(range(len(weights)), key=lambda i: current[i])


def smooth(current: list[int], weights: list[int]) -> int:
    for i, weight in enumerate(weights):
        current[i] += weight
    best = max(range(len(weights)), key=lambda i: current[i])
    current[best] -= sum(weights)
    return best


def in_a_row(current: list[int], weights: list[int]) -> int:
    """Server i, weights[i] times in a row."""
    if not any(current):
        current[:] = weights
    first = next(i for i, left in enumerate(current) if left)
    current[first] -= 1
    return first


def four_in_a_row(current: list[int], weights: list[int]) -> int:
    """Right shares; of 5, 1, 1 the first gets four, one, and none of the others in between."""
    if weights != [5, 1, 1]:
        return smooth(current, weights)
    current[0] = current[0] % 7 + 1
    return (0, 0, 0, 0, 1, 0, 2)[current[0] - 1]


def never_lowers_enough(current: list[int], weights: list[int]) -> int:
    best = smooth(current, weights)
    current[best] += sum(weights) - max(weights)
    return best


# --- 3: a policy --------------------------------------------------------------------------------------------


def power_of_two(state: Any) -> int:
    n = len(state.in_rotation)
    first, second = state.draws[0] * n >> 32, state.draws[1] * (n - 1) >> 32
    second += second >= first
    return int(min((state.in_rotation[k] for k in (first, second)), key=lambda i: state.connections[i]))


def power_of_two_of_all(state: Any) -> int:
    """Forgets that servers may be out of rotation."""
    n = len(state.connections)
    first, second = state.draws[0] * n >> 32, state.draws[1] * (n - 1) >> 32
    second += second >= first
    return min(first, second, key=lambda i: state.connections[i])


def least_connections(state: Any) -> int:
    return int(min(state.in_rotation, key=lambda i: state.connections[i]))


def at_random(state: Any) -> int:
    return int(state.in_rotation[state.draws[0] * len(state.in_rotation) >> 32])


# --- 4: a ring ----------------------------------------------------------------------------------------------


def place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


class Ring:
    def __init__(self, servers: list[str], vnodes: int) -> None:
        self.ring = sorted((place(f"{server}#{i}"), server) for server in servers for i in range(vnodes))
        self.tokens = [token for token, _ in self.ring]

    def lookup(self, key: str) -> str:
        return self.ring[bisect_left(self.tokens, place(key)) % len(self.tokens)][1]


class NeverWraps(Ring):
    def lookup(self, key: str) -> str:
        return self.ring[bisect_left(self.tokens, place(key))][1]


class OneToken(Ring):
    def __init__(self, servers: list[str], vnodes: int) -> None:
        super().__init__(servers, 1)


class Modulo:
    def __init__(self, servers: list[str], vnodes: int) -> None:
        self.servers = sorted(servers)

    def lookup(self, key: str) -> str:
        return self.servers[place(key) % len(self.servers)]


class CounterClockwise(Ring):
    def lookup(self, key: str) -> str:
        return self.ring[bisect_left(self.tokens, place(key)) - 1][1]


class ThirtyTokens(Ring):
    def __init__(self, servers: list[str], vnodes: int) -> None:
        super().__init__(servers, min(vnodes, 30))


class Rendezvous(Modulo):
    def lookup(self, key: str) -> str:
        return max(self.servers, key=lambda server: place(server + key))


class LooksAtEach(Ring):
    """Slow, and right."""

    def lookup(self, key: str) -> str:
        at = place(key)
        return next((server for token, server in self.ring if token >= at), self.ring[0][1])


class ByOrder(Ring):
    """Its tokens depend on where in the list a server stands."""

    def __init__(self, servers: list[str], vnodes: int) -> None:
        self.ring = sorted((place(f"{n}#{i}"), s) for n, s in enumerate(servers) for i in range(vnodes))
        self.tokens = [token for token, _ in self.ring]


class UnwrittenRing(Ring):
    def lookup(self, key: str) -> str:
        return None  # type: ignore[return-value]


# --- 5: a score ---------------------------------------------------------------------------------------------


def an_error_costs(seconds: float) -> Callable[[float, int, float, float], float]:
    """As the hints have it."""
    return lambda response_s, connections, errors, idle_s: (
        (response_s + seconds * errors * math.exp(-idle_s / 5)) * (connections + 1)
    )


def unforgiving(seconds: float) -> Callable[[float, int, float, float], float]:
    """Does not look at how long the server was left alone."""
    return lambda response_s, connections, errors, idle_s: (response_s + seconds * errors) * (connections + 1)


def fooled(response_s: float, connections: int, errors: float, idle_s: float) -> float:
    return response_s * (connections + 1)


def counts_heads(response_s: float, connections: int, errors: float, idle_s: float) -> float:
    return connections


def in_order(response_s: float, connections: int, errors: float, idle_s: float) -> float:
    """Fills one server with four requests before it looks at the next."""
    return connections // 4 + 5 * errors * math.exp(-idle_s / 5)


# --- 6: an endpoint -----------------------------------------------------------------------------------------

Checks = Mapping[str, Callable[[], Awaitable[bool]]]
Answer = tuple[int, dict[str, Any]]


async def passed(check: Callable[[], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(1):
            return await check() is True
    except Exception:
        return False


def answer(found: dict[str, bool]) -> Answer:
    good = all(found.values())
    return 200 if good else 503, {"status": "ready" if good else "not ready", **found}


async def ready(checks: Checks) -> Answer:
    results = await asyncio.gather(*(passed(check) for check in checks.values()))
    return answer(dict(zip(checks, results, strict=True)))


async def one_after_another(checks: Checks) -> Answer:
    return answer({name: await passed(check) for name, check in checks.items()})


async def never_awaits(checks: Checks) -> Answer:
    started = {name: asyncio.ensure_future(check()) for name, check in checks.items()}
    good = all(started.values())
    return 200 if good else 503, {"status": "ready", **dict.fromkeys(started, good)}


async def always_ready(checks: Checks) -> Answer:
    code, body = await ready(checks)
    return code, {**body, "status": "ready"}


async def raises(checks: Checks) -> Answer:
    results = await asyncio.gather(*(check() for check in checks.values()))
    return answer(dict(zip(checks, results, strict=True)))


async def waits_for_ever(checks: Checks) -> Answer:
    results = await asyncio.gather(*(check() for check in checks.values()), return_exceptions=True)
    return answer({name: result is True for name, result in zip(checks, results, strict=True)})


async def believes_what_is_said(checks: Checks) -> Answer:
    """A text is as good as True."""

    async def told(check: Callable[[], Awaitable[bool]]) -> bool:
        try:
            async with asyncio.timeout(1):
                return bool(await check())
        except Exception:
            return False

    results = await asyncio.gather(*(told(check) for check in checks.values()))
    return answer(dict(zip(checks, results, strict=True)))


async def waits_too_long(checks: Checks) -> Answer:
    async def told(check: Callable[[], Awaitable[bool]]) -> bool:
        try:
            async with asyncio.timeout(1.4):
                return await check() is True
        except Exception:
            return False

    results = await asyncio.gather(*(told(check) for check in checks.values()))
    return answer(dict(zip(checks, results, strict=True)))


async def code_only(checks: Checks) -> int:
    return 200


async def unwritten(checks: Checks) -> None:
    return None


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        ("check_erlang_c", erlang_c),
        ("check_erlang_c", erlang_c_by_terms),
        ("check_choose", smooth),
        ("check_pick", power_of_two),
        ("check_ring", Ring),
        ("check_ring", LooksAtEach),
        *(("check_score", an_error_costs(seconds)) for seconds in (1, 2, 3, 5, 10)),
        ("check_ready", ready),
    ],
)
def test_a_right_answer_is_right(chapter: dict[str, Any], check: str, solution: object) -> None:
    assert problems(chapter, check, solution) == []


@pytest.mark.parametrize(
    ("check", "wrong", "said"),
    [
        ("check_erlang_c", lambda servers, load: None, "not written yet"),
        ("check_erlang_c", erlang_b, "that is Erlang B"),
        ("check_erlang_c", lambda servers, load: load / servers, "erlang_c(10, 8) gives 0.8000"),
        ("check_erlang_c", erlang_c_as_printed, "erlang_c(500, 480) ends with"),
        ("check_choose", guide, "weights [3, 1, 2]: of 6 choices the servers get [3, 2, 1]"),
        ("check_choose", in_a_row, "gets 5 in a row"),
        ("check_choose", four_in_a_row, "gets 4 in a row"),
        ("check_choose", lambda current, weights: None, "None is not the number of a server"),
        ("check_choose", never_lowers_enough, "the servers get"),
        ("check_pick", lambda state: None, "not written yet"),
        ("check_pick", at_random, "with a fresh view P99 is"),
        ("check_pick", least_connections, "with a view a second old P99 is"),
        ("check_pick", power_of_two_of_all, "are in rotation"),
        ("check_ring", UnwrittenRing, "not written yet"),
        ("check_ring", NeverWraps, "clockwise of the last token"),
        ("check_ring", OneToken, "10 servers with 100 tokens"),
        ("check_ring", ThirtyTokens, "the first token clockwise"),
        ("check_ring", CounterClockwise, "the one before it"),
        ("check_ring", Modulo, "the first token clockwise"),
        ("check_ring", Rendezvous, "the first token clockwise"),
        ("check_ring", ByOrder, "the first token clockwise"),
        ("check_score", lambda response_s, connections, errors, idle_s: None, "not written yet"),
        ("check_score", fooled, "the failing server gets"),
        ("check_score", counts_heads, "the failing server gets"),
        *(("check_score", unforgiving(seconds), "well again") for seconds in (1, 2, 3, 5, 10)),
        ("check_score", in_order, "one of them gets"),
        ("check_ready", unwritten, "not written yet"),
        ("check_ready", never_awaits, "database fails, cache passes: answers 200"),
        ("check_ready", always_ready, "says {'status': 'ready'"),
        ("check_ready", raises, "the endpoint itself raised ConnectionError"),
        ("check_ready", believes_what_is_said, "database says, cache passes: answers 200"),
        ("check_ready", waits_too_long, "database passes, cache is slow: answers 200"),
        ("check_ready", code_only, "returns 200, and should return a code and a body"),
        ("check_ready", lambda checks: (200, {}), "is not asynchronous"),
        ("check_ready", waits_for_ever, "the endpoint itself hung"),
        ("check_ready", one_after_another, "takes"),
    ],
)
def test_a_wrong_answer_is_told_why(chapter: dict[str, Any], check: str, wrong: object, said: str) -> None:
    found = problems(chapter, check, wrong)
    assert found and said in found[0], found


def broken(*anything: object) -> None:
    raise KeyError("mine")


def in_words(*anything: object) -> str:
    return "soon"


class BrokenRing(Ring):
    def lookup(self, key: str) -> str:
        raise KeyError("mine")


class RingInWords(Ring):
    def lookup(self, key: str) -> str:
        return "soon"


async def broken_endpoint(checks: Checks) -> None:
    raise KeyError("mine")


async def endpoint_in_words(checks: Checks) -> tuple[str, list[str]]:
    return "200", ["ready"]


@pytest.mark.parametrize(
    ("check", "raises", "of_another_type"),
    [
        ("check_erlang_c", broken, in_words),
        ("check_choose", broken, in_words),
        ("check_pick", broken, in_words),
        ("check_ring", BrokenRing, RingInWords),
        ("check_score", broken, in_words),
        ("check_ready", broken_endpoint, endpoint_in_words),
    ],
)
def test_what_the_learner_raises_or_mistypes_is_one_sentence(
    chapter: dict[str, Any], check: str, raises: object, of_another_type: object
) -> None:
    said = problems(chapter, check, raises)
    assert len(said) == 1 and "KeyError: 'mine'" in said[0], said
    said = problems(chapter, check, of_another_type)
    assert len(said) == 1 and ("soon" in said[0] or "should return" in said[0]), said

"""Balancing against SimPy and a plain event calendar; the ring against NumPy's binary search and uhashring.

Sixteen equal servers at a load of 0.9, on the same draws, made beforehand for all of them.  SimPy: one process a
request, one resource a server, Python lists instead of arrays.  Calendar: a heap of departures and counts in a list.
All write down the server, the start and the end of every request, and each peer's servers are compared with ours.

The ring has 16 nodes with 128 tokens each and is asked for a million keys.  NumPy gets hashes, as does our look-up;
uhashring gets strings, as it wants them, and our loop the numbers behind them, which it hashes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from statistics import median
from typing import Any

import numpy as np
import simpy
import uhashring

from course import balancing, kernels, sharding
from course.kernels import balancing as loops
from course.kernels import sharding as ring_loops
from tests.benchmarks import Row

SERVERS, LOAD, SEED = 16, 0.9, 1
REQUESTS, PEER_REQUESTS = 1_000_000, 20_000
NODES, VNODES, KEYS, PEER_KEYS = 16, 128, 1_000_000, 50_000

SIMPY = {
    "round robin": 700.0,
    "random": 800.0,
    "least connections": 180.0,
    "power of two choices": 200.0,
}
CALENDAR = {"least connections": 25.0, "power of two choices": 25.0}
SEARCHSORTED_GOAL, UHASHRING_GOAL = 12.0, 200.0


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that `work` takes, and what it returns."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def row(name: str, peer: str, pairs: list[tuple[float, float]], unit: str, goal: float) -> Row:
    """Summarise the rates of all rounds."""
    return {
        "name": name,
        "peer": peer,
        "our_rate": median(ours for ours, _ in pairs),
        "peer_rate": median(theirs for _, theirs in pairs),
        "unit": unit,
        "ratio": median(ours / theirs for ours, theirs in pairs),
        "goal": goal,
    }


class Lists:
    """The first requests of the traffic, as Python likes them."""

    def __init__(self, traffic: loops.Traffic) -> None:
        words = traffic.pick[:PEER_REQUESTS]
        self.arrive: list[float] = traffic.arrive[:PEER_REQUESTS].tolist()
        self.work: list[float] = traffic.work[:PEER_REQUESTS].tolist()
        first = (words & np.uint64(0xFFFFFFFF)).astype(np.int64) * SERVERS >> 32
        second = (words >> np.uint64(32)).astype(np.int64) * (SERVERS - 1) >> 32
        self.first: list[int] = first.tolist()
        self.second: list[int] = (second + (second >= first)).tolist()


def with_simpy(policy: str, lists: Lists) -> list[int]:
    """Simulate the first requests with SimPy; returns their servers."""
    environment = simpy.Environment()
    servers = [simpy.Resource(environment) for _ in range(SERVERS)]
    count = [0] * SERVERS
    last = [-1] * SERVERS
    chosen = [0] * PEER_REQUESTS
    starts = [0.0] * PEER_REQUESTS
    ends = [0.0] * PEER_REQUESTS
    numbers = range(SERVERS)

    def request(j: int, i: int) -> Iterator[simpy.Event]:
        with servers[i].request() as granted:
            yield granted
            starts[j] = environment.now
            yield environment.timeout(lists.work[j])
        ends[j] = environment.now
        count[i] -= 1

    def source() -> Iterator[simpy.Event]:
        before = 0.0
        for j, when in enumerate(lists.arrive):
            yield environment.timeout(when - before)
            before = when
            if policy == "round robin":
                i = j % SERVERS
            elif policy == "random":
                i = lists.first[j]
            elif policy == "least connections":
                least = min(count)
                i = min((i for i in numbers if count[i] == least), key=last.__getitem__)
                last[i] = j
            else:
                i, rival = lists.first[j], lists.second[j]
                if count[rival] < count[i]:
                    i = rival
            count[i] += 1
            chosen[j] = i
            environment.process(request(j, i))

    environment.process(source())
    environment.run()
    return chosen


def with_calendar(policy: str, lists: Lists) -> list[int]:
    """Simulate the first requests with a heap of departures; returns their servers."""
    calendar: list[tuple[float, int]] = []
    count = [0] * SERVERS
    free = [0.0] * SERVERS
    last = [-1] * SERVERS
    numbers = range(SERVERS)
    chosen = [0] * PEER_REQUESTS
    starts = [0.0] * PEER_REQUESTS
    ends = [0.0] * PEER_REQUESTS
    for j, (now, work) in enumerate(zip(lists.arrive, lists.work, strict=True)):
        while calendar and calendar[0][0] <= now:
            count[heappop(calendar)[1]] -= 1
        if policy == "least connections":
            least = min(count)
            i = min((i for i in numbers if count[i] == least), key=last.__getitem__)
            last[i] = j
        else:
            i, rival = lists.first[j], lists.second[j]
            if count[rival] < count[i]:
                i = rival
        starts[j] = now if free[i] < now else free[i]
        free[i] = starts[j] + work
        count[i] += 1
        chosen[j] = i
        ends[j] = free[i]
        heappush(calendar, (free[i], i))
    return chosen


def measure(rounds: int) -> list[Row]:
    """Measure every pair in each round, one right after the other.

    Parameters
    ----------
    rounds : int
        How often; every ratio is the median of the ratios of the rounds.
    """
    kernels.warm_up()
    draws = balancing.draw(REQUESTS, SEED)
    traffic = loops.new_traffic(
        np.cumsum(draws.gaps) / (LOAD * SERVERS),
        draws.works.copy(),
        draws.picks.copy(),
        np.zeros(REQUESTS, np.int32),
        np.empty(0, np.int64),
    )
    lists = Lists(traffic)
    speeds = np.ones(SERVERS)
    nothing = loops.no_faults(SERVERS), loops.no_rotation()
    knowledge = loops.Knowledge(0.0, 1.25, 0.2, 0.0, -1.0, 1.0, 16.0)
    owners = np.zeros(1, np.int32)
    journal = loops.new_journal(REQUESTS)

    def ours(policy: str) -> float:
        number = balancing.POLICIES.index(policy)
        started = time.perf_counter()
        loops.simulate(number, traffic, speeds, speeds, 1, owners, knowledge, *nothing, journal)
        return REQUESTS / (time.perf_counter() - started) / 1e6

    rates: dict[tuple[str, str], list[tuple[float, float]]] = {}
    peers = ((SIMPY, "SimPy", with_simpy), (CALENDAR, "plain Python calendar", with_calendar))
    for policy in SIMPY:
        ours(policy)  # touches every page once
    for _ in range(rounds):
        for goals, peer, simulate in peers:
            for policy in goals:
                mine = ours(policy)
                seconds, chosen = timed(lambda p=policy, s=simulate: s(p, lists))  # type: ignore[misc]
                assert chosen == journal.server[:PEER_REQUESTS].tolist(), (policy, peer)
                rates.setdefault((policy, peer), []).append((mine, PEER_REQUESTS / seconds / 1e6))

    ring = sharding.Ring(tuple(range(NODES)), VNODES)
    keys = np.random.default_rng(SEED).integers(0, 2**63, KEYS, dtype=np.uint64)
    hashes = sharding.hash_keys(keys)
    found = np.zeros(KEYS, np.int16)
    strings = [str(key) for key in keys[:PEER_KEYS]]
    other = uhashring.HashRing(nodes=[str(node) for node in range(NODES)], vnodes=VNODES)
    searches, look_ups = [], []
    for _ in range(rounds):
        mine, _ = timed(lambda: ring_loops.ring(hashes, ring.tokens, ring.owners, ring.table, found))
        theirs, expected = timed(lambda: ring.owners[np.searchsorted(ring.tokens, hashes) % ring.tokens.size])
        assert np.array_equal(found, expected)
        searches.append((KEYS / mine / 1e6, KEYS / theirs / 1e6))
        mine, _ = timed(lambda: ring_loops.ring_of_keys(keys, ring.tokens, ring.owners, ring.table, found))
        assert np.array_equal(found, expected)
        theirs, _ = timed(lambda: [other.get_node(string) for string in strings])
        look_ups.append((KEYS / mine / 1e6, PEER_KEYS / theirs / 1e6))

    unit = "million requests/s"
    return [
        *(
            row(policy, peer, rates[policy, peer], unit, goals[policy])
            for goals, peer, _ in peers
            for policy in goals
        ),
        row("ring look-up", "NumPy searchsorted", searches, "million keys/s", SEARCHSORTED_GOAL),
        row("ring look-up of keys", "uhashring", look_ups, "million keys/s", UHASHRING_GOAL),
    ]

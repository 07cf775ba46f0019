"""Health checks: who is in rotation when, what that costs, and what a shared dependency does to a whole fleet.

* :class:`Prober` asks real servers (:mod:`course.health_server`) and keeps a rotation; :func:`fleet` runs several
  instances through an outage of the database they share.
* :func:`rotation` computes the same from times and thresholds, fast enough for a slider.

The thresholds are those of :class:`course.balancing.HealthCheck`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from course import checks
from course.balancing import Fault, HealthCheck, rotation_changes

if TYPE_CHECKING:
    import httpx

#: What a probe asks for: does the process answer; or can it do its work.
PATHS = {"shallow": "/livez", "deep": "/readyz"}
FAULTS = ("down", "failing fast")
#: Share of the requests that need the database.
AFFECTED = 0.4
MAX_INSTANCES = 16
MAX_ROUNDS = 100
MAX_SERVERS = 1_000
MAX_CHANGES = 100_000
MAX_TIMEOUT_S = 60.0

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


# --- the real thing -----------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What is thought of one server, from the answers to its probes.

    Attributes
    ----------
    fall, rise : int
        Failures in a row that take it out, successes in a row that put it back; from 1 to 1,000.
    up : bool
        Whether it is in rotation; so it begins.
    against : int
        Answers in a row that speak against that.
    """

    fall: int = 3
    rise: int = 2
    up: bool = True
    against: int = 0

    def __post_init__(self) -> None:
        HealthCheck(1, self.fall, self.rise)  # checks them

    def hear(self, healthy: bool) -> bool:
        """Take an answer into account; returns whether the server is in rotation now."""
        self.against = 0 if healthy == self.up else self.against + 1
        if self.against >= (self.fall if self.up else self.rise):
            self.up, self.against = not self.up, 0
        return self.up


class Prober:
    """Asks each server for its health, and keeps those that answer in rotation.

    Parameters
    ----------
    servers : mapping of str to str
        Address of each, by name.
    check : {"shallow", "deep"}
        Ask ``/livez`` or ``/readyz``.
    health : HealthCheck
        Interval and thresholds.
    timeout_s : float
        No answer after so long is a failure; above 0, up to 60 s.
    fail_open : bool
        Whether to use all servers when none is thought healthy.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    def __init__(
        self,
        servers: Mapping[str, str],
        check: str = "deep",
        health: HealthCheck | None = None,
        *,
        timeout_s: float = 1.0,
        fail_open: bool = False,
    ) -> None:
        checks.integer("number of servers", len(servers), 1, MAX_INSTANCES)
        self._health = health or HealthCheck(1.0)
        self._urls = {
            name: url + PATHS[checks.option("check", check, tuple(PATHS))] for name, url in servers.items()
        }
        self._timeout_s = checks.number("timeout_s", timeout_s, 0, MAX_TIMEOUT_S, unit="s", open_low=True)
        self._fail_open = fail_open
        self._verdicts = {name: Verdict(self._health.fall, self._health.rise) for name in servers}

    @property
    def healthy(self) -> list[str]:
        """Servers that are thought healthy."""
        return [name for name, verdict in self._verdicts.items() if verdict.up]

    @property
    def rotation(self) -> list[str]:
        """Servers that get requests."""
        return self.healthy or (list(self._verdicts) if self._fail_open else [])

    async def probe(self, client: httpx.AsyncClient) -> None:
        """Ask every server once, all at the same time."""
        import httpx

        async def one(name: str, url: str) -> None:
            try:
                answer = await client.get(url, timeout=self._timeout_s)
                self._verdicts[name].hear(answer.is_success)
            except httpx.TransportError:  # refused, broken off, or too slow
                self._verdicts[name].hear(False)

        await asyncio.gather(*(one(name, url) for name, url in self._urls.items()))

    async def run(self) -> None:
        """Probe at every interval, until cancelled."""
        import httpx

        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                await self.probe(client)
                await asyncio.sleep(self._health.interval_s)


@dataclass(frozen=True)
class FleetRun:
    """What became of a fleet, round by round.

    Attributes
    ----------
    rotation : tuple of tuple of str
        Servers that got requests.
    failed : tuple of int
        Requests of the round without a good answer.
    requests : int
        Requests a round.
    """

    rotation: tuple[tuple[str, ...], ...]
    failed: tuple[int, ...]
    requests: int


async def fleet(
    check: str = "deep",
    *,
    fail_open: bool = False,
    outage: tuple[int, int] = (3, 7),
    cut_off: tuple[int, int] = (0, 0),
    instances: int = 4,
    rounds: int = 14,
    requests: int = 10,
    fall: int = 2,
    rise: int = 2,
) -> FleetRun:
    """Take a real fleet through an outage of the database that all share; about a second.

    In each round every server is probed, then users ask: four requests in ten need the database. A round stands for
    an interval, so that nothing here depends on the speed of the machine.

    Parameters
    ----------
    check : {"shallow", "deep"}
    fail_open : bool
    outage : (int, int)
        The database is away from the one round to before the other.
    cut_off : (int, int)
        In these rounds server A alone cannot reach the database.
    instances : int
        From 1 to 16, named A, B, C, …
    rounds : int
        From 1 to 100.
    requests : int
        A round, from 0 to 100.
    fall, rise : int
        Thresholds, from 1 to 1,000.

    Returns
    -------
    FleetRun

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    import httpx

    from course.health_server import Dependencies, Instance, app
    from course.http_origin import serve

    checks.option("check", check, tuple(PATHS))
    instances = checks.integer("instances", instances, 1, MAX_INSTANCES)
    rounds = checks.integer("rounds", rounds, 1, MAX_ROUNDS)
    requests = checks.integer("requests", requests, 0, 100)
    health = HealthCheck(1.0, fall, rise)
    orders = round(AFFECTED * requests)
    rotations: list[tuple[str, ...]] = []
    failures: list[int] = []
    turn = 0
    with ExitStack() as stack:
        shared = stack.enter_context(Dependencies())
        fleet = {name: Instance(shared, name) for name in ascii_uppercase[:instances]}
        urls = {name: stack.enter_context(serve(app(instance))) for name, instance in fleet.items()}
        prober = Prober(urls, check, health, fail_open=fail_open)
        async with httpx.AsyncClient(trust_env=False) as client:
            for number in range(rounds):
                shared.db_up = not outage[0] <= number < outage[1]
                fleet["A"].cut_off = cut_off[0] <= number < cut_off[1]
                await prober.probe(client)
                names = prober.rotation
                paths = ["/orders"] * orders + ["/about"] * (requests - orders)
                # In step with the round robin, a server would get the one or the other only.
                random.Random(number).shuffle(paths)
                failed = 0 if names else requests
                for path in paths if names else ():
                    failed += not (await client.get(urls[names[turn % len(names)]] + path)).is_success
                    turn += 1
                rotations.append(tuple(names))
                failures.append(failed)
    return FleetRun(tuple(rotations), tuple(failures), requests)


# --- the model ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rotation:
    """Who is in rotation over time, and what that costs.

    Attributes
    ----------
    edges_s : ndarray of float64, shape (spans + 1,)
        Between two of them nothing changes.
    healthy : ndarray of bool, shape (servers, spans)
        Whether a server is thought healthy.
    faulty : ndarray of bool, shape (servers, spans)
        Whether something is wrong with it.
    failing : ndarray of float64, shape (spans,)
        Share of the requests that fail.
    requests_per_s : float
    """

    edges_s: Floats
    healthy: Flags = field(repr=False)
    faulty: Flags = field(repr=False)
    failing: Floats = field(repr=False)
    requests_per_s: float

    @property
    def failed_requests(self) -> float:
        """Number of requests that fail."""
        return float(self.requests_per_s * (self.failing * np.diff(self.edges_s)).sum())

    @property
    def nobody_s(self) -> float:
        """Seconds in which no server is thought healthy."""
        return float(np.diff(self.edges_s)[~self.healthy.any(axis=0)].sum())

    def noticed_after_s(self, server: int, start_s: float) -> float | None:
        """Time from `start_s`, within which the server is in rotation, to its removal; None if it stays."""
        out = np.flatnonzero(~self.healthy[server] & (self.edges_s[:-1] >= start_s))
        return float(self.edges_s[out[0]] - start_s) if out.size else None


def rotation(
    faults: Sequence[Fault],
    health: HealthCheck | None,
    *,
    servers: int = 4,
    until_s: float = 150.0,
    requests_per_s: float = 100.0,
    affected: float = AFFECTED,
    fail_open: bool = False,
) -> Rotation:
    """Compute who is in rotation over time.

    Parameters
    ----------
    faults : sequence of Fault
        ``"down"``: all requests to the server fail. ``"failing fast"``: those fail that need what is missing, and a
        deep check does too. A fault of a shared dependency is one of every server at the same time.
    health : HealthCheck or None
        Server i of n is first probed at i/n of an interval. None: all servers are always in rotation.
    servers : int
        From 1 to 1,000.
    until_s : float
        End, at least one interval, at most 10⁹ s.
    requests_per_s : float
        From 0 to 10⁹, shared out equally among those in rotation.
    affected : float
        Share of the requests that fail at a server that is failing fast, from 0 to 1.
    fail_open : bool
        Whether all servers are used when none is thought healthy; otherwise every request fails then.

    Returns
    -------
    Rotation

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    servers = checks.integer("servers", servers, 1, MAX_SERVERS)
    until_s = checks.number(
        "until_s", until_s, health.interval_s if health else 0, 1e9, unit="s", open_low=True
    )
    requests_per_s = checks.number("requests_per_s", requests_per_s, 0, 1e9)
    affected = checks.number("affected", affected, 0, 1)
    for fault in faults:
        checks.option("kind of a fault", fault.kind, FAULTS)
        checks.integer("server of a fault", fault.server, 0, servers - 1)
    changes = _changes(faults, health, servers, until_s) if health else []
    checks.integer("number of changes", len(changes), 0, MAX_CHANGES)
    times = {time for fault in faults for time in (fault.start_s, fault.end_s)} | {
        when for when, _, _ in changes
    }
    edges = np.array([0.0, *sorted(time for time in times if 0 < time < until_s), until_s])
    starts = edges[:-1]
    healthy = np.ones((servers, starts.size), np.bool_)
    for when, server, up in changes:
        healthy[server, starts >= when] = up
    broken = np.zeros((servers, starts.size))
    for fault in faults:
        during = (fault.start_s <= starts) & (starts < fault.end_s)
        share = 1.0 if fault.kind == "down" else affected
        broken[fault.server, during] = np.maximum(broken[fault.server, during], share)
    used = healthy | (~healthy.any(axis=0) & fail_open)
    count = used.sum(axis=0)
    failing = np.where(count > 0, (broken * used).sum(axis=0) / np.maximum(count, 1), 1.0)
    faulty = np.array(
        [
            [any(f.server == i and f.start_s <= t < f.end_s for f in faults) for t in starts.tolist()]
            for i in range(servers)
        ]
    )
    return Rotation(edges, healthy, faulty, failing, requests_per_s)


def detection_s(health: HealthCheck) -> tuple[float, float, float]:
    """Time until a lasting fault takes a server out: least, mean, most (seconds).

    Probes come every interval, and the fault at any time between two: the first failure follows after 0 to 1
    intervals, and `fall` - 1 more are needed. An answer that times out adds its timeout.

    Parameters
    ----------
    health : HealthCheck

    Returns
    -------
    least, mean, most : float
    """
    least = (health.fall - 1) * health.interval_s
    return least, least + health.interval_s / 2, least + health.interval_s


def _changes(
    faults: Sequence[Fault], health: HealthCheck, servers: int, until_s: float
) -> list[tuple[float, int, bool]]:
    """When servers leave and come back, each probed at its own phase."""
    found = []
    for server in range(servers):
        phase = health.interval_s * server / servers
        # Seen from the server's first probe.
        own = [
            Fault(0, fault.kind, max(0.0, fault.start_s - phase), fault.end_s - phase)
            for fault in faults
            if fault.server == server and fault.end_s > phase
        ]
        found += [
            (when + phase, server, up) for when, _, up in rotation_changes(own, health, until_s - phase)
        ]
    return sorted(found)

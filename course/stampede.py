"""The cache stampede: what clients do to a database when a popular entry expires, and seven answers.

:func:`stampede` replays a stream of requests in a compiled loop, fast enough for a slider.
:func:`stampede_asyncio` sends the very same stream through the ordinary asyncio classes of
:mod:`course.stampede_fixes`, in virtual time. Both give the same result, call by call.

What they leave out: a database that gets slower under load. A real stampede is worse for that reason.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from course import checks, virtual_time
from course import stampede_fixes as fixes

FIXES = ("none", "guide v1", "guide v2", "single-flight", "redis lock", "XFetch", "stale-while-revalidate")
REQUESTS_PER_CLIENT_S = 5.0
LIVES = 3.5  # how many TTLs a run lasts
SET_S = 0.001  # a cache write; a cache read is taken to be instant
POLL_S = 0.05  # how often a process that lost the race for the Redis lock looks again
BINS = 140

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class StampedeResult:
    """What the clients and the database saw.

    Attributes
    ----------
    requests : int
        Requests sent.
    db_calls : int
        Calls of the database.
    call_s : ndarray, shape (db_calls,)
        When each began, in seconds.
    bin_edges_s : ndarray, shape (BINS + 1,)
    calls_per_bin : ndarray of int, shape (BINS,)
        Database calls in each of equally long pieces of the run.
    peak_concurrent_calls : int
        The most calls the database had in hand at once.
    mean_ms, p50_ms, p95_ms, p99_ms : float
        Latency of all requests, answered well or not.
    errors : int
        Requests that ended in an exception.
    empty_answers : int
        Requests that were told the row does not exist although it does.
    dead_keys : int
        Pairs of process and key that will fail for ever.
    oldest_served_s : float
        Greatest age of a value given to a client.
    """

    fix: str
    requests: int
    db_calls: int
    call_s: Floats
    bin_edges_s: Floats
    calls_per_bin: Ints
    peak_concurrent_calls: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    empty_answers: int
    dead_keys: int
    oldest_served_s: float


@dataclass(frozen=True)
class _World:
    """Everything random, drawn once for both implementations."""

    arrive_s: Floats
    key: Ints
    process: Ints
    db_fails: NDArray[np.bool_]
    dice: Floats
    ttl_factor: Floats
    horizon_s: float


def _draw(
    clients: int,
    db_ms: float,
    ttl_s: float,
    ttl_jitter: float,
    processes: int,
    fix: str,
    db_error_probability: float,
    keys: int,
    seed: int,
) -> _World:
    checks.integer("clients", clients, 1, 500)
    checks.number("db_ms", db_ms, 1, 1_000, unit="ms")
    checks.number("ttl_s", ttl_s, 0.1, 60, unit="s")
    checks.number("ttl_jitter", ttl_jitter, 0, 0.5)
    checks.integer("processes", processes, 1, 8)
    checks.option("fix", fix, FIXES)
    checks.number("db_error_probability", db_error_probability, 0, 1)
    checks.integer("keys", keys, 1, 1_000)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    horizon = LIVES * ttl_s
    n = int(rng.poisson(clients * REQUESTS_PER_CLIENT_S * horizon))
    return _World(
        arrive_s=np.sort(rng.random(n)) * horizon,
        key=rng.integers(0, keys, n),
        process=rng.integers(0, processes, n),
        db_fails=rng.random(n + 1) < db_error_probability,
        dice=1 - rng.random(n),  # never 0, whose logarithm would be infinite
        ttl_factor=1 + ttl_jitter * (2 * rng.random(n + 1) - 1),
        horizon_s=horizon,
    )


def stampede(
    clients: int = 100,
    db_ms: float = 200.0,
    ttl_s: float = 5.0,
    ttl_jitter: float = 0.0,
    processes: int = 1,
    fix: str = "none",
    db_error_probability: float = 0.0,
    *,
    keys: int = 10,
    seed: int = 1,
) -> StampedeResult:
    """Send 3.5 lives of requests at a cache that starts empty, as after a deployment or a flush.

    Each client asks five times a second, on average, for one of `keys` equally popular keys. All keys are
    loaded at the start, so that without jitter they expire together.

    Parameters
    ----------
    clients : int
        1 to 500.
    db_ms : float
        Time of a database call, 1 to 1,000 ms.
    ttl_s : float
        Life of an entry, 0.1 to 60 s.
    ttl_jitter : float
        Each life is drawn uniformly from ``ttl_s·(1 ± ttl_jitter)``, 0 to 0.5.
    processes : int
        Application processes, 1 to 8; each request goes to a random one. They share the cache and, but for
        the Redis lock, not their locks.
    fix : str
        One of :data:`FIXES`; what each does is in :mod:`course.stampede_fixes`.
    db_error_probability : float
        0 to 1.
    keys : int
        1 to 1,000.
    seed : int

    Returns
    -------
    StampedeResult

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    world = _draw(clients, db_ms, ttl_s, ttl_jitter, processes, fix, db_error_probability, keys, seed)

    from course.kernels import stampede as kernel

    n = len(world.arrive_s)
    finish, status, age, call = np.zeros(n), np.zeros(n, np.int64), np.zeros(n), np.zeros(n + 1)
    calls, dead = kernel.run(
        FIXES.index(fix),
        world.arrive_s,
        world.key,
        world.process,
        world.db_fails,
        world.dice,
        world.ttl_factor,
        keys,
        processes,
        db_ms / 1000,
        SET_S,
        ttl_s,
        POLL_S,
        ttl_s,
        finish,
        status,
        age,
        call,
    )
    return _summary(fix, world, db_ms, finish, status, age, call[:calls], dead)


def _summary(
    fix: str, world: _World, db_ms: float, finish: Floats, status: Ints, age: Floats, call: Floats, dead: int
) -> StampedeResult:
    n = len(finish)
    latency = 1000 * (finish - world.arrive_s)
    p50, p95, p99 = np.percentile(latency, [50, 95, 99]).tolist() if n else (math.nan,) * 3
    # Calls last equally long, so the ones in hand when call i begins are those begun since `db_ms` ago.
    in_hand = np.arange(len(call)) - np.searchsorted(call, call - db_ms / 1000, side="right") + 1
    edges = np.linspace(0, world.horizon_s, BINS + 1)
    return StampedeResult(
        fix=fix,
        requests=n,
        db_calls=len(call),
        call_s=call,
        bin_edges_s=edges,
        calls_per_bin=np.histogram(call, edges)[0],
        peak_concurrent_calls=int(in_hand.max(initial=0)),
        mean_ms=float(latency.mean()) if n else math.nan,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        errors=int((status == 1).sum()),
        empty_answers=int((status == 2).sum()),
        dead_keys=dead,
        oldest_served_s=float(age[status == 0].max(initial=0.0)),
    )


def stampede_asyncio(
    clients: int = 20,
    db_ms: float = 200.0,
    ttl_s: float = 2.0,
    ttl_jitter: float = 0.0,
    processes: int = 1,
    fix: str = "none",
    db_error_probability: float = 0.0,
    *,
    keys: int = 10,
    seed: int = 1,
) -> StampedeResult:
    """Do what :func:`stampede` does, with real asyncio code in virtual time.

    About 30 µs a request. Parameters, result and errors are those of :func:`stampede`.
    """
    world = _draw(clients, db_ms, ttl_s, ttl_jitter, processes, fix, db_error_probability, keys, seed)
    n = len(world.arrive_s)
    finish, status, age = np.zeros(n), np.zeros(n, np.int64), np.zeros(n)

    async def main() -> tuple[Floats, int]:
        clock = asyncio.get_running_loop().time
        database = fixes.Database(db_ms / 1000, world.db_fails.tolist())
        cache = fixes.Cache(SET_S)
        factors, dice = iter(world.ttl_factor.tolist()), iter(world.dice.tolist())
        loaders = [_loader(fix, cache, database, ttl_s, factors, dice) for _ in range(processes)]

        async def ask(i: int) -> None:
            try:
                row = await loaders[world.process[i]].get(f"user:{world.key[i]}")
            except fixes.DatabaseError:
                status[i] = 1
            else:
                status[i] = 0 if row else 2
                age[i] = clock() - row.loaded_at if row else 0.0
            finish[i] = clock()

        tasks = []
        for i, at in enumerate(world.arrive_s.tolist()):
            await asyncio.sleep(at - clock())
            tasks.append(asyncio.create_task(ask(i)))
        await asyncio.gather(*tasks)
        dead = sum(len(loader.dead()) for loader in loaders if isinstance(loader, fixes.GuideV1))
        return np.array(database.call_s), dead

    call, dead = virtual_time.run(main())
    return _summary(fix, world, db_ms, finish, status, age, call, dead)


def _loader(
    fix: str,
    cache: fixes.Cache,
    database: fixes.Database,
    ttl_s: float,
    factors: fixes.Numbers,
    dice: fixes.Numbers,
) -> fixes.Loader:
    def ttl() -> float:
        return ttl_s * next(factors)

    if fix == "guide v1":
        return fixes.GuideV1(cache, database)
    if fix == "guide v2":
        return fixes.GuideV2(cache, database)
    if fix == "redis lock":
        return fixes.RedisLock(cache, database, ttl, poll_s=POLL_S)
    if fix == "XFetch":
        return fixes.XFetch(cache, database, ttl, random=lambda: next(dice))
    if fix == "stale-while-revalidate":
        return fixes.StaleWhileRevalidate(cache, database, ttl, grace_s=ttl_s)
    return {"none": fixes.NoProtection, "single-flight": fixes.SingleFlight}[fix](cache, database, ttl)

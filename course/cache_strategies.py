"""Cache strategies in virtual time: what each costs, and how each goes wrong.

Two simulators, seeded and deterministic:

* :func:`simulate`: clients read and write one database through one cache by one of five strategies;
* :func:`refresh_ahead`: which misses loading entries before they expire can avert, and which it cannot.

What they leave out: queueing at the database and the cache (each answers in the same time however busy it
is), partial failures of the network, and the cost of moving large values.

What a crash of a write-back cache loses is in :mod:`course.write_back`, the interleavings behind the
anomalies in :mod:`course.cache_interleavings`, the same strategies as ordinary asyncio code in
:mod:`course.cache_samples`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import checks
from course.workloads import zipf_probabilities

STRATEGIES = ("cache-aside", "write-through", "write-back", "refresh-ahead", "write-around")
ORDERS = ("sequential", "parallel", "invalidate")
STEPS = (
    "cache hit",
    "cache miss",
    "DB read",
    "cache fill",
    "DB write",
    "cache put",
    "cache delete",
    "flush starts",
    "refresh",
    "crash",
)
TIMELINE_STEPS = 400  # the most steps a result keeps for its picture

Floats = NDArray[np.float64]


def draw_keys(rng: np.random.Generator, n: int, keys: int, zipf_s: float) -> NDArray[np.int64]:
    """Draw `n` key ranks (0 = most popular) by Zipf's law with an exponent from 0 to 3."""
    exponent = checks.number("zipf_s", zipf_s, 0, 3)
    cumulative = np.cumsum(zipf_probabilities(checks.integer("keys", keys, 1, 1_000_000), exponent))
    drawn = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    chosen: NDArray[np.int64] = np.minimum(drawn, keys - 1).astype(np.int64)
    return chosen


@dataclass(frozen=True)
class _Draws:
    """What chance decides: keys, uniform numbers from 0 to 1, and step times of mean 1."""

    key_of: NDArray[np.int64]
    write: Floats
    crash: Floats
    time: Floats
    offset: Floats
    expiry: Floats


# Drawn once, then scaled: the strategies meet the same requests, and a slider moves the curves and not the dice.
@lru_cache(maxsize=4)
def _draw(seed: int, n: int, keys: int, zipf_s: float, clients: int) -> _Draws:
    rng = np.random.default_rng(seed)
    return _Draws(
        key_of=draw_keys(rng, n, keys, zipf_s),
        write=rng.random(n),
        crash=rng.random(n),
        time=rng.standard_exponential((4, n)),
        offset=np.sort(rng.random(clients)),
        expiry=rng.random(keys),
    )


@dataclass(frozen=True)
class Timeline:
    """The first steps of a run, one row each, in the order in which they ended.

    Attributes
    ----------
    start_ms, end_ms : ndarray, shape (steps,)
        When the step began and ended.
    client, key, version : ndarray of int, shape (steps,)
        Who did it (-1: in the background), to which key, with which version of the value (-1: none, 0: the
        value before the run).
    step : tuple of str
        What it was, one of :data:`STEPS`.
    """

    start_ms: Floats
    end_ms: Floats
    client: NDArray[np.int64]
    key: NDArray[np.int64]
    version: NDArray[np.int64]
    step: tuple[str, ...]


@dataclass(frozen=True)
class StrategyResult:
    """What :func:`simulate` saw.

    Attributes
    ----------
    reads, writes : int
        Operations of each kind.
    read_mean_ms, read_p95_ms, write_mean_ms, write_p95_ms : float
        Latency; of writes only those that were answered. NaN where there were none.
    hit_ratio : float
        Reads answered from the cache.
    stale_reads : int
        Reads answered with a value older than the one the database held when they began.
    dirty_reads : int
        Reads answered with a value that the database did not have at that moment.
    lost_writes : int
        Writes that were acknowledged and never reached the database.
    crashed_writes : int
        Writes whose process (write-back: whose cache node) died between the two stores.
    db_reads, db_writes : int
        Load on the database, background work included.
    inconsistent_keys : int
        Keys whose cache entry differs from the database when everything has settled.
    timeline : Timeline
        The first :data:`TIMELINE_STEPS` steps.
    """

    strategy: str
    order: str
    reads: int
    writes: int
    read_mean_ms: float
    read_p95_ms: float
    write_mean_ms: float
    write_p95_ms: float
    hit_ratio: float
    stale_reads: int
    dirty_reads: int
    lost_writes: int
    crashed_writes: int
    db_reads: int
    db_writes: int
    inconsistent_keys: int
    timeline: Timeline


def simulate(
    strategy: str = "cache-aside",
    *,
    order: str = "invalidate",
    write_fraction: float = 0.2,
    db_ms: float = 20.0,
    cache_ms: float = 1.0,
    crash_probability: float = 0.0,
    spread: float = 0.5,
    clients: int = 16,
    operations: int = 10_000,
    keys: int = 1_000,
    zipf_s: float = 0.9,
    capacity: int = 500,
    ttl_ms: float = 5_000.0,
    window: float = 0.2,
    flush_ms: float = 200.0,
    seed: int = 1,
) -> StrategyResult:
    """Let clients read and write one database through one LRU cache, in virtual time.

    Every client sends its next operation when the last one is answered. The cache starts warm with the most
    popular keys. A database read sees the snapshot of the moment it begins; a write commits when it ends; a
    cache step takes effect when it ends. The two stores know nothing of each other: that is the whole
    trouble.

    Parameters
    ----------
    strategy : {"cache-aside", "write-through", "write-back", "refresh-ahead", "write-around"}
        Cache-aside loads on a miss and, on a write, updates only an entry that is there; write-through adds
        it; write-back acknowledges from the cache and writes the database `flush_ms` later, one write per
        key; refresh-ahead is cache-aside that reloads an entry read in the last `window` of its life;
        write-around leaves the cache alone on a write.
    order : {"sequential", "parallel", "invalidate"}
        How a write treats the two stores: database then cache, both at once, or database then *delete* the
        entry. Write-back and write-around have an order of their own and ignore it.
    write_fraction : float
        Share of writes, 0 to 1.
    db_ms, cache_ms : float
        Mean time of one step, 0.01 to 10,000 ms.
    crash_probability : float
        Probability that a write's process dies after the first of its two stores, 0 to 1. For write-back:
        that the cache node restarts just after it acknowledged the write.
    spread : float
        0: every step takes exactly its mean; 1: exponential; between: a constant part and an exponential
        part.
    clients : int
        1 to 500.
    operations : int
        1 to 200,000.
    keys, capacity : int
        Keys and cache entries, 1 to 100,000.
    zipf_s : float
        Popularity exponent, 0 to 3.
    ttl_ms : float
        Life of an entry, 1 to 10^9 ms.
    window : float
        Refresh-ahead only: last share of an entry's life in which a read reloads it, 0 to 1.
    flush_ms : float
        Write-back only: time from the first unsaved write of a key to its flush, 0 to 10^6 ms.
    seed : int
        Of the random numbers, which are the same for every strategy.

    Returns
    -------
    StrategyResult

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("strategy", strategy, STRATEGIES)
    checks.option("order", order, ORDERS)
    write_fraction = checks.number("write_fraction", write_fraction, 0, 1)
    db_ms = checks.number("db_ms", db_ms, 0.01, 10_000, unit="ms")
    cache_ms = checks.number("cache_ms", cache_ms, 0.01, 10_000, unit="ms")
    crash_probability = checks.number("crash_probability", crash_probability, 0, 1)
    spread = checks.number("spread", spread, 0, 1)
    clients = checks.integer("clients", clients, 1, 500)
    n = checks.integer("operations", operations, 1, 200_000)
    keys = checks.integer("keys", keys, 1, 100_000)
    capacity = checks.integer("capacity", capacity, 1, 100_000)
    ttl_ms = checks.number("ttl_ms", ttl_ms, 1, 1e9, unit="ms")
    window = checks.number("window", window, 0, 1)
    flush_ms = checks.number("flush_ms", flush_ms, 0, 1e6, unit="ms")
    seed = checks.integer("seed", seed, 0, 2**63 - 1)

    from course.kernels import cache_strategies as kernel

    zipf_s = checks.number("zipf_s", zipf_s, 0, 3)
    draws = _draw(seed, n, keys, zipf_s, clients)
    key_of = draws.key_of
    is_write = draws.write < write_fraction
    crashes = is_write & (draws.crash < crash_probability)
    unit = (1 - spread) + spread * draws.time
    offsets = draws.offset * (db_ms + cache_ms)
    warm_expiry = draws.expiry * ttl_ms
    latency = np.full(n, np.nan)
    counts = np.zeros(9, np.int64)
    timeline = np.zeros((TIMELINE_STEPS, 6))
    differing = kernel.arena(
        STRATEGIES.index(strategy),
        ORDERS.index(order),
        is_write,
        key_of,
        unit[0] * cache_ms,
        unit[1] * db_ms,
        unit[2] * cache_ms,
        unit[3] * db_ms,
        crashes,
        offsets,
        warm_expiry,
        keys,
        min(capacity, keys),
        ttl_ms,
        window,
        flush_ms,
        latency,
        counts,
        timeline,
    )
    read_mean, read_p95 = _mean_p95(latency[~is_write])
    write_mean, write_p95 = _mean_p95(latency[is_write])
    reads = int(n - is_write.sum())
    steps = timeline[: counts[kernel.STEPS]]
    whole = steps[:, 2:].astype(np.int64)
    return StrategyResult(
        strategy=strategy,
        order=order,
        reads=reads,
        writes=n - reads,
        read_mean_ms=read_mean,
        read_p95_ms=read_p95,
        write_mean_ms=write_mean,
        write_p95_ms=write_p95,
        hit_ratio=float(counts[kernel.HITS] / reads) if reads else math.nan,
        stale_reads=int(counts[kernel.STALE]),
        dirty_reads=int(counts[kernel.DIRTY]),
        lost_writes=int(counts[kernel.LOST]),
        crashed_writes=int(counts[kernel.CRASHED]),
        db_reads=int(counts[kernel.DB_READS]),
        db_writes=int(counts[kernel.DB_WRITES]),
        inconsistent_keys=int(differing),
        timeline=Timeline(
            start_ms=steps[:, 0],
            end_ms=steps[:, 1],
            client=whole[:, 0],
            key=whole[:, 1],
            version=whole[:, 3],
            step=tuple(STEPS[i] for i in whole[:, 2]),
        ),
    )


def _mean_p95(latency: Floats) -> tuple[float, float]:
    answered = latency[~np.isnan(latency)]
    if not len(answered):
        return math.nan, math.nan
    return float(answered.mean()), float(np.percentile(answered, 95))


def write_latency(order: str, db_ms: float, cache_ms: float, spread: float = 0.0) -> float:
    """Mean time of a write to database and cache, in closed form.

    One after the other the times add up, whatever their distribution. Only when both are sent at once is it
    the larger of the two, and the mean of the larger is more than the larger of the means:
    E[max] = E[D] + E[C] - E[min].

    Parameters
    ----------
    order : {"sequential", "parallel", "invalidate"}
        As for :func:`simulate`; deleting an entry takes as long as setting it.
    db_ms, cache_ms : float
        Mean step times, 0.01 to 10,000 ms.
    spread : float
        Exponential share of a step's time, 0 to 1, as for :func:`simulate`.

    Returns
    -------
    float
        Milliseconds.
    """
    checks.option("order", order, ORDERS)
    db_ms = checks.number("db_ms", db_ms, 0.01, 10_000, unit="ms")
    cache_ms = checks.number("cache_ms", cache_ms, 0.01, 10_000, unit="ms")
    spread = checks.number("spread", spread, 0, 1)
    if order != "parallel":
        return db_ms + cache_ms
    slow, fast = max(db_ms, cache_ms), min(db_ms, cache_ms)
    # Constant parts, then the exponential parts: until `late` only the faster step can end.
    early, late = fast * (1 - spread), slow * (1 - spread)
    fast_tail, slow_tail = fast * spread, slow * spread
    if fast_tail == 0:
        return slow
    alone = math.exp(-(late - early) / fast_tail)
    shorter = early + fast_tail * (1 - alone) + alone * fast_tail * slow_tail / (fast_tail + slow_tail)
    return db_ms + cache_ms - shorter


@dataclass(frozen=True)
class RefreshResult:
    """What :func:`refresh_ahead` saw, as shares of all requests.

    Attributes
    ----------
    hit, expiry_miss, cold_miss, capacity_miss : float
        Without refreshing; they sum to 1. Cold: never loaded before; capacity: was loaded, then evicted.
    refreshed_hit, refreshed_expiry_miss, refreshed_cold_miss, refreshed_capacity_miss : float
        With refreshing.
    refresh_probability : float
        Share of the expiry misses (without refreshing) whose entry was read in its window, so that a refresh
        would have come in time. For the timer it is 1.
    guide_hit : float
        H + p·(1 - H): every miss treated as if refreshing could avert it.
    corrected_hit : float
        H + p·m_expiry: a refresh averts nothing but expiry. Slightly too high for entries read less than once
        a life or so: an early refresh also brings the next expiry forward.
    db_reads, refreshed_db_reads : int
        Loads without and with refreshing.
    """

    hit: float
    expiry_miss: float
    cold_miss: float
    capacity_miss: float
    refreshed_hit: float
    refreshed_expiry_miss: float
    refreshed_cold_miss: float
    refreshed_capacity_miss: float
    refresh_probability: float
    guide_hit: float
    corrected_hit: float
    db_reads: int
    refreshed_db_reads: int


def refresh_ahead(
    *,
    ttl_s: float = 60.0,
    window: float = 0.2,
    zipf_s: float = 0.9,
    keys: int = 10_000,
    capacity: int = 1_000,
    requests_per_s: float = 100.0,
    requests: int = 50_000,
    trigger: str = "access",
    seed: int = 1,
) -> RefreshResult:
    """Run one request stream through an LRU cache with expiry, without and with refresh-ahead.

    A refresh takes no time, which flatters refreshing.

    Parameters
    ----------
    ttl_s : float
        Life of an entry, 0.001 to 10^6 s.
    window : float
        Last share of that life in which an entry is refreshed, 0 to 0.99.
    zipf_s : float
        0 to 3.
    keys, capacity : int
        1 to 1,000,000.
    requests_per_s : float
        Poisson rate, 0.001 to 10^6.
    requests : int
        1 to 1,000,000.
    trigger : {"access", "timer"}
        Whether a read in the window refreshes, or a timer refreshes every resident entry, read or not.
    seed : int

    Returns
    -------
    RefreshResult

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    ttl_s = checks.number("ttl_s", ttl_s, 0.001, 1e6, unit="s")
    window = checks.number("window", window, 0, 0.99)
    keys = checks.integer("keys", keys, 1, 1_000_000)
    capacity = checks.integer("capacity", capacity, 1, 1_000_000)
    rate = checks.number("requests_per_s", requests_per_s, 0.001, 1e6, unit="requests/s")
    n = checks.integer("requests", requests, 1, 1_000_000)
    checks.option("trigger", trigger, ("access", "timer"))
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))

    from course.kernels import cache_strategies as kernel

    key_of = draw_keys(rng, n, keys, zipf_s)
    times = np.cumsum(rng.standard_exponential(n)) / rate
    mode = kernel.ON_ACCESS if trigger == "access" else kernel.ON_TIMER
    plain, refreshed = np.zeros(6, np.int64), np.zeros(6, np.int64)
    kernel.refresh_ahead(key_of, times, keys, capacity, ttl_s, window, kernel.OFF, plain)
    kernel.refresh_ahead(
        key_of, times, keys, capacity, ttl_s, window, mode if window > 0 else kernel.OFF, refreshed
    )
    hit, expiry, cold, over = (plain[:4] / n).tolist()
    new_hit, new_expiry, new_cold, new_over = (refreshed[:4] / n).tolist()
    p = 0.0
    if window > 0 and plain[1]:
        p = 1.0 if trigger == "timer" else float(plain[5] / plain[1])
    return RefreshResult(
        hit=hit,
        expiry_miss=expiry,
        cold_miss=cold,
        capacity_miss=over,
        refreshed_hit=new_hit,
        refreshed_expiry_miss=new_expiry,
        refreshed_cold_miss=new_cold,
        refreshed_capacity_miss=new_over,
        refresh_probability=p,
        guide_hit=hit + p * (1 - hit),
        corrected_hit=hit + p * expiry,
        db_reads=int(plain[4]),
        refreshed_db_reads=int(refreshed[4]),
    )

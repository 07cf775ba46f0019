"""Eviction policies against cachetools and libCacheSim, and the exact LRU curve against runs of our own LRU.

Zipf 0.9 over 100,000 objects, 10,000 slots.  Each peer is fed the fastest way it has.  cachetools: a loop over
a list of Python ints that asks with ``in`` first, which costs less than to catch ``KeyError``.  libCacheSim: the
whole trace at once (``process_trace``, a loop in C over a memory-mapped file in its own binary format, unit
sizes), with ``hashpower=17``; neither making the cache nor writing the file is in the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import cachetools
import libcachesim
import numpy as np

from course import kernels, workloads
from course.kernels import caching
from tests.benchmarks import Row

ITEMS, SLOTS, EXPONENT, SEED = 100_000, 10_000, 0.9, 1
REQUESTS = 2_000_000
HASH_POWER = 17
CURVE_SIZES = 50

CACHETOOLS = {
    "LRU": (cachetools.LRUCache, 60.0),
    "LFU": (cachetools.LFUCache, 60.0),
    "FIFO": (cachetools.FIFOCache, 100.0),
}
LIBCACHESIM = {
    "LRU": (libcachesim.LRU, 8.0),
    "LFU": (libcachesim.LFU, 8.0),
    "FIFO": (libcachesim.FIFO, 8.0),
    "SIEVE": (libcachesim.Sieve, 8.0),
    "S3-FIFO": (libcachesim.S3FIFO, 8.0),
    "ARC": (libcachesim.ARC, 5.0),
    "CLOCK": (libcachesim.Clock, 5.0),
}
CURVE_GOAL = 5.0

# The format libCacheSim calls oracleGeneral.
RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
NO_FLAGS = np.empty(0, np.uint8)


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Return the seconds that `work` takes, and its hits."""
    started = time.perf_counter()
    hits = work()
    return time.perf_counter() - started, hits


def cachetools_hits(cache: Any, keys: list[int]) -> int:
    """Send a trace through one of cachetools' caches."""
    misses = 0
    for key in keys:
        if key in cache:
            cache[key]
        else:
            cache[key] = True
            misses += 1
    return len(keys) - misses


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


def measure(rounds: int) -> list[Row]:
    """Measure every pair in each round, one right after the other, and check that both count the same hits.

    Parameters
    ----------
    rounds : int
        How often; every ratio is the median of the ratios of the rounds.
    """
    kernels.warm_up()
    keys = workloads.zipf_trace(REQUESTS, ITEMS, EXPONENT, SEED)
    listed: list[int] = keys.tolist()
    rates: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def ours(policy: str) -> tuple[float, int]:
        return timed(lambda: caching.KERNELS[policy](keys, ITEMS, SLOTS, NO_FLAGS))

    def note(policy: str, peer: str, mine: tuple[float, int], theirs: tuple[float, int]) -> None:
        assert mine[1] == theirs[1], f"{policy}: {mine[1]} hits, {peer} {theirs[1]}"
        rates.setdefault((policy, peer), []).append((REQUESTS / mine[0] / 1e6, REQUESTS / theirs[0] / 1e6))

    with TemporaryDirectory() as folder:
        path = Path(folder) / "zipf.oracleGeneral.bin"
        records = np.zeros(REQUESTS, RECORD)
        records["id"], records["size"], records["next"] = keys, 1, -2
        records.tofile(path)
        kind = libcachesim.TraceType.ORACLE_GENERAL_TRACE
        unit_sizes = libcachesim.ReaderInitParam(ignore_obj_size=True)

        def theirs(make: Any) -> tuple[float, int]:
            cache = make(SLOTS, hashpower=HASH_POWER)
            reader = libcachesim.TraceReader(str(path), kind, unit_sizes)
            return timed(lambda: round((1 - cache.process_trace(reader)[0]) * REQUESTS))

        for make, _ in LIBCACHESIM.values():  # maps the file, touches every page once
            theirs(make)
        for _ in range(rounds):
            for policy, (make, _) in LIBCACHESIM.items():
                note(policy, "libCacheSim", ours(policy), theirs(make))
            for policy, (cache, _) in CACHETOOLS.items():
                peer = timed(lambda cache=cache: cachetools_hits(cache(SLOTS), listed))  # type: ignore[misc]
                note(policy, "cachetools", ours(policy), peer)

    curves = []
    sizes = np.linspace(ITEMS / CURVE_SIZES, ITEMS, CURVE_SIZES).astype(int).tolist()
    for _ in range(rounds):
        seconds, _ = timed(lambda: int(caching.stack_distances(keys, ITEMS).sum()))
        separate, _ = timed(lambda: sum(caching.lru(keys, ITEMS, size, NO_FLAGS) for size in sizes))
        curves.append((REQUESTS / seconds / 1e6, REQUESTS / separate / 1e6))

    unit = "million requests/s"
    result = [
        row(policy, peer, rates[policy, peer], unit, goal)
        for peer, goals in (("libCacheSim", LIBCACHESIM), ("cachetools", CACHETOOLS))
        for policy, (_, goal) in goals.items()
    ]
    return [*result, row("LRU curve", f"{CURVE_SIZES} runs of our own LRU", curves, unit, CURVE_GOAL)]

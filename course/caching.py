"""Caches: eviction policies, miss-ratio curves, Che's approximation, expiry, and what a hit is worth.

Every policy keeps unit-size objects, admits each miss, and answers ``hit`` or ``miss`` for one request after
another. The loops are in :mod:`course.kernels.caching`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks
from course.workloads import MAX_ITEMS, MAX_SEED, Trace, as_trace

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Keys = Trace | NDArray[np.integer] | Iterable[int]

POLICIES = ("LRU", "LFU", "FIFO", "random", "CLOCK", "SIEVE", "S3-FIFO", "ARC", "OPT")
CHE_POLICIES = ("LRU", "FIFO", "random")

MAX_CAPACITY = MAX_ITEMS
MAX_CAPACITIES = 1_000
MAX_STEPS = 1_000
MAX_MS = 1e9
MAX_RATE = 1e12
MAX_BYTES = 1e18
MAX_TTL_S = 1e9
MAX_HORIZON_S = 1_000_000
MAX_ENTRIES = 1_000_000
MAX_EXPIRIES = 100_000_000
NEVER = 1e-100  # an object with a smaller chance is not asked for, or times would overflow


# --- simulation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CacheRun:
    """What one cache did with one trace.

    Attributes
    ----------
    policy : str
        One of :data:`POLICIES`.
    capacity : int
        Number of slots.
    hits, requests : int
        Counted after the warm-up.
    hit_flags : ndarray of bool, shape (warm-up + requests,), or None
        Whether each request was a hit, from the first of the trace on, if that was recorded.
    """

    policy: str
    capacity: int
    hits: int
    requests: int
    hit_flags: NDArray[np.bool_] | None

    @property
    def hit_ratio(self) -> float:
        """Share of requests served from the cache."""
        return self.hits / self.requests

    @property
    def cumulative_hit_ratio(self) -> Floats:
        """Hit ratio up to each request of the trace, the warm-up included; needs ``record=True``."""
        if self.hit_flags is None:
            raise ValueError("record = False: must be True in simulate() for the hit ratio over time")
        return np.asarray(np.cumsum(self.hit_flags) / np.arange(1, self.hit_flags.size + 1))


def simulate(
    policy: str, trace: Keys, capacity: int, *, warmup: int = 0, seed: int = 1, record: bool = False
) -> CacheRun:
    """Send a trace through a cache.

    Parameters
    ----------
    policy : str
        One of :data:`POLICIES`.
    trace : Trace or sequence of int
        The requests; ids from 0, see :func:`course.workloads.densify`.
    capacity : int
        Number of objects the cache holds, from 1 to 10 million.
    warmup : int
        Requests at the beginning that fill the cache and are not counted, fewer than there are.
    seed : int
        For random eviction only.
    record : bool
        Whether to keep a flag a request.

    Returns
    -------
    CacheRun
        The counts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    LRU, FIFO, random: textbook. LFU counts uses since an object came in; among equals it evicts the least
    recently used. CLOCK: Corbató 1968, one reference bit, clear on admission. SIEVE: Zhang et al., NSDI 2024.
    S3-FIFO: Yang et al., SOSP 2023, as in the authors' simulator (see
    :class:`course.kernels.caching.S3FIFO`). ARC: Megiddo & Modha, FAST 2003. OPT: Belady 1966, who must admit
    each miss too and evicts what is needed again last; no policy of this kind has more hits.
    """
    from course.kernels import caching as kernels

    checks.option("policy", policy, POLICIES)
    requests = as_trace(trace)
    capacity = checks.integer("capacity", capacity, 1, MAX_CAPACITY)
    warmup = checks.integer("warmup", warmup, 0, requests.requests - 1)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    flags = np.empty(requests.requests if record or warmup else 0, np.uint8)
    # More slots than objects hold no more than the objects.
    slots = min(capacity, requests.items)
    if policy == "random":
        hits = kernels.random(requests.keys, requests.items, slots, flags, np.random.default_rng(seed))
    else:
        hits = kernels.KERNELS[policy](requests.keys, requests.items, slots, flags)
    if warmup:
        hits = int(np.count_nonzero(flags[warmup:]))
    return CacheRun(
        policy, capacity, int(hits), requests.requests - warmup, flags.view(np.bool_) if record else None
    )


@dataclass(frozen=True)
class CacheState:
    """A cache after one request.

    Attributes
    ----------
    request : int
        Index of the request, from 0.
    key : int
        What it asked for.
    hit : bool
        Whether that was there.
    evicted : int or None
        What had to go.
    queues : mapping of str to tuple of int
        What is held, queue by queue, each from its newest end to the end where objects leave; ``"cache"`` if
        there is one queue only. Queues named ``"ghost"``, ``"B1"`` and ``"B2"`` remember names, not objects.
    marks : mapping of int to int
        Bit or counter of each object, if the policy keeps one.
    mark_name : str
        What the marks mean; empty if there are none.
    hand : int or None
        The object at which the hand stands (CLOCK, SIEVE).
    """

    request: int
    key: int
    hit: bool
    evicted: int | None
    queues: Mapping[str, tuple[int, ...]]
    marks: Mapping[int, int]
    mark_name: str
    hand: int | None


def steps(policy: str, trace: Keys, capacity: int, *, seed: int = 1) -> list[CacheState]:
    """Show a cache at work, request by request.

    Parameters
    ----------
    policy, capacity, seed
        As for :func:`simulate`.
    trace : Trace or sequence of int
        At most 1,000 requests.

    Returns
    -------
    list of CacheState
        One a request. Hits and misses are those of :func:`simulate`.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    from course.kernels import caching as kernels

    checks.option("policy", policy, POLICIES)
    requests = as_trace(trace)
    checks.integer("number of requests", requests.requests, 1, MAX_STEPS)
    capacity = checks.integer("capacity", capacity, 1, MAX_CAPACITY)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    keys: list[int] = requests.keys.tolist()
    cache = kernels.plain_cache(policy, min(capacity, requests.items), keys, np.random.default_rng(seed))
    states = []
    for i, key in enumerate(keys):
        hit = cache.access(key)
        queues = {name: tuple(queue) for name, queue in cache.queues().items()}
        states.append(
            CacheState(i, key, hit, cache.evicted, queues, cache.marks(), cache.mark_name, cache.hand())
        )
    return states


# --- hit ratio against size ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MissRatioCurve:
    """Exact miss ratio of LRU for every capacity.

    Attributes
    ----------
    hits : ndarray of int64, shape (items + 1,)
        Hits of a cache of 0, 1, …, `items` slots.
    requests : int
        Length of the trace.
    first_requests : int
        Requests for an object never asked for before: no cache can serve them.
    """

    hits: Counts
    requests: int
    first_requests: int

    @property
    def capacities(self) -> Counts:
        """0, 1, …, items."""
        return np.arange(self.hits.size)

    @property
    def miss_ratio(self) -> Floats:
        """Share of requests that miss, by capacity."""
        return np.asarray(1 - self.hits / self.requests)

    def hit_ratio(self, capacity: int) -> float:
        """Hit ratio of a cache of `capacity` slots, from 0 to 10 million."""
        capacity = checks.integer("capacity", capacity, 0, MAX_CAPACITY)
        return float(self.hits[min(capacity, self.hits.size - 1)] / self.requests)


def miss_ratio_curve(trace: Keys) -> MissRatioCurve:
    """Compute the hits of LRU for all capacities in one pass.

    Parameters
    ----------
    trace : Trace or sequence of int
        The requests.

    Returns
    -------
    MissRatioCurve
        Exact, not sampled.

    Raises
    ------
    ValueError
        If the trace is not one.

    Notes
    -----
    A larger LRU cache holds all that a smaller one holds, so a request hits in every cache that has at least
    as many slots as its stack distance: the number of different objects asked for since the last request for
    this one, itself included (Mattson et al. 1970).
    """
    from course.kernels import caching as kernels

    requests = as_trace(trace)
    histogram = kernels.stack_distances(requests.keys, requests.items)
    hits = np.cumsum(histogram) - histogram[0]
    return MissRatioCurve(hits, requests.requests, int(histogram[0]))


@dataclass(frozen=True)
class HitRatioCurve:
    """Hit ratio of one policy at some capacities (both of shape (capacities,))."""

    policy: str
    capacities: Counts
    hit_ratio: Floats


def hit_ratio_curve(
    policy: str, trace: Keys, capacities: Sequence[int] | Counts, *, seed: int = 1
) -> HitRatioCurve:
    """Hit ratio of a policy against the size of the cache.

    Parameters
    ----------
    policy, trace, seed
        As for :func:`simulate`.
    capacities : sequence of int
        From 1 to 1,000 capacities. LRU takes one pass for all of them, every other policy one each.

    Returns
    -------
    HitRatioCurve
        In the order given.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("policy", policy, POLICIES)
    requests = as_trace(trace)
    checks.integer("number of capacities", len(capacities), 1, MAX_CAPACITIES)
    slots = [checks.integer("capacities (one of them)", one, 1, MAX_CAPACITY) for one in capacities]
    if policy == "LRU":
        curve = miss_ratio_curve(requests)
        ratios = [curve.hit_ratio(one) for one in slots]
    else:
        ratios = [simulate(policy, requests, one, seed=seed).hit_ratio for one in slots]
    return HitRatioCurve(policy, np.array(slots), np.array(ratios))


# --- hit ratio without simulation ---------------------------------------------------------------------------


@dataclass(frozen=True)
class CheApproximation:
    """A cache under independent requests, without simulation.

    Attributes
    ----------
    policy : str
        One of :data:`CHE_POLICIES`.
    capacity : int
        Number of slots.
    characteristic_time : float
        How long an object stays without being asked for (LRU) or at all (FIFO, random), in requests; infinite
        if everything fits.
    hit_ratio : float
        Of all requests.
    per_item : ndarray of float64, shape (items,)
        Probability that a request for each object is a hit.
    """

    policy: str
    capacity: int
    characteristic_time: float
    hit_ratio: float
    per_item: Floats


def che(probabilities: ArrayLike, capacity: int, *, policy: str = "LRU") -> CheApproximation:
    """Hit ratio under independent requests by Che's approximation.

    Parameters
    ----------
    probabilities : array_like, shape (items,)
        Of each object to be asked for; at least 0, they add up to 1.
    capacity : int
        Number of slots, from 1 to 10 million.
    policy : str
        ``"LRU"``, ``"FIFO"`` or ``"random"``.

    Returns
    -------
    CheApproximation
        Hit ratios of all objects together and of each.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    An object is in an LRU cache if it was asked for during the last T requests: h = 1 − exp(−pT). T follows
    from the number of objects held, Σ h = C (Che, Tung & Wang 2002; why it is so good: Fricker, Robert &
    Roberts 2012). FIFO and random eviction do not renew a stay, which leaves h = pT / (1 + pT) with the same
    condition (Martina, Garetto & Leonardi 2014; that both have the same hit ratio: Gelenbe 1973). Both sums
    are increasing and concave in T and lie below T, so Newton's method from T = C rises to the solution and
    cannot overshoot.
    """
    chances = _distribution(probabilities)
    capacity = checks.integer("capacity", capacity, 1, MAX_CAPACITY)
    checks.option("policy", policy, CHE_POLICIES)
    asked = chances[chances > NEVER]
    if capacity >= asked.size:
        return CheApproximation(policy, capacity, math.inf, 1.0, (chances > NEVER).astype(np.float64))
    presence = _PRESENCE[policy]
    time = _rise(lambda t: presence(asked, t, np.ones_like(asked)), float(capacity), float(capacity))
    per_item = np.asarray(
        -np.expm1(-chances * time) if policy == "LRU" else chances * time / (1 + chances * time)
    )
    return CheApproximation(policy, capacity, time, float(chances @ per_item), per_item)


def size_for_hit_ratio(probabilities: ArrayLike, hit_ratio: float, *, policy: str = "LRU") -> int:
    """Smallest cache that reaches a hit ratio, by Che's approximation.

    Parameters
    ----------
    probabilities, policy
        As for :func:`che`.
    hit_ratio : float
        What is wanted, from 0 to 1.

    Returns
    -------
    int
        Number of slots, at least 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    The hit ratio Σ p·h rises with the characteristic time T, and so does the size Σ h: T is found from the
    one and put into the other.
    """
    chances = _distribution(probabilities)
    wanted = checks.number("hit_ratio", hit_ratio, 0, 1)
    checks.option("policy", policy, CHE_POLICIES)
    asked = chances[chances > NEVER]
    presence = _PRESENCE[policy]
    # Rounding: the chances may add up to a little less than 1.
    if wanted >= asked.sum() * (1 - 1e-12):
        return int(asked.size)
    if wanted == 0:
        return 1
    time = _rise(lambda t: presence(asked, t, asked), wanted, wanted / float(asked @ asked))
    size, _ = presence(asked, time, np.ones_like(asked))
    return min(max(1, math.ceil(size * (1 - 1e-12))), int(asked.size))


def _lru_presence(chances: Floats, time: float, weights: Floats) -> tuple[float, float]:
    away = np.exp(-chances * time)
    return float(weights @ (1 - away)), float(weights @ (chances * away))


def _fifo_presence(chances: Floats, time: float, weights: Floats) -> tuple[float, float]:
    away = 1 / (1 + chances * time)
    return float(weights @ (chances * time * away)), float(weights @ (chances * away * away))


# Weighted sum of the probabilities to be in the cache after time T, and its derivative.
_PRESENCE = {"LRU": _lru_presence, "FIFO": _fifo_presence, "random": _fifo_presence}


def _rise(sum_and_slope: Callable[[float], tuple[float, float]], wanted: float, time: float) -> float:
    """Solve sum(T) = wanted for an increasing concave sum, from a T that is not beyond the solution."""
    while True:
        reached, slope = sum_and_slope(time)
        step = (wanted - reached) / slope if slope > 0 else 0.0
        if not step > 1e-12 * time:
            return time
        time += step


def _distribution(probabilities: ArrayLike) -> Floats:
    chances = np.asarray(probabilities, np.float64)
    checks.integer("number of probabilities", chances.size, 1, MAX_ITEMS)
    if chances.ndim != 1:
        raise ValueError(f"probabilities of shape {chances.shape}: must be one row")
    if not np.all(chances >= 0):
        worst = chances[~(chances >= 0)][0]
        raise ValueError(f"probabilities (one is {worst:g}): must be numbers from 0 to 1")
    checks.number("sum of the probabilities", float(chances.sum()), 1 - 1e-6, 1 + 1e-6)
    return chances


def hit_ratio_uniform(capacity: int, items: int) -> float:
    """Hit ratio when all objects are asked for alike: what fits, min(1, C/N), whatever the policy.

    Parameters
    ----------
    capacity, items : int
        Slots and objects, each from 1 to 10 million.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    capacity = checks.integer("capacity", capacity, 1, MAX_CAPACITY)
    items = checks.integer("items", items, 1, MAX_ITEMS)
    return min(1.0, capacity / items)


# --- what a hit is worth ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AccessTime:
    """Mean access time in ms under three assumptions, and the load behind the cache.

    Attributes
    ----------
    miss_only_ms : float
        A miss costs only the database: H·hit + (1 − H)·miss.
    with_lookup_ms : float
        A miss has looked into the cache first.
    with_fill_ms : float
        A miss also waits until the cache is filled: what cache-aside does.
    without_cache_ms : float
        The database alone.
    db_load : float
        Share of requests that reach the database.
    """

    miss_only_ms: float
    with_lookup_ms: float
    with_fill_ms: float
    without_cache_ms: float
    db_load: float

    @property
    def load_without_cache(self) -> float:
        """By how much the database's load grows when the cache dies; infinite if it had none."""
        return 1 / self.db_load if self.db_load > 0 else math.inf


def effective_access_time(
    hit_ratio: float,
    hit_ms: float,
    miss_ms: float,
    *,
    lookup_ms: float | None = None,
    fill_ms: float | None = None,
) -> AccessTime:
    """Mean access time behind a cache (Hennessy & Patterson's average memory access time).

    Parameters
    ----------
    hit_ratio : float
        From 0 to 1.
    hit_ms, miss_ms : float
        Time of a hit and of the database, from 0 to 10⁹ ms.
    lookup_ms, fill_ms : float, optional
        Time to find that an object is not there and time to put it there, from 0 to 10⁹ ms; as long as a hit
        if left out.

    Returns
    -------
    AccessTime
        For H = 0.9, 1 ms and 100 ms: 10.9, 11.0 and 11.1 ms.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    ratio = checks.number("hit_ratio", hit_ratio, 0, 1)
    hit, miss, lookup, fill = _times(hit_ms, miss_ms, lookup_ms, fill_ms)
    return AccessTime(
        miss_only_ms=ratio * hit + (1 - ratio) * miss,
        with_lookup_ms=ratio * hit + (1 - ratio) * (lookup + miss),
        with_fill_ms=ratio * hit + (1 - ratio) * (lookup + miss + fill),
        without_cache_ms=miss,
        db_load=1 - ratio,
    )


def required_hit_ratio(
    target_ms: float,
    hit_ms: float,
    miss_ms: float,
    *,
    lookup_ms: float | None = None,
    fill_ms: float | None = None,
) -> float:
    """Hit ratio at which the mean access time with lookup and fill is `target_ms`.

    Parameters
    ----------
    target_ms : float
        At least `hit_ms`: no hit ratio makes the mean smaller than a hit.
    hit_ms, miss_ms, lookup_ms, fill_ms
        As for :func:`effective_access_time`; 0 for the last two gives the formula without them.

    Returns
    -------
    float
        From 0, if misses alone are fast enough, to 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or a hit takes as long as a miss and the target cannot be
        reached.
    """
    hit, miss, lookup, fill = _times(hit_ms, miss_ms, lookup_ms, fill_ms)
    target = checks.number("target_ms", target_ms, hit, MAX_MS, unit="ms")
    whole_miss = lookup + miss + fill
    if target >= whole_miss:
        return 0.0
    return (whole_miss - target) / (whole_miss - hit)


def _times(
    hit_ms: float, miss_ms: float, lookup_ms: float | None, fill_ms: float | None
) -> tuple[float, float, float, float]:
    hit = checks.number("hit_ms", hit_ms, 0, MAX_MS, unit="ms")
    miss = checks.number("miss_ms", miss_ms, 0, MAX_MS, unit="ms")
    lookup = hit if lookup_ms is None else checks.number("lookup_ms", lookup_ms, 0, MAX_MS, unit="ms")
    fill = hit if fill_ms is None else checks.number("fill_ms", fill_ms, 0, MAX_MS, unit="ms")
    return hit, miss, lookup, fill


def cache_bytes(items: int, average_bytes: float, overhead_bytes: float) -> float:
    """Memory a cache needs.

    Parameters
    ----------
    items : int
        Number of objects, from 1 to 10¹².
    average_bytes : float
        Mean size of key and value together, from 0 to 10¹⁸ bytes.
    overhead_bytes : float
        What the cache adds to each: hash table entry, pointers, expiry, from 0 to 10¹⁸ bytes.

    Returns
    -------
    float
        Bytes.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    items = checks.integer("items", items, 1, 10**12)
    average = checks.number("average_bytes", average_bytes, 0, MAX_BYTES, unit="bytes")
    overhead = checks.number("overhead_bytes", overhead_bytes, 0, MAX_BYTES, unit="bytes")
    return items * (average + overhead)


# --- content delivery networks ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cdn:
    """What a CDN does to latency and to the origin's traffic.

    Attributes
    ----------
    mean_ms, hit_ms, miss_ms : float
        Mean latency, and that of a hit and of a miss at the edge.
    without_ms : float
        Latency straight from the origin.
    break_even_hit_ratio : float
        Below it the CDN makes the mean latency worse; 0 if a miss is no slower than the origin itself, above
        1 if the edge is farther away than the origin.
    origin_gbps, saved_gbps : float
        Traffic from the origin that remains, and that is saved, in Gbit/s.
    """

    mean_ms: float
    hit_ms: float
    miss_ms: float
    without_ms: float
    break_even_hit_ratio: float
    origin_gbps: float
    saved_gbps: float


def cdn(
    hit_ratio: float,
    edge_ms: float,
    origin_ms: float,
    edge_to_origin_ms: float,
    *,
    byte_hit_ratio: float | None = None,
    requests_per_s: float = 1_000.0,
    mean_bytes: float = 100_000.0,
) -> Cdn:
    """Latency and origin traffic with a CDN.

    Parameters
    ----------
    hit_ratio : float
        Share of requests served at the edge, from 0 to 1: it decides the latency.
    edge_ms, origin_ms, edge_to_origin_ms : float
        Latency from user to edge, from user to origin, and from edge to origin, from 0 to 10⁹ ms.
    byte_hit_ratio : float, optional
        Share of bytes served at the edge, from 0 to 1: it decides the traffic. As `hit_ratio` if left out.
    requests_per_s : float
        From 0 to 10¹².
    mean_bytes : float
        Mean size of a response, from 0 to 10¹⁸ bytes.

    Returns
    -------
    Cdn
        Mean latency l + (1 − H)·m, where l is to the edge and m from there to the origin; it equals the
        latency L without a CDN at H = 1 − (L − l)/m.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    ratio = checks.number("hit_ratio", hit_ratio, 0, 1)
    edge = checks.number("edge_ms", edge_ms, 0, MAX_MS, unit="ms")
    origin = checks.number("origin_ms", origin_ms, 0, MAX_MS, unit="ms")
    between = checks.number("edge_to_origin_ms", edge_to_origin_ms, 0, MAX_MS, unit="ms")
    byte_ratio = ratio if byte_hit_ratio is None else checks.number("byte_hit_ratio", byte_hit_ratio, 0, 1)
    rate = checks.number("requests_per_s", requests_per_s, 0, MAX_RATE, unit="1/s")
    size = checks.number("mean_bytes", mean_bytes, 0, MAX_BYTES, unit="bytes")
    if edge + between <= origin:
        break_even = 0.0
    else:
        break_even = 1 - (origin - edge) / between if between > 0 else math.inf
    traffic = rate * size * 8 / 1e9
    return Cdn(
        mean_ms=edge + (1 - ratio) * between,
        hit_ms=edge,
        miss_ms=edge + between,
        without_ms=origin,
        break_even_hit_ratio=break_even,
        origin_gbps=(1 - byte_ratio) * traffic,
        saved_gbps=byte_ratio * traffic,
    )


@dataclass(frozen=True)
class ByteCacheRun:
    """What a cache limited in bytes did: hits, requests and bytes are counted after the warm-up."""

    capacity_bytes: int
    hits: int
    requests: int
    hit_bytes: int
    requested_bytes: int

    @property
    def hit_ratio(self) -> float:
        """Share of requests served from the cache."""
        return self.hits / self.requests

    @property
    def byte_hit_ratio(self) -> float:
        """Share of bytes served from the cache."""
        return self.hit_bytes / self.requested_bytes


def simulate_bytes(
    trace: Keys, capacity_bytes: int, *, sizes: NDArray[np.int64] | None = None, warmup: int = 0
) -> ByteCacheRun:
    """Send a trace through an LRU cache that holds objects of different sizes.

    Parameters
    ----------
    trace : Trace or sequence of int
        The requests.
    capacity_bytes : int
        From 1 to 10¹⁸ bytes. An object larger than this passes the cache by.
    sizes : ndarray of int, shape (items,), optional
        Bytes of each object, from 0 to 10¹²; those of the trace if left out.
    warmup : int
        Requests at the beginning that are not counted, fewer than there are.

    Returns
    -------
    ByteCacheRun
        With both hit ratios: the one of requests decides latency, the one of bytes traffic.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or no sizes are known, or nothing counted has any bytes.
    """
    from course.kernels import caching as kernels

    requests = as_trace(trace)
    capacity = checks.integer("capacity_bytes", capacity_bytes, 1, MAX_BYTES, unit="bytes")
    warmup = checks.integer("warmup", warmup, 0, requests.requests - 1)
    known = requests.sizes if sizes is None else sizes
    if known is None:
        raise ValueError("sizes = None: must be given, because the trace has none")
    known = np.asarray(known)
    if known.ndim != 1 or known.size < requests.items or not np.issubdtype(known.dtype, np.integer):
        raise ValueError(
            f"sizes of shape {known.shape} and type {known.dtype}: must be one row of whole numbers, one for "
            f"each of the {requests.items:,} objects"
        )
    for extreme in (int(known.min()), int(known.max())):
        checks.integer("sizes (one of them)", extreme, 0, 1e12, unit="bytes")
    known = np.ascontiguousarray(known, np.int64)
    flags = np.empty(requests.requests, np.uint8)
    kernels.lru_bytes(requests.keys, known, capacity, flags)
    counted = flags[warmup:].view(np.bool_)
    asked = known[requests.keys[warmup:]]
    requested = checks.integer("bytes requested after the warm-up", int(asked.sum()), 1)
    hit_bytes = int(asked[counted].sum())
    return ByteCacheRun(capacity, int(np.count_nonzero(counted)), counted.size, hit_bytes, requested)


# --- expiry -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TtlHitRatio:
    """Hit ratio of a cache that forgets by time only.

    Attributes
    ----------
    hit_ratio : float
        Of all requests.
    per_item : ndarray of float64, shape (items,)
        Of the requests for each object.
    fills_per_s : float
        Requests a second that reach the database.
    """

    hit_ratio: float
    per_item: Floats
    fills_per_s: float


def ttl_hit_ratio(rates: ArrayLike, ttl_s: float) -> TtlHitRatio:
    """Hit ratio when entries expire a fixed time after they were filled, and nothing else evicts them.

    Parameters
    ----------
    rates : array_like, shape (items,)
        Requests a second for each object, from 0 to 10¹², not all 0.
    ttl_s : float
        Time to live in seconds, from 0 to 10⁹.

    Returns
    -------
    TtlHitRatio
        Per object h = λT / (1 + λT).

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Requests for one object are a Poisson process of rate λ. Each cycle begins with the miss that fills the
    entry; λT hits follow on average before it expires, and the next request is the miss of the next cycle
    (renewal argument; Jung, Berger & Balakrishnan 2003).
    """
    per_second = np.asarray(rates, np.float64)
    checks.integer("number of rates", per_second.size, 1, MAX_ITEMS)
    if per_second.ndim != 1:
        raise ValueError(f"rates of shape {per_second.shape}: must be one row")
    in_range = (per_second >= 0) & (per_second <= MAX_RATE)
    if not np.all(in_range):
        checks.number("rates (one of them)", float(per_second[~in_range][0]), 0, MAX_RATE, unit="1/s")
    total = checks.number("sum of the rates", float(per_second.sum()), 0, unit="1/s", open_low=True)
    ttl = checks.number("ttl_s", ttl_s, 0, MAX_TTL_S, unit="s")
    expected = per_second * ttl
    per_item = expected / (1 + expected)
    ratio = float(per_second @ per_item) / total
    return TtlHitRatio(ratio, per_item, float(per_second @ (1 / (1 + expected))))


@dataclass(frozen=True)
class ExpiryHistogram:
    """Entries that expire in each second.

    Attributes
    ----------
    seconds : ndarray of int64, shape (horizon_s,)
        Beginning of each second.
    fixed, jittered : ndarray of int64, shape (horizon_s,)
        Entries that expire in it, if all live equally long and if lifetimes vary.
    """

    seconds: Counts
    fixed: Counts
    jittered: Counts


def expiry_histogram(
    entries: int,
    ttl_s: float,
    jitter: float,
    *,
    filled_within_s: float = 1.0,
    horizon_s: int = 3_600,
    seed: int = 1,
) -> ExpiryHistogram:
    """Entries that expire in each second after a cache was filled at once, as after a restart.

    Parameters
    ----------
    entries : int
        From 1 to 1 million.
    ttl_s : float
        Mean time to live, from 1 to 10⁹ s.
    jitter : float
        Each lifetime is drawn evenly from ``ttl_s * (1 - jitter)`` to ``ttl_s * (1 + jitter)``; from 0 to
        0.9.
    filled_within_s : float
        The entries come in evenly over this time, from 0 to 10⁹ s.
    horizon_s : int
        Seconds to look ahead, from 1 to 1 million. At most 100 million expiries may fall into it.
    seed : int
        For the times of filling and for the lifetimes.

    Returns
    -------
    ExpiryHistogram
        An entry that expires is filled again at once, and expires again: a spike comes back each `ttl_s`
        unless the lifetimes vary.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    entries = checks.integer("entries", entries, 1, MAX_ENTRIES)
    ttl = checks.number("ttl_s", ttl_s, 1, MAX_TTL_S, unit="s")
    share = checks.number("jitter", jitter, 0, 0.9)
    span = checks.number("filled_within_s", filled_within_s, 0, MAX_TTL_S, unit="s")
    horizon = checks.integer("horizon_s", horizon_s, 1, MAX_HORIZON_S, unit="s")
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    checks.number("entries * horizon_s / ttl_s", entries * horizon / ttl, 0, MAX_EXPIRIES)
    rng = np.random.default_rng(seed)
    filled = rng.random(entries) * span
    return ExpiryHistogram(
        np.arange(horizon),
        _expiries(filled, ttl, 0.0, horizon, rng),
        _expiries(filled, ttl, share, horizon, rng),
    )


def _expiries(filled: Floats, ttl: float, jitter: float, horizon: int, rng: np.random.Generator) -> Counts:
    counts = np.zeros(horizon, np.int64)
    alive = filled
    while alive.size:
        alive = alive + ttl * (1 + jitter * (2 * rng.random(alive.size) - 1))
        alive = alive[alive < horizon]
        counts += np.bincount(alive.astype(np.int64), minlength=horizon)
    return counts

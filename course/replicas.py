"""Read replicas: what they can serve, for each replays every write, and how far behind they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks

MAX_REPLICAS = 1_000
MAX_RATE = 1e9
MAX_MS = 1e9
MAX_WRITES = 10_000_000
MAX_TIMES = 10_000

Floats = NDArray[np.float64]


# --- capacity -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadCapacity:
    """What a primary and its replicas can serve.

    Attributes
    ----------
    reads_per_s : float
        Reads that all nodes together can serve beside the writes.
    guide_reads_per_s : float
        "Master + N × slave": the capacities added up, as if nobody had to write.
    reads_per_node : float
        What one node that serves reads has left for them.
    keeps_up : bool
        Whether a node can apply the writes at all.
    """

    reads_per_s: float
    guide_reads_per_s: float
    reads_per_node: float
    keeps_up: bool


def read_capacity(
    replicas: int, node_capacity: float, writes_per_s: float, *, primary_reads: bool = True
) -> ReadCapacity:
    """Find the reads per second that a primary and its replicas can serve beside the writes.

    Parameters
    ----------
    replicas : int
        N, from 0 to 1,000.
    node_capacity : float
        C, operations a second of each node, above 0 to 10⁹. A read and a write cost the same.
    writes_per_s : float
        W, from 0 to 10⁹.
    primary_reads : bool
        Whether the primary serves reads too.

    Returns
    -------
    ReadCapacity
        ``nodes × (C - W)``, at least 0: a replica applies every write that the primary takes.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    count = checks.integer("replicas", replicas, 0, MAX_REPLICAS)
    capacity = checks.number("node_capacity", node_capacity, 0, MAX_RATE, open_low=True)
    writes = checks.number("writes_per_s", writes_per_s, 0, MAX_RATE)
    left = max(0.0, capacity - writes)
    return ReadCapacity((count + primary_reads) * left, (count + 1) * capacity, left, writes <= capacity)


def replicated_throughput(readers: ArrayLike, node_capacity: float, write_share: float) -> Floats:
    """Find the reads and writes per second that nodes can serve if a fixed share of them are writes.

    Parameters
    ----------
    readers : array_like of float
        n, nodes that serve reads, each number from 1 to 10⁹; the primary counts if it does.
    node_capacity : float
        Operations a second of each, above 0 to 10⁹.
    write_share : float
        f, writes over all requests, from 0 to 1.

    Returns
    -------
    ndarray of float64
        ``C·n / (1 + f·(n - 1))``: Amdahl's law with the writes as the serial part, and C/f as its limit.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    numbers = np.asarray(readers, np.float64)
    checks.integer("number of values in readers", numbers.size, 1, MAX_TIMES)
    for extreme in (numbers.min(), numbers.max()):
        checks.number("readers", float(extreme), 1, MAX_RATE)
    capacity = checks.number("node_capacity", node_capacity, 0, MAX_RATE, open_low=True)
    share = checks.number("write_share", write_share, 0, 1)
    return np.asarray(capacity * numbers / (1 + share * (numbers - 1)))


# --- lag ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReplicaLag:
    """How long a write takes to reach a replica.

    Attributes
    ----------
    committed_s : ndarray of float64, shape (writes,)
        When the primary took each write.
    lag_ms : ndarray of float64, shape (writes,)
        How much later the replica had applied it.
    """

    committed_s: Floats
    lag_ms: Floats

    def stale_share(self, after_ms: ArrayLike) -> Floats:
        """Share of the writes that a reader of the replica does not see that long after the commit."""
        ordered = np.sort(self.lag_ms)
        seen = np.searchsorted(ordered, np.asarray(after_ms, np.float64), side="right")
        return np.asarray(1 - seen / ordered.size)


def stale_share(
    after_ms: ArrayLike, *, writes_per_s: float, apply_per_s: float, network_ms: float = 0.0
) -> Floats:
    """Share of the reads of a replica that miss a write made so long before, in the steady state.

    Parameters
    ----------
    after_ms : array_like
        Time since the commit, at least 0.
    writes_per_s : float
        λ, a Poisson process, above 0 to 10⁹.
    apply_per_s : float
        μ, what the replica applies one after the other in exponential times, above 0 to 10⁹.
    network_ms : float
        d, the same for all, from 0 to 10⁹.

    Returns
    -------
    ndarray of float64
        1 until d, then ``exp(-(μ - λ)·(t - d))``: the response time of M/M/1 (Kleinrock 1975). With λ ≥ μ
        there is no steady state and it is 1: the lag grows without bound.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    rate, apply, delay = _lag_parameters(writes_per_s, apply_per_s, network_ms)
    waited = np.asarray(after_ms, np.float64)
    if waited.size:
        checks.number("after_ms (the least)", float(waited.min()), 0, MAX_MS)
    late = np.maximum(0.0, waited - delay) / 1000
    return np.where(waited < delay, 1.0, np.exp(-max(0.0, apply - rate) * late))


def mean_lag_ms(*, writes_per_s: float, apply_per_s: float, network_ms: float = 0.0) -> float:
    """Mean lag in the steady state, in ms; infinite if the replica does not keep up.

    Parameters
    ----------
    writes_per_s, apply_per_s, network_ms
        As for :func:`stale_share`.

    Returns
    -------
    float
        ``d + 1 / (μ - λ)``.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    rate, apply, delay = _lag_parameters(writes_per_s, apply_per_s, network_ms)
    return delay + 1000 / (apply - rate) if apply > rate else math.inf


def simulate_lag(
    *, writes_per_s: float, apply_per_s: float, network_ms: float = 0.0, writes: int = 20_000, seed: int = 1
) -> ReplicaLag:
    """Replay a stream of writes on a replica that starts with nothing to do.

    Parameters
    ----------
    writes_per_s, apply_per_s, network_ms
        As for :func:`stale_share`; `apply_per_s` may be below `writes_per_s`.
    writes : int
        From 1 to 10 million.
    seed : int
        The same draws for all rates, stretched: a rate moves the lag smoothly.

    Returns
    -------
    ReplicaLag

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    rate, apply, delay = _lag_parameters(writes_per_s, apply_per_s, network_ms)
    count = checks.integer("writes", writes, 1, MAX_WRITES)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    committed = np.cumsum(rng.standard_exponential(count)) / rate
    work = rng.standard_exponential(count) / apply
    # One after the other: a write is done when the work since some earlier arrival is, the latest such.
    done = np.cumsum(work)
    done += np.maximum.accumulate(committed - (done - work))
    return ReplicaLag(committed, (done - committed) * 1000 + delay)


def _lag_parameters(writes_per_s: float, apply_per_s: float, network_ms: float) -> tuple[float, float, float]:
    return (
        checks.number("writes_per_s", writes_per_s, 0, MAX_RATE, open_low=True),
        checks.number("apply_per_s", apply_per_s, 0, MAX_RATE, open_low=True),
        checks.number("network_ms", network_ms, 0, MAX_MS),
    )

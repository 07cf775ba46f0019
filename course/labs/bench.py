"""How fast a Redis or Memcached answers, why pipelining helps, and what a key costs in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from course import checks
from course.labs._lab import Lab, LabUnavailable


@dataclass(frozen=True)
class BenchResult:
    """What :func:`bench` measured.

    Attributes
    ----------
    label : str
        Which server.
    value_bytes, depth, operations : int
        Size of a value, commands a batch, commands in all.
    seconds : float
        Wall time of all batches.
    ops_per_s : float
    batch_us : float
        Median time of one batch, in microseconds.
    """

    label: str
    value_bytes: int
    depth: int
    operations: int
    seconds: float
    ops_per_s: float
    batch_us: float


def bench(lab: Lab, *, value_bytes: int = 100, depth: int = 1, n: int = 2_000) -> BenchResult:
    """Set `n` keys, `depth` commands a round trip, one client.

    Parameters
    ----------
    lab : Lab
    value_bytes : int
        1 to 1,000,000.
    depth : int
        Commands sent before the first reply is read, 1 to 1,000; 1 is a plain ``set``.
    n : int
        1 to 1,000,000, rounded up to whole batches; together at most 1 GB.

    Returns
    -------
    BenchResult

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    value_bytes = checks.integer("value_bytes", value_bytes, 1, 1_000_000, unit="bytes")
    depth = checks.integer("depth", depth, 1, 1_000)
    n = checks.integer("n", n, 1, min(1_000_000, 10**9 // value_bytes))
    value = b"x" * value_bytes
    batches = -(-n // depth)
    keys = [lab.key(f"bench:{i}") for i in range(depth)]  # overwritten, so that memory stays small
    client = lab.client()
    times = np.empty(batches)
    try:
        for i in range(-1, batches):  # the first batch opens the connection and does not count
            start = time.perf_counter()
            if lab.kind == "redis":
                pipe = client.pipeline(transaction=False)
                for key in keys:
                    pipe.set(key, value)
                pipe.execute()
            else:
                client.set_many(dict.fromkeys(keys, value), noreply=False)
            if i >= 0:
                times[i] = time.perf_counter() - start
        if lab.kind == "redis":
            client.delete(*keys)
        else:
            client.delete_many(keys, noreply=False)
    finally:
        client.close()
    seconds = float(times.sum())
    return BenchResult(
        label=lab.label,
        value_bytes=value_bytes,
        depth=depth,
        operations=batches * depth,
        seconds=seconds,
        ops_per_s=batches * depth / seconds,
        batch_us=float(np.median(times) * 1e6),
    )


@dataclass(frozen=True)
class RoundTrip:
    """Cost of a batch as rtt_us + depth·service_us, in microseconds."""

    rtt_us: float
    service_us: float

    def ops_per_s(self, depth: int) -> float:
        """Commands per second at a pipeline depth: depth / (rtt + depth·service)."""
        depth = checks.integer("depth", depth, 1, 1_000_000)
        return depth * 1e6 / (self.rtt_us + depth * self.service_us)


def fit_round_trip(results: Sequence[BenchResult]) -> RoundTrip:
    """Fit the two constants to measured batches, by least squares of the relative error.

    Parameters
    ----------
    results : sequence of BenchResult
        At least two different depths.

    Returns
    -------
    RoundTrip
        Neither constant is negative.
    """
    depths = np.array([r.depth for r in results], float)
    checks.integer("number of different depths", len(set(depths.tolist())), 2)
    batch = np.array([r.batch_us for r in results])
    a = np.column_stack([np.ones(len(depths)), depths]) / batch[:, None]
    rtt, service = np.linalg.lstsq(a, np.ones(len(depths)), rcond=None)[0]
    if rtt < 0 or service < 0:  # noise: keep the one constant that explains the batches alone
        column = 1 if rtt < 0 else 0
        only = a[:, column].sum() / (a[:, column] ** 2).sum()
        rtt, service = (0.0, only) if column else (only, 0.0)
    return RoundTrip(float(rtt), float(service))


@dataclass(frozen=True)
class KeyMemory:
    """Bytes a key costs: `total` as the server counts them, of which `payload` are key and value."""

    total: float
    payload: float

    @property
    def overhead(self) -> float:
        """Bytes a key costs beyond its own and its value's."""
        return self.total - self.payload


def bytes_per_key(lab: Lab, *, value_bytes: int = 100, n: int = 500) -> KeyMemory:
    """Store `n` keys and ask the server what one costs: ``MEMORY USAGE``, or Memcached's item sizes.

    Redis' figure includes the key, the value, their headers and the allocator's rounding, and not the slot in
    the hash table (about 8 to 16 bytes).

    Parameters
    ----------
    lab : Lab
        A real server.
    value_bytes : int
        1 to 1,000,000.
    n : int
        1 to 100,000; together at most 100 MB.

    Returns
    -------
    KeyMemory

    Raises
    ------
    LabUnavailable
        On an embedded stand-in, whose memory is Python's.
    """
    if lab.source == "embedded":
        raise LabUnavailable(
            "Memory per key needs a real server: install redis-server, or set COURSE_REDIS_URL to one."
        )
    value_bytes = checks.integer("value_bytes", value_bytes, 1, 1_000_000, unit="bytes")
    n = checks.integer("n", n, 1, min(100_000, 10**8 // value_bytes))
    keys = [lab.key(f"memory:{i:06d}") for i in range(n)]
    value = b"x" * value_bytes
    client = lab.client()
    try:
        if lab.kind == "redis":
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.set(key, value)
            for key in keys:
                pipe.memory_usage(key)
            total = float(np.mean(pipe.execute()[n:]))
            client.delete(*keys)
        else:
            before = client.stats()
            client.set_many(dict.fromkeys(keys, value), noreply=False)
            after = client.stats()
            total = (int(after[b"bytes"]) - int(before[b"bytes"])) / n
            client.delete_many(keys, noreply=False)
    finally:
        client.close()
    return KeyMemory(total, len(keys[0]) + value_bytes)

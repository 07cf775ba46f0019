"""Loops of :mod:`course.queueing`: first come, first served, at one server or at several.

Times are in mean service times: gaps and service times have mean 1, and `gap` stretches the gaps.  No event
heap is needed.  One server follows Lindley's recursion; for several it is enough to know when each becomes
free, in ascending order: the next customer takes the first, and the new time is put in by comparing it with
all others at once, without a branch.

Waits and responses are counted in buckets whose width is 1/256 of their lower edge or less: the upper bits of
a float are such a bucket's number.
"""

from __future__ import annotations

from heapq import heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.int32]
Generator = np.random.Generator

EXPONENTIAL, DETERMINISTIC, HYPER_EXPONENTIAL, LOG_NORMAL, PARETO = range(5)

BUCKETS = 1 << 15  # 128 octaves of 256
SMALLEST = 2.0**-16  # is added before a time is counted, so that 0 has a bucket: the first
_SHIFT = np.uint64(52 - 8)
_FIRST = np.uint64((1023 - 16) << 8)
_MASK = np.uint64(BUCKETS - 1)

BLOCK = 1024  # customers drawn at a time: their gaps and services stay in the first-level cache
FEW = 8  # servers whose free times fit in registers


# --- draws --------------------------------------------------------------------------------------------------


@inlined
def _fill(out: Floats, law: int, shape: float, rng: Generator) -> None:
    if law == DETERMINISTIC:
        out[:] = 1.0
    elif law == LOG_NORMAL:
        for i in range(out.size):
            out[i] = np.exp(shape * rng.standard_normal() - shape * shape / 2)
    else:
        for i in range(out.size):
            out[i] = rng.standard_exponential()
        if law == PARETO:
            for i in range(out.size):
                out[i] = (1 - 1 / shape) * np.exp(out[i] / shape)
        elif law == HYPER_EXPONENTIAL:
            threshold = -np.log(shape)
            for i in range(out.size):
                if out[i] > threshold:
                    # What is left above a threshold is exponential again.
                    out[i] = (out[i] - threshold) / (2 * shape)
                else:
                    # Uniform on (0, 1], and 1 at the threshold, so that no draw jumps when the shape changes.
                    below = max(-np.expm1(-out[i]), 1e-18) / (1 - shape)
                    out[i] = -np.log(below) / (2 * (1 - shape))


def _unit_draws_example() -> tuple[Any, ...]:
    return (EXPONENTIAL, 1.0, 3, np.random.default_rng(1))


def _unit_draws_plain(law: int, shape: float, count: int, rng: Generator) -> Floats:
    if law == DETERMINISTIC:
        return np.ones(count)
    if law == LOG_NORMAL:
        return np.asarray(np.exp(shape * rng.standard_normal(count) - shape * shape / 2))
    unit = rng.standard_exponential(count)
    if law == PARETO:
        return np.asarray((1 - 1 / shape) * np.exp(unit / shape))
    if law == HYPER_EXPONENTIAL:
        threshold = -np.log(shape)
        below = np.maximum(-np.expm1(-unit), 1e-18) / (1 - shape)
        return np.where(
            unit > threshold, (unit - threshold) / (2 * shape), -np.log(below) / (2 * (1 - shape))
        )
    return unit


@kernel(_unit_draws_example, twin=_unit_draws_plain)
def unit_draws(law: int, shape: float, count: int, rng: Generator) -> Floats:
    """Draw `count` times of mean 1.

    Exponentials are NumPy's; a Pareto time is the power of one (Devroye 1986, II.2), and each of the two
    branches of a hyper-exponential uses what of one is left after choosing the branch. A log-normal time is
    the power of a normal number. The same generator thus gives times that move smoothly with the shape.
    """
    out = np.empty(count)
    _fill(out, law, shape, rng)
    return out


# --- one pass over the customers ----------------------------------------------------------------------------


@inlined
def _bucket(time: float) -> int:
    return ((np.float64(time + SMALLEST).view(np.uint64) >> _SHIFT) - _FIRST) & _MASK  # type: ignore[return-value]


@inlined
def _serve(
    gaps: Floats,
    services: Floats,
    gap: float,
    free: Floats,
    clock: float,
    waits: Floats | None,
    wait_counts: Counts,
    response_counts: Counts,
) -> tuple[float, float, float]:
    """Serve customers; return the sums of waits and services, and the clock at the last arrival.

    With one server ``free[0]`` is what its last customer had before him when he came, himself included; with
    more, `free` holds the clock times at which they become free, in ascending order, infinite for what is not
    there.
    """
    waited = 0.0
    served = 0.0
    if free.size == 1:
        work = free[0]
        for i in range(gaps.size):
            time = gaps[i] * gap
            service = services[i]
            clock += time
            wait = max(0.0, work - time)
            work = wait + service
            waited += wait
            served += service
            wait_counts[_bucket(wait)] += 1
            response_counts[_bucket(work)] += 1
            if waits is not None:
                waits[i] = wait
        free[0] = work
    elif free.size == FEW:
        f0, f1, f2, f3, f4, f5, f6, f7 = (
            free[0],
            free[1],
            free[2],
            free[3],
            free[4],
            free[5],
            free[6],
            free[7],
        )
        for i in range(gaps.size):
            clock += gaps[i] * gap
            service = services[i]
            start = max(clock, f0)
            wait = start - clock
            end = start + service
            waited += wait
            served += service
            wait_counts[_bucket(wait)] += 1
            response_counts[_bucket(wait + service)] += 1
            if waits is not None:
                waits[i] = wait
            # Without the first, each place holds the middle one of its own time, the next one and the new one.
            f0 = min(f1, end)
            f1 = max(f1, min(f2, end))
            f2 = max(f2, min(f3, end))
            f3 = max(f3, min(f4, end))
            f4 = max(f4, min(f5, end))
            f5 = max(f5, min(f6, end))
            f6 = max(f6, min(f7, end))
            f7 = max(f7, end)
        free[0], free[1], free[2], free[3] = f0, f1, f2, f3
        free[4], free[5], free[6], free[7] = f4, f5, f6, f7
    else:
        last = free.size - 1
        for i in range(gaps.size):
            clock += gaps[i] * gap
            service = services[i]
            start = max(clock, free[0])
            wait = start - clock
            end = start + service
            waited += wait
            served += service
            wait_counts[_bucket(wait)] += 1
            response_counts[_bucket(wait + service)] += 1
            if waits is not None:
                waits[i] = wait
            free[0] = min(free[1], end)
            for k in range(1, last):
                free[k] = max(free[k], min(free[k + 1], end))
            free[last] = max(free[last], end)
    return waited, served, clock


@inlined
def _latest(free: Floats, clock: float) -> float:
    """Return when the last of the customers so far leaves."""
    if free.size == 1:
        return clock + free[0]  # type: ignore[no-any-return]
    latest = 0.0
    for k in range(free.size):
        if free[k] < np.inf:
            latest = max(latest, free[k])
    return latest


def free_servers(servers: int) -> Floats:
    """Return the state in which all servers are free at time 0."""
    free = np.zeros(servers if servers == 1 or servers > FEW else FEW)
    free[servers:] = np.inf
    return free


def _counters() -> tuple[Any, ...]:
    return (
        *(free_servers(2), np.zeros(2)),
        *(np.zeros(BUCKETS, np.int32), np.zeros(BUCKETS, np.int32), np.zeros((1, 2))),
    )


def _waits_example() -> tuple[Any, ...]:
    return (np.ones(2), np.ones(2), 1.0, free_servers(2), np.zeros(2), np.empty(2))


def _waits_plain(
    gaps: Floats, services: Floats, gap: float, free: Floats, clock: Floats, found: Floats
) -> None:
    """Do the same with a heap of the times at which servers become free, all on one clock."""
    heap = free.tolist()
    now = float(clock[0])
    for i, (time, service) in enumerate(zip((gaps * gap).tolist(), services.tolist(), strict=True)):
        now += time
        start = max(now, heap[0])
        found[i] = start - now
        heapreplace(heap, start + service)
    free[:] = heap  # in the order of the heap, whose first is the smallest
    clock[0], clock[1] = now, max(time for time in heap if time < np.inf)


@kernel(_waits_example, twin=_waits_plain)
def waits(gaps: Floats, services: Floats, gap: float, free: Floats, clock: Floats, found: Floats) -> None:
    """Write into `found` how long each customer waits; the rest as for :func:`predrawn`."""
    counts = np.zeros(BUCKETS, np.int32)
    _, _, clock[0] = _serve(gaps, services, gap, free, clock[0], found, counts, counts)
    clock[1] = _latest(free, clock[0])


def _predrawn_example() -> tuple[Any, ...]:
    return (np.ones(2), np.ones(2), 1.0, np.array([0, 2]), *_counters())


def _predrawn_plain(
    gaps: Floats,
    services: Floats,
    gap: float,
    edges: Ints,
    free: Floats,
    clock: Floats,
    wait_counts: Counts,
    response_counts: Counts,
    sums: Floats,
) -> None:
    for batch in range(edges.size - 1):
        here = slice(edges[batch], edges[batch + 1])
        found = np.empty(edges[batch + 1] - edges[batch])
        _waits_plain(gaps[here], services[here], gap, free, clock, found)
        for times, counts in ((found, wait_counts), (found + services[here], response_counts)):
            counts += np.bincount(bucket_of(times), minlength=BUCKETS).astype(np.int32)
        sums[batch] = found.sum(), services[here].sum()


@kernel(_predrawn_example, twin=_predrawn_plain)
def predrawn(
    gaps: Floats,
    services: Floats,
    gap: float,
    edges: Ints,
    free: Floats,
    clock: Floats,
    wait_counts: Counts,
    response_counts: Counts,
    sums: Floats,
) -> None:
    """Serve the customers ``edges[0]`` to ``edges[-1]``, batch by batch.

    `free`, the counts, and in `clock` the last arrival and the last departure are carried on; ``sums[k]`` receives the waits and services of batch k.
    """
    for batch in range(edges.size - 1):
        low, high = edges[batch], edges[batch + 1]
        sums[batch, 0], sums[batch, 1], clock[0] = _serve(
            gaps[low:high], services[low:high], gap, free, clock[0], None, wait_counts, response_counts
        )
    clock[1] = _latest(free, clock[0])


def _fresh_example() -> tuple[Any, ...]:
    rngs = (np.random.default_rng(1), np.random.default_rng(2))
    return (EXPONENTIAL, 1.0, EXPONENTIAL, 1.0, *rngs, 1.0, np.array([0, 2]), *_counters())


def _fresh_plain(
    gap_law: int,
    gap_shape: float,
    service_law: int,
    service_shape: float,
    gap_rng: Generator,
    service_rng: Generator,
    gap: float,
    edges: Ints,
    free: Floats,
    clock: Floats,
    wait_counts: Counts,
    response_counts: Counts,
    sums: Floats,
) -> None:
    for batch in range(edges.size - 1):
        customers = int(edges[batch + 1] - edges[batch])
        _predrawn_plain(
            _unit_draws_plain(gap_law, gap_shape, customers, gap_rng),
            _unit_draws_plain(service_law, service_shape, customers, service_rng),
            *(gap, np.array([0, customers]), free, clock, wait_counts, response_counts),
            sums[batch : batch + 1],
        )


@kernel(_fresh_example, twin=_fresh_plain)
def fresh(
    gap_law: int,
    gap_shape: float,
    service_law: int,
    service_shape: float,
    gap_rng: Generator,
    service_rng: Generator,
    gap: float,
    edges: Ints,
    free: Floats,
    clock: Floats,
    wait_counts: Counts,
    response_counts: Counts,
    sums: Floats,
) -> None:
    """Draw and serve at once, with memory for one block only; the same customers as with draws of the same generators."""
    gaps = np.empty(BLOCK)
    services = np.empty(BLOCK)
    for batch in range(edges.size - 1):
        sums[batch] = 0.0
        left = edges[batch + 1] - edges[batch]
        while left > 0:
            size = min(left, BLOCK)
            _fill(gaps[:size], gap_law, gap_shape, gap_rng)
            _fill(services[:size], service_law, service_shape, service_rng)
            waited, served, clock[0] = _serve(
                gaps[:size], services[:size], gap, free, clock[0], None, wait_counts, response_counts
            )
            sums[batch, 0] += waited
            sums[batch, 1] += served
            left -= size
    clock[1] = _latest(free, clock[0])


def bucket_of(times: Floats) -> Ints:
    """Return the bucket in which each time is counted."""
    bits = (times + SMALLEST).view(np.uint64) >> _SHIFT
    return ((bits - _FIRST) & _MASK).astype(np.int64)


def lower_edge(bucket: Ints) -> Floats:
    """Return the shortest time that is counted in each of the given buckets."""
    return np.asarray(np.ldexp(1 + (bucket & 255) / 256, (bucket >> 8) - 16) - SMALLEST)


# --- closed system ------------------------------------------------------------------------------------------


def _closed_example() -> tuple[Any, ...]:
    rngs = (np.random.default_rng(1), np.random.default_rng(2))
    return (EXPONENTIAL, 1.0, *rngs, 1.0, np.array([0, 2]), np.zeros(2), np.zeros(1), np.zeros((1, 2)))


def _closed_plain(
    service_law: int,
    service_shape: float,
    think_rng: Generator,
    service_rng: Generator,
    think: float,
    edges: Ints,
    returns: Floats,
    free: Floats,
    sums: Floats,
) -> None:
    """Do the same with the standard library's heap."""
    heap = returns.tolist()
    end = float(free[0])
    for batch in range(edges.size - 1):
        begin = end
        size = int(edges[batch + 1] - edges[batch])
        thinks = think_rng.standard_exponential(size) * think
        services = _unit_draws_plain(service_law, service_shape, size, service_rng)
        spent = 0.0
        for pause, service in zip(thinks.tolist(), services.tolist(), strict=True):
            arrive = heap[0]
            end = max(end, arrive) + service
            spent += end - arrive
            heapreplace(heap, end + pause)
        sums[batch] = spent, end - begin
    returns[:] = heap
    free[0] = end


@kernel(_closed_example, twin=_closed_plain)
def closed(
    service_law: int,
    service_shape: float,
    think_rng: Generator,
    service_rng: Generator,
    think: float,
    edges: Ints,
    returns: Floats,
    free: Floats,
    sums: Floats,
) -> None:
    """Let users think, ask and wait in turn at one server.

    Parameters as in :func:`fresh`; `think` is the mean think time. `returns` is a heap of the times at which
    users come back from thinking, smallest first: whoever comes next is served next, and when he will be back
    is known at once. ``sums[k]`` receives the response times of batch k and the time it took.
    """
    users = returns.size
    end = free[0]
    thinks = np.empty(BLOCK)
    services = np.empty(BLOCK)
    for batch in range(edges.size - 1):
        begin = end
        spent = 0.0
        left = edges[batch + 1] - edges[batch]
        while left > 0:
            size = min(left, BLOCK)
            _fill(thinks[:size], EXPONENTIAL, 1.0, think_rng)
            _fill(services[:size], service_law, service_shape, service_rng)
            for i in range(size):
                arrive = returns[0]
                end = max(end, arrive) + services[i]
                spent += end - arrive
                back = end + thinks[i] * think
                hole = 0
                child = 1
                while child < users:
                    if child + 1 < users and returns[child + 1] < returns[child]:
                        child += 1
                    if back <= returns[child]:
                        break
                    returns[hole] = returns[child]
                    hole = child
                    child = 2 * hole + 1
                returns[hole] = back
            left -= size
        sums[batch, 0] = spent
        sums[batch, 1] = end - begin
    free[0] = end


waits_plain = _waits_plain
unit_draws_plain = _unit_draws_plain
predrawn_plain = _predrawn_plain
fresh_plain = _fresh_plain
closed_plain = _closed_plain

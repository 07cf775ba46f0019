"""What a write-back cache loses when it dies, and what it saves until then (in virtual time, seeded)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from course import checks
from course.cache_strategies import draw_keys
from course.workloads import zipf_probabilities

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CrashResult:
    """What :func:`write_back_crash` saw.

    Attributes
    ----------
    time_s, unsaved : ndarray, shape (points,)
        Acknowledged writes that the database lacks, just after each write and each flush: what a crash at
        that moment loses.
    lost_writes : int
        The same at `crash_at_s`.
    writes, db_writes : int
        Writes acknowledged and rows written to the database until then.
    db_writes_saved : float
        1 - rows written / writes that have reached the database.
    mean_loss : float
        Average of `unsaved` over the time until the crash: the loss for a crash at a random moment.
    expected_loss, expected_loss_se : float
        Theory: write rate × mean dirty age, and the standard error of `mean_loss` about it. NaN once `batch`
        rows a flush may not keep up with the writes.
    any_loss : float
        Share of the time in which a crash would lose at least one write.
    guide_any_loss : float
        The same if each write were unsaved independently of the others, as the product of two probabilities
        has it: 1 - (1 - P(unsaved))^writes.
    """

    time_s: Floats
    unsaved: NDArray[np.int64]
    lost_writes: int
    writes: int
    db_writes: int
    db_writes_saved: float
    mean_loss: float
    expected_loss: float
    expected_loss_se: float
    any_loss: float
    guide_any_loss: float


def write_back_crash(
    *,
    writes_per_s: float = 200.0,
    flush_ms: float = 1_000.0,
    batch: int = 1_000,
    coalesce: bool = True,
    crash_at_s: float = 9.9,
    db_error_probability: float = 0.0,
    keys: int = 100,
    zipf_s: float = 0.9,
    seed: int = 1,
) -> CrashResult:
    """Count what a write-back cache loses when it dies at `crash_at_s`.

    Writes arrive as a Poisson process and are acknowledged at once. Every `flush_ms` the oldest unsaved rows,
    at most `batch`, go to the database in one transaction; if that fails they stay and are tried again with
    the next flush, in their order. With `coalesce` several writes of one key are one row.

    Parameters
    ----------
    writes_per_s : float
        1 to 10,000.
    flush_ms : float
        1 to 100,000 ms.
    batch : int
        Rows a flush may write, 1 to 100,000.
    coalesce : bool
        Whether later writes of a key replace its unsaved row.
    crash_at_s : float
        0.001 to 1,000 s, and at most 100,000 writes on average before it.
    db_error_probability : float
        Probability that a flush fails as a whole, 0 to 0.95.
    keys : int
        1 to 100,000.
    zipf_s : float
        0 to 3.
    seed : int

    Returns
    -------
    CrashResult

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    rate = checks.number("writes_per_s", writes_per_s, 1, 10_000, unit="writes/s")
    flush_ms = checks.number("flush_ms", flush_ms, 1, 100_000, unit="ms")
    batch = checks.integer("batch", batch, 1, 100_000)
    crash_at_s = checks.number("crash_at_s", crash_at_s, 0.001, min(1_000, 100_000 / rate), unit="s")
    failure = checks.number("db_error_probability", db_error_probability, 0, 0.95)
    keys = checks.integer("keys", keys, 1, 100_000)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))

    interval = flush_ms / 1000
    n = int(rng.poisson(rate * crash_at_s))
    arrivals = np.sort(rng.random(n)) * crash_at_s
    key_of = draw_keys(rng, n, keys, zipf_s).tolist()
    flushes = np.arange(1, int(crash_at_s / interval) + 1) * interval
    fails = rng.random(len(flushes)) < failure

    rows: dict[int, int] = {}  # coalescing: key -> writes its row stands for, in order of first write
    queue: deque[int] = deque()
    saved = np.zeros(len(flushes), np.int64)
    db_writes = 0
    due = np.searchsorted(arrivals, flushes, side="left").tolist()
    previous = 0
    for i, upto in enumerate(due):
        if coalesce:
            for key in key_of[previous:upto]:
                rows[key] = rows.get(key, 0) + 1
        else:
            queue.extend(key_of[previous:upto])
        previous = upto
        if fails[i]:
            continue
        if coalesce:
            oldest = list(rows)[:batch]
            saved[i] = sum(rows.pop(key) for key in oldest)
            db_writes += len(oldest)
        else:
            saved[i] = min(batch, len(queue))
            for _ in range(saved[i]):
                queue.popleft()
            db_writes += int(saved[i])

    times = np.concatenate([arrivals, flushes])
    change = np.concatenate([np.ones(n, np.int64), -saved])
    by_time = np.argsort(times, kind="stable")
    times, unsaved = times[by_time], np.cumsum(change[by_time])
    lengths = np.diff(np.append(times, crash_at_s))
    mean_loss = float((unsaved * lengths).sum() / crash_at_s)
    lost = int(unsaved[-1]) if len(unsaved) else 0
    flushed = n - lost
    expected, error = math.nan, math.nan
    # A batch that binds leaves a backlog, whose size has no such simple law: six sigma above the mean is
    # safe.
    per_cycle = rate * interval / (1 - failure)
    if batch >= min(keys if coalesce else math.inf, per_cycle + 6 * math.sqrt(per_cycle)):
        expected, error = _dirty_mean(rate, interval, failure, crash_at_s)
    return CrashResult(
        time_s=times,
        unsaved=unsaved,
        lost_writes=lost,
        writes=n,
        db_writes=db_writes,
        db_writes_saved=1 - db_writes / flushed if flushed else 0.0,
        mean_loss=mean_loss,
        expected_loss=expected,
        expected_loss_se=error,
        any_loss=float(lengths[unsaved > 0].sum() / crash_at_s),
        guide_any_loss=1 - (1 - mean_loss / n) ** n if n else 0.0,
    )


def _dirty_mean(rate: float, interval: float, failure: float, horizon: float) -> tuple[float, float]:
    """Mean number of unsaved writes, λ(F/2 + F·p/(1-p)), and the standard error of its time average.

    A cycle ends with the first flush that succeeds, G intervals long, G geometric. The area under the unsaved
    curve of a cycle is, given G, that of Poisson arrivals: mean λ(GF)²/2, variance λ(GF)³/3. The renewal
    reward theorem turns cycles into a time average.
    """
    g = np.arange(1, 1 + max(1, math.ceil(math.log(1e-15) / math.log(failure)) if failure else 1))
    p = (1 - failure) * failure ** (g - 1.0)
    length = g * interval
    mean = rate * (interval / 2 + interval * failure / (1 - failure))
    excess = rate * length**2 / 2 - mean * length
    variance = float((p * (rate * length**3 / 3 + excess**2)).sum())
    mean_length = interval / (1 - failure)
    cycles = horizon / mean_length
    return mean, math.sqrt(variance / cycles) / mean_length


def coalesced_rows(writes_per_s: float, flush_ms: float, keys: int, zipf_s: float) -> float:
    """Rows a coalescing flush writes on average: the distinct keys among the writes of one interval.

    Sum over keys of 1 - exp(-λ·P(key)·F): a key is in the batch unless none of its Poisson writes came.

    Parameters
    ----------
    writes_per_s : float
        λ, 0 to 10^6 per second.
    flush_ms : float
        F, 0 to 10^6 ms.
    keys, zipf_s
        As for :func:`zipf_probabilities`.
    """
    rate = checks.number("writes_per_s", writes_per_s, 0, 1e6, unit="writes/s")
    interval = checks.number("flush_ms", flush_ms, 0, 1e6, unit="ms") / 1000
    return float(-np.expm1(-rate * interval * zipf_probabilities(keys, zipf_s)).sum())

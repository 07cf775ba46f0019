"""The memory hierarchy: measured on this machine, computed by a formula, and as published."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from course import checks

if TYPE_CHECKING:
    import pandas as pd

LINE_BYTES = 64  # the transfer unit of nearly every CPU in use; Apple's have 128
DATA = Path(__file__).parents[1] / "data"
SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")

Floats = NDArray[np.float64]


# --- what the machine says of itself --------------------------------------------------------------------


@dataclass(frozen=True)
class CacheLevel:
    """One data cache: name (``"L1"`` …), size and line size in bytes."""

    name: str
    bytes: int
    line_bytes: int


def cache_levels(directory: Path = SYSTEM) -> tuple[CacheLevel, ...] | None:
    """Read the data caches of the first CPU, smallest first; None where Linux does not tell.

    Parameters
    ----------
    directory : Path
        Where Linux keeps them.
    """
    found = []
    for index in directory.glob("index*"):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            size = (index / "size").read_text().strip()
            found.append(
                CacheLevel(
                    name="L" + (index / "level").read_text().strip(),
                    bytes=int(size[:-1]) * {"K": 1024, "M": 1024**2}[size[-1]],
                    line_bytes=int((index / "coherency_line_size").read_text()),
                )
            )
        except (OSError, ValueError, KeyError, IndexError):  # virtual machines leave files out
            continue
    return tuple(sorted(found, key=lambda level: level.bytes)) or None


# --- measuring ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LatencyCurve:
    """Time of one dependent access by size of the array: `bytes` and `ns`, both of shape (sizes,)."""

    bytes: NDArray[np.int64]
    ns: Floats


def random_cycle(nodes: int, spacing: int, seed: int = 1) -> NDArray[np.int64]:
    """Links of one random cycle through every `spacing`-th place of an array.

    Parameters
    ----------
    nodes : int
        Length of the cycle, 1 to 4,194,304.
    spacing : int
        Distance of two nodes in array elements of 8 bytes, 1 to 1,024.
    seed : int

    Returns
    -------
    ndarray of int64, shape (nodes·spacing,)
        ``links[i]`` is where to go from node i; the places between nodes are 0.
    """
    nodes = checks.integer("nodes", nodes, 1, 2**22)
    spacing = checks.integer("spacing", spacing, 1, 1024)
    order = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1)).permutation(nodes) * spacing
    links = np.zeros(nodes * spacing, np.int64)
    links[order] = np.roll(order, -1)
    return links


def pointer_chase(sizes_kb: Sequence[int] | None = None, *, budget_s: float = 1.2) -> LatencyCurve:
    """Measure ns per access by following a random cycle through arrays of growing size.

    One node a cache line, so that every step is a new line; each load depends on the last, so that neither
    prefetching nor parallel loads hide the latency. The best of three tries each: noise only adds.

    Parameters
    ----------
    sizes_kb : sequence of int, optional
        4 to 262,144 kB each; 4 kB to 64 MB in steps of √2 if left out.
    budget_s : float
        About how long the measuring may take, 0.05 to 60 s.

    Returns
    -------
    LatencyCurve

    Raises
    ------
    ValueError
        If a size or the budget is outside its range.
    """
    if sizes_kb is None:
        sizes_kb = [round(4 * 2 ** (i / 2)) for i in range(29)]
    sizes = [checks.integer("sizes_kb", size, 4, 262_144, unit="kB") for size in sizes_kb]
    checks.integer("number of sizes", len(sizes), 1, 200)
    budget_s = checks.number("budget_s", budget_s, 0.05, 60, unit="s")

    from course.kernels.memory_hierarchy import chase

    chase(random_cycle(8, 1), 0, 8)  # compiled, or loaded, before the clock starts
    per_try = budget_s / len(sizes) / 6  # half of the time goes into building the arrays
    spacing = LINE_BYTES // 8
    best = np.empty(len(sizes))
    for i, size in enumerate(sizes):
        nodes = size * 1024 // LINE_BYTES
        links = random_cycle(nodes, spacing)
        at = chase(links, 0, min(nodes, 20_000))  # bring it in; for big arrays a part will do
        steps, taken = 1_000, 0.0
        while True:
            start = time.perf_counter()
            at = chase(links, at, steps)
            taken = time.perf_counter() - start
            if taken > per_try / 4 or steps >= 100_000_000:
                break
            steps *= 4
        best[i] = taken / steps
        for _ in range(2):
            start = time.perf_counter()
            at = chase(links, at, steps)
            best[i] = min(best[i], (time.perf_counter() - start) / steps)
    return LatencyCurve(np.array(sizes, np.int64) * 1024, best * 1e9)


def strided_sum(
    array_kb: int = 16_384, strides: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
) -> Floats:
    """Measure ns per element of ``array[::stride].sum()`` for 8-byte elements, plain NumPy.

    Up to a stride of one cache line (8 elements) each line brings less that is used; past it, nothing changes
    until pages (512 elements) begin to count.

    Parameters
    ----------
    array_kb : int
        4 to 1,000,000 kB.
    strides : sequence of int
        1 to 512 elements each.

    Returns
    -------
    ndarray, shape (strides,)
    """
    array_kb = checks.integer("array_kb", array_kb, 4, 1_000_000, unit="kB")
    steps = [checks.integer("strides", stride, 1, 512, unit="elements") for stride in strides]
    array = np.ones(array_kb * 128, np.int64)
    out = np.empty(len(steps))
    for i, stride in enumerate(steps):
        view = array[::stride]
        repeat = max(1, 100_000 // len(view))
        tries = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(repeat):
                view.sum()
            tries.append((time.perf_counter() - start) / repeat / len(view))
        out[i] = min(tries) * 1e9
    return out


# --- the model, and what it says of a curve ------------------------------------------------------------


def chase_latency(array_bytes: Floats, levels: Sequence[tuple[float, float]], memory_ns: float) -> Floats:
    """Latency of following a cycle through an array, from the sizes and latencies of the levels.

    An array of S bytes that is larger than a level of C bytes is partly there. Under random replacement a
    line survives one round of the cycle, in which (1-h)·S/C lines are thrown out for each place, with
    probability h = exp(-(1-h)·S/C): that is the hit ratio. Real caches lie between this and LRU, under which
    every access misses as soon as S > C.

    Parameters
    ----------
    array_bytes : ndarray
        Sizes S, above 0.
    levels : sequence of (bytes, ns)
        Each level's size and total latency of a hit there, smallest first.
    memory_ns : float
        Latency beyond the last level.

    Returns
    -------
    ndarray
        Nanoseconds, of the shape of `array_bytes`.
    """
    checks.integer("number of levels", len(levels), 1, 5)
    latencies = [*(ns for _, ns in levels), memory_ns]
    total = np.full(np.shape(array_bytes), float(latencies[0]))
    for (size, ns), slower in zip(levels, latencies[1:], strict=True):
        total += (slower - ns) * _miss_ratio(array_bytes / size)
    return total


def _miss_ratio(times_larger: Floats) -> Floats:
    """Solve h = exp(-(1-h)·r) for the smaller root by iteration from below; 1 - h, and 0 for r <= 1."""
    hit = np.zeros_like(times_larger)
    for _ in range(200):
        hit = np.exp(-(1 - hit) * times_larger)
    return np.where(times_larger <= 1, 0.0, 1 - hit)


@dataclass(frozen=True)
class Hierarchy:
    """What a curve tells of the machine.

    Attributes
    ----------
    bytes : tuple of int
        Sizes of the levels.
    ns : tuple of float
        Their latencies, and memory's.
    """

    bytes: tuple[int, ...]
    ns: tuple[float, ...]


def estimate_hierarchy(curve: LatencyCurve, levels: int = 3) -> Hierarchy:
    """Find the cliffs of a measured curve: the sizes for which :func:`chase_latency` fits it best.

    All choices of sizes among the measured ones are tried; given the sizes, the latencies are linear, and
    fitted by least squares of the relative error. A size is found to within a step of the curve.

    Parameters
    ----------
    curve : LatencyCurve
        At least twice as many points as levels, at most 60, ascending.
    levels : int
        Cache levels to look for, 1 to 3.

    Returns
    -------
    Hierarchy

    Raises
    ------
    ValueError
        If the curve is too short or too long, or no rising latencies fit it.
    """
    levels = checks.integer("levels", levels, 1, 3)
    checks.integer("number of sizes", len(curve.bytes), 2 * levels + 2, 60)
    sizes = curve.bytes.astype(float)
    # Noise only adds, and a larger array is never faster: no point can lie above a later one.
    ns = np.minimum.accumulate(curve.ns[::-1])[::-1]
    misses = _miss_ratio(sizes[None, :] / sizes[:, None])  # [cache, array]
    best, found = math.inf, None
    for chosen in itertools.combinations(range(len(sizes) - 1), levels):
        a = np.vstack([np.ones(len(sizes)), misses[list(chosen)]]).T / ns[:, None]
        normal = a.T @ a
        try:
            steps = np.linalg.solve(normal, a.sum(axis=0))
        except np.linalg.LinAlgError:
            continue
        error = float(((a @ steps - 1) ** 2).sum())
        rises = steps[0] > 0 and (steps[1:] > 0.05 * np.cumsum(steps)[:-1]).all()  # less is no cliff
        if rises and error < best:
            best, found = error, (chosen, steps)
    if found is None:
        raise ValueError(f"curve = {ns!r}: must rise at {levels} sizes at least")
    chosen, steps = found
    return Hierarchy(tuple(int(sizes[i]) for i in chosen), tuple(float(total) for total in np.cumsum(steps)))


def amat(levels: Sequence[tuple[float, float]], memory_ns: float) -> float:
    """Average memory access time: t₁ + m₁·(t₂ + m₂·(… + memory)).

    A miss has paid the lookup before it goes on (Hennessy and Patterson, *Computer
    Architecture*, appendix B).

    Parameters
    ----------
    levels : sequence of (ns, miss ratio)
        Hit time and *local* miss ratio of each cache level, fastest first; ns from 0, ratio 0 to 1.
    memory_ns : float
        Time of the last level, which always has it.

    Returns
    -------
    float
        Nanoseconds.
    """
    checks.integer("number of levels", len(levels), 0, 10)
    total = checks.number("memory_ns", memory_ns, 0, unit="ns")
    for ns, miss in reversed(levels):
        total = checks.number("hit time", ns, 0, unit="ns") + checks.number("miss ratio", miss, 0, 1) * total
    return total


# --- as published ---------------------------------------------------------------------------------------


def latency_numbers() -> pd.DataFrame:
    """Load published latencies: columns ``operation``, ``nanoseconds``, ``year``, ``source``.

    Sources are in ``data/README.md``.
    """
    import pandas as pd

    return pd.read_csv(DATA / "latency_numbers.csv")

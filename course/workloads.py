"""Workloads: who asks for what, in which order.  Zipf's law, and traces recorded from real programs.

A trace is an array of dense ids, ``int32`` from 0 to ``items - 1``: every simulator of :mod:`course.caching`
takes that, and :func:`densify` makes it of anything else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from course import checks

MAX_ITEMS = 10_000_000
MAX_REQUESTS = 200_000_000
MAX_EXPONENT = 10.0
MAX_SEED = 2**63 - 1
MAX_MEAN_BYTES = 1e12
MAX_LOG_SD = 3.0

TRACES = Path(__file__).resolve().parents[1] / "data" / "traces"


@dataclass(frozen=True)
class Trace:
    """A sequence of requests.

    Attributes
    ----------
    name : str
        What it is called.
    keys : ndarray of int32, shape (requests,)
        The object each request asks for, from 0 to ``items - 1``.
    items : int
        How many objects there are.
    sizes : ndarray of int64, shape (items,), or None
        Size of each object in bytes, where sizes are known; a file may be empty.
    recorded : str
        How it was recorded or made, and when.
    """

    name: str
    keys: NDArray[np.int32]
    items: int
    sizes: NDArray[np.int64] | None
    recorded: str

    @property
    def requests(self) -> int:
        """Number of requests."""
        return int(self.keys.size)


def zipf_probabilities(items: int, exponent: float) -> NDArray[np.float64]:
    """Probabilities of Zipf's law: the object of rank r is asked for in proportion to ``r ** -exponent``.

    Parameters
    ----------
    items : int
        Number of objects, from 1 to 10 million.
    exponent : float
        0 makes all alike; web traffic lies between 0.6 and 1.2 (Breslau et al. 1999). From 0 to 10.

    Returns
    -------
    ndarray of float64, shape (items,)
        Probabilities, the most popular object first; they add up to 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    items = checks.integer("items", items, 1, MAX_ITEMS)
    exponent = checks.number("exponent", exponent, 0, MAX_EXPONENT)
    weights = np.arange(1, items + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


def zipf_trace(requests: int, items: int, exponent: float, seed: int) -> NDArray[np.int32]:
    """Independent requests under Zipf's law (the independent reference model).

    Parameters
    ----------
    requests : int
        Number of requests, from 1 to 200 million.
    items, exponent
        As for :func:`zipf_probabilities`.
    seed : int
        The same seed gives the same trace.

    Returns
    -------
    ndarray of int32, shape (requests,)
        Ids from 0, the most popular object, to ``items - 1``. Not every object need occur.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Walker's alias method (Vose 1991): one random number and one comparison a request, whatever the
    distribution.
    """
    from course.kernels import workloads as kernels

    requests = checks.integer("requests", requests, 1, MAX_REQUESTS)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    threshold, alias = kernels.alias_table(zipf_probabilities(items, exponent))
    return kernels.draw(threshold, alias, requests, np.random.default_rng(seed))


def lognormal_sizes(
    items: int, mean_bytes: float, log_sd: float, seed: int, popularity_correlation: float = 0.0
) -> NDArray[np.int64]:
    """Log-normal object sizes, for objects numbered by popularity.

    Parameters
    ----------
    items : int
        Number of objects, from 1 to 10 million.
    mean_bytes : float
        Mean size in bytes, from 1 to 10¹².
    log_sd : float
        Standard deviation of the logarithm of the size, from 0 to 3; 1.5 to 2 is common on the web (Barford &
        Crovella 1998 fitted 1.3 for the body of the distribution, with a heavier tail).
    seed : int
        The same seed gives the same sizes.
    popularity_correlation : float
        Correlation between the rank-normal score of popularity and the logarithm of the size, from -1 to 1.
        Below 0, popular objects are the small ones.

    Returns
    -------
    ndarray of int64, shape (items,)
        Sizes in bytes, at least 1, of object 0 (the most popular) first.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    items = checks.integer("items", items, 1, MAX_ITEMS)
    mean = checks.number("mean_bytes", mean_bytes, 1, MAX_MEAN_BYTES, unit="bytes")
    spread = checks.number("log_sd", log_sd, 0, MAX_LOG_SD)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    link = checks.number("popularity_correlation", popularity_correlation, -1, 1)
    rng = np.random.default_rng(seed)
    popularity = np.sort(rng.standard_normal(items))[::-1]
    score = link * popularity + np.sqrt(1 - link**2) * rng.standard_normal(items)
    # The mean of a log-normal lies exp(sd²/2) above its median.
    sizes: NDArray[np.float64] = mean * np.exp(spread * score - spread**2 / 2)
    return np.maximum(np.rint(sizes), 1).astype(np.int64)


def densify(keys: Iterable[Hashable]) -> tuple[NDArray[np.int32], list[Hashable]]:
    """Give arbitrary keys dense numbers, in the order in which they first occur.

    Parameters
    ----------
    keys : iterable of hashable
        URLs, page numbers, file names, …, from 1 to 200 million of them.

    Returns
    -------
    ids : ndarray of int32, shape (requests,)
        A dense id for each key.
    names : list, length items
        The key of each id.

    Raises
    ------
    ValueError
        If there are no keys, or too many.
    """
    numbers: dict[Hashable, int] = {}
    ids = np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int32)
    checks.integer("number of keys", ids.size, 1, MAX_REQUESTS)
    return ids, list(numbers)


def recorded_traces() -> tuple[str, ...]:
    """Names of the recorded traces that come with the course."""
    return tuple(sorted(path.stem for path in TRACES.glob("*.npz")))


def recorded_trace(name: str) -> Trace:
    """Load a trace that was recorded from a real program; ``data/README.md`` says how.

    Parameters
    ----------
    name : str
        One of :func:`recorded_traces`, such as ``"sqlite_pages"``.

    Returns
    -------
    Trace
        With sizes.

    Raises
    ------
    ValueError
        If there is no such trace.
    FileNotFoundError
        If the course was installed without its ``data`` folder.
    """
    if not TRACES.is_dir():
        raise FileNotFoundError(
            f"{TRACES} is missing: the traces are in the course's repository, beside course/"
        )
    checks.option("name", name, recorded_traces())
    with np.load(TRACES / f"{name}.npz") as stored:
        keys = stored["keys"].astype(np.int32)
        items = int(keys.max()) + 1
        sizes = np.broadcast_to(stored["sizes"], items).astype(np.int64)
        recorded = f"{stored['about']}; recorded {stored['recorded']}"
    return Trace(name, keys, items, sizes, recorded)


def as_trace(trace: Trace | NDArray[np.integer] | Iterable[int]) -> Trace:
    """Return a trace as it is, or make one of dense ids.

    Parameters
    ----------
    trace : Trace or sequence of int
        Ids must be from 0 to 9,999,999; anything else goes through :func:`densify` first.

    Returns
    -------
    Trace
        ``items`` is the highest id plus one.

    Raises
    ------
    ValueError
        If the ids are not whole numbers in one dimension, or out of range, or there are none.
    """
    if isinstance(trace, Trace):
        return trace
    ids = np.asarray(trace if isinstance(trace, np.ndarray) else list(trace))
    if ids.ndim != 1 or not 1 <= ids.size <= MAX_REQUESTS or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"trace of shape {ids.shape} and type {ids.dtype}: must be one row of 1 to {MAX_REQUESTS:,} "
            "whole numbers; course.workloads.densify numbers other keys"
        )
    low, high = int(ids.min()), int(ids.max())
    for extreme in (low, high):
        checks.integer("trace (an id in it)", extreme, 0, MAX_ITEMS - 1)
    return Trace("keys", np.ascontiguousarray(ids, np.int32), high + 1, None, "given")

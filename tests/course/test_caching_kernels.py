"""The compiled loops against their readable twins, and both against other libraries, by request."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cachetools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from course import kernels as package
from course import workloads
from course.kernels import caching as kernels

Keys = NDArray[np.int32]
NOTHING = np.empty(0, np.uint8)


def loop_flags(policy: str, keys: Keys, items: int, capacity: int) -> NDArray[np.uint8]:
    flags = np.full(keys.size, 7, np.uint8)
    if policy == "random":
        hits = kernels.random(keys, items, capacity, flags, np.random.default_rng(1))
    else:
        hits = kernels.KERNELS[policy](keys, items, capacity, flags)
    assert hits == flags.sum()
    return flags


def twin_flags(policy: str, keys: Keys, capacity: int) -> NDArray[np.uint8]:
    flags = np.full(keys.size, 7, np.uint8)
    twin = kernels.plain_cache(policy, capacity, keys.tolist(), np.random.default_rng(1))
    assert kernels.replay(twin, keys, flags) == flags.sum()
    return flags


def scans_and_zipf(requests: int, items: int, exponent: float, seed: int) -> Keys:
    """Zipf requests with two scans over everything among them, and a loop at the end."""
    keys = workloads.zipf_trace(requests, items, exponent, seed)
    everything = np.arange(items, dtype=np.int32)
    third = requests // 3
    return np.concatenate(
        [
            keys[:third],
            everything,
            keys[third : 2 * third],
            everything,
            keys[2 * third :],
            np.tile(everything, 2),
        ]
    )


TRACES = {
    "zipf": workloads.zipf_trace(20_000, 2_000, 0.9, seed=1),
    "zipf and scans": scans_and_zipf(20_000, 1_000, 0.7, seed=2),
    "SQLite pages": workloads.recorded_trace("sqlite_pages").keys[:40_000],
}
CAPACITIES = (1, 2, 7, 20, 100, 333)
ALL = (*kernels.KERNELS, "random")


def test_every_policy_is_tried() -> None:
    from course.caching import POLICIES

    assert set(ALL) == set(POLICIES)


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("policy", ALL)
def test_loop_equals_twin(policy: str, name: str) -> None:
    keys = TRACES[name]
    items = int(keys.max()) + 1
    for capacity in CAPACITIES:
        loop = loop_flags(policy, keys, items, capacity)
        assert np.array_equal(loop, twin_flags(policy, keys, capacity)), capacity
    assert 0 < loop.sum() < loop.size


@pytest.mark.parametrize("policy", ALL)
@settings(max_examples=60)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=120), st.integers(1, 12))
def test_loop_equals_twin_on_any_small_trace(policy: str, ids: list[int], capacity: int) -> None:
    keys = np.array(ids, np.int32)
    assert np.array_equal(loop_flags(policy, keys, 12, capacity), twin_flags(policy, keys, capacity))


@pytest.mark.parametrize("policy", kernels.KERNELS)
def test_hits_are_counted_without_flags_too(policy: str) -> None:
    keys = TRACES["zipf"]
    assert kernels.KERNELS[policy](keys, 2_000, 100, NOTHING) == loop_flags(policy, keys, 2_000, 100).sum()


# --- cachetools ---------------------------------------------------------------------------------------------

# cachetools evicts from one frequency class what entered it first, which is what was used least recently: our
# rule.
CACHETOOLS = {"LRU": cachetools.LRUCache, "LFU": cachetools.LFUCache, "FIFO": cachetools.FIFOCache}


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("policy", CACHETOOLS)
def test_equals_cachetools_request_by_request(policy: str, name: str) -> None:
    keys = TRACES[name]
    for capacity in (1, 20, 333):
        cache = CACHETOOLS[policy](capacity)
        theirs = np.empty(keys.size, np.uint8)
        for i, key in enumerate(keys.tolist()):
            theirs[i] = cache.get(key) is not None
            if not theirs[i]:
                cache[key] = True
        assert np.array_equal(loop_flags(policy, keys, int(keys.max()) + 1, capacity), theirs), capacity


# --- libCacheSim --------------------------------------------------------------------------------------------


def libcachesim_flags(policy: str, keys: Keys, capacity: int) -> NDArray[np.uint8]:
    library = pytest.importorskip("libcachesim")
    make: Callable[..., object] = {
        "LRU": library.LRU,
        "LFU": library.LFU,
        "FIFO": library.FIFO,
        "CLOCK": library.Clock,
        "SIEVE": library.Sieve,
        "S3-FIFO": library.S3FIFO,
        "ARC": library.ARC,
    }[policy]
    cache = make(capacity, hashpower=12)
    request = library.Request()
    request.obj_size = 1
    theirs = np.empty(keys.size, np.uint8)
    for i, key in enumerate(keys.tolist()):
        request.obj_id = key
        theirs[i] = cache.get(request)  # type: ignore[attr-defined]
    return theirs


def shared_capacities(policy: str) -> Iterator[int]:
    """libCacheSim's S3-FIFO admits nothing below 20 slots: its small queue must have two."""
    return (capacity for capacity in CAPACITIES if policy != "S3-FIFO" or capacity >= 20)


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("policy", ["LRU", "LFU", "FIFO", "CLOCK", "SIEVE", "S3-FIFO", "ARC"])
def test_equals_libcachesim_request_by_request(policy: str, name: str) -> None:
    keys = TRACES[name]
    compared = 0
    for capacity in shared_capacities(policy):
        loop = loop_flags(policy, keys, int(keys.max()) + 1, capacity)
        assert np.array_equal(loop, libcachesim_flags(policy, keys, capacity)), capacity
        compared += 1
    assert compared >= 3


# --- the other loops ----------------------------------------------------------------------------------------


def test_stack_distances_equal_mattsons_list() -> None:
    for name, keys in TRACES.items():
        items = int(keys.max()) + 1
        loop = kernels.stack_distances(keys, items)
        assert loop.sum() == keys.size
        assert np.array_equal(loop, kernels.stack_distances_plain(keys, items)), name


@settings(max_examples=60)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=300))
def test_stack_distances_equal_mattsons_list_on_any_small_trace(ids: list[int]) -> None:
    keys = np.array(ids, np.int32)
    assert np.array_equal(kernels.stack_distances(keys, 21), kernels.stack_distances_plain(keys, 21))


def test_stack_distances_move_time_together_many_times() -> None:
    # 300 objects have 8,192 bits of time: this trace runs out of them 12 times.
    keys = workloads.zipf_trace(100_000, 300, 0.5, seed=3)
    assert np.array_equal(kernels.stack_distances(keys, 300), kernels.stack_distances_plain(keys, 300))


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=200),
    st.lists(st.integers(1, 30), min_size=10, max_size=10),
    st.integers(1, 60),
)
def test_lru_by_bytes_equals_its_twin(ids: list[int], sizes: list[int], capacity: int) -> None:
    keys, known = np.array(ids, np.int32), np.array(sizes, np.int64)
    loop, twin = np.full((2, keys.size), 7, np.uint8)
    assert kernels.lru_bytes(keys, known, capacity, loop) == loop.sum()
    kernels.lru_bytes_plain(keys, known, capacity, twin)
    assert np.array_equal(loop, twin)


def test_lru_by_bytes_equals_cachetools() -> None:
    keys = TRACES["zipf"]
    sizes = workloads.lognormal_sizes(2_000, 1_000, 1.5, seed=1)
    capacity = int(sizes.sum()) // 10
    cache = cachetools.LRUCache(capacity, getsizeof=lambda key: int(sizes[key]))
    theirs = np.zeros(keys.size, np.uint8)
    for i, key in enumerate(keys.tolist()):
        theirs[i] = cache.get(key) is not None
        if not theirs[i] and sizes[key] <= capacity:
            cache[key] = key
    flags = np.empty(keys.size, np.uint8)
    kernels.lru_bytes(keys, sizes, capacity, flags)
    assert np.array_equal(flags, theirs)


# --- the package --------------------------------------------------------------------------------------------


def test_warm_up_calls_every_kernel() -> None:
    told: list[package.WarmUp] = []
    done = package.warm_up(told.append)
    assert told == done
    names = {one.kernel for one in done}
    assert {"caching.lru", "caching.s3fifo", "caching.stack_distances", "workloads.draw"} <= names
    ours = {name for name in names if name.startswith("caching.")}
    assert len(ours) == len(kernels.KERNELS) + 3  # and random, stack_distances, lru_bytes


@pytest.mark.parametrize("policy", kernels.KERNELS)
def test_warm_up_compiles_the_very_types_that_are_used(policy: str) -> None:
    package.warm_up()
    loop = kernels.KERNELS[policy]
    signatures = getattr(loop, "signatures", None)
    if signatures is None:
        pytest.skip("needs Numba: the twins have no signatures")
    before = len(signatures)
    loop_flags(policy, TRACES["zipf"], 2_000, 10)
    assert len(loop.signatures) == before == 1  # type: ignore[attr-defined]


def test_without_numba_the_twin_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "COMPILED", False)
    monkeypatch.setattr(package, "_KERNELS", {})

    def loop(x: int) -> int:
        return x + 1

    assert package.kernel(lambda: (1,))(loop) is loop
    assert package.kernel(lambda: (1,), twin=abs)(loop) is abs  # type: ignore[comparison-overlap]
    assert [one.kernel for one in package.warm_up()] == ["test_caching_kernels.loop"]

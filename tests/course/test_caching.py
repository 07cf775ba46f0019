from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from course import caching, workloads
from course.caching import POLICIES

SHORT = st.lists(st.integers(0, 9), min_size=1, max_size=150)
SQLITE = workloads.recorded_trace("sqlite_pages")
DOCS = workloads.recorded_trace("docs_build")


# --- policies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40)
@given(keys=SHORT, capacity=st.integers(1, 12), seed=st.integers(0, 5))
def test_invariants_of_every_policy(policy: str, keys: list[int], capacity: int, seed: int) -> None:
    run = caching.simulate(policy, keys, capacity, seed=seed, record=True)
    assert run.hit_flags is not None
    first = {key: keys.index(key) for key in keys}
    # Nobody hits on a first request, nobody evicts while there is room, and the optimum is not beaten.
    assert not any(run.hit_flags[i] for i in first.values())
    assert run.hits == run.hit_flags.sum()
    if capacity >= len(first):
        assert run.hits == len(keys) - len(first)
    assert run.hits <= caching.simulate("OPT", keys, capacity).hits


@settings(max_examples=25)
@given(keys=st.lists(st.integers(0, 4), min_size=1, max_size=9), capacity=st.integers(1, 3))
def test_opt_is_the_best_of_all_eviction_choices(keys: list[int], capacity: int) -> None:
    # Every choice of a victim, by exhaustion: the set of reachable contents with the most hits each.
    reached: dict[frozenset[int], int] = {frozenset(): 0}
    for key in keys:
        following: dict[frozenset[int], int] = {}
        for held, hits in reached.items():
            if key in held:
                choices = [held]
            elif len(held) < capacity:
                choices = [held | {key}]
            else:
                choices = [held - {victim} | {key} for victim in held]
            for content in choices:
                following[content] = max(following.get(content, 0), hits + (key in held))
        reached = following
    assert caching.simulate("OPT", keys, capacity).hits == max(reached.values())


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=30)
@given(keys=SHORT, capacity=st.integers(1, 12))
def test_steps_tell_the_same_story(policy: str, keys: list[int], capacity: int) -> None:
    run = caching.simulate(policy, keys, capacity, record=True)
    states = caching.steps(policy, keys, capacity)
    assert run.hit_flags is not None
    assert [state.hit for state in states] == run.hit_flags.tolist()
    before: set[int] = set()
    for i, state in enumerate(states):
        real = [queue for name, queue in state.queues.items() if name not in {"ghost", "B1", "B2"}]
        held = {key for queue in real for key in queue}
        assert (state.request, state.key) == (i, keys[i])
        assert sum(map(len, real)) == len(held) <= capacity
        assert state.hit == (keys[i] in before)
        gone = before - held
        assert gone == ({state.evicted} if state.evicted is not None else set())
        assert held == (before - gone) | {keys[i]}
        assert bool(state.marks) == bool(state.mark_name)
        assert set(state.marks) in (set(), held)
        assert state.hand is None or state.hand in held
        before = held


def test_steps_draw_what_the_papers_draw() -> None:
    # LRU: a hit goes to the front, the back leaves.
    last = caching.steps("LRU", [0, 1, 2, 0, 3], 3)[-1]
    assert (last.queues["cache"], last.evicted) == ((3, 0, 2), 1)
    # CLOCK moves the survivor 0 behind the newcomer; SIEVE leaves it at the old end and tries 2 next.
    clock, sieve = (caching.steps(policy, [0, 1, 2, 0, 3], 3)[-1] for policy in ("CLOCK", "SIEVE"))
    assert (clock.queues["cache"], clock.evicted, clock.hand) == ((3, 0, 2), 1, 2)
    assert (sieve.queues["cache"], sieve.evicted, sieve.hand) == ((3, 2, 0), 1, 2)
    # LFU: 0 was used twice and outlives the younger 1.
    lfu = caching.steps("LFU", [0, 0, 1, 2], 2)[-1]
    assert (lfu.queues["cache"], lfu.evicted, lfu.marks) == ((0, 2), 1, {0: 2, 2: 1})
    # OPT looks ahead: 1 comes back last.
    opt = caching.steps("OPT", [0, 1, 2, 0, 2, 1], 2)
    assert [state.evicted for state in opt] == [None, None, 1, None, None, 2]
    # ARC: a second use makes a page frequent, and what T1 loses is remembered in B1.
    arc = caching.steps("ARC", [0, 0, 1, 2], 2)[-1]
    assert arc.queues == {"T1": (2,), "T2": (0,), "B1": (1,), "B2": ()}


def test_a_scan_empties_lru_and_not_the_modern_ones() -> None:
    hot = np.tile(np.arange(10, dtype=np.int32), 30)
    scan = np.arange(10, 200, dtype=np.int32)
    keys = np.concatenate([hot, scan, hot[:10]])
    after = {
        policy: caching.simulate(policy, keys, 20, warmup=keys.size - 10).hits
        for policy in ("LRU", "FIFO", "SIEVE", "S3-FIFO", "ARC", "LFU", "OPT")
    }
    assert after["LRU"] == after["FIFO"] == 0
    assert {after[policy] for policy in ("SIEVE", "S3-FIFO", "ARC", "LFU", "OPT")} == {10}


def test_a_loop_one_longer_than_the_cache_never_hits_in_lru() -> None:
    keys = np.tile(np.arange(11, dtype=np.int32), 20)
    assert caching.simulate("LRU", keys, 10).hits == 0
    assert caching.simulate("OPT", keys, 10).hits > 0.8 * keys.size


@pytest.mark.parametrize("trace", [SQLITE, DOCS], ids=["sqlite_pages", "docs_build"])
def test_policies_differ_on_the_recorded_traces(trace: workloads.Trace) -> None:
    capacities = [trace.items // share for share in (50, 20, 8)]
    curves = {policy: caching.hit_ratio_curve(policy, trace, capacities).hit_ratio for policy in POLICIES}
    for policy, ratios in curves.items():
        assert np.all(ratios <= curves["OPT"]), policy
    # Two whole points between the best and the worst of the practical ones, at each size: a reader sees it.
    practical = np.array([curves[policy] for policy in POLICIES if policy != "OPT"])
    assert np.all(practical.max(axis=0) - practical.min(axis=0) > 0.02)


def test_sqlite_trace_holds_scans() -> None:
    # A scan reads neighbouring pages once each: somewhere there are 300 different pages in a row.
    window = 300
    assert any(
        np.unique(SQLITE.keys[i : i + window]).size == window
        for i in range(0, SQLITE.requests - window, window // 3)
    )


def test_warmup_leaves_out_the_beginning() -> None:
    keys = [0, 1, 0, 1, 2, 0]
    run = caching.simulate("LRU", keys, 2, warmup=2, record=True)
    assert (run.hits, run.requests, run.hit_ratio) == (2, 4, 0.5)
    assert run.hit_flags is not None
    assert run.hit_flags.tolist() == [False, False, True, True, False, False]
    assert run.cumulative_hit_ratio.tolist() == [0, 0, 1 / 3, 0.5, 0.4, 1 / 3]
    with pytest.raises(ValueError, match="record = False"):
        _ = caching.simulate("LRU", keys, 2).cumulative_hit_ratio


def test_random_eviction_is_seeded() -> None:
    first, again, other = (
        caching.simulate("random", SQLITE, 100, seed=seed, record=True).hit_flags for seed in (1, 1, 2)
    )
    assert first is not None
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# --- miss-ratio curves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", [SQLITE, DOCS], ids=["sqlite_pages", "docs_build"])
def test_curve_equals_separate_runs(trace: workloads.Trace) -> None:
    curve = caching.miss_ratio_curve(trace)
    capacities = [1, 2, 3, 10, 50, 100, 500, trace.items - 1, trace.items, trace.items + 5]
    for capacity in capacities:
        run = caching.simulate("LRU", trace, capacity)
        assert curve.hit_ratio(capacity) == run.hit_ratio, capacity
    assert caching.hit_ratio_curve("LRU", trace, capacities).hit_ratio.tolist() == [
        caching.simulate("LRU", trace, capacity).hit_ratio for capacity in capacities
    ]


@given(SHORT)
def test_curve_is_monotone_and_ends_at_first_requests(keys: list[int]) -> None:
    curve = caching.miss_ratio_curve(keys)
    assert curve.hits[0] == 0
    assert np.all(np.diff(curve.hits) >= 0)
    assert curve.first_requests == len(set(keys))
    assert curve.hits[-1] == len(keys) - len(set(keys))
    assert np.allclose(curve.miss_ratio, 1 - curve.hits / len(keys))
    assert curve.capacities.tolist() == list(range(max(keys) + 2))


@given(keys=SHORT, capacity=st.integers(1, 9))
def test_lru_inclusion(keys: list[int], capacity: int) -> None:
    small, large = (caching.steps("LRU", keys, slots) for slots in (capacity, capacity + 1))
    for one, other in zip(small, large, strict=True):
        assert set(one.queues["cache"]) <= set(other.queues["cache"])


def test_fifo_has_beladys_anomaly() -> None:
    # The classic example of Belady, Nelson & Shedler 1969: more slots, fewer hits. LRU and OPT cannot do
    # that.
    keys = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    assert caching.simulate("FIFO", keys, 3).hits == 3
    assert caching.simulate("FIFO", keys, 4).hits == 2


# --- Che ----------------------------------------------------------------------------------------------------


def batch_mean_error(flags: NDArray[np.bool_], batches: int = 100) -> float:
    """Standard error of a mean of dependent flags, from the means of long batches."""
    means = flags[: flags.size // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.std(ddof=1) / math.sqrt(batches))


@pytest.mark.parametrize("policy", caching.CHE_POLICIES)
@pytest.mark.parametrize("exponent", [0.0, 0.6, 0.9, 1.2])
def test_che_agrees_with_simulation(policy: str, exponent: float) -> None:
    items, capacity, requests = 5_000, 500, 2_000_000
    theory = caching.che(workloads.zipf_probabilities(items, exponent), capacity, policy=policy)
    keys = workloads.zipf_trace(requests, items, exponent, seed=11)
    warmup = 100_000  # at least five characteristic times: what is held no longer depends on the empty start
    assert warmup > 5 * theory.characteristic_time
    flags = caching.simulate(policy, keys, capacity, record=True).hit_flags
    assert flags is not None
    # Four standard errors, and the approximation's own error: of order 1/C relative to the hit ratio (Fricker
    # et al. 2012), that is 0.002 here.
    tolerance = 4 * batch_mean_error(flags[warmup:]) + theory.hit_ratio / capacity
    assert flags[warmup:].mean() == pytest.approx(theory.hit_ratio, abs=tolerance)
    assert tolerance < 0.006


def test_che_per_item_agrees_with_simulation() -> None:
    items, capacity, requests = 1_000, 100, 2_000_000
    keys = workloads.zipf_trace(requests, items, 0.8, seed=12)
    theory = caching.che(workloads.zipf_probabilities(items, 0.8), capacity)
    flags = caching.simulate("LRU", keys, capacity, record=True).hit_flags
    assert flags is not None
    asked = np.bincount(keys, minlength=items)
    seen = np.bincount(keys, weights=flags, minlength=items) / asked
    # Binomial standard error of each object (its requests lie far apart); at 1,000 objects five of it leave a
    # chance of one in 2,000 that one is outside, and 1/C for the approximation.
    error = np.sqrt(theory.per_item * (1 - theory.per_item) / asked)
    assert np.all(np.abs(seen - theory.per_item) <= 5 * error + 1 / capacity)


@given(
    weights=st.lists(st.floats(0, 1), min_size=2, max_size=60),
    capacity=st.integers(1, 60),
    policy=st.sampled_from(caching.CHE_POLICIES),
)
def test_che_fills_the_cache(weights: list[float], capacity: int, policy: str) -> None:
    assume(sum(weights) > 1e-3)
    chances = np.array(weights) / sum(weights)
    asked = int(np.count_nonzero(chances > caching.NEVER))
    result = caching.che(chances, capacity, policy=policy)
    assert np.all((result.per_item >= 0) & (result.per_item <= 1))
    assert result.hit_ratio == pytest.approx(float(chances @ result.per_item))
    if capacity >= asked:
        assert (result.characteristic_time, result.hit_ratio) == (math.inf, pytest.approx(1))
    else:
        assert result.per_item.sum() == pytest.approx(capacity, rel=1e-6)
        assert result.characteristic_time >= capacity


def test_che_of_uniform_requests_is_the_share_that_fits() -> None:
    chances = np.full(200, 1 / 200)
    for policy in caching.CHE_POLICIES:
        assert caching.che(chances, 50, policy=policy).hit_ratio == pytest.approx(0.25)
    assert caching.hit_ratio_uniform(50, 200) == 0.25
    assert caching.hit_ratio_uniform(300, 200) == 1


def test_che_knows_the_figures_of_the_chapter() -> None:
    # A tenth of the objects in an LRU cache, 10,000 objects (inventory CA-2, from simulation with two
    # digits).
    for exponent, expected in ((0.0, 0.10), (0.8, 0.44), (1.0, 0.67), (1.2, 0.86)):
        hit_ratio = caching.che(workloads.zipf_probabilities(10_000, exponent), 1_000).hit_ratio
        assert hit_ratio == pytest.approx(expected, abs=0.015), exponent


@given(
    items=st.integers(2, 3_000),
    exponent=st.floats(0, 2),
    wanted=st.floats(0.01, 0.999),
    policy=st.sampled_from(caching.CHE_POLICIES),
)
def test_size_for_hit_ratio_is_the_smallest(items: int, exponent: float, wanted: float, policy: str) -> None:
    chances = workloads.zipf_probabilities(items, exponent)
    size = caching.size_for_hit_ratio(chances, wanted, policy=policy)
    # Rounding of sums over 3,000 objects stays below 1e-9.
    assert caching.che(chances, size, policy=policy).hit_ratio >= wanted - 1e-9
    if size > 1:
        assert caching.che(chances, size - 1, policy=policy).hit_ratio < wanted + 1e-9


def test_size_for_all_hits_is_everything() -> None:
    assert caching.size_for_hit_ratio([0.5, 0.5, 0.0], 1) == 2
    assert caching.size_for_hit_ratio([0.5, 0.5, 0.0], 0) == 1


# --- what a hit is worth ------------------------------------------------------------------------------------


def test_access_time_of_the_guide_and_of_erratum_50() -> None:
    time = caching.effective_access_time(0.9, 1, 100)
    assert time.miss_only_ms == pytest.approx(10.9)
    assert time.with_lookup_ms == pytest.approx(11.0)
    assert time.with_fill_ms == pytest.approx(11.1)
    assert time.without_cache_ms == 100
    assert time.db_load == pytest.approx(0.1)
    assert time.load_without_cache == pytest.approx(10)
    assert caching.effective_access_time(1, 1, 100).load_without_cache == math.inf


@given(st.floats(0, 1), st.floats(0, 10), st.floats(20, 500), st.floats(0, 10), st.floats(0, 10))
def test_required_hit_ratio_inverts(
    ratio: float, hit: float, miss: float, lookup: float, fill: float
) -> None:
    time = caching.effective_access_time(ratio, hit, miss, lookup_ms=lookup, fill_ms=fill).with_fill_ms
    assume(time >= hit)
    found = caching.required_hit_ratio(time, hit, miss, lookup_ms=lookup, fill_ms=fill)
    assert found == pytest.approx(ratio, abs=1e-9)


def test_required_hit_ratio_of_the_chapter() -> None:
    assert caching.required_hit_ratio(5, 1, 100) == pytest.approx((102 - 5) / (102 - 1))
    assert caching.required_hit_ratio(5, 1, 100, lookup_ms=0, fill_ms=0) == pytest.approx(95 / 99)
    assert caching.required_hit_ratio(500, 1, 100) == 0
    with pytest.raises(ValueError, match=r"target_ms = 0\.5: must be a number from 1"):
        caching.required_hit_ratio(0.5, 1, 100)


def test_cache_bytes() -> None:
    assert caching.cache_bytes(1_000_000, 200, 56) == 256e6


# --- CDN ----------------------------------------------------------------------------------------------------


def test_cdn_latency_and_traffic() -> None:
    result = caching.cdn(0.9, 20, 100, 90, byte_hit_ratio=0.7, requests_per_s=1_000, mean_bytes=125_000)
    assert result.mean_ms == pytest.approx(29)
    assert (result.hit_ms, result.miss_ms, result.without_ms) == (20, 110, 100)
    assert result.break_even_hit_ratio == pytest.approx(1 / 9)
    assert (result.origin_gbps, result.saved_gbps) == (pytest.approx(0.3), pytest.approx(0.7))


@given(st.floats(1, 100), st.floats(20, 400), st.floats(1, 400))
def test_cdn_breaks_even_where_it_says(edge: float, origin: float, between: float) -> None:
    level = caching.cdn(0, edge, origin, between).break_even_hit_ratio
    assert level >= 0
    if level == 0:
        assert caching.cdn(0, edge, origin, between).mean_ms <= origin
    elif level <= 1:
        assert caching.cdn(level, edge, origin, between).mean_ms == pytest.approx(origin)
    else:
        assert caching.cdn(1, edge, origin, between).mean_ms > origin
    assert caching.cdn(1, 20, 10, 0).break_even_hit_ratio == math.inf


def test_request_and_byte_hit_ratio_differ_if_popular_objects_are_small() -> None:
    items, requests = 10_000, 400_000
    keys = workloads.zipf_trace(requests, items, 0.9, seed=5)
    gaps = {}
    for correlation in (-0.5, 0.0, 0.5):
        sizes = workloads.lognormal_sizes(items, 100_000, 1.5, seed=6, popularity_correlation=correlation)
        run = caching.simulate_bytes(keys, int(sizes.sum()) // 10, sizes=sizes, warmup=100_000)
        assert run.requests == requests - 100_000
        gaps[correlation] = run.hit_ratio - run.byte_hit_ratio
    # Popular objects hit more. If they are small, fewer bytes than requests hit; if they are large, more.
    assert gaps[-0.5] > 0.05
    assert gaps[0.5] < -0.05
    assert gaps[-0.5] > gaps[0.0] > gaps[0.5]


def test_bytes_of_a_recorded_trace() -> None:
    assert DOCS.sizes is not None
    whole = int(DOCS.sizes.sum())
    run = caching.simulate_bytes(DOCS, whole // 10)
    everything = caching.simulate_bytes(DOCS, whole)
    assert 0 < run.byte_hit_ratio < everything.byte_hit_ratio < 1
    assert everything.hits == DOCS.requests - DOCS.items


def test_equal_sizes_make_the_two_hit_ratios_equal() -> None:
    run = caching.simulate_bytes(SQLITE, 200 * 4096)
    assert run.hit_ratio == run.byte_hit_ratio == caching.simulate("LRU", SQLITE, 200).hit_ratio


# --- expiry -------------------------------------------------------------------------------------------------


def test_ttl_hit_ratio_agrees_with_simulation() -> None:
    rates, ttl, horizon = np.array([5.0, 1.0, 0.2, 0.02]), 10.0, 200_000.0
    theory = caching.ttl_hit_ratio(rates, ttl)
    rng = np.random.default_rng(1)
    for rate, expected in zip(rates, theory.per_item, strict=True):
        arrivals = np.cumsum(rng.exponential(1 / rate, int(horizon * rate)))
        fills, expires = 0, -1.0
        for at in arrivals.tolist():
            if at >= expires:
                fills, expires = fills + 1, at + ttl
        # Renewal cycles of 1 + Poisson(λT) requests: the share of fills 1/(1+λT) has the standard error
        # sqrt(λT) / (1+λT) / sqrt(requests) · 1/sqrt(1+λT) (delta method); five of it.
        hits = rate * ttl
        error = math.sqrt(hits / (1 + hits)) / (1 + hits) / math.sqrt(arrivals.size / (1 + hits))
        assert 1 - fills / arrivals.size == pytest.approx(expected, abs=5 * error)


def test_ttl_hit_ratio_adds_up() -> None:
    result = caching.ttl_hit_ratio([9.0, 1.0], 1.0)
    assert result.per_item.tolist() == [0.9, 0.5]
    assert result.hit_ratio == pytest.approx(0.86)
    assert result.fills_per_s == pytest.approx(10 * (1 - result.hit_ratio))
    assert caching.ttl_hit_ratio([1.0], 0).hit_ratio == 0


def test_without_jitter_everything_expires_at_once() -> None:
    result = caching.expiry_histogram(10_000, 300, 0.2, filled_within_s=1, horizon_s=1_000)
    assert result.fixed[[300, 600, 900]].tolist() == [10_000] * 3
    assert result.fixed.sum() == 30_000
    # With jitter the first wave is spread evenly over 300 ± 60 s and 1 s of filling: 10,000 / 120 = 83 a
    # second, and the largest of some hundred Poisson counts lies within six standard deviations.
    wave = result.jittered[:400]
    assert wave.sum() >= 10_000
    assert wave.max() < 10_000 / 120 + 6 * math.sqrt(10_000 / 120)
    assert wave[:240].sum() == 0


@given(st.integers(1, 500), st.floats(1, 50), st.floats(0, 0.9), st.integers(1, 200))
def test_every_expiry_is_counted_once(entries: int, ttl: float, jitter: float, horizon: int) -> None:
    result = caching.expiry_histogram(entries, ttl, jitter, filled_within_s=0, horizon_s=horizon)
    assert result.fixed.shape == result.jittered.shape == result.seconds.shape == (horizon,)
    # An entry expires at ttl, 2 ttl, … before the horizon (one either way for rounding).
    lives = horizon / ttl
    assert entries * (lives - 1 - 1e-9) <= result.fixed.sum() <= entries * lives * (1 + 1e-9)
    assert result.jittered.sum() <= entries * math.ceil(lives / (1 - jitter))
    if jitter == 0:
        assert np.array_equal(result.fixed, result.jittered)


# --- bad input ----------------------------------------------------------------------------------------------

NAN = math.nan
BAD = [
    (lambda: caching.simulate("MRU", [0], 1), "policy = 'MRU': must be one of 'LRU', 'LFU', 'FIFO'"),
    (lambda: caching.simulate("LRU", [0], 0), "capacity = 0: must be a whole number from 1 to 1e"),
    (lambda: caching.simulate("LRU", [0], 10**9), "capacity = 1000000000: "),
    (lambda: caching.simulate("LRU", [0], NAN), "capacity = nan: "),  # type: ignore[arg-type]
    (lambda: caching.simulate("LRU", [0, 1], 1, warmup=2), "warmup = 2: must be a whole number from 0 to 1"),
    (lambda: caching.simulate("LRU", [0], 1, seed=-1), "seed = -1: "),
    (lambda: caching.simulate("LRU", [], 1), "trace of shape"),
    (
        lambda: caching.steps("LRU", [0] * 1_001, 1),
        "number of requests = 1001: must be a whole number from 1",
    ),
    (lambda: caching.steps("LRU", [0], -1), "capacity = -1: "),
    (lambda: caching.miss_ratio_curve([-1]), "= -1: must be"),
    (lambda: caching.miss_ratio_curve([1]).hit_ratio(-1), "capacity = -1: "),
    (lambda: caching.hit_ratio_curve("LRU", [0], []), "number of capacities = 0: "),
    (lambda: caching.hit_ratio_curve("ARC", [0], [1, 0]), "capacities (one of them) = 0: "),
    (lambda: caching.che([0.5, 0.4], 1), "sum of the probabilities = 0.9: must be a number from"),
    (lambda: caching.che([1.5, -0.5], 1), "one is -0.5"),
    (lambda: caching.che([NAN, 1], 1), "one is nan"),
    (lambda: caching.che([], 1), "number of probabilities = 0: "),
    (lambda: caching.che([[1.0]], 1), "probabilities of shape"),
    (lambda: caching.che([1.0], 0), "capacity = 0: "),
    (lambda: caching.che([1.0], 1, policy="ARC"), "policy = 'ARC': must be one of 'LRU', 'FIFO', 'random'"),
    (lambda: caching.size_for_hit_ratio([1.0], 1.2), "hit_ratio = 1.2: must be a number from 0 to 1"),
    (lambda: caching.hit_ratio_uniform(0, 10), "capacity = 0: "),
    (lambda: caching.hit_ratio_uniform(10, 0), "items = 0: "),
    (lambda: caching.effective_access_time(1.2, 1, 100), "hit_ratio = 1.2: must be a number from 0 to 1"),
    (lambda: caching.effective_access_time(NAN, 1, 100), "hit_ratio = nan: "),
    (lambda: caching.effective_access_time(0.9, -1, 100), "hit_ms = -1: must be a number from 0 to 1e"),
    (lambda: caching.effective_access_time(0.9, 1, math.inf), "miss_ms = inf: "),
    (lambda: caching.effective_access_time(0.9, 1, 2, fill_ms=-1), "fill_ms = -1: "),
    (lambda: caching.cache_bytes(0, 1, 1), "items = 0: "),
    (lambda: caching.cache_bytes(1, NAN, 1), "average_bytes = nan: "),
    (lambda: caching.cdn(1.1, 1, 1, 1), "hit_ratio = 1.1: "),
    (lambda: caching.cdn(1, 1, 1, 1, byte_hit_ratio=2), "byte_hit_ratio = 2: "),
    (lambda: caching.cdn(1, 1, 1, -1), "edge_to_origin_ms = -1: "),
    (lambda: caching.simulate_bytes([0], 10), "sizes = None: must be given"),
    (lambda: caching.simulate_bytes([0], 0, sizes=np.array([1])), "capacity_bytes = 0: "),
    (lambda: caching.simulate_bytes([0, 1], 9, sizes=np.array([1])), "one for each of the 2 objects"),
    (lambda: caching.simulate_bytes([0], 9, sizes=np.array([-1])), "sizes (one of them) = -1: "),
    (lambda: caching.simulate_bytes([0], 9, sizes=np.array([0])), "bytes requested after the warm-up = 0: "),
    (lambda: caching.ttl_hit_ratio([], 1), "number of rates = 0: "),
    (lambda: caching.ttl_hit_ratio([0.0], 1), "sum of the rates = 0.0: must be a number above 0"),
    (lambda: caching.ttl_hit_ratio([1.0, -1.0], 1), "rates (one of them) = -1.0: "),
    (lambda: caching.ttl_hit_ratio([1.0], NAN), "ttl_s = nan: "),
    (lambda: caching.expiry_histogram(0, 10, 0), "entries = 0: "),
    (lambda: caching.expiry_histogram(10**7, 10, 0), "entries = 10000000: "),
    (lambda: caching.expiry_histogram(10, 0.5, 0), "ttl_s = 0.5: "),
    (lambda: caching.expiry_histogram(10, 10, 1), "jitter = 1: must be a number from 0 to 0.9"),
    (lambda: caching.expiry_histogram(10**6, 1, 0, horizon_s=10**6), "entries * horizon_s / ttl_s = "),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()  # type: ignore[operator]
    assert message in str(caught.value)

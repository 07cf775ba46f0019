import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course import cache_strategies as cs
from course import workloads
from course.cache_interleavings import MAX_SCHEDULES, SCENARIOS, interleavings
from course.kernels import cache_strategies as kernel
from course.write_back import coalesced_rows, write_back_crash

# --- the arena -------------------------------------------------------------------------------------------


def run_kernel(loop, strategy, order, n=1_500):
    rng = np.random.default_rng(7)
    latency, counts, timeline = np.full(n, np.nan), np.zeros(9, np.int64), np.zeros((300, 6))
    is_write = rng.random(n) < 0.3
    unit = rng.standard_exponential((4, n))
    differing = loop(
        cs.STRATEGIES.index(strategy),
        cs.ORDERS.index(order),
        is_write,
        rng.integers(0, 40, n),
        unit[0],
        unit[1] * 10,
        unit[2],
        unit[3] * 10,
        is_write & (rng.random(n) < 0.1),
        np.sort(rng.random(8)),
        rng.random(40) * 100,
        40,
        20,
        100.0,
        0.3,
        30.0,
        latency,
        counts,
        timeline,
    )
    return latency, counts, timeline, differing


@pytest.mark.parametrize("order", cs.ORDERS)
@pytest.mark.parametrize("strategy", cs.STRATEGIES)
def test_compiled_arena_means_the_same_as_the_plain_one(strategy, order):
    fast = run_kernel(kernel.arena, strategy, order)
    slow = run_kernel(kernel.arena.py_func, strategy, order)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(a, b)
    assert fast[1][kernel.HITS] > 0 and fast[1][kernel.DB_READS] > 0 and fast[1][kernel.STEPS] == 300


def reference_hits(strategy, keys, is_write, capacity, n_keys):
    """One client, no expiry: nothing overlaps, so an ordered dictionary is the whole cache."""
    cache = OrderedDict((k, None) for k in range(min(capacity, n_keys) - 1, -1, -1))
    hits = 0
    for key, write in zip(keys.tolist(), is_write.tolist(), strict=True):
        present = key in cache
        if not write:
            hits += present
            cache[key] = None
        elif strategy == "write-around" or (strategy == "cache-aside" and not present):
            continue
        else:
            cache[key] = None
        cache.move_to_end(key)
        if len(cache) > capacity:
            cache.popitem(last=False)
    return hits


@pytest.mark.parametrize("strategy", ["cache-aside", "write-through", "write-around", "write-back"])
def test_one_client_hits_as_often_as_an_ordered_dictionary(strategy):
    n, keys, capacity, seed = 4_000, 200, 50, 3
    result = cs.simulate(
        strategy,
        order="sequential",
        clients=1,
        operations=n,
        keys=keys,
        capacity=capacity,
        ttl_ms=1e9,
        # the warm entries' ends are spread over the life, far beyond this run
        flush_ms=1.0,
        db_ms=0.01,
        cache_ms=0.01,
        seed=seed,
    )
    rng = np.random.default_rng(seed)  # the simulator's first two draws
    drawn = cs.draw_keys(rng, n, keys, 0.9)
    is_write = rng.random(n) < 0.2
    assert result.hit_ratio == reference_hits(strategy, drawn, is_write, capacity, keys) / result.reads


@pytest.mark.parametrize("strategy", cs.STRATEGIES)
def test_latencies_without_spread_follow_the_formulas(strategy):
    for order in cs.ORDERS:
        r = cs.simulate(strategy, order=order, spread=0, db_ms=30, cache_ms=4, operations=3_000)
        h = r.hit_ratio
        assert 0 < h < 1
        # a miss pays the lookup, the database and the fill
        assert r.read_mean_ms == pytest.approx(h * 4 + (1 - h) * (4 + 30 + 4), rel=1e-9)
        expected = {"write-back": 4, "write-around": 30}.get(strategy, {"parallel": 30}.get(order, 34))
        assert r.write_mean_ms == pytest.approx(expected, rel=1e-9)
        assert r.write_p95_ms == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", cs.ORDERS)
@pytest.mark.parametrize(("db_ms", "cache_ms"), [(20, 1), (5, 5), (2, 9)])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_mean_write_latency_is_the_closed_form(order, db_ms, cache_ms, spread):
    r = cs.simulate(
        "write-through",
        order=order,
        db_ms=db_ms,
        cache_ms=cache_ms,
        spread=spread,
        write_fraction=1,
        operations=50_000,
    )
    # sum and maximum of the two have at most the variance of the sum; five standard errors
    error = spread * math.hypot(db_ms, cache_ms) / math.sqrt(r.writes)
    assert r.write_mean_ms == pytest.approx(cs.write_latency(order, db_ms, cache_ms, spread), abs=5 * error)


@given(db=st.floats(0.01, 1e4), cache=st.floats(0.01, 1e4), spread=st.floats(0, 1))
def test_parallel_writes_lie_between_the_slower_store_and_the_sum(db, cache, spread):
    parallel = cs.write_latency("parallel", db, cache, spread)
    assert max(db, cache) * (1 - 1e-9) <= parallel <= (db + cache) * (1 + 1e-9)
    assert cs.write_latency("sequential", db, cache, spread) == pytest.approx(db + cache)


def test_alone_nothing_goes_stale_but_behind_write_around():
    for strategy in cs.STRATEGIES:
        r = cs.simulate(strategy, clients=1, operations=4_000, keys=100, capacity=100, ttl_ms=1e9)
        assert (r.stale_reads > 0) == (strategy == "write-around"), strategy
        assert r.crashed_writes == r.lost_writes == 0


def test_write_through_ends_with_cache_and_database_apart_without_any_crash():
    # slow, uneven cache steps make the overtaking frequent enough to be there when the run ends
    r = cs.simulate(
        "write-through", order="sequential", write_fraction=0.5, db_ms=5, cache_ms=5, spread=1, clients=100
    )
    assert r.crashed_writes == 0
    assert r.inconsistent_keys > 0 and r.stale_reads > 0


def test_a_crash_between_the_stores_leaves_the_old_value_behind():
    safe = cs.simulate("write-through", order="sequential", clients=1, ttl_ms=1e9)
    crashing = cs.simulate("write-through", order="sequential", clients=1, ttl_ms=1e9, crash_probability=0.05)
    assert safe.inconsistent_keys == 0 < crashing.inconsistent_keys <= crashing.crashed_writes
    # binomial: five standard deviations
    p, n = 0.05, crashing.writes
    assert abs(crashing.crashed_writes - n * p) <= 5 * math.sqrt(n * p * (1 - p))
    assert "crash" in cs.simulate("write-through", crash_probability=0.5).timeline.step


def test_parallel_writes_show_values_the_database_does_not_have():
    parallel = cs.simulate("write-through", order="parallel")
    sequential = cs.simulate("write-through", order="sequential")
    assert parallel.dirty_reads > 0 == sequential.dirty_reads


def test_write_back_coalesces_and_loses_acknowledged_writes_only_in_a_crash():
    safe = cs.simulate("write-back", write_fraction=0.5)
    assert safe.lost_writes == 0 and safe.inconsistent_keys == 0
    assert safe.db_writes < safe.writes
    crashing = cs.simulate("write-back", write_fraction=0.5, crash_probability=0.02)
    assert crashing.lost_writes > crashing.crashed_writes > 0


def test_refresh_ahead_pays_database_reads_for_hits():
    aside = cs.simulate("cache-aside", write_fraction=0, ttl_ms=500)
    ahead = cs.simulate("refresh-ahead", write_fraction=0, ttl_ms=500, window=0.5)
    assert ahead.hit_ratio > aside.hit_ratio
    assert ahead.timeline.step.count("refresh") > 0


def test_timeline_rows_are_in_order_and_made_of_known_steps():
    t = cs.simulate("write-back", crash_probability=0.1).timeline
    assert len(t.step) == cs.TIMELINE_STEPS == len(t.start_ms)
    assert set(t.step) <= set(cs.STEPS) and len(set(t.step)) > 4
    assert (t.end_ms >= t.start_ms).all()
    assert (t.client >= -1).all() and (t.client < 16).all()
    settled = t.end_ms[[s != "DB read" for s in t.step]]  # a read's row is written together with its fill's
    assert (np.diff(settled) >= 0).all()


def test_same_seed_same_result():
    a, b, c = cs.simulate(seed=5), cs.simulate(seed=5), cs.simulate(seed=6)
    assert a.read_mean_ms == b.read_mean_ms != c.read_mean_ms


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strategy", "write-sideways"),
        ("order", "random"),
        ("write_fraction", 1.2),
        ("db_ms", math.nan),
        ("cache_ms", 0),
        ("crash_probability", -0.1),
        ("spread", 2),
        ("clients", 0),
        ("operations", 1_000_000),
        ("keys", 0),
        ("capacity", 0),
        ("zipf_s", -1),
        ("ttl_ms", 0),
        ("window", 1.5),
        ("flush_ms", -1),
        ("seed", 1.5),
    ],
)
def test_impossible_arena_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} = "):
        cs.simulate(**{name: value})


# --- refresh-ahead ---------------------------------------------------------------------------------------


def reference_refresh(keys, times, capacity, ttl, window, on_access):
    """Counts by dictionary: hits, expiry, cold and capacity misses, loads."""
    cache, known = OrderedDict(), set()
    counts = [0] * 5
    for key, now in zip(keys.tolist(), times.tolist(), strict=True):
        if key not in cache:
            counts[3 if key in known else 2] += 1
            counts[4] += 1
            if len(cache) == capacity:
                cache.popitem(last=False)
            cache[key] = now
            known.add(key)
        elif now - cache[key] >= ttl:
            counts[1] += 1
            counts[4] += 1
            cache[key] = now
        else:
            counts[0] += 1
            if on_access and now - cache[key] >= ttl * (1 - window):
                counts[4] += 1
                cache[key] = now
        cache.move_to_end(key)
    return counts


@given(
    seed=st.integers(0, 1000),
    capacity=st.integers(1, 60),
    ttl=st.floats(0.1, 50),
    window=st.floats(0.01, 0.99),
    on_access=st.booleans(),
)
@settings(max_examples=60)
def test_refresh_kernel_counts_like_the_dictionary(seed, capacity, ttl, window, on_access):
    rng = np.random.default_rng(seed)
    keys, times = rng.integers(0, 50, 600), np.cumsum(rng.standard_exponential(600)) / 10
    expected = reference_refresh(keys, times, capacity, ttl, window, on_access)
    for loop in (kernel.refresh_ahead, kernel.refresh_ahead.py_func):
        counts = np.zeros(6, np.int64)
        loop(keys, times, 50, capacity, ttl, window, kernel.ON_ACCESS if on_access else kernel.OFF, counts)
        assert counts[:5].tolist() == expected


def test_unbounded_cache_misses_as_renewal_theory_says():
    # Per key, Poisson rate λ: a life ends in a refresh with p = 1-exp(-λwT); one miss per
    # (λT(1-w)+1)/(1-p) accesses. Without refreshing w = 0, p = 0.
    keys, ttl, window, rate, n = 300, 30.0, 0.3, 50.0, 1_000_000
    r = cs.refresh_ahead(
        ttl_s=ttl,
        window=window,
        keys=keys,
        capacity=keys,
        requests_per_s=rate,
        requests=n,
    )
    lam = workloads.zipf_probabilities(keys, 0.9) * rate
    p = -np.expm1(-lam * window * ttl)
    for seen, expected in [
        (r.expiry_miss, (lam / (1 + lam * ttl)).sum() / rate),
        (r.refreshed_expiry_miss, (lam * (1 - p) / (1 + lam * ttl * (1 - window))).sum() / rate),
    ]:
        # counts of renewals vary less than twice a Poisson count; the first cycle of each key is off by one
        assert abs(seen - expected) * n <= 5 * math.sqrt(2 * expected * n) + keys
    assert r.capacity_miss == 0 and r.cold_miss == keys / n


def test_refresh_averts_expiry_misses_only():
    bound = cs.refresh_ahead(keys=10_000, capacity=1_000)
    # plainly more than noise: the guide's formula promises more than twice what one in five requests allow
    assert bound.guide_hit > bound.refreshed_hit + 0.3
    assert bound.corrected_hit == pytest.approx(bound.refreshed_hit, rel=0.01)
    for r in (bound, cs.refresh_ahead(keys=2_000, capacity=2_000, trigger="timer")):
        assert r.refreshed_cold_miss == r.cold_miss and r.refreshed_capacity_miss == r.capacity_miss
        assert r.hit + r.expiry_miss + r.cold_miss + r.capacity_miss == pytest.approx(1)
        assert r.refreshed_hit - r.hit == pytest.approx(r.expiry_miss - r.refreshed_expiry_miss)
    assert bound.corrected_hit >= bound.refreshed_hit


def test_timer_loads_what_nobody_reads():
    access = cs.refresh_ahead(keys=5_000, capacity=5_000, trigger="access")
    timer = cs.refresh_ahead(keys=5_000, capacity=5_000, trigger="timer")
    assert timer.refreshed_expiry_miss == 0
    assert timer.refreshed_hit == pytest.approx(timer.corrected_hit)
    assert timer.refreshed_db_reads > 2 * access.refreshed_db_reads


def test_no_window_no_refresh():
    r = cs.refresh_ahead(window=0)
    assert r.refreshed_hit == r.hit == r.guide_hit == r.corrected_hit
    assert r.refreshed_db_reads == r.db_reads


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttl_s", 0),
        ("window", 1),
        ("keys", 0),
        ("capacity", 2_000_000),
        ("requests_per_s", math.inf),
        ("requests", 0),
        ("trigger", "cron"),
    ],
)
def test_impossible_refresh_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} = "):
        cs.refresh_ahead(**{name: value})


# --- write-back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [0.0, 0.5])
@pytest.mark.parametrize("coalesce", [True, False])
def test_mean_loss_is_rate_times_dirty_age(failure, coalesce):
    r = write_back_crash(
        writes_per_s=500,
        flush_ms=250,
        crash_at_s=100,
        db_error_probability=failure,
        coalesce=coalesce,
        batch=100_000,
    )
    assert r.expected_loss == pytest.approx(500 * (0.125 + 0.25 * failure / (1 - failure)))
    # a time average over hundreds of cycles is nearly normal: five standard errors
    assert abs(r.mean_loss - r.expected_loss) < 5 * r.expected_loss_se


def test_standard_error_is_the_spread_over_seeds():
    runs = [
        write_back_crash(
            writes_per_s=300, flush_ms=200, crash_at_s=20, db_error_probability=0.3, batch=100_000, seed=s
        )
        for s in range(200)
    ]
    observed = np.std([r.mean_loss for r in runs], ddof=1)
    # the sample deviation of 200 normals has relative error 1/sqrt(2·199) = 5 %; five of them, rounded up
    # for the one unfinished cycle at the end of each run
    assert observed == pytest.approx(runs[0].expected_loss_se, rel=0.3)


def test_loss_is_what_was_acknowledged_and_not_flushed():
    r = write_back_crash(writes_per_s=100, flush_ms=1_000, crash_at_s=5.5, batch=100_000, coalesce=False)
    assert r.lost_writes == r.unsaved[-1] == r.writes - r.db_writes
    assert r.lost_writes == int((r.time_s > 5.0).sum())
    assert r.unsaved.min() >= 0


def test_coalesced_flush_writes_the_distinct_keys():
    r = write_back_crash(writes_per_s=1_000, flush_ms=500, crash_at_s=100, keys=100)
    expected = coalesced_rows(1_000, 500, 100, 0.9)
    flushes = 200
    # rows of a flush are a sum of independent 0/1 variables: variance below the mean; five standard errors
    assert r.db_writes / flushes == pytest.approx(expected, abs=5 * math.sqrt(expected / flushes))
    assert r.db_writes_saved > 0.7


def test_a_batch_too_small_leaves_a_backlog_and_no_theory():
    r = write_back_crash(batch=10, flush_ms=1_000, coalesce=False)
    assert math.isnan(r.expected_loss)
    assert r.lost_writes > 0.9 * r.writes
    assert r.db_writes == 9 * 10


def test_losses_come_together_and_not_one_by_one():
    r = write_back_crash(writes_per_s=2, flush_ms=100, crash_at_s=500, coalesce=False)
    # mean unsaved 0.1; independent losses among 1,000 writes give 1-exp(-0.1) = 9.5 %, Poisson's memory
    # within an interval gives 1-(1-exp(-0.2))/0.2 = 9.4 %: the rare case in which independence is nearly
    # right
    assert r.any_loss == pytest.approx(1 - (1 - math.exp(-0.2)) / 0.2, rel=0.25)
    failing = write_back_crash(
        writes_per_s=50, flush_ms=100, crash_at_s=100, db_error_probability=0.9, coalesce=False
    )
    assert failing.guide_any_loss > 0.999 > failing.any_loss


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("writes_per_s", 0),
        ("flush_ms", math.nan),
        ("batch", 0),
        ("crash_at_s", 1e6),
        ("db_error_probability", 1),
        ("keys", 1_000_000),
    ],
)
def test_impossible_crash_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} = "):
        write_back_crash(**{name: value})


# --- interleavings ---------------------------------------------------------------------------------------


def stale_orders(name, **options):
    return {s.order for s in interleavings(SCENARIOS[name], **options) if s.stale}


def test_every_scenario_enumerates_the_multinomial_count():
    assert len(SCENARIOS) >= 6
    for name, actors in SCENARIOS.items():
        schedules = interleavings(actors)
        lengths = [len(steps) for steps in actors.values()]
        count = math.factorial(sum(lengths)) // math.prod(map(math.factorial, lengths))
        assert len(schedules) == len({s.order for s in schedules}) == count, name
        for s in schedules:
            for actor, steps in actors.items():
                assert tuple(m.step for m in s.moments if m.actor == actor) == steps


def test_write_through_race_is_found():
    assert ("A.write", "B.write", "B.put", "A.put") in stale_orders("two write-through writers")
    assert len(stale_orders("two write-through writers")) == 2
    assert len(stale_orders("two write-through writers", leases=True)) == 2  # nothing is leased


def test_stale_set_race_is_the_only_one_of_ten_and_a_lease_stops_it():
    name = "reader and invalidating writer"
    assert stale_orders(name) == {("R.get", "R.read", "W.write", "W.delete", "R.fill")}
    assert stale_orders(name, leases=True) == set()
    leased = interleavings(SCENARIOS[name], leases=True)
    assert any("void" in m.what for s in leased for m in s.moments)


def test_deleting_before_the_write_is_worse_and_leases_do_not_save_it():
    name = "reader and writer that deletes first"
    assert len(stale_orders(name)) == 6
    assert len(stale_orders(name, leases=True)) == 2


def test_no_stale_end_with_leases_however_many_invalidate():
    for cached in (False, True):
        for name in SCENARIOS:
            if "invalidating" in name:
                assert not stale_orders(name, leases=True, cached=cached)
    assert len(stale_orders("reader and two invalidating writers")) == 24


def test_a_hit_reads_and_fills_nothing():
    (schedule,) = interleavings({"R": ("get", "read", "fill")}, cached=True)
    assert schedule.cache == "old" and schedule.moments[-1].what == "R has its answer already"


@pytest.mark.parametrize(
    ("actors", "name"),
    [
        ({}, "number of actors"),
        ({"A": ("jump",)}, "step of A"),
        ({"A": ()}, "number of steps of A"),
        (dict.fromkeys("ABC", ("get", "read", "fill", "write", "put", "delete")), "number of schedules"),
    ],
)
def test_impossible_actors_are_refused(actors, name):
    with pytest.raises(ValueError, match=f"^{name} = "):
        interleavings(actors)
    assert math.factorial(18) // math.factorial(6) ** 3 > MAX_SCHEDULES

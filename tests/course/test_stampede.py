import asyncio
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course import stampede_fixes as fixes
from course import virtual_time
from course.kernels import stampede as kernel
from course.stampede import (
    FIXES,
    LIVES,
    POLL_S,
    REQUESTS_PER_CLIENT_S,
    SET_S,
    stampede,
    stampede_asyncio,
)


def assert_same(fast, slow):
    np.testing.assert_allclose(fast.call_s, slow.call_s, atol=1e-9)
    np.testing.assert_array_equal(fast.calls_per_bin, slow.calls_per_bin)
    for name in ("requests", "db_calls", "errors", "empty_answers", "dead_keys"):
        assert getattr(fast, name) == getattr(slow, name), name
    for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "oldest_served_s"):
        assert getattr(fast, name) == pytest.approx(getattr(slow, name), abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("fix", FIXES)
@given(
    clients=st.integers(1, 15),
    db_ms=st.floats(5, 300),
    ttl_s=st.floats(0.5, 2),
    jitter=st.floats(0, 0.5),
    processes=st.integers(1, 4),
    errors=st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]),
    keys=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=15)
def test_the_loop_and_the_asyncio_code_agree_call_by_call(
    fix, clients, db_ms, ttl_s, jitter, processes, errors, keys, seed
):
    world = (clients, db_ms, ttl_s, jitter, processes, fix, errors)
    assert_same(stampede(*world, keys=keys, seed=seed), stampede_asyncio(*world, keys=keys, seed=seed))


def test_compiled_loop_means_the_same_as_the_plain_one():
    rng = np.random.default_rng(4)
    n = 800
    for fix in range(len(FIXES)):
        world = (
            fix,
            np.sort(rng.random(n)) * 8,
            rng.integers(0, 3, n),
            rng.integers(0, 2, n),
            rng.random(n + 1) < 0.2,
            rng.random(n),
            rng.uniform(0.8, 1.2, n + 1),
            *(3, 2, 0.2, SET_S, 1.0, POLL_S, 1.0),
        )
        results = []
        for loop in (kernel.run, kernel.run.py_func):
            out = np.zeros(n), np.zeros(n, np.int64), np.zeros(n), np.zeros(n + 1)
            results.append((*loop(*world, *out), *out))
        assert results[0][0] > 0
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)


def test_unprotected_expiry_costs_one_call_and_all_who_come_meanwhile():
    # Each life ends in one miss, and in as many more as Poisson requests arrive until the value is stored.
    clients, db_ms, ttl = 100, 300, 2.0
    rate, load = clients * REQUESTS_PER_CLIENT_S, db_ms / 1000 + SET_S
    calls, lives = 0, 0
    for seed in range(20):
        r = stampede(clients, db_ms, ttl, fix="none", keys=1, seed=seed)
        calls += r.db_calls
        lives += 1 + int((np.diff(r.call_s) > ttl / 2).sum())
    expected = lives * (1 + rate * load)
    # Poisson counts: five standard deviations, and the last life of each run may be cut short
    assert calls <= expected + 5 * math.sqrt(expected)
    assert calls >= expected - 5 * math.sqrt(expected) - 20 * rate * load * 0.05
    assert r.peak_concurrent_calls > 100


def test_single_flight_loads_once_a_life_and_process():
    one = stampede(fix="single-flight", keys=1, ttl_s=2)
    assert np.diff(one.call_s).min() >= 2 + 0.2
    assert one.peak_concurrent_calls == 1
    four = stampede(fix="single-flight", keys=1, ttl_s=2, processes=4)
    assert four.peak_concurrent_calls == 4
    assert four.db_calls == 4 * one.db_calls
    lock = stampede(fix="redis lock", keys=1, ttl_s=2, processes=4)
    assert lock.peak_concurrent_calls == 1
    # the price of the lock: a waiter looks again only every POLL_S
    assert one.p99_ms < lock.p99_ms <= 1000 * (0.2 + SET_S + POLL_S)


def test_guide_v1_dies_for_ever_of_one_error():
    seeds = [
        s for s in range(40) if stampede(fix="guide v1", db_error_probability=0.3, keys=1, seed=s).dead_keys
    ]
    assert seeds
    r = stampede(fix="guide v1", db_error_probability=0.3, keys=1, seed=seeds[0])
    assert r.db_calls == 1 and r.errors == r.requests
    healed = stampede(fix="single-flight", db_error_probability=0.3, keys=1, seed=seeds[0])
    assert healed.dead_keys == 0 and healed.db_calls > 1 and healed.errors < healed.requests


def test_guide_samples_tell_waiters_there_is_no_such_row_and_never_expire():
    for fix in ("guide v1", "guide v2"):
        r = stampede(fix=fix)
        assert r.empty_answers > 0 == r.errors
        assert r.oldest_served_s > 3 * 5.0
    assert stampede(fix="single-flight").empty_answers == 0
    assert stampede(fix="single-flight").oldest_served_s <= 5.0 + 0.2 + SET_S


def test_early_and_late_renewal_keep_clients_from_waiting():
    world = {"clients": 100, "ttl_s": 5, "keys": 1}
    plain = stampede(**world, fix="none")
    early = stampede(**world, fix="XFetch")
    late = stampede(**world, fix="stale-while-revalidate")
    assert early.db_calls < plain.db_calls
    # after the cold start nobody waits, and what is served is never older than life, grace and load
    assert late.mean_ms < plain.mean_ms / 2
    assert late.oldest_served_s <= 2 * 5 + 0.2 + SET_S


def test_jitter_spreads_the_calls():
    at_once = stampede(fix="single-flight", keys=200, clients=400)
    spread = stampede(fix="single-flight", keys=200, clients=400, ttl_jitter=0.5)
    after_start = slice(20, None)
    assert spread.calls_per_bin[after_start].max() < at_once.calls_per_bin[after_start].max() / 2


def test_bins_hold_every_call():
    r = stampede()
    assert r.calls_per_bin.sum() == r.db_calls == len(r.call_s)
    assert r.bin_edges_s[-1] == LIVES * 5.0


# --- the classes one by one ------------------------------------------------------------------------------


def ten_s():
    return 10.0


def test_errors_reach_every_waiter_and_the_next_caller_tries_again():
    async def main():
        database = fixes.Database(0.1, [True, False])
        loader = fixes.SingleFlight(fixes.Cache(0), database, ten_s)
        first = await asyncio.gather(*(loader.get("k") for _ in range(5)), return_exceptions=True)
        assert [type(e) for e in first] == [fixes.DatabaseError] * 5
        row = await loader.get("k")
        return row, len(database.call_s)

    row, calls = virtual_time.run(main())
    assert row is not None and row.key == "k" and calls == 2


def test_a_client_that_gives_up_does_not_take_the_others_with_it():
    async def main():
        database = fixes.Database(0.1)
        loader = fixes.SingleFlight(fixes.Cache(0), database, ten_s)
        impatient, patient = (asyncio.create_task(loader.get("k")) for _ in range(2))
        await asyncio.sleep(0.05)
        impatient.cancel()
        return await patient, len(database.call_s)

    row, calls = virtual_time.run(main())
    assert row is not None and calls == 1


def test_missing_rows_are_loaded_by_every_call_until_they_are_cached_too():
    async def calls(make):
        database = fixes.Database(0.1, missing=["ghost"])
        loader = make(fixes.Cache(0), database)
        for _ in range(5):
            assert await loader.get("ghost") is None
        return len(database.call_s)

    assert virtual_time.run(calls(fixes.GuideV2)) == 5
    assert virtual_time.run(calls(lambda c, d: fixes.SingleFlight(c, d, ten_s))) == 5
    assert virtual_time.run(calls(lambda c, d: fixes.SingleFlight(c, d, ten_s, missing_ttl=lambda: 1.0))) == 1


def test_fence_refuses_a_holder_whose_lock_expired_under_it():
    async def main():
        cache, database = fixes.Cache(0), fixes.Database(1.0)
        first = fixes.RedisLock(cache, database, ten_s, poll_s=0.1, lock_s=0.5)
        second = fixes.RedisLock(cache, database, ten_s, poll_s=0.1, lock_s=5)
        slow = asyncio.create_task(first.get("k"))
        await asyncio.sleep(0.6)
        database.query_s = 0.1
        await second.get("k")
        overtaking = await cache.get("k")
        await slow
        return overtaking, await cache.get("k")

    before, after = virtual_time.run(main())
    assert before is not None and after == before


def test_unlock_is_only_for_the_owner():
    async def main():
        cache = fixes.Cache(0)
        mine = await cache.lock("k", 1)
        assert await cache.lock("k", 1) is None
        await asyncio.sleep(1.5)
        theirs = await cache.lock("k", 1)
        return mine, theirs, await cache.unlock("k", mine), await cache.unlock("k", theirs)

    mine, theirs, wrong, right = virtual_time.run(main())
    assert theirs > mine and not wrong and right


@pytest.mark.parametrize("leased", [False, True])
def test_a_lease_keeps_out_the_value_read_before_a_delete(leased):
    async def main():
        cache, database = fixes.Cache(0), fixes.Database(1.0)
        make = fixes.Lease if leased else fixes.RedisLock
        reader = asyncio.create_task(make(cache, database, ten_s, poll_s=0.1).get("k"))
        await asyncio.sleep(0.5)  # the reader has its snapshot; now someone writes and invalidates
        await cache.delete("k")
        await reader
        return await cache.get("k")

    assert (virtual_time.run(main()) is None) == leased


def test_leases_load_once_for_all_processes():
    async def main():
        cache, database = fixes.Cache(0), fixes.Database(0.2)
        loaders = [fixes.Lease(cache, database, ten_s, poll_s=0.05) for _ in range(8)]
        rows = await asyncio.gather(*(loader.get("k") for loader in loaders))
        return rows, len(database.call_s)

    rows, calls = virtual_time.run(main())
    assert calls == 1 and len(rows) == 8 and all(rows)


def test_xfetch_renews_at_the_rate_its_formula_gives():
    # P(renew | time left) = P(-δβ ln U ≥ left) = exp(-left/(δβ))
    delta, left, beta, n = 0.5, 0.4, 2.0, 4_000
    rng = np.random.default_rng(3)

    async def main():
        cache, database = fixes.Cache(0), fixes.Database(delta)
        renewals = 0
        for key in map(str, range(n)):
            loader = fixes.XFetch(cache, database, lambda: left, random=rng.random, beta=beta)
            await loader.get(key)
            before = len(database.call_s)
            await loader.get(key)
            renewals += len(database.call_s) - before
        return renewals

    p = math.exp(-left / (delta * beta))
    # binomial: five standard deviations
    assert abs(virtual_time.run(main()) - n * p) <= 5 * math.sqrt(n * p * (1 - p))


# --- virtual time ----------------------------------------------------------------------------------------


def test_virtual_time_sleeps_an_hour_for_nothing_and_keeps_order():
    async def main():
        clock = asyncio.get_running_loop().time
        seen = []

        async def nap(seconds):
            await asyncio.sleep(seconds)
            seen.append((seconds, clock()))

        await asyncio.gather(nap(3600), nap(60), nap(0.5))
        return seen

    assert virtual_time.run(main()) == [(0.5, 0.5), (60, 60.0), (3600, 3600.0)]


def test_virtual_time_runs_inside_a_running_loop_and_reports_deadlock():
    async def outer():
        return virtual_time.run(asyncio.sleep(5, "done"))

    assert asyncio.run(outer()) == "done"

    async def stuck():
        await asyncio.Event().wait()

    with pytest.raises(virtual_time.DeadlockError, match="waits for another"):
        virtual_time.run(stuck())


@pytest.mark.parametrize("function", [stampede, stampede_asyncio])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clients", 0),
        ("db_ms", math.nan),
        ("ttl_s", 1_000),
        ("ttl_jitter", 0.6),
        ("processes", 9),
        ("fix", "hope"),
        ("db_error_probability", 1.2),
        ("keys", 0),
        ("seed", -1),
    ],
)
def test_impossible_stampede_is_refused_by_name(function, name, value):
    with pytest.raises(ValueError, match=f"^{name} = "):
        function(**{name: value})


def test_every_fix_has_a_number_in_the_kernel():
    numbers = [kernel.NONE, kernel.GUIDE_V1, kernel.GUIDE_V2, kernel.SINGLE_FLIGHT]
    numbers += [kernel.REDIS_LOCK, kernel.XFETCH, kernel.SWR]
    assert numbers == list(range(len(FIXES)))
    assert len(set(itertools.chain(FIXES))) == len(FIXES)

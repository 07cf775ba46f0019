from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from course import balancing, sharding
from course.balancing import Fault, HealthCheck, simulate
from course.kernels import _KERNELS, COMPILED
from course.kernels import balancing as kernels

Floats = NDArray[np.float64]
SIXTEEN = np.ones(16)
UNEQUAL = np.array([4.0, 1.0, 2.0, 0.5])


# --- the loops against their readable twins -----------------------------------------------------------------


def traffic(seed: int, requests: int, rate: float, balancers: int, homes: int) -> kernels.Traffic:
    rng = np.random.default_rng(seed)
    return kernels.new_traffic(
        np.cumsum(rng.standard_exponential(requests)) / rate,
        rng.pareto(2.2, requests) * 1.2,
        rng.integers(0, 2**64, requests, dtype=np.uint64),
        rng.integers(0, balancers, requests).astype(np.int32),
        rng.integers(0, homes, requests),
    )


FAULTS = (
    Fault(1, "down", 30, 60),
    Fault(1, "starting cold", 60, 90, cold_speed=0.2),
    Fault(2, "failing fast", 20, 45, error_s=0.01),
    Fault(0, "down", 100, 130),
    Fault(3, "down", 100, 125),
    Fault(1, "down", 105, 130),
    Fault(2, "down", 104, 127),
)
SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one server": {"speeds": np.array([2.0])},
    "three balancers": {"balancers": 3},
    "stale": {"refresh": 0.7},
    "stale, three balancers": {"refresh": 2.5, "balancers": 3},
    "faults": {"faults": FAULTS},
    "faults and checks": {"faults": FAULTS, "health": HealthCheck(1.0, 2, 3, deep=True)},
    "all at once": {
        "faults": FAULTS,
        "health": HealthCheck(0.5, 1, 1),
        "balancers": 2,
        "refresh": 0.3,
        "explore": 0.1,
        "error_counts": 5.0,
    },
}


def run_both(
    policy: int,
    seed: int,
    requests: int,
    speeds: Floats = UNEQUAL,
    balancers: int = 1,
    refresh: float = 0.0,
    explore: float = 0.0,
    error_counts: float = -1.0,
    faults: Sequence[Fault] = (),
    health: HealthCheck | None = None,
) -> tuple[kernels.Journal, kernels.Journal]:
    n = speeds.size
    tokens, owners = sharding.ring_tokens(range(n), 5)
    arriving = traffic(seed, requests, 0.8 * speeds.sum(), balancers, tokens.size + 1)
    knowledge = kernels.Knowledge(refresh, 1.3, 0.3, explore, error_counts, 2.0, 6.0)
    breaks = balancing._fault_table(faults, n)
    rotation = balancing._rotation(faults, health, float(arriving.arrive[-1]))
    loop, twin = kernels.new_journal(requests), kernels.new_journal(requests)
    weights = np.array([3.0, 1.0, 2.0, 1.0])[:n]
    kernels.simulate(policy, arriving, weights, speeds, balancers, owners, knowledge, breaks, rotation, loop)
    plain = kernels.PLAIN[policy](n, balancers, owners.tolist(), knowledge)
    kernels.replay(plain, arriving, weights, speeds, balancers, knowledge, breaks, rotation, twin)
    return loop, twin


def same(one: kernels.Journal, other: kernels.Journal) -> bool:
    # One multiplication more or less apart: the machine code may fuse or reorder what Python does not.
    return (
        np.array_equal(one.server, other.server)
        and np.array_equal(one.failed, other.failed)
        and np.allclose(one.start, other.start, rtol=1e-12, atol=0)
        and np.allclose(one.finish, other.finish, rtol=1e-12, atol=0)
    )


def test_every_policy_has_a_number_and_a_twin() -> None:
    assert sorted(kernels.PLAIN) == list(range(len(balancing.POLICIES)))
    constants = {"IP hash": kernels.IP_HASH, "join the shortest queue": kernels.SHORTEST_QUEUE}
    constants |= {"resource-based": kernels.RESOURCES, "guide's weighted round robin": kernels.GUIDE_WEIGHTED}
    constants |= {"response time × connections": kernels.RESPONSE_TIME_CONNECTIONS}
    assert {name: balancing.POLICIES.index(name) for name in constants} == constants
    assert kernels.MAX_SERVERS > balancing.MAX_SERVERS and kernels.MAX_REQUESTS >= balancing.MAX_REQUESTS


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("policy", kernels.PLAIN, ids=lambda number: balancing.POLICIES[number])
def test_loop_equals_twin(policy: int, scenario: str) -> None:
    loop, twin = run_both(policy, seed=3, requests=1500, **SCENARIOS[scenario])
    assert same(loop, twin)
    assert loop.failed.any() == ("faults" in SCENARIOS[scenario])


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(kernels.PLAIN)),
    st.integers(0, 2**32),
    st.lists(st.sampled_from([0.3, 1.0, 5.0]), min_size=1, max_size=4),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.1, 3.0]),
    st.sampled_from([0.0, 0.5]),
)
def test_loop_equals_twin_on_any_small_cluster(
    policy: int, seed: int, speeds: list[float], balancers: int, refresh: float, explore: float
) -> None:
    assert same(*run_both(policy, seed, 120, np.array(speeds), balancers, refresh, explore))


def test_power_of_two_finds_room_for_long_queues() -> None:
    """The loop for the plain case starts with room for 64 requests a server."""
    run = simulate("power of two choices", UNEQUAL, 2.0, requests=4_000)
    assert run.queue_lengths().lengths.max() > 256
    knowledge = kernels.Knowledge(0, 1, 1, 0, -1, 1, 1)
    twin = simulate(kernels.PowerOfTwo(4, 1, [], knowledge), UNEQUAL, 2.0, requests=4_000)
    assert np.array_equal(run.server, twin.server) and np.array_equal(run.finish_s, twin.finish_s)


def test_your_own_policy_sees_what_the_named_one_sees() -> None:
    seen: list[kernels.Situation] = []
    turns: list[int] = []

    def least_connections(s: kernels.Situation) -> int:
        seen.append(s)
        # Among equals the one chosen longest ago: never before, then the earliest.
        last = {i: max((k for k, one in enumerate(turns) if one == i), default=-1) for i in s.in_rotation}
        best = min(s.in_rotation, key=lambda i: (s.connections[i], last[i], i))
        turns.append(best)
        return best

    own = simulate(least_connections, UNEQUAL, 0.8, requests=300)
    named = simulate("least connections", UNEQUAL, 0.8, requests=300)
    assert np.array_equal(own.server, named.server) and np.array_equal(own.finish_s, named.finish_s)
    assert own.policy == "your own"
    assert seen[0].weights == UNEQUAL.tolist() and seen[0].response_s == [-1.0] * 4
    assert all(s.connections == s.queue_lengths for s in seen)


# --- SimPy --------------------------------------------------------------------------------------------------


def simpy_run(policy: str, run: balancing.BalancingRun, work: Floats, picks: NDArray[np.uint64]) -> Floats:
    """The same draws through SimPy's resources; checks every choice, returns when each request ended."""
    environment = simpy.Environment()
    n = run.speeds.size
    servers = [simpy.Resource(environment) for _ in range(n)]
    last = [-1] * n
    ends = np.empty(work.size)
    chosen = run.server.tolist()

    def choose(j: int) -> int:
        if policy == "round robin":
            return j % n
        if policy == "random":
            return int(picks[j] & np.uint64(0xFFFFFFFF)) * n >> 32
        return min(range(n), key=lambda i: (servers[i].count + len(servers[i].queue), last[i], i))

    def request(j: int, i: int) -> Iterator[simpy.Event]:
        with servers[i].request() as granted:
            yield granted
            yield environment.timeout(work[j] / run.speeds[i])
        ends[j] = environment.now

    def source() -> Iterator[simpy.Event]:
        for j, when in enumerate(run.arrival_s.tolist()):
            yield environment.timeout(max(when - environment.now, 0))
            i = choose(j)
            assert i == chosen[j], j
            last[i] = j
            environment.process(request(j, i))

    environment.process(source())
    environment.run()
    return ends


@pytest.mark.parametrize("policy", ["round robin", "random", "least connections"])
@pytest.mark.parametrize("speeds", [SIXTEEN, UNEQUAL], ids=["equal", "unequal"])
def test_equals_simpy_on_the_same_draws(policy: str, speeds: Floats) -> None:
    run = simulate(policy, speeds, 0.9, requests=5_000, seed=11)
    draws = balancing.draw(5_000, 11)
    # SimPy adds delays to its clock where we compare absolute times: 5,000 roundings at most.
    ends = simpy_run(policy, run, draws.works, draws.picks)
    assert np.allclose(run.finish_s, ends, rtol=5_000 * np.finfo(float).eps, atol=0)


# --- closed forms -------------------------------------------------------------------------------------------


def erlang_c_wait(servers: int, load: float) -> float:
    """Mean wait of M/M/c in service times."""
    offered = servers * load
    blocked = 1.0
    for c in range(1, servers + 1):
        blocked = offered * blocked / (c + offered * blocked)
    return blocked / (1 - load * (1 - blocked)) / (servers * (1 - load))


def test_random_is_sixteen_queues_mm1() -> None:
    load, requests = 0.9, 4_000_000
    run = simulate("random", SIXTEEN, load, requests=requests, warmup=50_000, seed=4)
    # The variance of the mean of n successive waits in M/M/1 tends to ρ (2 + 5ρ - 4ρ² + ρ³) / (1 - ρ)⁴ / n (Daley
    # 1968), and sixteen independent queues with n/16 each have the same.  Five standard errors.
    variance = load * (2 + 5 * load - 4 * load**2 + load**3) / (1 - load) ** 4 / requests
    assert run.mean_wait_s == pytest.approx(load / (1 - load), abs=5 * math.sqrt(variance))
    # Binomial shares.
    assert np.allclose(run.share, 1 / 16, rtol=0, atol=5 * math.sqrt(1 / 16 * 15 / 16 / requests))


def several(policy: str, seeds: range, requests: int = 1_000_000) -> Floats:
    return np.array(
        [simulate(policy, SIXTEEN, 0.9, requests=requests, warmup=20_000, seed=s).mean_wait_s for s in seeds]
    )


def test_sixteen_servers_at_ninety_percent() -> None:
    seeds = range(21, 29)
    waits = {
        policy: several(policy, seeds)
        for policy in ("least connections", "power of two choices", "round robin", "random")
    }
    # Round robin gives every server each sixteenth arrival: E16/M/1, whose wait is σ / (1 - σ) with the root σ of
    # σ = A(1 - σ), A the transform of the Erlang distribution.
    sigma = 0.5
    for _ in range(1000):
        sigma = (14.4 / (14.4 + 1 - sigma)) ** 16
    expected = {
        "least connections": 0.581,
        "power of two choices": 1.822,
        "round robin": sigma / (1 - sigma),
        "random": 9.0,
    }
    assert sigma / (1 - sigma) == pytest.approx(4.480, abs=0.001)
    for policy, wait in expected.items():
        # The eight means differ by chance only: their own standard error, times the 99.99 % point of Student's
        # distribution with 7 degrees of freedom (7.9), and the last printed digit.
        error = waits[policy].std(ddof=1) / math.sqrt(len(seeds))
        assert waits[policy].mean() == pytest.approx(wait, abs=7.9 * error + 0.0005), policy
    assert erlang_c_wait(16, 0.9) == pytest.approx(0.370, abs=0.0005)
    # On the same draws the order holds in every single run.
    ordered = np.array([np.full(len(seeds), erlang_c_wait(16, 0.9)), *waits.values()])
    assert np.all(np.diff(ordered, axis=0) > 0)


def test_shortest_queue_is_least_connections_with_one_balancer() -> None:
    one = simulate("least connections", UNEQUAL, 0.9, requests=20_000)
    other = simulate("join the shortest queue", UNEQUAL, 0.9, requests=20_000)
    assert np.array_equal(one.finish_s, other.finish_s)
    apart = simulate("least connections", UNEQUAL, 0.9, requests=20_000, balancers=5)
    together = simulate("join the shortest queue", UNEQUAL, 0.9, requests=20_000, balancers=5)
    assert np.array_equal(together.finish_s, other.finish_s)
    assert apart.mean_wait_s > together.mean_wait_s


@pytest.mark.parametrize("tail", [2.5, 4.0])
def test_pareto_services_have_their_mean(tail: float) -> None:
    n = 1_000_000
    times = balancing.service_shape(balancing.draw(n, 1).works, "Pareto", tail)
    assert times.min() == pytest.approx(1 - 1 / tail, abs=1e-5)
    # Beyond x a share (x_m / x)^α: binomial.
    beyond = ((1 - 1 / tail) / 3) ** tail
    assert np.mean(times > 3) == pytest.approx(beyond, abs=5 * math.sqrt(beyond / n))
    assert np.all(balancing.service_shape(times, "deterministic") == 1)


# --- invariants ---------------------------------------------------------------------------------------------

CLUSTERS = st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=6)


@settings(max_examples=120)
@given(
    st.sampled_from(balancing.POLICIES),
    CLUSTERS,
    st.floats(0.05, 1.5),
    st.integers(0, 1000),
    st.sampled_from(balancing.SERVICES),
    st.integers(1, 3),
    st.sampled_from([0.0, 2.0]),
)
def test_each_server_is_a_fifo_queue(
    policy: str,
    speeds: list[float],
    load: float,
    seed: int,
    service: str,
    balancers: int,
    refresh_s: float,
) -> None:
    run = simulate(
        policy,
        speeds,
        load,
        requests=150,
        seed=seed,
        service=service,
        balancers=balancers,
        refresh_s=refresh_s,
    )
    work = balancing.service_shape(balancing.draw(150, seed).works, service)
    assert not run.failed.any() and run.response_s.size == 150
    assert run.share.sum() == pytest.approx(1) and np.all(run.utilisation <= 1 + 1e-12)
    for i, speed in enumerate(speeds):
        own = run.server == i
        came, start, end = run.arrival_s[own], run.start_s[own], run.finish_s[own]
        # In order, one at a time, never idle while someone waits, and each as long as its work needs.
        free = np.concatenate([[0.0], end[:-1]])[: end.size]
        assert np.array_equal(start, np.maximum(came, free))
        assert np.allclose(end - start, work[own] / speed, rtol=1e-9, atol=1e-12)


@settings(max_examples=60)
@given(
    st.sampled_from(balancing.POLICIES[:7]),
    CLUSTERS,
    st.floats(0.05, 0.9),
    st.floats(0.01, 0.6),
    st.integers(0, 99),
)
def test_more_load_lets_no_request_wait_less(
    policy: str, speeds: list[float], load: float, more: float, seed: int
) -> None:
    """With the same draws, and choices that do not depend on the servers, Lindley's recursion is monotone."""
    less = simulate(policy, speeds, load, requests=200, seed=seed)
    much = simulate(policy, speeds, load + more, requests=200, seed=seed)
    assert np.array_equal(less.server, much.server)
    # Waits are differences of times of up to a few thousand seconds.
    assert np.all(much.wait_s >= less.wait_s - 1e-9)


@pytest.mark.parametrize("policy", balancing.POLICIES[7:])
def test_more_load_means_longer_waits_on_average(policy: str) -> None:
    waits = [simulate(policy, SIXTEEN, load, requests=50_000).mean_wait_s for load in (0.3, 0.6, 0.9)]
    assert waits == sorted(waits) and waits[0] < waits[2]


@settings(max_examples=40)
@given(st.sampled_from(balancing.POLICIES), st.integers(0, 99), st.integers(0, 50))
def test_queue_lengths_count_what_has_come_and_not_ended(policy: str, seed: int, warmup: int) -> None:
    run = simulate(policy, UNEQUAL, 0.8, requests=100, seed=seed, warmup=warmup)
    queues = run.queue_lengths(7)
    assert queues.times_s[0] == run.arrival_s[warmup] and queues.times_s[-1] == run.arrival_s[-1]
    for k, when in enumerate(queues.times_s):
        there = (run.arrival_s <= when) & (when < run.finish_s)
        assert np.array_equal(queues.lengths[:, k], np.bincount(run.server[there], minlength=4))


def test_littles_law_on_the_event_log() -> None:
    run = simulate("power of two choices", UNEQUAL, 0.8, requests=5_000)
    events = np.concatenate([run.arrival_s, run.finish_s])
    order = np.argsort(events)
    number = np.cumsum(np.repeat([1, -1], 5_000)[order])
    area = np.sum(number[:-1] * np.diff(events[order]))
    assert area == pytest.approx(run.response_s.sum())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(1, 5))
def test_smooth_weights_give_the_shares(weights: list[int], cycles: int) -> None:
    total = sum(weights)
    speeds = np.ones(len(weights))
    run = simulate("smooth weighted round robin", speeds, 0.5, requests=total * cycles, weights=weights)
    assert np.bincount(run.server, minlength=len(weights)).tolist() == [cycles * w for w in weights]
    steps = balancing.weighted_steps(weights, "smooth", total * cycles)
    assert [step.chosen for step in steps] == run.server.tolist()
    assert steps[-1].left == (0.0,) * len(weights)
    expanded = balancing.weighted_steps(weights, "expanded", total * cycles)
    assert sorted(s.chosen for s in expanded) == sorted(s.chosen for s in steps)


def shares_by_guide(weights: list[int], ties: str, steps: int) -> list[float]:
    chosen = [step.chosen for step in balancing.weighted_steps(weights, "guide", steps, ties=ties)]
    return (np.bincount(chosen, minlength=len(weights)) / steps).tolist()


def test_the_guides_formula_permutes_the_shares() -> None:
    assert shares_by_guide([3, 1, 2], "first", 600) == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert shares_by_guide([3, 1, 2], "last", 600) == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    assert shares_by_guide([1, 1], "first", 600) == [1.0, 0.0]
    assert shares_by_guide([5, 1, 1], "first", 700) == pytest.approx([4 / 7, 3 / 7, 0])
    run = simulate("guide's weighted round robin", np.ones(3), 0.5, requests=600, weights=[3, 1, 2])
    assert run.share.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])


def test_weighted_random_and_default_weights_follow_the_speeds() -> None:
    n = 400_000
    run = simulate("weighted random", UNEQUAL, 0.5, requests=n)
    wanted = UNEQUAL / UNEQUAL.sum()
    assert np.all(np.abs(run.share - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / n))
    # Each server at its own speed is M/M/1 at the common load.
    assert np.allclose(run.utilisation, 0.5, rtol=0.05)
    smooth = simulate("smooth weighted round robin", UNEQUAL, 0.5, requests=7500)
    assert smooth.share == pytest.approx(wanted)  # 1,000 whole cycles


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_stale_views_make_least_connections_herd() -> None:
    def wait(policy: str, refresh_s: float) -> float:
        return simulate(
            policy, SIXTEEN, 0.9, requests=200_000, warmup=10_000, refresh_s=refresh_s
        ).mean_wait_s

    assert wait("least connections", 0) < wait("power of two choices", 0) < wait("random", 0)
    assert wait("least connections", 20) > 1.5 * wait("power of two choices", 20)
    assert wait("least connections", 200) > wait("random", 200)


def test_hashing_sends_an_address_to_one_server() -> None:
    for policy in ("IP hash", "consistent hashing"):
        run = simulate(policy, SIXTEEN, 0.5, requests=50_000, addresses=1, nat_share=0.0)
        assert run.share.max() == 1
        skewed = simulate(policy, SIXTEEN, 0.5, requests=50_000, nat_share=0.4)
        # The address before all others' 60 %: at least its own share, binomial.
        assert skewed.share.max() > 0.4 - 5 * math.sqrt(0.24 / 50_000)
        assert simulate(policy, SIXTEEN, 0.5, requests=1000, nat_share=1).share.max() == 1
    few = simulate("IP hash", SIXTEEN, 0.5, requests=50_000, addresses=3)
    assert np.count_nonzero(few.share) <= 3


def test_bounded_loads_hold_their_bound() -> None:
    run = simulate("bounded-load consistent hashing", SIXTEEN, 0.9, requests=3_000, nat_share=0.5, bound=1.25)
    for j in range(0, 3_000, 7):
        open_now = (run.finish_s[:j] > run.arrival_s[j]).nonzero()[0]
        there = np.bincount(run.server[open_now], minlength=16)
        assert there[run.server[j]] + 1 <= math.ceil(1.25 * (open_now.size + 1) / 16)
    free = simulate("consistent hashing", SIXTEEN, 0.9, requests=3_000, nat_share=0.5)
    assert run.mean_wait_s < free.mean_wait_s / 10
    loose = simulate(
        "bounded-load consistent hashing", SIXTEEN, 0.9, requests=3_000, nat_share=0.5, bound=1000
    )
    assert np.array_equal(loose.server, free.server)


def test_a_server_that_fails_fast_is_a_black_hole() -> None:
    broken = [Fault(0, "failing fast", 0, 1e9, error_s=0.001)]

    def share(policy: str, **more: Any) -> float:
        run = simulate(policy, np.ones(5), 0.6, requests=50_000, faults=broken, **more)
        assert run.error_ratio == run.share[0]
        assert run.response_s.size == 50_000 - run.errors
        return float(run.share[0])

    assert share("least response time") > 0.99
    assert share("least connections") > 0.25 > share("round robin") > 0.19
    assert share("least response time", explore=0.2) < 0.85
    assert share("response time × connections", error_counts_s=20.0) < 0.05


def test_a_crash_loses_what_is_there_and_refuses_what_comes() -> None:
    run = simulate("round robin", [1.0], 1.0, requests=4, faults=[Fault(0, "down", 0.0, 1e9)])
    assert run.failed.all() and np.array_equal(run.finish_s, run.arrival_s)
    assert math.isnan(run.mean_response_s) and math.isnan(run.mean_wait_s)
    assert np.isnan(run.percentile_s([50, 99])).all()
    whole = simulate("round robin", [1.0], 2.0, requests=4)
    crash = float(whole.finish_s[0] + 1e-3)
    lost = simulate("round robin", [1.0], 2.0, requests=4, faults=[Fault(0, "down", crash, crash + 1e-6)])
    waiting = whole.arrival_s < crash
    assert not lost.failed[0] and lost.failed[waiting][1:].all()
    assert np.all(lost.finish_s[waiting][1:] == crash)


def test_a_cold_server_is_slow_at_first() -> None:
    cold = [Fault(0, "starting cold", 0, 100, cold_speed=0.1)]
    run = simulate("round robin", [2.0], 0.05, requests=400, service="deterministic", faults=cold)
    taken = run.finish_s - run.start_s
    factor = np.minimum(0.1 + 0.9 * run.start_s / 100, 1)
    assert np.allclose(taken, 0.5 / factor)


def test_rotation_follows_the_thresholds() -> None:
    faults = [Fault(1, "down", 2.5, 6.5), Fault(0, "failing fast", 1, 3), Fault(1, "down", 20, 20.5)]
    check = HealthCheck(1.0, fall=3, rise=2)
    # Probes at 3, 4, 5 fail: out at 5; 7 and 8 succeed: in at 8; the one at 20 alone does nothing.
    assert balancing.rotation_changes(faults, check, 30) == [(5.0, 1, False), (8.0, 1, True)]
    deep = HealthCheck(1.0, fall=1, rise=1, deep=True)
    assert balancing.rotation_changes(faults, deep, 30) == [
        (1.0, 0, False),
        (3.0, 0, True),
        (3.0, 1, False),
        (7.0, 1, True),
        (20.0, 1, False),
        (21.0, 1, True),
    ]
    assert balancing.rotation_changes([Fault(0, "down", 0, 5)], deep, 2) == [(0.0, 0, False)]


@pytest.mark.parametrize("policy", balancing.POLICIES)
def test_checks_keep_requests_from_a_dead_server(policy: str) -> None:
    faults = [Fault(0, "down", 100, 300)]
    run = simulate(
        policy,
        np.ones(4),
        0.4,
        requests=1000,
        faults=faults,
        health=HealthCheck(1.0, fall=2),
        weights=[1, 2, 3, 4],
    )
    out = (run.arrival_s >= 102) & (run.arrival_s < 300)
    assert out.sum() > 100 and not (run.server[out] == 0).any() and not run.failed[out].any()
    blind = simulate(policy, np.ones(4), 0.4, requests=1000, faults=faults, weights=[1, 2, 3, 4])
    assert blind.errors >= run.errors


def test_if_all_are_out_all_are_used() -> None:
    faults = [Fault(i, "failing fast", 0, 1e6) for i in range(3)]
    deep = HealthCheck(1.0, 1, 1, deep=True)
    run = simulate("round robin", np.ones(3), 0.5, requests=300, faults=faults, health=deep)
    assert run.share.tolist() == pytest.approx([1 / 3] * 3) and run.error_ratio == 1


def test_cpu_is_the_smoothed_share_of_time_busy() -> None:
    """The reported load is the integral of busy(s) exp((s - t) / window) / window over the past."""
    reports: list[tuple[float, list[float]]] = []
    arrivals = iter(np.cumsum(balancing.draw(200, 5).gaps) / (0.7 * UNEQUAL.sum()))

    def choose(s: kernels.Situation) -> int:
        reports.append((next(arrivals), s.cpu))
        return s.in_rotation[len(reports) % 4]

    run = simulate(choose, UNEQUAL, 0.7, requests=200, seed=5, window_s=3.0)
    for when, cpu in reports[::17]:
        for i in range(4):
            own = (run.server == i) & (run.arrival_s < when)
            begin, end = run.start_s[own], np.minimum(run.finish_s[own], when)
            begin = np.minimum(begin, when)
            share = np.sum(np.exp((end - when) / 3) - np.exp((begin - when) / 3))
            assert cpu[i] == pytest.approx(share, abs=1e-9)


def test_or_forgets_the_memory() -> None:
    assert balancing.pick_by_resources([0.05, 0.90], [0.99, 0.10], "or") == 0
    assert balancing.pick_by_resources([0.05, 0.60], [0.99, 0.10], "max") == 1
    assert balancing.pick_by_resources([0.0, 0.5], [0.9, 0.1], "or") == 1


# --- figures and refusals -----------------------------------------------------------------------------------


def test_figures_leave_out_the_warm_up() -> None:
    run = simulate("random", UNEQUAL, 0.7, requests=1000, warmup=400)
    assert run.response_s.size == 600
    assert run.mean_response_s == pytest.approx(np.mean((run.finish_s - run.arrival_s)[400:]))
    assert run.percentile_s(50) == pytest.approx(np.median(run.response_s))
    assert run.share == pytest.approx(np.bincount(run.server[400:], minlength=4) / 600)
    assert simulate("random", UNEQUAL, 0.7, requests=10, warmup=9).utilisation.tolist() == [0] * 4


def test_draws_are_shared_and_read_only() -> None:
    draws = balancing.draw(100, 5)
    assert balancing.draw(100, 5) is draws
    with pytest.raises(ValueError, match="read-only"):
        draws.gaps[0] = 1
    assert not np.array_equal(draws.gaps, balancing.draw(100, 6).gaps)
    assert not np.array_equal(draws.gaps, draws.works)


DOWN = Fault(0, "down", 1, 2)
BAD = [
    (lambda: simulate("best", [1], 0.5), "policy = 'best': must be one of 'round robin'"),
    (lambda: simulate("random", [], 0.5), r"speeds of shape \(0,\): must be one row of 1 to 1,000"),
    (lambda: simulate("random", np.ones(1001), 0.5), r"speeds of shape \(1001,\)"),
    (lambda: simulate("random", [1, -1], 0.5), r"speeds \(one of them\) = -1.0: must be a number from 1e-06"),
    (lambda: simulate("random", [1], 0), "utilisation = 0: must be a number above 0 to 2"),
    (lambda: simulate("random", [1], 0.5, requests=10**8), "requests = 100000000: "),
    (lambda: simulate(lambda s: 0, [1], 0.5, requests=10**6), "requests = 1000000: .* 1 to 200,000"),
    (lambda: simulate("random", [1], 0.5, requests=10, warmup=10), "warmup = 10: .* from 0 to 9"),
    (lambda: simulate("random", [1], 0.5, seed=-1), "seed = -1: "),
    (lambda: simulate("random", [1], 0.5, service="normal"), "service = 'normal': "),
    (lambda: simulate("random", [1], 0.5, tail=1), "tail = 1: "),
    (lambda: simulate("random", [1, 1], 0.5, weights=[1]), r"weights = \[1.0\]: must be 2, one a server"),
    (lambda: simulate("random", [1, 1], 0.5, weights=[0, 0]), "not all 0"),
    (lambda: simulate("random", [1], 0.5, weights=[-1]), r"weights \(one of them\) = -1.0: "),
    (lambda: simulate("random", [1], 0.5, balancers=0), "balancers = 0: "),
    (lambda: simulate("random", [1], 0.5, refresh_s=-1), "refresh_s = -1: .* s$"),
    (lambda: simulate("IP hash", [1], 0.5, addresses=0), "addresses = 0: "),
    (lambda: simulate("IP hash", [1], 0.5, nat_share=2), "nat_share = 2: "),
    (lambda: simulate("random", [1], 0.5, vnodes=0), "vnodes = 0: "),
    (lambda: simulate("random", [1], 0.5, bound=0.9), "bound = 0.9: "),
    (lambda: simulate("random", [1], 0.5, alpha=0), "alpha = 0: must be a number above 0 to 1"),
    (lambda: simulate("random", [1], 0.5, explore=1.5), "explore = 1.5: "),
    (lambda: simulate("random", [1], 0.5, error_counts_s=-1), "error_counts_s = -1: "),
    (lambda: simulate("random", [1], 0.5, window_s=0), "window_s = 0: "),
    (lambda: simulate("random", [1], 0.5, memory_slots=0), "memory_slots = 0: "),
    (lambda: simulate("random", [1], 0.5, faults=[Fault(1, "down", 0, 1)]), "server of a fault = 1: "),
    (
        lambda: simulate("random", [1], 0.5, faults=[DOWN, DOWN]),
        "start_s of a fault = 1: must be at least 2 s",
    ),
    (lambda: simulate("random", [1], 0.5, faults=[DOWN], health=HealthCheck(1e-6)), "number of probes"),
    (lambda: Fault(0, "slow", 0, 1), "kind of a fault = 'slow': "),
    (lambda: Fault(0, "down", 1, 1), "end_s of a fault = 1: must be a number above 1"),
    (lambda: Fault(0, "down", 0, 1, error_s=-1), "error_s of a fault = -1: "),
    (lambda: Fault(0, "down", 0, 1, cold_speed=0), "cold_speed of a fault = 0: "),
    (lambda: HealthCheck(0), "interval_s = 0: "),
    (lambda: HealthCheck(1, fall=0), "fall = 0: "),
    (lambda: HealthCheck(1, rise=0), "rise = 0: "),
    (lambda: balancing.draw(0, 1), "requests = 0: "),
    (lambda: simulate("random", [1], 0.5, requests=9).percentile_s(101), "percent = 101.0: "),
    (lambda: simulate("random", [1], 0.5, requests=9).queue_lengths(1), "points = 1: "),
    (lambda: balancing.weighted_steps([], "smooth", 1), "number of weights = 0: "),
    (lambda: balancing.weighted_steps([0], "smooth", 1), r"weights = \[0\]: must not all be 0"),
    (lambda: balancing.weighted_steps([0.5], "smooth", 1), r"weights \(one of them\) = 0.5: "),
    (lambda: balancing.weighted_steps([1], "fair", 1), "rule = 'fair': "),
    (lambda: balancing.weighted_steps([1], "smooth", 0), "steps = 0: "),
    (lambda: balancing.weighted_steps([1], "guide", 1, ties="any"), "ties = 'any': "),
    (lambda: balancing.pick_by_resources([], []), "number of servers = 0: "),
    (lambda: balancing.pick_by_resources([0.1], []), "number of memory loads = 0: must be 1"),
    (lambda: balancing.pick_by_resources([2], [0]), r"cpu \(one of them\) = 2: "),
    (lambda: balancing.pick_by_resources([0], [0], "and"), "rule = 'and': "),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- sticky sessions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("servers", [2, 3, 7])
def test_sessions_lost_counts_who_is_elsewhere_while_one_is_away(servers: int) -> None:
    clients, nat_share = 400, 0.3
    hashes = sharding.hash_keys(np.arange(clients + 1), salt=1).tolist()
    weights = [(1 - nat_share) / clients] * clients + [nat_share]
    lost = 0.0
    for away in range(servers):
        others = [i for i in range(servers) if i != away]
        for hashed, weight in zip(hashes, weights, strict=True):
            lost += weight * (others[hashed % len(others)] != hashed % servers) / servers
    assert balancing.sessions_lost("IP address", servers, clients, nat_share) == pytest.approx(lost)
    assert balancing.sessions_lost("cookie", servers, clients, nat_share) == pytest.approx(1 / servers)
    assert balancing.sessions_lost("none", servers, clients, nat_share) == 0


def test_hashed_sessions_move_as_keys_do_modulo() -> None:
    # Each of 100,000 addresses stays with probability 1/N, so the share has a deviation of √(p(1 - p)/n).
    lost = balancing.sessions_lost("IP address", 10, 100_000)
    assert lost == pytest.approx(sharding.expected_moves("modulo", 10, "remove"), abs=4 * 0.3 / 316)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: balancing.sessions_lost("URL", 5, 10), "stickiness = 'URL'"),
        (lambda: balancing.sessions_lost("cookie", 1, 10), "servers = 1"),
        (lambda: balancing.sessions_lost("cookie", 5, 0), "clients = 0"),
        (lambda: balancing.sessions_lost("cookie", 5, 10, 1.5), "nat_share = 1.5"),
    ],
)
def test_bad_sessions_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- a run that is watched ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["plain", "stale, three balancers", "faults and checks", "all at once"])
@pytest.mark.parametrize("policy", balancing.POLICIES)
def test_slices_change_nothing(policy: str, scenario: str) -> None:
    setting = dict(SCENARIOS[scenario])
    more = {
        "balancers": setting.get("balancers", 1),
        "refresh_s": setting.get("refresh", 0.0),
        "explore": setting.get("explore", 0.0),
        "error_counts_s": setting.get("error_counts"),
        "faults": setting.get("faults", ()),
        "health": setting.get("health"),
    }
    shares: list[float] = []
    whole = simulate(policy, UNEQUAL, 0.8, requests=1_501, **more)
    cut = simulate(policy, UNEQUAL, 0.8, requests=1_501, progress=shares.append, **more)
    assert shares == [(k + 1) / 32 for k in range(32)]
    for name in ("server", "start_s", "finish_s", "failed"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


@pytest.mark.parametrize("policy", ["random", "power of two choices", "least connections"])
def test_slices_of_nearly_nothing(policy: str) -> None:
    shares: list[float] = []
    run = simulate(policy, UNEQUAL, 0.8, requests=3, progress=shares.append)
    assert len(shares) == 32 and run.finish_s.size == 3


def test_queues_that_grow_go_on_in_the_next_slice() -> None:
    whole = simulate("power of two choices", UNEQUAL, 2.0, requests=4_000)
    cut = simulate("power of two choices", UNEQUAL, 2.0, requests=4_000, progress=lambda _: None)
    assert np.array_equal(whole.server, cut.server) and np.array_equal(whole.finish_s, cut.finish_s)


def first_in_rotation(situation: kernels.Situation) -> int:
    return situation.in_rotation[0]


@pytest.mark.parametrize("policy", ["random", "power of two choices", "least connections", first_in_rotation])
def test_what_progress_raises_ends_the_run(policy: Any) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if share >= 0.25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(policy, UNEQUAL, 0.8, requests=1_000, progress=stop)
    assert shares == [(k + 1) / 32 for k in range(8)]


def test_your_own_policy_is_watched_too() -> None:
    shares: list[float] = []
    simulate(first_in_rotation, UNEQUAL, 0.5, requests=100, progress=shares.append)
    assert shares == [(k + 1) / 32 for k in range(32)]


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_no_reader_waits_for_the_compiler() -> None:
    # Whatever is asked for, the loops meet the one set of types that the warm-up compiles.
    speeds = np.array([1.0, 1.0, 2.0, 2.0])
    speeds.flags.writeable = False
    for policy in balancing.POLICIES:
        for service in balancing.SERVICES:
            simulate(policy, speeds, 0.5, requests=50, service=service, weights=speeds[::-1])
    simulate("random", [2.0], 0.5, requests=50, balancers=3, faults=FAULTS[2:3][:0], health=HealthCheck(1.0))
    loops = [
        *(kernels.choose, kernels.serve, kernels.serve_power_of_two),
        *set(kernels.INFORMED.values()),
    ]
    for loop in loops:
        example = next(
            make for name, (call, make) in _KERNELS.items() if call is loop and name.startswith("balancing.")
        )
        loop(*example())
        assert len(loop.signatures) == 1, loop.__name__  # type: ignore[attr-defined]

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from fractions import Fraction
from typing import Any

import ciw
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from course import queueing
from course.kernels import queueing as kernels
from course.queueing import DETERMINISTIC, EXPONENTIAL, Draws, Law

Floats = NDArray[np.float64]

LAWS = (
    EXPONENTIAL,
    DETERMINISTIC,
    queueing.hyper_exponential(4),
    queueing.log_normal(4),
    queueing.pareto(2.5),
)
SERVERS = (1, 2, 3, 7, 8, 9, 10, 40)
LOADS = st.floats(0.05, 0.97)


def by_law(law: Law) -> str:
    return law.name


def waits_of(draws: Draws, gap: float, servers: int) -> Floats:
    waits = np.empty(draws.customers)
    free = kernels.free_servers(servers)
    kernels.waits(draws.gaps, draws.services, gap, free, np.zeros(2), waits)
    return waits


def plain_waits(draws: Draws, gap: float, servers: int) -> Floats:
    waits = np.empty(draws.customers)
    free = kernels.free_servers(servers)
    kernels.waits_plain(draws.gaps, draws.services, gap, free, np.zeros(2), waits)
    return waits


# --- closed forms -------------------------------------------------------------------------------------------


@given(servers=st.integers(1, 40), load=st.fractions(Fraction(1, 50), 60, max_denominator=100))
def test_erlang_equals_its_definition(servers: int, load: Fraction) -> None:
    terms = [load**k / math.factorial(k) for k in range(servers + 1)]
    assert queueing.erlang_b(servers, float(load)) == pytest.approx(float(terms[-1] / sum(terms)), rel=1e-12)
    if load < servers:
        waiting = terms[-1] * servers / (servers - load)
        expected = waiting / (sum(terms[:-1]) + waiting)
        assert queueing.erlang_c(servers, float(load)) == pytest.approx(float(expected), rel=1e-12)


def test_erlang_stays_stable_where_factorials_overflow() -> None:
    # At a = c the loss is close to √(2/(πc)) (Jagerman 1974), with a relative error of order 1/√c.
    assert queueing.erlang_b(1_000, 1_000) == pytest.approx(math.sqrt(2 / (math.pi * 1_000)), rel=0.05)
    assert 0 < queueing.erlang_c(1_000, 999) < 1
    assert queueing.erlang_b(1_000, 1e9) == pytest.approx(1 - 1_000 / 1e9, rel=1e-9)


def test_values_that_the_course_names() -> None:
    assert queueing.mm1(0.9, 1).wait_s == pytest.approx(9.0)
    assert queueing.mmc(7.2, 1, 8).wait_s == pytest.approx(0.87692, abs=5e-6)
    # Response times at ρ = 0.8 and S = 0.1 s, to the hundredth.
    assert queueing.mm1(8, 10).response_s == pytest.approx(0.50)
    assert queueing.md1(8, 10).response_s == pytest.approx(0.30)
    assert queueing.mmc(80, 10, 10).response_s == pytest.approx(0.12, abs=0.005)
    # W is the time in the system; the wait gives the number waiting.
    queue = queueing.mm1(8, 10)
    assert (queue.in_system, queue.waiting) == (pytest.approx(4.0), pytest.approx(3.2))
    assert queueing.littles_law(8, 0.5) == 4.0


@given(load=LOADS, servers=st.integers(1, 12))
def test_mmc_equals_the_birth_death_chain(load: float, servers: int) -> None:
    states = 2_000  # P(more) is below 0.97^1,900, or 1e-25
    down = np.minimum(np.arange(1, states), servers)
    log = np.concatenate(([0.0], np.cumsum(np.log(load * servers / down))))
    chance = np.exp(log - log.max())
    chance /= chance.sum()
    queue = queueing.mmc(load * servers, 1, servers)
    number = np.arange(states)
    assert queue.wait_probability == pytest.approx(chance[servers:].sum(), rel=1e-9)
    assert queue.in_system == pytest.approx(chance @ number, rel=1e-9)
    assert queue.waiting == pytest.approx(chance @ np.maximum(number - servers, 0), rel=1e-9)


@given(load=LOADS, servers=st.integers(1, 12), rate=st.floats(0.01, 1_000))
def test_tails_integrate_to_means(load: float, servers: int, rate: float) -> None:
    queue = queueing.mmc(load * servers * rate, rate, servers)
    slowest = min(rate, queue.servers * rate - queue.arrival_rate)
    time = np.linspace(0, 40 / slowest, 200_001)
    # Trapezoids of e^(−x) at steps of h are off by h²/12; the fastest rate is `servers` times that of
    # service, up to 12/0.03 times the slowest, and h there is 0.08.
    assert np.trapezoid(queue.wait_tail(time), time) == pytest.approx(queue.wait_s, rel=1e-3)
    assert np.trapezoid(queue.response_tail(time), time) == pytest.approx(queue.response_s, rel=1e-3)


@given(load=LOADS, servers=st.integers(1, 12), percent=st.floats(0.01, 99.9999))
def test_percentiles_invert_the_tails(load: float, servers: int, percent: float) -> None:
    queue = queueing.mmc(load * servers * 50, 50, servers)
    above = 1 - percent / 100
    # A relative error of 1e-12 in a time of t mean times becomes one of 1e-12·t in the tail.
    assert queue.response_tail(queue.response_percentile(percent)) == pytest.approx(above, rel=1e-9)
    wait = queue.wait_percentile(percent)
    if wait > 0:
        assert queue.wait_tail(wait) == pytest.approx(above, rel=1e-9)
    else:
        assert above >= queue.wait_probability * (1 - 1e-12)


def test_response_of_mm1_is_exponential() -> None:
    queue = queueing.mm1(9, 10)
    for percent in (1, 50, 99, 99.99):
        assert queue.response_percentile(percent) == pytest.approx(-math.log(1 - percent / 100), rel=1e-9)
    # The two rates of the sum meet at λ = (c − 1)μ.
    twin = queueing.mmc(10, 10, 2)
    near = queueing.mmc(10 + 1e-7, 10, 2)
    assert twin.response_tail([0.1, 1]) == pytest.approx(near.response_tail([0.1, 1]), rel=1e-6)


@given(load=LOADS, servers=st.integers(1, 30), scv=st.floats(0, 100))
def test_closed_forms_agree_where_they_meet(load: float, servers: int, scv: float) -> None:
    one, many = queueing.mm1(load, 1), queueing.mmc(load * servers, 1, servers)
    assert queueing.mg1(load, 1, 1).wait_s == pytest.approx(one.wait_s)
    assert queueing.md1(load, 1).wait_s == pytest.approx(one.wait_s / 2)
    assert queueing.mdc(load, 1, 1).wait_s == pytest.approx(one.wait_s / 2)
    assert queueing.ggc(load, 1, 1, 1, scv).wait_s == pytest.approx(queueing.mg1(load, 1, scv).wait_s)
    assert queueing.ggc(load * servers, 1, servers, 1, 1).wait_s == pytest.approx(many.wait_s)
    assert many.wait_s <= one.wait_s * (1 + 1e-12)


def crommelin_wait(servers: int, load: float) -> float:
    """Exact mean wait of M/D/c in service times (Crommelin 1932, from Spitzer's identity)."""
    total, i = 0.0, 1
    while True:
        mean, k = i * servers * load, i * servers
        more = np.arange(k + 1, k + int(12 * math.sqrt(k)) + 60)
        at_k = math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
        above = at_k * float(np.exp(np.cumsum(np.log(mean / more))).sum())
        term = at_k + above - above / load
        total += term
        i += 1
        if i > 20 and term < 1e-9 * total:
            return total


@pytest.mark.parametrize("servers", [1, 2, 3, 4, 8, 20, 50, 100])
def test_mdc_is_as_good_as_it_says(servers: int) -> None:
    compared = 0
    for load in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        exact = crommelin_wait(servers, load)
        ratio = queueing.mdc(load * servers, 1, servers).wait_s / exact
        if exact >= 0.05:
            assert ratio == pytest.approx(1, abs=0.02)
            compared += 1
        elif exact > 1e-12:  # below that the terms of the exact sum cancel
            assert 0.6 < ratio < 1.25
    assert compared > 0


def test_an_infinite_variance_makes_an_infinite_wait() -> None:
    heavy = queueing.pareto(1.5)
    assert heavy.scv == math.inf
    assert queueing.closed_form(0.5, 1, service=heavy).wait_s == math.inf
    assert queueing.closed_form(0.5, 1, 2, service=heavy).response_s == math.inf


def test_closed_form_takes_the_best_there_is() -> None:
    lognormal = queueing.log_normal(2)

    def chosen(servers: int, arrivals: Law, service: Law) -> tuple[str, bool]:
        queue = queueing.closed_form(0.5 * servers, 1, servers, arrivals=arrivals, service=service)
        return queue.model, queue.exact

    assert chosen(3, EXPONENTIAL, EXPONENTIAL) == ("M/M/3", True)
    assert chosen(3, EXPONENTIAL, DETERMINISTIC) == ("M/D/3", False)
    assert chosen(1, EXPONENTIAL, DETERMINISTIC) == ("M/D/1", True)
    assert chosen(1, EXPONENTIAL, lognormal) == ("M/G/1", True)
    assert chosen(2, EXPONENTIAL, lognormal) == ("G/G/2", False)
    assert chosen(1, DETERMINISTIC, EXPONENTIAL) == ("G/G/1", False)


# --- fan-out ------------------------------------------------------------------------------------------------


@given(load=LOADS, servers=st.integers(1, 40), percent=st.floats(0, 99.9))
def test_percentile_of_any_law_is_exact_for_mmc(load: float, servers: int, percent: float) -> None:
    queue = queueing.mmc(load * servers, 1, servers)
    found = queueing.response_percentile(queue, EXPONENTIAL, percent)
    assert found == queue.response_percentile(percent)
    # The same numbers without the name: a thousand service times stand for all of them.
    general = queueing.ggc(load * servers, 1, servers, 1, 1)
    assert queueing.response_percentile(general, EXPONENTIAL, percent) == pytest.approx(
        found, rel=0.02, abs=0.002
    )


@pytest.mark.parametrize("law", LAWS, ids=by_law)
@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_percentile_of_any_law_is_as_good_as_it_says(law: Law, load: float) -> None:
    run = queueing.simulate(load, 1, service=law, customers=1_000_000, warmup=20_000, seed=3)
    found = queueing.response_percentile(queueing.closed_form(load, 1, service=law), law, 99)
    slack = 3 * run.response_percentile_error(99)
    assert abs(found - run.response_percentile(99)) < 0.25 * run.response_percentile(99) + slack


@pytest.mark.parametrize("law", LAWS, ids=by_law)
def test_equal_shares_have_the_quantiles_and_the_mean_of_their_law(law: Law) -> None:
    shares = queueing._equal_shares(law)
    drawn = np.quantile(queueing.draw(200_000, 4, service=law).services, [0.2505, 0.5005, 0.9005])
    assert shares[[250, 500, 900]] == pytest.approx(drawn, rel=0.03)
    # The last of them stands for the last thousandth, and cuts off its tail.
    assert 0.96 < shares.mean() <= 1 + 1e-9


def test_percentile_of_any_law_without_waiting_or_without_variance() -> None:
    idle = queueing.md1(1e-9, 1)
    assert queueing.response_percentile(idle, DETERMINISTIC, 99) == pytest.approx(1)
    heavy = queueing.pareto(1.5)
    assert queueing.response_percentile(queueing.closed_form(0.5, 1, service=heavy), heavy, 99) == math.inf
    crowd = queueing.mdc(1e-3, 1, 1_000)
    assert queueing.response_percentile(crowd, DETERMINISTIC, 99) == pytest.approx(1)


def test_error_of_a_percentile_is_the_spread_of_runs() -> None:
    runs = [queueing.simulate(0.7, 1, customers=40_000, warmup=1_000, seed=seed) for seed in range(60)]
    spread = np.std([run.response_percentile(99) for run in runs], ddof=1)
    told = np.sqrt(np.mean([run.response_percentile_error(99) ** 2 for run in runs]))
    # Relative standard errors: 1/√(2·59) of the spread, 1/√(2·60·7) of what is told, together 0.1.
    assert told / spread == pytest.approx(1, abs=0.3)
    assert runs[0].counted[-1].tolist() == runs[0].response_counts.tolist()


def test_fan_out() -> None:
    assert queueing.fan_out_slow_share(100, 99) == pytest.approx(0.634, abs=5e-4)
    assert queueing.fan_out_slow_share(1, 99) == pytest.approx(0.01)
    single = queueing.mm1(8, 10).response_percentile
    assert queueing.fan_out_percentile(single, 1, 99) == pytest.approx(single(99))
    # The largest of n exponentials: F(t)^n = 1/2.
    median = -math.log(1 - 0.5 ** (1 / 100)) * 0.5
    assert queueing.fan_out_percentile(single, 100, 50) == pytest.approx(median, rel=1e-9)


def test_fan_out_of_simulated_calls() -> None:
    # Independent calls: service times of a queue without waiting. 100,000 requests of 20 calls.
    run = queueing.replay(queueing.draw(2_000_000, 3), 1e-9, 1)
    slowest = queueing.draw(2_000_000, 3).services.reshape(-1, 20).max(axis=1)
    # The histogram adds 0.4 %. The share above a true median has standard error 0.5/√100,000 = 0.0016; the
    # density of the maximum at its median is 0.34, so the median has 0.0047, of a value of 3.4.
    assert queueing.fan_out_percentile(run.response_percentile, 20, 50) == pytest.approx(
        np.median(slowest), abs=4 * 0.0047 + 0.004 * 3.4
    )


# --- draws --------------------------------------------------------------------------------------------------


def cdf(law: Law, time: Floats) -> Floats:
    if law.name == "exponential":
        return np.asarray(-np.expm1(-time))
    if law.name == "hyper-exponential":
        p = (1 + math.sqrt((law.scv - 1) / (law.scv + 1))) / 2
        return np.asarray(1 - p * np.exp(-2 * p * time) - (1 - p) * np.exp(-2 * (1 - p) * time))
    if law.name == "log-normal":
        sd = math.sqrt(math.log(1 + law.scv))
        z = (np.log(time) + sd * sd / 2) / sd
        return np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in z])
    least = 1 - 1 / law.shape
    return np.where(time < least, 0.0, 1 - (least / time) ** law.shape)


@pytest.mark.parametrize("law", [law for law in LAWS if law is not DETERMINISTIC], ids=by_law)
def test_draws_follow_their_law(law: Law) -> None:
    n = 100_000
    draws = np.sort(queueing.draw(n, 5, service=law).services)
    share = cdf(law, draws)
    distance = max(np.max(np.arange(1, n + 1) / n - share), np.max(share - np.arange(n) / n))
    # Kolmogorov: P(√n·D > 2) = 2·e^(−8), one in 1,500.
    assert math.sqrt(n) * distance < 2


def test_scv_is_that_of_the_distribution() -> None:
    # Numerically, from the tail: E[T²] = ∫ 2t·P(T > t) dt, mean 1.
    for law in (EXPONENTIAL, queueing.hyper_exponential(4), queueing.log_normal(0.5), queueing.pareto(8)):
        time = np.concatenate((np.linspace(1e-9, 1, 20_001), np.geomspace(1, 1e4, 20_001)[1:]))
        tail = 1 - cdf(law, time)
        # Steps of 0.05 % of the time, and a tail cut at 10⁴ means: below 0.1 % together.
        assert np.trapezoid(tail, time) == pytest.approx(1, rel=1e-3)
        assert np.trapezoid(2 * time * tail, time) - 1 == pytest.approx(law.scv, rel=2e-3)
    assert queueing.draw(5, 1, service=DETERMINISTIC).services.tolist() == [1.0] * 5


@pytest.mark.parametrize("law", LAWS, ids=by_law)
def test_draws_equal_their_twin(law: Law) -> None:
    loop = kernels.unit_draws(law.code, law.shape, 20_000, np.random.default_rng(7))
    twin = kernels.unit_draws_plain(law.code, law.shape, 20_000, np.random.default_rng(7))
    # Compiled and NumPy's exp and log may differ in the last bit; 4·(σ + 1)·1e-16 of it at most is magnified.
    np.testing.assert_allclose(loop, twin, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "from_", "to"),
    [
        (queueing.hyper_exponential, 4.0, 4.001),
        (queueing.log_normal, 1.0, 1.001),
        (queueing.pareto, 2.5, 2.501),
    ],
)
def test_a_small_move_of_the_shape_moves_each_draw_a_little(
    make: Callable[[float], Law], from_: float, to: float
) -> None:
    before, after = (queueing.draw(200_000, 1, service=make(at)).services for at in (from_, to))
    moved = np.abs(after - before) / (1 + before)
    assert 0 < moved.max() < 0.01
    assert np.array_equal(
        queueing.draw(9, 1, service=make(to)).gaps, queueing.draw(9, 1, service=EXPONENTIAL).gaps
    )


# --- pathwise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("servers", SERVERS)
@pytest.mark.parametrize("law", LAWS, ids=by_law)
def test_loop_equals_twin(law: Law, servers: int) -> None:
    draws = queueing.draw(5_000, 2, arrivals=queueing.hyper_exponential(2), service=law)
    for load in (0.3, 0.9, 1.3):
        loop = waits_of(draws, 1 / load / servers, servers)
        # Clocks of 10⁴ service times have an ulp of 2e-12, and 5,000 of them are added up.
        np.testing.assert_allclose(loop, plain_waits(draws, 1 / load / servers, servers), atol=1e-8)
        assert loop.max() > 0 or load < 1


@settings(max_examples=150)
@given(
    times=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=60),
    servers=st.integers(1, 12),
)
def test_loop_equals_twin_exactly_with_ties(times: list[tuple[int, int]], servers: int) -> None:
    gaps, services = np.array(times, np.float64).T.copy()
    draws = Draws(DETERMINISTIC, DETERMINISTIC, gaps, services)
    assert np.array_equal(waits_of(draws, 1.0, servers), plain_waits(draws, 1.0, servers))


def counted(call: Callable[..., None], servers: int, *first: Any) -> tuple[Any, ...]:
    free, clock = kernels.free_servers(servers), np.zeros(2)
    counts = np.zeros((2, kernels.BUCKETS), np.int32)
    sums = np.zeros((3, 2))
    call(*first, 1 / 0.9 / servers, np.array([0, 1_000, 1_500, 6_000]), free, clock, *counts, sums)
    return counts, sums, clock


@pytest.mark.parametrize("servers", SERVERS)
def test_all_four_ways_count_the_same(servers: int) -> None:
    law = queueing.log_normal(2)
    draws = queueing.draw(6_000, 4, service=law)
    laws = (EXPONENTIAL.code, EXPONENTIAL.shape, law.code, law.shape)

    def rngs() -> list[np.random.Generator]:
        return np.random.default_rng(4).spawn(2)

    counts, sums, clock = counted(kernels.predrawn, servers, draws.gaps, draws.services)
    waits = waits_of(draws, 1 / 0.9 / servers, servers)
    for times, found in ((waits, counts[0]), (waits + draws.services, counts[1])):
        assert np.array_equal(found, np.bincount(kernels.bucket_of(times), minlength=kernels.BUCKETS))
    assert sums[1].tolist() == pytest.approx([waits[1_000:1_500].sum(), draws.services[1_000:1_500].sum()])
    for call, first in (
        (kernels.predrawn_plain, (draws.gaps, draws.services)),
        (kernels.fresh, (*laws, *rngs())),
        (kernels.fresh_plain, (*laws, *rngs())),
    ):
        other_counts, other_sums, other_clock = counted(call, servers, *first)
        # A time that rounding moves over the edge of a bucket is counted next door: 1e-10 off at most, in
        # buckets of at least 6e-8.
        assert np.abs(other_counts - counts).sum() <= 4
        np.testing.assert_allclose(other_sums, sums, rtol=1e-9)
        np.testing.assert_allclose(other_clock, clock, rtol=1e-12)


def test_buckets_hold_what_they_say() -> None:
    times = np.concatenate(([0.0], np.geomspace(1e-7, 1e20, 5_000)))
    bucket = kernels.bucket_of(times)
    low, high = kernels.lower_edge(bucket), kernels.lower_edge(bucket + 1)
    assert bucket[0] == 0 and low[0] == 0
    # Adding 2^-16 rounds in the last bit.
    assert np.all((low <= times * (1 + 1e-15) + 1e-20) & (times <= high * (1 + 1e-15)))
    assert np.all(high - low <= np.maximum(low / 256, 0) + 2.0**-24 * (1 + 1e-9))


def simpy_waits(draws: Draws, gap: float, servers: int) -> Floats:
    environment = simpy.Environment()
    pool = simpy.Resource(environment, servers)
    waits = np.empty(draws.customers)

    def customer(number: int) -> Generator[simpy.Event, None, None]:
        came = environment.now
        with pool.request() as turn:
            yield turn
            waits[number] = environment.now - came
            yield environment.timeout(draws.services[number])

    def source() -> Generator[simpy.Event, None, None]:
        for number, time in enumerate(draws.gaps * gap):
            yield environment.timeout(time)
            environment.process(customer(number))

    environment.process(source())
    environment.run()
    return waits


def ciw_waits(draws: Draws, gap: float, servers: int) -> Floats:
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential((draws.gaps * gap).tolist())],
        service_distributions=[ciw.dists.Sequential(draws.services.tolist())],
        number_of_servers=[servers],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(draws.customers, method="Finish")
    waits = np.full(draws.customers, np.nan)
    for record in simulation.get_all_records():
        if record.id_number <= draws.customers:
            waits[record.id_number - 1] = record.waiting_time
    return waits


@pytest.mark.parametrize("servers", [1, 3, 12])
@pytest.mark.parametrize("peer", [simpy_waits, ciw_waits])
def test_equals_the_peers_customer_by_customer(
    peer: Callable[[Draws, float, int], Floats], servers: int
) -> None:
    draws = queueing.draw(1_500, 6, service=queueing.log_normal(2))
    theirs = peer(draws, 1 / 0.9 / servers, servers)
    # Ciw stops at the number of customers finished; the last to come may still be there.
    there = np.isfinite(theirs)
    assert there.sum() >= draws.customers - 5 * servers - 100 and there[:1_000].all()
    ours = waits_of(draws, 1 / 0.9 / servers, servers)
    np.testing.assert_allclose(ours[there], theirs[there], atol=1e-9)
    assert ours.max() > 1


def test_lindley_equals_numpys_running_minimum() -> None:
    draws = queueing.draw(10_000, 8)
    steps = np.concatenate(([0.0], draws.services[:-1] - draws.gaps[1:] / 0.9))
    walk = np.cumsum(steps)
    np.testing.assert_allclose(waits_of(draws, 1 / 0.9, 1), walk - np.minimum.accumulate(walk), atol=1e-8)


# --- invariants ---------------------------------------------------------------------------------------------

ANY = st.tuples(
    st.sampled_from(LAWS), st.sampled_from(LAWS), st.integers(1, 12), st.floats(0.1, 1.5), st.integers(0, 99)
)


@settings(max_examples=40)
@given(ANY)
def test_first_come_first_served_and_no_idle_server_while_somebody_waits(
    case: tuple[Law, Law, int, float, int],
) -> None:
    arrivals, service, servers, load, seed = case
    draws = queueing.draw(400, seed, arrivals=arrivals, service=service)
    log = queueing.event_log(draws, load * servers * 10, 10, servers)
    assert np.all(np.diff(log.start_s) >= -1e-9)
    assert np.all(log.start_s >= log.arrive_s)
    np.testing.assert_allclose(log.depart_s - log.start_s, draws.services / 10, atol=1e-9)
    # Between events, who waits is who finds all servers busy; ties of deterministic times are not told apart.
    events = np.unique(np.concatenate((log.arrive_s, log.start_s, log.depart_s)))
    wide = np.flatnonzero(np.diff(events) > 1e-7)
    between = (events[wide] + events[wide + 1]) / 2
    inside = log.in_system(between)
    assert np.array_equal(log.waiting(between), np.maximum(inside - servers, 0))
    times, number = log.path()
    assert number[-1] == 0 and number.min() >= 0 and np.all(np.diff(times) >= 0)
    assert np.array_equal(number[np.searchsorted(times, between, "right") - 1], inside)


@settings(max_examples=40)
@given(ANY, st.floats(1, 2), st.integers(1, 3))
def test_more_load_never_shortens_and_more_servers_never_lengthen_a_wait(
    case: tuple[Law, Law, int, float, int], factor: float, more: int
) -> None:
    arrivals, service, servers, load, seed = case
    draws = queueing.draw(400, seed, arrivals=arrivals, service=service)
    waits = waits_of(draws, 1 / load / servers, servers)
    assert np.all(waits_of(draws, 1 / load / servers / factor, servers) >= waits - 1e-9)
    assert np.all(waits_of(draws, 1 / load / servers, servers + more) <= waits + 1e-9)


@settings(max_examples=40)
@given(ANY)
def test_littles_law_holds_on_every_event_log(case: tuple[Law, Law, int, float, int]) -> None:
    arrivals, service, servers, load, seed = case
    draws = queueing.draw(500, seed, arrivals=arrivals, service=service)
    found = queueing.event_log(draws, load * servers * 10, 10, servers).littles_law()
    assert found.in_system == pytest.approx(found.rate * found.response_s, rel=1e-9)


def test_running_averages_end_in_littles_law() -> None:
    log = queueing.event_log(queueing.draw(2_000, 3), 8, 10)
    end = float(log.depart_s.max())
    found = log.littles_law()
    in_system, product = log.running([end / 3, end])
    assert in_system[1] == pytest.approx(found.in_system, rel=1e-9)
    assert product[1] == pytest.approx(found.rate * found.response_s, rel=1e-9)
    # A third of the way, by hand.
    until = end / 3
    inside = np.clip(log.depart_s, 0, until) - np.clip(log.arrive_s, 0, until)
    gone = log.depart_s <= until
    response = (log.depart_s - log.arrive_s)[gone].mean()
    assert in_system[0] == pytest.approx(inside.sum() / until, rel=1e-9)
    assert product[0] == pytest.approx((log.arrive_s <= until).sum() / until * response, rel=1e-9)
    first = float(log.arrive_s[0])
    assert [float(x) for x in log.running(first / 2)] == [0, 0]


def test_log_and_run_tell_the_same() -> None:
    draws = queueing.draw(50_000, 9, service=queueing.log_normal(1))
    for servers in (1, 5):
        run = queueing.replay(draws, 8 * servers, 10, servers)
        log = queueing.event_log(draws, 8 * servers, 10, servers)
        assert run.wait_s == pytest.approx((log.start_s - log.arrive_s).mean(), rel=1e-9)
        assert run.response_s == pytest.approx(log.littles_law().response_s, rel=1e-9)
        busy = (draws.services.sum() / 10) / (servers * log.depart_s.max())
        assert run.utilisation == pytest.approx(busy, rel=1e-9)


@pytest.mark.parametrize("servers", [1, 4])
def test_percentiles_are_those_of_the_customers_but_for_the_bucket(servers: int) -> None:
    draws = queueing.draw(30_000, 10)
    run = queueing.replay(draws, 80 * servers, 100, servers)
    log = queueing.event_log(draws, 80 * servers, 100, servers)
    waits, responses = log.start_s - log.arrive_s, log.depart_s - log.arrive_s
    for percent in (5, 50, 95, 99, 99.9, 99.999999):
        exact = np.percentile(waits, percent, method="inverted_cdf")
        assert run.wait_percentile(percent) == pytest.approx(exact, rel=0.004, abs=1e-9)
        exact = np.percentile(responses, percent, method="inverted_cdf")
        assert run.response_percentile(percent) == pytest.approx(exact, rel=0.004, abs=1e-9)
    for time in (0, 0.01, 0.1):
        # Between the edges of one bucket, whose customers are then not told apart: up to 0.4 % of the time,
        # and the density of responses at t is at most 1 per mean service time.
        assert run.wait_tail(time) == pytest.approx((waits > time + 1e-12).mean(), abs=0.004)
        assert run.response_tail(time) == pytest.approx((responses > time).mean(), abs=0.004)
    assert run.wait_probability == pytest.approx((waits > 1e-9).mean(), abs=1e-4)
    assert float(run.wait_tail(1e9)) == 0


def test_a_run_can_be_followed_stopped_and_repeated() -> None:
    draws = queueing.draw(40_000, 1)
    shares: list[float] = []
    quiet = queueing.replay(draws, 9, 10, warmup=1_000)
    followed = queueing.replay(draws, 9, 10, warmup=1_000, progress=shares.append)
    fresh = queueing.simulate(9, 10, customers=39_000, warmup=1_000, seed=1)
    assert shares == [(k + 1) / 32 for k in range(32)]
    for other in (followed, fresh):
        assert (other.customers, other.wait_s) == (39_000, pytest.approx(quiet.wait_s, rel=1e-9))
        assert np.abs(other.wait_counts - quiet.wait_counts).sum() <= 4
        assert other.utilisation == pytest.approx(quiet.utilisation, rel=1e-9)
    assert quiet.wait_counts.sum() == quiet.response_counts.sum() == 39_000

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queueing.simulate(9, 10, customers=40_000, progress=stop)


# --- against the closed forms -------------------------------------------------------------------------------


def mm1_wait_error(load: float, customers: int) -> float:
    """Asymptotic standard error of the mean wait of M/M/1, in service times (Daley 1968; Whitt 1989)."""
    variance = load * (2 + 5 * load - 4 * load**2 + load**3) / (1 - load) ** 4
    return math.sqrt(variance / customers)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_mm1_meets_its_formula(load: float) -> None:
    customers = 20_000_000
    error = mm1_wait_error(load, customers)
    run = queueing.simulate(load, 1, customers=customers, warmup=100_000, seed=20)
    assert run.wait_s == pytest.approx(queueing.mm1(load, 1).wait_s, abs=4 * error)
    # The deviation of 32 independent means has itself a relative standard error of 1/√62.
    assert run.wait_error_s == pytest.approx(error, rel=4 / math.sqrt(62))
    # Work arrives with a variance of 2 a customer, so the load has a standard error of ρ·√(2/n).
    assert run.utilisation == pytest.approx(load, abs=4 * load * math.sqrt(2 / customers))
    assert error / run.wait_s < 0.006


def test_mm8_meets_erlang_c() -> None:
    customers = 20_000_000
    run = queueing.simulate(7.2, 1, 8, customers=customers, warmup=100_000, seed=21)
    # The relative standard error at a million is 2.8 % (from 200 runs), and falls with the root.
    error = 0.028 * 0.87692 / math.sqrt(customers / 1e6)
    assert run.wait_s == pytest.approx(0.87692, abs=4 * error)
    assert run.wait_error_s == pytest.approx(error, rel=4 / math.sqrt(62) + 0.1)


@pytest.mark.parametrize("servers", [1, 8])
def test_distribution_meets_its_formula(servers: int) -> None:
    theory = queueing.mmc(0.8 * servers, 1, servers)
    runs = [
        queueing.simulate(0.8 * servers, 1, servers, customers=500_000, warmup=20_000, seed=seed)
        for seed in range(16)
    ]
    times = np.array([0.5, 1, 2, 4])

    def compare(found: list[Any], expected: Any, slack: float) -> None:
        # 16 independent runs: their mean has the standard error of their spread over 4; Student's t with 15
        # degrees leaves one in 2,000 outside 4.4 of it. The slack is that of the histogram.
        error = np.std(found, axis=0, ddof=1) / 4
        assert np.all(np.abs(np.mean(found, axis=0) - expected) <= 4.4 * error + slack)

    compare([run.wait_probability for run in runs], theory.wait_probability, 0)
    compare([run.wait_tail(times) for run in runs], theory.wait_tail(times), 0.004)
    compare([run.response_tail(times) for run in runs], theory.response_tail(times), 0.004)
    for percent in (50, 95, 99):
        wait, response = theory.wait_percentile(percent), theory.response_percentile(percent)
        compare([run.wait_percentile(percent) for run in runs], wait, 0.004 * wait)
        compare([run.response_percentile(percent) for run in runs], response, 0.004 * response)


@pytest.mark.parametrize(
    "law", [DETERMINISTIC, queueing.hyper_exponential(4), queueing.log_normal(1)], ids=by_law
)
def test_mg1_meets_pollaczek_khinchine(law: Law) -> None:
    run = queueing.simulate(0.7, 1, service=law, customers=8_000_000, warmup=20_000, seed=22)
    expected = queueing.mg1(0.7, 1, law.scv).wait_s
    assert run.wait_s == pytest.approx(expected, abs=4 * run.wait_error_s)
    assert run.wait_error_s < 0.01 * expected


def test_mdc_meets_crommelin() -> None:
    run = queueing.simulate(6.4, 1, 8, service=DETERMINISTIC, customers=4_000_000, warmup=20_000, seed=23)
    assert run.wait_s == pytest.approx(crommelin_wait(8, 0.8), abs=4 * run.wait_error_s)


@pytest.mark.parametrize("service", [DETERMINISTIC, EXPONENTIAL, queueing.hyper_exponential(4)], ids=by_law)
@pytest.mark.parametrize("arrivals", [DETERMINISTIC, queueing.hyper_exponential(4)], ids=by_law)
def test_gg1_stays_below_kingmans_bound(arrivals: Law, service: Law) -> None:
    # Kingman's bound proper has ca²/ρ² for ca², in front of ρ/(1 − ρ)/2.
    load = 0.8
    run = queueing.simulate(
        load, 1, arrivals=arrivals, service=service, customers=2_000_000, warmup=20_000, seed=24
    )
    bound = load / (1 - load) * (arrivals.scv / load**2 + service.scv) / 2
    assert run.wait_s <= bound + 4 * run.wait_error_s
    formula = queueing.closed_form(load, 1, arrivals=arrivals, service=service).wait_s
    if arrivals == service == DETERMINISTIC:
        assert run.wait_s == pytest.approx(0, abs=1e-9) and formula == 0


def mm1_wait_from_empty(load: float, customers: int) -> float:
    """Exact mean wait of the first customers of M/M/1, from the chain of the numbers that they find."""
    states = 700  # P(more) is below 0.9^700, or 1e-32
    stays = load / (1 + load)  # the next event is an arrival
    # Row: after an arrival; column: before the next one. The first state absorbs.
    number = np.arange(states)
    left = np.tril((1 - stays) ** np.maximum(number[:, None] - number, 0) * stays)
    left[:, 0] = (1 - stays) ** number
    chance = np.eye(1, states)[0]
    total = 0.0
    for _ in range(customers):
        total += float(chance @ number)  # each customer found takes one service time
        chance = np.concatenate(([0.0], chance[:-1])) @ left
    return total / customers


def test_a_short_run_from_empty_is_too_low() -> None:
    runs = [queueing.simulate(0.9, 1, customers=250, seed=seed).wait_s for seed in range(4_000)]
    error = np.std(runs, ddof=1) / math.sqrt(len(runs))
    expected = mm1_wait_from_empty(0.9, 250)
    assert np.mean(runs) == pytest.approx(expected, abs=4 * error)
    assert expected / 9 - 1 == pytest.approx(-0.305, abs=5e-4)


def test_overload_grows_a_line() -> None:
    customers = 100_000
    run = queueing.simulate(15, 5, 2, customers=customers, seed=25)
    assert run.utilisation == pytest.approx(1, abs=1e-3)
    # Customer n waits for what came in since, less what was served: a walk with a drift of 1/cμ − 1/λ and a
    # variance of (1/cμ)² + (1/λ)² a step. Its mean over n steps has n³/3 of that as the variance of its sum.
    expected = customers / 2 * (1 / 10 - 1 / 15)
    error = math.sqrt(customers / 3 * (1 / 10**2 + 1 / 15**2))
    assert run.wait_s == pytest.approx(expected, abs=4 * error)
    assert error < 0.02 * expected


# --- closed system ------------------------------------------------------------------------------------------


@given(users=st.integers(1, 60), think=st.floats(0.1, 20))
def test_mva_equals_the_birth_death_chain(users: int, think: float) -> None:
    # k asking: users − k think at rate 1/Z each; one is served at rate 1.
    weight = np.cumprod(np.concatenate(([1.0], np.arange(users, 0, -1) / think)))
    chance = weight / weight.sum()
    found = queueing.closed_queue(users, think, 1)
    assert found.utilisation[-1] == pytest.approx(1 - chance[0], rel=1e-9)
    assert found.in_system[-1] == pytest.approx(chance @ np.arange(users + 1), rel=1e-9)
    np.testing.assert_allclose(found.response_s, found.users / found.throughput - think, rtol=1e-9, atol=1e-9)
    assert np.all(found.throughput <= found.throughput_bound * (1 + 1e-12))
    assert np.all(np.diff(found.throughput) >= -1e-12)
    assert found.saturation_users == pytest.approx(1 + think)


def test_workers_over_unloaded_latency_is_no_throughput() -> None:
    # 50 workers who take 90 ms each beside one shared resource of 10 ms: not 50/0.1 s = 500 come out, but 100.
    found = queueing.closed_queue(50, 0.09, 0.01)
    assert found.throughput[-1] == pytest.approx(100, rel=1e-9)
    assert queueing.closed_queue(50, 0, 0.01).throughput.tolist() == pytest.approx([100.0] * 50)


@pytest.mark.parametrize(("users", "think"), [(1, 1.0), (10, 0.5), (30, 0.2), (50, 0.0)])
def test_closed_simulation_meets_mva(users: int, think: float) -> None:
    found = queueing.closed_queue(users, think, 0.02)
    run = queueing.simulate_closed(users, think, 0.02, answers=1_000_000, seed=26)
    assert run.throughput == pytest.approx(found.throughput[-1], abs=4 * run.throughput_error)
    assert run.response_s == pytest.approx(found.response_s[-1], abs=4 * run.response_error_s)
    assert run.throughput_error < 0.005 * run.throughput


@pytest.mark.parametrize("users", [1, 2, 3, 20])
def test_closed_loop_equals_twin(users: int) -> None:
    def run(call: Callable[..., None], law: Law) -> tuple[Floats, Floats]:
        returns = np.arange(1.0, users + 1)
        sums, free = np.zeros((2, 2)), np.zeros(1)
        think, service = np.random.default_rng(1).spawn(2)
        call(law.code, law.shape, think, service, 5.0, np.array([0, 700, 3_000]), returns, free, sums)
        return sums, np.sort(returns)

    for law in LAWS:
        for loop, twin in zip(run(kernels.closed, law), run(kernels.closed_plain, law), strict=True):
            np.testing.assert_allclose(loop, twin, rtol=1e-9)


# --- refusals -----------------------------------------------------------------------------------------------

DRAWS = queueing.draw(40, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: queueing.mmc(10, 1, 10), r"arrival_rate = 10: must be below 10 per s"),
        (lambda: queueing.mm1(2, 1), r"arrival_rate = 2: must be below 1 per s"),
        (lambda: queueing.mmc(0, 1, 1), r"arrival_rate = 0: must be a number above 0"),
        (lambda: queueing.mmc(1, -1, 1), r"service_rate = -1"),
        (lambda: queueing.mmc(1, 1, 1_001), r"servers = 1001: .* 1 to 1,000"),
        (lambda: queueing.mmc(1, 2, 1.5), r"servers = 1\.5: must be a whole number"),  # type: ignore[arg-type]
        (lambda: queueing.mg1(0.5, 1, -1), r"service_scv = -1"),
        (lambda: queueing.ggc(0.5, 1, 1, math.nan, 1), r"arrival_scv = nan"),
        (lambda: queueing.erlang_b(0, 1), r"servers = 0"),
        (lambda: queueing.erlang_c(2, 2), r"offered_load = 2: must be a number above 0 to below 2 erlangs"),
        (lambda: queueing.littles_law(-1, 1), r"rate = -1"),
        (lambda: queueing.hyper_exponential(1), r"scv = 1: must be a number above 1"),
        (lambda: queueing.log_normal(0), r"scv = 0"),
        (lambda: queueing.pareto(1), r"shape = 1: must be a number from 1\.05"),
        (lambda: queueing.mm1(1, 2).wait_percentile(100), r"percent = 100: .* to below 100"),
        (lambda: queueing.fan_out_slow_share(0, 99), r"fan_out = 0"),
        (lambda: queueing.draw(0, 1), r"customers = 0"),
        (lambda: queueing.draw(10, -1), r"seed = -1"),
        (lambda: queueing.simulate(1, 2, customers=31), r"customers = 31: .* 32 to"),
        (lambda: queueing.simulate(1, 2, warmup=-1), r"warmup = -1"),
        (lambda: queueing.replay(DRAWS, 1, 2, warmup=9), r"warmup = 9: .* 0 to 8"),
        (lambda: queueing.replay(queueing.draw(31, 1), 1, 2), r"customers in draws = 31"),
        (lambda: queueing.closed_queue(0, 1, 1), r"users = 0"),
        (lambda: queueing.closed_queue(1, -1, 1), r"think_s = -1"),
        (lambda: queueing.simulate_closed(1, 1, 0), r"service_s = 0"),
        (lambda: queueing.simulate_closed(1, 1, 1, answers=1), r"answers = 1"),
    ],
)
def test_refusals_name_parameter_value_and_range(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_draws_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        DRAWS.gaps[0] = 1

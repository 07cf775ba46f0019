import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import dns_balancing as dns
from course.dns_balancing import Names, failover

names_ = st.builds(
    Names,
    st.sampled_from(dns.TAKEOVERS),
    st.floats(1, 3_600),
    st.floats(0, 1),
    st.floats(1, 3_600),
    st.integers(2, 5),
)


def test_by_hand():
    names = Names("DNS with health checks", ttl_s=60, ignoring=0.1, held_s=1_800)
    # Half until 30 s; then 0.9 of them go within a minute, and the rest within half an hour.
    expected = [0.5, 0.5, 0.5 * (0.9 * 0.5 + 0.1 * (1 - 30 / 1_800)), 0.5 * 0.1 * 0.5, 0]
    assert names.stranded([0, 30, 60, 930, 1_830]) == pytest.approx(expected)
    assert names.lost_s == pytest.approx(0.5 * (30 + 0.9 * 30 + 0.1 * 900))
    assert Names("virtual address").stranded([3.6, 3.61]).tolist() == [0.5, 0]
    assert Names("virtual address", balancers=3).lost_s == pytest.approx((3 + 156 / 256) / 3)
    plain = Names("plain DNS", balancers=4)
    assert plain.stranded([0, 1e9]).tolist() == [0.25, 0.25] and plain.lost_s == math.inf


@given(names_)
def test_clients_only_ever_leave(names):
    share = names.stranded(np.linspace(0, 4_000, 500))
    assert share[0] == pytest.approx(1 / names.balancers) and (np.diff(share) <= 1e-12).all()
    assert names.takeover == "plain DNS" or share[-1] == 0


@given(names_.filter(lambda names: names.takeover != "plain DNS"))
def test_lost_time_is_the_area(names):
    times = np.linspace(0, 4_000, 10_000)
    area = np.trapezoid(names.stranded(times), times)
    # The step at the end of a virtual address, and bends, fall between two times.
    assert names.lost_s == pytest.approx(area, abs=times[1])


@pytest.mark.parametrize(
    "names",
    [
        Names("DNS with health checks", ttl_s=60, ignoring=0.3, held_s=900),
        Names("DNS with health checks", ttl_s=5, ignoring=0.0),
        Names("DNS with health checks", ttl_s=600, ignoring=1.0, held_s=20, balancers=3),
        Names("plain DNS", ttl_s=20, ignoring=0.5, held_s=300),
        Names("virtual address", balancers=4),
    ],
    ids=lambda names: f"{names.takeover}-{names.ttl_s:g}",
)
def test_simulation_agrees_with_theory(names):
    times, clients = np.linspace(0, 1_000, 60), 20_000
    expected = names.stranded(times)
    observed = names.simulate(times, clients, seed=3)
    # Binomial: 60 times, each beyond 4.5 standard deviations once in 150,000.
    allowed = 4.5 * np.sqrt(expected * (1 - expected) / clients)
    assert (np.abs(observed - expected) <= allowed + 1e-12).all()
    assert observed.tolist() == names.simulate(times, clients, seed=3).tolist()


def test_a_client_that_asks_again_before_the_address_is_dropped_may_get_it_again():
    # With one second to live every client has asked some 30 times, and half of them still get the dead one.
    names = Names("DNS with health checks", ttl_s=1, ignoring=0)
    held = names.simulate([29.0, 29.5, 31.0], 10_000)
    assert held[:2] == pytest.approx([0.5, 0.5], abs=4.5 * 0.005) and held[2] == 0
    assert held[0] != held[1]


def test_placement_by_hand():
    # 60 % busy: half of the servers can take 0.5 / 0.6 of all requests.
    alone = failover([0.0], 0.6)
    assert alone.load[0] == pytest.approx(1.2) and alone.failing[0] == pytest.approx(1 - 0.5 / 0.6)
    shared = failover([0.0], 0.6, reach_all=True)
    assert shared.load[0] == pytest.approx(0.6) and shared.failing[0] == 0
    # While half of the clients are stranded, the part that is left is as busy as before.
    assert failover([0.5], 0.6).load[0] == pytest.approx(0.6)
    # With n balancers, n - 1 parts of the servers are enough up to (n - 1) / n.
    assert failover([0.0], 0.75, balancers=4).failing[0] == pytest.approx(0)
    assert failover([0.0], 0.8, balancers=4).failing[0] > 0


@given(st.floats(0, 1), st.floats(0.01, 1), st.integers(2, 9))
def test_reaching_all_is_never_worse(stranded, utilisation, balancers):
    own = failover([stranded], utilisation, balancers)
    every = failover([stranded], utilisation, balancers, reach_all=True)
    assert 0 <= every.failing[0] <= own.failing[0] + 1e-12 <= 1 + 1e-9
    assert every.load[0] <= own.load[0]
    # What is not refused and not stranded is served, and no server does more than it can.
    assert (1 - own.failing[0]) * utilisation <= (balancers - 1) / balancers + 1e-9


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Names("telephone"), "takeover = 'telephone': "),
        (lambda: Names(ttl_s=0), "ttl_s = 0: "),
        (lambda: Names(ignoring=1.1), "ignoring = 1.1: "),
        (lambda: Names(held_s=0), "held_s = 0: "),
        (lambda: Names(balancers=1), "balancers = 1: "),
        (lambda: Names().stranded([-1]), "times_s = "),
        (lambda: Names().stranded([math.nan]), "times_s = "),
        (lambda: Names().stranded([]), "number of times = 0: "),
        (lambda: Names().simulate([1], 0), "clients = 0: "),
        (lambda: Names().simulate([1], seed=-1), "seed = -1: "),
        (lambda: Names("plain DNS", ttl_s=1).simulate([80_000], 10_000), "clients times answers"),
        (lambda: failover([2], 0.5), "stranded \\(one of them\\) = 2"),
        (lambda: failover([0], 0), "utilisation = 0: "),
        (lambda: failover([0], 0.5, 1), "balancers = 1: "),
    ],
)
def test_refusals(call, told):
    with pytest.raises(ValueError, match=told):
        call()

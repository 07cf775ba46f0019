from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import replicas as r
from course.scaling import amdahl


def test_four_nodes_of_100_with_40_writes() -> None:
    found = r.read_capacity(3, 100, 40)
    assert (found.reads_per_s, found.guide_reads_per_s, found.reads_per_node) == (240, 400, 60)
    assert r.read_capacity(3, 100, 40, primary_reads=False).reads_per_s == 180
    assert r.read_capacity(3, 100, 0).reads_per_s == r.read_capacity(3, 100, 0).guide_reads_per_s


def test_more_writes_than_a_node_takes_leave_nothing_whatever_the_replicas() -> None:
    found = r.read_capacity(1000, 100, 101)
    assert found.reads_per_s == 0 and not found.keeps_up
    assert r.read_capacity(0, 100, 100).keeps_up
    assert r.read_capacity(0, 100, 10, primary_reads=False).reads_per_s == 0


@given(st.integers(1, 50), st.floats(0, 1))
def test_a_share_of_writes_is_amdahls_serial_part(nodes: int, share: float) -> None:
    total = float(r.replicated_throughput(nodes, 100, share))
    assert total == pytest.approx(100 * float(amdahl(share, nodes)))
    # At that throughput every node is just busy: the reads are what the nodes have left.
    reads = r.read_capacity(nodes - 1, 100, share * total).reads_per_s
    assert reads == pytest.approx((1 - share) * total, abs=1e-6)
    # So many replicas, and a primary that only writes, serve the same.
    apart = r.read_capacity(nodes, 100, share * total, primary_reads=False)
    assert apart.reads_per_s == pytest.approx(reads)


def lindley(gaps: list[float], work: list[float]) -> list[float]:
    """Wait for the one before, and then work: one write at a time."""
    free, now, lags = 0.0, 0.0, []
    for gap, task in zip(gaps, work, strict=True):
        now += gap
        free = max(free, now) + task
        lags.append(free - now)
    return lags


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(0, 100), st.integers(0, 99))
def test_the_simulation_equals_its_slow_twin(rate: float, apply: float, delay: float, seed: int) -> None:
    run = r.simulate_lag(writes_per_s=rate, apply_per_s=apply, network_ms=delay, writes=200, seed=seed)
    rng = np.random.default_rng(seed)
    gaps, work = rng.standard_exponential(200) / rate, rng.standard_exponential(200) / apply
    assert run.lag_ms == pytest.approx(
        1000 * np.array(lindley(gaps.tolist(), work.tolist())) + delay, abs=1e-6
    )
    assert run.lag_ms.min() >= delay


def test_the_simulation_agrees_with_mm1() -> None:
    rates = {"writes_per_s": 50.0, "apply_per_s": 100.0, "network_ms": 20.0}
    runs = [r.simulate_lag(**rates, writes=20_000, seed=seed) for seed in range(40)]
    means = [run.lag_ms.mean() for run in runs]
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    assert r.mean_lag_ms(**rates) == 40
    assert abs(np.mean(means) - 40) < 4 * error
    after = np.array([0.0, 19.0, 20.0, 30.0, 60.0, 120.0])
    shares = np.array([run.stale_share(after) for run in runs])
    errors = shares.std(axis=0, ddof=1) / math.sqrt(len(runs))
    theory = r.stale_share(after, **rates)
    assert np.all(np.abs(shares.mean(axis=0) - theory) <= 4 * errors + 1e-12)
    assert theory[0] == theory[1] == theory[2] == 1
    assert theory[4] == pytest.approx(math.exp(-2))


def test_a_replica_that_applies_less_than_is_written_lags_without_bound() -> None:
    rates = {"writes_per_s": 100.0, "apply_per_s": 80.0}
    assert r.mean_lag_ms(**rates) == math.inf
    assert float(r.stale_share(1e6, **rates)) == 1
    run = r.simulate_lag(**rates, writes=100_000)
    # Each second brings 20 writes too many, a quarter of a second of work. Until then the work done varies by
    # the root of twice the writes, each of 1/80 s.
    end = run.committed_s[-1]
    assert abs(run.lag_ms[-1] / 1000 - 0.25 * end) < 4 * math.sqrt(2 * 100_000) / 80
    assert run.lag_ms[-1] > run.lag_ms[50_000] > run.lag_ms[10_000]


@pytest.mark.parametrize(
    "call",
    [
        lambda: r.read_capacity(-1, 100, 0),
        lambda: r.read_capacity(1, 0, 0),
        lambda: r.read_capacity(1, 1, -1),
        lambda: r.replicated_throughput(0, 1, 0),
        lambda: r.replicated_throughput([], 1, 0),
        lambda: r.replicated_throughput(1, 1, 2),
        lambda: r.stale_share(-1, writes_per_s=1, apply_per_s=1),
        lambda: r.stale_share(1, writes_per_s=0, apply_per_s=1),
        lambda: r.mean_lag_ms(writes_per_s=1, apply_per_s=0),
        lambda: r.simulate_lag(writes_per_s=1, apply_per_s=1, network_ms=-1),
        lambda: r.simulate_lag(writes_per_s=1, apply_per_s=1, writes=0),
    ],
)
def test_refusals(call) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()

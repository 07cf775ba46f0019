"""The picture of how cost grows: drawn from all rows it needs, of one machine, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks import Row, growth
from tests.benchmarks.bench_queueing import POOLS, SIZES

HERE = "AMD EPYC, 2 cores, Linux; Python 3.12.1, numpy 2.4.0, plotly 7.1.0, simpy 4.1.1"


def measured(name: str, peer: str, rate: float, peer_rate: float = 1.0) -> Row:
    return {
        "name": name,
        "peer": peer,
        "our_rate": rate,
        "peer_rate": peer_rate,
        "unit": "million customers/s",
        "ratio": rate / peer_rate,
        "goal": 0.0,
        "machine": HERE,
    }


ROWS = [
    measured("M/M/1, fresh", "SimPy", 50, 0.05),
    measured("M/M/8, fresh", "SimPy", 40, 0.04),
    measured("M/M/8, fresh", "Ciw", 40, 0.02),
    *(measured(f"M/M/8, {size:,} customers", "1,000,000 customers", 40) for size in SIZES),
    *(measured(f"M/M/c, c = {servers:,}", "c = 1", 50 / servers) for servers in POOLS),
]


def test_it_shows_what_was_measured() -> None:
    left, right = growth.panels(growth.rates(ROWS))
    curves = {trace.name: trace.arrays for trace in left.traces}
    assert curves["course.queueing"]["y"] == pytest.approx(np.array(SIZES) / 40e6)
    # Twenty thousand customers a second: ten million take Ciw 500 s.
    assert curves["Ciw"]["y"][-1] == pytest.approx(500)
    costs = {trace.name: trace.arrays["y"] for trace in right.traces}
    assert costs["course.queueing"] == pytest.approx(20 * np.array(POOLS))
    assert costs["SimPy"] == pytest.approx([20_000, 25_000]) and costs["Ciw"] == pytest.approx([50_000])


def test_it_names_the_machine_and_the_versions_that_matter() -> None:
    assert growth.machine(ROWS) == "AMD EPYC, 2 cores, Linux; Python 3.12.1, numpy 2.4.0, simpy 4.1.1"
    with pytest.raises(ValueError, match="from 2 machines"):
        growth.machine([*ROWS[1:], {**ROWS[0], "machine": "another; Python 3.11.1"}])


def test_nothing_is_drawn_of_a_row_that_is_missing() -> None:
    with pytest.raises(KeyError):
        growth.panels(growth.rates(ROWS[1:-1]))

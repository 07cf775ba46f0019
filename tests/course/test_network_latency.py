from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import network_latency as model
from course import queueing

MBPS = st.floats(0.1, 1e6)


def test_london_to_new_york() -> None:
    # To the tenth of a millisecond: what "distance / speed of light" gives, and what fibre takes.
    assert 1000 * model.propagation(5_570, "vacuum") == pytest.approx(18.6, abs=0.05)
    assert 1000 * model.propagation(5_570) == pytest.approx(27.9, abs=0.05)
    found = model.network_latency(5_570, 1_000, utilisation=0.3)
    assert found.largest == "propagation"
    assert 1e6 * found.transmission_s == pytest.approx(12)
    assert 1e6 * found.queueing_s == pytest.approx(12 * 0.3 / 0.7 / 2)
    assert 1e6 * found.processing_s == pytest.approx(100)
    assert found.total_s == pytest.approx(sum(found.parts.values()))


@given(km=st.floats(0, 1e5), mbps=MBPS, size=st.floats(0, 1e9), busy=st.floats(0, 0.99))
def test_bandwidth_shortens_all_but_the_way(km: float, mbps: float, size: float, busy: float) -> None:
    slow = model.network_latency(km, mbps, size, utilisation=busy)
    fast = model.network_latency(km, 10 * mbps, size, utilisation=busy)
    assert fast.transmission_s == pytest.approx(slow.transmission_s / 10)
    assert fast.queueing_s == pytest.approx(slow.queueing_s / 10)
    assert (fast.propagation_s, fast.processing_s) == (slow.propagation_s, slow.processing_s)
    assert slow.parts[slow.largest] == max(slow.parts.values())


def test_queueing_meets_the_simulation() -> None:
    packets_per_s = 100e6 / (8 * model.PACKET_BYTES)
    run = queueing.simulate(
        0.8 * packets_per_s,
        packets_per_s,
        service=queueing.DETERMINISTIC,
        customers=1_000_000,
        warmup=10_000,
        seed=2,
    )
    assert model.queueing_delay(100, 0.8) == pytest.approx(run.wait_s, abs=4 * run.wait_error_s)
    assert model.queueing_delay(100, 0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model.propagation(-1), "km = -1: must be a number from 0"),
        (lambda: model.propagation(1, "copper"), "medium = 'copper': must be one of 'vacuum', 'fibre'"),
        (lambda: model.transmission(-1, 10), "size_bytes = -1: "),
        (lambda: model.transmission(1, 0), "mbps = 0: must be a number above 0"),
        (lambda: model.queueing_delay(10, 1), "utilisation = 1: "),
        (lambda: model.network_latency(1, 1, hops=1.5), "hops = 1.5: must be a whole number"),  # type: ignore[arg-type]
        (lambda: model.network_latency(1, 1, processing_us=-1), "processing_us = -1: "),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

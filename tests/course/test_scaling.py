from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import scaling

FRACTIONS = st.floats(0.001, 0.999)
NUMBERS = st.integers(2, 100_000)


def test_figures_of_the_chapter() -> None:
    assert scaling.amdahl(0.1, 10) == pytest.approx(5.26, abs=0.005)
    assert scaling.amdahl(0.1, 1e6) == pytest.approx(9.9999, abs=1e-4)
    assert scaling.gustafson(0.1, 100) == pytest.approx(90.1)
    assert scaling.karp_flatt(float(scaling.amdahl(0.1, 8)), 8) == pytest.approx(0.1)
    law = scaling.usl(0.03, 0.0005)
    assert law.peak_n == pytest.approx(44, abs=0.1)
    assert law.peak_throughput == pytest.approx(13.6, abs=0.05)
    assert law.throughput(200) == pytest.approx(7.4, abs=0.05)


@given(serial=FRACTIONS, n=NUMBERS)
def test_laws_lie_between_one_and_n(serial: float, n: int) -> None:
    speeds = [float(law(serial, n)) for law in (scaling.amdahl, scaling.gustafson)]
    assert 1 <= speeds[0] <= min(n, 1 / serial)
    assert speeds[0] <= speeds[1] * (1 + 1e-12) and speeds[1] <= n
    # Gustafson's is Amdahl's with the serial share of the time on n processors turned into that on one.
    on_one = serial / (serial + (1 - serial) * n)
    assert speeds[1] == pytest.approx(float(scaling.amdahl(on_one, n)), rel=1e-9)
    # 1/ψ − 1/n loses up to n/ψ of the precision.
    assert scaling.karp_flatt(speeds[0], n) == pytest.approx(serial, rel=1e-9)
    assert scaling.usl(serial, 0).speedup(n) == pytest.approx(speeds[0], rel=1e-9)


@given(serial=FRACTIONS, share=st.floats(0, 0.999))
def test_fewest_processors_for_a_share_of_the_limit(serial: float, share: float) -> None:
    n = scaling.amdahl_processors(serial, share)
    assert scaling.amdahl(serial, n) * serial >= share * (1 - 1e-9)
    if n > 1:
        assert scaling.amdahl(serial, n - 1) * serial < share * (1 + 1e-9)
    assert scaling.amdahl_processors(0.1, 0.9) == 81


@given(sigma=st.floats(0, 0.9), kappa=st.floats(1e-6, 0.1), gamma=st.floats(0.1, 1e6))
def test_the_peak_is_the_highest_point(sigma: float, kappa: float, gamma: float) -> None:
    law = scaling.usl(sigma, kappa, gamma)
    near = np.clip(law.peak_n * np.linspace(0.5, 2, 101), 1, None)
    assert law.throughput(near).max() <= law.peak_throughput * (1 + 1e-12)
    assert law.throughput(1) == pytest.approx(gamma)


def test_peak_without_coherency_or_without_parallel_work() -> None:
    assert (scaling.usl(0.1, 0).peak_n, scaling.usl(0.1, 0).peak_throughput) == (math.inf, 10.0)
    assert scaling.usl(0, 0).peak_throughput == math.inf
    assert (scaling.usl(1, 0.1).peak_n, scaling.usl(1, 0).peak_throughput) == (1.0, 1.0)
    assert scaling.usl(0.5, 1).peak_n == 1.0


@given(sigma=st.floats(0, 0.5), kappa=st.floats(0, 0.01), gamma=st.floats(0.01, 1e6))
def test_fit_finds_the_law_that_made_the_points(sigma: float, kappa: float, gamma: float) -> None:
    n = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64]
    truth = scaling.usl(sigma, kappa, gamma)
    fit = scaling.fit_usl(n, truth.throughput(n))
    # The normal equations square a condition number of at most 10⁴ for these points.
    assert fit.law.single_throughput == pytest.approx(gamma, rel=1e-5)
    assert fit.law.contention == pytest.approx(sigma, abs=1e-5)
    assert fit.law.coherency == pytest.approx(kappa, abs=1e-6)
    assert np.abs(fit.residuals).max() <= 1e-5 * gamma * 64
    assert fit.r_squared == pytest.approx(1, abs=1e-6)


def test_fit_of_noisy_points_is_a_minimum_and_as_good_as_it_can_be() -> None:
    n = np.array([1.0, 2, 4, 8, 16, 24, 32, 64])
    truth = scaling.usl(0.03, 0.0005, 100)
    rng = np.random.default_rng(1)
    noise = 5.0
    found = []
    for _ in range(200):
        measured = truth.throughput(n) + noise * rng.standard_normal(n.size)
        law = scaling.fit_usl(n, measured).law
        found.append((law.single_throughput, law.contention, law.coherency))
        best = float(((measured - law.throughput(n)) ** 2).sum())
        for step in (1 - 1e-3, 1 + 1e-3):
            for changed in range(3):
                moved = [law.contention, law.coherency, law.single_throughput]
                moved[changed] *= step
                other = measured - scaling.Usl(*moved).throughput(n)
                assert best <= float(other @ other) * (1 + 1e-9)
    # The standard errors of a least-squares fit: noise²·(JᵀJ)⁻¹, with derivatives by γ, σ, κ.
    denominator = 1 + 0.03 * (n - 1) + 0.0005 * n * (n - 1)
    by_gamma = n / denominator
    jacobian = np.column_stack(
        (by_gamma, -100 * by_gamma * (n - 1) / denominator, -100 * by_gamma * n * (n - 1) / denominator)
    )
    errors = noise * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))
    # The mean of 200 fits is that much closer; the law is not linear, which biases it by less than half an
    # error.
    off = np.abs(np.mean(found, axis=0) - (100, 0.03, 0.0005))
    assert np.all(off <= (4 / math.sqrt(200) + 0.5) * errors)
    assert np.all(np.std(found, axis=0) == pytest.approx(errors, rel=0.5))


def test_fit_keeps_coefficients_at_zero_where_points_show_none() -> None:
    # More than linear at first: σ would be negative.
    fit = scaling.fit_usl([1, 2, 4, 8], [1, 2.2, 4.8, 9.5])
    assert fit.law.contention >= 0 and fit.law.coherency >= 0
    assert min(fit.law.contention, fit.law.coherency) == 0
    flat = scaling.fit_usl([1, 2, 3], [5, 5, 5])
    assert flat.law.throughput([1, 2, 3]) == pytest.approx([5, 5, 5])
    assert flat.r_squared == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.amdahl(1.1, 2), r"serial_fraction = 1\.1: must be a number from 0 to 1"),
        (lambda: scaling.amdahl(0.1, [1, 0]), r"n = 0\.0: must be a number from 1"),
        (lambda: scaling.amdahl(0.1, []), r"number of values in n = 0"),
        (lambda: scaling.amdahl(0.1, [1, math.nan]), r"n = nan"),
        (lambda: scaling.gustafson(-0.1, 2), r"serial_fraction = -0\.1"),
        (lambda: scaling.karp_flatt(0, 2), r"speedup = 0"),
        (lambda: scaling.karp_flatt(1, 1), r"n = 1: must be a number from 2"),
        (lambda: scaling.amdahl_processors(0, 0.5), r"serial_fraction = 0"),
        (lambda: scaling.amdahl_processors(0.5, 1), r"share_of_limit = 1"),
        (lambda: scaling.usl(2, 0), r"contention = 2"),
        (lambda: scaling.usl(0, -1), r"coherency = -1"),
        (lambda: scaling.usl(0, 0, 0), r"single_throughput = 0"),
        (lambda: scaling.fit_usl([1, 2, 2], [1, 2, 3]), r"number of different values in n = 2"),
        (lambda: scaling.fit_usl([1, 2, 3], [1, 2]), r"must be two rows alike"),
        (lambda: scaling.fit_usl([1, 2, 3], [1, 0, 3]), r"throughput = 0\.0"),
    ],
)
def test_refusals_name_parameter_value_and_range(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_most_that_servers_can_handle_and_one_too_many() -> None:
    law = scaling.usl(0.03, 0.0005, 100)
    assert law.peak_n == pytest.approx(math.sqrt(0.97 / 0.0005)) and round(law.peak_n) == 44
    assert float(law.speedup(44)) == pytest.approx(13.6, abs=0.05)
    assert float(law.throughput(45)) < float(law.throughput(44)) > float(law.throughput(43))


@given(
    servers=st.integers(1, 200),
    sigma=st.floats(0, 0.2),
    kappa=st.floats(0, 0.002),
    load=st.floats(0.01, 0.99),
)
def test_a_queue_of_servers_that_get_slower(servers: int, sigma: float, kappa: float, load: float) -> None:
    law = scaling.usl(sigma, kappa, 100)
    capacity = float(law.throughput(servers))
    queue = law.queue(servers, load * capacity)
    assert queue.utilisation == pytest.approx(load)
    # Little: in service are arrival rate × service time of them.
    assert queue.response_s - queue.wait_s == pytest.approx(servers / capacity)
    with pytest.raises(ValueError, match="must be below"):
        law.queue(servers, 1.001 * capacity)

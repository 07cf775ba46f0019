from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course import availability as av
from course.availability import Outages

CHANCES = st.floats(0, 1)


# --- formulas -----------------------------------------------------------------------------------------------


def test_figures_of_the_chapter() -> None:
    assert [av.downtime_h(a) for a in (0.99, 0.999)] == pytest.approx([87.6, 8.76])
    assert [60 * av.downtime_h(a) for a in (0.9999, 0.99999)] == pytest.approx([52.56, 5.256])
    # Erratum 3: 100 h from failure to failure with a repair of 1 h, against 100 h from repair to failure.
    assert av.availability_from_mtbf(100, 1) == 0.99
    assert av.availability(100, 1) == pytest.approx(0.9901, abs=5e-5)
    chain = av.series([0.999] * 30)
    assert (chain, av.downtime_h(chain)) == (pytest.approx(0.970, abs=5e-4), pytest.approx(259, abs=0.5))
    # Erratum 16: three at 0.9.
    assert av.parallel([0.9] * 3) == pytest.approx(0.999)
    assert av.redundant(0.9, 3, common_cause=0.1) == pytest.approx(0.989, abs=5e-4)
    assert av.nines(0.999) == pytest.approx(3)
    assert av.nines(1) == math.inf
    assert av.reliability(100, 100) == pytest.approx(math.exp(-1))


@given(mttf=st.floats(0.1, 1e6), mttr=st.floats(0.01, 1e5))
def test_two_names_for_the_same(mttf: float, mttr: float) -> None:
    assert av.availability_from_mtbf(mttf + mttr, mttr) == pytest.approx(av.availability(mttf, mttr))


@given(parts=st.lists(CHANCES, min_size=1, max_size=8), another=CHANCES)
def test_series_and_parallel_enclose_their_parts(parts: list[float], another: float) -> None:
    assert av.series(parts) <= min(parts) and av.parallel(parts) >= max(parts) - 1e-15
    assert av.series([*parts, another]) <= av.series(parts)
    assert av.parallel([*parts, another]) >= av.parallel(parts) - 1e-15
    # De Morgan: what is up in parallel is down in series.
    assert av.parallel(parts) == pytest.approx(1 - av.series([1 - part for part in parts]))


@given(
    up=CHANCES,
    units=st.integers(1, 5),
    data=st.data(),
    beta=CHANCES,
    coverage=CHANCES,
)
def test_redundant_equals_enumeration(
    up: float, units: int, data: st.DataObject, beta: float, coverage: float
) -> None:
    needed = data.draw(st.integers(1, units))
    covered = coverage if needed == 1 else 1.0
    alone = (1 - beta) * (1 - up)
    total = 0.0
    for down in itertools.product((False, True), repeat=units):
        chance = math.prod(alone if one else 1 - alone for one in down)
        if covered == 1:
            total += chance * (units - sum(down) >= needed)
        elif not all(down):
            total += chance * covered ** down.index(False)
    expected = total * (1 - beta * (1 - up))
    found = av.redundant(up, units, needed=needed, common_cause=beta, coverage=covered)
    assert found == pytest.approx(expected, abs=1e-12)


@given(up=CHANCES, units=st.integers(1, 40))
def test_redundant_meets_series_and_parallel(up: float, units: int) -> None:
    assert av.redundant(up, units) == pytest.approx(av.parallel([up] * units), abs=1e-12)
    assert av.redundant(up, units, needed=units) == pytest.approx(av.series([up] * units), abs=1e-12)
    assert av.redundant(up, units, coverage=0) == pytest.approx(up)
    assert av.redundant(up, units, coverage=1 - 1e-12) == pytest.approx(av.redundant(up, units), abs=1e-9)
    assert av.redundant(up, units, common_cause=1) == pytest.approx(up)


def test_many_units_do_not_overflow() -> None:
    # 1,000 coins: at least 500 heads is half of them and half of the middle.
    middle = math.comb(1_000, 500) / 2**1_000
    assert av.redundant(0.5, 1_000, needed=500) == pytest.approx(0.5 + middle / 2)


@given(
    outages=st.lists(st.tuples(st.integers(-5, 25), st.integers(0, 8)), max_size=12),
    period=st.integers(1, 20),
)
def test_observed_availability_counts_hours_once(outages: list[tuple[int, int]], period: int) -> None:
    spans = [(float(begin), float(begin + length)) for begin, length in outages]
    down = {hour for begin, length in outages for hour in range(begin, begin + length)}
    expected = 1 - len(down & set(range(period))) / period
    assert av.observed_availability(spans, period) == pytest.approx(expected)


# --- timelines ----------------------------------------------------------------------------------------------


def is_down(outages: Outages, time: float) -> bool:
    return bool(np.any((outages.begin_h <= time) & (time < outages.end_h)))


@settings(max_examples=40)
@given(
    stages=st.integers(1, 3),
    units=st.integers(1, 4),
    data=st.data(),
    beta=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1_000),
)
def test_system_is_down_when_its_parts_say_so(
    stages: int, units: int, data: st.DataObject, beta: float, seed: int
) -> None:
    needed = data.draw(st.integers(1, units))
    line = av.simulate(200, 100, stages=stages, units=units, needed=needed, common_cause=beta, seed=seed)
    for outages in (*itertools.chain(*line.units), *line.common, line.system):
        assert np.all(outages.begin_h < outages.end_h)
        assert np.all(outages.end_h[:-1] <= outages.begin_h[1:])
        assert np.all((outages.begin_h >= 0) & (outages.end_h <= av.HOURS_PER_YEAR))
    for time in np.random.default_rng(seed).random(60) * av.HOURS_PER_YEAR:
        up = all(
            sum(not is_down(unit, time) for unit in stage) >= needed and not is_down(common, time)
            for stage, common in zip(line.units, line.common, strict=True)
        )
        assert up != is_down(line.system, time)
    assert line.downtime_h.sum() == pytest.approx(line.system.total_h, abs=1e-6)
    assert line.availability == pytest.approx(1 - line.system.total_h / av.HOURS_PER_YEAR)


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.booleans()), max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_a_failure_nobody_notices_keeps_the_next_unit_from_taking_over(
    units: list[list[tuple[int, int, bool]]],
) -> None:
    horizon = 60
    outages, noticed, down, seen = [], [], [], []
    for unit in units:
        now, begins, ends = 0, [], []
        row = np.zeros(horizon, np.bool_)
        flags = np.ones(horizon, np.bool_)
        for up_for, down_for, flag in unit:
            begins.append(now + up_for)
            ends.append(now + up_for + down_for)
            row[begins[-1] : ends[-1]] = True
            flags[begins[-1] : ends[-1]] = flag
            now = ends[-1]
        outages.append(Outages(np.array(begins, float), np.array(ends, float)))
        noticed.append(np.array([flag for *_, flag in unit], np.bool_))
        down.append(row)
        seen.append(flags)
    found = av._stage_outages(tuple(outages), tuple(noticed), 1, float(horizon))
    for hour in range(horizon):
        serves = False
        for row, flags in zip(down, seen, strict=True):
            if not row[hour]:
                serves = True
                break
            if not flags[hour]:
                break
        assert serves != is_down(found, hour + 0.5), hour


def test_times_up_and_down_are_exponential() -> None:
    line = av.simulate(30, 10, years=200, seed=3)
    (unit,) = line.units[0]
    down = (unit.end_h - unit.begin_h)[1:-1]
    up = (unit.begin_h[1:] - unit.end_h[:-1])[1:-1]
    for times, mean in ((down, 10), (up, 30)):
        share = -np.expm1(-np.sort(times) / mean)
        rank = np.arange(1, times.size + 1) / times.size
        # Kolmogorov: P(√n·D > 2) is one in 1,500.
        assert math.sqrt(times.size) * np.max(np.abs(share - rank)) < 2
    # Cycles of 40 h, whose standard deviation is √(30² + 10²).
    expected = 200 * av.HOURS_PER_YEAR / 40
    assert unit.begin_h.size == pytest.approx(expected, abs=4 * math.sqrt(expected * 1_000) / 40)


@pytest.mark.parametrize(
    "structure",
    [
        {},
        {"stages": 5},
        {"units": 2},
        {"units": 3, "needed": 2},
        {"units": 3, "common_cause": 0.1},
        {"units": 2, "coverage": 0.8},
        {"stages": 3, "units": 3, "common_cause": 0.05, "coverage": 0.9},
    ],
)
def test_timelines_meet_the_formula(structure: dict[str, float]) -> None:
    line = av.simulate(90, 10, years=300, seed=11, **structure)  # type: ignore[arg-type]
    # 300 years, each of some hundred outages: the mean is normal, and four of its errors are one in 16,000.
    error = line.availability_error
    assert line.availability == pytest.approx(line.expected_availability, abs=4 * error)
    assert 0 < error < 0.05 * (1 - line.expected_availability)
    stages = int(structure.get("stages", 1))
    rest = {name: value for name, value in structure.items() if name not in {"stages", "units"}}
    one = av.redundant(0.9, int(structure.get("units", 1)), **rest)  # type: ignore[arg-type]
    assert line.expected_availability == pytest.approx(one**stages)


def test_timelines_begin_in_the_long_run() -> None:
    # A fifth of the time down, repairs of a thousand hours: begun with all up, a year would show far less.
    found = np.array([av.simulate(4_000, 1_000, seed=seed).availability for seed in range(3_000)])
    assert found.mean() == pytest.approx(0.8, abs=4 * found.std() / math.sqrt(found.size))
    assert found.std() / math.sqrt(found.size) < 0.005
    assert math.isnan(av.simulate(1, 1).availability_error)


def test_nothing_fails_and_everything_repeats() -> None:
    calm = av.simulate(1e9, 1e-6, stages=3, units=2, common_cause=0.5)
    assert calm.system.total_h == 0 and calm.availability == 1
    one, same, other = (av.simulate(90, 10, seed=seed).system.begin_h for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: av.availability(0, 1), r"mttf_h = 0: must be a number from 1e-06 to 1e\+09 h"),
        (lambda: av.availability(1, -1), r"mttr_h = -1"),
        (lambda: av.availability_from_mtbf(1, 2), r"mttr_h = 2: must be a number from 0 to 1 h"),
        (lambda: av.reliability(1, -1), r"time_h = -1"),
        (lambda: av.downtime_h(1.1), r"availability = 1\.1"),
        (lambda: av.nines(-0.1), r"availability = -0\.1"),
        (lambda: av.observed_availability([(2, 1)], 3), r"one is 2 to 1"),
        (lambda: av.observed_availability([(math.nan, 1)], 3), r"one is nan to 1"),
        (lambda: av.observed_availability([], 0), r"period_h = 0"),
        (lambda: av.series([]), r"number of availabilities = 0"),
        (lambda: av.parallel([0.5, 2]), r"availabilities \(one of them\) = 2"),
        (lambda: av.redundant(0.9, 0), r"units = 0"),
        (lambda: av.redundant(0.9, 2, needed=3), r"needed = 3: must be a whole number from 1 to 2"),
        (lambda: av.redundant(0.9, 2, common_cause=2), r"common_cause = 2"),
        (
            lambda: av.redundant(0.9, 2, needed=2, coverage=0.9),
            r"coverage = 0\.9: must be a number from 1 to 1",
        ),
        (lambda: av.simulate(1, 1, stages=0), r"stages = 0"),
        (lambda: av.simulate(1, 1, years=0), r"years = 0"),
        (lambda: av.simulate(1e-6, 1e-6), r"number of outages expected .* = 4380000001"),
    ],
)
def test_refusals_name_parameter_value_and_range(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

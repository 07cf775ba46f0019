"""Availability: of one part, of parts in series and side by side, by formula and on simulated timelines.

Times are in hours.  MTTF is the mean time from a repair to the next failure, MTTR the mean time of a repair, and
MTBF, from failure to failure, is their sum.  (Many texts call the first of them MTBF; the formulas then look
alike and mean something else.)

What this leaves out: maintenance that is planned, repairs that wait for a repairer, and failures that one
failure brings about in the next part, except for the common causes of the beta factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from course import checks

HOURS_PER_YEAR = 8_760.0
MAX_HOURS = 1e9
MIN_HOURS = 1e-6
MAX_PARTS = 1_000
MAX_YEARS = 10_000
MAX_OUTAGES = 5_000_000
MAX_SEED = 2**63 - 1

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def _chance(name: str, value: float) -> float:
    return checks.number(name, value, 0, 1)


def _times(mttf_h: float, mttr_h: float) -> tuple[float, float]:
    return (
        checks.number("mttf_h", mttf_h, MIN_HOURS, MAX_HOURS, unit="h"),
        checks.number("mttr_h", mttr_h, MIN_HOURS, MAX_HOURS, unit="h"),
    )


# --- formulas -----------------------------------------------------------------------------------------------


def availability(mttf_h: float, mttr_h: float) -> float:
    """Long-run share of the time that a part is up.

    Parameters
    ----------
    mttf_h, mttr_h : float
        Mean time to failure and mean time to repair, of any distribution, 10⁻⁶ to 10⁹ h.

    Returns
    -------
    float
        MTTF / (MTTF + MTTR).

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    mttf, mttr = _times(mttf_h, mttr_h)
    return mttf / (mttf + mttr)


def availability_from_mtbf(mtbf_h: float, mttr_h: float) -> float:
    """Long-run share of the time that a part is up, if MTBF is counted from failure to failure.

    Parameters
    ----------
    mtbf_h, mttr_h : float
        Mean times in h, from 10⁻⁶ to 10⁹; the repair is part of the time between failures.

    Returns
    -------
    float
        (MTBF − MTTR) / MTBF.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    mtbf = checks.number("mtbf_h", mtbf_h, MIN_HOURS, MAX_HOURS, unit="h")
    return 1 - checks.number("mttr_h", mttr_h, 0, mtbf, unit="h") / mtbf


def reliability(mttf_h: float, time_h: float) -> float:
    """Probability that a part does not fail at all for a time, if it fails at a constant rate.

    Parameters
    ----------
    mttf_h : float
        Mean time to failure, 10⁻⁶ to 10⁹ h.
    time_h : float
        0 to 10⁹ h.

    Returns
    -------
    float
        e^(−time/MTTF). It falls to 0 with time; availability does not.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    mttf = checks.number("mttf_h", mttf_h, MIN_HOURS, MAX_HOURS, unit="h")
    return math.exp(-checks.number("time_h", time_h, 0, MAX_HOURS, unit="h") / mttf)


def downtime_h(availability: float, period_h: float = HOURS_PER_YEAR) -> float:
    """Hours that a part or system is down in a period.

    Parameters
    ----------
    availability : float
        0 to 1.
    period_h : float
        0 to 10⁹ h; a year of 365 days if left out.

    Returns
    -------
    float
        (1 − availability)·period.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    down = 1 - _chance("availability", availability)
    return down * checks.number("period_h", period_h, 0, MAX_HOURS, unit="h")


def nines(availability: float) -> float:
    """Count the nines: 2 for 0.99, 3 for 0.999; −log₁₀(1 − availability).

    Parameters
    ----------
    availability : float
        0 to 1; infinitely many at 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    down = 1 - _chance("availability", availability)
    return -math.log10(down) if down else math.inf


def observed_availability(outages_h: Iterable[tuple[float, float]], period_h: float) -> float:
    """Availability of a period from the log of its outages.

    Parameters
    ----------
    outages_h : iterable of (float, float)
        Begin and end of each, in h from the beginning of the period, in any order, at most 5 million. What
        overlaps counts once, and what lies outside the period not at all.
    period_h : float
        Length of the period, 10⁻⁶ to 10⁹ h.

    Returns
    -------
    float
        Up / (up + down).

    Raises
    ------
    ValueError
        If a parameter is outside its range, or an outage ends before it begins.
    """
    period = checks.number("period_h", period_h, MIN_HOURS, MAX_HOURS, unit="h")
    spans = np.array(list(outages_h), np.float64).reshape(-1, 2)
    checks.integer("number of outages", len(spans), 0, MAX_OUTAGES)
    if not np.all(spans[:, 0] <= spans[:, 1]):
        begin, end = spans[~(spans[:, 0] <= spans[:, 1])][0]
        raise ValueError(f"outages_h (one is {begin:g} to {end:g}): each must end after it begins")
    return 1 - _union(np.clip(spans[:, 0], 0, period), np.clip(spans[:, 1], 0, period)).total_h / period


def series(availabilities: Iterable[float]) -> float:
    """Availability of a system that needs all of its independent parts: the product.

    Parameters
    ----------
    availabilities : iterable of float
        1 to 1,000 of them, each from 0 to 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    return math.prod(_parts(availabilities))


def parallel(availabilities: Iterable[float]) -> float:
    """Availability of a system that needs any one of its independent parts, found at once: 1 − Π(1 − A).

    Parameters
    ----------
    availabilities : iterable of float
        1 to 1,000 of them, each from 0 to 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    return 1 - math.prod(1 - part for part in _parts(availabilities))


def _parts(availabilities: Iterable[float]) -> list[float]:
    parts = [_chance("availabilities (one of them)", part) for part in availabilities]
    checks.integer("number of availabilities", len(parts), 1, MAX_PARTS)
    return parts


def redundant(
    availability: float,
    units: int,
    *,
    needed: int = 1,
    common_cause: float = 0.0,
    coverage: float = 1.0,
) -> float:
    """Availability of equal units of which some are needed.

    Parameters
    ----------
    availability : float
        Of one unit, 0 to 1.
    units : int
        How many there are, 1 to 1,000.
    needed : int
        How many of them must be up, from 1 to `units`.
    common_cause : float
        β, the share of a unit's unavailability that hits all units together, 0 to 1.
    coverage : float
        Probability that the failure of a unit is noticed and the next one takes over, 0 to 1; below 1 only
        where one unit is needed.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    With q = 1 − A, the common cause takes all units away with probability βq; apart from that each is down
    with probability (1 − β)q on its own (the beta-factor model, Fleming 1975, IEC 61508-6). Among the
    independent rest, at least k of n are up by the binomial distribution. With coverage c < 1 the units stand
    in an order, and the i-th serves if all before it are down and each time the switch worked:
    A'·Σ (c·(1 − A'))^i (after Arnold 1973, where the hand-over takes no time).
    """
    down = 1 - _chance("availability", availability)
    units, needed, beta, covered = _structure(units, needed, common_cause, coverage)
    alone = (1 - beta) * down
    if covered < 1:
        up = (1 - alone) * sum((covered * alone) ** before for before in range(units))
    else:
        # Summed over what fails, whose terms are small: their rounding does not touch the nines.
        fails = sum(
            math.comb(units, lost) * alone**lost * (1 - alone) ** (units - lost)
            for lost in range(units - needed + 1, units + 1)
        )
        up = 1 - fails
    return (1 - beta * down) * up


def _structure(
    units: int, needed: int, common_cause: float, coverage: float
) -> tuple[int, int, float, float]:
    units = checks.integer("units", units, 1, MAX_PARTS)
    needed = checks.integer("needed", needed, 1, units)
    beta = _chance("common_cause", common_cause)
    covered = checks.number("coverage", coverage, 0 if needed == 1 else 1, 1)
    return units, needed, beta, covered


# --- timelines ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outages:
    """When something was down.

    Attributes
    ----------
    begin_h, end_h : ndarray of float64, shape (outages,)
        In ascending order, apart from each other.
    """

    begin_h: Floats
    end_h: Floats

    @property
    def total_h(self) -> float:
        """How long altogether."""
        return float((self.end_h - self.begin_h).sum())


@dataclass(frozen=True)
class Timeline:
    """What a system went through.

    Attributes
    ----------
    years : int
        How many, of 8,760 hours.
    expected_availability : float
        By formula.
    units : tuple of tuple of Outages
        Of each unit of each stage.
    common : tuple of Outages
        Of the common causes of each stage.
    system : Outages
        Of the whole.
    downtime_h : ndarray of float64, shape (years,)
        Hours down in each year.
    """

    years: int
    expected_availability: float
    units: tuple[tuple[Outages, ...], ...]
    common: tuple[Outages, ...]
    system: Outages
    downtime_h: Floats

    @property
    def availability(self) -> float:
        """What was observed."""
        return 1 - float(self.downtime_h.mean()) / HOURS_PER_YEAR

    @property
    def availability_error(self) -> float:
        """Its standard error, from the spread of the years, which short repairs leave independent; nan for one year."""
        if self.years == 1:
            return math.nan
        return float(self.downtime_h.std(ddof=1)) / HOURS_PER_YEAR / math.sqrt(self.years)


def simulate(
    mttf_h: float,
    mttr_h: float,
    *,
    stages: int = 1,
    units: int = 1,
    needed: int = 1,
    common_cause: float = 0.0,
    coverage: float = 1.0,
    years: int = 1,
    seed: int = 1,
) -> Timeline:
    """Let the units of a chain of equal stages fail and be repaired, each on its own, after exponential times.

    Parameters
    ----------
    mttf_h, mttr_h : float
        Of a unit: means of the times up and down, 10⁻⁶ to 10⁹ h.
    stages : int
        All are needed, 1 to 1,000.
    units, needed, common_cause, coverage
        Of a stage, as for :func:`redundant`.
    years : int
        1 to 10,000; so many that about 5 million outages or fewer are expected.
    seed : int
        The same seed gives the same timeline.

    Returns
    -------
    Timeline
        With the availability by formula beside it.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or too much would happen.

    Notes
    -----
    Every unit begins up or down with its long-run probability, so the availability is that of the formula
    from the first hour. The common cause is one more part in series with each stage, and whether a unit's
    failure is noticed is drawn once an outage. Both parts of a unit's unavailability have the same mean
    repair time.
    """
    mttf, mttr = _times(mttf_h, mttr_h)
    stages = checks.integer("stages", stages, 1, MAX_PARTS)
    units, needed, beta, covered = _structure(units, needed, common_cause, coverage)
    years = checks.integer("years", years, 1, MAX_YEARS)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    up = availability(mttf, mttr)
    horizon = years * HOURS_PER_YEAR
    expected = stages * units * (1 + horizon / (mttf + mttr))
    checks.number("number of outages expected (stages × units × years / MTBF)", expected, 0, MAX_OUTAGES)
    all_units, all_common, begins, ends = [], [], [], []
    for _ in range(stages):
        common = _renewals(rng, beta * (1 - up), mttr, horizon)
        mine = tuple(_renewals(rng, (1 - beta) * (1 - up), mttr, horizon) for _ in range(units))
        noticed = tuple(rng.random(unit.begin_h.size) < covered for unit in mine)
        failed = _stage_outages(mine, noticed, needed, horizon)
        all_units.append(mine)
        all_common.append(common)
        begins += [common.begin_h, failed.begin_h]
        ends += [common.end_h, failed.end_h]
    system = _union(np.concatenate(begins), np.concatenate(ends))
    marks = HOURS_PER_YEAR * np.arange(years + 1, dtype=np.float64)
    by_formula = redundant(up, units, needed=needed, common_cause=beta, coverage=covered) ** stages
    return Timeline(
        years, by_formula, tuple(all_units), tuple(all_common), system, np.diff(_down_until(system, marks))
    )


def _renewals(rng: np.random.Generator, unavailability: float, mttr: float, horizon: float) -> Outages:
    """Draw the outages of one part that is down for a given share of the time."""
    if unavailability <= 0:
        return Outages(np.empty(0), np.empty(0))
    mttf = mttr * (1 - unavailability) / unavailability
    cycle = mttf + mttr
    down_first = rng.random() < unavailability
    now = 0.0
    begins, ends = [], []
    while now < horizon:
        # Most often one round is enough: the number of cycles is not far from its mean.
        cycles = int((horizon - now) / cycle * 1.1) + 8
        ups, downs = rng.standard_exponential((2, cycles)) * [[mttf], [mttr]]
        if down_first:
            ups[0], down_first = 0.0, False
        end = now + np.cumsum(ups + downs)
        begins.append(end - downs)
        ends.append(end)
        now = float(end[-1])
    begin, end = np.concatenate(begins), np.concatenate(ends)
    there = begin < horizon
    return Outages(np.maximum(begin[there], 0.0), np.minimum(end[there], horizon))


def _stage_outages(
    units: tuple[Outages, ...], noticed: tuple[Flags, ...], needed: int, horizon: float
) -> Outages:
    """Return when a stage does not serve for want of units."""
    times = np.unique(np.concatenate([[0.0], *(x for unit in units for x in (unit.begin_h, unit.end_h))]))
    serving = np.zeros(times.size, np.int64)
    reached = np.ones(times.size, np.bool_)
    for unit, seen in zip(units, noticed, strict=True):
        last = np.searchsorted(unit.begin_h, times, "right") - 1
        down = np.zeros(times.size, np.bool_)
        begun = last >= 0
        down[begun] = times[begun] < unit.end_h[last[begun]]
        serving += reached & ~down
        # A failure that nobody notices keeps the units behind from taking over.
        reached[down] &= seen[last[down]]
    failed = np.flatnonzero(serving < needed)
    following = np.append(times[1:], horizon)
    return _union(times[failed], following[failed])


def _union(begin: Floats, end: Floats) -> Outages:
    """Join what overlaps or touches."""
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order]) if end.size else end
    first = np.ones(begin.size, np.bool_)
    first[1:] = begin[1:] > end[:-1]
    last = np.append(first[1:], True) if begin.size else first
    kept = end[last] > begin[first]
    return Outages(begin[first][kept], end[last][kept])


def _down_until(outages: Outages, time: Floats) -> Floats:
    """Hours down from the beginning to each time."""
    if not outages.begin_h.size:
        return np.zeros(time.size)
    corners = np.column_stack((outages.begin_h, outages.end_h)).ravel()
    lengths = outages.end_h - outages.begin_h
    after = np.cumsum(lengths)
    heights = np.column_stack((after - lengths, after)).ravel()
    return np.asarray(np.interp(time, corners, heights))

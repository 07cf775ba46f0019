"""Explorables of availability: what repair times, chains and spare units do to the hours down in a year."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import availability as model
from widgets.controls import log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Note, Panel, View, bars, count, line, percent, points, quantity

_NINES = {0.99: "99 %", 0.999: "99.9 %", 0.9999: "99.99 %", 0.99999: "99.999 %"}
_YEAR_DAYS = model.HOURS_PER_YEAR / 24


def _span(hours: float) -> str:
    """Return a time in the unit in which people say it."""
    for unit, length in (("days", 24.0), ("h", 1.0), ("min", 1 / 60)):
        if hours >= 2 * length:
            return quantity(hours / length, unit)
    return quantity(hours * 3600, "s") if hours * 3600 > 1e-3 else "less than 1 ms"


@lru_cache(maxsize=32)
def _yearly(mttf_h: float, mttr_h: float) -> NDArray[np.float64]:
    """Hours down in each of many simulated years: fewer where much happens."""
    years = int(np.clip(200_000 * (mttf_h + mttr_h) / model.HOURS_PER_YEAR, 20, 1_000))
    return model.simulate(mttf_h, mttr_h, years=years, seed=12345).downtime_h


@explorable(
    "A year of failures and repairs",
    predict=estimate(
        "A server fails once in 30 days and is back after half an hour. How many hours is it down in a year?",
        unit="h",
    ),
    leaves_out="planned maintenance, and failures that come in bursts.",
    mttf_h=log_slider(1, 10_000, 720, "mean time to failure", unit="h"),
    mttr_min=log_slider(0.1, 1440, 30, "mean time to repair", unit="min"),
    seed=seed(2),
)
def nines(mttf_h: float, mttr_min: float, seed: int) -> View:
    """Simulate one year of outages beside the formula, and draw the downtime over the repair time."""
    mttr_h = mttr_min / 60
    up = model.availability(mttf_h, mttr_h)
    expected = model.downtime_h(up)
    year = model.simulate(mttf_h, mttr_h, seed=seed)
    outages = year.system
    happened = len(outages.begin_h)
    corners = np.concatenate(([0.0], np.column_stack((outages.begin_h, outages.end_h)).ravel()))
    lengths = outages.end_h - outages.begin_h
    after = np.cumsum(lengths)
    heights = np.concatenate(([0.0], np.column_stack((after - lengths, after)).ravel()))
    shown = np.linspace(0, model.HOURS_PER_YEAR, 3_000) if happened > 1_000 else np.append(corners, 8760.0)
    down = float(year.downtime_h[0])
    low, high = np.quantile(_yearly(mttf_h, mttr_h), (0.025, 0.975)).tolist()
    repairs = np.geomspace(0.1, 1440, 60)

    def downtime(mttf: float) -> list[float]:
        return [model.downtime_h(model.availability(mttf, r / 60)) for r in repairs.tolist()]

    if happened == 0:
        told = "in this simulated year nothing fails"
    else:
        told = f"this simulated year has {count(happened, 'outage')} and {_span(down)} down"
    return View(
        [
            Panel(
                [
                    line([0, _YEAR_DAYS], [0, expected], "formula", color=0, dash="dash"),
                    line(shown / 24, np.interp(shown, corners, heights), "this year", color=1),
                    line([_YEAR_DAYS] * 2, [low, high], "19 of 20 years", color=6, width=5),
                ],
                Axis("day of the year", range=(0, 372)),
                Axis("down so far", "h", range=(0, 1.15 * max(high, down, expected))),
                title="One year: each step is an outage",
            ),
            Panel(
                [
                    line(repairs, downtime(mttf_h), "formula", color=0, dash="dash"),
                    line(repairs, downtime(10 * mttf_h), "fails a tenth as often", color=2, dash="dot"),
                    points([mttr_min], [down if down > 0 else np.nan], "this year", color=1, size=11),
                ],
                Axis("mean time to repair", "min", log=True, range=(0.1, 1440)),
                Axis("down in a year", "h", log=True, range=(0.01, 10_000)),
                title="Both levers",
                marks=[Mark(model.downtime_h(a), "", vertical=False) for a in _NINES],
                notes=[Note(0.35, 1.7 * model.downtime_h(a), name) for a, name in _NINES.items()],
            ),
        ],
        f"Up {percent(up, _digits(up))} of the time: {_span(expected)} down in a year by the formula; {told}. "
        f"Nineteen of 20 years have {_span(low) + ' to ' if low > 0 else 'at most '}{_span(high)}.",
        answer=model.downtime_h(model.availability(720, 0.5)),
    )


def _digits(availability: float) -> int:
    """Return how many digits show the nines and one or two more."""
    return max(3, 1 + int(np.ceil(model.nines(min(availability, 1 - 1e-12)))))


_MTTR_H = 1.0
_UNITS = np.arange(1, 6)
_FLOOR_H = 1e-3


def _shown(hours: list[float]) -> NDArray[np.float64]:
    """Leave out what rounding has made nothing: a log axis has no place for it."""
    return np.array([h if h > 0 else np.nan for h in hours])


@lru_cache(maxsize=64)
def _simulated(
    down: float, stages: int, units: int, common_cause: float, coverage: float
) -> tuple[float, float]:
    """Hours down in a year, and half their 95 % interval, from as many years as are quick to simulate."""
    mttf_h = _MTTR_H * (1 - down) / down
    yearly = stages * units * (1 + model.HOURS_PER_YEAR / (mttf_h + _MTTR_H))
    years = int(np.clip(60_000 / yearly, 8, 200))
    run = model.simulate(
        *(mttf_h, _MTTR_H),
        stages=stages,
        units=units,
        common_cause=common_cause,
        coverage=coverage,
        years=years,
        seed=1,
    )
    return (
        model.downtime_h(run.availability),
        2 * run.availability_error * model.HOURS_PER_YEAR,
    )


@explorable(
    "Chains and spare units",
    predict=estimate(
        "Five services in a chain, two units of each, and each unit is down 1 % of the time. If failures were "
        "independent, the chain would be down 4.4 h a year. One in ten failures strikes both units of a service. "
        "How many hours is it then?",
        unit="h",
    ),
    leaves_out="how long a switch-over takes, and failures that spread from one service to the next.",
    down=log_slider(0.01, 20, 1, "a unit is down", unit="% of the time"),
    stages=slider(1, 50, 5, "services in the chain, all needed"),
    units=slider(1, 5, 2, "units of each service, one needed"),
    common_cause=slider(0.0, 0.3, 0.1, "β: share of failures that strike all units"),
    coverage=slider(0.5, 1.0, 1.0, "a failure is noticed, and the next unit takes over"),
)
def redundancy(down: float, stages: int, units: int, common_cause: float, coverage: float) -> View:
    """Draw the downtime over the number of units, if failures are independent and if they are not."""
    up = 1 - down / 100

    def hours(number: int, beta: float, covered: float) -> float:
        stage = model.redundant(up, number, common_cause=beta, coverage=covered)
        return model.downtime_h(model.series([stage] * stages))

    ideal = [hours(n, 0, 1) for n in _UNITS.tolist()]
    real = [hours(n, common_cause, coverage) for n in _UNITS.tolist()]
    now = real[units - 1]
    seen, error = _simulated(down / 100, stages, units, common_cause, coverage)
    steps = (ideal[units - 1], hours(units, common_cause, 1), now)
    bare = model.downtime_h(up)
    return View(
        [
            Panel(
                [
                    line(_UNITS, _shown(ideal), "independent", color=0, dash="dash"),
                    line([1, 5], [bare, bare], "one unit alone", color=2, dash="dot"),
                    line(_UNITS, _shown(real), "with β and misses", color=1),
                    line(
                        [units] * 2,
                        [max(seen - error, _FLOOR_H), seen + error],
                        "95 % interval",
                        color=6,
                        width=5,
                    )
                    if seen
                    else line([np.nan], [np.nan], "95 % interval", color=6),
                    points([units], [seen or np.nan], "simulated", color=6, size=9),
                ],
                Axis("units of each service", range=(0.7, 5.3)),
                Axis("down in a year", "h", log=True, range=(_FLOOR_H, 2 * max(bare, *ideal, *real))),
                title="More units",
            ),
            Panel(
                [bars([0, 1, 2], steps, "", color=1, text=[_span(step) for step in steps])],
                Axis(
                    "what is counted",
                    labels=["independent<br>failures", "with common<br>causes", "and missed<br>failures"],
                    range=(-0.6, 2.6),
                ),
                Axis("down in a year", "h", range=(0, 1.2 * max(steps))),
                title="One cause after the other",
            ),
        ],
        f"{count(stages, 'service')}, {count(units, 'unit')} of each: up {percent(1 - now / 8760, 5)} of the time, "
        f"{_span(now)} down in a year; with independent failures that are all noticed it would be "
        f"{_span(ideal[units - 1])}, and one unit alone is down {_span(bare)}.",
        answer=model.downtime_h(model.redundant(0.99, 2, common_cause=0.1) ** 5),
    )

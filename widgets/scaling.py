"""Explorables of scaling: what more processors or servers buy, and when they cost."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import scaling as model
from widgets.controls import choice, log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Note, Panel, Trace, View, bars, count, line, percent, points, quantity

_FIXED, _SCALED = "fixed", "grows with the processors"


@explorable(
    "What more processors buy",
    predict=estimate(
        "A tenth of a program’s time on one processor cannot be split. How many times as fast is it on ten processors?",
        unit="times",
    ),
    leaves_out="parts of unequal length: the work is split evenly, and nobody waits for the slowest.",
    serial=slider(0.0, 0.5, 0.1, "serial share", step=0.005),
    processors=log_slider(1, 1024, 10, "processors", whole=True),
    kappa=slider(0.0, 0.005, 0.0, "coherency κ: what each pair has to agree on"),
    problem=choice((_FIXED, _SCALED), _FIXED, "the work"),
)
def speed_up(serial: float, processors: int, kappa: float, problem: str) -> View:
    """Draw the speed-up over the processors for fixed and for growing work, and what the time goes into."""
    n = np.geomspace(1, 1024, 121)
    now = float(_speed_up(serial, kappa, problem, np.array([float(processors)]))[0])
    traces = [
        line(n, n, "ideal", color=6, dash="dot"),
        line(n, _speed_up(serial, 0, _FIXED, n), "fixed (Amdahl)", color=0),
        line(n, _speed_up(serial, 0, _SCALED, n), "growing (Gustafson)", color=2, dash="dash"),
    ]
    if kappa:
        traces.append(line(n, _speed_up(serial, kappa, problem, n), "with κ", color=3, dash="dashdot"))
    limited = problem == _FIXED and serial > 0
    # Work in units of what one processor does of it in the time 1, split by what takes the time.
    work = 1.0 if problem == _FIXED else float(model.gustafson(serial, processors))
    shared = 1 - serial if problem == _FIXED else work - serial
    parts = {
        "serial": (serial, serial),
        "shared": (shared, shared / processors),
        "agreeing (κ)": (0.0, work * kappa * (processors - 1)),
    }
    return View(
        [
            Panel(
                [*traces, points([processors], [now], "now", size=11, color=1)],
                Axis("processors", log=True, range=(0.9, 1200)),
                Axis("speed-up", log=True, range=(0.7, 1200)),
                title="Speed-up",
                marks=[Mark(1 / serial, "limit 1/S", vertical=False)] if limited else [],
            ),
            Panel(
                [
                    bars([0, 1], pair, name, color=color)
                    for (name, pair), color in zip(parts.items(), (1, 0, 3), strict=True)
                ],
                Axis("processors", labels=["1", f"{processors:,}"], range=(-0.6, 1.6)),
                Axis("relative time"),
                title="Where the time goes",
                stacked=True,
            ),
        ],
        _said(serial, processors, kappa, problem, now),
        answer=float(model.amdahl(0.1, 10)),
    )


def _speed_up(serial: float, kappa: float, problem: str, n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Speed-up by the law of that kind of work; agreeing with all others adds to the time of each unit.

    With fixed work that is the universal scalability law.
    """
    law = model.amdahl if problem == _FIXED else model.gustafson
    return 1 / (1 / law(serial, n) + kappa * (n - 1))


def _best(serial: float, kappa: float, problem: str) -> int:
    """Return the number of processors with the highest speed-up; `kappa` is above 0."""
    top = math.sqrt((1 - serial) / kappa)
    if problem == _SCALED:
        top = (top - serial) / (1 - serial)
    near = np.clip(np.floor(top) + np.arange(2), 1, model.MAX_N)
    return int(near[np.argmax(_speed_up(serial, kappa, problem, near))])


def _said(serial: float, processors: int, kappa: float, problem: str, now: float) -> str:
    work = "The work stays the same" if problem == _FIXED else "The work grows with the processors"
    told = f"{work}: {processors:,} processors do it {quantity(now)} times as fast as one"
    if processors == 1:
        told = f"{work}: one processor is what the others are compared with"
    if kappa:
        best = _best(serial, kappa, problem)
        high = float(_speed_up(serial, kappa, problem, np.array([float(best)]))[0])
        return (
            f"{told}. {count(best, 'processor')} would be best with {quantity(high)} times; more are slower."
        )
    if problem == _FIXED and serial:
        return f"{told}. However many there are, it never becomes more than {quantity(1 / serial)} times."
    return f"{told}, {percent(now / processors)} of the ideal, and nothing bounds it."


# --- adding servers -----------------------------------------------------------------------------------------

#: Requests per second that one server alone can serve.
_ONE_SERVER = 100.0
_MOST = 128


@lru_cache(maxsize=64)
def _times(law: model.Usl, rate: float) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the numbers of servers that keep up, and their mean and 99th percentile in ms."""
    everyone = np.arange(1, _MOST + 1)
    enough = everyone[law.throughput(everyone) > rate * 1.0001]
    # About as many as are needed to see the curve: each percentile is a search.
    chosen = (
        np.unique(enough[np.linspace(0, enough.size - 1, 36).round().astype(int)]) if enough.size else enough
    )
    queues = [law.queue(int(n), rate) for n in chosen]
    mean = np.array([queue.response_s for queue in queues]) * 1000
    return chosen, mean, np.array([queue.response_percentile(99) for queue in queues]) * 1000


@explorable(
    "One more server",
    predict=estimate(
        "One server handles 100 requests a second. 3 % of the work must be done one after the other (σ), and each "
        "server spends another 0.05 % on every other one, to agree with it (κ). What is the most any number can handle?",
        unit="requests/s",
    ),
    leaves_out="retries and time-outs of overloaded servers, and unequal servers.",
    servers=slider(1, _MOST, 4, "servers"),
    sigma=slider(0.0, 0.2, 0.03, "σ, done one after the other"),
    kappa=slider(0.0, 0.002, 0.0005, "κ, to agree with each other one"),
    offered=log_slider(10, 10_000, 1000, "offered load", unit="requests/s"),
)
def add_servers(servers: int, sigma: float, kappa: float, offered: float) -> View:
    """Draw throughput and response time over the number of servers, by the universal scalability law."""
    law = model.usl(sigma, kappa, _ONE_SERVER)
    numbers = np.arange(1, _MOST + 1)
    capacity = law.throughput(numbers)
    now = float(law.throughput(servers))
    keeps_up, mean, tail = _times(law, offered)
    linear = _ONE_SERVER * numbers
    top = 1.25 * float(capacity.max())
    shown = linear <= top
    times: list[Trace] = [
        line(keeps_up, tail, "P99", color=1),
        line(keeps_up, mean, "mean", color=0),
    ]
    said = f"{count(servers, 'server')} can handle {quantity(now)} requests a second"
    if now > offered * 1.0001:
        queue = law.queue(servers, offered)
        p99 = queue.response_percentile(99) * 1000
        times.append(points([servers], [p99], "now", color=4, size=11))
        said += f" and {'answers' if servers == 1 else 'answer'} the {quantity(offered)} offered in {quantity(queue.response_s * 1000, 'ms')} on average, P99 {quantity(p99, 'ms')}"
    else:
        said += f", {'less than' if now < offered * 0.9999 else 'no more than'} the {quantity(offered)} offered: their queue grows without bound"
    if law.peak_n <= _MOST:
        best = max(1, int(np.argmax(capacity)) + 1)
        peak = f"Most, {quantity(float(capacity.max()))}, {'is' if best == 1 else 'are'} handled by {best}: each one beyond makes it less."
    elif kappa:
        peak = f"The peak lies at {quantity(law.peak_n)} servers."
    elif sigma:
        peak = f"Without κ it never falls, and never exceeds {quantity(_ONE_SERVER / sigma)}."
    else:
        peak = "Without σ and κ every server adds 100."
    return View(
        [
            Panel(
                [
                    line(numbers, capacity, "can handle", color=2),
                    line(numbers[shown], linear[shown], "no loss", color=6, dash="dot"),
                    line(numbers, np.full(_MOST, min(offered, 2 * top)), "offered", color=3, dash="dash"),
                    points([servers], [now], "now", color=4, size=11),
                ],
                Axis("servers", range=(0, _MOST + 2)),
                Axis("throughput", "requests/s", range=(0, top)),
                title="Throughput",
            ),
            Panel(
                times,
                Axis("servers", range=(0, _MOST + 2)),
                Axis("response time", "ms", log=True, range=(8, 2000)),
                title="Response time",
                notes=[] if keeps_up.size else [Note(_MOST / 2, 130, "no number of servers keeps up")],
            ),
        ],
        f"{said}. {peak}",
        answer=float(capacity.max()),
    )

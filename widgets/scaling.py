"""Scalability as explorables: what more servers buy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import scaling as model
from widgets.controls import log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Note, Panel, Trace, View, count, line, points, quantity

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

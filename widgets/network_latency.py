"""The parts of a network's latency as an explorable."""

from __future__ import annotations

import numpy as np

from course import network_latency as model
from widgets.controls import choice, log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Note, Panel, View, line, percent, points, quantity


def _time(seconds: float) -> str:
    """Return a time in the unit in which people say it."""
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= length:
            return quantity(seconds / length, unit)
    return quantity(seconds * 1e9, "ns")


@explorable(
    "Where the milliseconds go",
    predict=estimate(
        "From London to New York it is 5,570 km. How long is a packet on its way through fibre, one way, if nothing "
        "else takes time?",
        unit="ms",
    ),
    leaves_out="opening a connection, TCP’s slow start, lost packets, cables that take a longer way; the routers are "
    "ten, of 10 µs each.",
    km=log_slider(1, 20_000, 5_570, "distance", unit="km"),
    medium=choice(tuple(model.MEDIA), "fibre", "through"),
    mbps=log_slider(1, 100_000, 1_000, "narrowest link", unit="Mbit/s"),
    size_bytes=log_slider(64, 1e9, 1_500, "message", unit="bytes", whole=True),
    utilisation=slider(0.0, 0.99, 0.3, "others keep the link busy", step=0.01),
)
def where_the_ms_go(km: float, medium: str, mbps: float, size_bytes: int, utilisation: float) -> View:
    """Draw the four parts of the latency, and what more bandwidth changes about their sum."""

    def latency(link: float) -> model.NetworkLatency:
        return model.network_latency(km, link, size_bytes, medium=medium, utilisation=utilisation)

    now = latency(mbps)
    links = np.geomspace(1, 100_000, 80)
    totals = 1000 * np.array([latency(float(link)).total_s for link in links])
    values = list(now.parts.values())
    largest = now.parts[now.largest]
    saved = now.total_s - latency(10 * mbps).total_s
    floor = 1000 * now.propagation_s
    return View(
        [
            Panel(
                [
                    points(
                        range(4),
                        [1000 * value if value > 0 else np.nan for value in values],
                        "",
                        size=12,
                        color=0,
                    )
                ],
                Axis(
                    "part",
                    labels=["way", "sending", "waiting", "routers"],
                    range=(-0.6, 3.6),
                ),
                Axis("time", "ms", log=True, range=_decades([1000 * value for value in values if value > 0])),
                title="The four parts",
                # Points, not bars: a length on a log scale means nothing.
                notes=[
                    Note(place, 1800 * value, _time(value)) for place, value in enumerate(values) if value > 0
                ],
            ),
            Panel(
                [
                    line(links, totals, "all four", color=0),
                    line(links[[0, -1]], [floor] * 2, f"the way alone, {medium}", color=6, dash="dot"),
                    points([mbps], [1000 * now.total_s], "now", color=1, size=11),
                ],
                Axis("bandwidth", "Mbit/s", log=True, range=(0.9, 110_000)),
                Axis("one way", "ms", log=True, range=_decades([floor, *totals.tolist()])),
                title="What bandwidth buys",
            ),
        ],
        f"{_time(now.total_s)} one way: {percent(largest / now.total_s)} of it is {_NAMES[now.largest]}. Ten times the "
        f"bandwidth would save {_time(saved)}.",
        answer=1000 * model.propagation(5_570),
    )


_NAMES = {
    "propagation": "the way itself (propagation)",
    "transmission": "putting the bits on the link (transmission)",
    "queueing": "waiting for others (queueing)",
    "processing": "the routers (processing)",
}


def _decades(values: list[float]) -> tuple[float, float]:
    """Return a range of more than two decades, from a power of ten well below the least value."""
    low = float(10 ** np.floor(np.log10(0.7 * min(values))))
    return low, max(4 * max(values), 110 * low)

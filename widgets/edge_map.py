"""Edges near the users as an explorable: a map, and what it does to the latency."""

from __future__ import annotations

from functools import cache

import numpy as np

from course import edge_map as model
from widgets.controls import choice, slider, toggle
from widgets.explorable import choose, explorable
from widgets.plot import Axis, Mark, Panel, Trace, View, count, line, percent, points, quantity

_ORIGINS = ("New York", "London", "São Paulo", "Singapore", "Sydney")
_MOST = 40


@cache
def _map() -> tuple[model.Cities, tuple[int, ...]]:
    places = model.cities()
    return places, model.place_edges(places, _MOST)


@explorable(
    "Nearer to the users",
    predict=choose(
        "The origin is in New York, the users are in 56 large cities of the world. Ten edges answer 90 % of the "
        "requests, so the mean latency falls to a quarter. What happens to P95?",
        "It falls to about a quarter too",
        "It falls by less than a third",
    ),
    leaves_out="routes that are not the nearest, congestion, the time of the servers, and users outside these cities.",
    edges=slider(0, _MOST, 10, "edges"),
    hit_ratio=slider(0.0, 1.0, 0.9, "hit ratio"),
    origin=choice(_ORIGINS, "New York", "origin"),
    inflation=slider(1.0, 4.0, 2.1, "path, times the great circle"),
    new_connection=toggle(False, "each request opens a connection (3 round trips)"),
)
def edges(edges: int, hit_ratio: float, origin: str, inflation: float, new_connection: bool) -> View:
    """Draw where the edges are, and the distribution of the latency with and without them."""
    places, order = _map()
    home = places.index(origin)
    chosen = order[:edges]
    trips = 3 if new_connection else 1
    direct = model.latency(places, home, inflation=inflation, round_trips=trips)
    served = model.latency(places, home, chosen, hit_ratio, inflation=inflation, round_trips=trips)
    end = 1.05 * max(float(direct.ms[-1]), float(served.ms[-1]))
    times = np.linspace(0, end, 300)
    picture: list[Trace] = []
    if edges:
        nearest = model.nearest_edge(places, chosen)
        across = np.column_stack([places.longitude, places.longitude[nearest], np.full(nearest.size, np.nan)])
        up = np.column_stack([places.latitude, places.latitude[nearest], np.full(nearest.size, np.nan)])
        picture.append(line(across.ravel(), up.ravel(), "served by", color=6, width=1))
    picture.append(points(places.longitude, places.latitude, "city", color=0, size=6))
    if edges:
        there = list(chosen)
        picture.append(points(places.longitude[there], places.latitude[there], "edge", color=2, size=11))
    picture.append(points([places.longitude[home]], [places.latitude[home]], "origin", color=1, size=13))
    alone = f"From {origin} alone a request takes {quantity(direct.mean_ms, 'ms')} on average, P95 {quantity(direct.percentile(95), 'ms')}"
    if not edges:
        said = f"{alone}. No edge yet."
    else:
        even = model.break_even(places, home, chosen, inflation=inflation, round_trips=trips)
        said = (
            f"{alone}; over {count(edges, 'edge')} {quantity(served.mean_ms, 'ms')} and "
            f"{quantity(served.percentile(95), 'ms')}. "
        )
        if even <= 0:
            said += "The edges win on average even without a hit: the extra round trips end near the user."
        elif even < 1:
            said += (
                f"Below a hit ratio of {percent(even, 2)} the detour costs more on average than hits save."
            )
        else:
            said += "The edges are slower on average whatever the hit ratio."
    ninth = model.latency(places, places.index("New York"), order[:10], 0.9).percentile(95)
    plain = model.latency(places, places.index("New York")).percentile(95)
    curves = [line(times, direct.within(times), "origin only", color=1, step=True)]
    if edges:
        curves.append(line(times, served.within(times), "with edges", color=2, step=True))
    return View(
        [
            Panel(
                picture,
                Axis("longitude", "°", range=(-180, 180)),
                Axis("latitude", "°", range=(-60, 75)),
                title=f"{count(edges, 'edge')} for {len(places.names)} cities",
            ),
            Panel(
                curves,
                Axis("latency", "ms", range=(0, end)),
                Axis("requests that take no longer", percent=True, range=(0, 1.02)),
                title="Latency of all requests",
                marks=[Mark(0.95, "P95", vertical=False)],
            ),
        ],
        said,
        answer="It falls by less than a third"
        if ninth > plain * 2 / 3
        else "It falls to about a quarter too",
    )

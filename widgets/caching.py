"""Explorables of caches: what they buy, what they hold, and how large they must be."""

from __future__ import annotations

from functools import cache

import numpy as np

from course import caching as model
from course import workloads
from widgets.controls import choice, log_slider, seed, slider, timeline
from widgets.explorable import choose, estimate, explorable
from widgets.plot import (
    Axis,
    Mark,
    Note,
    Panel,
    Trace,
    View,
    bars,
    boxes,
    count,
    line,
    percent,
    points,
    quantity,
)

_REQUESTS = 100_000


@explorable(
    "What a cache buys",
    predict=estimate(
        "The hit ratio falls from 99 % to 98 %. By which factor does the load on the database grow?",
        unit="times",
    ),
    leaves_out="queues: a database that gets ten times the load also answers more slowly (chapter 1).",
    hit_ratio=slider(0.0, 1.0, 0.9, "hit ratio"),
    hit_ms=log_slider(0.01, 10, 1, "a look-up takes", unit="ms"),
    miss_ms=log_slider(1, 500, 100, "the database takes", unit="ms"),
    fill_ms=slider(0.0, 10.0, 1.0, "filling the cache takes", unit="ms"),
)
def effective_access_time(hit_ratio: float, hit_ms: float, miss_ms: float, fill_ms: float) -> View:
    """Draw the mean access time over the hit ratio, by three formulas, and the load that is left."""
    ratios = np.linspace(0, 1, 101)
    curves = [model.effective_access_time(h, hit_ms, miss_ms, fill_ms=fill_ms) for h in ratios.tolist()]
    now = model.effective_access_time(hit_ratio, hit_ms, miss_ms, fill_ms=fill_ms)
    near = np.linspace(0.9, 1, 6)
    if now.database_load > 0:
        load = f"{percent(now.database_load)} of the requests reach the database"
        gone = f"without the cache it would get {quantity(1 / now.database_load)} times as much"
    else:
        load, gone = "no request reaches the database", "it would not notice if you switched it off"
    return View(
        [
            Panel(
                [
                    line(ratios, [c.mean_ms for c in curves], "look-up, database, fill"),
                    line(ratios, [c.without_fill_ms for c in curves], "fill in the background"),
                    line(ratios, [c.without_lookup_ms for c in curves], "“a miss costs the database alone”"),
                    points([hit_ratio], [now.mean_ms], "now", size=10, color=6),
                ],
                Axis("hit ratio", percent=True, range=(0, 1)),
                Axis("mean access time", "ms"),
                title="Latency",
            ),
            Panel(
                [bars(np.arange(6), 1 - near, "load at this hit ratio", color=1)],
                Axis("hit ratio", labels=[f"{100 * h:.0f}%" for h in near], range=(-0.6, 5.6)),
                Axis("requests that reach the database", percent=True, range=(0, 0.105)),
                title="The last ten per cent",
                marks=[Mark(1 - hit_ratio, "now", vertical=False)] if hit_ratio >= 0.9 else [],
            ),
        ],
        f"A request takes {quantity(now.mean_ms, 'ms')} on average instead of {quantity(miss_ms, 'ms')}; {load}: {gone}.",
        answer=2.0,
    )

"""Explorables of chapter 5, Caching."""

from __future__ import annotations

import numpy as np

from widgets.controls import log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, line, points, quantity


@explorable(
    "What a cache buys",
    predict=estimate("Nine of ten requests take 1 ms, the tenth 100 ms. What is the mean?", unit="ms"),
    hit_rate=slider(0.0, 1.0, 0.9, "hit ratio"),
    hit_ms=log_slider(0.1, 10, 1, "hit time", unit="ms"),
    miss_ms=log_slider(10, 1000, 100, "miss time", unit="ms"),
)
def effective_access_time(hit_rate: float, hit_ms: float, miss_ms: float) -> View:
    """Show the mean access time over the hit ratio."""
    ratio = np.linspace(0, 1, 201)
    mean = ratio * hit_ms + (1 - ratio) * miss_ms
    now = hit_rate * hit_ms + (1 - hit_rate) * miss_ms
    return View(
        [
            Panel(
                [line(ratio, mean, "mean access time"), points([hit_rate], [now], "now", size=11)],
                Axis("hit ratio", percent=True, range=(0, 1)),
                Axis("access time", "ms"),
                marks=[Mark(hit_rate, "")],
            )
        ],
        f"With {100 * hit_rate:.3g} % hits a request takes {quantity(now, 'ms')} on average.",
        answer=now,
    )

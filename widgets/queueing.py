"""Explorables of queues: how long a request waits, and why."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import queueing as model
from widgets.controls import log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, Trace, View, line, percent, points, quantity

# --- pool or split ------------------------------------------------------------------------------------------

_SERVICE_RATE = 10.0
_COUNTS = np.unique(np.geomspace(1, 50, 24).astype(int))
_FEW = 0.0009
_PERCENTS = (50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9)


@lru_cache(maxsize=2)
def _draws(customers: int, seed: int) -> model.Draws:
    return model.draw(customers, seed)


@lru_cache(maxsize=64)
def _simulated(
    customers: int, seed: int, utilisation: float, servers: int, lines: int
) -> tuple[float, float, float, tuple[float, ...]]:
    """Mean, its standard error, and P99 in ms, and percentiles, where `servers` share one line or have `lines`."""
    busy = utilisation * _SERVICE_RATE
    run = model.replay(
        *(_draws(customers, seed), busy * servers / lines, _SERVICE_RATE, servers // lines),
        warmup=customers // 10,
    )
    at = [run.response_percentile(share) for share in _PERCENTS]
    p99 = run.response_percentile(99)
    return 1000 * run.response_s, 1000 * run.response_error_s, 1000 * p99, tuple(1000 * time for time in at)


@explorable(
    "One line or ten?",
    predict=estimate(
        "Ten servers, each with its own line, are 80 % busy, and a request takes 500 ms on average, 100 of them "
        "service. Now all ten take from one common line. How long does a request take on average?",
        unit="ms",
    ),
    leaves_out="what the common line itself costs: a lock, a hop, and a part that can fail.",
    servers=slider(1, 50, 10, "servers"),
    utilisation=slider(0.1, 0.98, 0.8, "utilisation", step=0.01),
    requests=log_slider(10_000, 5_000_000, 1_000_000, "requests", whole=True),
    seed=seed(4),
)
def pool_or_split(servers: int, utilisation: float, requests: int, seed: int) -> View:
    """Compare one line for all servers with one line for each, and with one server that is as fast as all."""
    rate = utilisation * _SERVICE_RATE
    pooled = [1000 * model.mmc(rate * c, _SERVICE_RATE, c).response_s for c in _COUNTS.tolist()]
    alone = model.mm1(rate, _SERVICE_RATE)
    common = model.mmc(rate * servers, _SERVICE_RATE, servers)
    fast = model.mm1(rate * servers, _SERVICE_RATE * servers)
    split_ms, split_error, split_p99, split_times = _simulated(requests, seed, utilisation, servers, servers)
    pool_ms, pool_error, pool_p99, pool_times = _simulated(requests, seed, utilisation, servers, 1)
    longer = [1 - share / 100 for share in _PERCENTS]
    end = 1.05 * 1000 * alone.response_percentile(99.9)
    times = np.linspace(0, end, 200)

    def tail(queue: model.MarkovQueue, name: str, color: int, dash: str) -> Trace:
        longer = queue.response_tail(times / 1000)
        return line(times, np.where(longer > _FEW, longer, np.nan), name, color=color, dash=dash)

    def bars_of_error(mean: float, error: float, color: int) -> Trace:
        low = max(mean - 2 * error, mean / 100)
        return line([servers, servers], [low, mean + 2 * error], "± 2 SE", color=color, width=4)

    if servers == 1:
        said = (
            f"With one server there is nothing to share: a request takes {quantity(pool_ms, 'ms')} on average "
            f"(formula {quantity(1000 * common.response_s, 'ms')})"
        )
    else:
        said = (
            f"{servers} servers, {percent(utilisation)} busy: a line for each takes {quantity(split_ms, 'ms')} on "
            f"average (formula {quantity(1000 * alone.response_s, 'ms')}), one line for all "
            f"{quantity(pool_ms, 'ms')} ({quantity(1000 * common.response_s, 'ms')}), one server that is "
            f"{servers} times as fast {quantity(1000 * fast.response_s, 'ms')}. One request in a hundred takes "
            f"longer than {quantity(split_p99, 'ms')} or {quantity(pool_p99, 'ms')}"
        )
    return View(
        [
            Panel(
                [
                    line([1, 50], [1000 * alone.response_s] * 2, "a line for each", color=1),
                    line(_COUNTS, pooled, "one line for all", color=0),
                    line(_COUNTS, pooled[0] / _COUNTS, "one fast server", color=2, dash="dash"),
                    bars_of_error(split_ms, split_error, 1),
                    bars_of_error(pool_ms, pool_error, 0),
                    points([servers] * 2, [split_ms, pool_ms], "simulated", color=6, size=9),
                ],
                Axis("servers", log=True, range=(0.9, 56)),
                Axis("mean response time", "ms", log=True, range=(2, 10_000)),
                title="On average",
                marks=[Mark(100, "", vertical=False)],
            ),
            Panel(
                [
                    tail(alone, "a line for each", 1, ""),
                    tail(common, "one line for all", 0, ""),
                    tail(fast, "one fast server", 2, "dash"),
                    points(split_times, longer, "simulated", color=6, size=6),
                    points(pool_times, longer, "simulated", color=6, size=6),
                ],
                Axis("response time", "ms", range=(0, end)),
                Axis("share that takes longer", log=True, percent=True, range=(_FEW, 1.1)),
                title="The tail",
            ),
        ],
        f"{said}.",
        answer=pool_ms,
    )

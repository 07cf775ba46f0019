"""Explorables of queues: why what is nearly busy is slow, and what the tail does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import queueing as model
from widgets.controls import log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, Trace, View, count, line, percent, points, quantity

_SERVICE_MS = 10.0
_RATE = 1000 / _SERVICE_MS
#: Where the simulation is shown besides where the reader stands.
_BUSY = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95)
#: Half of a 95 % interval in standard errors, from 32 batches and from 8 groups (Student's t).
_T_MEAN, _T_P99 = 2.04, 2.36


def _law(scv: float) -> model.Law:
    """Return service times of that variability, which change smoothly with it above 1."""
    if scv == 0:
        return model.DETERMINISTIC
    if scv == 1:
        return model.EXPONENTIAL
    return model.log_normal(scv) if scv < 1 else model.hyper_exponential(scv)


@lru_cache(maxsize=4)
def _draws(customers: int, law: model.Law, seed: int) -> model.Draws:
    return model.draw(customers, seed, service=law)


def _replay(requests: int, law: model.Law, seed: int, busy: float, servers: int) -> model.QueueRun:
    """Simulate `requests` after a tenth as many that are not counted; a drag costs no new draws."""
    warmup = requests // 10
    draws = _draws(requests + warmup, law, seed)
    return model.replay(draws, busy * servers * _RATE, _RATE, servers, warmup=warmup)


@lru_cache(maxsize=8)
def _elsewhere(requests: int, law: model.Law, seed: int, servers: int) -> tuple[tuple[float, ...], ...]:
    """Mean and P99 in ms with half their 95 % intervals, at fixed utilisations."""
    return tuple(_measured(_replay(requests, law, seed, busy, servers)) for busy in _BUSY)


def _measured(run: model.QueueRun) -> tuple[float, ...]:
    return (
        1000 * run.response_s,
        1000 * _T_MEAN * run.response_error_s,
        1000 * run.response_percentile(99),
        1000 * _T_P99 * run.response_percentile_error(99),
    )


@lru_cache(maxsize=8)
def _theory(law: model.Law, servers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and P99 in ms over the utilisation; closer together where the curve turns."""
    busy = 1 - np.geomspace(0.99, 0.015, 70)
    queues = [model.closed_form(b * servers * _RATE, _RATE, servers, service=law) for b in busy.tolist()]
    p99 = [model.response_percentile(queue, law, 99) for queue in queues]
    return busy, 1000 * np.array([queue.response_s for queue in queues]), 1000 * np.array(p99)


def _whiskers(x: list[float], middle: list[float], half: list[float], name: str, color: int) -> Trace:
    """Return vertical bars, one at each x."""
    across, up = [], []
    for at, centre, reach in zip(x, middle, half, strict=True):
        across += [at, at, np.nan]
        up += [max(centre - reach, 0.0), centre + reach, np.nan]
    return line(across, up, name, color=color, width=4)


@explorable(
    "The hockey stick",
    predict=estimate(
        "A request takes 10 ms to serve. With the server 50 % busy, it takes 20 ms on average, waiting included. How "
        "long does it take with the server 98 % busy?",
        unit="ms",
    ),
    leaves_out="clients who give up, limits on the line, and load that comes in waves.",
    utilisation=slider(0.1, 0.98, 0.8, "utilisation ρ", step=0.01),
    servers=slider(1, 32, 1, "servers on one line"),
    scv=slider(0.0, 10.0, 1.0, "variability of the service times (variance / mean²)", step=0.25),
    requests=log_slider(1_000, 1_000_000, 1_000_000, "simulated requests", whole=True),
    seed=seed(),
)
def hockey_stick(utilisation: float, servers: int, scv: float, requests: int, seed: int) -> View:
    """Simulate a line in front of servers and draw mean and P99 of the response on their formulas."""
    law = _law(scv)
    queue = model.closed_form(utilisation * servers * _RATE, _RATE, servers, service=law)
    theory_p99 = 1000 * model.response_percentile(queue, law, 99)
    now = _measured(_replay(requests, law, seed, utilisation, servers))
    others = list(zip(*_elsewhere(requests, law, seed, servers), strict=True))
    busy, mean, p99 = _theory(law, servers)
    names = {True: "formula, exact", False: "formula, approximate"}
    # The percentiles of M/M/c are known; for other service times only the mean at one server is.
    exact = (queue.exact, law == model.EXPONENTIAL)
    panels = []
    for which, title, curve in ((0, "Mean", mean), (1, "P99: one in a hundred is slower", p99)):
        at, half = now[2 * which], now[2 * which + 1]
        panels.append(
            Panel(
                [
                    line(busy, curve, names[exact[which]], color=0, dash="" if exact[which] else "dash"),
                    _whiskers(
                        list(_BUSY), list(others[2 * which]), list(others[2 * which + 1]), "95 % interval", 6
                    ),
                    points(_BUSY, others[2 * which], "simulated", color=6, size=7),
                    _whiskers([utilisation], [at], [half], "95 % interval", 1),
                    points([utilisation], [at], "now", color=1, size=12),
                ],
                Axis("utilisation ρ", percent=True, range=(0, 1)),
                Axis("response time", "ms", range=(0, 1.12 * float(curve[busy <= 0.982][-1]))),
                title=title,
            )
        )
    means = "formula" if exact[0] else "approximation"
    tails = "formula" if exact[1] else "approximation"
    return View(
        panels,
        f"{count(servers, 'server')}, {percent(utilisation)} busy, service {quantity(_SERVICE_MS, 'ms')}: a request "
        f"takes {quantity(now[0], 'ms')} on average ({means}: {quantity(1000 * queue.response_s, 'ms')}), one in a "
        f"hundred more than {quantity(now[2], 'ms')} ({tails}: {quantity(theory_p99, 'ms')}).",
        answer=1000 * model.mm1(0.98 * _RATE, _RATE).response_s,
    )


# --- pool or split ------------------------------------------------------------------------------------------

_SERVICE_RATE = 10.0
_COUNTS = np.unique(np.geomspace(1, 50, 24).astype(int))
_FEW = 0.0009
_PERCENTS = (50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9)


@lru_cache(maxsize=64)
def _simulated(
    customers: int, seed: int, utilisation: float, servers: int, lines: int
) -> tuple[float, float, float, tuple[float, ...]]:
    """Mean, its standard error, and P99 in ms, and percentiles, where `servers` share one line or have `lines`."""
    busy = utilisation * _SERVICE_RATE
    run = model.replay(
        *(
            _draws(customers, model.EXPONENTIAL, seed),
            busy * servers / lines,
            _SERVICE_RATE,
            servers // lines,
        ),
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

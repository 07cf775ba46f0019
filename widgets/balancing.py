"""Explorables of load balancing: who gets the next request, and what that does to the waiting."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from course import balancing as model
from course import queueing
from widgets.controls import choice, log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Note, Panel, Trace, View, band, bars, count, line, percent, points, quantity

_MEAN_SPEED = 10.0  # requests a second that a server serves on average: 100 ms each
_TAIL = 2.5
_LAWS = {
    "exponential": queueing.EXPONENTIAL,
    "deterministic": queueing.DETERMINISTIC,
    "Pareto": queueing.pareto(_TAIL),
}


# --- all policies, the same requests ------------------------------------------------------------------------

_ARENA = {
    "IP hash": "IP hash",
    "random": "random",
    "round robin": "round robin",
    "weighted<br>round robin": "smooth weighted round robin",
    "resource-based": "resource-based",
    "power of two": "power of two choices",
    "least<br>connections": "least connections",
    "response ×<br>connections": "response time × connections",
    "least response<br>time": "least response time",
}
_COMMON = "one line<br>for all"
_LEFT, _RIGHT = 20.0, 100_000.0


class _Figures(NamedTuple):
    mean_ms: float
    p50_ms: float
    p99_ms: float
    share: tuple[float, ...]


def _speeds(servers: int, ratio: float) -> np.ndarray:
    """Speeds with the usual mean, the second half of the servers `ratio` times as fast."""
    speeds = np.where(np.arange(servers) < servers - servers // 2, 1.0, ratio)
    return np.asarray(speeds * _MEAN_SPEED / speeds.mean())


@lru_cache(maxsize=256)
def _figures(
    policy: str, utilisation: float, servers: int, ratio: float, service: str, requests: int, seed: int
) -> _Figures:
    run = model.simulate(
        policy,
        _speeds(servers, ratio),
        utilisation,
        requests=requests,
        warmup=requests // 10,
        seed=seed,
        service=service,
        tail=_TAIL,
    )
    p50, p99 = run.percentile_s([50, 99]).tolist()
    return _Figures(1000 * run.mean_response_s, 1000 * p50, 1000 * p99, tuple(run.share.tolist()))


def _split_closed_form(utilisation: float, speeds: np.ndarray, service: str) -> list[float]:
    """Mean response time in ms, and P99 if known, where each server gets the same share at random."""
    rate = utilisation * _MEAN_SPEED
    if rate >= speeds.min():
        return []
    queues = [queueing.closed_form(rate, speed, service=_LAWS[service]) for speed in speeds.tolist()]
    known = [1000 * sum(queue.response_s for queue in queues) / len(queues)]
    if isinstance(queues[0], queueing.MarkovQueue) and np.ptp(speeds) == 0:
        known.append(1000 * queues[0].response_percentile(99))
    return known


def _common_closed_form(utilisation: float, servers: int, service: str) -> list[float]:
    """Return the same where a server takes the next request from one common line as soon as it is free."""
    queue = queueing.closed_form(
        utilisation * _MEAN_SPEED * servers, _MEAN_SPEED, servers, service=_LAWS[service]
    )
    known = [1000 * queue.response_s]
    if isinstance(queue, queueing.MarkovQueue):
        known.append(1000 * queue.response_percentile(99))
    return known


def _time(milliseconds: float) -> str:
    return quantity(milliseconds, "ms") if milliseconds < 10_000 else quantity(milliseconds / 1000, "s")


def _ticks(values: list[tuple[float, float]], name: str) -> Trace:
    """Return a short upright stroke at each (x, row)."""
    x = [value for at, _ in values for value in (at, at, math.nan)]
    y = [value for _, row in values for value in (row - 0.42, row + 0.42, math.nan)]
    return line(x, y, name, color=6, width=3)


@explorable(
    "Nine policies, the same requests",
    predict=estimate(
        "Five servers are 80 % busy, a request takes 100 ms of service. A balancer that picks at random makes it "
        "500 ms on average. How many with least connections?",
        unit="ms",
    ),
    leaves_out="the network: a balancer sees every queue at once, and a request is where it goes in no time.",
    utilisation=slider(0.1, 0.98, 0.8, "utilisation", step=0.01),
    servers=slider(2, 20, 5, "servers"),
    speed_ratio=slider(1.0, 10.0, 1.0, "half of the servers are faster by"),
    service=choice(model.SERVICES, "exponential", "service times"),
    requests=log_slider(10_000, 1_000_000, 50_000, "requests", whole=True),
    seed=seed(),
)
def arena(
    utilisation: float, servers: int, speed_ratio: float, service: str, requests: int, seed: int
) -> View:
    """Draw mean, median and P99 of nine policies on the same requests, and how busy each keeps every server."""
    speeds = _speeds(servers, speed_ratio)
    figures = {
        name: _figures(policy, utilisation, servers, speed_ratio, service, requests, seed)
        for name, policy in _ARENA.items()
    }
    names = list(_ARENA)
    known = [(time, names.index("random")) for time in _split_closed_form(utilisation, speeds, service)]
    common = _common_closed_form(utilisation, servers, service) if speed_ratio == 1 else []
    if common:
        names.append(_COMMON)
        known += [(time, names.index(_COMMON)) for time in common]
    # The first row on top.
    row = {name: len(names) - 1 - place for place, name in enumerate(names)}
    ticks = [(time, len(names) - 1.0 - place) for time, place in known if _LEFT < time < _RIGHT]

    def dots(label: str, times: dict[str, float], color: int) -> Trace:
        shown = {name: time for name, time in times.items() if time < _RIGHT}
        return points(list(shown.values()), [row[name] for name in shown], label, color=color, size=9)

    means = {name: one.mean_ms for name, one in figures.items()}
    off = [name for name, mean in means.items() if mean >= _RIGHT]
    load = utilisation * _MEAN_SPEED * servers * np.array([one.share for one in figures.values()]) / speeds
    rows = np.repeat([row[name] for name in figures], servers).reshape(load.shape)
    slow = speeds == speeds.min()
    loads = [points(load[:, slow].ravel(), rows[:, slow].ravel(), "slow server" if speed_ratio > 1 else "server", color=4)]
    if speed_ratio > 1:
        loads.append(points(load[:, ~slow].ravel(), rows[:, ~slow].ravel(), "fast server", color=5))
    policies = Axis("policy", labels=names[::-1], range=(-0.7, len(names) - 0.3))
    best = min(means, key=lambda name: means[name])
    if known and known[0][1] == names.index("random"):
        at_random = f"at random {_time(means['random'])} on average (formula {_time(known[0][0])})"
    else:
        at_random = "at random the slow ones get more than they can do"
    bound = f" One line for all would need {_time(common[0])}." if common else ""
    return View(
        [
            Panel(
                [
                    _ticks(ticks, "closed form"),
                    dots("median", {name: one.p50_ms for name, one in figures.items()}, 2),
                    dots("mean", means, 0),
                    dots("P99", {name: one.p99_ms for name, one in figures.items()}, 1),
                ],
                Axis("response time", "ms", log=True, range=(_LEFT, _RIGHT)),
                policies,
                title="How long it takes",
                notes=[
                    Note(2500, row[name], f"off the scale: {_time(means[name])} →")
                    for name in off
                ],
            ),
            Panel(
                loads,
                Axis("load of each server", percent=True),
                replace(policies, hidden=True),
                title="How even it is",
                marks=[Mark(1, "full")],
            ),
        ],
        f"{servers} servers, {percent(utilisation)} busy: {at_random}, {best.replace('<br>', ' ')} "
        f"{_time(means[best])}, P99 {_time(figures[best].p99_ms)}.{bound}",
        answer=means["least<br>connections"],
        height=500,
    )


# --- queues over time ---------------------------------------------------------------------------------------

_WINDOW_S = 30.0
_HISTORY = 20_000
_SHOWN = {
    "random": "random",
    "IP hash": "IP hash",
    "round robin": "round robin",
    "power of two choices": "power of two choices",
    "least connections": "least connections",
    "least response time": "least response time",
}


class _Queues(NamedTuple):
    mean_ms: float
    share: np.ndarray
    wasted: float


@lru_cache(maxsize=64)
def _queues(policy: str, utilisation: float, servers: int, seed: int) -> _Queues:
    """Mean response time, share of time by queue length, and share of time with one idle while another waits."""
    run = model.simulate(
        policy, [_MEAN_SPEED] * servers, utilisation, requests=_HISTORY, warmup=_HISTORY // 10, seed=seed
    )
    lengths = run.queue_lengths(4_000).lengths
    counted = np.bincount(np.minimum(lengths, 1_000).ravel())
    wasted = (lengths.min(axis=0) == 0) & (lengths.max(axis=0) > 1)
    return _Queues(1000 * run.mean_response_s, counted / counted.sum(), float(wasted.mean()))


@explorable(
    "One idles while another has a queue",
    predict=estimate(
        "Four servers are 80 % busy and a balancer picks at random. For what share of the time does one of them have "
        "nothing to do while a request waits at another?",
        unit="%",
    ),
    leaves_out="requests that change lanes: a request waits where it was sent.",
    policy=choice(tuple(_SHOWN), "random", "policy"),
    utilisation=slider(0.1, 0.98, 0.8, "utilisation", step=0.01),
    servers=slider(2, 6, 4, "servers"),
    seed=seed(),
)
def queues(policy: str, utilisation: float, servers: int, seed: int) -> View:
    """Draw the queue at each server over a minute, and how often a queue has which length."""
    rate = utilisation * _MEAN_SPEED * servers
    # The first requests of the same draws: half a minute, after as long to run in.
    requests = round(2.4 * _WINDOW_S * rate)
    run = model.simulate(
        policy, [_MEAN_SPEED] * servers, utilisation, requests=requests, warmup=requests // 2, seed=seed
    )
    shown = run.queue_lengths(600)
    times = shown.times_s - shown.times_s[0]
    shown_now = shown.lengths[:, times <= _WINDOW_S]
    highest = int(shown_now.max())
    full = max(10, highest)
    lanes: list[Trace] = []
    for i, row in enumerate(shown.lengths):
        # Each server has a lane of its own, the first on top; a queue holds until it changes.
        base = float(servers - i)
        level = base + 0.85 * np.repeat(row, 2)[:-1] / full
        across = np.repeat(times, 2)[1:]
        lanes.append(band(across, np.full(level.size, base), level, "", color=0))
        lanes.append(line(across, level, "requests there", color=0, width=1))
    peaks = shown_now.max(axis=1).tolist()
    lanes_in_words = " ".join(f"Server {i + 1}: at most {peak:,}." for i, peak in enumerate(peaks))
    waste = (shown.lengths.min(axis=0) == 0) & (shown.lengths.max(axis=0) > 1)
    lanes.append(line(times, np.where(waste, 0.4, np.nan), "one idles, one waits", color=1, width=9))
    long_run = _queues(policy, utilisation, servers, seed)
    lengths = np.arange(min(long_run.share.size, 16))
    theory = []
    if policy == "random":
        theory = [points(lengths, (1 - utilisation) * utilisation**lengths, "M/M/1", color=6)]
    names = ["", *(f"server {i}" for i in range(servers, 0, -1))]
    return View(
        [
            Panel(
                lanes,
                Axis("time", "s", range=(0, _WINDOW_S)),
                Axis(f"a full lane: {full:,} requests", labels=names, range=(0, servers + 1)),
                title="Half a minute",
                words=f"the queue of each server over time. {lanes_in_words}",
            ),
            Panel(
                [bars(lengths, long_run.share[: lengths.size], "share of the time", color=3), *theory],
                Axis("requests at a server", range=(-0.6, 15.6)),
                Axis("share of the time", percent=True, log=True, range=(0.001, 1)),
                title="In the long run",
            ),
        ],
        f"{policy[0].upper() + policy[1:]}, {percent(utilisation)} busy: the longest queue of this half minute has "
        f"{count(highest, 'request')}. In the long run a server idles for {percent(long_run.wasted)} of the time while a "
        f"request waits at another; a request takes {_time(long_run.mean_ms)} on average.",
        answer=100 * long_run.wasted,
        height=400,
    )

"""Explorables of load balancing: who gets the next request, and what that does to the waiting."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from course import balancing as model
from course import queueing
from widgets.controls import choice, log_slider, seed, slider, timeline
from widgets.explorable import Progress, choose, estimate, explorable
from widgets.plot import (
    Axis,
    Mark,
    Note,
    Panel,
    Trace,
    View,
    band,
    bars,
    boxes,
    count,
    line,
    percent,
    points,
    quantity,
)

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


def _figures(
    policy: str,
    utilisation: float,
    servers: int,
    ratio: float,
    service: str,
    refresh_s: float,
    balancers: int,
    requests: int,
    seed: int,
    progress: Progress,
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
        refresh_s=refresh_s,
        balancers=balancers,
        progress=progress,
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


def _part(progress: Progress, done: int, runs: int) -> Progress:
    """Return what one of several runs is given to say how far it is."""
    return lambda share: progress((done + share) / runs)


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
    leaves_out="the network; and near 100 % a short run has not met its longest queues, so it is below the formula.",
    utilisation=slider(0.1, 0.98, 0.8, "utilisation", step=0.01),
    servers=slider(2, 20, 5, "servers"),
    speed_ratio=slider(1.0, 10.0, 1.0, "fast servers over slow ones"),
    service=choice(model.SERVICES, "exponential", "service times"),
    refresh_s=slider(0.0, 5.0, 0.0, "news every", unit="s", step=0.1),
    balancers=slider(1, 16, 1, "balancers"),
    requests=log_slider(10_000, 1_000_000, 50_000, "requests", whole=True),
    seed=seed(),
)
def arena(
    utilisation: float,
    servers: int,
    speed_ratio: float,
    service: str,
    refresh_s: float,
    balancers: int,
    requests: int,
    seed: int,
    *,
    progress: Progress,
) -> View:
    """Draw mean, median and P99 of nine policies on the same requests, and how busy each keeps every server."""
    speeds = _speeds(servers, speed_ratio)
    setting = (utilisation, servers, speed_ratio, service, refresh_s, balancers, requests, seed)
    figures = {
        name: _figures(policy, *setting, _part(progress, done, len(_ARENA)))
        for done, (name, policy) in enumerate(_ARENA.items())
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
    loads = [
        points(
            load[:, slow].ravel(),
            rows[:, slow].ravel(),
            "slow server" if speed_ratio > 1 else "server",
            color=4,
        )
    ]
    if speed_ratio > 1:
        loads.append(points(load[:, ~slow].ravel(), rows[:, ~slow].ravel(), "fast server", color=5))
    policies = Axis("policy", labels=names[::-1], range=(-0.7, len(names) - 0.3))
    best = min(means, key=lambda name: means[name])
    if known and known[0][1] == names.index("random"):
        at_random = f"at random {_time(means['random'])} on average (formula {_time(known[0][0])})"
    else:
        at_random = "at random the slow ones get more than they can do"
    bound = f" In the long run one line for all needs {_time(common[0])}." if common else ""
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
                notes=[Note(2500, row[name], f"off the scale: {_time(means[name])} →") for name in off],
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


class _Lanes(NamedTuple):
    panel: Panel
    longest: int


def _lanes(run: model.BalancingRun, title: str) -> _Lanes:
    """Draw the queue of each server over half a minute, each in a lane of its own, the first on top."""
    shown = run.queue_lengths(600)
    times = shown.times_s - shown.times_s[0]
    servers = len(shown.lengths)
    peaks = shown.lengths[:, times <= _WINDOW_S].max(axis=1).tolist()
    full = max(10, *peaks)
    traces: list[Trace] = []
    for i, row in enumerate(shown.lengths):
        base = float(servers - i)
        # A queue holds until it changes: corners, so that the area below has them too.
        level = base + 0.85 * np.repeat(row, 2)[:-1] / full
        across = np.repeat(times, 2)[1:]
        traces.append(band(across, np.full(level.size, base), level, "", color=0))
        traces.append(line(across, level, "requests there", color=0, width=1))
    waste = (shown.lengths.min(axis=0) == 0) & (shown.lengths.max(axis=0) > 1)
    traces.append(line(times, np.where(waste, 0.4, np.nan), "one idles, one waits", color=1, width=9))
    panel = Panel(
        traces,
        Axis("time", "s", range=(0, _WINDOW_S)),
        Axis(
            f"a full lane: {full:,} requests",
            labels=["", *(f"server {i}" for i in range(servers, 0, -1))],
            range=(0, servers + 1),
        ),
        title=title,
        words="the queue of each server over time. "
        + " ".join(f"Server {i + 1}: at most {peak:,}." for i, peak in enumerate(peaks)),
    )
    return _Lanes(panel, max(peaks))


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
    lanes = _lanes(run, "Half a minute")
    long_run = _queues(policy, utilisation, servers, seed)
    lengths = np.arange(min(long_run.share.size, 16))
    theory = []
    if policy == "random":
        theory = [points(lengths, (1 - utilisation) * utilisation**lengths, "M/M/1", color=6)]
    return View(
        [
            lanes.panel,
            Panel(
                [bars(lengths, long_run.share[: lengths.size], "share of the time", color=3), *theory],
                Axis("requests at a server", range=(-0.6, 15.6)),
                Axis("share of the time", percent=True, log=True, range=(0.001, 1)),
                title=f"Over {_HISTORY:,} requests",
            ),
        ],
        f"{policy[0].upper() + policy[1:]}, {percent(utilisation)} busy: the longest queue of this half minute has "
        f"{count(lanes.longest, 'request')}. Over {_HISTORY:,} requests a server idles for {percent(long_run.wasted)} of the time while a "
        f"request waits at another; a request takes {_time(long_run.mean_ms)} on average.",
        answer=100 * long_run.wasted,
        height=400,
    )


# --- old news -----------------------------------------------------------------------------------------------

_STALE = {
    "power of two": "power of two choices",
    "least connections": "least connections",
    "shortest queue": "join the shortest queue",
}
_REFRESHES = (0.0, 0.1, 0.3, 0.6, 1.0, 2.0, 3.5, 5.0, 7.0, 10.0)
_FLEET = 8


@lru_cache(maxsize=256)
def _stale_mean_ms(policy: str, refresh_s: float, balancers: int, utilisation: float, seed: int) -> float:
    run = model.simulate(
        _STALE[policy],
        [_MEAN_SPEED] * _FLEET,
        utilisation,
        requests=_HISTORY,
        warmup=_HISTORY // 10,
        seed=seed,
        balancers=balancers,
        refresh_s=refresh_s,
    )
    return 1000 * run.mean_response_s


@explorable(
    "Deciding by old news",
    predict=choose(
        "Eight servers are 80 % busy, a request takes 100 ms of service. The balancer hears once a second how many "
        "connections each server has, and sends everything to the lowest. Is that better than picking at random?",
        "better",
        "worse",
    ),
    leaves_out="news that arrives for one server at a time, and balancers that guess what they have sent since.",
    refresh_s=slider(0.0, 10.0, 1.0, "news every", unit="s", step=0.1),
    balancers=slider(1, 16, 1, "balancers"),
    utilisation=slider(0.1, 0.98, 0.8, "utilisation", step=0.01),
    seed=seed(),
)
def stale_views(refresh_s: float, balancers: int, utilisation: float, seed: int) -> View:
    """Draw the mean response time over the age of the balancers' view, and the queues that come of it."""
    setting = (balancers, utilisation, seed)
    # Exact, however old the news and however many the balancers: each server is an M/M/1 queue.
    at_random = 1000 * queueing.mm1(utilisation * _MEAN_SPEED, _MEAN_SPEED).response_s
    curves = {name: [_stale_mean_ms(name, refresh, *setting) for refresh in _REFRESHES] for name in _STALE}
    now = {name: _stale_mean_ms(name, refresh_s, *setting) for name in curves}
    rate = utilisation * _MEAN_SPEED * _FLEET
    requests = round(2.4 * _WINDOW_S * rate)
    run = model.simulate(
        "least connections",
        [_MEAN_SPEED] * _FLEET,
        utilisation,
        requests=requests,
        warmup=requests // 2,
        seed=seed,
        balancers=balancers,
        refresh_s=refresh_s,
    )
    lanes = _lanes(run, "Least connections, half a minute")
    news = f"With news every {quantity(refresh_s, 's')}" if refresh_s else "With news at once"
    styles = {"power of two": (2, ""), "least connections": (0, ""), "shortest queue": (3, "dot")}
    return View(
        [
            Panel(
                [
                    line([0, 10], [at_random] * 2, "random", color=6, dash="dash"),
                    *(
                        line(_REFRESHES, curves[name], name, color=color, dash=dash)
                        for name, (color, dash) in styles.items()
                    ),
                    points([refresh_s] * 3, list(now.values()), "now", color=4),
                ],
                Axis("time between two views", "s", range=(-0.2, 10.2)),
                Axis("mean response time", "ms", log=True, range=(80, 100_000)),
                title="Who can stand old news",
            ),
            lanes.panel,
        ],
        f"{news} for {count(balancers, 'balancer')}, least connections takes {_time(now['least connections'])} on "
        f"average, power of two {_time(now['power of two'])}, and random, which needs no news, {_time(at_random)}. "
        f"Under least connections one queue grows to {count(lanes.longest, 'request')}.",
        answer="better" if now["least connections"] < at_random else "worse",
        height=420,
    )


# --- weighted round robin, step by step ---------------------------------------------------------------------

_RULES = {
    "the guide’s formula": "guide",
    "smooth (nginx)": "smooth",
    "expanded list": "expanded",
}
_LETTERS = "ABC"
_STEPS = 60
_STRIP = 12


@explorable(
    "Who is next, by weight",
    predict=estimate(
        "Three servers weigh 3, 1 and 2. “Current weight = (current weight + weight) mod total; take the highest.” "
        "What share of the requests does B get, which weighs 1 of 6?",
        unit="%",
    ),
    leaves_out="the other way to break a tie: by it the guide’s formula gives other shares, and they are wrong too.",
    first=slider(0, 10, 3, "weight of A"),
    second=slider(0, 10, 1, "weight of B"),
    third=slider(0, 10, 2, "weight of C"),
    rule=choice(tuple(_RULES), "the guide’s formula", "rule"),
    step=timeline(_STEPS, 5, "request"),
)
def weighted_round_robin(first: int, second: int, third: int, rule: str, step: int) -> View:
    """Show the current weights at each request, who was chosen so far, and the shares that come of it."""
    weights = (first, second, third)
    total = sum(weights)
    steps = model.weighted_steps(weights, _RULES[rule], _STEPS)
    done = steps[:step]
    chosen = [one.chosen for one in done]
    # What happens repeats itself with this period, for every rule here: current weights are numbers mod the sum.
    cycle = model.weighted_steps(weights, _RULES[rule], total)
    long_run = np.bincount([one.chosen for one in cycle], minlength=3) / total
    so_far = np.bincount(np.array(chosen, int), minlength=3) / max(step, 1)

    traces = []
    # Two rows of the requests so far, the last one not always full.
    first_shown = max(0, (step - 1) // _STRIP - 1) * _STRIP
    for server, letter in enumerate(_LETTERS):
        own = np.array([i - first_shown for i in range(first_shown, step) if chosen[i] == server], int)
        heights = 5.0 - 0.75 * (own // _STRIP)
        traces.append(
            boxes(own % _STRIP, heights, [letter] * own.size, letter, color=server, size=20, legend=False)
        )
    notes = [Note(-1.7, 5.0, "chosen")]
    headings = ["weight"]
    columns: list[tuple[str, ...]] = [tuple(str(weight) for weight in weights)]
    said = "nothing has been asked yet"
    if done:
        now = done[-1]
        said = f"{_LETTERS[now.chosen]} is chosen"
        if now.raised:
            before = done[-2].left if step > 1 else (0, 0, 0)
            guide = _RULES[rule] == "guide"
            stages = [before, now.raised] if guide else [before, now.raised, now.left]
            headings += ["before", f"mod {total}"] if guide else ["before", "raised", "left"]
            columns += [tuple(f"{value:g}" for value in row) for row in stages]
            highest = now.raised[now.chosen]
            ties = now.raised.count(highest) > 1
            reason = "is the first of the highest" if ties else "is highest"
            said = f"{_LETTERS[now.chosen]} {reason} with {highest:g} and is chosen"
    for column, (heading, values) in enumerate(zip(headings, columns, strict=True)):
        x = 1.0 + 3.2 * column
        notes.append(Note(x, 3.2, heading))
        for server, value in enumerate(values):
            filled = column == 2 and server == done[-1].chosen
            traces.append(
                boxes(
                    *([x], [2.4 - 0.85 * server], [value], f"{heading} of {_LETTERS[server]}"),
                    color=server,
                    size=30,
                    hollow=not filled,
                    legend=False,
                )
            )
    notes += [Note(-1.7, 2.4 - 0.85 * server, letter) for server, letter in enumerate(_LETTERS)]
    if not columns[1:]:
        notes.append(Note(7, 1.5, "no current weights" if _RULES[rule] == "expanded" else "all begin at 0"))
    verdict = "as promised" if np.allclose(long_run * total, weights) else "not what the weights promise"
    shares = ", ".join(f"{letter} {percent(share)}" for letter, share in zip(_LETTERS, long_run, strict=True))
    places = np.arange(3)
    return View(
        [
            Panel(
                traces,
                Axis("columns", range=(-2.6, _STRIP - 0.4), hidden=True),
                Axis("rows", range=(0.1, 5.5), hidden=True),
                title="Current weights",
                notes=notes,
            ),
            Panel(
                [
                    bars(places, np.array(weights) / total, "by weight", color=6),
                    bars(places, so_far, "so far", color=3),
                    bars(places, long_run, "in the long run", color=4),
                ],
                Axis("server", labels=list(_LETTERS), range=(-0.6, 2.6)),
                Axis("share of the requests", percent=True, range=(0, 1)),
                title="Shares",
            ),
        ],
        f"Request {step}: {said}. In the long run {shares}: {verdict}.",
        answer=100 * float(long_run[1]),
    )


# --- the server that fails fast -----------------------------------------------------------------------------

_BREAKS_S, _END_S, _BIN_S = 20.0, 120.0, 2.0
_TIMEOUT_S = 5.0
_BY_TIME = {
    "least response time": "least response time",
    "response × connections": "response time × connections",
}
_POOL = 5


def _beliefs(run: model.BalancingRun, server: int, alpha: float, error_counts_s: float | None) -> Trace:
    """Draw the smoothed response time of one server, as its balancer learns it."""
    own = np.flatnonzero(run.server == server)
    own = own[np.argsort(run.finish_s[own], kind="stable")]
    samples = run.finish_s[own] - run.arrival_s[own]
    if error_counts_s is not None:
        samples = np.where(run.failed[own], error_counts_s, samples)
    smoothed = list(accumulate(samples.tolist(), lambda old, new: old + alpha * (new - old)))
    times = np.append(run.finish_s[own], _END_S)
    values = 1000 * np.array(smoothed + smoothed[-1:])
    known = times <= _END_S
    # 600 points draw as well as 6,000 do.
    thinned = np.unique(np.append(np.arange(0, known.sum(), max(1, known.sum() // 600)), known.sum() - 1))
    broken = server == 0
    return line(
        times[known][thinned],
        values[known][thinned],
        "the broken server" if broken else "the others",
        step=True,
        color=1 if broken else 0,
        width=2.5 if broken else 1,
    )


@explorable(
    "The black hole",
    predict=estimate(
        "Five servers share the requests; each goes to the one with the lowest average response time. One of them "
        "breaks and answers everything with an error, within 1 ms. What share of the requests does it get from then "
        "on?",
        unit="%",
    ),
    leaves_out="health checks, which would take the server out if their probe fails as the requests do.",
    fail_fast_ms=log_slider(0.1, 1000, 1, "an error takes", unit="ms"),
    errors=choice(("their own time", "a timeout of 5 s"), "their own time", "an error counts as"),
    explore=slider(0.0, 20.0, 0.0, "sent to any server", unit="%", step=0.5),
    alpha=slider(0.01, 1.0, 0.2, "weight of the last answer, α", step=0.01),
    policy=choice(tuple(_BY_TIME), "least response time", "policy"),
    seed=seed(3),
)
def black_hole(
    fail_fast_ms: float, errors: str, explore: float, alpha: float, policy: str, seed: int
) -> View:
    """Draw what share of the requests a server gets that fails fast, and what its balancer believes."""
    utilisation = 0.3
    counts_s = None if errors == "their own time" else _TIMEOUT_S
    rate = utilisation * _MEAN_SPEED * _POOL
    run = model.simulate(
        _BY_TIME[policy],
        [_MEAN_SPEED] * _POOL,
        utilisation,
        # A fifth more than arrive on average, so that they last until the end.
        requests=round(1.2 * rate * _END_S),
        seed=seed,
        alpha=alpha,
        explore=explore / 100,
        error_counts_s=counts_s,
        faults=[model.Fault(0, "failing fast", _BREAKS_S, 1e6, error_s=fail_fast_ms / 1000)],
    )
    edges = np.arange(0, _END_S + _BIN_S, _BIN_S)
    arrived, _ = np.histogram(run.arrival_s, edges)
    taken, _ = np.histogram(run.arrival_s[run.server == 0], edges)
    share = np.divide(taken, arrived, out=np.full(arrived.size, np.nan), where=arrived > 0)
    after = (run.arrival_s >= _BREAKS_S) & (run.arrival_s < _END_S)
    swallowed = float((run.server[after] == 0).mean())
    if swallowed == 0:
        verdict = "it is never asked again"
    elif swallowed > 2 / _POOL:
        verdict = "it looks like the fastest of all"
    elif swallowed < 0.5 / _POOL:
        verdict = "it is left alone"
    else:
        verdict = "about a fair share"
    return View(
        [
            Panel(
                [
                    line(
                        edges,
                        np.append(share, share[-1]),
                        "the broken server",
                        step=True,
                        color=1,
                    )
                ],
                Axis("time", "s", range=(0, _END_S)),
                Axis("share of the requests", percent=True, range=(0, 1.15)),
                title="Who gets the requests",
                marks=[Mark(_BREAKS_S, "it breaks"), Mark(1 / _POOL, "a fair share", vertical=False)],
            ),
            Panel(
                [
                    _beliefs(run, server, alpha, counts_s)
                    for server in (*range(1, _POOL), 0)
                    if (run.server == server).any()
                ],
                Axis("time", "s", range=(0, _END_S)),
                Axis("smoothed response time", "ms", log=True, range=(0.08, 30_000)),
                title="What the balancer believes",
                marks=[Mark(_BREAKS_S, "")],
            ),
        ],
        f"The broken server answers in {quantity(fail_fast_ms, 'ms')} and gets {percent(swallowed)} of the requests from "
        f"then on: {verdict}. Whoever is sent there gets an error.",
        answer=100 * swallowed,
    )


# --- sticky sessions ----------------------------------------------------------------------------------------

_CLIENTS = 5_000


@explorable(
    "Everybody behind one address",
    predict=estimate(
        "Five servers, each client is kept on one by a hash of its IP address. Three in ten requests come from one "
        "company behind one address. How many times the average does the busiest server get?",
        unit="times",
    ),
    leaves_out="clients of unequal activity, addresses that change on the way, and a cookie that is refused.",
    nat_share=slider(0.0, 0.8, 0.3, "behind one address", step=0.01),
    stickiness=choice(model.STICKINESS, "IP address", "kept together by"),
    servers=slider(2, 20, 5, "servers"),
    utilisation=slider(0.1, 0.98, 0.4, "utilisation", step=0.01),
    seed=seed(),
)
def sticky(nat_share: float, stickiness: str, servers: int, utilisation: float, seed: int) -> View:
    """Draw how busy each server is, and how many sessions the restart of one server loses."""
    # A cookie tells every client behind the address from the others; without it any server will do.
    run = model.simulate(
        "least connections" if stickiness == "none" else "IP hash",
        [_MEAN_SPEED] * servers,
        utilisation,
        requests=50_000,
        warmup=5_000,
        seed=seed,
        addresses=_CLIENTS,
        nat_share=nat_share if stickiness == "IP address" else 0.0,
    )
    load = run.share * utilisation * servers
    hot = int(np.argmax(load))
    response_ms = 1000 * (run.finish_s - run.arrival_s)[run.warmup :]
    there = run.server[run.warmup :] == hot
    hot_p99, rest_p99 = (float(np.percentile(part, 99)) for part in (response_ms[there], response_ms[~there]))
    order = np.argsort(-load, kind="stable")
    lost = [model.sessions_lost(one, servers, _CLIENTS, nat_share) for one in model.STICKINESS]
    expected = 1 + nat_share * (servers - 1)
    theory = f" (expected {quantity(expected)})" if stickiness == "IP address" and nat_share > 0 else ""
    if load[hot] > 1:
        verdict = f"{percent(float(load[hot]))} of what it can do, so its queue grows as long as this lasts"
    else:
        verdict = f"its P99 is {_time(hot_p99)}, that of the others {_time(rest_p99)}"
    ways = {"none": "With no tie", "cookie": "With a cookie", "IP address": "By IP address"}
    now = lost[model.STICKINESS.index(stickiness)]
    told = (
        "loses no session, if sessions are kept elsewhere"
        if now == 0
        else f"loses {percent(now)} of the sessions"
    )
    return View(
        [
            Panel(
                [bars(np.arange(1, servers + 1), load[order], "", color=0)],
                Axis("servers, the busiest first", range=(0.4, servers + 0.6), whole=True),
                Axis("load of each server", percent=True, range=(0, max(1.1, 1.1 * float(load[hot])))),
                title="How busy they are",
                marks=[
                    Mark(1, "full", vertical=False),
                    *([Mark(utilisation, "mean", vertical=False)] if utilisation < 0.9 else []),
                ],
            ),
            Panel(
                [bars(np.arange(3), lost, "", color=1, text=[percent(one) for one in lost])],
                Axis("kept together by", labels=list(model.STICKINESS), range=(-0.6, 2.6)),
                Axis("sessions lost", percent=True, range=(0, 1.12)),
                title="One server restarts",
            ),
        ],
        f"{ways[stickiness]} the busiest server gets "
        f"{quantity(float(load[hot]) / utilisation)} times the mean load{theory}: {verdict}. A restart {told}.",
        answer=expected,
    )

"""Explorables of queues: why what is nearly busy is slow, and what the tail does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import queueing as model
from widgets.controls import choice, log_slider, seed, slider
from widgets.explorable import Progress, estimate, explorable
from widgets.plot import Axis, Mark, Panel, Trace, View, bars, count, line, percent, points, quantity

_SERVICE_MS = 10.0
_RATE = 1000 / _SERVICE_MS
#: Where the simulation is shown besides where the reader stands.
_BUSY = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95)
#: With so many requests at most, so that what moves all of it at once still follows the hand.
_BACKGROUND = 200_000
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
    busy = 1 - np.geomspace(0.99, 0.015, 48)
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
    others = list(zip(*_elsewhere(min(requests, _BACKGROUND), law, seed, servers), strict=True))
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


_LAWS = {
    "exponential": model.EXPONENTIAL,
    "all alike": model.DETERMINISTIC,
    "log-normal": model.log_normal(4),
    "heavy tail (Pareto)": model.pareto(2.2),
}
_WATCHED = 5_000


@explorable(
    "Little’s law, as it settles",
    predict=estimate(
        "80 requests arrive a second, and a request spends 50 ms in the system on average. How many are in the system "
        "on average?",
        unit="requests",
    ),
    leaves_out="other orders of service than first come, first served; the law does not ask.",
    rate=log_slider(1, 200, 80, "requests arrive", unit="/s"),
    service_ms=log_slider(1, 100, 10, "service takes", unit="ms"),
    servers=slider(1, 50, 1, "servers"),
    law=choice(tuple(_LAWS), "exponential", "service times"),
    seed=seed(),
)
def littles_law(rate: float, service_ms: float, servers: int, law: str, seed: int) -> View:
    """Count who is in the system, and compare its average with arrival rate times time in the system."""
    per_server = 1000 / service_ms
    log = model.event_log(_draws(_WATCHED, _LAWS[law], seed), rate, per_server, servers)
    check = log.littles_law()
    times, number = log.path()
    window = float(log.arrive_s[150])
    shown = times <= window
    # To the last arrival: after it the system only empties.
    until = np.geomspace(float(log.depart_s[0]), float(log.arrive_s[-1]), 200)
    seen, product = log.running(until)
    curves = [
        line(until, seen, "L: counted", color=0),
        line(until, _above_zero(product), "λ × time in system", color=1, dash="dash"),
    ]
    waiting = float((log.start_s - log.arrive_s).mean())
    stable = rate < servers * per_server
    if stable:
        queue = model.closed_form(rate, per_server, servers, service=_LAWS[law])
        ends = until[[0, -1]]
        curves.append(
            line(
                ends,
                [queue.in_system] * 2,
                "formula" if queue.exact else "approximation",
                color=6,
                dash="dot",
            )
        )
    told = (
        f"L = {quantity(check.in_system)} in the system, and {quantity(check.rate, '/s')} × "
        f"{quantity(1000 * check.response_s, 'ms')} = {quantity(check.rate * check.response_s)}"
    )
    short = ""
    if stable and abs(check.in_system / queue.in_system - 1) > 0.25:
        short = f" In the long run it is {quantity(queue.in_system)}: for that, {_WATCHED:,} requests are too few."
    waits = f"with the wait alone it would be {quantity(check.rate * waiting)}, the number waiting"
    return View(
        [
            Panel(
                [line(times[shown], number[shown], "in the system", step=True, color=0)],
                Axis("time", "s", range=(0, window)),
                Axis("in the system", "requests"),
                title="The first 150 requests",
            ),
            Panel(
                curves,
                Axis("watched for", "s", log=True),
                Axis("so far", "requests", range=(0, 1.25 * float(max(seen.max(), product.max())))),
                title="Both averages, so far",
            ),
        ],
        f"Over {_WATCHED:,} requests: {told}; {waits}.{short}"
        if stable
        else f"{'More' if rate > servers * per_server else 'As much'} arrives {'than' if rate > servers * per_server else 'as'} "
        f"{count(servers, 'server')} can do, and the line grows; yet over these {_WATCHED:,} "
        f"requests, until the last has left, {told}.",
        answer=model.littles_law(80, 0.05),
    )


def _above_zero(values: np.ndarray) -> np.ndarray:
    """Leave a gap where nobody has left yet."""
    return np.where(values > 0, values, np.nan)


_MOST_WORKERS = 100


@explorable(
    "Workers divided by latency",
    predict=estimate(
        "A request takes 100 ms while the system is idle: 10 ms at the database, 90 ms elsewhere. 50 workers send one "
        "request after the other. How many a second do they get done?",
        unit="/s",
    ),
    leaves_out="a database that does several requests at once, or becomes slower under load.",
    workers=slider(1, _MOST_WORKERS, 50, "workers"),
    service_ms=log_slider(1, 100, 10, "at the database", unit="ms"),
    think_ms=slider(0, 500, 90, "elsewhere", unit="ms", step=5),
    seed=seed(),
)
def closed_system(workers: int, service_ms: float, think_ms: int, seed: int) -> View:
    """Draw throughput and response time over the workers: exact, simulated, and by the rule of thumb."""
    service_s, think_s = service_ms / 1000, think_ms / 1000
    exact = model.closed_queue(_MOST_WORKERS, think_s, service_s)
    few = (2, 5, 10, 20, 40, 70, 100)
    runs = [_closed(n, think_s, service_s, seed) for n in few]
    now = _closed(workers, think_s, service_s, seed)
    idle_s = service_s + think_s
    hoped = workers / idle_s
    real = float(exact.throughput[workers - 1])
    response = float(exact.response_s[workers - 1])
    whisker = "95 % interval"
    top = 1.25 / service_s
    bound = exact.users / idle_s
    return View(
        [
            Panel(
                [
                    line(
                        exact.users[bound < top],
                        bound[bound < top],
                        "workers / idle latency",
                        color=6,
                        dash="dot",
                    ),
                    line(exact.users, exact.throughput, "exact (MVA)", color=0),
                    points(few, [run.throughput for run in runs], "simulated", color=6, size=7),
                    _whiskers([workers], [now.throughput], [_T_MEAN * now.throughput_error], whisker, 1),
                    points([workers], [now.throughput], "now", color=1, size=11),
                ],
                Axis("workers", range=(0, _MOST_WORKERS + 3)),
                Axis("throughput", "requests/s", range=(0, top)),
                title="Throughput",
                marks=[Mark(1 / service_s, "1 / service time", vertical=False)],
            ),
            Panel(
                [
                    line(exact.users, 1000 * exact.response_s, "exact (MVA)", color=0),
                    points(few, [1000 * run.response_s for run in runs], "simulated", color=6, size=7),
                    points([workers], [1000 * now.response_s], "now", color=1, size=11),
                ],
                Axis("workers", range=(0, _MOST_WORKERS + 3)),
                Axis("time at the database", "ms", range=(0, 1100 * float(exact.response_s[-1]))),
                title="Response time",
            ),
        ],
        f"{count(workers, 'worker')} over {quantity(1000 * idle_s, 'ms')} would be {quantity(hoped, 'requests/s')}; it "
        f"is {quantity(real)} (simulated {quantity(now.throughput)}), because a request now takes "
        f"{quantity(1000 * response, 'ms')} at the database instead of {quantity(service_ms, 'ms')}."
        if workers > 1
        else f"One worker never waits: {quantity(hoped, 'requests/s')}, one every {quantity(1000 * idle_s, 'ms')}.",
        answer=float(model.closed_queue(50, 0.09, 0.01).throughput[-1]),
    )


@lru_cache(maxsize=128)
def _closed(workers: int, think_s: float, service_s: float, seed: int) -> model.ClosedRun:
    return model.simulate_closed(workers, think_s, service_s, answers=40_000, warmup=2_000, seed=seed)


_SPREAD = 400_000


@explorable(
    "What the average hides",
    predict=estimate(
        "A server is 80 % busy, and a request takes 50 ms on average. How long does the slowest one in a hundred take, "
        "at least?",
        unit="ms",
    ),
    leaves_out="clients that wait with the next request until the last is answered, and so see less of it.",
    utilisation=slider(0.05, 0.95, 0.8, "utilisation ρ", step=0.01),
    law=choice(tuple(_LAWS), "exponential", "service times"),
    servers=slider(1, 32, 1, "servers on one line"),
    seed=seed(),
)
def response_times(utilisation: float, law: str, servers: int, seed: int) -> View:
    """Draw how response times are distributed, with P50, P95 and P99, simulated and by formula."""
    run = _replay(_SPREAD, _LAWS[law], seed, utilisation, servers)
    arrival = utilisation * servers * _RATE
    shares = np.array([50.0, 95.0, 99.0])
    found = [1000 * run.response_percentile(share) for share in shares.tolist()]
    mean = 1000 * run.response_s
    end = 1.3 * 1000 * run.response_percentile(99)
    edges = np.linspace(0, end, 61)
    share = -np.diff(run.response_tail(edges / 1000))
    times = np.geomspace(1, 10_000, 120)
    tail = run.response_tail(times / 1000)
    # With fewer than ten requests beyond it, a point of the tail is chance.
    known = tail * _SPREAD >= 10
    curves = [line(times[known], tail[known], "simulated", color=0)]
    said = ""
    if law == "exponential":
        queue = model.mmc(arrival, _RATE, servers)
        theory = queue.response_tail(times / 1000)
        there = theory > 1e-6
        curves.append(line(times[there], theory[there], "formula", color=1, dash="dash"))
        said = f" (formula: {quantity(1000 * queue.response_percentile(99), 'ms')})"
    return View(
        [
            Panel(
                [bars((edges[1:] + edges[:-1]) / 2, share, "requests", color=0)],
                Axis("response time", "ms", range=(0, end)),
                Axis("share of the requests", percent=True),
                title="Histogram",
                marks=[
                    # Labels that would lie on each other are left out.
                    Mark(at, name if after - at > end / 10 else "")
                    for at, after, name in zip(
                        found, [*found[1:], np.inf], ("P50", "P95", "P99"), strict=True
                    )
                ],
            ),
            Panel(
                [*curves, points(found, 1 - shares / 100, "P50, P95, P99", color=6, size=9)],
                Axis("response time", "ms", log=True, range=(1, 10_000)),
                Axis("share that takes longer", log=True, percent=True, range=(1e-5, 1.5)),
                title="Tail",
            ),
        ],
        f"{count(servers, 'server')}, {percent(utilisation)} busy: {quantity(mean, 'ms')} on average, half take less "
        f"than {quantity(found[0], 'ms')}, one in twenty more than {quantity(found[1], 'ms')}, one in a hundred more "
        f"than {quantity(found[2], 'ms')}{said}.",
        answer=1000 * model.mm1(80, 100).response_percentile(99),
    )


_CALLS = 250_000


@lru_cache(maxsize=2)
def _chosen(seed: int) -> np.ndarray:
    """Which of the simulated requests are taken as calls, by their share of faster ones."""
    return np.random.default_rng(seed).random(_CALLS)


def _calls(run: model.QueueRun, seed: int) -> np.ndarray:
    """Return times in ms of calls to as many servers as there are calls, so that they are independent."""
    times = np.geomspace(1e-6, 2 * run.response_percentile(99.9999), 3_000)
    return np.asarray(1000 * np.interp(_chosen(seed), 1 - run.response_tail(times), times))


@lru_cache(maxsize=1)
def _slowest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of calls, and P50 and P99 of the slowest of so many, in mean response times of M/M/1."""
    numbers = np.unique(np.geomspace(1, 200, 60).astype(int))
    single = model.mm1(0.5, 1)

    def of(percent_: float) -> np.ndarray:
        found = [model.fan_out_percentile(single.response_percentile, int(n), percent_) for n in numbers]
        return np.array(found) / single.response_s

    return numbers, of(50), of(99)


@explorable(
    "One slow call is enough",
    predict=estimate(
        "To answer a request, 100 servers are asked at once, and the answer waits for the last of them. What share of "
        "the requests meet a call that is among the slowest 1 %?",
        unit="%",
    ),
    leaves_out="calls that are slow together, which spares some requests, and calls that are sent twice to cut the tail.",
    fan_out=slider(1, 200, 100, "calls for each request"),
    percentile=slider(50.0, 99.9, 99.0, "a call is slow beyond its P", step=0.1),
    utilisation=slider(0.05, 0.9, 0.5, "utilisation of each server", step=0.01),
    seed=seed(),
)
def fan_out(fan_out: int, percentile: float, utilisation: float, seed: int) -> View:
    """Draw the share of requests that meet a slow call, and what the last of many calls takes."""
    numbers, p50, p99 = _slowest()
    one = model.mm1(utilisation * _RATE, _RATE)
    slow = [model.fan_out_slow_share(int(n), percentile) for n in numbers]
    # The response time of M/M/1 is exponential: all its percentiles grow as its mean does.
    mean = 1000 * one.response_s
    limit = 1000 * one.response_percentile(percentile)
    run = _replay(1_000_000, model.EXPONENTIAL, seed, utilisation, 1)
    calls = _calls(run, seed)
    requests = min(10_000, calls.size // fan_out)
    last = calls[: requests * fan_out].reshape(requests, fan_out).max(axis=1)
    share = model.fan_out_slow_share(fan_out, percentile)
    met = float((last > 1000 * run.response_percentile(percentile)).mean())
    half = 1.96 * float(np.sqrt(share * (1 - share) / requests))
    median = 1000 * model.fan_out_percentile(one.response_percentile, fan_out, 50)
    seen = [float(x) for x in np.quantile(last, (0.5, 0.99))]
    errors = [
        1000
        * model.fan_out_percentile(lambda one_: _T_P99 * run.response_percentile_error(one_), fan_out, of)
        for of in (50, 99)
    ]
    name = f"P{quantity(percentile)}"
    return View(
        [
            Panel(
                [
                    line(numbers, slow, "formula", color=0),
                    _whiskers([fan_out], [share], [half], "95 % interval", 6),
                    points([fan_out], [met], "simulated", color=1, size=10),
                ],
                Axis("calls for each request", log=True, range=(0.9, 220)),
                Axis("requests with a slow call", percent=True, range=(0, 1.04)),
                title="Share of slow requests",
            ),
            Panel(
                [
                    line(numbers, mean * p50, "P50", color=0),
                    line(numbers, mean * p99, "P99", color=2, dash="dash"),
                    line([1, 200], [limit, limit], f"{name} of one call", color=6, dash="dot"),
                    _whiskers([fan_out] * 2, seen, errors, "95 % interval", 6),
                    points([fan_out] * 2, seen, "simulated", color=1, size=10),
                ],
                Axis("calls for each request", log=True, range=(0.9, 220)),
                Axis("response time", "ms", range=(0, 1.15 * mean * float(p99[-1]))),
                title="The slowest of the calls",
            ),
        ],
        f"{count(fan_out, 'call')} for each request: {percent(share)} of the requests meet one slower than "
        f"{quantity(limit, 'ms')}, the {name} of a call (simulated: {percent(met)}); half of the requests take more "
        f"than {quantity(median, 'ms')}, half of the single calls more than "
        f"{quantity(1000 * one.response_percentile(50), 'ms')}.",
        answer=100 * model.fan_out_slow_share(100, 99),
    )


# --- pool or split ------------------------------------------------------------------------------------------

_SERVICE_RATE = 10.0
_COUNTS = np.unique(np.geomspace(1, 50, 24).astype(int))
_FEW = 0.0009
_PERCENTS = (50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9)


def _simulated(
    customers: int, seed: int, utilisation: float, servers: int, lines: int, progress: Progress
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
        progress=progress,
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
def pool_or_split(servers: int, utilisation: float, requests: int, seed: int, *, progress: Progress) -> View:
    """Compare one line for all servers with one line for each, and with one server that is as fast as all."""
    rate = utilisation * _SERVICE_RATE
    pooled = [1000 * model.mmc(rate * c, _SERVICE_RATE, c).response_s for c in _COUNTS.tolist()]
    alone = model.mm1(rate, _SERVICE_RATE)
    common = model.mmc(rate * servers, _SERVICE_RATE, servers)
    fast = model.mm1(rate * servers, _SERVICE_RATE * servers)
    setting = (requests, seed, utilisation, servers)
    split_ms, split_error, split_p99, split_times = _simulated(
        *setting, servers, lambda share: progress(share / 2)
    )
    pool_ms, pool_error, pool_p99, pool_times = _simulated(
        *setting, 1, lambda share: progress((1 + share) / 2)
    )
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

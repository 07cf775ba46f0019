"""Explorables of caches: what they buy, what they hold, and how large they must be."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

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
    line,
    percent,
    points,
    quantity,
)

_NEAR_ONE = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


@explorable(
    "What a cache buys",
    predict=estimate(
        "The hit ratio falls from 99.5 % to 98 %. By which factor does the load on the database grow?",
        unit="times",
    ),
    leaves_out="queues: a database that gets ten times the load also answers more slowly (chapter 1).",
    hit_ratio=slider(0.0, 1.0, 0.9, "hit ratio"),
    hit_ms=log_slider(0.01, 50, 10, "a look-up takes", unit="ms"),
    miss_ms=log_slider(1, 500, 100, "the database takes", unit="ms"),
    fill_ms=slider(0.0, 20.0, 10.0, "filling the cache takes", unit="ms"),
)
def effective_access_time(hit_ratio: float, hit_ms: float, miss_ms: float, fill_ms: float) -> View:
    """Draw the mean access time over the hit ratio, by three formulas, and the load that is left."""
    ratios = np.linspace(0, 1, 101)
    curves = [model.effective_access_time(h, hit_ms, miss_ms, fill_ms=fill_ms) for h in ratios.tolist()]
    now = model.effective_access_time(hit_ratio, hit_ms, miss_ms, fill_ms=fill_ms)
    if now.db_load == 1:
        load = "every request reaches the database, as it would without a cache"
    elif now.db_load > 0:
        load = (
            f"{percent(now.db_load)} of the requests reach the database, and without the cache it would get "
            f"{quantity(now.load_without_cache)} times as many"
        )
    else:
        load = "no request reaches the database, and it is not ready for the day when all do"
    return View(
        [
            Panel(
                [
                    line(ratios, [c.with_fill_ms for c in curves], "look-up, database, fill"),
                    line(ratios, [c.with_lookup_ms for c in curves], "fill in the background"),
                    line(ratios, [c.miss_only_ms for c in curves], "“a miss is the database alone”"),
                    points([hit_ratio], [now.with_fill_ms], "now", size=10, color=6),
                ],
                Axis("hit ratio", percent=True, range=(0, 1)),
                Axis("mean access time", "ms"),
                title="Latency",
                marks=[Mark(miss_ms, "no cache", vertical=False)],
            ),
            Panel(
                [bars(np.arange(len(_NEAR_ONE)), [1 - h for h in _NEAR_ONE], "database load", color=1)],
                Axis("hit ratio", labels=[f"{100 * h:g}%" for h in _NEAR_ONE], range=(-0.6, 5.6)),
                Axis("database load", percent=True, log=True, range=(0.0005, 0.2)),
                title="The last ten per cent",
                marks=[Mark(1 - hit_ratio, "now", vertical=False)] if 0.9 <= hit_ratio < 1 else [],
            ),
        ],
        f"A request takes {quantity(now.with_fill_ms, 'ms')} on average instead of {quantity(miss_ms, 'ms')}; {load}.",
        answer=(1 - 0.98) / (1 - 0.995),
    )


_SIMULATED = tuple(policy for policy in model.POLICIES if policy != "OPT")


def _sizes(items: int) -> NDArray[np.int64]:
    """Return cache sizes from a thousandth of the items to all of them, in equal ratios."""
    return np.unique(np.geomspace(max(1, items // 1000), items, 13).astype(np.int64))


@lru_cache(maxsize=64)
def _che_curve(items: int, zipf_s: float) -> tuple[float, ...]:
    popularity = workloads.zipf_probabilities(items, zipf_s)
    return tuple(model.che(popularity, int(size)).hit_ratio for size in _sizes(items))


@lru_cache(maxsize=8)
def _simulated_curve(policy: str, items: int, zipf_s: float, seed: int) -> tuple[float, ...]:
    trace = _requests(items, zipf_s, seed)
    return tuple(
        model.simulate(policy, trace, int(size), warmup=100_000, seed=seed).hit_ratio
        for size in _sizes(items)
    )


@lru_cache(maxsize=4)
def _requests(items: int, zipf_s: float, seed: int) -> NDArray[np.int32]:
    return workloads.zipf_trace(200_000, items, zipf_s, seed)


@explorable(
    "How large must it be?",
    predict=estimate(
        "10,000 items with popularity Zipf, s = 1. A cache holds one in ten of them. What share of the requests does "
        "it answer?",
        unit="%",
    ),
    leaves_out="popularity that changes: the requests are independent, and their distribution stays.",
    zipf_s=slider(0.0, 1.4, 1.0, "Zipf exponent s"),
    items=log_slider(100, 50_000, 10_000, "items", whole=True),
    cached=log_slider(0.1, 100, 10, "cached share of the items", unit="%"),
    policy=choice(_SIMULATED, "LRU", "eviction policy"),
    seed=seed(),
)
def cache_size(zipf_s: float, items: int, cached: float, policy: str, seed: int) -> View:
    """Draw the hit ratio over the size of the cache: simulated, by Che's approximation, and at the best."""
    popularity = workloads.zipf_probabilities(items, zipf_s)
    trace = _requests(items, zipf_s, seed)
    capacity = max(1, round(items * cached / 100))
    now = model.simulate(policy, trace, capacity, warmup=100_000, seed=seed).hit_ratio
    theory = model.che(popularity, capacity).hit_ratio
    # Of these the moved control often leaves one as it is.
    curve, measured = _che_curve(items, zipf_s), _simulated_curve(policy, items, zipf_s, seed)
    sizes = _sizes(items)
    share = sizes / items
    return View(
        [
            Panel(
                [
                    line(share, curve, "LRU by Che’s approximation", color=6, dash="dash"),
                    points(share, measured, f"{policy}, simulated", color=0),
                    line(
                        share,
                        np.cumsum(popularity)[sizes - 1],
                        "the most popular, kept for ever",
                        color=2,
                        dash="dot",
                    ),
                    points([capacity / items], [now], "now", size=12, color=1),
                ],
                Axis("cache size, share of all items", log=True, percent=True, range=(0.0008, 1.2)),
                Axis("hit ratio", percent=True, range=(0, 1.02)),
            )
        ],
        f"{policy} with {capacity:,} of {items:,} items hits {percent(now)} of the time; "
        f"Che’s approximation says {percent(theory)} for LRU.",
        answer=100 * theory,
    )


# Chosen so that the policies part: in so small a cache most stories treat CLOCK and SIEVE alike.
_STORY = "AECBBBCABABB" + "PQRST" + "CBBBABAB"
_LETTERS = sorted(set(_STORY))
_STEPS = np.array([_LETTERS.index(letter) for letter in _STORY], dtype=np.int32)
_SLOTS = 5


@explorable(
    "Who forgets everything in a scan?",
    predict=choose(
        "A and B are asked for again and again. Then five new items come, one after the other, once each. The cache has "
        "five slots and evicts the least recently used. Are A and B still there afterwards?",
        "yes: they are the favourites",
        "no: they are gone",
    ),
    policy=choice(model.POLICIES, "LRU", "eviction policy"),
    step=timeline(len(_STORY), 17, "request"),
)
def policy_steps(policy: str, step: int) -> View:
    """Show what the cache holds after each request of a short story with a scan in the middle."""
    states = model.steps(policy, _STEPS, _SLOTS)
    done = states[:step]
    number = np.arange(len(_STORY), dtype=float)
    hits = sum(state.hit for state in done)

    def letters(which: list[int]) -> list[str]:
        return [_STORY[i] for i in which]

    def requests(name: str, which: list[int], color: int, hollow: bool) -> Trace:
        height = np.full(len(which), 3.0)
        return boxes(number[which], height, letters(which), name, color=color, size=22, hollow=hollow)

    traces = [
        requests("hit", [state.request for state in done if state.hit], 2, False),
        requests("miss", [state.request for state in done if not state.hit], 1, False),
        requests("to come", list(range(step, len(_STORY))), 6, True),
    ]
    notes = [Note(-2.6, 3.0, "requests")]
    said = "the cache is empty"
    rows = len(states[-1].queues)
    if done:
        now = done[-1]
        for row, (name, queue) in enumerate(now.queues.items()):
            ghost = name in ("ghost", "B1", "B2")
            height = 1.7 - 1.05 * row
            places = 1.5 + 3.0 * np.arange(len(queue))
            words = [_LETTERS[key] for key in queue]
            if not ghost and now.mark_name:
                words = [f"{word} {now.marks.get(key, 0)}" for word, key in zip(words, queue, strict=True)]
            label = f"{name}, names only" if ghost else name
            traces.append(
                boxes(
                    places,
                    np.full(len(queue), height),
                    words,
                    label,
                    color=0,
                    size=40,
                    hollow=ghost,
                    legend=False,
                )
            )
            notes.append(Note(-2.6, height, label.replace(", ", ",<br>")))
            if now.hand is not None and now.hand in queue:
                notes.append(Note(float(places[queue.index(now.hand)]), height - 0.52, "▲ hand"))
        gone = "" if now.evicted is None else f", and {_LETTERS[now.evicted]} goes"
        said = f"{_LETTERS[now.key]} is a {'hit' if now.hit else 'miss'}{gone}"
    total = sum(state.hit for state in states)
    marks = f" The number beside an item: {states[-1].mark_name}." if states[-1].mark_name else ""
    return View(
        [
            Panel(
                traces,
                Axis("requests and slots", range=(-4.4, len(_STORY) - 0.2), hidden=True),
                Axis("rows", range=(1.0 - 1.05 * rows, 3.6), hidden=True),
                notes=notes,
            )
        ],
        f"{policy}, request {step}: {said}. {hits} of {step} were hits; it will be {total} of {len(_STORY)}.{marks}",
        answer="no: they are gone",
        height=150 + 75 * rows,
    )


_TRACES = {
    "pages of an SQLite database": "sqlite_pages",
    "files opened by a documentation build": "docs_build",
    "Zipf, s = 0.9 (made up)": "",
}


@cache
def _trace(name: str) -> workloads.Trace | NDArray[np.int32]:
    return (
        workloads.recorded_trace(_TRACES[name])
        if _TRACES[name]
        else workloads.zipf_trace(200_000, 5_000, 0.9, 1)
    )


@cache
def _curve(policy: str, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    trace = _trace(name)
    items = trace.items if isinstance(trace, workloads.Trace) else 5_000
    sizes = np.unique(np.geomspace(max(4, items // 500), items, 14).astype(int))
    curve = model.hit_ratio_curve(policy, trace, sizes)
    return sizes / items, 1 - curve.hit_ratio


@explorable(
    "The miss-ratio curve of a real program",
    predict=choose(
        "The requests are the pages that an SQLite database reads while an application uses it. The cache holds one page "
        "in a hundred. Who comes closer to Belady’s optimum?",
        "LRU",
        "SIEVE",
    ),
    leaves_out="what a miss costs: here every page is as dear as any other.",
    trace=choice(tuple(_TRACES), next(iter(_TRACES)), "requests"),
    policy=choice(tuple(p for p in _SIMULATED if p != "LRU"), "SIEVE", "policy beside LRU"),
    cached=log_slider(0.5, 100, 1, "cached share of the objects", unit="%"),
)
def miss_ratio_curves(trace: str, policy: str, cached: float) -> View:
    """Draw the miss ratio over the size of the cache: LRU, a policy beside it, and the optimum."""
    names = ("LRU", policy, "OPT")
    curves = {name: _curve(name, trace) for name in names}
    share = max(cached / 100, float(curves["LRU"][0][0]))
    at = {name: float(np.interp(np.log(share), np.log(x), y)) for name, (x, y) in curves.items()}
    words = {"OPT": "Belady’s optimum"}
    return View(
        [
            Panel(
                [line(x, y, words.get(name, name)) for name, (x, y) in curves.items()]
                + [points([share] * 3, list(at.values()), "now", color=6)],
                Axis("cache size, share of all objects", log=True, percent=True, range=(0.0018, 1.1)),
                Axis("miss ratio", percent=True, range=(0, 1)),
                marks=[Mark(share, "")],
            )
        ],
        f"With {percent(share)} of the objects cached LRU misses {percent(at['LRU'])} of the requests, {policy} "
        f"{percent(at[policy])}; nobody could do better than {percent(at['OPT'])}.",
        answer=_closer(trace, policy, at),
    )


def _closer(trace: str, policy: str, at: dict[str, float]) -> str | None:
    """Return who is closer to the optimum, for the question asked; other settings do not ask it."""
    if trace != next(iter(_TRACES)) or policy != "SIEVE":
        return None
    return "LRU" if at["LRU"] < at["SIEVE"] else "SIEVE"


_OBJECTS = 5_000
_MEAN_BYTES = 100_000


@explorable(
    "What an edge saves",
    predict=choose(
        "The edge is 10 ms away and the origin 100; from edge to origin it takes 110 ms. One request in twenty hits. "
        "Is the mean latency better than without the CDN?",
        "better",
        "worse",
    ),
    leaves_out="connections that are kept open, and tiers of edges behind edges.",
    cached=log_slider(0.1, 100, 10, "edge cache, share of all bytes", unit="%"),
    log_sd=slider(0.0, 2.5, 1.5, "spread of the object sizes (σ of the log)"),
    correlation=slider(-0.9, 0.9, -0.3, "correlation of popularity and size"),
    origin_ms=log_slider(20, 400, 100, "user to origin (the edge is 10 ms away)", unit="ms"),
    between_ms=log_slider(1, 400, 110, "edge to origin", unit="ms"),
)
def cdn(cached: float, log_sd: float, correlation: float, origin_ms: float, between_ms: float) -> View:
    """Simulate an edge cache over objects of unequal size: latency by requests, traffic by bytes."""
    edge_ms = 10.0
    trace = workloads.zipf_trace(100_000, _OBJECTS, 0.9, 1)
    sizes = workloads.lognormal_sizes(_OBJECTS, _MEAN_BYTES, log_sd, 1, correlation)
    run = model.simulate_bytes(trace, max(1, int(sizes.sum() * cached / 100)), sizes=sizes, warmup=50_000)
    mean_request = run.requested_bytes / run.requests
    now = model.cdn(
        run.hit_ratio,
        edge_ms,
        origin_ms,
        between_ms,
        byte_hit_ratio=run.byte_hit_ratio,
        requests_per_s=1_000,
        mean_bytes=mean_request,
    )
    ends = [model.cdn(h, edge_ms, origin_ms, between_ms).mean_ms for h in (0.0, 1.0)]
    even = now.break_even_hit_ratio
    marks = [Mark(origin_ms, "without a CDN", vertical=False)]
    if 0 < even < 1:
        marks.append(Mark(even, "break-even"))
    verdict = "instead of" if now.mean_ms <= origin_ms else "on average, worse than"
    return View(
        [
            Panel(
                [
                    line([0, 1], ends, "with the CDN"),
                    points([run.hit_ratio], [now.mean_ms], "now", size=11, color=1),
                ],
                Axis("request hit ratio", percent=True, range=(0, 1)),
                Axis("mean latency", "ms", range=(0, 1.15 * max(ends[0], origin_ms))),
                title="Latency",
                marks=marks,
            ),
            Panel(
                [bars([0, 1], [run.hit_ratio, run.byte_hit_ratio], "hit ratio", color=0)],
                Axis("counted by", labels=["requests", "bytes"], range=(-0.6, 1.6)),
                Axis("hit ratio", percent=True, range=(0, 1)),
                title="Two hit ratios",
            ),
        ],
        f"{percent(run.hit_ratio)} of the requests hit and {percent(run.byte_hit_ratio)} of the bytes: "
        f"{quantity(now.mean_ms, 'ms')} {verdict} {quantity(origin_ms, 'ms')} without; the origin still sends "
        f"{percent(1 - run.byte_hit_ratio)} of the bytes.",
        answer="worse" if model.cdn(0.05, 10, 100, 110).mean_ms > 100 else "better",
    )


_ENTRIES = 10_000
_HORIZON_S = 1_200


_BIN_S = 10


def _binned(per_second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts per ten seconds; nothing is a gap, for which a log axis has no place."""
    counts: NDArray[np.float64] = per_second.reshape(-1, _BIN_S).sum(axis=1).astype(np.float64)
    counts[counts == 0] = np.nan
    return counts


@explorable(
    "A time to live, and what happens at its end",
    predict=estimate(
        "An item is asked for once a minute, at random, and kept for five minutes after each load. What share of its "
        "requests hit?",
        unit="%",
    ),
    leaves_out="eviction: the cache is large enough, entries leave by time alone.",
    ttl_s=log_slider(10, 3600, 300, "time to live", unit="s"),
    rate=log_slider(1, 10_000, 200, "requests", unit="/s"),
    zipf_s=slider(0.0, 1.4, 0.9, "Zipf exponent"),
    jitter=slider(0.0, 0.5, 0.1, "jitter"),
    seed=seed(),
)
def time_to_live(ttl_s: float, rate: float, zipf_s: float, jitter: float, seed: int) -> View:
    """Draw the hit ratio over the time to live, and how many entries expire in each second."""
    rates = workloads.zipf_probabilities(_ENTRIES, zipf_s) * rate
    lives = np.geomspace(10, 3600, 40)
    curve = [model.ttl_hit_ratio(rates, life).hit_ratio for life in lives.tolist()]
    now = model.ttl_hit_ratio(rates, ttl_s)
    spike = model.expiry_histogram(_ENTRIES, ttl_s, jitter, horizon_s=_HORIZON_S, seed=seed)
    worst, spread = int(spike.fixed.max()), int(spike.jittered.max())
    bins = np.arange(0, _HORIZON_S, _BIN_S) + _BIN_S / 2
    if worst == 0:
        said = f"in the first {_HORIZON_S // 60} minutes nothing expires"
    else:
        said = f"at worst {worst:,} entries expire in one second, with jitter {spread:,}"
    return View(
        [
            Panel(
                [line(lives, curve, "hit ratio"), points([ttl_s], [now.hit_ratio], "now", size=11, color=1)],
                Axis("time to live", "s", log=True, range=(10, 3600)),
                Axis("hit ratio", percent=True, range=(0, 1.02)),
                title="In the long run",
            ),
            Panel(
                [
                    bars(bins, np.nan_to_num(_binned(spike.fixed)), "all the same", color=6),
                    line(bins, _binned(spike.jittered), "with jitter", color=1),
                ],
                Axis("time after all were filled", "s", range=(0, _HORIZON_S)),
                Axis("entries that expire", "in 10 s", log=True, range=(0.8, 20_000)),
                title="After a restart",
            ),
        ],
        f"Kept for {quantity(ttl_s, 's')}, entries answer {percent(now.hit_ratio)} of the requests and are loaded "
        f"{quantity(now.fills_per_s)} times a second; {said}.",
        answer=100 * model.ttl_hit_ratio([1 / 60], 300).hit_ratio,
    )

"""Sharding as explorables: what moves when nodes come and go, and why even keys are not even load."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import resharding, sharding
from course.workloads import zipf_probabilities
from widgets.controls import choice, log_slider, seed, slider
from widgets.explorable import choose, estimate, explorable
from widgets.plot import Axis, Mark, Note, Panel, Trace, View, bars, count, line, percent, points, quantity

# --- resharding and hot shards ------------------------------------------------------------------------------

#: The methods that are compared, and how narrow bars name them.
_METHODS = {
    "modulo": "mod",
    "ring": "ring",
    "jump": "jump",
    "rendezvous": "rendez-<br>vous",
    "hash slots": "hash<br>slots",
    "range": "range",
}


@lru_cache(maxsize=32)
def _resized(method: str, before: int, after: int, keys: int) -> tuple[sharding.Moves, sharding.Load]:
    old = sharding.sharding(method, before, keys=keys)
    new = resharding.resize(old, after)
    each = np.arange(keys)
    return sharding.moves(old, new, each), sharding.load(new, each)


@explorable(
    "What a resharding moves",
    predict=estimate(
        "Users are placed by user_id % 4, on four database servers. A fifth server comes, the rule becomes % 5. What "
        "share of the users has to move?",
        unit="%",
    ),
    leaves_out="how long the copying takes, and the writes that arrive meanwhile.",
    before=slider(2, 16, 4, "nodes before"),
    after=slider(2, 16, 5, "nodes after"),
    keys=log_slider(1000, 200_000, 20_000, "keys", whole=True),
    method=choice(tuple(_METHODS), "modulo", "method"),
)
def reshard(before: int, after: int, keys: int, method: str) -> View:
    """Draw the share of the keys that each method moves, and the load that the chosen one leaves."""
    # The methods share one sample; only the one that is looked at takes all keys.
    sample = min(keys, 20_000)
    shares = [_resized(name, before, after, sample)[0].share for name in _METHODS]
    moved, held = _resized(method, before, after, keys)
    least = resharding.least_moves(before, after)
    chosen = list(_METHODS).index(method)
    places = np.arange(len(_METHODS))
    shares[chosen] = moved.share
    others = places != chosen
    fullest = "no more than the average"
    if held.max_over_mean > 1.005:
        fullest = f"{quantity(held.max_over_mean)} times the average"
    if moved.moved == 0:
        what = f"From {before} to {after} nodes nothing moves"
    else:
        what = (
            f"From {before} to {after} nodes {method} moves {count(moved.moved, 'key')} of {keys:,} "
            f"({percent(moved.share)}); an even load needs about {percent(least)}"
        )
    return View(
        [
            Panel(
                [
                    bars(places[others], np.array(shares)[others], "other methods", color=6),
                    bars([chosen], [moved.share], method, color=0),
                ],
                Axis("method", labels=list(_METHODS.values()), range=(-0.6, 5.6)),
                Axis("keys that move", percent=True, range=(0, 1)),
                title="What has to be copied",
                marks=[Mark(least, "least for an even load", vertical=False)] if least else [],
            ),
            Panel(
                [bars(np.arange(1, after + 1), held.share, "", color=0)],
                Axis("node", range=(0.4, after + 0.6), whole=True),
                Axis("keys held", percent=True, range=(0, 1.6 * max(1 / after, held.share.max()))),
                title=f"After, by {method}",
                marks=[Mark(1 / after, "even", vertical=False)],
            ),
        ],
        f"{what}. The fullest of the {after} then holds {fullest}.",
        answer=100 * moved.share,
    )


@lru_cache(maxsize=128)
def _rule(method: str, shards: int) -> sharding.Sharding:
    return sharding.sharding(method, shards)


@lru_cache(maxsize=256)
def _places(method: str, shards: int, keys: int) -> NDArray[np.int32]:
    # To make a ring takes longer than to ask it.
    return _rule(method, shards).locate(np.arange(keys))


def _requests(method: str, shards: int, popularity: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(_places(method, shards, popularity.size), popularity, shards).astype(np.float64)


def _span(shares: NDArray[np.float64], what: str) -> str:
    low, high = percent(round(float(shares.min()), 6)), percent(round(float(shares.max()), 6))
    return f"{low} of the {what} each" if low == high else f"from {low} to {high} of the {what}"


@explorable(
    "Even in keys, not in load",
    predict=choose(
        "Ten shards hold 10,000 keys, spread evenly by a good hash. Popularity follows Zipf's law with exponent 1.1. "
        "You double the number of shards. What happens to the load of the hottest?",
        "It halves",
        "It falls by less than a third",
    ),
    leaves_out="caches before the shards, which take most of the requests for hot keys.",
    shards=slider(2, 50, 10, "shards"),
    zipf_s=slider(0.0, 2.0, 1.1, "Zipf exponent"),
    keys=log_slider(100, 20_000, 10_000, "keys", whole=True),
    method=choice(("jump", "modulo", "ring", "hash slots"), "jump", "method"),
    copies=slider(1, 20, 1, "copies of the hottest key"),
)
def hot_shard(shards: int, zipf_s: float, keys: int, method: str, copies: int) -> View:
    """Draw keys and requests of each shard, and how little more shards help the hottest."""
    popularity = zipf_probabilities(keys, zipf_s)
    hottest_key = float(popularity[0]) / copies
    if copies > 1:
        # A copy is a key of its own: each request picks one of them.
        popularity = np.concatenate([popularity[1:], np.full(copies, hottest_key)])
    load = _requests(method, shards, popularity)
    held = np.bincount(_places(method, shards, popularity.size), minlength=shards) / popularity.size
    numbers = np.unique([2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, shards])
    hottest = [float(_requests(method, int(n), popularity).max()) for n in numbers]
    order = np.argsort(-load)
    ranks = np.arange(1, shards + 1)
    doubled = float(_requests(method, 20, zipf_probabilities(10_000, 1.1)).max())
    at_ten = float(_requests(method, 10, zipf_probabilities(10_000, 1.1)).max())
    one = float(popularity.max())
    if one > 1 / shards:
        bound = f"One key alone has {percent(one)}: no placement gets the hottest shard below that."
    else:
        bound = f"No key has more than {percent(one)}, less than an even share of {percent(1 / shards)}."
    return View(
        [
            Panel(
                [
                    bars(ranks, load[order], "requests", color=1),
                    points(ranks, held[order], "keys", color=0, size=7),
                ],
                Axis("shard, hottest first", range=(0.4, shards + 0.6), whole=True),
                Axis("share", percent=True, range=(0, 1.15 * float(load.max()))),
                title="Each shard's share",
            ),
            Panel(
                [
                    line(numbers, hottest, "hottest shard", color=1),
                    line(numbers, 1 / numbers, "even load", color=6, dash="dot"),
                    line([2, 50], [one, one], "hottest key", color=4, dash="dash"),
                    points([shards], [float(load.max())], "now", color=1, size=11),
                ],
                Axis("shards", range=(0, 51)),
                Axis("hottest shard's share", percent=True, range=(0, 1.1 * max(0.5, *hottest))),
                title="Do more shards help?",
            ),
        ],
        f"The {shards} shards hold {_span(held, 'keys')}, and get {_span(load, 'requests')}. {bound}",
        answer="It falls by less than a third" if doubled > at_ten * 2 / 3 else "It halves",
    )


# --- the ring -----------------------------------------------------------------------------------------------

_KEYS = 100_000
_SECTORS = 360
_OTHERS = (0, 2, 3, 4, 5, 6)
_CHANGED = 1


@lru_cache(maxsize=64)
def _share_range(servers: int, vnodes: int) -> tuple[float, float]:
    """Between which shares nine of ten hash functions put one server."""
    low, high = (sharding.ring_share_percentile(servers, vnodes, percent) for percent in (5, 95))
    return low, high


@lru_cache(maxsize=64)
def _expected_maximum(servers: int, vnodes: int) -> float:
    return sharding.expected_max_over_mean(servers, vnodes)


def _arcs(which: NDArray[np.bool_], radius: float, name: str, color: int) -> Trace:
    """Draw those sectors of a circle, clockwise from the top; neighbours join."""
    x: list[float] = []
    y: list[float] = []
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], which, [False])).astype(np.int8)))
    for begin, end in zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True):
        angles = np.arange(begin, end + 1) / _SECTORS * 2 * np.pi
        x += [*(radius * np.sin(angles)).tolist(), np.nan]
        y += [*(radius * np.cos(angles)).tolist(), np.nan]
    drawn = line(x, y, name, color=color, width=15)
    # Plotly leaves out points of a curve that a thin line would not miss.
    style = {**drawn.style, "line": {**drawn.style["line"], "simplify": False}}
    return replace(drawn, style=style, legend=False)


def _owners(ring: sharding.Ring) -> NDArray[np.int32]:
    """Server of the middle of each sector."""
    middles = ((np.arange(_SECTORS) + 0.5) / _SECTORS * 2.0**32).astype(np.uint32)
    return np.asarray(ring.owners[np.searchsorted(ring.tokens, middles) % ring.tokens.size])


def _circle(owners: NDArray[np.int32], first: int, radius: float) -> list[Trace]:
    """Draw a ring, each sector in the colour of its server; servers of one colour are one curve, drawn at once."""
    colors = (owners - first) % len(_OTHERS)
    return [
        _arcs(colors == place, radius, f"servers in colour {place + 1}", _OTHERS[place])
        for place in np.unique(colors).tolist()
    ]


@explorable(
    "A server joins the ring",
    predict=estimate(
        "Ten servers share the keys on a ring, 100 tokens each. An eleventh joins. What share of the keys moves?",
        unit="%",
    ),
    leaves_out="keys that are asked for more often than others: here every key counts the same.",
    servers=slider(2, 50, 10, "servers before"),
    vnodes=log_slider(1, 500, 100, "virtual nodes (tokens) a server", whole=True),
    change=choice(("add a server", "remove a server"), "add a server", "change"),
    seed=seed(),
)
def ring(servers: int, vnodes: int, change: str, seed: int) -> View:
    """Draw the ring before and after a server comes or goes, and how the keys are spread."""
    # Other names are other places on the ring: what another hash function would do.
    first = (seed - 1) * 53 % 32_000
    before = sharding.Ring(tuple(range(first, first + servers)), vnodes)
    adds = change == "add a server"
    changed = first + servers if adds else first + servers - 1
    after = before.add(changed) if adds else before.remove(changed)
    keys = np.arange(_KEYS)
    old, new = _owners(before), _owners(after)
    moved = sharding.moves(before, after, keys).share
    most = servers + adds
    expected = 1 / most
    low, high = _share_range(most, vnodes)
    maximum = _expected_maximum(len(after.nodes), vnodes)
    modulo = sharding.expected_moves("modulo", servers, "add" if adds else "remove")
    spread = sharding.load(after, keys)
    was = sharding.load(before, keys)
    load = spread.share * len(after.nodes)
    other = np.array(after.nodes) != changed
    place = np.array(after.nodes) - first + 1
    word = "The new server takes" if adds else "The server that goes leaves"
    return View(
        [
            Panel(
                [
                    *_circle(old, first, 0.66),
                    *_circle(new, first, 0.83),
                    _arcs(old != new, 1.0, "moved", _CHANGED),
                ],
                Axis("across", range=(-1.1, 1.1), hidden=True),
                Axis("up", range=(-1.1, 1.1), hidden=True),
                title="Before, after, and what moved",
                notes=[
                    Note(0, 0.12, f"{servers} servers"),
                    Note(0, -0.12, f"{vnodes} token{'s' if vnodes > 1 else ''} each"),
                ],
                round=True,
                words=f"three rings, from the inside {servers} servers before, {len(after.nodes)} after, each "
                f"stretch in the colour of its server, and what moves, {percent(moved)} of the circle.",
            ),
            Panel(
                [
                    bars(place[other], load[other], "after", color=0),
                    *([bars(place[~other], load[~other], "the new one", color=_CHANGED)] if adds else []),
                    points(np.array(was.nodes) - first + 1, was.share * servers, "before", color=6, size=6),
                ],
                Axis("server", range=(0.3, most + 0.7), whole=True),
                Axis(
                    "keys",
                    "times the mean",
                    range=(0, max(2.0, 1.1 * spread.max_over_mean, 1.1 * was.max_over_mean)),
                ),
                title="Who holds how much",
                marks=[Mark(maximum, "expected maximum", vertical=False)],
                stacked=True,
            ),
        ],
        f"{word} {percent(moved)} of the keys (expected 1/{most} = {percent(expected)}; nine of ten hash "
        f"functions give {percent(low)} to {percent(high)}); modulo would move {percent(modulo)}. The busiest server "
        f"holds {quantity(spread.max_over_mean)} times the mean (expected {quantity(maximum)}).",
        answer=100 * moved,
        height=380,
    )

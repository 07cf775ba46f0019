"""Sharding as explorables: what moves when nodes come and go, and why even keys are not even load."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import resharding, sharding
from course.workloads import zipf_probabilities
from widgets.controls import choice, log_slider, slider
from widgets.explorable import choose, estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, bars, count, line, percent, points, quantity

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
    keys=log_slider(1000, 1_000_000, 20_000, "keys", whole=True),
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
    if moved.moved == 0:
        what = f"From {before} to {after} nodes nothing moves"
    else:
        what = (
            f"From {before} to {after} nodes {method} moves {count(moved.moved, 'key')} of {keys:,} "
            f"({percent(moved.share)}); an even load needs {percent(least)}"
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
                Axis("node", range=(0.4, after + 0.6)),
                Axis("keys held", percent=True, range=(0, 1.6 * max(1 / after, held.share.max()))),
                title=f"After, by {method}",
                marks=[Mark(1 / after, "even", vertical=False)],
            ),
        ],
        f"{what}. The fullest of the {after} then holds {quantity(held.max_over_mean)} times the average.",
        answer=100 * moved.share,
    )


@lru_cache(maxsize=256)
def _places(method: str, shards: int, keys: int) -> NDArray[np.int32]:
    return sharding.sharding(method, shards, keys=keys).locate(np.arange(keys))


def _requests(method: str, shards: int, popularity: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(_places(method, shards, popularity.size), popularity, shards).astype(np.float64)


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
    keys=log_slider(100, 100_000, 10_000, "keys", whole=True),
    method=choice(("jump", "modulo", "ring", "hash slots", "range"), "jump", "method"),
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
    numbers = np.arange(2, 51)
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
                Axis("shard, hottest first", range=(0.4, shards + 0.6)),
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
        f"The {shards} shards hold from {percent(held.min())} to {percent(held.max())} of the keys, and get from "
        f"{percent(load.min())} to {percent(load.max())} of the requests. {bound}",
        answer="It falls by less than a third" if doubled > at_ten * 2 / 3 else "It halves",
    )

"""The query-result cache as an explorable."""

from __future__ import annotations

import math

import numpy as np

from course import query_cache as model
from widgets.controls import log_slider, seed, slider
from widgets.explorable import choose, explorable
from widgets.plot import Axis, Panel, View, bars, count, percent


@explorable(
    "What to throw away when a row changes",
    predict=choose(
        "A writer changes one product's price and throws away exactly the cached query for that product. Lists and sums "
        "that hold the product stay. Is every answer right?",
        "yes: the product is read anew",
        "no",
    ),
    leaves_out="joins: a result that reads two tables depends on the rows of both.",
    write_fraction=slider(0.01, 0.5, 0.05, "share of writes"),
    list_fraction=slider(0.0, 1.0, 0.3, "share of the reads that are lists and sums"),
    products=log_slider(10, 1000, 200, "products", whole=True),
    seed=seed(),
)
def invalidation(write_fraction: float, list_fraction: float, products: int, seed: int) -> View:
    """Compare three granularities of invalidation on a real SQLite database."""
    runs = [
        model.query_cache(
            name,
            operations=1000,
            write_fraction=write_fraction,
            list_fraction=list_fraction,
            products=products,
            seed=seed,
        )
        for name in model.GRANULARITIES
    ]
    labels = ["the query<br>named", "the<br>table", "what read<br>the row"]
    by_name = {run.granularity: run for run in runs}
    thrown = [0.0 if math.isnan(run.invalidated_per_write) else run.invalidated_per_write for run in runs]
    places = np.arange(3)
    names = Axis("a write throws away", labels=labels, range=(-0.6, 2.6))
    return View(
        [
            Panel(
                [bars(places, [run.hit_ratio for run in runs], "hit ratio", color=0)],
                names,
                Axis("hit ratio", percent=True, range=(0, 1)),
                title="Kept",
            ),
            Panel(
                [bars(places, [run.stale for run in runs], "wrong answers", color=1)],
                names,
                Axis("wrong answers"),
                title="Wrong, of 1,000",
            ),
            Panel(
                [bars(places, thrown, "results thrown away by a write", color=3)],
                names,
                Axis("results"),
                title="Thrown away by a write",
            ),
        ],
        f"Throwing away what read the table leaves a hit ratio of {percent(by_name['table'].hit_ratio)}, what read the row "
        f"{percent(by_name['row'].hit_ratio)}, and neither is wrong; the named query {percent(by_name['query'].hit_ratio)}, with "
        f"{count(by_name['query'].stale, 'wrong answer')}.",
        answer="no",
    )

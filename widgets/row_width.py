"""Wide rows or two tables as an explorable: pages that queries read."""

from __future__ import annotations

import numpy as np

from course import row_width as model
from widgets.controls import choice, log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, line, percent, points, quantity


@explorable(
    "One wide table or two",
    predict=estimate(
        "100,000 users in SQLite, pages of 4 kB. Each row has 60 bytes that every scan reads, and a profile of 1,500 "
        "bytes that one scan in twenty needs. How many times fewer pages does a scan read on average, if the profile "
        "moves to a table of its own?",
        unit="times",
    ),
    leaves_out="pages that are still in the cache, writes, and the order in which a disk reads pages.",
    rows=log_slider(1000, 1_000_000, 100_000, "rows", whole=True),
    hot_bytes=log_slider(10, 1000, 60, "hot columns", unit="bytes", whole=True),
    blob_bytes=log_slider(10, 100_000, 1500, "cold column", unit="bytes", whole=True),
    blob_share=slider(0.0, 1.0, 0.05, "queries that need the cold column"),
    query=choice(model.QUERIES, "scan", "query"),
)
def split(rows: int, hot_bytes: int, blob_bytes: int, blob_share: float, query: str) -> View:
    """Draw the pages a query reads from one table and from two, over who needs the blob and how large it is."""
    now = model.predict(rows, hot_bytes, blob_bytes, query, blob_share)
    shares = np.linspace(0, 1, 51)
    by_share = [model.predict(rows, hot_bytes, blob_bytes, query, float(share)) for share in shares]
    # Beyond a page, how much of a row stays in its leaf goes up and down once every page: that wants small steps.
    sizes = np.unique([*np.geomspace(10, 3900, 90).round().astype(int), *range(3900, 100_001, 300)])
    by_size = [model.predict(rows, hot_bytes, int(size), query, blob_share) for size in sizes]
    log = query == "scan"
    what = f"A {query} reads {quantity(now.wide)} pages of the wide table on average and {quantity(now.split)} of the two"
    ratio = now.wide / now.split
    if ratio > 1.005:
        what += f": {quantity(ratio)} times fewer."
    elif ratio < 0.995:
        what += f": the split reads {quantity(1 / ratio)} times as many."
    else:
        what += ": no difference."
    if now.break_even <= 0:
        what += " The split never reads less, whoever needs the cold column."
    elif now.break_even >= 1:
        what += " The split never reads more."
    else:
        what += f" The split reads less while fewer than {percent(now.break_even)} of the queries need the cold column."
    if model.table_pages(rows, (hot_bytes, blob_bytes)).overflow:
        what += " What does not fit of so long a row lies in overflow pages, which a query for the hot columns skips."

    def ends(values: list[model.PagesPerQuery]) -> tuple[float, float]:
        low = min(min(one.wide, one.split) for one in values)
        high = max(max(one.wide, one.split) for one in values)
        return (low / 2, high * 2) if log else (0, high * 1.15)

    return View(
        [
            Panel(
                [
                    line(shares, [one.wide for one in by_share], "one table", color=1),
                    line(shares, [one.split for one in by_share], "two tables", color=0, dash="dash"),
                    points([blob_share] * 2, [now.wide, now.split], "now", color=4, size=9),
                ],
                Axis("queries that need the cold column", percent=True, range=(-0.02, 1.02)),
                Axis("pages read by a query", log=log, range=ends(by_share)),
                title="Who needs it",
            ),
            Panel(
                [
                    line(sizes, [one.wide for one in by_size], "one table", color=1),
                    line(sizes, [one.split for one in by_size], "two tables", color=0, dash="dash"),
                    points([blob_bytes] * 2, [now.wide, now.split], "now", color=4, size=9),
                ],
                Axis("cold column", "bytes", log=True, range=(8, 130_000)),
                Axis("pages read by a query", log=log, range=ends(by_size)),
                title="How large it is",
                marks=[Mark(model.PAGE_BYTES, "a page")],
            ),
        ],
        what,
        answer=now.wide / now.split,
    )

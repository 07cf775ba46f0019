"""Draw how the cost of a simulation grows, from what was measured: ``python -m tests.benchmarks.growth``.

Reads ``build/bench.json``, where ``python -m tests.benchmarks --only queueing`` leaves its rows, and writes
``docs/growth.svg``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kaleido

from tests.benchmarks import Row
from tests.benchmarks.__main__ import RESULTS
from tests.benchmarks.bench_queueing import CIW_CUSTOMERS, POOLS, SIMPY_CUSTOMERS, SIZES
from widgets.palette import LIGHT, paint
from widgets.plot import Axis, Panel, Trace, View, line, points

TARGET = Path(__file__).resolve().parents[2] / "docs" / "growth.svg"
WIDTH = 860
#: The versions that matter here.
NAMED = ("Python", "numpy", "numba", "simpy", "ciw")
#: Our own rows for growing numbers name the row they are held against as their peer.
OURS = "ours"


def rates(rows: list[Row]) -> dict[tuple[str, str], float]:
    """Return customers a second by row and by whose they are."""
    found = {}
    for row in rows:
        if row["unit"] == "million customers/s":
            found[row["name"], OURS] = 1e6 * row["our_rate"]
            found[row["name"], row["peer"]] = 1e6 * row["peer_rate"]
    return found


def machine(rows: list[Row]) -> str:
    """Return on what the queues were measured; all of them on the same."""
    places = {row["machine"] for row in rows if row["unit"] == "million customers/s"}
    if len(places) != 1:
        raise ValueError(f"the rows come from {len(places)} machines or sets of versions: measure them anew")
    hardware, _, versions = places.pop().partition("; ")
    named = [version for version in versions.split(", ") if version.split()[0] in NAMED]
    return f"{hardware}; {', '.join(named)}"


def panels(rate: dict[tuple[str, str], float]) -> list[Panel]:
    """Return time by customers, and time a customer by servers."""
    peers = (("SimPy", SIMPY_CUSTOMERS, 1), ("Ciw", CIW_CUSTOMERS, 2))
    by_size: list[Trace] = []
    by_servers: list[Trace] = []
    ends = [SIZES[0], SIZES[-1]]
    for peer, measured, color in peers:
        mine = rate["M/M/8, fresh", peer]
        by_size.append(line(ends, [size / mine for size in ends], peer, color=color, dash="dot"))
        by_size.append(points([measured], [measured / mine], "", color=color))
        at = [servers for servers in (1, 8) if (f"M/M/{servers}, fresh", peer) in rate]
        costs = [1e9 / rate[f"M/M/{servers}, fresh", peer] for servers in at]
        by_servers.append(points(at, costs, peer, color=color, joined=True))
    seconds = [size / rate[f"M/M/8, {size:,} customers", OURS] for size in SIZES]
    by_size.append(points(SIZES, seconds, "course.queueing", color=0, joined=True))
    costs = [1e9 / rate[f"M/M/c, c = {servers:,}", OURS] for servers in POOLS]
    by_servers.append(points(POOLS, costs, "course.queueing", color=0, joined=True))
    return [
        Panel(
            by_size,
            Axis("customers", log=True, range=(700, 1.5e7)),
            Axis("time", "s", log=True, range=(1e-4, 1e3)),
            title="Eight servers",
        ),
        Panel(
            by_servers,
            Axis("servers", log=True, range=(0.7, 1500)),
            Axis("time a customer", "ns", log=True, range=(1, 1e5)),
            title="A million customers",
        ),
    ]


def draw(rows: list[Row]) -> bytes:
    """Return the picture as SVG."""
    figure = View(panels(rates(rows)), "Time a run takes.", height=400).figure().assembled()
    where = {"xref": "paper", "yref": "paper", "x": 0, "xanchor": "left", "y": 0, "yanchor": "top"}
    said = {"text": machine(rows), "font": {"size": 11, "color": "$soft"}, "showarrow": False, "yshift": -84}
    layout = figure["layout"]
    layout |= {"width": WIDTH, "height": 430, "annotations": [*layout["annotations"], {**where, **said}]}
    layout["margin"] = {**layout["margin"], "b": 106}
    options = {"format": "svg", "width": WIDTH, "height": layout["height"]}
    return bytes(kaleido.calc_fig_sync(paint(figure, LIGHT), opts=options))


def main() -> int:
    """Write the picture; return 1 where there is nothing to draw it from."""
    try:
        picture = draw(json.loads(RESULTS.read_text(encoding="utf-8")))
    except (OSError, KeyError, ValueError) as error:
        print(f"{error!r}: run python -m tests.benchmarks --only queueing first", file=sys.stderr)
        return 1
    TARGET.write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())

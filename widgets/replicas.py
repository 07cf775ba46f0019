"""Read replicas as explorables: what they can serve, and how old it is."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from course import replicas as model
from widgets.controls import log_slider, seed, slider, toggle
from widgets.explorable import choose, estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, band, count, line, percent, points, quantity

Floats = NDArray[np.float64]

_MOST = 16


@explorable(
    "What four database servers can read",
    predict=estimate(
        "A database server handles 100 operations a second, reads or writes. You have a primary and three replicas, and "
        "40 writes arrive a second. How many reads can the four serve?",
        unit="reads/s",
    ),
    leaves_out="writes that cost less to replay than to execute, and reads that cost more than writes.",
    replicas=slider(0, _MOST, 3, "replicas"),
    node_capacity=log_slider(50, 5000, 100, "a node handles", unit="operations/s", whole=True),
    writes_per_s=slider(0, 200, 40, "writes", unit="/s"),
    primary_reads=toggle(True, "the primary serves reads too"),
)
def read_capacity(replicas: int, node_capacity: int, writes_per_s: int, primary_reads: bool) -> View:
    """Draw the reads that a primary and its replicas serve beside the guide's formula."""
    numbers = np.arange(_MOST + 1)
    found = [
        model.read_capacity(int(n), node_capacity, writes_per_s, primary_reads=primary_reads) for n in numbers
    ]
    now = found[replicas]
    serving = replicas + primary_reads
    done = min(writes_per_s, node_capacity)
    who = f"The primary and {count(replicas, 'replica')}" if replicas else "The primary alone"
    if not now.keeps_up:
        what = (
            f"No node can even apply the {quantity(writes_per_s)} writes a second, so none has time for reads, "
            "and more replicas do not help."
        )
    elif not serving:
        what = "Nobody serves reads: there is no replica, and the primary takes none."
    else:
        verb = "serve" if replicas else "serves"
        what = f"{who} {verb} {quantity(now.reads_per_s)} reads a second"
        if now.reads_per_s < now.guide_reads_per_s:
            what += f", not {quantity(now.guide_reads_per_s)}"
        what += (
            f": each node spends {percent(done / node_capacity)} of its time on writes."
            if writes_per_s
            else ": nobody writes."
        )
    share = writes_per_s / (writes_per_s + now.reads_per_s) if now.reads_per_s else 1.0
    readers = np.arange(1, _MOST + 2)
    each = model.replicated_throughput(readers, node_capacity, share)
    top = 1.1 * float(node_capacity) * (_MOST + 1)
    here = [points([serving], [each[serving - 1]], "now", color=1, size=11)] if serving else []
    right = Panel(
        [
            line(readers, node_capacity * readers, "capacities added up", color=6, dash="dot"),
            line(readers, each, "reads and writes", color=2),
            *here,
        ],
        Axis("nodes that serve reads", range=(0, _MOST + 2)),
        Axis("reads + writes", "/s", range=(0, top)),
        title=f"If {percent(share)} of the requests write",
        marks=[Mark(node_capacity / share, "limit", vertical=False)]
        if share and node_capacity / share < top
        else [],
    )
    return View(
        [
            Panel(
                [
                    line(
                        numbers,
                        [one.guide_reads_per_s for one in found],
                        "capacities added up",
                        color=6,
                        dash="dot",
                    ),
                    line(numbers, [one.reads_per_s for one in found], "can be read", color=0),
                    points([replicas], [now.reads_per_s], "now", color=1, size=11),
                ],
                Axis("replicas", range=(-0.5, _MOST + 0.5)),
                Axis("reads", "/s", range=(0, top)),
                title=f"Beside {quantity(writes_per_s)} writes a second",
            ),
            right,
        ],
        what,
        answer=now.reads_per_s,
    )


_TIMES = np.linspace(0, 500, 126)
_TIMES.setflags(write=False)


@lru_cache(maxsize=64)
def _band(writes_per_s: int, apply_per_s: int, network_ms: int) -> tuple[Floats, Floats]:
    """Return where 95 % of the simulations lie, by the spread of thirty others."""
    shares = [
        model.simulate_lag(
            writes_per_s=writes_per_s, apply_per_s=apply_per_s, network_ms=network_ms, seed=10_000 + other
        ).stale_share(_TIMES)
        for other in range(30)
    ]
    # Student's t for thirty, and the one that is drawn: 2.05·√(1 + 1/30).
    middle, reach = np.mean(shares, axis=0), 2.08 * np.std(shares, axis=0, ddof=1)
    return np.maximum(middle - reach, 0), np.minimum(middle + reach, 1)


@explorable(
    "You do not see what you wrote",
    predict=choose(
        "A replica applies at most 100 writes a second, and 80 arrive. The network takes 20 ms. You write, and read from "
        "a replica 50 ms later. Is your write there?",
        "Nearly always",
        "About every other time",
    ),
    leaves_out="bursts, long transactions and reads that slow the replica down: all of them lengthen the lag.",
    writes_per_s=slider(5, 200, 80, "writes", unit="/s"),
    apply_per_s=slider(50, 1000, 100, "a replica applies", unit="/s"),
    network_ms=slider(0, 200, 20, "network", unit="ms"),
    after_ms=slider(0, 500, 50, "you read after", unit="ms"),
    seed=seed(),
)
def lag(writes_per_s: int, apply_per_s: int, network_ms: int, after_ms: int, seed: int) -> View:
    """Draw the lag of a replica over time, and the share of reads that miss a write."""
    rates = {
        "writes_per_s": float(writes_per_s),
        "apply_per_s": float(apply_per_s),
        "network_ms": float(network_ms),
    }
    run = model.simulate_lag(**rates, writes=20_000, seed=seed)
    theory = model.stale_share(_TIMES, **rates)
    observed = run.stale_share(_TIMES)
    mean = model.mean_lag_ms(**rates)
    now = float(model.stale_share(after_ms, **rates))
    steady = math.isfinite(mean)
    step = 20
    seconds, lags = run.committed_s[::step], run.lag_ms[::step]
    unit = "ms" if lags.max() < 10_000 else "s"
    if unit == "s":
        lags = lags / 1000
    traces = []
    if steady:
        low, high = _band(writes_per_s, apply_per_s, network_ms)
        traces.append(band(_TIMES, low, high, "95 % of runs", color=1))
        share = percent(now) if now == 0 or now >= 1e-5 else "fewer than 0.001 %"
        said = (
            f"{quantity(after_ms, 'ms')} after a write {share} of the reads of a replica miss it. The lag is "
            f"{quantity(mean, 'ms')} on average."
        )
    else:
        behind = max(0, writes_per_s - apply_per_s)
        said = (
            f"The replica applies {apply_per_s} writes a second and {writes_per_s} arrive. "
            + (f"It falls behind by {behind} a second" if behind else "It has no time to catch up")
            + f": after {quantity(float(run.committed_s[-1]), 's', 2)} it is {quantity(float(run.lag_ms[-1]) / 1000, 's')} late, "
            "and the lag grows without bound."
        )
    return View(
        [
            Panel(
                [line(seconds, lags, "lag", color=2, width=1)],
                Axis("time", "s"),
                Axis("lag", unit, range=(0, 1.1 * float(lags.max()))),
                title="One replica",
                marks=[Mark(mean if unit == "ms" else mean / 1000, "mean, theory", vertical=False)]
                if steady
                else [],
            ),
            Panel(
                [
                    *traces,
                    line(_TIMES, theory, "theory", color=0),
                    line(_TIMES, observed, "simulated", color=1, dash="dash"),
                    points([after_ms], [now], "now", color=4, size=11),
                ],
                Axis("read after", "ms", range=(0, 510)),
                Axis("reads that miss the write", percent=True, range=(0, 1.05)),
                title="Reads of a replica",
            ),
        ],
        said,
        answer="About every other time" if 0.4 < now < 0.65 else "Nearly always",
    )

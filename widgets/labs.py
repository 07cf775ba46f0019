"""What a server across a network costs, as an explorable."""

from __future__ import annotations

import numpy as np

from course.labs.bench import RoundTrip
from widgets.controls import log_slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, line, points, quantity


@explorable(
    "One round trip for many commands",
    predict=estimate(
        "A round trip takes 500 µs, and the server works 5 µs on each command. You send a hundred commands at a time instead of one. "
        "By which factor does the throughput grow?",
        unit="times",
    ),
    leaves_out="other clients, who use the time that one client leaves the server idle.",
    rtt_us=log_slider(20, 100_000, 500, "round trip of the network", unit="µs"),
    service_us=log_slider(1, 100, 5, "the server works on a command", unit="µs"),
    value_bytes=log_slider(10, 100_000, 10, "value", unit="bytes", whole=True),
    depth=log_slider(1, 1000, 100, "commands in a pipeline", whole=True),
)
def pipelining(rtt_us: float, service_us: float, value_bytes: int, depth: int) -> View:
    """Draw commands per second over the depth of the pipeline, over a link of 1 Gbit/s."""
    wire_us = value_bytes * 8 / 1000
    cost = RoundTrip(rtt_us, service_us + wire_us)
    depths = np.unique(np.geomspace(1, 1000, 50).astype(int))
    curve = [cost.ops_per_s(int(d)) for d in depths]
    now, single = cost.ops_per_s(depth), cost.ops_per_s(1)
    ceiling = 1e6 / cost.service_us
    rates = f"One at a time makes {quantity(single)} commands a second"
    if depth > 1:
        rates = f"{depth:,} at a time make {quantity(now)} commands a second; one at a time makes {quantity(single)}"
    return View(
        [
            Panel(
                [line(depths, curve, "commands a second"), points([depth], [now], "now", size=11, color=1)],
                Axis("commands in a pipeline", log=True, range=(0.9, 1100)),
                Axis("throughput", "commands/s", log=True, range=(10, 1_500_000)),
                marks=[Mark(ceiling, "limit of server and wire", vertical=False)],
            )
        ],
        f"{rates}; the network and the server allow {quantity(ceiling)}.",
        answer=now / single,
    )

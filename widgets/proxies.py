"""Layer 4 and layer 7 balancing of kept-alive connections as an explorable."""

from __future__ import annotations

import numpy as np

from course import proxies as model
from widgets.controls import log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, band, bars, count, line, points

_REQUESTS = 10_000
_LIMITS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


@explorable(
    "Who counts connections, and who counts requests",
    predict=estimate(
        "20 clients keep one connection each, and a layer 4 balancer has dealt them out to five servers, four for each. "
        "Some clients ask more than others. How many times the average number of requests does the busiest server get?",
        unit="times",
    ),
    leaves_out="the balancer's own work, which is more at layer 7, and how long a request takes.",
    clients=log_slider(1, 500, 20, "clients", whole=True),
    most=log_slider(1, _REQUESTS, _REQUESTS, "requests per connection, at most", whole=True),
    spread=slider(0.0, 2.0, 1.0, "how unequal the clients are (σ of the logarithm)"),
    servers=slider(2, 20, 5, "servers"),
    seed=seed(3),
)
def keep_alive(clients: int, most: int, spread: float, servers: int, seed: int) -> View:
    """Draw the requests of each server at both layers, and how unequal they are over the length of connections."""

    def sizes(limit: int) -> model.Integers:
        return model.connection_sizes(clients, _REQUESTS, spread=spread, most=limit, seed=seed)

    now = sizes(most)
    layer4, layer7 = (model.simulate(now, servers, layer) for layer in model.LAYERS)
    mean = _REQUESTS / servers
    expected = [model.relative_spread(sizes(limit), servers) for limit in _LIMITS]
    runs = [model.simulated_spread(sizes(limit), servers, runs=50, seed=seed) for limit in _LIMITS]
    low, high = np.percentile(runs, [5, 95], axis=1)
    idle = int(np.count_nonzero(layer4 == 0))
    top = float(layer4.max()) / mean
    if idle:
        few = f"{count(idle, 'server gets', 'servers get')} nothing, and the busiest of {servers} gets"
        told = f"{few} {top:.2f} times its fair share"
    elif layer4.max() == layer4.min():
        told = f"each of {servers} servers gets {int(layer4[0]):,}"
    else:
        told = (
            f"the busiest of {servers} servers gets {int(layer4.max()):,}, {top:.2f} times its fair share, "
            f"and the least busy {int(layer4.min()):,}"
        )
    fair = f"{int(layer7[-1]):,}" + (f" or {int(layer7[0]):,}" if layer7[0] != layer7[-1] else "")
    numbers = np.arange(1, servers + 1)
    return View(
        [
            Panel(
                [bars(numbers, layer4, "layer 4", color=1), bars(numbers, layer7, "layer 7", color=0)],
                Axis("server", range=(0.4, servers + 0.6), whole=True),
                Axis("requests"),
                title="One order of arrival",
                marks=[Mark(mean, "average", vertical=False)],
            ),
            Panel(
                [
                    band(_LIMITS, low, high, "9 in 10 orders of arrival", color=1),
                    points(_LIMITS, np.sqrt(np.mean(np.square(runs), axis=1)), "simulated", color=1, size=7),
                    line(_LIMITS, expected, "theory", color=6, dash="dash"),
                    line([1, _REQUESTS], [layer7.std() / mean] * 2, "layer 7", color=0),
                    points([most], [layer4.std() / mean], "now", color=4, size=12),
                ],
                Axis("requests per connection, at most", log=True, range=(0.8, 12_000)),
                Axis("deviation from average", percent=True),
                title="How unequal the servers are",
            ),
        ],
        f"{_REQUESTS:,} requests over {count(now.size, 'connection')}. Layer 4: {told}. Layer 7: {fair} each.",
        answer=top,
    )

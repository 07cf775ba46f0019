"""The failure of one of two balancers behind a name, as an explorable."""

from __future__ import annotations

import numpy as np

from course import dns_balancing as model
from widgets.controls import choice, log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Panel, View, band, line, percent, quantity

_END_S = 1_830.0
_CLIENTS = 1_000


@explorable(
    "One of two balancers dies",
    predict=estimate(
        "DNS hands out two balancers in turn, with a time to live of 60 s. One dies. DNS notices after 30 s and drops it. "
        "One client in ten keeps an address for half an hour, whatever its time to live. For how many seconds is the "
        "average client without service?",
        unit="s",
    ),
    leaves_out="clients that get both addresses and try the second, as browsers do, and a resolver's many clients, who "
    "move together.",
    takeover=choice(model.TAKEOVERS, "DNS with health checks", "clients are moved by"),
    ttl_s=log_slider(1, 3600, 60, "time to live", unit="s", whole=True),
    ignoring=slider(0.0, 1.0, 0.1, "clients that keep an address for 30 min"),
    utilisation=slider(0.1, 1.0, 0.6, "utilisation of all servers before"),
    seed=seed(),
)
def failover(takeover: str, ttl_s: int, ignoring: float, utilisation: float, seed: int) -> View:
    """Draw who still holds the dead address, and which requests fail, by which servers a balancer reaches."""
    names = model.Names(takeover, ttl_s, ignoring)
    moved_s = names.moved_s
    times = np.geomspace(1, _END_S, 250)
    if np.isfinite(moved_s):
        times = np.union1d(times, [moved_s - 0.001, moved_s])
    expected = names.stranded(times)
    error = 1.96 * np.sqrt(expected * (1 - expected) / _CLIENTS)
    half = model.failover(expected, utilisation)
    whole = model.failover(expected, utilisation, reach_all=True)
    if np.isfinite(moved_s):
        longest = _duration(_last_s(names))
        told = f"A client is without service for {quantity(names.lost_s, 's')} on average, and for up to {longest}"
    else:
        told = "Half of the requests fail until somebody takes the dead address out of DNS"
    refused = float(half.refused[-1])
    lost = f", where {percent(refused)} of all requests are too many" if refused > 1e-9 else ""
    return View(
        [
            Panel(
                [
                    band(times, np.maximum(expected - error, 0), expected + error, "95 % band", color=0),
                    line(times, names.simulate(times, _CLIENTS, seed), f"{_CLIENTS:,} clients", color=0),
                    line(times, expected, "theory", color=6, dash="dash"),
                ],
                Axis("time since the failure", "s", log=True, range=(1, 2_000)),
                Axis("clients", percent=True, range=(0, 0.62)),
                title="Who holds the dead address",
            ),
            Panel(
                [
                    line(times, half.failing, "each reaches half", color=1),
                    line(times, whole.failing, "each reaches all", color=2, dash="dash"),
                ],
                Axis("time since the failure", "s", log=True, range=(1, 2_000)),
                Axis("requests that fail", percent=True, range=(0, 0.62)),
                title="What fails",
            ),
        ],
        f"{told}. After half an hour, a balancer that reaches half the servers loads them to "
        f"{percent(float(half.load[-1]))}{lost}; one that reaches all, to {percent(float(whole.load[-1]))}.",
        answer=names.lost_s,
    )


def _last_s(names: model.Names) -> float:
    if names.takeover == "virtual address":
        return names.moved_s
    lives = [names.ttl_s] * (names.ignoring < 1) + [names.held_s] * (names.ignoring > 0)
    return names.moved_s + max(lives)


def _duration(seconds: float) -> str:
    return quantity(seconds / 60, "min") if seconds >= 120 else quantity(seconds, "s")

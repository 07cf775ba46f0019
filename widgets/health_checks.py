"""Health checks as an explorable: who is in rotation while a database that all share is away."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from course import health_checks as model
from course.balancing import Fault, HealthCheck
from widgets.controls import choice, log_slider, slider, toggle
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Panel, Trace, View, count, line, quantity

_SERVERS = 4
_END_S = 180.0
_RATE = 100.0
_OWN = Fault(0, "failing fast", 22.5, 62.5)
_OUTAGE_AT_S = 92.0
_RISE = 2


def _lanes(on: model.Flags, edges: model.Floats, name: str, color: int, width: float, shift: float) -> Trace:
    """Draw one lane a server, where `on` says so."""
    across: list[float] = []
    height: list[float] = []
    for server, row in enumerate(on):
        for begin, end in _spans(row):
            across += [float(edges[begin]), float(edges[end]), np.nan]
            height += [server + shift, server + shift, np.nan]
    return line(across, height, name, color=color, width=width)


def _spans(row: Iterable[bool]) -> list[tuple[int, int]]:
    steps = np.diff(np.asarray(row, np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


@explorable(
    "One blip of the database, and the whole fleet is out",
    predict=estimate(
        "Four servers share a database that 40 % of the requests need. Every 5 s each is asked whether it reaches the "
        "database; two failures take it out, two successes put it back. The database is away for 15 s. For how many "
        "seconds is no server left at all?",
        unit="s",
    ),
    leaves_out="timeouts of probes, retries, and the load on those who are left: three servers do the work of four.",
    check=choice(("deep", "shallow"), "deep", "the check asks"),
    interval_s=log_slider(1, 30, 5, "between two probes", unit="s"),
    fall=slider(1, 10, 2, "failures that take a server out"),
    outage_s=slider(0.0, 60.0, 15.0, "the shared database is away for", unit="s", step=1.0),
    fail_open=toggle(False, "use all if none is healthy (fail open)"),
)
def rotation(check: str, interval_s: float, fall: int, outage_s: float, fail_open: bool) -> View:
    """Draw who is in rotation over time, and the share of the requests that fails."""
    faults = [_OWN]
    if outage_s:
        end = _OUTAGE_AT_S + outage_s
        faults += [Fault(server, "failing fast", _OUTAGE_AT_S, end) for server in range(_SERVERS)]
    health = HealthCheck(interval_s, fall, _RISE, deep=check == "deep")

    def run(probed: HealthCheck | None) -> model.Rotation:
        return model.rotation(
            faults, probed, servers=_SERVERS, until_s=_END_S, requests_per_s=_RATE, fail_open=fail_open
        )

    now, unchecked = run(health), run(None)
    noticed = now.noticed_after_s(0, _OWN.start_s)
    if noticed is not None and noticed < _OWN.end_s - _OWN.start_s:
        told = f"the fault of server 1 alone takes it out after {quantity(noticed, 's')}"
    else:
        told = "the fault of server 1 alone is never noticed"
    if now.nobody_s and fail_open:
        told += f"; for {quantity(now.nobody_s, 's')} no server counts as healthy, and all are used"
    elif now.nobody_s:
        told += f"; for {quantity(now.nobody_s, 's')} no server is left"
    lost = count(round(now.failed_requests), "request fails", "requests fail")
    return View(
        [
            Panel(
                [
                    _lanes(now.healthy, now.edges_s, "healthy, says check", 2, 14, 0.0),
                    _lanes(now.faulty, now.edges_s, "no database", 1, 4, 0.3),
                ],
                Axis("time", "s", range=(0, _END_S)),
                Axis("server", labels=[str(1 + server) for server in range(_SERVERS)], range=(-0.5, 3.7)),
                title="Who counts as healthy",
            ),
            Panel(
                [
                    line(now.edges_s, _last(now.failing), f"{check} check", step=True, color=0),
                    line(
                        unchecked.edges_s,
                        _last(unchecked.failing),
                        "no check",
                        step=True,
                        color=6,
                        dash="dot",
                    ),
                ],
                Axis("time", "s", range=(0, _END_S)),
                Axis("requests that fail", percent=True, range=(0, 1.05)),
                title="What users see",
            ),
        ],
        f"{check.capitalize()} check: {told}. {lost}; without any check {round(unchecked.failed_requests):,}.",
        answer=now.nobody_s,
    )


def _last(values: model.Floats) -> model.Floats:
    """Repeat the last value: a step line draws up to its last point."""
    return np.append(values, values[-1])

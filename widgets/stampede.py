"""The cache stampede as an explorable."""

from __future__ import annotations

from course import stampede as model
from widgets.controls import choice, log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Panel, View, count, line, quantity


@explorable(
    "What impatient requests do to one database",
    predict=estimate(
        "100 clients ask five times a second for one of ten keys that all expire together; a load takes 200 ms. "
        "About how many requests arrive for one key while its load is under way, and so go to the database too?",
        unit="requests",
    ),
    leaves_out="a database that slows down under load; a real stampede is worse for that reason.",
    fix=choice(model.FIXES, "single-flight", "protection"),
    clients=slider(1, 500, 100, "clients"),
    db_ms=log_slider(1, 1000, 200, "one load takes", unit="ms"),
    ttl_jitter=slider(0.0, 0.5, 0.0, "jitter of the time to live"),
    processes=slider(1, 8, 1, "application processes"),
    db_error_probability=slider(0.0, 0.5, 0.0, "a load fails with probability"),
    ttl_s=log_slider(1, 30, 5, "time to live", unit="s"),
)
def stampede(
    fix: str,
    clients: int,
    db_ms: float,
    ttl_jitter: float,
    processes: int,
    db_error_probability: float,
    ttl_s: float,
) -> View:
    """Draw the database calls over time, with and without a protection."""
    settings = {
        "clients": clients,
        "db_ms": db_ms,
        "ttl_jitter": ttl_jitter,
        "processes": processes,
        "db_error_probability": db_error_probability,
        "ttl_s": ttl_s,
    }
    run = model.stampede(fix=fix, **settings)  # type: ignore[arg-type]
    none = run if fix == "none" else model.stampede(fix="none", **settings)  # type: ignore[arg-type]
    edges = run.bin_edges_s
    width = float(edges[1] - edges[0])
    curves = [line(edges[:-1], run.calls_per_bin / width, fix, step=True, color=1)]
    if fix != "none":
        curves.append(line(edges[:-1], none.calls_per_bin / width, "none", step=True, color=6, dash="dot"))
    trouble = [
        count(run.errors, "error") if run.errors else "",
        count(run.empty_answers, "empty answer") + " for rows that exist" if run.empty_answers else "",
        f"{count(run.dead_keys, 'key')} dead for ever" if run.dead_keys else "",
    ]
    told = ", ".join(text for text in trouble if text) or "no error"
    return View(
        [
            Panel(
                curves,
                Axis("time", "s", range=(0, float(edges[-1]))),
                Axis("database calls", "1/s"),
            )
        ],
        f"{run.requests:,} requests make {count(run.db_calls, 'database call')}, at most {run.peak_concurrent_calls:,} "
        f"at once; p99 {quantity(run.p99_ms, 'ms')}; {told}.",
        # Arrivals for one key during one load: rate x duration, and the one that missed first.
        answer=clients * model.REQUESTS_PER_CLIENT_S / 10 * db_ms / 1000,
    )

"""Explorables of caching strategies: what each costs, and how each goes wrong."""

from __future__ import annotations

import numpy as np

from course import cache_strategies as model
from course.cache_interleavings import SCENARIOS, interleavings
from course.write_back import write_back_crash as crash
from widgets.controls import choice, log_slider, seed, slider, timeline, toggle
from widgets.explorable import choose, estimate, explorable
from widgets.plot import Axis, Mark, Note, Panel, Trace, View, bars, boxes, count, line, percent, quantity

ORDER_WORDS = {
    "database, then cache": "sequential",
    "both at once": "parallel",
    "database, then delete": "invalidate",
}
_SHORT = [name.replace("-", "-<br>") for name in model.STRATEGIES]


def _grouped(series: dict[str, list[float]], groups: int, first: int = 0) -> list[Trace]:
    """Return bars side by side at 0, 1, 2, ...; plotly groups them by their order."""
    places = np.arange(groups)
    return [
        bars(places, values, name, color=first + number)
        for number, (name, values) in enumerate(series.items())
    ]


@explorable(
    "Five strategies, one workload",
    predict=choose(
        "Nobody crashes, every step succeeds. A writer updates the database and then puts the same value into the "
        "cache. Can a reader still be served a value that the database no longer has?",
        "No: both stores get every write",
        "Yes, even without any failure",
    ),
    leaves_out="queues at the database and the cache, slow networks, and the cost of large values.",
    order=choice(tuple(ORDER_WORDS), "database, then cache", "a write goes to"),
    write_fraction=slider(0.01, 0.9, 0.2, "share of writes"),
    db_ms=log_slider(1, 200, 20, "database step", unit="ms"),
    cache_ms=log_slider(0.1, 20, 1, "cache step", unit="ms"),
    crash_probability=slider(0.0, 0.1, 0.01, "crash between two steps"),
    seed=seed(),
)
def strategy_arena(
    order: str, write_fraction: float, db_ms: float, cache_ms: float, crash_probability: float, seed: int
) -> View:
    """Compare latency, staleness and loss of the five strategies on the same requests."""
    runs = [
        model.simulate(
            name,
            order=ORDER_WORDS[order],
            write_fraction=write_fraction,
            db_ms=db_ms,
            cache_ms=cache_ms,
            crash_probability=crash_probability,
            seed=seed,
        )
        for name in model.STRATEGIES
    ]
    through = runs[model.STRATEGIES.index("write-through")]
    back = runs[model.STRATEGIES.index("write-back")]
    wrong = {
        "stale reads": [run.stale_reads for run in runs],
        "reads of unsaved writes": [run.dirty_reads for run in runs],
        "writes lost": [run.lost_writes for run in runs],
        "keys left different": [run.inconsistent_keys for run in runs],
    }
    names = Axis("strategy", labels=_SHORT, range=(-0.6, 4.6))
    sentence = (
        f"Of {through.reads:,} reads write-through serves {count(through.stale_reads, 'stale one')} and leaves "
        f"{count(through.inconsistent_keys, 'key')} different; write-back answers a write in "
        f"{quantity(back.write_mean_ms, 'ms')} instead of {quantity(through.write_mean_ms, 'ms')} and loses "
        f"{count(back.lost_writes, 'write')}."
    )
    return View(
        [
            Panel(
                _grouped(
                    {
                        "read, mean": [run.read_mean_ms for run in runs],
                        "write, mean": [run.write_mean_ms for run in runs],
                    },
                    len(runs),
                ),
                names,
                Axis("latency", "ms"),
                title="What it costs",
            ),
            Panel(
                _grouped(
                    {key: [float(v) for v in values] for key, values in wrong.items()}, len(runs), first=2
                ),
                names,
                Axis("events in 10,000 operations", log=True, range=(0.7, 10_000)),
                title="What goes wrong",
            ),
        ],
        sentence,
        answer="Yes, even without any failure",
    )


@explorable(
    "Pull the plug on a write-back cache",
    predict=estimate(
        "200 writes a second are acknowledged from the cache and flushed to the database once a second. "
        "How many acknowledged writes does a crash at a random moment lose on average?",
        unit="writes",
    ),
    leaves_out="replicas of the cache and a log on disk, either of which would keep what the plug takes.",
    writes_per_s=log_slider(10, 1000, 200, "writes", unit="/s"),
    flush_ms=log_slider(10, 10_000, 1000, "flush every", unit="ms"),
    batch=log_slider(1, 1000, 1000, "rows a flush may write", whole=True),
    coalesce=toggle(True, "several writes of one key become one row"),
    crash_at_s=slider(1.0, 20.0, 9.9, "crash at", unit="s"),
    db_error_probability=slider(0.0, 0.9, 0.0, "a flush fails with probability"),
)
def write_back_crash(
    writes_per_s: float,
    flush_ms: float,
    batch: int,
    coalesce: bool,
    crash_at_s: float,
    db_error_probability: float,
) -> View:
    """Draw what the database lacks over time, and count what a crash loses."""
    run = crash(
        writes_per_s=writes_per_s,
        flush_ms=flush_ms,
        batch=batch,
        coalesce=coalesce,
        crash_at_s=crash_at_s,
        db_error_probability=db_error_probability,
    )
    # 2,000 points draw as well as 20,000 do.
    step = max(1, len(run.time_s) // 2000)
    # A theory less certain than half of what it says is no help in so short a run.
    theory = np.isfinite(run.expected_loss) and run.expected_loss_se < run.expected_loss / 2
    marks = [Mark(crash_at_s, "crash")]
    if theory:
        marks.append(Mark(run.expected_loss, f"mean loss {quantity(run.expected_loss)}", vertical=False))
        expected = f"(theory {quantity(run.expected_loss)} ± {quantity(run.expected_loss_se, digits=2)})"
    else:
        expected = "(too few flushes, or flushes that do not keep up, for a theory)"
    rows = "No write had arrived yet."
    if run.db_writes:
        rows = f"The writes that arrived took {percent(1 - max(0.0, run.db_writes_saved))} as many rows."
    sentence = (
        f"A crash at {quantity(crash_at_s, 's')} loses {count(run.lost_writes, 'acknowledged write')}; at a random "
        f"moment it loses {quantity(run.mean_loss)} on average {expected}. {rows}"
    )
    return View(
        [
            Panel(
                [
                    line(
                        run.time_s[::step],
                        run.unsaved[::step],
                        "acknowledged, not in the database",
                        step=True,
                    )
                ],
                Axis("time", "s", range=(0, crash_at_s * 1.08)),
                Axis("writes at risk"),
                marks=marks,
            )
        ],
        sentence,
        answer=float(writes_per_s * flush_ms / 1000 / 2),
    )


@explorable(
    "Which misses can a refresh avert?",
    predict=choose(
        "A cache is too small: most misses are for entries that were evicted. You refresh entries before they "
        "expire. What happens to the hit ratio?",
        "It rises a lot: most misses go away",
        "Hardly anything",
    ),
    leaves_out="the time a refresh takes, and rows that change in the database while they are cached.",
    ttl_s=log_slider(1, 1000, 20, "time to live", unit="s"),
    window=slider(0.0, 0.9, 0.2, "refresh in the last share of it"),
    capacity=log_slider(10, 10_000, 300, "cache entries", whole=True),
    zipf_s=slider(0.0, 1.4, 0.9, "Zipf exponent"),
    trigger=choice(("access", "timer"), "access", "what triggers a refresh"),
    seed=seed(),
)
def refresh_ahead(ttl_s: float, window: float, capacity: int, zipf_s: float, trigger: str, seed: int) -> View:
    """Split the misses by cause, and hold two formulas to the simulation."""
    run = model.refresh_ahead(
        ttl_s=ttl_s, window=window, capacity=capacity, zipf_s=zipf_s, trigger=trigger, seed=seed
    )
    labels = ["without", "with<br>refresh", "“every miss<br>averted”", "“expiry<br>averted”"]
    rows = {
        "hit": [run.hit, run.refreshed_hit, run.guide_hit, run.corrected_hit],
        "expired": [run.expiry_miss, run.refreshed_expiry_miss, 0, 0],
        "evicted": [run.capacity_miss, run.refreshed_capacity_miss, 0, 0],
        "never seen": [run.cold_miss, run.refreshed_cold_miss, 0, 0],
        "miss, by the formula": [0, 0, 1 - run.guide_hit, 1 - run.corrected_hit],
    }
    colors = {"hit": 2, "expired": 1, "evicted": 3, "never seen": 4, "miss, by the formula": 6}
    before, after = percent(run.hit), percent(run.refreshed_hit)
    change = (
        f"lifts the hit ratio from {before} to {after}"
        if after != before
        else f"leaves the hit ratio at {before}"
    )
    loads = f"{run.refreshed_db_reads:,} loads instead of {run.db_reads:,}"
    return View(
        [
            Panel(
                [bars(np.arange(4), values, name, color=colors[name]) for name, values in rows.items()],
                Axis("measured (left two) and predicted (right two)", labels=labels, range=(-0.6, 3.6)),
                Axis("share of requests", percent=True, range=(0, 1)),
                stacked=True,
            )
        ],
        f"Refreshing {change}, with {loads}. "
        f"“Every miss can be averted” promised {percent(run.guide_hit)}; “only expiry can” "
        f"{percent(run.corrected_hit)}.",
        answer="Hardly anything",
    )


_SCENARIO_NAMES = tuple(name for name, actors in SCENARIOS.items() if len(actors) == 2)
_ACTORS = {"R": "reader", "W": "writer", "A": "writer A", "B": "writer B"}


@explorable(
    "Every order in which two can interleave",
    predict=estimate(
        "A reader takes three steps (miss in the cache, read the database, fill the cache), a writer two (write "
        "the database, delete the cache entry). In how many different orders can the five steps happen?",
        unit="orders",
    ),
    leaves_out="failures and time-outs: every step here succeeds.",
    scenario=choice(_SCENARIO_NAMES, _SCENARIO_NAMES[0], "who is at work"),
    leases=toggle(False, "the cache hands out leases"),
    schedule=slider(1, 10, 1, "order shown, bad ones first"),
    step=timeline(5, 5, "step"),
)
def invalidation_race(scenario: str, leases: bool, schedule: int, step: int) -> View:
    """Walk through one interleaving, of all that there are."""
    actors = SCENARIOS[scenario]
    every = sorted(interleavings(actors, leases=leases), key=lambda one: not one.stale)
    bad = sum(one.stale for one in every)
    shown = every[min(schedule, len(every)) - 1]
    moments = shown.moments
    step = min(step, len(moments))
    lane = {name: number for number, name in enumerate(["database", "cache", *reversed(actors)])}
    lanes = [_ACTORS.get(name, name) for name in lane]
    done = moments[:step]
    places = np.arange(1, len(done) + 1)
    cached = [moment.cache or "–" for moment in done]
    stale = [moment.cache is not None and moment.cache != moment.database for moment in done]

    def row(name: str, texts: list[str], chosen: list[bool], color: int) -> Trace:
        at = [place for place, yes in zip(places, chosen, strict=True) if yes]
        said = [text for text, yes in zip(texts, chosen, strict=True) if yes]
        heights = [lane["cache" if name.startswith("cache") else name]] * len(at)
        return boxes(at, heights, said, name, color=color, size=36, legend=False)

    always = [True] * len(done)
    traces = [
        row("database", [moment.database for moment in done], always, 0),
        row("cache", cached, [not bad_now for bad_now in stale], 2),
        row("cache, not what the database holds", cached, stale, 1),
    ]
    for number, name in enumerate(actors):
        mine = [moment.actor == name for moment in done]
        at = [place for place, yes in zip(places, mine, strict=True) if yes]
        words = [moment.step for moment in done if moment.actor == name]
        traces.append(
            boxes(
                at,
                [lane[name]] * len(at),
                words,
                _ACTORS[name],
                color=6 if number else 3,
                size=46,
                legend=False,
            )
        )
    said = "nothing has happened yet"
    if done:
        said = done[-1].what.replace(done[-1].actor, _ACTORS[done[-1].actor], 1)
    if leases and bad == 0:
        verdict = f"With leases none of the {len(every)} orders ends with a stale cache"
    else:
        verdict = (
            f"In {bad} of {len(every)} orders the cache ends different from the database, until it expires"
        )
    ending = "stale" if shown.stale else "in agreement"
    longest = sum(len(steps) for steps in actors.values())
    return View(
        [
            Panel(
                traces,
                Axis("step", range=(0.3, 5.7)),
                Axis("who, and what is stored", labels=lanes, range=(-0.6, len(lanes) - 0.1)),
                notes=[Note(3.0, len(lanes) - 0.35, said)],
            )
        ],
        f"{verdict}. Order {min(schedule, len(every))} ends {ending}; after step {step}: {said}.",
        answer=float(len(every)),
        last_step=longest,
        height=360,
    )

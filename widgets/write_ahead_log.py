"""A crash of a write-ahead log, at any byte, as an explorable."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import write_ahead_log as model
from widgets.controls import slider, toggle
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, Trace, View, boxes, count, line, percent

_COMMITS = 20
_ACROSS = 5
#: Crashes tried for the curves.
_TRIED = 81


@lru_cache(maxsize=32)
def _curves(fsync: bool, checkpoint_every: int, reached: float) -> tuple[list[int], list[int], list[int]]:
    total = model.run_bytes(commits=_COMMITS, fsync=fsync, checkpoint_every=checkpoint_every)
    places = np.unique(np.linspace(0, total, _TRIED).astype(int)).tolist()
    results = [
        model.crash(
            commits=_COMMITS,
            fsync=fsync,
            checkpoint_every=checkpoint_every,
            crash_at_byte=at,
            reached=reached,
        )
        for at in places
    ]
    return places, [len(r.acknowledged) for r in results], [len(r.recovered) for r in results]


@explorable(
    "Acknowledged, and gone",
    predict=estimate(
        "A store writes every commit to its log, acknowledges it, and leaves it to the operating system when the log "
        "goes to the disk; a checkpoint after every eighth commit is forced out. It has acknowledged 14 commits when "
        "the power fails. How many are certain to be there afterwards?",
        unit="commits",
    ),
    leaves_out="drives that say “written” and are not, and bits that rot on the disk later.",
    fsync=toggle(False, "fsync before the acknowledgement"),
    crash_at=slider(0.0, 100.0, 55.0, "the power fails after", unit="% of the bytes", step=0.5),
    checkpoint_every=slider(0, 20, 8, "commits to a checkpoint (0: none)"),
    reached=slider(0, 100, 40, "not forced out, and yet on the disk", unit="%"),
)
def crash(fsync: bool, crash_at: float, checkpoint_every: int, reached: int) -> View:
    """Draw what is acknowledged and what is recovered, for a crash at each byte, and key by key for one."""
    places, acknowledged, recovered = _curves(fsync, checkpoint_every, reached / 100)
    total = places[-1]
    at = round(total * crash_at / 100)
    now, certain = (
        model.crash(
            commits=_COMMITS,
            fsync=fsync,
            checkpoint_every=checkpoint_every,
            crash_at_byte=at,
            reached=share,
        )
        for share in (reached / 100, 0.0)
    )
    return View(
        [
            Panel(
                [
                    line(places, acknowledged, "acknowledged", step=True, color=1),
                    line(places, recovered, "recovered", step=True, color=0, dash="dash"),
                ],
                Axis("bytes written when the power fails", range=(0, 1.02 * total)),
                Axis("commits", range=(0, _COMMITS + 1)),
                marks=[Mark(at, "crash")],
                title="A crash at each byte",
            ),
            Panel(
                _keys(now),
                Axis("key", range=(-0.7, _ACROSS - 0.3), hidden=True),
                Axis("key", range=(-0.7, _COMMITS // _ACROSS - 0.3), hidden=True),
                title=f"This one: the keys k1 to k{_COMMITS}",
            ),
        ],
        _sentence(now, certain, at),
        answer=float(len(certain.recovered)),
    )


def _keys(now: model.CrashResult) -> list[Trace]:
    groups: dict[str, list[int]] = {
        "kept": [],
        "lost": [],
        "not acknowledged, yet there": [],
        "not there": [],
    }
    for number in range(1, _COMMITS + 1):
        key = f"k{number}"
        name = "not there"
        if key in now.lost:
            name = "lost"
        elif key in now.surprising:
            name = "not acknowledged, yet there"
        elif key in now.recovered:
            name = "kept"
        groups[name].append(number)
    return [
        boxes(
            [(number - 1) % _ACROSS for number in numbers],
            [_COMMITS // _ACROSS - 1 - (number - 1) // _ACROSS for number in numbers],
            [f"k{number}" for number in numbers],
            name,
            color=color,
            size=40,
            hollow=hollow,
        )
        for (name, numbers), (color, hollow) in zip(
            groups.items(), [(2, False), (1, False), (3, False), (6, True)], strict=True
        )
    ]


def _sentence(now: model.CrashResult, certain: model.CrashResult, at: int) -> str:
    text = f"The power fails after {count(at, 'byte')}, with {count(len(now.acknowledged), 'commit')} acknowledged: "
    many = len(now.acknowledged) > 1
    if now.lost and len(now.lost) == len(now.acknowledged):
        text += "all of them are lost" if many else "it is lost"
    elif now.lost:
        text += f"{len(now.lost)} of them {'is' if len(now.lost) == 1 else 'are'} lost"
    elif now.acknowledged:
        text += "all of them are there" if many else "it is there"
        text += ", by luck" if certain.lost else ""
    else:
        text += "nothing was promised, and nothing is owed"
    if now.surprising:
        text += f", and {now.surprising[0]}, which nobody was told of, is there too"
    text += "."
    if now.torn_bytes:
        text += f" {count(now.torn_bytes, 'byte')} of a torn record {'is' if now.torn_bytes == 1 else 'are'} thrown away."
    text += f" Recovery reads {count(now.replayed, 'record')} from the log"
    if now.bytes_of_checkpoints:
        text += (
            f"; {percent(now.bytes_of_checkpoints / now.bytes_written)} of what was written was checkpoints"
        )
    return f"{text}. Had the program alone been killed, {count(now.after_kill, 'commit')} would be there."

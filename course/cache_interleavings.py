"""Every order in which readers and writers of one key can interleave, and which of them end stale for good.

A process that touches a cache and a database takes several steps, and between two of them anyone may run. The
steps here are atomic; :func:`interleavings` runs all orders that keep each actor's own steps in order.

Steps an actor may take:

========== ===========================================================================================
``get``    look the key up in the cache; on a hit the later ``read`` and ``fill`` do nothing
``read``   read the database
``fill``   put what was read into the cache
``write``  write the actor's new value to the database
``put``    put the actor's new value into the cache
``delete`` delete the key from the cache
========== ===========================================================================================

With leases (Nishtala et al., *Scaling Memcache at Facebook*, NSDI 2013, section 3.2.1) a ``get`` that misses
is handed a token, a ``delete`` makes all tokens of the key void, and a ``fill`` with a void token is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from course import checks

STEPS = ("get", "read", "fill", "write", "put", "delete")

SCENARIOS: dict[str, dict[str, tuple[str, ...]]] = {
    "reader and invalidating writer": {"R": ("get", "read", "fill"), "W": ("write", "delete")},
    "reader and writer that deletes first": {"R": ("get", "read", "fill"), "W": ("delete", "write")},
    "two write-through writers": {"A": ("write", "put"), "B": ("write", "put")},
    "two invalidating writers": {"A": ("write", "delete"), "B": ("write", "delete")},
    "reader and write-through writer": {"R": ("get", "read", "fill"), "W": ("write", "put")},
    "reader and two invalidating writers": {
        "R": ("get", "read", "fill"),
        "A": ("write", "delete"),
        "B": ("write", "delete"),
    },
}

MAX_SCHEDULES = 20_000


@dataclass(frozen=True)
class Moment:
    """The state just after one step.

    Attributes
    ----------
    actor, step : str
        Who did what.
    cache : str or None
        Value in the cache, None if absent.
    database : str
        Value in the database.
    what : str
        The step in words.
    """

    actor: str
    step: str
    cache: str | None
    database: str
    what: str


@dataclass(frozen=True)
class Schedule:
    """One interleaving and where it ends.

    Attributes
    ----------
    order : tuple of str
        Its steps as ``"actor.step"``.
    moments : tuple of Moment
        The state after each step.
    cache, database : str
        The final values.
    stale : bool
        Whether the cache ends with a value that is not the database's. Nothing will put that right but
        another write or the entry's expiry.
    """

    order: tuple[str, ...]
    moments: tuple[Moment, ...]
    cache: str | None
    database: str
    stale: bool


def interleavings(
    actors: Mapping[str, Sequence[str]], *, leases: bool = False, cached: bool = False
) -> tuple[Schedule, ...]:
    """Run every interleaving of the actors' steps.

    There are (n₁+n₂+…)! / (n₁!·n₂!·…) of them.

    Parameters
    ----------
    actors : mapping of str to sequence of str
        One to three actors by name, each with one to six of the steps ``get``, ``read``, ``fill``, ``write``,
        ``put``, ``delete``. :data:`SCENARIOS` holds the well-known ones.
    leases : bool
        Whether fills need a valid lease.
    cached : bool
        Whether the cache holds the old value at the start.

    Returns
    -------
    tuple of Schedule
        In lexicographic order of the actors' turns. A writer ``A`` writes the value ``"A"``; the value before
        all is ``"old"``.

    Raises
    ------
    ValueError
        If there are too many actors, steps or schedules, or a step is unknown.
    """
    checks.integer("number of actors", len(actors), 1, 3)
    for name, steps in actors.items():
        checks.integer(f"number of steps of {name}", len(steps), 1, 6)
        for step in steps:
            checks.option(f"step of {name}", step, STEPS)
    count = math.factorial(sum(map(len, actors.values())))
    for steps in actors.values():
        count //= math.factorial(len(steps))
    checks.integer("number of schedules", count, 1, MAX_SCHEDULES)
    return tuple(
        _run(order, leases, "old" if cached else None)
        for order in _merges({name: tuple(steps) for name, steps in actors.items()})
    )


def _merges(left: dict[str, tuple[str, ...]]) -> Iterator[tuple[tuple[str, str], ...]]:
    if not any(left.values()):
        yield ()
    for name, steps in left.items():
        if steps:
            for rest in _merges({**left, name: steps[1:]}):
                yield ((name, steps[0]), *rest)


def _run(order: tuple[tuple[str, str], ...], leases: bool, cache: str | None) -> Schedule:
    database = "old"
    hit: set[str] = set()
    read: dict[str, str] = {}
    token: dict[str, int] = {}
    issued = valid_from = 0  # tokens below `valid_from` are void
    moments = []
    for actor, step in order:
        if step == "get":
            if cache is None:
                issued += 1
                token[actor] = issued
                what = f"{actor} misses" + (f" and is given lease {issued}" if leases else "")
            else:
                hit.add(actor)
                what = f"{actor} hits {cache}"
        elif step in ("read", "fill") and actor in hit:
            what = f"{actor} has its answer already"
        elif step == "read":
            read[actor] = database
            what = f"{actor} reads {database} from the database"
        elif step == "fill":
            value = read.get(actor, "old")
            if leases and token.get(actor, 0) < max(valid_from, 1):
                what = f"{actor} tries to fill {value}: its lease is void, refused"
            else:
                cache = value
                what = f"{actor} fills {value}"
        elif step == "write":
            database = actor
            what = f"{actor} writes {actor} to the database"
        elif step == "put":
            cache = actor
            what = f"{actor} puts {actor} into the cache"
        else:
            cache = None
            valid_from = issued + 1
            what = f"{actor} deletes the cache entry"
        moments.append(Moment(actor, step, cache, database, what))
    return Schedule(
        order=tuple(f"{actor}.{step}" for actor, step in order),
        moments=tuple(moments),
        cache=cache,
        database=database,
        stale=cache is not None and cache != database,
    )

"""The guide's cache samples as asyncio code, each with its bug and mended.

What the guide's JavaScript does by leaving out ``await`` is done here with :func:`asyncio.create_task`: both
start the call and go on without its result. :func:`demonstrate` runs a sample and its cure through one and
the same scene, in virtual time, and returns what cache and database hold at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from course import checks, virtual_time

Row = dict[str, Any]


def _now() -> float:
    return asyncio.get_running_loop().time()


class DatabaseError(Exception):
    """The database did not answer."""


@dataclass
class Database:
    """Rows by key; a call takes effect when it ends.

    Attributes
    ----------
    rows : dict of str to value
    delays_s : sequence of float
        How long the first, second, … call takes; calls after that take the last one.
    failing : sequence of int
        Numbers of the calls that fail, from 0.
    calls : int
    """

    rows: dict[str, Any]
    delays_s: Sequence[float] = (0.010,)
    failing: Sequence[int] = ()
    calls: int = 0

    async def read(self, key: str) -> Any:
        """Return the row as it is when the query begins, None if there is none."""
        row = self.rows.get(key)
        await self._call()
        return row

    async def write(self, key: str, value: Any) -> None:
        """Replace the row."""
        await self._call()
        self.rows[key] = value

    async def patch(self, key: str, changes: Row) -> Row:
        """Change some columns; returns the whole row."""
        await self._call()
        self.rows[key] = {**self.rows[key], **changes}
        return dict(self.rows[key])

    async def _call(self) -> None:
        number, self.calls = self.calls, self.calls + 1
        await asyncio.sleep(self.delays_s[min(number, len(self.delays_s) - 1)])
        if number in self.failing:
            raise DatabaseError(f"call {number}")


MISSING = object()


@dataclass
class Cache:
    """An async cache client; TTLs are in seconds."""

    delay_s: float = 0.001
    entries: dict[str, tuple[Any, float]] = field(default_factory=dict)

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or `default` if there is none."""
        await asyncio.sleep(self.delay_s)
        value, ends = self.entries.get(key, (default, float("inf")))
        return value if _now() < ends else default

    async def set(self, key: str, value: Any, ttl_s: float = 3600.0) -> None:
        """Store a value."""
        await asyncio.sleep(self.delay_s)
        self.entries[key] = (value, _now() + ttl_s)

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        await asyncio.sleep(self.delay_s)
        self.entries.pop(key, None)


class Store:
    """A cache before a database. Samples below differ in `read` or `write`."""

    def __init__(self, cache: Cache, database: Database) -> None:
        self.cache, self.database = cache, database
        self._background: set[asyncio.Future[Any]] = set()  # asyncio itself keeps only weak references

    async def read(self, key: str) -> Any:
        """Cache-aside as it should be."""
        value = await self.cache.get(key, MISSING)
        if value is MISSING:
            value = await self.database.read(key)
            await self.cache.set(key, value)
        return value

    def unawaited(self, call: Awaitable[Any]) -> asyncio.Future[Any]:
        """Start a call and go on: what a forgotten ``await`` does."""
        task: asyncio.Future[Any] = asyncio.ensure_future(call)
        self._background.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else will ever look at it


# --- cache-aside (E77) ----------------------------------------------------------------------------------


class UnawaitedGet(Store):
    """Bug: the lookup is not awaited. A pending result counts as true, so there is never a miss."""

    async def read(self, key: str) -> Any:
        """Answer None for ever, without asking the database."""
        value: Any = self.unawaited(self.cache.get(key))
        if not value:  # never: a pending result is not nothing
            value = self.unawaited(self.database.read(key))
        return await value


class FalsyMiss(Store):
    """Bug: 0, "" and None count as misses, and are loaded again by every read."""

    async def read(self, key: str) -> Any:
        """Answer rightly, at the database's cost."""
        value = await self.cache.get(key)
        if not value:
            value = await self.database.read(key)
            await self.cache.set(key, value)
        return value


# --- write-through (E83), write-around (E89), event-based invalidation (E90) ----------------------------


class CachedPatch(Store):
    """Bug: what is cached after a partial update is the part."""

    async def write(self, key: str, changes: Row) -> None:
        """Write some columns."""
        await self.database.patch(key, changes)
        await self.cache.set(key, changes)


class CachedRow(Store):
    """The cure: cache the whole row, as the database answers it."""

    async def write(self, key: str, changes: Row) -> None:
        """Write some columns."""
        await self.cache.set(key, await self.database.patch(key, changes))


class WriteAround(Store):
    """Bug: a write leaves an existing entry alone, which is then served until its TTL."""

    async def write(self, key: str, value: Any) -> None:
        """Write."""
        await self.database.write(key, value)


class WriteAndInvalidate(Store):
    """The cure, but for the stale-set race of :mod:`course.cache_interleavings`, which takes a lease."""

    async def write(self, key: str, value: Any) -> None:
        """Write."""
        await self.database.write(key, value)
        await self.cache.delete(key)


class UnawaitedWrite(Store):
    """Bug: the entry is deleted while the write is still on its way; a reader caches the old row again."""

    async def write(self, key: str, value: Any) -> None:
        """Write, some time."""
        self.unawaited(self.database.write(key, value))
        await self.cache.delete(key)


# --- write-back (E85) -----------------------------------------------------------------------------------


class RacingQueue(Store):
    """Bugs: two processors at once, a dirty mark removed too early, a failed batch forgotten.

    "The queue has one item" is not "nobody is working": the first processor has emptied the queue and waits
    for the database when the second write comes.
    """

    def __init__(self, cache: Cache, database: Database) -> None:
        super().__init__(cache, database)
        self.dirty: set[str] = set()
        self._queue: list[tuple[str, Any]] = []

    async def write(self, key: str, value: Any) -> None:
        """Acknowledge from the cache."""
        await self.cache.set(key, value)
        self.dirty.add(key)
        self._queue.append((key, value))
        if len(self._queue) == 1:
            # JavaScript runs an async function at once, up to its first wait: the batch is taken here.
            batch, self._queue = self._queue[:100], self._queue[100:]
            self.unawaited(self._process(batch))

    async def _process(self, batch: list[tuple[str, Any]]) -> None:
        while batch:
            await asyncio.gather(*(self.database.write(key, value) for key, value in batch))
            self.dirty.difference_update(key for key, _ in batch)
            batch, self._queue = self._queue[:100], self._queue[100:]


class OrderedFlusher(Store):
    """The cure: one flusher, one row a key, in order, tried again after an error, clean only when written."""

    def __init__(self, cache: Cache, database: Database, retry_s: float = 0.050) -> None:
        super().__init__(cache, database)
        self.retry_s = retry_s
        self._unsaved: dict[str, Any] = {}
        self._working = False

    @property
    def dirty(self) -> set[str]:
        """Keys whose newest value the database does not have."""
        return set(self._unsaved)

    async def write(self, key: str, value: Any) -> None:
        """Acknowledge from the cache."""
        await self.cache.set(key, value)
        self._unsaved[key] = value
        if not self._working:
            self._working = True
            self.unawaited(self._flush())

    async def _flush(self) -> None:
        while self._unsaved:
            key, value = next(iter(self._unsaved.items()))
            try:
                await self.database.write(key, value)
            except DatabaseError:
                await asyncio.sleep(self.retry_s)
                continue
            if self._unsaved[key] is value:  # else it has been written again meanwhile
                del self._unsaved[key]
        self._working = False


# --- refresh-ahead (E86, E88) ---------------------------------------------------------------------------


class TimerRefresh(Store):
    """Bugs: stores the pending call and not its row; milliseconds for a client of seconds; every key."""

    async def refresh(self) -> None:
        """Do one round of the timer: every entry with less than "300000" to live."""
        for key, (_, ends) in list(self.cache.entries.items()):
            if ends - _now() < 300_000:
                await self.cache.set(key, self.unawaited(self.database.read(key)), 3_600_000)


class AccessRefresh(Store):
    """The cure: rows, seconds, and only what somebody has read since the last round."""

    def __init__(self, cache: Cache, database: Database) -> None:
        super().__init__(cache, database)
        self._read: set[str] = set()

    async def read(self, key: str) -> Any:
        """Read, and remember that somebody did."""
        self._read.add(key)
        return await super().read(key)

    async def refresh(self) -> None:
        """Do one round of the timer: entries read lately with less than 300 s to live."""
        lately, self._read = self._read, set()
        for key, (_, ends) in list(self.cache.entries.items()):
            if key in lately and ends - _now() < 300:
                await self.cache.set(key, await self.database.read(key), 3_600)


# --- the scenes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Where a scene ended.

    Attributes
    ----------
    answers : tuple
        What the reads were told.
    cached, stored : value
        What cache (None: nothing) and database hold in the end.
    database_calls : int
    note : str
        What else there is to see.
    """

    answers: tuple[Any, ...]
    cached: Any
    stored: Any
    database_calls: int
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """One scene played with the guide's sample and with the cure."""

    erratum: str
    scene: str
    broken: Outcome
    mended: Outcome


KEY = "user:1"
Play = Callable[[Any], Awaitable[tuple[Sequence[Any], str]]]


@dataclass(frozen=True)
class _Scene:
    erratum: str
    text: str
    broken: type[Store]
    mended: type[Store]
    play: Play
    before: Any = "v0"
    cached: bool = True
    delays_s: Sequence[float] = (0.010,)
    failing: Sequence[int] = ()
    ttl_s: float = 3600.0


async def _read_three_times(store: Store) -> tuple[Sequence[Any], str]:
    return [await store.read(KEY) for _ in range(3)], ""


async def _patch_and_read(store: Any) -> tuple[Sequence[Any], str]:
    await store.write(KEY, {"email": "ada@example.org"})
    return [await store.read(KEY)], ""


async def _write_and_read(store: Any) -> tuple[Sequence[Any], str]:
    await store.write(KEY, "v1")
    answers = [await store.read(KEY)]
    await asyncio.sleep(1)  # whatever is on its way arrives
    return [*answers, await store.read(KEY)], ""


async def _write_twice(store: Any) -> tuple[Sequence[Any], str]:
    await store.write(KEY, "v1")
    await store.write(KEY, "v2")
    await asyncio.sleep(0.020)
    dirty = "dirty" if store.dirty else "not marked dirty"
    note = f"20 ms on, the database has {store.database.rows[KEY]} and the key is {dirty}"
    await asyncio.sleep(1)
    return [await store.read(KEY)], note


async def _write_once(store: Any) -> tuple[Sequence[Any], str]:
    await store.write(KEY, "v1")
    await asyncio.sleep(1)
    return [await store.read(KEY)], "still marked dirty" if store.dirty else "clean"


async def _refresh(store: Any) -> tuple[Sequence[Any], str]:
    await store.read(KEY)
    await store.refresh()
    value, ends = store.cache.entries[KEY]
    kind = "a pending call" if isinstance(value, asyncio.Future) else "a row"
    note = f"the cache holds {kind} for {(ends - _now()) / 86_400:.2f} days"
    await asyncio.sleep(1)
    answer = await store.read(KEY)
    return [f"<{type(answer).__name__}>" if isinstance(answer, asyncio.Future) else answer], note


_SCENES: dict[str, _Scene] = {
    "unawaited get": _Scene(
        "E77",
        "Read a row three times; the cache is empty.",
        UnawaitedGet,
        Store,
        _read_three_times,
        cached=False,
    ),
    "falsy value": _Scene(
        "E77", "Read a row that is 0 three times.", FalsyMiss, Store, _read_three_times, 0, False
    ),
    "cached patch": _Scene(
        "E83",
        "Change the e-mail address, then read the row.",
        CachedPatch,
        CachedRow,
        _patch_and_read,
        {"name": "Ada", "email": "old@example.org"},
    ),
    "write-around": _Scene(
        "E89", "Write v1, then read twice.", WriteAround, WriteAndInvalidate, _write_and_read
    ),
    "unawaited write": _Scene(
        "E90",
        "Write v1, then read at once and a second later.",
        UnawaitedWrite,
        WriteAndInvalidate,
        _write_and_read,
    ),
    "write-back order": _Scene(
        "E85",
        "Write v1, then v2; the first database call takes 40 ms, later ones 10 ms.",
        RacingQueue,
        OrderedFlusher,
        _write_twice,
        delays_s=(0.040, 0.010),
    ),
    "write-back error": _Scene(
        "E85",
        "Write v1; the first database call fails.",
        RacingQueue,
        OrderedFlusher,
        _write_once,
        failing=(0,),
    ),
    "refresh-ahead": _Scene(
        "E88",
        "Read a row that has 200 s to live, then let the refresh timer fire.",
        TimerRefresh,
        AccessRefresh,
        _refresh,
        ttl_s=200.0,
    ),
}
SCENES = tuple(_SCENES)


def demonstrate(scene: str) -> Comparison:
    """Play a scene with the guide's sample and with its cure.

    Parameters
    ----------
    scene : str
        One of :data:`SCENES`.

    Returns
    -------
    Comparison
        The same on every run.

    Raises
    ------
    ValueError
        If there is no such scene.
    """
    found = _SCENES[checks.option("scene", scene, SCENES)]
    broken, mended = (virtual_time.run(_play(found, store)) for store in (found.broken, found.mended))
    return Comparison(found.erratum, found.text, broken, mended)


async def _play(scene: _Scene, make: type[Store]) -> Outcome:
    database = Database({KEY: scene.before}, scene.delays_s, scene.failing)
    cache = Cache(entries={KEY: (scene.before, scene.ttl_s)} if scene.cached else {})
    answers, note = await scene.play(make(cache, database))
    cached = cache.entries.get(KEY, (None, 0.0))[0]
    return Outcome(
        answers=tuple(answers),
        cached=f"<{type(cached).__name__}>" if isinstance(cached, asyncio.Future) else cached,
        stored=database.rows[KEY],
        database_calls=database.calls,
        note=note,
    )

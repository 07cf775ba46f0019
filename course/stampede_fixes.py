"""Answers to the cache stampede as asyncio code: the two samples of the guide with their bugs, and cures.

Each loader has one method, ``await loader.get(key)``, which answers a :class:`Row` (or None) and raises
:class:`DatabaseError` when the database does. One loader stands for one application process; the
:class:`Cache` and the :class:`Database` are shared. All time is the event loop's, so that
:func:`course.virtual_time.run` makes every run the same.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Numbers = Iterator[float]


def _now() -> float:
    return asyncio.get_running_loop().time()


class DatabaseError(Exception):
    """The database did not answer."""


@dataclass(frozen=True)
class Row:
    """A row and the moment its query began, in seconds."""

    key: str
    loaded_at: float


@dataclass(frozen=True)
class Entry:
    """What the cache keeps: the row (None: known not to exist), its end of life, what it cost to load."""

    row: Row | None
    expires_at: float
    load_s: float


class Database:
    """Answers every query after `query_s` seconds; call number i fails where ``fails[i]`` is true.

    Attributes
    ----------
    call_s : list of float
        When each call began.
    missing : set of str
        Keys that have no row.
    """

    def __init__(self, query_s: float, fails: Sequence[bool] = (), missing: Sequence[str] = ()) -> None:
        self.query_s = query_s
        self.fails = fails
        self.missing = set(missing)
        self.call_s: list[float] = []

    async def load(self, key: str) -> Row | None:
        """Query one row; None if there is none."""
        call, start = len(self.call_s), _now()
        self.call_s.append(start)
        await asyncio.sleep(self.query_s)
        if call < len(self.fails) and self.fails[call]:
            raise DatabaseError(key)
        return None if key in self.missing else Row(key, start)


class Cache:
    """A cache with Redis' manners: reads are instant, a write takes effect after `set_s` seconds."""

    def __init__(self, set_s: float) -> None:
        self.set_s = set_s
        self._entries: dict[str, Entry] = {}
        self._locks: dict[str, tuple[int, float]] = {}
        self._leases: dict[str, tuple[int, float]] = {}
        self._fences: dict[str, int] = {}
        self._tokens = itertools.count(1)

    async def get(self, key: str) -> Entry | None:
        """Return the entry if it is alive."""
        entry = self._entries.get(key)
        return entry if entry and _now() < entry.expires_at else None

    async def get_stale(self, key: str) -> Entry | None:
        """Return the entry, alive or not."""
        return self._entries.get(key)

    async def set(
        self, key: str, row: Row | None, ttl: Callable[[], float], load_s: float = 0.0, fence: int = 0
    ) -> bool:
        """Store a row whose life begins when it arrives.

        A `fence` lower than one seen before is refused (answer False): its writer has been overtaken.
        """
        await asyncio.sleep(self.set_s)
        if fence and fence < self._fences.get(key, 0):
            return False
        self._fences[key] = max(fence, self._fences.get(key, 0))
        self._entries[key] = Entry(row, _now() + ttl(), load_s)
        return True

    async def delete(self, key: str) -> None:
        """Remove the entry and make its lease void."""
        self._entries.pop(key, None)
        self._leases.pop(key, None)

    async def lock(self, key: str, ttl_s: float) -> int | None:
        """``SET key token NX PX ttl``: a token, greater than all before it, or None if the lock is taken."""
        if key in self._locks and _now() < self._locks[key][1]:
            return None
        token = next(self._tokens)
        self._locks[key] = (token, _now() + ttl_s)
        return token

    async def unlock(self, key: str, token: int) -> bool:
        """Release the lock if it is still this holder's, as one step (in Redis a Lua script)."""
        if self._locks.get(key, (0, 0.0))[0] != token:
            return False
        del self._locks[key]
        return True

    async def get_or_lease(self, key: str, lease_s: float) -> tuple[Entry | None, int | None]:
        """Return the entry; or, on a miss, a lease; or neither if another client holds the lease."""
        entry = await self.get(key)
        if entry or (key in self._leases and _now() < self._leases[key][1]):
            return entry, None
        token = next(self._tokens)
        self._leases[key] = (token, _now() + lease_s)
        return None, token

    async def set_leased(self, key: str, row: Row | None, ttl: Callable[[], float], token: int) -> bool:
        """Store a row if its lease is still good."""
        await asyncio.sleep(self.set_s)
        if self._leases.get(key, (0, 0.0))[0] != token:
            return False
        del self._leases[key]
        self._entries[key] = Entry(row, _now() + ttl(), 0.0)
        return True


class Loader(Protocol):
    """What all loaders have in common."""

    async def get(self, key: str) -> Row | None:
        """Answer from the cache or the database."""


def _for_ever() -> float:
    return math.inf


class NoProtection:
    """Cache-aside and nothing more: everyone who misses asks the database."""

    def __init__(self, cache: Cache, database: Database, ttl: Callable[[], float]) -> None:
        self.cache, self.database, self.ttl = cache, database, ttl

    async def get(self, key: str) -> Row | None:
        """Answer from the cache or the database."""
        entry = await self.cache.get(key)
        if entry:
            return entry.row
        return await self._load(key)

    async def _load(self, key: str) -> Row | None:
        start = _now()
        row = await self.database.load(key)
        if row:
            await self.cache.set(key, row, self.ttl, _now() - start)
        return row


class GuideV1:
    """The guide's first sample. Its lock is removed only when the load succeeds.

    Bugs: one database error and the lock stays, holding a failed promise that every later call awaits; the
    waiters look into a cache that has not been written yet; the entry has no TTL.
    """

    def __init__(self, cache: Cache, database: Database) -> None:
        self.cache, self.database = cache, database
        self._locks: dict[str, asyncio.Task[Row | None]] = {}
        self._writes: set[asyncio.Task[bool]] = set()

    async def get(self, key: str) -> Row | None:
        """Answer, or raise for ever."""
        entry = await self.cache.get(key)
        if entry:
            return entry.row
        if key in self._locks:
            await asyncio.shield(self._locks[key])
            entry = await self.cache.get(key)
            return entry.row if entry else None
        self._locks[key] = asyncio.create_task(self._load(key))
        return await asyncio.shield(self._locks[key])

    async def _load(self, key: str) -> Row | None:
        row = await self.database.load(key)
        self._write_unawaited(key, row)
        del self._locks[key]
        return row

    def _write_unawaited(self, key: str, row: Row | None) -> None:
        write = asyncio.create_task(self.cache.set(key, row, _for_ever))
        self._writes.add(write)  # asyncio keeps only weak references to tasks
        write.add_done_callback(self._writes.discard)

    def dead(self) -> list[str]:
        """Keys whose lock holds a failure."""
        return [key for key, task in self._locks.items() if task.done()]


class GuideV2(GuideV1):
    """The guide's second sample: ``finally`` frees the lock.

    Still there: waiters re-read a cache that has not been written yet and answer "no such row"; rows that do
    not exist are loaded again by every call; no TTL; and the lock is one per process.
    """

    async def _load(self, key: str) -> Row | None:
        try:
            row = await self.database.load(key)
            if row:
                self._write_unawaited(key, row)
            return row
        finally:
            del self._locks[key]


class SingleFlight(NoProtection):
    """One load per key and process; all who come meanwhile share its result, or its error.

    With `missing_ttl` rows that do not exist are remembered too (negative caching).
    """

    def __init__(
        self,
        cache: Cache,
        database: Database,
        ttl: Callable[[], float],
        missing_ttl: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(cache, database, ttl)
        self.missing_ttl = missing_ttl
        self._flights: dict[str, asyncio.Task[Row | None]] = {}

    async def get(self, key: str) -> Row | None:
        """Answer from the cache, a load under way, or a new one."""
        entry = await self.cache.get(key)
        if entry:
            return entry.row
        # Shielded: a client that gives up must not cancel the load that others wait for.
        return await asyncio.shield(self._flight(key))

    def _flight(self, key: str) -> asyncio.Task[Row | None]:
        if key not in self._flights:
            self._flights[key] = asyncio.create_task(self._fly(key))
        return self._flights[key]

    async def _fly(self, key: str) -> Row | None:
        try:
            row = await self._load(key)
            if row is None and self.missing_ttl:
                await self.cache.set(key, None, self.missing_ttl)
            return row
        finally:
            del self._flights[key]


class StaleWhileRevalidate(SingleFlight):
    """For `grace_s` after its end of life an entry is still served, while one load renews it (RFC 5861)."""

    def __init__(self, cache: Cache, database: Database, ttl: Callable[[], float], *, grace_s: float) -> None:
        super().__init__(cache, database, ttl)
        self.grace_s = grace_s

    async def get(self, key: str) -> Row | None:
        """Answer from the cache, even a little late; load only what is too old."""
        entry = await self.cache.get_stale(key)
        if entry and _now() < entry.expires_at:
            return entry.row
        if entry and _now() < entry.expires_at + self.grace_s:
            # A failed renewal is the next caller's business; reading the exception marks it as seen.
            self._flight(key).add_done_callback(lambda task: task.exception())
            return entry.row
        return await asyncio.shield(self._flight(key))


class RedisLock(NoProtection):
    """One load per key for all processes, by a lock with an owner and an end, and a fence against overtaking.

    ``SET lock token NX PX ttl`` takes the lock; it is released only by its owner; whoever has not got it
    looks again after `poll_s`. A lock can expire under a slow owner: the token grows with each lock, and the
    cache refuses a value that comes with an older token than one it has seen.
    """

    def __init__(
        self,
        cache: Cache,
        database: Database,
        ttl: Callable[[], float],
        *,
        poll_s: float,
        lock_s: float = 10.0,
    ) -> None:
        super().__init__(cache, database, ttl)
        self.poll_s, self.lock_s = poll_s, lock_s

    async def get(self, key: str) -> Row | None:
        """Answer from the cache, waiting for whoever loads."""
        while True:
            entry = await self.cache.get(key)
            if entry:
                return entry.row
            token = await self.cache.lock(key, self.lock_s)
            if token is None:
                await asyncio.sleep(self.poll_s)
                continue
            try:
                row = await self.database.load(key)
                if row:
                    await self.cache.set(key, row, self.ttl, fence=token)
                return row
            finally:
                await self.cache.unlock(key, token)


class Lease(NoProtection):
    """One load per key for all processes, by the lease a miss is handed (Nishtala et al., NSDI 2013).

    Unlike a lock, a lease also dies when the key is deleted: a value read before a write can no longer be
    stored after it.
    """

    def __init__(
        self,
        cache: Cache,
        database: Database,
        ttl: Callable[[], float],
        *,
        poll_s: float,
        lease_s: float = 10.0,
    ) -> None:
        super().__init__(cache, database, ttl)
        self.poll_s, self.lease_s = poll_s, lease_s

    async def get(self, key: str) -> Row | None:
        """Answer from the cache, waiting for whoever holds the lease."""
        while True:
            entry, token = await self.cache.get_or_lease(key, self.lease_s)
            if entry:
                return entry.row
            if token is None:
                await asyncio.sleep(self.poll_s)
                continue
            row = await self.database.load(key)
            if row:
                await self.cache.set_leased(key, row, self.ttl, token)
            return row


class XFetch(NoProtection):
    """Renew early, by dice: the nearer the end and the dearer the load, the likelier.

    Vattani, Chierichetti and Lowenstein, *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015: load
    again if now - load time · β · ln(random) ≥ end of life. Nothing is shared, not even a lock.
    """

    def __init__(
        self,
        cache: Cache,
        database: Database,
        ttl: Callable[[], float],
        *,
        random: Callable[[], float],
        beta: float = 1.0,
    ) -> None:
        super().__init__(cache, database, ttl)
        self.random, self.beta = random, beta

    async def get(self, key: str) -> Row | None:
        """Answer from the cache unless the dice say to load."""
        entry = await self.cache.get(key)
        if entry and _now() - entry.load_s * self.beta * math.log(self.random()) < entry.expires_at:
            return entry.row
        return await self._load(key)

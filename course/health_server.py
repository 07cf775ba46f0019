"""The servers of the health check experiments: real endpoints, a real database and a cache that can be switched off.

It is apart from :mod:`course.health_checks` because FastAPI takes half a second to import.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import fakeredis
import redis
from fastapi import FastAPI, Response

#: A check that takes longer has failed (seconds): it must end before whoever asks gives up.
CHECK_TIMEOUT_S = 0.5


class Dependencies:
    """What all instances share: an SQLite file, and a cache that speaks Redis; both can be switched off.

    The database is off when its file is not where it should be, the cache when it refuses connections. The cache is a
    stand-in inside this process. A context manager: at its end the file is deleted.

    Attributes
    ----------
    path : pathlib.Path
        Where the database should be.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="course-health-")
        self.path = Path(self._folder.name) / "shop.db"
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)")
            database.execute("INSERT INTO orders (total) VALUES (250)")
        self._cache = fakeredis.FakeServer()

    @property
    def db_up(self) -> bool:
        """Whether the database is there; may be set."""
        return self.path.exists()

    @db_up.setter
    def db_up(self, up: bool) -> None:
        away = self.path.with_suffix(".away")
        if up != self.db_up:
            (away if up else self.path).rename(self.path if up else away)

    @property
    def cache_up(self) -> bool:
        """Whether the cache takes connections; may be set."""
        return bool(self._cache.connected)

    @cache_up.setter
    def cache_up(self, up: bool) -> None:
        self._cache.connected = up

    def ping_cache(self) -> None:
        """Ask the cache for a sign of life.

        Raises
        ------
        redis.RedisError
            If it gives none.
        """
        with closing(fakeredis.FakeRedis(server=self._cache)) as client:
            client.ping()

    def __enter__(self) -> Dependencies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


@dataclass
class Instance:
    """One server of the fleet.

    Attributes
    ----------
    dependencies : Dependencies
    name : str
    started : bool
        Whether it has loaded what it needs before the first request.
    draining : bool
        Whether it is about to stop: it finishes what it has and wants nothing new.
    cut_off : bool
        Whether this instance, and no other, fails to find the database: a wrong password, a full disk, a lost route.
    """

    dependencies: Dependencies
    name: str = "A"
    started: bool = True
    draining: bool = False
    cut_off: bool = False

    def total(self) -> int:
        """Sum of all orders, from the database.

        Raises
        ------
        sqlite3.Error
            If that does not answer.
        """
        path = self.dependencies.path.with_name("nowhere.db") if self.cut_off else self.dependencies.path
        # mode=rw: without it SQLite makes a new, empty database where there is none.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0.2)) as database:
            return int(database.execute("SELECT sum(total) FROM orders").fetchone()[0])

    async def check_database(self) -> bool:
        """Whether the database answers a query in time."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await asyncio.to_thread(self.total)
        except (sqlite3.Error, TimeoutError):
            return False
        return True

    async def check_cache(self) -> bool:
        """Whether the cache answers a ping in time."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await asyncio.to_thread(self.dependencies.ping_cache)
        except (redis.RedisError, TimeoutError):
            return False
        return True


def app(instance: Instance) -> FastAPI:
    """Make the application of one instance.

    ``/livez``
        The process answers. It knows nothing of dependencies: restarting a server does not mend its database.
    ``/startupz``
        200 once it has started.
    ``/readyz``
        Whether to send requests here: started, not draining, and the database is there. Without the cache it is slower
        ("degraded") and stays ready.
    ``/health``
        The guide's endpoint as it stands: the checks are called and not awaited.
    ``/about``, ``/orders``
        What users want; the second needs the database.

    Parameters
    ----------
    instance : Instance
        Read at every request.

    Returns
    -------
    fastapi.FastAPI
    """
    server = FastAPI(openapi_url=None)
    pending: set[asyncio.Task[bool]] = set()  # asyncio itself keeps only weak references

    def not_awaited(check: asyncio.Task[bool]) -> asyncio.Task[bool]:
        pending.add(check)
        check.add_done_callback(pending.discard)
        return check

    @server.get("/livez")
    async def alive() -> Response:
        return _json(200, {"status": "alive", "server": instance.name})

    @server.get("/startupz")
    async def started() -> Response:
        if instance.started:
            return _json(200, {"status": "started", "server": instance.name})
        return _json(503, {"status": "starting", "server": instance.name})

    @server.get("/readyz")
    async def ready() -> Response:
        database, cache = await asyncio.gather(instance.check_database(), instance.check_cache())
        if not instance.started:
            status = "starting"
        elif instance.draining:
            status = "draining"
        elif not database:
            status = "not ready"
        else:
            status = "ready" if cache else "degraded"
        told = {"status": status, "server": instance.name, "database": database, "cache": cache}
        return _json(200 if status in ("ready", "degraded") else 503, told)

    @server.get("/health")
    async def guide() -> Response:
        health = {
            "status": "healthy",
            "timestamp": round(1000 * time.time()),
            # An async function that is called and not awaited: in JavaScript a promise, here a task. Both run the check
            # and are truthy whatever comes out; JavaScript writes a promise as {}.
            "database": not_awaited(asyncio.create_task(instance.check_database())),
            "cache": not_awaited(asyncio.create_task(instance.check_cache())),
        }
        return _json(200 if health["database"] and health["cache"] else 503, health)

    @server.get("/about")
    async def about() -> Response:
        return _json(200, {"server": instance.name})

    @server.get("/orders")
    async def orders() -> Response:
        try:
            return _json(200, {"server": instance.name, "total": await asyncio.to_thread(instance.total)})
        except sqlite3.Error as error:
            return _json(503, {"server": instance.name, "error": str(error)})

    return server


def _json(status: int, told: dict[str, object]) -> Response:
    text = json.dumps(told, default=lambda _task: {})
    return Response(text, status, media_type="application/json")

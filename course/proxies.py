"""Layer 4 and layer 7 proxies: what each can see, and what that does to the share of each server.

* :class:`Layer4Proxy` and :class:`Layer7Proxy` are real: asyncio servers on loopback, before real HTTP servers,
  asked by a real client. :func:`drive` sends requests through one of them and reports who answered and what failed.
* :func:`simulate` and :func:`relative_spread` say the same without a socket, fast enough for a slider.

A layer 4 proxy copies bytes and chooses a server once a connection. A layer 7 proxy reads HTTP and chooses once a
request. Both choose by round robin here, so that what is counted is the only difference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple

import h11
import numpy as np
from numpy.typing import NDArray

from course import checks

if TYPE_CHECKING:
    import httpx

LAYERS = ("layer 4", "layer 7")
METHODS = ("GET", "POST")
#: Methods that may be sent twice (RFC 9110, section 9.2.2).
IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
MAX_SERVERS = 16
MAX_CONNECTIONS = 100
MAX_REQUESTS = 1_000
MAX_MODEL_REQUESTS = 1_000_000
MAX_MODEL_SERVERS = 1_000
MAX_RUNS = 10_000
MAX_BODY = 1_000_000
UPSTREAM_TIMEOUT_S = 5.0

# About one connection and so not to be passed on (RFC 9110, section 7.6.1).
_HOP_BY_HOP = (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade")

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


# --- the real thing -----------------------------------------------------------------------------------------


class _Listener:
    """A TCP server on a free loopback port, whose connections can all be cut."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def url(self) -> str:
        """Its address, ``http://127.0.0.1:port``."""
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> None:
        # With host and port, asyncio makes the socket with its protocol spelled out, and so turns Nagle's algorithm off;
        # a listener of our own making would need socket.IPPROTO_TCP for that.
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_error: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """Listen no more, and cut every connection; harmless when done twice."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the other side has gone, or we are to go; nobody waits for this task but kill()
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class _Message(NamedTuple):
    """A request or a response with its whole body."""

    head: h11.Request | h11.Response
    body: bytes


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader) -> _Message | None:
    """Read one message; None if the other side has ended before it began."""
    head: h11.Request | h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request | h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise h11.RemoteProtocolError("body too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _Message(head, bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            return None


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, head: h11.Request | h11.Response, body: bytes
) -> None:
    for event in (head, h11.Data(body), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()


def _answer(status: int, body: bytes, kind: str = "text/plain") -> _Message:
    head = h11.Response(
        status_code=status, headers=[("content-type", kind), ("content-length", str(len(body)))]
    )
    return _Message(head, body)


class _HttpListener(_Listener):
    """Answers the requests of a connection, one after the other, until the client closes it."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        peer = writer.get_extra_info("peername")
        while True:
            try:
                request = await _receive(connection, reader)
            except h11.RemoteProtocolError as error:
                refusal = _answer(error.error_status_hint, str(error).encode())
                await _send(connection, writer, refusal.head, refusal.body)
                return
            if request is None:
                return
            assert isinstance(request.head, h11.Request)
            answer = await self._respond(request.head, request.body, peer)
            body = b"" if request.head.method == b"HEAD" else answer.body
            await _send(connection, writer, answer.head, body)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _respond(self, request: h11.Request, body: bytes, peer: tuple[str, int]) -> _Message:
        raise NotImplementedError


class Backend(_HttpListener):
    """An HTTP server that tells its name and what it sees.

    Attributes
    ----------
    name : str
    received, answered : int
        Requests that came, and those that were answered: the difference was lost when it was killed.
    held : int
        Requests that came after :meth:`hang` and wait for an answer.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.received = self.answered = self.held = 0
        self._hanging = False

    def hang(self) -> None:
        """Take requests, and answer none of them any more."""
        self._hanging = True

    async def _respond(self, request: h11.Request, body: bytes, peer: tuple[str, int]) -> _Message:
        self.received += 1
        if self._hanging:
            self.held += 1
            await asyncio.Event().wait()
        self.answered += 1
        told = {
            "server": self.name,
            "method": request.method.decode(),
            "path": request.target.decode(),
            "peer": f"{peer[0]}:{peer[1]}",
            "forwarded for": dict(request.headers).get(b"x-forwarded-for", b"").decode(),
        }
        return _answer(200, json.dumps(told).encode(), "application/json")


class _RoundRobin:
    """Hands out servers in turn, without those that are known to be gone."""

    def __init__(self, backends: Sequence[Backend], gone: set[str]) -> None:
        self._backends = backends
        self._gone = gone
        self._turn = 0

    def choose(self) -> Backend | None:
        for _ in self._backends:
            backend = self._backends[self._turn % len(self._backends)]
            self._turn += 1
            if backend.name not in self._gone:
                return backend
        return None


class Layer4Proxy(_Listener):
    """Copies bytes: chooses a server when a connection comes, and knows no more of it than addresses and sizes.

    A server that refuses a connection is left out from then on, and the next is tried: nothing has been sent yet.
    One that dies later takes its connections with it.

    Attributes
    ----------
    seen : list of dict
        What it can know of each connection.
    """

    def __init__(self, backends: Sequence[Backend]) -> None:
        super().__init__()
        self.seen: list[dict[str, str | int]] = []
        self._gone: set[str] = set()
        self._servers = _RoundRobin(backends, self._gone)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while backend := self._servers.choose():
            try:
                from_server, to_server = await asyncio.open_connection(backend.host, backend.port)
                break
            except ConnectionError:
                self._gone.add(backend.name)
        else:
            return
        host, port = writer.get_extra_info("peername")
        seen: dict[str, str | int] = {
            "client address": host,
            "client port": port,
            "server address": backend.host,
            "server port": backend.port,
            "bytes to the server": 0,
            "bytes to the client": 0,
        }
        self.seen.append(seen)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, to_server, seen, "bytes to the server"))
                both.create_task(_copy(from_server, writer, seen, "bytes to the client"))
        except* OSError:
            pass  # whoever is left is cut off as well
        finally:
            to_server.transport.abort()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: dict[str, str | int], count: str
) -> None:
    while data := await reader.read(65_536):
        seen[count] = int(seen[count]) + len(data)
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class Layer7Proxy(_HttpListener):
    """Reads HTTP/1.1: chooses a server for each request, by its path if told so, and can send it again.

    A server that refuses a connection or breaks it is left out from then on. A request that no server has got is sent to
    the next one. One that a server may have executed is sent again only if its method is idempotent (RFC 9110, section
    9.2.2); otherwise the answer is 502. If no server is left it is 503, and 504 if one takes longer than 5 s. Bodies are
    held whole, up to 1 MB.

    Parameters
    ----------
    backends : sequence of Backend
    routes : mapping of str to sequence of Backend, optional
        Servers by the begin of the path; the longest that fits counts, and `backends` if none does.

    Attributes
    ----------
    seen : list of dict
        What it can know of each request.
    """

    def __init__(
        self, backends: Sequence[Backend], routes: Mapping[str, Sequence[Backend]] | None = None
    ) -> None:
        super().__init__()
        self.seen: list[dict[str, str | int]] = []
        self._gone: set[str] = set()
        pools = {"": backends, **(routes or {})}
        self._pools = {
            prefix: _RoundRobin(pools[prefix], self._gone) for prefix in sorted(pools, key=len, reverse=True)
        }

    async def _respond(self, request: h11.Request, body: bytes, peer: tuple[str, int]) -> _Message:
        method, path = request.method.decode(), request.target.decode()
        self.seen.append(
            {
                "client address": peer[0],
                "client port": peer[1],
                "method": method,
                "path": path,
                **{name.decode(): value.decode("latin-1") for name, value in request.headers},
                "bytes of the body": len(body),
            }
        )
        forward = _forwarded(request, body, peer)
        pool = next(pool for prefix, pool in self._pools.items() if path.startswith(prefix))
        while backend := pool.choose():
            try:
                async with asyncio.timeout(UPSTREAM_TIMEOUT_S):
                    return await _ask(backend, forward, body)
            except TimeoutError:
                return _answer(504, b"the server took too long")
            except ConnectionRefusedError:  # it has got nothing
                self._gone.add(backend.name)
            except (ConnectionError, h11.RemoteProtocolError):
                self._gone.add(backend.name)
                if method not in IDEMPOTENT:
                    return _answer(502, b"the server was lost, and may have executed the request")
        return _answer(503, b"no server is left")


async def _ask(backend: Backend, request: h11.Request, body: bytes) -> _Message:
    """Send a request to a server, over a new connection, and return its response as it may be passed on.

    Raises
    ------
    ConnectionRefusedError
        If nobody listens.
    ConnectionError, h11.RemoteProtocolError
        If the server breaks the connection, or speaks no HTTP.
    """
    connection = h11.Connection(h11.CLIENT)
    reader, writer = await asyncio.open_connection(backend.host, backend.port)
    try:
        await _send(connection, writer, request, body)
        answer = await _receive(connection, reader)
    finally:
        writer.transport.abort()
    if answer is None:
        raise ConnectionResetError("closed without an answer")
    assert isinstance(answer.head, h11.Response)
    fields = _end_to_end(answer.head.headers)
    if not any(name == b"content-length" for name, _ in fields):
        fields.append((b"content-length", str(len(answer.body)).encode()))
    return _Message(h11.Response(status_code=answer.head.status_code, headers=fields), answer.body)


def _forwarded(request: h11.Request, body: bytes, peer: tuple[str, int]) -> h11.Request:
    """Return the request as it goes to a server: with the client's address, over a connection for itself."""
    fields = _end_to_end(request.headers)
    before = [value for name, value in fields if name == b"x-forwarded-for"]
    sized = any(name == b"content-length" for name, _ in fields)
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=[
            *((name, value) for name, value in fields if name != b"x-forwarded-for"),
            *([] if sized or not body else [(b"content-length", str(len(body)).encode())]),
            (b"x-forwarded-for", b", ".join([*before, peer[0].encode()])),
            (b"via", b"1.1 layer7"),
            (b"connection", b"close"),
        ],
    )


def _end_to_end(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    listed = list(fields)
    named = {
        word.strip().lower() for name, value in listed if name == b"connection" for word in value.split(b",")
    }
    return [(name, value) for name, value in listed if name not in _HOP_BY_HOP and name not in named]


@asynccontextmanager
async def serve(
    layer: str, servers: int = 3, *, routes: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Layer4Proxy | Layer7Proxy, dict[str, Backend]]]:
    """Start servers and a proxy before them, all on loopback in this event loop, and stop them at the end.

    Ask it with an asynchronous client: an ordinary one would stop the loop that is to answer.

    Parameters
    ----------
    layer : {"layer 4", "layer 7"}
    servers : int
        From 1 to 16, named A, B, C, …
    routes : mapping of str to str, optional
        Letters of servers by the begin of the path, ``{"/images": "C"}``; at layer 7 only.

    Yields
    ------
    proxy : Layer4Proxy or Layer7Proxy
        With its address in ``url``.
    backends : dict of str to Backend
        By name.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("layer", layer, LAYERS)
    servers = checks.integer("servers", servers, 1, MAX_SERVERS)
    backends = {name: Backend(name) for name in ascii_uppercase[:servers]}
    if routes and layer == "layer 4":
        raise ValueError(f"routes = {routes!r}: must be empty at layer 4, which sees no path")
    pools = {}
    for prefix, names in (routes or {}).items():
        checks.integer(f"number of servers for {prefix!r}", len(names), 1, servers)
        pools[prefix] = [backends[checks.option("server of a route", n, tuple(backends))] for n in names]
    everyone = list(backends.values())
    proxy = Layer4Proxy(everyone) if layer == "layer 4" else Layer7Proxy(everyone, pools)
    async with AsyncExitStack() as stack:
        for backend in everyone:
            await stack.enter_async_context(backend)
        await stack.enter_async_context(proxy)
        yield proxy, backends


class Failure(NamedTuple):
    """A request that was not answered with 200.

    Attributes
    ----------
    connection, request : int
        Whose, and which of its requests, from 0.
    why : str
        ``"connection lost"``, or the status.
    """

    connection: int
    request: int
    why: str


@dataclass(frozen=True)
class Drive:
    """What became of the requests of :func:`drive`.

    Attributes
    ----------
    layer : str
    answered, received : dict of str to int
        Requests that each server answered, and those that it got.
    failures : tuple of Failure
        In the order of connections, then requests.
    seen : dict
        What the proxy could know of the first thing it decided on: a connection, or a request.
    """

    layer: str
    answered: dict[str, int]
    received: dict[str, int]
    failures: tuple[Failure, ...]
    seen: dict[str, str | int] = field(repr=False)


async def drive(
    layer: str,
    requests: Sequence[int],
    *,
    servers: int = 3,
    method: str = "GET",
    kill: str = "",
    at_request: int = 1,
) -> Drive:
    """Send requests over kept-alive connections through a real proxy to real servers; 1 to 2 ms a request.

    Every connection sends its first request, then every one that has a second its second, and so on. A connection
    that is lost is opened anew with the next request; the lost request is not repeated.

    Parameters
    ----------
    layer : {"layer 4", "layer 7"}
    requests : sequence of int
        Requests of each connection, at least 1; 1 to 100 connections and 1,000 requests in all.
    servers : int
        From 1 to 16, named A, B, C, …
    method : {"GET", "POST"}
    kill : str
        Name of a server that dies with requests unanswered; empty for none.
    at_request : int
        It dies with the request of that number in its hands, counted from 0 in each connection.

    Returns
    -------
    Drive

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    import httpx

    checks.integer("number of connections", len(requests), 1, MAX_CONNECTIONS)
    sizes = [checks.integer("requests of a connection", one, 1, MAX_REQUESTS) for one in requests]
    checks.integer("requests in all", sum(sizes), 1, MAX_REQUESTS)
    checks.option("method", method, METHODS)
    failures = []
    async with serve(layer, servers) as (proxy, backends), AsyncExitStack() as stack:
        if kill:
            checks.option("kill", kill, tuple(backends))
            checks.integer("at_request", at_request, 0, max(sizes) - 1)
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=proxy.url, trust_env=False))
            for _ in sizes
        ]
        for number in range(max(sizes)):
            now = [connection for connection, size in enumerate(sizes) if size > number]
            victim = backends[kill] if kill and number == at_request else None
            if victim:
                victim.hang()
            asked = []
            for connection in now:
                path = f"/connections/{connection}/requests/{number}"
                asked.append(asyncio.ensure_future(_why_not(clients[connection], method, path)))
                # The first of all in order, so that it is known which connection the proxy takes first.
                if number == 0 and not victim:
                    await asked[-1]
            if victim:
                while victim.held + sum(one.done() for one in asked) < len(asked):
                    await asyncio.sleep(0.001)
                await victim.kill()
            for connection, why in zip(now, await asyncio.gather(*asked), strict=True):
                if why:
                    failures.append(Failure(connection, number, why))
        return Drive(
            layer,
            {name: backend.answered for name, backend in backends.items()},
            {name: backend.received for name, backend in backends.items()},
            tuple(sorted(failures)),
            dict(proxy.seen[0]),
        )


async def _why_not(client: httpx.AsyncClient, method: str, path: str) -> str:
    """Send a request and say why it was not answered; empty if it was."""
    import httpx

    try:
        status = (await client.request(method, path)).status_code
    except httpx.TransportError:
        return "connection lost"
    return "" if status == 200 else str(status)


# --- the model ----------------------------------------------------------------------------------------------


def connection_sizes(
    clients: int, requests: int, *, spread: float = 1.0, most: int = MAX_MODEL_REQUESTS, seed: int = 1
) -> Integers:
    """Share requests among clients, and each client's among connections.

    Parameters
    ----------
    clients : int
        From 1 to 1 million.
    requests : int
        In all, at least one a client, up to 1 million.
    spread : float
        How unequal the clients are: the standard deviation of the logarithm of their shares (log-normal), from 0
        (equal) to 4.
    most : int
        A client opens a new connection after so many requests, from 1 to 1 million.
    seed : int

    Returns
    -------
    ndarray of int64
        Requests of each connection, at least 1, in the order in which they are opened: that is random, but a small
        change of a parameter changes it little.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    clients = checks.integer("clients", clients, 1, MAX_MODEL_REQUESTS)
    requests = checks.integer("requests", requests, clients, MAX_MODEL_REQUESTS)
    spread = checks.number("spread", spread, 0, 4)
    most = checks.integer("most", most, 1, MAX_MODEL_REQUESTS)
    normal, keys = (
        np.random.default_rng(child)
        for child in np.random.SeedSequence(checks.integer("seed", seed, 0)).spawn(2)
    )
    weights = np.exp(spread * normal.standard_normal(clients))
    # One for each, the rest by weight; what rounding leaves goes to the largest remainders.
    exact = (requests - clients) * weights / weights.sum()
    sizes = 1 + np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - 1 - exact, kind="stable")[: requests - int(sizes.sum())]] += 1
    full, rest = np.divmod(sizes, most)
    opened = np.concatenate([np.full(int(full.sum()), most), rest[rest > 0]])
    return np.asarray(opened[np.argsort(keys.random(opened.size))])


def simulate(sizes: Sequence[int] | Integers, servers: int, layer: str) -> Integers:
    """Count the requests of each server: round robin of connections at layer 4, of requests at layer 7.

    Parameters
    ----------
    sizes : sequence of int
        Requests of each connection, in the order in which they are opened; 1 to 1 million connections.
    servers : int
        From 1 to 1,000.
    layer : {"layer 4", "layer 7"}

    Returns
    -------
    ndarray of int64, shape (servers,)

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    counts, servers = _checked(sizes, servers)
    checks.option("layer", layer, LAYERS)
    if layer == "layer 7":
        whole, left = divmod(int(counts.sum()), servers)
        return whole + (np.arange(servers) < left)
    padded = np.zeros(-(-counts.size // servers) * servers, np.int64)
    padded[: counts.size] = counts
    return np.asarray(padded.reshape(-1, servers).sum(axis=0))


def relative_spread(sizes: Sequence[int] | Integers, servers: int) -> float:
    """How unequal the servers are behind a layer 4 proxy: root mean square deviation from the mean, over the mean.

    Parameters
    ----------
    sizes : sequence of int
        Requests of each connection; 1 to 1 million.
    servers : int
        From 1 to 1,000.

    Returns
    -------
    float
        Over all orders in which the connections may come.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Of K connections, server j gets :math:`m_j` (K/servers, rounded down or up): a sample without replacement, and so the
    variance of its requests is :math:`m_j (1 - m_j/K) S^2`, with :math:`S^2` the variance of the sizes with divisor
    K - 1 (Cochran, *Sampling Techniques*, chapter 2). To that comes the square of what it misses the mean by, where
    the servers do not divide K.
    """
    counts, servers = _checked(sizes, servers)
    total = counts.size
    shares = total // servers + (np.arange(servers) < total % servers)
    among = float(counts.var(ddof=1)) if total > 1 else 0.0
    target = float(counts.sum()) / servers
    square = shares * (1 - shares / total) * among + (shares * float(counts.mean()) - target) ** 2
    return float(np.sqrt(square.mean())) / target


def simulated_spread(
    sizes: Sequence[int] | Integers, servers: int, *, runs: int = 20, seed: int = 1
) -> Floats:
    """Return what :func:`relative_spread` expects, as it comes out in each of several random orders.

    Parameters
    ----------
    sizes, servers
        As there.
    runs : int
        From 1 to 10,000; connections times runs at most 10 million.
    seed : int

    Returns
    -------
    ndarray of float64, shape (runs,)
        Root mean square deviation of the servers from their mean, over the mean, a run.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    counts, servers = _checked(sizes, servers)
    runs = checks.integer("runs", runs, 1, MAX_RUNS)
    checks.integer("connections times runs", counts.size * runs, 1, 10_000_000)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    padded = np.zeros((runs, -(-counts.size // servers) * servers))
    padded[:, : counts.size] = rng.permuted(np.broadcast_to(counts, (runs, counts.size)), axis=1)
    loads = padded.reshape(runs, -1, servers).sum(axis=1)
    return np.asarray(loads.std(axis=1) / loads.mean(axis=1))


def _checked(sizes: Sequence[int] | Integers, servers: int) -> tuple[Integers, int]:
    counts = np.asarray(sizes)
    checks.integer("number of connections", counts.size, 1, MAX_MODEL_REQUESTS)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or counts.min() < 1:
        raise ValueError(f"sizes = {sizes!r:.60}: must be one row of whole numbers of at least 1")
    return counts.astype(np.int64), checks.integer("servers", servers, 1, MAX_MODEL_SERVERS)

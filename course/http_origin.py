"""The origin server of the HTTP caching experiments: one document, conditional requests, a real socket.

It is apart from :mod:`course.http_caching` because FastAPI takes half a second to import.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request, Response

from course.http_conditions import evaluate, http_date
from course.http_resource import Document, Policy


def origin(document: Document, policy: Policy, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make an application that serves the document at ``/document``: GET, HEAD and PUT, all conditional.

    Parameters
    ----------
    document : Document
        Read at every request.
    policy : Policy
    clock : callable
        Seconds since 1970, for ``Date`` and the comparison of dates.

    Returns
    -------
    fastapi.FastAPI
    """
    app = FastAPI(openapi_url=None)

    @app.api_route("/document", methods=["GET", "HEAD", "PUT"])
    async def answer(request: Request) -> Response:
        now = clock()
        etag = document.tag(policy.etag)
        modified = float(math.floor(document.modified)) if policy.last_modified else None
        status = evaluate(request.method, request.headers, etag, modified, now)
        # What a 304 must repeat of the 200 (RFC 9110, section 15.4.5); Last-Modified only where there is no
        # tag would do, but it costs little and helps a cache that knows no tags.
        told = {"date": http_date(now)}
        if policy.cache_control:
            told["cache-control"] = policy.cache_control
        if request.method == "PUT" and status == 200:
            document.edit(now)
            return Response(status_code=204, headers=told)
        if etag:
            told["etag"] = etag
        if modified is not None:
            told["last-modified"] = http_date(modified)
        if status in (304, 412):
            return Response(status_code=status, headers=told)
        body = document.body
        if status == 206:
            span = _range(request.headers["range"], len(body))
            if span is None:  # not one plain range: the whole is a correct answer to that (section 14.2)
                status = 200
            elif span[0] >= len(body):
                told["content-range"] = f"bytes */{len(body)}"
                return Response(status_code=416, headers=told)
            else:
                told["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{len(body)}"
                body = body[span[0] : span[1]]
        return Response(body, status, told, media_type="text/plain")

    return app


def _range(text: str, size: int) -> tuple[int, int] | None:
    unit, _, spec = text.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not (first or last):
        return None
    if not all(part.isdecimal() for part in (first, last) if part):
        return None
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1 if last else size)


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Run an application with uvicorn on a free loopback port, in a thread, and stop it at the end.

    Yields
    ------
    str
        Its address, ``http://127.0.0.1:port``.

    Raises
    ------
    RuntimeError
        If it is not ready within 10 s.
    """
    # Bound here and handed over, so that no one can take the port in between. Without the protocol spelled
    # out asyncio does not turn Nagle's algorithm off, and every answer waits 40 ms for a delayed
    # acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_config=None, date_header=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="origin", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the origin server did not start")
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
        if thread.is_alive():
            server.force_exit = True
            thread.join(5)
        listener.close()

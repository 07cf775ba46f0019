"""HTTP caching between a real origin server and a private cache, and the same in a closed model.

* :class:`PrivateCache` is a browser's HTTP cache over httpx (RFC 9111, RFC 5861). It exists because the clock
  must be the experiment's: with hishel, the library to use in production, ages are real seconds, and
  stale-while-revalidate is not done.
* :func:`browse` plays a schedule of requests and edits against the real server of :mod:`course.http_origin`;
  :func:`revalidation` computes the same without one, fast enough for a slider.

What a server does with a conditional request is in :mod:`course.http_conditions`.

The document's every revision has the same size, so that bytes can be compared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from course import checks
from course.http_conditions import http_date, parse_date
from course.http_resource import EPOCH, Document, Policy

if TYPE_CHECKING:
    import httpx

MAX_REQUESTS = 10_000


@dataclass
class Clock:
    """Virtual seconds that server and client share."""

    now: float = float(EPOCH)

    def __call__(self) -> float:
        """Return the time."""
        return self.now


# --- the private cache ----------------------------------------------------------------------------------


@dataclass
class _Stored:
    headers: dict[str, str]
    body: bytes
    received: float


@dataclass(frozen=True)
class Answer:
    """What the user of a :class:`PrivateCache` gets.

    Attributes
    ----------
    body : bytes
    source : {"origin", "validated", "cache", "stale"}
        Sent in full; confirmed by a 304; from the cache without asking; stale, and renewed afterwards.
    """

    body: bytes
    source: str


def cache_control(text: str) -> dict[str, str]:
    """Directives of a ``Cache-Control`` field, lower case, with their arguments ('' where there is none)."""
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in parts}


def freshness_s(headers: Mapping[str, str]) -> float:
    """Freshness lifetime of a response in a private cache, in seconds (RFC 9111, section 4.2.1).

    ``max-age``, else ``Expires`` - ``Date``, else a tenth of the time since ``Last-Modified`` (the guess of
    section 4.2.2), else 0.
    """
    directives = cache_control(headers.get("cache-control", ""))
    if "max-age" in directives:
        # An argument that is no number counts as stale (section 4.2.1).
        return float(directives["max-age"]) if directives["max-age"].isdecimal() else 0.0
    date = parse_date(headers.get("date", ""))
    if date is None:
        return 0.0
    if "expires" in headers:
        expires = parse_date(headers["expires"])
        return max(0.0, expires - date) if expires is not None else 0.0
    modified = parse_date(headers.get("last-modified", ""))
    return max(0.0, date - modified) / 10 if modified is not None else 0.0


class PrivateCache:
    """A browser's HTTP cache for GET, over an httpx client.

    Leaves out ``Vary`` (such responses are not stored), ranges, ``Age`` from caches on the way, and eviction.

    Attributes
    ----------
    body_bytes, header_bytes : int
        Received over the network.
    status : dict of int to int
        Responses received, by status.
    """

    def __init__(self, client: httpx.Client, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._stored: dict[str, _Stored] = {}
        self.status: dict[int, int] = {}
        self.body_bytes = 0
        self.header_bytes = 0

    def get(self, url: str) -> Answer:
        """Answer from the cache if that is allowed, else from the origin, validating if possible."""
        stored = self._stored.get(url)
        if stored:
            directives = cache_control(stored.headers.get("cache-control", ""))
            age = self._clock() - stored.received
            fresh_s = freshness_s(stored.headers)
            if "no-cache" not in directives:
                if age < fresh_s:
                    return Answer(stored.body, "cache")
                grace = directives.get("stale-while-revalidate", "")
                if grace.isdecimal() and age < fresh_s + int(grace) and "must-revalidate" not in directives:
                    stale = stored.body
                    self._fetch(url, stored)  # a browser does this after it has answered
                    return Answer(stale, "stale")
        return self._fetch(url, stored)

    def put(self, url: str, body: bytes) -> int:
        """Send a PUT and forget what it made out of date (RFC 9111, section 4.4); returns the status."""
        status = self._client.put(url, content=body).status_code
        if status < 400:
            self._stored.pop(url, None)
        return status

    def _fetch(self, url: str, stored: _Stored | None) -> Answer:
        asked = {}
        if stored and "etag" in stored.headers:
            asked["if-none-match"] = stored.headers["etag"]
        if stored and "last-modified" in stored.headers:
            asked["if-modified-since"] = stored.headers["last-modified"]
        response = self._client.get(url, headers=asked)
        headers = {name.lower(): value for name, value in response.headers.items()}
        self.status[response.status_code] = self.status.get(response.status_code, 0) + 1
        self.body_bytes += len(response.content)
        self.header_bytes += sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
        if response.status_code == 304 and stored:
            stored.headers.update(headers)  # section 3.2: the new fields replace the stored ones
            stored.received = self._clock()
            return Answer(stored.body, "validated")
        if response.status_code == 200:
            if "no-store" in cache_control(headers.get("cache-control", "")) or "vary" in headers:
                self._stored.pop(url, None)
            else:
                self._stored[url] = _Stored(headers, response.content, self._clock())
        return Answer(response.content, "origin")


# --- the experiment -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """When the document is asked for and edited, in seconds from the start, ascending.

    Attributes
    ----------
    request_s : ndarray, shape (requests,)
    edit_s : ndarray, shape (edits,)
    """

    request_s: NDArray[np.float64]
    edit_s: NDArray[np.float64]


def schedule(
    requests: int = 200, request_every_s: float = 1.0, edit_every_s: float = 10.0, seed: int = 1
) -> Schedule:
    """Draw Poisson requests and Poisson edits.

    Parameters
    ----------
    requests : int
        1 to 10,000.
    request_every_s, edit_every_s : float
        Mean gaps, 0.01 to 100,000 s.
    seed : int
    """
    n = checks.integer("requests", requests, 1, MAX_REQUESTS)
    gap = checks.number("request_every_s", request_every_s, 0.01, 1e5, unit="s")
    edit_gap = checks.number("edit_every_s", edit_every_s, 0.01, 1e5, unit="s")
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    asked = np.cumsum(rng.standard_exponential(n)) * gap
    # Gaps scaled, not redrawn, so that a slider stretches one and the same history.
    count = min(100_000, int(asked[-1] / edit_gap * 1.5) + 50)
    edits = np.cumsum(rng.standard_exponential(count)) * edit_gap
    return Schedule(asked, edits[edits < asked[-1]])


@dataclass(frozen=True)
class BrowseResult:
    """What a private cache saw of one schedule.

    Attributes
    ----------
    requests, from_cache, stale_served, not_modified, full : int
        All; answered without asking; answered stale while renewing; confirmed by 304; sent with 200.
        ``requests = from_cache + stale_served +`` those that waited for a 304 or a 200.
    out_of_date : int
        Answers that were not the revision of that moment.
    body_bytes, header_bytes : int
        Received over the network.
    uncached_bytes : int
        What the same requests would have cost without a cache.
    out_of_date_request : ndarray of bool, shape (requests,)
    """

    requests: int
    from_cache: int
    stale_served: int
    not_modified: int
    full: int
    out_of_date: int
    body_bytes: int
    header_bytes: int
    uncached_bytes: int
    out_of_date_request: NDArray[np.bool_] = field(repr=False)


def _play(plan: Schedule, edit: Callable[[float], None], ask: Callable[[float], None]) -> None:
    """Call `edit` and `ask` in the order of time; an edit at the moment of a request comes first."""
    edits = iter(plan.edit_s.tolist())
    upcoming = next(edits, math.inf)
    for at in plan.request_s.tolist():
        while upcoming <= at:
            edit(EPOCH + upcoming)
            upcoming = next(edits, math.inf)
        ask(EPOCH + at)


def browse(plan: Schedule, policy: Policy, size: int = 10_000) -> BrowseResult:
    """Play a schedule against a real server with a real cache; only the clock is virtual.

    About 1 ms a request that reaches the server.

    Parameters
    ----------
    plan : Schedule
        At most 10,000 requests.
    policy : Policy
    size : int
        Bytes of the document, 64 to 10,000,000.

    Returns
    -------
    BrowseResult
    """
    import httpx

    from course.http_origin import origin, serve

    _check(plan)
    clock, document = Clock(), Document(size)
    sources: list[str] = []
    old: list[bool] = []
    with serve(origin(document, policy, clock)) as address, httpx.Client(trust_env=False) as client:
        cache = PrivateCache(client, clock)

        def edit(now: float) -> None:
            document.edit(now)

        def ask(now: float) -> None:
            clock.now = now
            answer = cache.get(f"{address}/document")
            sources.append(answer.source)
            old.append(answer.body != document.body)

        _play(plan, edit, ask)
        once = client.get(f"{address}/document")
    per_full = len(once.content) + sum(len(n) + len(v) + 4 for n, v in once.headers.raw)
    return BrowseResult(
        requests=len(sources),
        from_cache=sources.count("cache"),
        stale_served=sources.count("stale"),
        not_modified=cache.status.get(304, 0),
        full=cache.status.get(200, 0),
        out_of_date=sum(old),
        body_bytes=cache.body_bytes,
        header_bytes=cache.header_bytes,
        uncached_bytes=per_full * len(sources),
        out_of_date_request=np.array(old, bool),
    )


def revalidation(plan: Schedule, policy: Policy, size: int = 10_000) -> BrowseResult:
    """Compute what :func:`browse` would count, without server, client or bytes.

    Parameters and result are those of :func:`browse`.
    """
    _check(plan)
    size = Document(size).size
    fields_304, fields_200 = _header_bytes(policy, size)
    fresh_s: float = policy.max_age if policy.max_age is not None else 0.0
    guess = policy.max_age is None and policy.last_modified
    validates = policy.etag != "none" or policy.last_modified
    revision, modified = 0, EPOCH - 86_400.0
    held, held_modified, received = -1, 0.0, 0.0  # what the cache has; -1: nothing
    counts = {"cache": 0, "stale": 0, "304": 0, "200": 0}
    old: list[bool] = []

    def edit(now: float) -> None:
        nonlocal revision, modified
        revision, modified = revision + 1, now

    def ask(now: float) -> None:
        nonlocal held, held_modified, received, fresh_s
        used = -1
        if held >= 0 and not policy.no_cache:
            age = now - received
            if age < fresh_s:
                counts["cache"] += 1
                old.append(held != revision)
                return
            if age < fresh_s + policy.stale_while_revalidate:
                counts["stale"] += 1
                used = held
        same = held == revision if policy.etag != "none" else math.floor(modified) <= held_modified
        if held >= 0 and validates and same:
            counts["304"] += 1
        else:
            counts["200"] += 1
            held = revision
        held_modified, received = math.floor(modified), now
        if guess:
            fresh_s = max(0.0, math.floor(now) - held_modified) / 10
        old.append((held if used < 0 else used) != revision)
        if policy.no_store:
            held = -1

    _play(plan, edit, ask)
    n = len(old)
    return BrowseResult(
        requests=n,
        from_cache=counts["cache"],
        stale_served=counts["stale"],
        not_modified=counts["304"],
        full=counts["200"],
        out_of_date=sum(old),
        body_bytes=counts["200"] * size,
        header_bytes=counts["200"] * fields_200 + counts["304"] * fields_304,
        uncached_bytes=n * (size + fields_200),
        out_of_date_request=np.array(old, bool),
    )


def _header_bytes(policy: Policy, size: int) -> tuple[int, int]:
    """Bytes of the fields of a 304 and of a 200: name, colon, space, value, line end."""
    fields = {"date": http_date(EPOCH)}
    if policy.cache_control:
        fields["cache-control"] = policy.cache_control
    if policy.etag != "none":
        fields["etag"] = "W/" * (policy.etag == "weak") + '"' + "0" * 16 + '"'
    if policy.last_modified:
        fields["last-modified"] = http_date(EPOCH)
    confirmed = sum(len(name) + len(value) + 4 for name, value in fields.items())
    sent = {"content-length": str(size), "content-type": "text/plain; charset=utf-8"}
    return confirmed, confirmed + sum(len(name) + len(value) + 4 for name, value in sent.items())


def _check(plan: Schedule) -> None:
    checks.integer("number of requests", len(plan.request_s), 1, MAX_REQUESTS)
    for name, times in (("request_s", plan.request_s), ("edit_s", plan.edit_s)):
        if not np.isfinite(times).all() or (np.diff(times) < 0).any() or (len(times) and times[0] < 0):
            raise ValueError(f"{name} = {times!r}: must be finite, not negative and ascending")


# --- what the guide mixes up ----------------------------------------------------------------------------

BROWSER_STORES: Sequence[Mapping[str, str]] = (
    {
        "store": "HTTP cache",
        "filled by": "the browser, as the response's header fields allow",
        "key": "URL (and the fields that Vary names)",
        "size": "a share of the disk, the browser's choice",
        "ends": "freshness, validation, eviction",
    },
    {
        "store": "localStorage",
        "filled by": "a script, by setItem",
        "key": "a string, per origin",
        "size": "5 MiB per origin",
        "ends": "when a script or the user removes it",
    },
    {
        "store": "sessionStorage",
        "filled by": "a script, by setItem",
        "key": "a string, per origin and tab",
        "size": "5 MiB per origin",
        "ends": "with the tab",
    },
    {
        "store": "IndexedDB",
        "filled by": "a script, in transactions",
        "key": "structured, per origin",
        "size": "a share of the disk, per origin",
        "ends": "when a script or the user removes it, or under storage pressure",
    },
)

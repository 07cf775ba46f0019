"""Conditional requests: entity tags, dates, and what a server answers (RFC 9110, sections 8.8 and 13)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime


def http_date(seconds: float) -> str:
    """Format a time as HTTP does: GMT, whole seconds, the fraction cut off."""
    return formatdate(math.floor(seconds), usegmt=True)


def parse_date(text: str) -> float | None:
    """Seconds of an HTTP date, None if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def parse_tags(field_value: str) -> list[str]:
    """Entity tags of an ``If-Match`` or ``If-None-Match`` field. A comma may stand inside a tag's quotes."""
    tags, rest = [], field_value.strip()
    while rest:
        start = 2 if rest.startswith("W/") else 0
        end = rest.find('"', start + 1)
        if rest[start : start + 1] != '"' or end < 0:
            break  # not a tag: what follows cannot be trusted either
        tags.append(rest[: end + 1])
        rest = rest[end + 1 :].lstrip(" \t,")
    return tags


def weak_match(a: str, b: str) -> bool:
    """Whether two tags have the same opaque part, weak or not (RFC 9110, section 8.8.3.2)."""
    return a.removeprefix("W/") == b.removeprefix("W/")


def strong_match(a: str, b: str) -> bool:
    """Whether two tags are equal and neither is weak."""
    return a == b and not a.startswith("W/")


def evaluate(
    method: str, headers: Mapping[str, str], etag: str | None, last_modified: float | None, now: float
) -> int:
    """Status that the preconditions of a request call for, in the order of RFC 9110, section 13.2.2.

    Parameters
    ----------
    method : str
    headers : mapping
        Request fields by lower-case name.
    etag : str or None
        Current entity tag with its quotes, ``"a"`` or ``W/"a"``.
    last_modified : float or None
        Whole seconds, as the server has told them in ``Last-Modified``.
    now : float
        The server's clock, which decides whether a date may be trusted as a *strong* validator: only if it is
        at least one second before the ``Date`` it was sent with (section 8.8.2.2).

    Returns
    -------
    int
        200 (do it), 206 (send the range), 304 (not modified) or 412 (precondition failed).
    """
    reading = method in ("GET", "HEAD")
    if "if-match" in headers:
        wanted = headers["if-match"].strip()
        if wanted != "*" and not (etag and any(strong_match(etag, tag) for tag in parse_tags(wanted))):
            return 412
    elif "if-unmodified-since" in headers and last_modified is not None:
        since = parse_date(headers["if-unmodified-since"])
        if since is not None and last_modified > since:
            return 412
    if "if-none-match" in headers:
        wanted = headers["if-none-match"].strip()
        if wanted == "*" or (etag and any(weak_match(etag, tag) for tag in parse_tags(wanted))):
            return 304 if reading else 412
    elif "if-modified-since" in headers and reading and last_modified is not None:
        since = parse_date(headers["if-modified-since"])
        if since is not None and last_modified <= since:
            return 304
    if method == "GET" and "range" in headers:
        condition = headers.get("if-range", "").strip()
        if not condition:
            return 206
        if condition.startswith(('"', "W/")):
            return 206 if etag and strong_match(etag, condition) else 200
        since = parse_date(condition)
        if since is not None and since == last_modified and math.floor(now) - since >= 1:
            return 206
    return 200


@dataclass(frozen=True)
class Case:
    """One conditional request and its right answer.

    Attributes
    ----------
    why : str
        The rule it tests.
    method : str
    headers : dict of str to str
        Request fields by lower-case name.
    etag, last_modified, now
        State of the server, as for :func:`evaluate`.
    status : int
        The right answer.
    """

    why: str
    method: str
    headers: dict[str, str]
    etag: str | None
    last_modified: float | None
    now: float
    status: int


_T = 1_700_000_000.0
_THEN, _BEFORE, _AFTER = http_date(_T), http_date(_T - 60), http_date(_T + 60)


def _case(
    why: str, method: str, headers: dict[str, str], etag: str | None, status: int, age: float = 600
) -> Case:
    return Case(why, method, headers, etag, _T, _T + age, status)


CASES = (
    _case("no condition: send it", "GET", {}, '"a"', 200),
    _case("the tag has not changed", "GET", {"if-none-match": '"a"'}, '"a"', 304),
    _case("the tag has changed", "GET", {"if-none-match": '"a"'}, '"b"', 200),
    _case("If-None-Match compares weakly: server's tag weak", "GET", {"if-none-match": '"a"'}, 'W/"a"', 304),
    _case("If-None-Match compares weakly: client's tag weak", "GET", {"if-none-match": 'W/"a"'}, '"a"', 304),
    _case("one tag of a list suffices", "GET", {"if-none-match": '"x", W/"a"'}, '"a"', 304),
    _case("a comma may stand inside a tag", "GET", {"if-none-match": '"x,y", "a"'}, '"x,y"', 304),
    _case("a star matches whatever exists", "GET", {"if-none-match": "*"}, '"a"', 304),
    _case("creating only: something exists already", "PUT", {"if-none-match": "*"}, '"a"', 412),
    _case("not modified since", "GET", {"if-modified-since": _THEN}, None, 304),
    _case("modified since", "GET", {"if-modified-since": _BEFORE}, None, 200),
    _case("a date that is none is ignored", "GET", {"if-modified-since": "yesterday"}, None, 200),
    _case("If-Modified-Since is for reading only", "PUT", {"if-modified-since": _AFTER}, None, 200),
    _case(
        "the tag counts, not the date beside it",
        "GET",
        {"if-none-match": '"a"', "if-modified-since": _AFTER},
        '"b"',
        200,
    ),
    _case("nobody has written since: go ahead", "PUT", {"if-match": '"a"'}, '"a"', 200),
    _case("somebody has: a lost update averted", "PUT", {"if-match": '"a"'}, '"b"', 412),
    _case("If-Match compares strongly", "PUT", {"if-match": 'W/"a"'}, 'W/"a"', 412),
    _case("unmodified since: go ahead", "PUT", {"if-unmodified-since": _THEN}, None, 200),
    _case("modified since: refuse", "PUT", {"if-unmodified-since": _BEFORE}, None, 412),
    _case("a range", "GET", {"range": "bytes=0-9"}, '"a"', 206),
    _case("the rest of what I have", "GET", {"range": "bytes=5-", "if-range": '"a"'}, '"a"', 206),
    _case("it has changed: the whole", "GET", {"range": "bytes=5-", "if-range": '"a"'}, '"b"', 200),
    _case("If-Range compares strongly", "GET", {"range": "bytes=5-", "if-range": 'W/"a"'}, 'W/"a"', 200),
    _case("an old date is a strong validator", "GET", {"range": "bytes=5-", "if-range": _THEN}, None, 206),
    _case(
        "a date of this very second is not", "GET", {"range": "bytes=5-", "if-range": _THEN}, None, 200, 0.9
    ),
)

"""The one resource of the HTTP experiments, and what its origin tells caches about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from course import checks

ETAGS = ("none", "weak", "strong")
EPOCH = 1_700_000_000  # virtual second 0, a whole second


@dataclass(frozen=True)
class Policy:
    """What the origin tells caches.

    Attributes
    ----------
    max_age : int or None
        Seconds of freshness, None to say nothing and leave caches to guess. 0 to 31,536,000.
    etag : {"none", "weak", "strong"}
        Weak: the same for revisions that differ in white space only.
    last_modified : bool
        Whether to send ``Last-Modified``.
    no_cache, no_store : bool
        Store but always ask again; never store.
    stale_while_revalidate : int
        Seconds after the end of freshness in which a stale response may be used while it is renewed
        (RFC 5861). 0 to 31,536,000.
    """

    max_age: int | None = 60
    etag: str = "strong"
    last_modified: bool = True
    no_cache: bool = False
    no_store: bool = False
    stale_while_revalidate: int = 0

    def __post_init__(self) -> None:
        if self.max_age is not None:
            checks.integer("max_age", self.max_age, 0, 31_536_000, unit="s")
        checks.option("etag", self.etag, ETAGS)
        checks.integer("stale_while_revalidate", self.stale_while_revalidate, 0, 31_536_000, unit="s")

    @property
    def cache_control(self) -> str:
        """The ``Cache-Control`` field, empty if there is nothing to say."""
        parts = ["no-store"] * self.no_store + ["no-cache"] * self.no_cache
        if self.max_age is not None:
            parts.append(f"max-age={self.max_age}")
        if self.stale_while_revalidate:
            parts.append(f"stale-while-revalidate={self.stale_while_revalidate}")
        return ", ".join(parts)


@dataclass
class Document:
    """The one resource of the origin. `edit` makes a new revision; bytes, size and time follow from it.

    Attributes
    ----------
    size : int
        Bytes of a revision, 64 to 10,000,000.
    revision : int
    modified : float
        When it was edited, in seconds of the server's clock.
    """

    size: int = 10_000
    revision: int = 0
    modified: float = EPOCH - 86_400.0
    spaces: int = 0

    def __post_init__(self) -> None:
        checks.integer("size", self.size, 64, 10_000_000, unit="bytes")

    def edit(self, now: float, *, white_space_only: bool = False) -> None:
        """Make a new revision; with `white_space_only` one that means the same."""
        if white_space_only:
            self.spaces += 1
        else:
            self.revision += 1
        self.modified = now

    @property
    def body(self) -> bytes:
        """The bytes: revision number, white space, filling."""
        head = f"revision {self.revision}".encode() + b" " * (1 + self.spaces)
        return (head + b"." * self.size)[: self.size]

    def tag(self, kind: str) -> str | None:
        """Entity tag: of the bytes (strong), of the words (weak), or none."""
        if kind == "none":
            return None
        seen = self.body if kind == "strong" else f"revision {self.revision}".encode()
        quoted = f'"{hashlib.sha256(seen).hexdigest()[:16]}"'
        return quoted if kind == "strong" else f"W/{quoted}"

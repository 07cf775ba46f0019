"""Wide rows or two tables: how many pages a query reads, by a model of SQLite's file format and in real files.

The rows have a number, the hot columns that most queries read, and a blob that few do. Wide, they are one table; split,
the blob has a table of its own, whose key refers to the first. A row longer than a page does not fit into one:
SQLite leaves a piece of it in the table and puts the rest into overflow pages, which a query reads only if it needs
them. Format: "Database File Format", https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from course import checks

QUERIES = ("scan", "look-up")
PAGE_BYTES = 4096
MAX_ROWS = 10_000_000
MAX_BYTES = 1_000_000
#: Rows that fit into a real file made for a measurement.
MAX_MEASURED = 200_000


# --- the model ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TablePages:
    """Pages of one table.

    Attributes
    ----------
    interior, leaf, overflow : int
        Of the B-tree's inner nodes, of its leaves, and of what does not fit into those.
    depth : int
        Pages from the root to a leaf, both counted.
    """

    interior: int
    leaf: int
    overflow: int
    depth: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.interior + self.leaf + self.overflow


def _varint(value: int) -> int:
    """Return the bytes of a number of variable length, seven bits each."""
    return max(1, math.ceil(value.bit_length() / 7))


def _local(payload: int, usable: int) -> int:
    """Return how many bytes of a record stay in the leaf."""
    most = usable - 35
    if payload <= most:
        return payload
    least = (usable - 12) * 32 // 255 - 23
    kept = least + (payload - least) % (usable - 4)
    return kept if kept <= most else least


def table_pages(rows: int, columns: Sequence[int]) -> TablePages:
    """Predict the pages of a table whose rows came in the order of their numbers.

    Parameters
    ----------
    rows : int
        From 1 to 10 million.
    columns : sequence of int
        Bytes of each column beside the number (``INTEGER PRIMARY KEY``), up to ten, each from 1 to 1,000,000.

    Returns
    -------
    TablePages
        Leaves to within one page; inner pages as if they were full.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    count = checks.integer("rows", rows, 1, MAX_ROWS)
    checks.integer("number of columns", len(columns), 1, 10)
    sizes = [checks.integer("columns (one of them)", size, 1, MAX_BYTES) for size in columns]
    # The record: length of its header, type of each column (none is stored of the number), the columns.
    payload = 2 + sum(_varint(2 * size + 12) + size for size in sizes)
    local = _local(payload, PAGE_BYTES)
    overflow = math.ceil((payload - local) / (PAGE_BYTES - 4))
    leaf, done = 0.0, 0
    # Larger numbers are longer: 127 rows of one byte, 16,256 of two, ...
    while done < count:
        width = _varint(done + 1)
        here = min(count, 2 ** (7 * width) - 1) - done
        cell = _varint(payload) + width + local + (4 if overflow else 0)
        leaf += here / ((PAGE_BYTES - 8) // (cell + 2))
        done += here
    level = leaves = math.ceil(leaf)
    interior, depth = 0, 1
    while level > 1:
        level = math.ceil(level / ((PAGE_BYTES - 12) // (6 + _varint(count))))
        interior, depth = interior + level, depth + 1
    return TablePages(interior, leaves, count * overflow, depth)


@dataclass(frozen=True)
class PagesPerQuery:
    """Pages that a query reads on average.

    Attributes
    ----------
    wide, split : float
        From one table, and from two.
    break_even : float
        Share of queries that need the blob from which on the split reads more; 0 if it always does (or never
        reads less), infinite if it never does.
    """

    wide: float
    split: float
    break_even: float


def _read(table: TablePages, rows: int, query: str, needed: bool) -> float:
    """Pages of one table that one query reads, with its overflow pages or without."""
    if query == "scan":
        return float(table.interior + table.leaf + (table.overflow if needed else 0))
    return table.depth + (table.overflow / rows if needed else 0)


def per_query(
    wide: TablePages, hot: TablePages, cold: TablePages, rows: int, query: str, blob_share: float
) -> PagesPerQuery:
    """Compare the pages that queries read from one wide table and from two.

    Parameters
    ----------
    wide, hot, cold : TablePages
        Predicted or measured.
    rows : int
        In each of them, from 1 to 10 million.
    query : str
        ``"scan"`` of all rows or ``"look-up"`` of one by its number, with an empty page cache.
    blob_share : float
        Share of the queries that need the blob, from 0 to 1.

    Returns
    -------
    PagesPerQuery

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    count = checks.integer("rows", rows, 1, MAX_ROWS)
    checks.option("query", query, QUERIES)
    share = checks.number("blob_share", blob_share, 0, 1)
    # The hot columns come first in the wide row, so a query for them alone needs no overflow page of a blob.
    wide_0, wide_1 = (_read(wide, count, query, needed) for needed in (False, True))
    split_0 = _read(hot, count, query, False)
    split_1 = _read(hot, count, query, True) + _read(cold, count, query, True)
    saved, added = wide_0 - split_0, split_1 - wide_1
    if saved <= 0:
        even = 0.0 if added > 0 or saved < 0 else math.inf
    else:
        even = saved / (saved + added) if added > 0 else math.inf
    return PagesPerQuery(wide_0 + share * (wide_1 - wide_0), split_0 + share * (split_1 - split_0), even)


def predict(rows: int, hot_bytes: int, blob_bytes: int, query: str, blob_share: float) -> PagesPerQuery:
    """Predict the pages a query reads from one wide table and from two.

    Parameters
    ----------
    rows : int
        From 1 to 10 million.
    hot_bytes, blob_bytes : int
        Of each row, from 1 to 1,000,000; the hot columns should fit into a page.
    query, blob_share
        As for :func:`per_query`.

    Returns
    -------
    PagesPerQuery

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    return per_query(
        table_pages(rows, (hot_bytes, blob_bytes)),
        table_pages(rows, (hot_bytes,)),
        table_pages(rows, (blob_bytes,)),
        rows,
        query,
        blob_share,
    )


# --- real files ---------------------------------------------------------------------------------------------


def file_pages(path: Path, table: str) -> TablePages:
    """Walk the B-tree of a table in an SQLite file and count its pages.

    Parameters
    ----------
    path : Path
        Of a database that nobody is writing.
    table : str
        Its name; not a ``WITHOUT ROWID`` table.

    Returns
    -------
    TablePages

    Raises
    ------
    ValueError
        If there is no such table.
    """
    with closing(sqlite3.connect(path)) as connection:
        names = dict(connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"))
    root = names[checks.option("table", table, tuple(names))]
    data = path.read_bytes()
    page_bytes = int.from_bytes(data[16:18], "big")
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    usable = page_bytes - data[20]

    def number(at: int, width: int) -> int:
        return int.from_bytes(data[at : at + width], "big")

    def varint(at: int) -> tuple[int, int]:
        value = 0
        for i in range(8):
            value = value << 7 | data[at + i] & 0x7F
            if data[at + i] < 0x80:
                return value, at + i + 1
        return value << 8 | data[at + 8], at + 9

    interior = leaf = overflow = deepest = 0
    below = [(root, 1)]
    while below:
        page, depth = below.pop()
        start = (page - 1) * page_bytes
        head = start + (100 if page == 1 else 0)
        cells = number(head + 3, 2)
        if data[head] == 5:  # an inner page of a table
            interior += 1
            offsets = [number(head + 12 + 2 * i, 2) for i in range(cells)]
            below += [(number(start + offset, 4), depth + 1) for offset in offsets]
            below.append((number(head + 8, 4), depth + 1))
            continue
        leaf, deepest = leaf + 1, max(deepest, depth)
        for i in range(cells):
            payload, at = varint(start + number(head + 8 + 2 * i, 2))
            local = _local(payload, usable)
            if local == payload:
                continue
            following = number(varint(at)[1] + local, 4)
            while following:
                overflow += 1
                following = number((following - 1) * page_bytes, 4)
    return TablePages(interior, leaf, overflow, deepest)


def create_tables(path: Path, rows: int, hot_bytes: int, blob_bytes: int, *, seed: int = 1) -> None:
    """Put the same rows into one wide table, ``users``, and into two, ``users_hot`` and ``users_cold``.

    Parameters
    ----------
    path : Path
        Of a file that is not there yet.
    rows : int
        From 1 to 200,000.
    hot_bytes, blob_bytes : int
        Of each row, from 1 to 1,000,000; 200 MB in all at most.
    seed : int
        Of the contents, which are random.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or the file is there.
    """
    count = checks.integer("rows", rows, 1, MAX_MEASURED)
    hot = checks.integer("hot_bytes", hot_bytes, 1, MAX_BYTES)
    blob = checks.integer("blob_bytes", blob_bytes, 1, MAX_BYTES)
    checks.integer("bytes in all", count * (hot + blob), 1, 200_000_000)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    if path.exists():
        raise ValueError(f"path = {path.name!r}: must be a new file")
    # The contents of rows are pieces of one random text: making new ones would take longer than storing them.
    text = rng.bytes(hot + blob + 4096)
    starts = rng.integers(0, 4096, count).tolist()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, hot BLOB, cold BLOB)")
            connection.execute("CREATE TABLE users_hot (id INTEGER PRIMARY KEY, hot BLOB)")
            connection.execute(
                "CREATE TABLE users_cold (id INTEGER PRIMARY KEY REFERENCES users_hot (id), cold BLOB)"
            )
            for table, first, last in (("users_hot", 0, hot), ("users_cold", hot, hot + blob)):
                connection.executemany(
                    f"INSERT INTO {table} VALUES (?, ?)",
                    ((i + 1, text[s + first : s + last]) for i, s in enumerate(starts)),
                )
            connection.executemany(
                "INSERT INTO users VALUES (?, ?, ?)",
                ((i + 1, text[s : s + hot], text[s + hot : s + hot + blob]) for i, s in enumerate(starts)),
            )


#: What reads the hot columns of all rows, and what reads the blobs too, from each layout.
SCANS = {
    ("wide", False): "SELECT max(hot) FROM users",
    ("wide", True): "SELECT max(hot), max(cold) FROM users",
    ("split", False): "SELECT max(hot) FROM users_hot",
    ("split", True): "SELECT max(hot), max(cold) FROM users_hot JOIN users_cold USING (id)",
}


@dataclass(frozen=True)
class Measurement:
    """Real tables, counted and timed.

    Attributes
    ----------
    rows : int
        In each.
    wide, hot, cold : TablePages
        Counted in the file.
    scan_ms : dict of (str, bool) to float
        Time of each of :data:`SCANS`, measured, the shortest of three on fresh connections.
    """

    rows: int
    wide: TablePages
    hot: TablePages
    cold: TablePages
    scan_ms: dict[tuple[str, bool], float]

    def per_query(self, query: str, blob_share: float) -> PagesPerQuery:
        """Pages that a query reads from these tables; parameters as for :func:`per_query`."""
        return per_query(self.wide, self.hot, self.cold, self.rows, query, blob_share)


def measure(
    rows: int = 20_000, hot_bytes: int = 60, blob_bytes: int = 1_500, *, seed: int = 1
) -> Measurement:
    """Make real SQLite tables, wide and split, count their pages, and time scans of them.

    Parameters
    ----------
    rows, hot_bytes, blob_bytes, seed
        As for :func:`create_tables`.

    Returns
    -------
    Measurement

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "users.sqlite"
        create_tables(path, rows, hot_bytes, blob_bytes, seed=seed)
        wide, hot, cold = (file_pages(path, name) for name in ("users", "users_hot", "users_cold"))
        times = {key: min(_scan_ms(path, sql) for _ in range(3)) for key, sql in SCANS.items()}
    return Measurement(rows, wide, hot, cold, times)


def _scan_ms(path: Path, sql: str) -> float:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        begun = time.perf_counter()
        connection.execute(sql).fetchone()
        return (time.perf_counter() - begun) * 1000

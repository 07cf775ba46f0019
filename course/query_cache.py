"""A query-result cache over a real SQLite database, with invalidation by query, table or row.

Guide, "Database Cache": what is thrown away when a row changes?

``query``
    Only the results the writer names itself. It names the point query of the row it wrote, and forgets the
    lists and sums that the row is in: those stay wrong until their time is up.
``table``
    Every result that reads the table: never wrong, and rarely there.
``row``
    Every result that may have read the row. A point query says which row it reads; a list or a sum may have
    read any row of its table.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from course import checks

GRANULARITIES = ("query", "table", "row")
Value = str | int | float | None
Rows = tuple[tuple[Value, ...], ...]


def cache_key(sql: str, parameters: Sequence[Value] = ()) -> str:
    """Hash of a query and its parameters, the same for the same query written differently.

    White space, a final semicolon and the case of words do not count; what stands in quotes does, and so does
    the type of a parameter: 1 and "1" ask different things.

    Parameters
    ----------
    sql : str
    parameters : sequence

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return _hash(sql, *parameters)


# Hashing takes as long as asking SQLite for one row; a program asks the same few queries again and again.
@lru_cache(maxsize=16_384, typed=True)
def _hash(sql: str, *parameters: Value) -> str:
    parts = re.split(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")", sql)
    parts[::2] = [re.sub(r"\s+", " ", part).lower() for part in parts[::2]]
    normal = "".join(parts).strip().removesuffix(";").strip()
    return hashlib.sha256(json.dumps([normal, parameters]).encode()).hexdigest()


@dataclass(frozen=True)
class _Result:
    rows: Rows
    table: str
    row: int | None  # the one row that a point query reads


class QueryCache:
    """Results of reading one database, kept by :func:`cache_key`.

    Attributes
    ----------
    hits, misses, invalidated : int
        Lookups that were answered, that were not, and results thrown away.
    """

    def __init__(self, connection: sqlite3.Connection, granularity: str) -> None:
        self._connection = connection
        self._granularity = checks.option("granularity", granularity, GRANULARITIES)
        self._results: dict[str, _Result] = {}
        self.hits = self.misses = self.invalidated = 0

    def read(self, sql: str, parameters: Sequence[Value] = (), *, table: str, row: int | None = None) -> Rows:
        """Answer a query from the cache or the database.

        Parameters
        ----------
        sql, parameters
            The query.
        table : str
            The table it reads.
        row : int, optional
            The one row it reads, if it is a point query.
        """
        key = cache_key(sql, parameters)
        if key in self._results:
            self.hits += 1
            return self._results[key].rows
        self.misses += 1
        rows = tuple(self._connection.execute(sql, parameters).fetchall())
        self._results[key] = _Result(rows, table, row)
        return rows

    def wrote(self, table: str, row: int, point_query: str) -> None:
        """Throw away what a write to a row makes doubtful, as far as the granularity knows.

        Parameters
        ----------
        table : str
        row : int
        point_query : str
            Key of the query for this row, for the writer that names what it throws away.
        """
        if self._granularity == "query":
            doubtful = [point_query] if point_query in self._results else []
        else:
            doubtful = [
                key
                for key, result in self._results.items()
                if result.table == table
                and (self._granularity == "table" or result.row is None or result.row == row)
            ]
        for key in doubtful:
            del self._results[key]
        self.invalidated += len(doubtful)


@dataclass(frozen=True)
class QueryCacheResult:
    """What :func:`query_cache` saw.

    Attributes
    ----------
    reads, writes : int
    hit_ratio : float
        Of all reads.
    point_hit_ratio, list_hit_ratio : float
        Of the reads of one row; of the lists and sums. NaN where there were none.
    stale : int
        Answers that differ from what the database said at that moment.
    invalidated_per_write : float
        Results thrown away by a write, on average. NaN where there were no writes.
    """

    granularity: str
    reads: int
    writes: int
    hit_ratio: float
    point_hit_ratio: float
    list_hit_ratio: float
    stale: int
    invalidated_per_write: float


POINT = "SELECT name, price, category FROM product WHERE id = ?"
LISTS = (
    "SELECT id, name FROM product WHERE category = ? ORDER BY price LIMIT 10",
    "SELECT count(*), sum(price) FROM product WHERE category = ?",
)


def query_cache(
    granularity: str = "table",
    *,
    operations: int = 2_000,
    write_fraction: float = 0.05,
    list_fraction: float = 0.3,
    products: int = 200,
    categories: int = 10,
    seed: int = 1,
) -> QueryCacheResult:
    """Read and write products in SQLite through a query-result cache.

    Every answer is compared with the database's own at that moment. A write changes one product's price.

    Parameters
    ----------
    granularity : {"query", "table", "row"}
    operations : int
        1 to 100,000; about 10 µs each.
    write_fraction : float
        0 to 1.
    list_fraction : float
        Share of the reads that are lists and sums over a category, 0 to 1.
    products, categories : int
        1 to 10,000 and 1 to 1,000.
    seed : int

    Returns
    -------
    QueryCacheResult

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("granularity", granularity, GRANULARITIES)
    n = checks.integer("operations", operations, 1, 100_000)
    write_fraction = checks.number("write_fraction", write_fraction, 0, 1)
    list_fraction = checks.number("list_fraction", list_fraction, 0, 1)
    products = checks.integer("products", products, 1, 10_000)
    categories = checks.integer("categories", categories, 1, 1_000)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    prices = rng.integers(100, 10_000, products)

    writes = (rng.random(n) < write_fraction).tolist()
    lists = (rng.random(n) < list_fraction).tolist()
    which = rng.integers(0, len(LISTS), n).tolist()
    product = rng.integers(1, products + 1, n).tolist()
    new_price = rng.integers(100, 10_000, n).tolist()

    stale = 0
    seen = {True: [0, 0], False: [0, 0]}  # list or point -> reads, hits
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, price INTEGER, category INTEGER)"
        )
        connection.executemany(
            "INSERT INTO product VALUES (?, ?, ?, ?)",
            [(i + 1, f"product {i + 1}", int(price), i % categories) for i, price in enumerate(prices)],
        )
        connection.execute("CREATE INDEX by_category ON product (category, price)")
        cache = QueryCache(connection, granularity)
        for i in range(n):
            if writes[i]:
                connection.execute("UPDATE product SET price = ? WHERE id = ?", (new_price[i], product[i]))
                cache.wrote("product", product[i], cache_key(POINT, (product[i],)))
                continue
            sql = LISTS[which[i]] if lists[i] else POINT
            argument = (product[i] % categories if lists[i] else product[i],)
            before = cache.hits
            answer = cache.read(sql, argument, table="product", row=None if lists[i] else product[i])
            hit = cache.hits > before
            seen[lists[i]][0] += 1
            seen[lists[i]][1] += hit
            if hit:
                stale += answer != tuple(connection.execute(sql, argument).fetchall())
    reads = n - sum(writes)
    nan = float("nan")
    return QueryCacheResult(
        granularity=granularity,
        reads=reads,
        writes=n - reads,
        hit_ratio=cache.hits / reads if reads else nan,
        point_hit_ratio=seen[False][1] / seen[False][0] if seen[False][0] else nan,
        list_hit_ratio=seen[True][1] / seen[True][0] if seen[True][0] else nan,
        stale=stale,
        invalidated_per_write=cache.invalidated / (n - reads) if n > reads else nan,
    )

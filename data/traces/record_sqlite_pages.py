"""Record which pages SQLite asks its page cache for while a small bookshop runs on it.

SQLite lets a program put its own page cache in the place of the built-in one.  Here only the fetch of a page
is replaced, by a function that notes the page number and calls the original.  What is recorded is therefore
every page that a query touches, whatever the size of the cache was.

Run it from anywhere: ``python data/traces/record_sqlite_pages.py``.  It needs a Python whose sqlite3 module
is linked to a shared libsqlite3 (those of Debian, Fedora and conda-forge are).  The same version of SQLite
records the same trace.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import random
import tempfile
from array import array
from datetime import date
from pathlib import Path

import numpy as np

SEED = 5
PRODUCTS = 6_000
CUSTOMERS = 12_000
OLD_ORDERS = 30_000
VISITS = 14_000
REPORT_EVERY = 3_500  # visits
GET_PAGE_CACHE, SET_PAGE_CACHE = 19, 18  # SQLITE_CONFIG_GETPCACHE2, SQLITE_CONFIG_PCACHE2
RETRY = 2  # createFlag of a fetch that is tried again after memory has been freed

_FETCH = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class _Methods(ctypes.Structure):
    """The struct sqlite3_pcache_methods2; only `fetch` matters here."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("argument", ctypes.c_void_p),
        ("init", ctypes.c_void_p),
        ("shutdown", ctypes.c_void_p),
        ("create", ctypes.c_void_p),
        ("cachesize", ctypes.c_void_p),
        ("pagecount", ctypes.c_void_p),
        ("fetch", _FETCH),
        ("unpin", ctypes.c_void_p),
        ("rekey", ctypes.c_void_p),
        ("truncate", ctypes.c_void_p),
        ("destroy", ctypes.c_void_p),
        ("shrink", ctypes.c_void_p),
    )


class PageLog:
    """Stands between SQLite and its page cache.  Make it before the sqlite3 module is first imported."""

    def __init__(self) -> None:
        library = ctypes.CDLL(ctypes.util.find_library("sqlite3"))
        self._methods = _Methods()
        if library.sqlite3_config(GET_PAGE_CACHE, ctypes.byref(self._methods)):
            raise SystemExit(
                "SQLite is already running in this process: run this file as a script of its own."
            )
        address = ctypes.cast(self._methods.fetch, ctypes.c_void_p).value
        self._original = _FETCH(address)
        self._methods.fetch = _FETCH(self._fetch)
        library.sqlite3_config(SET_PAGE_CACHE, ctypes.byref(self._methods))
        self.recording = False
        self.pages: dict[int, array[int]] = {}  # by cache: temporary tables have caches of their own
        self._refused = False

    def _fetch(self, cache: int, page: int, create: int) -> int | None:
        found: int | None = self._original(cache, page, create)
        # Create flag 0 asks whether a page is cached, which is no access; a retry is the same access again.
        if self.recording and create and not (create == RETRY and self._refused):
            self.pages.setdefault(cache, array("I")).append(page)
        self._refused = found is None
        return found


def _zipf_weights(count: int, exponent: float) -> list[float]:
    """Cumulative weights of ranks 1 to `count`."""
    total, weights = 0.0, []
    for rank in range(1, count + 1):
        total += rank**-exponent
        weights.append(total)
    return weights


def main() -> None:
    """Fill the shop, open it, write the trace."""
    log = PageLog()
    import sqlite3

    chance = random.Random(SEED)
    folder = tempfile.TemporaryDirectory()
    shop = sqlite3.connect(Path(folder.name) / "shop.db", isolation_level=None)
    shop.execute("PRAGMA synchronous = OFF")
    shop.executescript(
        """
        CREATE TABLE product
            (id INTEGER PRIMARY KEY, category INTEGER, price REAL, stock INTEGER, about TEXT);
        CREATE INDEX product_category ON product (category, price);
        CREATE TABLE review (id INTEGER PRIMARY KEY, product INTEGER, stars INTEGER, words TEXT);
        CREATE INDEX review_product ON review (product);
        CREATE TABLE customer (id INTEGER PRIMARY KEY, email TEXT UNIQUE, address TEXT);
        CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer INTEGER, day INTEGER);
        CREATE INDEX purchase_customer ON purchase (customer);
        CREATE TABLE line (purchase INTEGER, product INTEGER, pieces INTEGER, price REAL);
        CREATE INDEX line_purchase ON line (purchase);
        """
    )
    popular = list(range(1, PRODUCTS + 1))
    chance.shuffle(popular)
    product_weights = _zipf_weights(PRODUCTS, 0.9)
    customer_weights = _zipf_weights(CUSTOMERS, 0.7)

    def some_product() -> int:
        return chance.choices(popular, cum_weights=product_weights)[0]

    def some_customer() -> int:
        return chance.choices(range(1, CUSTOMERS + 1), cum_weights=customer_weights)[0]

    def order(customer: int, day: int) -> None:
        number = shop.execute("INSERT INTO purchase (customer, day) VALUES (?, ?)", (customer, day)).lastrowid
        for product in {some_product() for _ in range(chance.randint(1, 4))}:
            (price,) = shop.execute("SELECT price FROM product WHERE id = ?", (product,)).fetchone()
            shop.execute(
                "INSERT INTO line VALUES (?, ?, ?, ?)", (number, product, chance.randint(1, 3), price)
            )
            shop.execute("UPDATE product SET stock = stock - 1 WHERE id = ?", (product,))

    shop.execute("BEGIN")
    for number in range(1, PRODUCTS + 1):
        about = "x" * chance.randint(200, 1_000)
        row = (number, chance.randrange(80), round(chance.lognormvariate(3, 0.6), 2), 1_000, about)
        shop.execute("INSERT INTO product VALUES (?, ?, ?, ?, ?)", row)
    for _ in range(3 * PRODUCTS):
        review = (some_product(), chance.randint(1, 5), "x" * chance.randint(40, 600))
        shop.execute("INSERT INTO review (product, stars, words) VALUES (?, ?, ?)", review)
    for number in range(1, CUSTOMERS + 1):
        address = "x" * chance.randint(60, 140)
        shop.execute("INSERT INTO customer VALUES (?, ?, ?)", (number, f"c{number}@example.org", address))
    for number in range(OLD_ORDERS):
        order(some_customer(), number // 300)
    shop.execute("COMMIT")

    log.recording = True
    for visit in range(VISITS):
        if visit % 500 == 499:  # fashion changes: two products of the long tail become popular
            for rank in chance.sample(range(20), 2):
                other = chance.randrange(PRODUCTS)
                popular[rank], popular[other] = popular[other], popular[rank]
        what = chance.random()
        if what < 0.70:
            product = some_product()
            shop.execute("SELECT * FROM product WHERE id = ?", (product,)).fetchone()
            shop.execute("SELECT stars, words FROM review WHERE product = ? LIMIT 5", (product,)).fetchall()
        elif what < 0.80:
            shelf = (chance.randrange(80),)
            shop.execute(
                "SELECT id, price FROM product WHERE category = ? ORDER BY price LIMIT 12", shelf
            ).fetchall()
        elif what < 0.90:
            email = (f"c{some_customer()}@example.org",)
            shop.execute(
                "SELECT p.id, l.product, l.price FROM customer c JOIN purchase p ON p.customer = c.id "
                "JOIN line l ON l.purchase = p.id WHERE c.email = ? ORDER BY p.id DESC LIMIT 8",
                email,
            ).fetchall()
        else:
            shop.execute("BEGIN")
            order(some_customer(), 100 + visit // 300)
            shop.execute("COMMIT")
        if (
            visit % REPORT_EVERY == REPORT_EVERY - 1
        ):  # the scans: turnover a product, and the stars of all reviews
            shop.execute("SELECT product, sum(pieces * price) FROM line GROUP BY product").fetchall()
            shop.execute("SELECT avg(stars), avg(length(words)) FROM review").fetchall()
            shop.execute(
                "SELECT category, sum(stock), max(length(about)) FROM product GROUP BY category"
            ).fetchall()
    log.recording = False
    shop.close()
    folder.cleanup()

    pages = max(log.pages.values(), key=len)
    numbers, keys = np.unique(np.frombuffer(pages, np.uint32), return_inverse=True)
    about = (
        f"page accesses of SQLite {sqlite3.sqlite_version} under a bookshop: {VISITS:,} visits by customers, "
        f"orders, a report with full scans every {REPORT_EVERY:,} visits; 4 KiB pages"
    )
    target = Path(__file__).with_name("sqlite_pages.npz")
    np.savez_compressed(
        target,
        keys=keys.astype(np.uint16),
        sizes=np.full(1, 4096, np.int64),
        about=np.array(about),
        recorded=np.array(date.today().isoformat()),
    )
    print(
        f"{len(keys):,} requests for {len(numbers):,} pages, {target.stat().st_size:,} bytes: {target.name}"
    )


if __name__ == "__main__":
    main()

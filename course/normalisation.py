"""Functional dependencies: closures, keys, normal forms, decompositions; and what redundancy costs, in SQLite.

Guide, "Normalization": first normal form to Boyce-Codd. A **functional dependency** X → Y says that two rows which
agree in X agree in Y. Definitions as in Abiteboul, Hull and Vianu, *Foundations of Databases* (1995), chapters 8 and
11, and in Codd 1974 for BCNF: the determinant of every non-trivial dependency is a **superkey**. (That it is a
candidate key, as is often read, would forbid what follows from a key with a column too many.)

A relation of this theory has atomic values, so it is in first normal form to begin with.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from operator import itemgetter

import numpy as np

from course import checks

Attributes = frozenset[str]
NORMAL_FORMS = ("1NF", "2NF", "3NF", "BCNF")
#: Subsets are tried one by one: 2 to the power of so many.
_MOST_ATTRIBUTES = 16


def attributes(names: str | Iterable[str]) -> Attributes:
    """Return a set of attributes, from names or from a text with spaces or commas between them."""
    return frozenset(re.findall(r"[^\s,]+", names) if isinstance(names, str) else names)


@dataclass(frozen=True)
class Dependency:
    """A functional dependency: rows that agree in `determinant` agree in `dependent`."""

    determinant: Attributes
    dependent: Attributes

    @property
    def trivial(self) -> bool:
        """Whether it holds in every relation: the dependent is part of the determinant."""
        return self.dependent <= self.determinant

    def __str__(self) -> str:
        return f"{' '.join(sorted(self.determinant))} -> {' '.join(sorted(self.dependent))}"


def dependencies(text: str) -> list[Dependency]:
    """Read dependencies, one a line: ``order_no product -> quantity``.

    Raises
    ------
    ValueError
        If a line that is not empty lacks ``->`` (or ``→``), or one of its sides.
    """
    found = []
    for line in filter(str.strip, text.splitlines()):
        sides = [attributes(side) for side in re.split("->|→", line)]
        if len(sides) != 2 or not all(sides):
            raise ValueError(f"{line.strip()!r}: must read like 'order_no product -> quantity'")
        found.append(Dependency(sides[0], sides[1]))
    return found


def closure(of: str | Iterable[str], given: Sequence[Dependency]) -> Attributes:
    """Return all attributes that those of `of` determine, under the dependencies `given`."""
    known = attributes(of)
    while True:
        more = known.union(*(d.dependent for d in given if d.determinant <= known))
        if more == known:
            return known
        known = more


def follows(dependency: Dependency, given: Sequence[Dependency]) -> bool:
    """Return whether a dependency holds wherever those `given` hold."""
    return dependency.dependent <= closure(dependency.determinant, given)


def is_superkey(of: str | Iterable[str], relation: str | Iterable[str], given: Sequence[Dependency]) -> bool:
    """Return whether some attributes determine the whole relation."""
    return _relation(relation, given) <= closure(of, given)


def candidate_keys(relation: str | Iterable[str], given: Sequence[Dependency]) -> list[Attributes]:
    """Return all smallest superkeys, short ones first, then in alphabetical order.

    Parameters
    ----------
    relation : str or iterable of str
        Its attributes, 1 to 16.
    given : sequence of Dependency

    Raises
    ------
    ValueError
        If there are too many attributes, or a dependency names one that the relation lacks.
    """
    all_of_it = _relation(relation, given)
    # What nothing determines is in every key.
    core = all_of_it - frozenset().union(*(d.dependent - d.determinant for d in given))
    found: list[Attributes] = []
    others = sorted(all_of_it - core)
    for size in range(len(others) + 1):
        for more in combinations(others, size):
            tried = core.union(more)
            if not any(key <= tried for key in found) and all_of_it <= closure(tried, given):
                found.append(tried)
    return sorted(found, key=lambda key: (len(key), sorted(key)))


def projection(given: Sequence[Dependency], onto: str | Iterable[str]) -> list[Dependency]:
    """Return dependencies that say of the attributes `onto` all that those `given` say of them.

    Every subset is closed, so this takes exponential time; a determinant that holds a smaller one with the same
    effect is left out.

    Raises
    ------
    ValueError
        If `onto` has more than 16 attributes.
    """
    kept = attributes(onto)
    checks.integer("attributes", len(kept), 1, _MOST_ATTRIBUTES)
    found: list[Dependency] = []
    for size in range(len(kept)):
        for chosen in combinations(sorted(kept), size):
            determinant = frozenset(chosen)
            dependent = (closure(determinant, given) & kept) - closure(determinant, found)
            if dependent:
                found.append(Dependency(determinant, dependent))
    return found


def violations(
    relation: str | Iterable[str], given: Sequence[Dependency], normal_form: str
) -> list[Dependency]:
    """Return the dependencies among those `given` that a normal form forbids; none if the relation is in it.

    A dependency stands for each attribute on its right side. It is allowed

    - in BCNF if its determinant is a superkey;
    - in 3NF also if the attribute is **prime**, that is, part of some candidate key;
    - in 2NF also unless the determinant is a proper part of a candidate key.

    Parameters
    ----------
    relation : str or iterable of str
    given : sequence of Dependency
    normal_form : str
        ``2NF``, ``3NF`` or ``BCNF``.

    Raises
    ------
    ValueError
        As :func:`candidate_keys`, or for an unknown normal form.
    """
    checks.option("normal_form", normal_form, NORMAL_FORMS[1:])
    all_of_it = _relation(relation, given)
    keys = candidate_keys(all_of_it, given)
    prime: Attributes = frozenset().union(*keys)
    found = []
    # For 2NF what follows counts too: a part of a key may reach an attribute by way of others.
    for dependency in given if normal_form != "2NF" else _from_parts_of_keys(keys, given):
        if all_of_it <= closure(dependency.determinant, given):
            continue
        forbidden = dependency.dependent - dependency.determinant
        if normal_form != "BCNF":
            forbidden -= prime
        if forbidden:
            found.append(Dependency(dependency.determinant, forbidden))
    return found


def _from_parts_of_keys(keys: Sequence[Attributes], given: Sequence[Dependency]) -> list[Dependency]:
    parts = {
        frozenset(part)
        for key in keys
        for size in range(len(key))
        for part in combinations(sorted(key), size)
    }
    return [
        Dependency(part, closure(part, given) - part)
        for part in sorted(parts, key=lambda part: (len(part), sorted(part)))
    ]


def is_2nf(relation: str | Iterable[str], given: Sequence[Dependency]) -> bool:
    """Return whether no attribute outside the keys depends on a proper part of a key."""
    return not violations(relation, given, "2NF")


def is_3nf(relation: str | Iterable[str], given: Sequence[Dependency]) -> bool:
    """Return whether every determinant is a superkey, or determines attributes of keys only."""
    return not violations(relation, given, "3NF")


def is_bcnf(relation: str | Iterable[str], given: Sequence[Dependency]) -> bool:
    """Return whether the determinant of every non-trivial dependency is a superkey."""
    return not violations(relation, given, "BCNF")


def highest_normal_form(relation: str | Iterable[str], given: Sequence[Dependency]) -> str:
    """Return ``1NF``, ``2NF``, ``3NF`` or ``BCNF``."""
    for normal_form in ("BCNF", "3NF", "2NF"):
        if not violations(relation, given, normal_form):
            return normal_form
    return "1NF"


def bcnf_decomposition(relation: str | Iterable[str], given: Sequence[Dependency]) -> list[Attributes]:
    """Split a relation until every part is in BCNF; joined, the parts give the relation back.

    A part that a dependency X → Y breaks is split into the closure of X, and X with all that is not in it. The two
    share X, which is a key of the first: that is why nothing is lost or made up by the join (Heath 1971).

    Raises
    ------
    ValueError
        As :func:`candidate_keys`.
    """
    whole = _relation(relation, given)
    inside = projection(given, whole)
    broken = violations(whole, inside, "BCNF")
    if not broken:
        return [whole]
    determinant = broken[0].determinant
    reached = closure(determinant, inside)
    halves = [reached, determinant | (whole - reached)]
    parts = [part for half in halves for part in bcnf_decomposition(half, projection(inside, half))]
    # A part inside another says nothing new.
    kept = [part for part in set(parts) if not any(part < other for other in parts)]
    return sorted(kept, key=sorted)


def lost_dependencies(parts: Sequence[Attributes], given: Sequence[Dependency]) -> list[Dependency]:
    """Return the dependencies that no part can check by itself: to check them, parts must be joined."""
    kept = [dependency for part in parts for dependency in projection(given, part)]
    return [dependency for dependency in given if not follows(dependency, kept)]


def _relation(names: str | Iterable[str], given: Sequence[Dependency]) -> Attributes:
    found = attributes(names)
    checks.integer("attributes", len(found), 1, _MOST_ATTRIBUTES)
    for dependency in given:
        if strangers := (dependency.determinant | dependency.dependent) - found:
            raise ValueError(f"{dependency}: {', '.join(sorted(strangers))} is not in the relation")
    return found


ORDERS = "order_no product quantity price customer city"
ORDER_DEPENDENCIES = dependencies(
    """
    order_no product -> quantity
    product -> price
    order_no -> customer
    customer -> city
    """
)
#: The tables of each schema, with their keys. The price is the product's, today: what was paid is another fact.
SCHEMAS: dict[str, dict[str, tuple[str, str]]] = {
    "one table": {"line": ("order_no product", ORDERS)},
    "three tables": {
        "line": ("order_no product", "order_no product quantity"),
        "product": ("product", "product price"),
        "purchase": ("order_no", "order_no customer city"),
    },
    "four tables": {
        "line": ("order_no product", "order_no product quantity"),
        "product": ("product", "product price"),
        "purchase": ("order_no", "order_no customer"),
        "customer": ("customer", "customer city"),
    },
}
_PRODUCTS = 50
_CITIES = ("Aarau", "Basel", "Chur", "Davos", "Fribourg", "Geneva", "Lugano", "Zug")
_Row = tuple[int, str, int, int, str, str]


@dataclass(frozen=True)
class Anomalies:
    """What :func:`anomalies` counted in one schema.

    Attributes
    ----------
    schema : str
    normal_form : str
        The lowest of its tables.
    rows : int
        Of all tables.
    copies_of_a_city, copies_of_a_price : float
        Rows that hold the same fact, on average over the customers, or products.
    rows_touched : tuple of int
        Rows changed by each move of a customer, in turn.
    inconsistent : tuple of int
        Customers with more than one city, after each move (update anomalies).
    forgotten : int
        Customers whose city nobody knows once the older half of the orders is deleted (deletion anomalies).
    can_know_new_customer : bool
        Whether the city of somebody who has not ordered yet can be stored (if not, an insertion anomaly).
    """

    schema: str
    normal_form: str
    rows: int
    copies_of_a_city: float
    copies_of_a_price: float
    rows_touched: tuple[int, ...]
    inconsistent: tuple[int, ...]
    forgotten: int
    can_know_new_customer: bool


def anomalies(
    schema: str,
    *,
    lines: int = 2_000,
    customers: int = 100,
    moves: int = 50,
    careless: float = 0.2,
    seed: int = 1,
) -> Anomalies:
    """Fill a real SQLite database with orders, let customers move, and count what goes wrong.

    Orders have one to five lines, of 50 products, and belong to customers drawn at random. Each move writes a new
    city for one customer. A careless program writes it in one row, the newest, where the user happened to look, and
    knows nothing of the copies; the others write it in all rows.

    Parameters
    ----------
    schema : str
        One of :data:`SCHEMAS`.
    lines : int
        Order lines, 10 to 200,000.
    customers : int
        1 to 10,000; those who never order are nowhere.
    moves : int
        1 to 1,000.
    careless : float
        Share of the moves written by the careless program, 0 to 1.
    seed : int

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("schema", schema, tuple(SCHEMAS))
    rows = orders(lines, customers, seed)
    moves = checks.integer("moves", moves, 1, 1_000)
    careless = checks.number("careless", careless, 0, 1)
    rng = np.random.default_rng([seed, 2])
    known = sorted({row[4] for row in rows})
    movers = [known[int(place * len(known))] for place in rng.random(moves)]
    in_one_row = (rng.random(moves) < careless).tolist()
    home, priced = _holding(schema, "city"), _holding(schema, "price")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _fill(connection, schema, rows)

        def one(sql: str, *values: str) -> float:
            return float(connection.execute(sql, values).fetchone()[0])

        cities, prices = (
            one(f"SELECT count(*) * 1.0 / count(DISTINCT {whose}) FROM {table}")
            for whose, table in (("customer", home), ("product", priced))
        )
        total = sum(int(one(f"SELECT count(*) FROM {table}")) for table in SCHEMAS[schema])
        touched, inconsistent = [], []
        wrong: set[str] = set()
        everywhere = f"UPDATE {home} SET city = ?1 WHERE customer = ?2"
        newest = f"{everywhere} AND rowid = (SELECT max(rowid) FROM {home} WHERE customer = ?2)"
        for number, (customer, carelessly) in enumerate(zip(movers, in_one_row, strict=True)):
            cursor = connection.execute(newest if carelessly else everywhere, (f"new {number}", customer))
            touched.append(cursor.rowcount)
            different = one(f"SELECT count(DISTINCT city) FROM {home} WHERE customer = ?", customer)
            (wrong.add if different > 1 else wrong.discard)(customer)
            inconsistent.append(len(wrong))
        can_know = _accepts_new_customer(connection, home)
        _delete_older_half(connection, schema)
        left = int(one(f"SELECT count(DISTINCT customer) FROM {home} WHERE customer != 'new'"))
    return Anomalies(
        schema,
        schema_normal_form(schema),
        total,
        cities,
        prices,
        tuple(touched),
        tuple(inconsistent),
        len(known) - left,
        can_know,
    )


def compare_schemas(
    *, lines: int = 2_000, customers: int = 100, moves: int = 50, careless: float = 0.2, seed: int = 1
) -> list[Anomalies]:
    """Return :func:`anomalies` for every schema, with the same orders and the same moves."""
    return [
        anomalies(schema, lines=lines, customers=customers, moves=moves, careless=careless, seed=seed)
        for schema in SCHEMAS
    ]


def schema_normal_form(schema: str) -> str:
    """Return the lowest normal form of the tables of one of :data:`SCHEMAS`."""
    checks.option("schema", schema, tuple(SCHEMAS))
    return min(
        (
            highest_normal_form(columns, projection(ORDER_DEPENDENCIES, columns))
            for _, columns in SCHEMAS[schema].values()
        ),
        key=NORMAL_FORMS.index,
    )


@lru_cache(maxsize=4)
def orders(lines: int, customers: int, seed: int = 1) -> tuple[_Row, ...]:
    """Return made-up order lines: order number, product, quantity, price, customer, city.

    Raises
    ------
    ValueError
        If a parameter is outside the range :func:`anomalies` gives.
    """
    lines = checks.integer("lines", lines, 10, 200_000)
    customers = checks.integer("customers", customers, 1, 10_000)
    rng = np.random.default_rng([checks.integer("seed", seed, 0, 2**63 - 1), 1])
    # Enough orders for all lines; what is over is cut off.
    sizes = rng.integers(1, 6, lines)
    order = np.repeat(np.arange(1, lines + 1), sizes)[:lines]
    place = np.arange(lines) - np.repeat(np.cumsum(sizes) - sizes, sizes)[:lines]
    product = (rng.integers(0, _PRODUCTS, lines + 1)[order] + place) % _PRODUCTS
    customer = (rng.random(lines + 1) * customers).astype(int)[order]
    quantity = rng.integers(1, 10, lines)
    return tuple(
        (o, f"p{p}", q, 5 + p, f"c{c}", _CITIES[c % len(_CITIES)])
        for o, p, q, c in zip(
            order.tolist(), product.tolist(), quantity.tolist(), customer.tolist(), strict=True
        )
    )


def _holding(schema: str, attribute: str) -> str:
    """Return the table of a schema that holds an attribute."""
    return next(table for table, (_, columns) in SCHEMAS[schema].items() if attribute in columns.split())


def _fill(connection: sqlite3.Connection, schema: str, rows: Sequence[_Row]) -> None:
    columns_of_rows = ORDERS.split()
    connection.execute("BEGIN")
    for table, (key, names) in SCHEMAS[schema].items():
        columns = names.split()
        declared = ", ".join(f"{name} NOT NULL" for name in columns)
        connection.execute(f"CREATE TABLE {table} ({declared}, PRIMARY KEY ({', '.join(key.split())}))")
        facts_of = itemgetter(*map(columns_of_rows.index, columns))
        marks = ", ".join("?" * len(columns))
        # Each fact once for each key, in the order of the order numbers.
        facts = dict.fromkeys(map(facts_of, rows))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", facts)
    home = _holding(schema, "city")
    connection.execute(f"CREATE INDEX by_customer ON {home} (customer)")
    connection.execute("COMMIT")


def _accepts_new_customer(connection: sqlite3.Connection, home: str) -> bool:
    try:
        connection.execute(f"INSERT INTO {home} (customer, city) VALUES ('new', 'Zug')")
    except sqlite3.IntegrityError:
        return False
    return True


def _delete_older_half(connection: sqlite3.Connection, schema: str) -> None:
    (newest,) = connection.execute("SELECT max(order_no) FROM line").fetchone()
    for table, (key, _) in SCHEMAS[schema].items():
        if "order_no" in key.split():
            connection.execute(f"DELETE FROM {table} WHERE order_no <= ?", (newest // 2,))

from __future__ import annotations

import sqlite3
from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.normalisation import (
    NORMAL_FORMS,
    ORDER_DEPENDENCIES,
    ORDERS,
    SCHEMAS,
    Dependency,
    anomalies,
    attributes,
    bcnf_decomposition,
    candidate_keys,
    closure,
    compare_schemas,
    dependencies,
    follows,
    highest_normal_form,
    is_2nf,
    is_3nf,
    is_bcnf,
    is_superkey,
    lost_dependencies,
    orders,
    projection,
    schema_normal_form,
    violations,
)

LETTERS = "abcde"
LETTERS_APART = " ".join(LETTERS)
some = st.frozensets(st.sampled_from(LETTERS), min_size=1, max_size=3)
given_dependencies = st.lists(st.builds(Dependency, some, some), max_size=5)


def subsets(names):
    names = sorted(names)
    return [frozenset(c) for c in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))]


def twin_models(given):
    """Pairs of rows that may stand in one relation, by the attributes they agree in (Armstrong's argument).

    A set of dependencies allows two rows to agree in exactly S if no determinant lies in S whose dependent does
    not. What follows from the set is what all such pairs obey.
    """
    return [
        agree
        for agree in subsets(LETTERS)
        if all(not d.determinant <= agree or d.dependent <= agree for d in given)
    ]


def twin_follows(dependency, given):
    return all(dependency.dependent <= s for s in twin_models(given) if dependency.determinant <= s)


def twin_keys(given):
    supers = [s for s in subsets(LETTERS) if twin_follows(Dependency(s, frozenset(LETTERS)), given)]
    return {s for s in supers if not any(other < s for other in supers)}


def all_that_follows(given, names=LETTERS):
    """Every dependency with one attribute on the right that holds, from the models."""
    return [
        Dependency(s, frozenset(a))
        for s in subsets(names)
        for a in names
        if a not in s and twin_follows(Dependency(s, frozenset(a)), given)
    ]


def twin_normal_form(given):
    """The definitions, over everything that follows."""
    keys = twin_keys(given)
    prime = frozenset().union(*keys)
    implied = all_that_follows(given)
    if all(any(key <= d.determinant for key in keys) for d in implied):
        return "BCNF"
    if all(any(key <= d.determinant for key in keys) or d.dependent <= prime for d in implied):
        return "3NF"
    if all(d.dependent <= prime or not any(d.determinant < key for key in keys) for d in implied):
        return "2NF"
    return "1NF"


@given(given_dependencies, some)
def test_closure_against_the_models(given_, start):
    expected = frozenset(a for a in LETTERS if twin_follows(Dependency(start, frozenset(a)), given_))
    assert closure(start, given_) == expected


@given(given_dependencies, some, some)
def test_closure_is_a_closure(given_, a, b):
    closed = closure(a, given_)
    assert a <= closed == closure(closed, given_)
    assert not a <= b or closed <= closure(b, given_)


@given(given_dependencies)
def test_candidate_keys_against_the_models(given_):
    keys = candidate_keys(LETTERS_APART, given_)
    assert set(keys) == twin_keys(given_) and len(set(keys)) == len(keys) > 0
    assert all(is_superkey(key, LETTERS_APART, given_) for key in keys)


@given(given_dependencies)
def test_normal_forms_against_their_definitions(given_):
    found = highest_normal_form(LETTERS_APART, given_)
    assert found == twin_normal_form(given_)
    forms = [is_2nf(LETTERS_APART, given_), is_3nf(LETTERS_APART, given_), is_bcnf(LETTERS_APART, given_)]
    assert forms == sorted(forms, reverse=True), "each normal form holds the next"
    assert NORMAL_FORMS[sum(forms)] == found


@given(given_dependencies, st.frozensets(st.sampled_from(LETTERS), min_size=1))
def test_a_projection_says_the_same_of_its_attributes(given_, onto):
    projected = projection(given_, onto)
    assert all(d.determinant | d.dependent <= onto for d in projected)
    for subset in subsets(onto):
        assert closure(subset, projected) == closure(subset, given_) & onto


def chase(parts, given):
    """Whether the join of the parts is always the relation: the chase of a tableau (Aho, Beeri, Ullman 1979)."""
    tableau = [{a: 0 if a in part else row + 1 for a in LETTERS} for row, part in enumerate(parts)]
    changed = True
    while changed:
        changed = False
        for d in given:
            for one, two in combinations(tableau, 2):
                if any(one[a] != two[a] for a in d.determinant):
                    continue
                for a in d.dependent:
                    if one[a] != two[a]:
                        low, high = sorted((one[a], two[a]))
                        for row in tableau:
                            row[a] = low if row[a] == high else row[a]
                        changed = True
    return any(all(value == 0 for value in row.values()) for row in tableau)


@given(given_dependencies)
def test_the_decomposition_is_in_bcnf_and_loses_nothing(given_):
    parts = bcnf_decomposition(LETTERS_APART, given_)
    assert frozenset().union(*parts) == frozenset(LETTERS)
    assert not any(one < two for one, two in product(parts, repeat=2))
    for part in parts:
        assert is_bcnf(part, projection(given_, part))
    assert chase(parts, given_)


def test_the_chase_sees_a_lossy_join():
    assert not chase([frozenset("ab"), frozenset("bcde")], [])
    assert chase([frozenset("ab"), frozenset("bcde")], [Dependency(frozenset("b"), frozenset("a"))])


@given(given_dependencies)
def test_lost_dependencies_are_those_the_parts_do_not_imply(given_):
    parts = bcnf_decomposition(LETTERS_APART, given_)
    kept = [d for d in all_that_follows(given_) if any(d.determinant | d.dependent <= p for p in parts)]
    assert lost_dependencies(parts, given_) == [d for d in given_ if not twin_follows(d, kept)]


ADDRESS = "street city zip"
ADDRESS_DEPENDENCIES = dependencies("street city -> zip\nzip -> city")


def test_the_textbook_case_between_3nf_and_bcnf():
    """Two overlapping keys; BCNF splits them, and no table can check street city -> zip any more."""
    assert candidate_keys(ADDRESS, ADDRESS_DEPENDENCIES) == [
        attributes("city street"),
        attributes("street zip"),
    ]
    assert highest_normal_form(ADDRESS, ADDRESS_DEPENDENCIES) == "3NF"
    assert violations(ADDRESS, ADDRESS_DEPENDENCIES, "BCNF") == dependencies("zip -> city")
    parts = bcnf_decomposition(ADDRESS, ADDRESS_DEPENDENCIES)
    assert parts == [attributes("city zip"), attributes("street zip")]
    assert lost_dependencies(parts, ADDRESS_DEPENDENCIES) == dependencies("street city -> zip")


def test_a_determinant_that_is_a_superkey_and_no_key_is_allowed():
    """Erratum: "every determinant is a candidate key" would reject this relation, which is in BCNF."""
    given_ = dependencies("a -> b c\na b -> c")
    assert candidate_keys("a b c", given_) == [attributes("a")]
    assert attributes("a b") not in candidate_keys("a b c", given_) and is_bcnf("a b c", given_)
    assert is_bcnf("a b", dependencies("b -> b")), "a trivial dependency says nothing"


def test_the_orders_climb_from_form_to_form():
    assert candidate_keys(ORDERS, ORDER_DEPENDENCIES) == [attributes("order_no product")]
    assert [schema_normal_form(schema) for schema in SCHEMAS] == ["1NF", "2NF", "BCNF"]
    assert closure("order_no", ORDER_DEPENDENCIES) == attributes("order_no customer city")
    parts = bcnf_decomposition(ORDERS, ORDER_DEPENDENCIES)
    assert set(parts) == {attributes(columns) for _, columns in SCHEMAS["four tables"].values()}
    assert lost_dependencies(parts, ORDER_DEPENDENCIES) == []
    for key, columns in (table for tables in SCHEMAS.values() for table in tables.values()):
        assert attributes(key) in candidate_keys(columns, projection(ORDER_DEPENDENCIES, columns))


@given(st.integers(10, 400), st.integers(1, 40), st.integers(0, 3))
def test_the_orders_obey_their_dependencies(lines, customers, seed):
    rows = [dict(zip(ORDERS.split(), row, strict=True)) for row in orders(lines, customers, seed)]
    assert len(rows) == lines
    for d in ORDER_DEPENDENCIES:
        left = {tuple(row[a] for a in sorted(d.determinant)) for row in rows}
        both = {tuple(row[a] for a in sorted(d.determinant | d.dependent)) for row in rows}
        assert len(left) == len(both), d


@given(st.integers(10, 300), st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.integers(0, 3))
def test_anomalies_against_plain_python(lines, customers, moves, careless, seed):
    results = compare_schemas(lines=lines, customers=customers, moves=moves, careless=careless, seed=seed)
    one, three, four = results
    rows = orders(lines, customers, seed)
    known = {row[4] for row in rows}
    assert one.rows == lines and one.copies_of_a_city == pytest.approx(lines / len(known))
    assert one.copies_of_a_price == pytest.approx(lines / len({row[1] for row in rows}))
    assert three.copies_of_a_city == pytest.approx(len({row[0] for row in rows}) / len(known))
    assert three.copies_of_a_price == four.copies_of_a_price == four.copies_of_a_city == 1
    assert four.rows_touched == (1,) * moves and four.inconsistent == (0,) * moves
    for result in (one, three):
        copies = {c: sum(row[4] == c for row in rows) for c in known}
        if result is three:
            copies = {c: len({row[0] for row in rows if row[4] == c}) for c in known}
        assert set(result.rows_touched) <= {1, *copies.values()}
        assert max(result.inconsistent) <= sum(n > 1 for n in copies.values())
        for before, after in zip((0, *result.inconsistent), result.inconsistent, strict=False):
            assert abs(after - before) <= 1
    last = max(row[0] for row in rows)
    stay = {row[4] for row in rows if row[0] > last // 2}
    assert one.forgotten == three.forgotten == len(known - stay) and four.forgotten == 0
    assert [r.can_know_new_customer for r in results] == [False, False, True]


def test_nobody_careless_nobody_inconsistent():
    for result in compare_schemas(careless=0):
        assert set(result.inconsistent) == {0}
    worst = anomalies("one table", careless=1, moves=300)
    assert set(worst.rows_touched) == {1}
    # Every customer has many lines here, so whoever moved carelessly has two cities.
    assert 90 <= worst.inconsistent[-1] <= 100 and list(worst.inconsistent) == sorted(worst.inconsistent)


def test_the_split_tables_join_to_the_one():
    """Lossless in a real database, too."""
    rows = orders(200, 20, 1)
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE whole ({', '.join(ORDERS.split())})")
        connection.executemany("INSERT INTO whole VALUES (?, ?, ?, ?, ?, ?)", rows)
        parts = bcnf_decomposition(ORDERS, ORDER_DEPENDENCIES)
        for number, part in enumerate(parts):
            connection.execute(f"CREATE TABLE t{number} AS SELECT DISTINCT {', '.join(part)} FROM whole")
        joined = "t0" + "".join(f" NATURAL JOIN t{number}" for number in range(1, len(parts)))
        back = connection.execute(f"SELECT {', '.join(ORDERS.split())} FROM {joined}").fetchall()
    connection.close()
    assert sorted(back) == sorted(rows)


def test_how_dependencies_are_read_and_written():
    (one,) = dependencies("\n  b, a -> c  d\n")
    assert one == Dependency(attributes("a b"), attributes("c d")) and str(one) == "a b -> c d"
    assert dependencies("a → b") == dependencies("a -> b")
    assert follows(one, [one]) and Dependency(attributes("a b"), attributes("a")).trivial and not one.trivial


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dependencies("a b"), "'a b': must read like"),
        (lambda: dependencies("a ->"), "'a ->': must read like"),
        (lambda: candidate_keys("a", dependencies("a -> b")), "a -> b: b is not in the relation"),
        (lambda: candidate_keys([], []), "attributes = 0"),
        (lambda: candidate_keys(map(str, range(17)), []), "attributes = 17"),
        (lambda: projection([], map(str, range(17))), "attributes = 17"),
        (lambda: violations("a", [], "1NF"), "normal_form = '1NF'"),
        (lambda: anomalies("two tables"), "schema = 'two tables'"),
        (lambda: anomalies("one table", lines=9), "lines = 9"),
        (lambda: anomalies("one table", customers=0), "customers = 0"),
        (lambda: anomalies("one table", moves=0), "moves = 0"),
        (lambda: anomalies("one table", careless=1.1), "careless = 1.1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

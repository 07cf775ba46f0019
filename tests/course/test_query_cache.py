import math
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.query_cache import GRANULARITIES, QueryCache, cache_key, query_cache


def test_the_key_does_not_see_how_a_query_is_written():
    plain = cache_key("SELECT a FROM t WHERE b = ?", [1])
    assert plain == cache_key("select  a\n from T where B = ? ;", (1,))
    assert plain != cache_key("SELECT a FROM t WHERE b = ?", ["1"])
    assert plain != cache_key("SELECT a FROM t WHERE b = ?", [2])
    assert cache_key("SELECT 'A  b'") != cache_key("SELECT 'a b'")
    assert cache_key("SELECT 'it''s  A'") != cache_key("SELECT 'it''s a'")


@given(st.lists(st.sampled_from(["select", "a", ",", "'X  y'", "from", "t"]), min_size=1, max_size=8))
def test_white_space_between_words_never_counts(words):
    assert cache_key(" ".join(words)) == cache_key(" \n\t ".join(words) + " ;")


def test_what_each_granularity_throws_away():
    left = {}
    for granularity in GRANULARITIES:
        connection = sqlite3.connect(":memory:")
        connection.executescript(
            "CREATE TABLE t (id INTEGER, v INTEGER); INSERT INTO t VALUES (1, 10), (2, 20);"
        )
        cache = QueryCache(connection, granularity)
        point = "SELECT v FROM t WHERE id = ?"
        for row in (1, 2):
            cache.read(point, [row], table="t", row=row)
        cache.read("SELECT sum(v) FROM t", table="t")
        cache.read("SELECT 1", table="other")
        connection.execute("UPDATE t SET v = 11 WHERE id = 1")
        cache.wrote("t", 1, cache_key(point, [1]))
        answers = [
            cache.read(point, [1], table="t", row=1),
            cache.read(point, [2], table="t", row=2),
            cache.read("SELECT sum(v) FROM t", table="t"),
            cache.read("SELECT 1", table="other"),
        ]
        left[granularity] = (cache.invalidated, cache.hits, answers[2][0][0])
        assert answers[0] == ((11,),)
        connection.close()
    # thrown away, still there, and the sum they answer: only the writer that names one query is wrong
    assert left == {"query": (1, 3, 30), "table": (3, 1, 31), "row": (2, 2, 31)}


def test_naming_queries_is_stale_and_the_others_never_are():
    results = {g: query_cache(g) for g in GRANULARITIES}
    assert results["query"].stale > 0 == results["table"].stale == results["row"].stale
    assert results["query"].hit_ratio > results["row"].hit_ratio > results["table"].hit_ratio
    assert results["query"].invalidated_per_write < results["row"].invalidated_per_write
    assert results["row"].invalidated_per_write < results["table"].invalidated_per_write
    # lists depend on every row: knowing the row helps points only
    assert results["row"].list_hit_ratio == results["table"].list_hit_ratio
    assert results["row"].point_hit_ratio > results["table"].point_hit_ratio


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_without_writes_each_query_is_asked_once(granularity):
    r = query_cache(granularity, write_fraction=0, list_fraction=0, products=50, operations=2_000)
    # 2,000 draws of 50 leave none out: the chance is 50·(49/50)^2000 < 1e-15
    assert r.hit_ratio == r.point_hit_ratio == 1 - 50 / 2_000
    assert r.stale == 0 and math.isnan(r.invalidated_per_write) and math.isnan(r.list_hit_ratio)


def test_table_invalidation_hits_as_often_as_theory_says():
    # One query asked for ever: it hits unless the last operation before it was a write; writes are w of all.
    w, n = 0.3, 20_000
    r = query_cache("table", write_fraction=w, list_fraction=0, products=1, operations=n)
    # each read is a hit with probability 1-w, independently: binomial, five standard deviations
    assert abs(r.hit_ratio - (1 - w)) <= 5 * math.sqrt(w * (1 - w) / r.reads)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("granularity", "column"),
        ("operations", 10**9),
        ("write_fraction", -0.1),
        ("list_fraction", math.nan),
        ("products", 0),
        ("categories", 0),
    ],
)
def test_impossible_workload_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} = "):
        query_cache(**{name: value})

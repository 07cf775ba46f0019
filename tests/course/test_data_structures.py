from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sortedcontainers import SortedList

from course.data_structures import (
    OPERATIONS,
    RANGE,
    STRUCTURES,
    CountingKey,
    bisection,
    colliding_integers,
    count_steps,
    expected_steps,
    growth_moves,
    has_operation,
    measure,
)

APPEND, FRONT, LOOK_UP, RANGE_OF_TEN = OPERATIONS
KNOWN = [(s, o) for s in STRUCTURES for o in OPERATIONS if has_operation(s, o)]


def bisect_twin(n, at):
    """Comparisons of a bisection for the key at `at`, from the invariant alone."""
    low, high, steps = 0, n, 0
    while low < high:
        middle = (low + high) // 2
        steps += 1
        low, high = (middle + 1, high) if middle < at else (low, middle)
    return steps


@given(st.integers(1, 3_000))
def test_bisection_is_exact(n):
    assert bisection(n) == pytest.approx(sum(bisect_twin(n, at) for at in range(n)) / n)
    assert math.floor(math.log2(n)) <= bisection(n) <= math.floor(math.log2(n)) + 1


@pytest.mark.parametrize(("structure", "operation"), KNOWN)
@pytest.mark.parametrize("colliding", [False, True])
@pytest.mark.parametrize("n", [20, 37, 256])
def test_counted_is_what_theory_expects(structure, operation, colliding, n):
    counted = count_steps(structure, operation, n, colliding=colliding, samples=n)
    theory = expected_steps(structure, operation, n, colliding=colliding)
    assert counted.moves == theory.moves and counted.elements == theory.elements
    # The bounds of a range stand at whole places, spread over the keys: each search may take a comparison more or
    # less than one on average, and a scan passes half a key more or less.
    slack = {RANGE_OF_TEN: 2}.get(operation, 0)
    assert counted.comparisons == pytest.approx(theory.comparisons, abs=slack)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_sample_stands_for_all(structure):
    few = count_steps(structure, LOOK_UP, 300, samples=9)
    every = count_steps(structure, LOOK_UP, 300, samples=300)
    assert few.comparisons == pytest.approx(every.comparisons, abs=1)


def test_sorted_list_is_in_parts():
    for n in (1_500, 3_000):
        counted = count_steps("SortedList", LOOK_UP, n, samples=100)
        # Parts of unequal size, and 100 of n keys: a comparison more or less.
        assert counted.comparisons == pytest.approx(
            expected_steps("SortedList", LOOK_UP, n).comparisons, abs=1
        )
        built = SortedList(range(n))
        assert len(built._lists[0]) == SortedList.DEFAULT_LOAD_FACTOR == 1_000
        assert expected_steps("SortedList", FRONT, n).moves == 1_000


def test_colliding_keys_make_a_dict_a_list():
    good, bad = (expected_steps("dict", LOOK_UP, 10_000, colliding=c).comparisons for c in (False, True))
    assert good == 1 and bad == expected_steps("list", LOOK_UP, 10_000).comparisons == 5_000.5
    CountingKey.comparisons = 0
    dict.fromkeys(CountingKey(i, colliding=True) for i in range(200))
    assert CountingKey.comparisons == 200 * 199 / 2, "filling it compares each with each"
    CountingKey.comparisons = 0
    dict.fromkeys(CountingKey(i) for i in range(200))
    assert CountingKey.comparisons == 0


def test_plain_integers_collide_too():
    keys = colliding_integers(500)
    assert len(set(keys)) == 500 and {hash(key) for key in keys} == {0}
    assert keys[0] == sys.hash_info.modulus


def test_growing_is_amortised():
    """Capacity grows by r: the moves are a geometric series, n/(r - 1) to n r/(r - 1) in all."""
    for n in (10_000, 20_000, 54_321):
        assert 8 - 0.05 <= growth_moves("list", n) <= 9
        assert 0.95 <= growth_moves("dict", n) <= 2
    assert growth_moves("list", 1) == 0


def test_measure_gives_a_row_for_each():
    rows = measure(100, repeats=1)
    assert [(row.structure, row.operation) for row in rows] == [
        (s, o) for o in OPERATIONS for s in STRUCTURES
    ]
    for row in rows:
        assert row.n == 100
        assert (
            row.nanoseconds > 0
            if has_operation(row.structure, row.operation)
            else math.isnan(row.nanoseconds)
        )
    assert len(measure(100, [LOOK_UP], colliding=True, repeats=1)) == 4


def test_the_range_asks_for_ten():
    assert RANGE == 10
    assert {count_steps(s, RANGE_OF_TEN, 50).elements for s in STRUCTURES} == {10}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_steps("heap", LOOK_UP, 10), "structure = 'heap'"),
        (lambda: expected_steps("list", "sort", 10), "operation = 'sort'"),
        (lambda: expected_steps("dict", FRONT, 10), "operation = 'insert at the front': a dict has none"),
        (lambda: count_steps("dict", FRONT, 10), "operation = 'insert at the front': a dict has none"),
        (lambda: expected_steps("list", LOOK_UP, 19), "n = 19"),
        (lambda: count_steps("list", LOOK_UP, 3_001), "n = 3001"),
        (lambda: count_steps("list", LOOK_UP, 20, samples=21), "samples = 21"),
        (lambda: colliding_integers(0), "n = 0"),
        (lambda: growth_moves("tree", 5), "structure = 'tree'"),
        (lambda: measure(99), "n = 99"),
        (lambda: measure(10_001, colliding=True), "n = 10001"),
        (lambda: measure(repeats=0), "repeats = 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

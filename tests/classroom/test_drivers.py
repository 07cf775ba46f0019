"""Drivers hand plain data over, both ways, and say what cannot be handed over."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from course.exercises import drivers
from course.exercises.drivers import Outcome, RefusedError, plain


class Text(str):
    pass


class Number(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("value", "copy"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.float64(0.5), 0.5),
        (np.int32(7), 7),
        (Number(7), 7),
        (Text("a"), "a"),
        (np.arange(3), [0, 1, 2]),
        (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"c", "a", "b"}, ["a", "b", "c"]),
        (frozenset({2, 1}), [1, 2]),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({Text("a"): {"b": (1,)}}, {"a": {"b": [1]}}),
    ],
    ids=repr,
)
def test_plain_data_has_exact_types(value: object, copy: object) -> None:
    result = plain(value)
    assert repr(result) == repr(copy)
    assert type(result) is type(copy)


def test_a_copy_shares_nothing() -> None:
    value: dict[str, Any] = {"a": [[1]]}
    copy = plain(value)
    value["a"][0].append(2)
    assert copy == {"a": [[1]]}


@pytest.mark.parametrize(
    "value",
    [object(), len, {1: 2}, 10**1_000, "x" * 300_000, [0] * 300_000, range(10**15), np.zeros(10**6)],
    ids=type,
)
def test_what_is_no_plain_data_is_refused(value: object) -> None:
    with pytest.raises(RefusedError):
        plain(value)


def test_a_result_is_what_it_was_when_it_was_given() -> None:
    class Keeps:
        def __init__(self) -> None:
            self.all: list[int] = []

        def add(self, number: int) -> list[int]:
            self.all.append(number)
            return self.all

    given = {"made_with": [], "operations": [["add", 1], ["add", 2]]}
    assert drivers.operations(Keeps, given) == [[1], [1, 2]]


def test_an_outcome_says_where_the_learners_code_failed() -> None:
    namespace: dict[str, Any] = {}
    exec("def answer(x):\n\n    return int(x)", namespace)
    outcome = drivers.run(drivers.call, namespace["answer"], ["a"], namespace, 5)
    assert outcome == Outcome(
        "raised", said="ValueError: invalid literal for int() with base 10: 'a'", line=3
    )
    elsewhere = drivers.run(drivers.call, namespace["answer"], ["a"], {}, 5)
    assert elsewhere.line == 0


def test_an_outcome_keeps_the_end_of_what_was_printed() -> None:
    outcome = drivers.run(drivers.call, lambda: print(*range(10_000), sep="\n"), [], {}, 5)
    assert outcome.printed.endswith("9998\n9999\n")
    assert len(outcome.printed) <= drivers.MOST_TEXT


def test_arguments_arrive_as_the_task_says() -> None:
    arrays = drivers.call_arrays(lambda *given: [type(each).__name__ for each in given], [[1], [2]])
    assert arrays == ["ndarray", "ndarray"]
    queries = {"widths": {"a": 1}, "queries": [[["a"], 3]]}
    assert drivers.column_split(lambda widths, asked: (widths, asked), queries) == ({"a": 1}, [({"a"}, 3)])
    rows = {"keys": ["k"], "before": [1], "after": [2]}
    assert drivers.migration(lambda keys, old, new: (keys, old("k"), new("k")), rows) == (["k"], 1, 2)

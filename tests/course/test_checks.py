"""A refusal is one sentence: the parameter, its value, and what is allowed."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from course import checks


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int64(1), Fraction(1, 3)])
def test_a_number_in_range_is_returned_as_float(value: Any) -> None:
    result = checks.number("x", value, 0, 1)
    assert type(result) is float and result == float(value)


@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan, math.inf, True, None, "0.5", 10**400, [0.5]])
def test_anything_else_is_refused_in_one_short_sentence(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^hit_ratio = .+: must be a number from 0 to 1$") as refused:
        checks.number("hit_ratio", value, 0, 1)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("value", [3, 3.0, np.int32(3)])
def test_a_whole_number_is_returned_as_int(value: Any) -> None:
    result = checks.integer("n", value, 1, 5)
    assert type(result) is int and result == 3


@pytest.mark.parametrize("value", [0, 6, 2.5, math.nan, math.inf, False, None, "3", 10**400])
def test_what_is_no_whole_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^n = .+: must be a whole number from 1 to 5 items$"):
        checks.integer("n", value, 1, 5, unit="items")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"low": 0, "open_low": True}, "above 0"),
        ({"low": 0}, "of at least 0"),
        ({"high": 5, "open_high": True}, "below 5"),
        ({"high": 5}, "of at most 5"),
        ({"low": 0, "high": 5, "open_low": True, "open_high": True}, "above 0 to below 5"),
        ({}, "that is finite"),
    ],
)
def test_the_range_is_said_in_words(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"must be a number {said} ms$"):
        checks.number("t", math.nan, unit="ms", **arguments)


def test_open_bounds_are_excluded() -> None:
    assert checks.number("x", 0, 0) == 0
    with pytest.raises(ValueError, match="above 0"):
        checks.number("x", 0, 0, open_low=True)
    with pytest.raises(ValueError, match="below 5"):
        checks.number("x", 5, high=5, open_high=True)


def test_an_option_is_one_of_those_allowed() -> None:
    assert checks.option("policy", "LRU", ("LRU", "LFU")) == "LRU"
    with pytest.raises(ValueError, match=r"^policy = 'XYZ': must be one of 'LRU', 'LFU'$"):
        checks.option("policy", "XYZ", ("LRU", "LFU"))

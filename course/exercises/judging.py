"""Comparing what came of a case with what is right, saying it in words, and making cases smaller."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeGuard

from course.exercises import drivers
from course.exercises.definition import Case, Finding

LONGEST = 400


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that is finite and of a size that can be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def close(got: object, expected: object, relative: float = 0.0, absolute: float = 0.0) -> bool:
    """Tell whether two values of JSON data are the same, their numbers within a tolerance."""
    if isinstance(expected, list):
        return (
            isinstance(got, list)
            and len(got) == len(expected)
            and all(close(g, e, relative, absolute) for g, e in zip(got, expected, strict=True))
        )
    if is_number(expected):
        return is_number(got) and math.isclose(got, expected, rel_tol=relative, abs_tol=absolute)
    return type(got) is type(expected) and got == expected


def shown(value: object) -> str:
    """Write a value as Python does, numbers to six places and long values cut."""
    text = _shown(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value[:LONGEST]))}]"
    return repr(value)


def written_call(name: str) -> Callable[[list[Any]], str]:
    """Write the call of a function as a learner would."""
    return lambda arguments: f"{name}({', '.join(map(shown, arguments))})"


def nothing_given(given: object) -> str:
    """Write what is given where nothing is."""
    return ""


def same(
    reference: Callable[..., Any],
    drive: drivers.Driver,
    *,
    relative: float = 0.0,
    absolute: float = 0.0,
    because: str = "",
) -> Callable[[Case, Any], Finding | None]:
    """Compare with what a reference gives on the same case.

    Parameters
    ----------
    reference : callable
        The function that is right.
    drive : callable
        How it is called.
    relative, absolute : float
        The tolerance for numbers: the larger of the two counts.
    because : str
        A sentence for whoever gives a number that is not the one.
    """

    def judge(case: Case, got: Any) -> Finding | None:
        expected = drivers.plain(drive(reference, case.given))
        if close(got, expected, relative, absolute):
            return None
        return Finding(shown(got), shown(expected), because or wrong_type(got, expected))

    return judge


def wrong_type(got: object, expected: object) -> str:
    """Say which kind of value is asked for, if it is another one."""
    if is_number(expected) and not is_number(got):
        return "A number is asked for."
    if isinstance(expected, list) and not isinstance(got, list):
        return f"{len(expected)} values are asked for."
    return ""


# --- sequences of operations --------------------------------------------------------------------------------


def written_operations(name: str) -> Callable[[dict[str, Any]], str]:
    """Write a sequence of operations as a learner would."""

    def written(given: dict[str, Any]) -> str:
        calls = [f"{method}({', '.join(map(shown, rest))})" for method, *rest in given["operations"]]
        return f"{name}({', '.join(map(shown, given['made_with']))}), then {', '.join(calls)}"

    return written


def same_operations(
    reference: Callable[..., Any], asked: Sequence[str]
) -> Callable[[Case, Any], Finding | None]:
    """Compare what some methods give with what they give at a reference.

    Parameters
    ----------
    reference : class
        The class that is right.
    asked : sequence of str
        The methods whose result counts.
    """
    written = written_operations(reference.__name__)

    @lru_cache(maxsize=256)
    def right_results(case: Case) -> list[Any]:
        return drivers.operations(reference, case.given)

    def judge(case: Case, got: Any) -> Finding | None:
        calls, expected = case.given["operations"], right_results(case)
        if not isinstance(got, list) or len(got) != len(calls):
            return Finding(shown(got), shown(expected))
        for number, (call, mine, right) in enumerate(zip(calls, got, expected, strict=True), 1):
            if call[0] in asked and not close(mine, right):
                so_far = written({**case.given, "operations": calls[:number]})
                return Finding(shown(mine), shown(right), given=so_far)
        return None

    return judge


def fewer(field: str) -> Callable[[Case], Iterator[Case]]:
    """Offer the same case with fewer entries in a list: without a half, a quarter, and down to one."""

    def smaller(case: Case) -> Iterator[Case]:
        entries = case.given[field]
        size = len(entries) // 2
        while size:
            for start in range(0, len(entries), size):
                rest = entries[:start] + entries[start + size :]
                yield Case({**case.given, field: rest}, case.hidden)
            size //= 2

    return smaller


def count_operations(cases: Sequence[Case]) -> str:
    """Say how many operations there were."""
    operations = sum(len(case.given["operations"]) for case in cases)
    return f"{operations:,} operations in {len(cases):,} sequences"

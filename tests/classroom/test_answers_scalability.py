"""Typical answers to the exercises of scalability: the right ones earn all, the wrong ones are told why."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course import exercises, scaling
from course.classroom.check import Result, examine

Rule = Callable[[int], int]
Steps = list[tuple[Any, ...]]


def result_of(exercise_id: str, answer: object) -> Result:
    exercise = exercises.find(exercise_id)
    return examine(exercise, {exercise.name: answer})


def fit_law(servers: np.ndarray, throughput: np.ndarray) -> tuple[float, float]:
    fit = scaling.fit_usl(servers, throughput).law
    return fit.contention, fit.coherency


def fit_through_the_first(servers: np.ndarray, throughput: np.ndarray) -> tuple[float, float]:
    """Takes the first measurement for exact, and the last two for the rest."""
    relative = servers * throughput[0] / throughput - 1
    rows = np.column_stack([servers - 1, servers * (servers - 1)])[[1, 2]]
    sigma, kappa = np.linalg.solve(rows, relative[[1, 2]])
    return sigma, kappa


def reads_per_s(nodes: int, capacity: float, writes: float, primary_reads: bool) -> float:
    return (nodes if primary_reads else nodes - 1) * max(0.0, capacity - writes)


def plan(keys: list[int], before: Rule, after: Rule) -> Steps:
    """Row by row, where the order allows it."""
    steps: Steps = []
    for key in keys:
        if before(key) != after(key):
            steps.insert(0, ("copy", key, after(key)))
            steps.append(("delete", key, before(key)))
    steps.insert(len(steps) // 2, ("switch",))
    return steps


def in_order(keys: list[int], before: Rule, after: Rule) -> Steps:
    moving = [key for key in keys if before(key) != after(key)]
    copies = [("copy", key, after(key)) for key in moving]
    return [*copies, ("switch",), *(("delete", key, before(key)) for key in moving)]


def deletes_too_soon(keys: list[int], before: Rule, after: Rule) -> Steps:
    moving = [key for key in keys if before(key) != after(key)]
    each = [(("copy", key, after(key)), ("delete", key, before(key))) for key in moving]
    return [*itertools.chain(*each), ("switch",)]


def switches_too_soon(keys: list[int], before: Rule, after: Rule) -> Steps:
    return sorted(in_order(keys, before, after), key=lambda step: step[0] != "switch")


def copies_everything(keys: list[int], before: Rule, after: Rule) -> Steps:
    steps = in_order(keys, before, after)
    return [("copy", key, after(key)) for key in keys if before(key) == after(key)] + steps


def leaves_the_old(keys: list[int], before: Rule, after: Rule) -> Steps:
    return [step for step in in_order(keys, before, after) if step[0] != "delete"]


def never_switches(keys: list[int], before: Rule, after: Rule) -> Steps:
    return [step for step in in_order(keys, before, after) if step[0] == "copy"]


def switches_twice(keys: list[int], before: Rule, after: Rule) -> Steps:
    steps = in_order(keys, before, after)
    return [*steps, ("switch",)]


Widths = dict[str, int]
Queries = list[tuple[set[str], int]]


def cost(first: set[str], widths: Widths, queries: Queries) -> int:
    tables = [first, set(widths) - first]
    total = 0
    for columns, times in queries:
        for table in tables:
            if table & columns:
                total += times * (8 + sum(widths[column] for column in table))
    return total


def best_split(widths: Widths, queries: Queries) -> set[str]:
    subsets = (set(some) for size in range(len(widths) + 1) for some in itertools.combinations(widths, size))
    return min(subsets, key=lambda first: cost(first, widths, queries))


def most_asked(widths: Widths, queries: Queries) -> set[str]:
    """The columns of the most frequent query: right for one query, and no longer for three."""
    return max(queries, key=lambda query: query[1])[0]


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("scalability.law", fit_law),
        ("scalability.reads", reads_per_s),
        ("scalability.migration", plan),
        ("scalability.migration", lambda *given: [list(step) for step in in_order(*given)]),
        ("scalability.hot_columns", best_split),
        ("scalability.hot_columns", lambda widths, queries: set(widths) - best_split(widths, queries)),
        ("scalability.hot_columns", lambda widths, queries: sorted(best_split(widths, queries))),
    ],
)
def test_a_right_answer_is_right(exercise_id: str, answer: object) -> None:
    result = result_of(exercise_id, answer)
    assert result.state == "right", result


@pytest.mark.parametrize(
    ("exercise_id", "answer", "points", "said"),
    [
        ("scalability.law", lambda servers, throughput: None, 0, "not written yet"),
        ("scalability.law", lambda servers, throughput: (0.05, 0.002), 0, "expected  σ ="),
        ("scalability.law", lambda servers, throughput: 0.05, 0, "two numbers"),
        ("scalability.law", fit_through_the_first, 1, "each within a tenth"),
        ("scalability.reads", lambda *_: None, 0, "not written yet"),
        ("scalability.reads", lambda nodes, capacity, *_: nodes * capacity, 0, "expected  240"),
        (
            "scalability.reads",
            lambda nodes, capacity, writes, primary: (nodes if primary else nodes - 1) * (capacity - writes),
            2,
            "expected  0\n  got       -60",
        ),
        ("scalability.migration", lambda *_: [], 0, "not written yet"),
        ("scalability.migration", deletes_too_soon, 2, "a reader does not find row"),
        ("scalability.migration", switches_too_soon, 2, "a reader does not find row"),
        ("scalability.migration", copies_everything, 3, "has row 'b' already"),
        ("scalability.migration", leaves_the_old, 3, "is on the shards [0, 1]"),
        ("scalability.migration", never_switches, 1, "there is no switch"),
        ("scalability.migration", switches_twice, 2, "more than once"),
        ("scalability.migration", lambda *_: [("move", 1, 2)], 0, "no such step"),
        ("scalability.migration", lambda *_: [("switch",)], 0, "does not find row"),
        ("scalability.migration", lambda *_: ("copy", "a", 1), 0, "no such step"),
        ("scalability.migration", lambda *_: 3, 0, "a list of steps"),
        ("scalability.five_edges", [], 0, "not written yet"),
        ("scalability.five_edges", ["Lahore", "Springfield"], 0, "Springfield is not one"),
        ("scalability.five_edges", ["Lahore"] * 5, 0, "1 different cities"),
        (
            "scalability.five_edges",
            ["Lahore", "Bogotá", "Shanghai", "Cairo", "São Paulo"],
            0,
            "95 % take up to 103 ms",
        ),
        ("scalability.five_edges", [1, 2, 3, 4, 5], 0, "names of cities"),
        ("scalability.hot_columns", lambda *_: None, 0, "not written yet"),
        ("scalability.hot_columns", lambda widths, queries: {"z"}, 0, "not a column of the table"),
        ("scalability.hot_columns", lambda widths, queries: set(widths), 0, "a split that reads"),
        ("scalability.hot_columns", most_asked, 1, "a split that reads"),
    ],
)
def test_a_wrong_answer_is_told_why(exercise_id: str, answer: object, points: int, said: str) -> None:
    result = result_of(exercise_id, answer)
    assert result.state in {"wrong", "unwritten"}
    assert said in repr(result)
    assert result.points == points

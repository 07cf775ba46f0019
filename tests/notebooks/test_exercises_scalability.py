"""The exercises of scalability can be solved from the chapter alone, and their checks tell right from wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course import edge_map
from tests.notebooks.exercises import check_cells, problems


@pytest.fixture(scope="module")
def chapter() -> dict[str, Any]:
    """What the chapter's imports and its check cells define."""
    return check_cells("03_scalability", exercises=5)


Rule = Callable[[int], int]
Steps = list[tuple[Any, ...]]


def fit_law(servers: np.ndarray, throughput: np.ndarray) -> tuple[float, float]:
    columns = np.column_stack([np.ones(servers.size), servers - 1, servers * (servers - 1)])
    first, second, third = np.linalg.lstsq(columns, servers / throughput, rcond=None)[0]
    return second / first, third / first


def reads_per_s(nodes: int, capacity: float, writes: float, primary_reads: bool) -> float:
    return (nodes if primary_reads else nodes - 1) * max(0.0, capacity - writes)


def plan(keys: list[int], before: Rule, after: Rule) -> Steps:
    moving = [key for key in keys if before(key) != after(key)]
    return [
        *(("copy", key, after(key)) for key in moving),
        ("switch",),
        *(("delete", key, before(key)) for key in moving),
    ]


def deletes_too_soon(keys: list[int], before: Rule, after: Rule) -> Steps:
    moving = [key for key in keys if before(key) != after(key)]
    each = [(("copy", key, after(key)), ("delete", key, before(key))) for key in moving]
    return [*itertools.chain(*each), ("switch",)]


def switches_too_soon(keys: list[int], before: Rule, after: Rule) -> Steps:
    return sorted(plan(keys, before, after), key=lambda step: step[0] != "switch")


def copies_everything(keys: list[int], before: Rule, after: Rule) -> Steps:
    return [("copy", key, after(key)) for key in keys] + plan(keys, before, after)


def leaves_the_old(keys: list[int], before: Rule, after: Rule) -> Steps:
    return [step for step in plan(keys, before, after) if step[0] != "delete"]


def never_switches(keys: list[int], before: Rule, after: Rule) -> Steps:
    return [step for step in plan(keys, before, after) if step[0] == "copy"]


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


def hot_columns(widths: Widths, queries: Queries) -> set[str]:
    subsets = (set(some) for size in range(len(widths) + 1) for some in itertools.combinations(widths, size))
    return min(subsets, key=lambda first: cost(first, widths, queries))


def five_edges() -> list[str]:
    """Exchange one city for another for as long as that helps."""
    places = edge_map.cities()
    count = len(places.names)

    def p95(edges: list[int]) -> float:
        return edge_map.latency(places, 0, edges, 1.0).percentile(95)

    best = list(edge_map.place_edges(places, 5))
    while True:
        tried = [[*best[:i], city, *best[i + 1 :]] for i in range(5) for city in range(count)]
        found = min(tried, key=p95)
        if p95(found) >= p95(best):
            return [places.names[city] for city in best]
        best = found


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("check_five_edges", five_edges()),
        ("check_fit_law", fit_law),
        ("check_reads_per_s", reads_per_s),
        ("check_plan", plan),
        ("check_hot_columns", hot_columns),
    ],
)
def test_a_right_answer_is_right(chapter: dict[str, Any], check: str, answer: object) -> None:
    assert problems(chapter, check, answer) == []


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        ("check_fit_law", lambda servers, throughput: None, "not written yet"),
        ("check_fit_law", lambda servers, throughput: (0.05, 0.002), "it was σ"),
        ("check_reads_per_s", lambda *_: None, "not written yet"),
        ("check_reads_per_s", lambda nodes, capacity, *_: nodes * capacity, "they can answer 240"),
        (
            "check_reads_per_s",
            lambda nodes, capacity, writes, primary: (nodes if primary else nodes - 1) * (capacity - writes),
            "they can answer 0",
        ),
        ("check_plan", lambda *_: [], "not written yet"),
        ("check_plan", deletes_too_soon, "a reader does not find row"),
        ("check_plan", switches_too_soon, "a reader does not find row"),
        ("check_plan", copies_everything, "has this row already"),
        ("check_plan", leaves_the_old, "is on the shards"),
        ("check_plan", never_switches, "there is no switch"),
        ("check_plan", lambda *_: [("move", 1, 2)], "no such step"),
        ("check_five_edges", [], "not written yet"),
        ("check_five_edges", ["Lahore", "Springfield"], "Springfield is not one"),
        ("check_five_edges", ["Lahore"] * 5, "1 different cities"),
        (
            "check_five_edges",
            ["Lahore", "Bogotá", "Shanghai", "Cairo", "São Paulo"],
            "95 % take up to 103 ms",
        ),
        ("check_hot_columns", lambda *_: None, "not written yet"),
        ("check_hot_columns", lambda widths, queries: {"z"}, "not columns of the table"),
        ("check_hot_columns", lambda widths, queries: set(widths), "are enough"),
    ],
)
def test_a_wrong_answer_is_told_why(chapter: dict[str, Any], check: str, answer: object, said: str) -> None:
    found = problems(chapter, check, answer)
    assert found and said in found[0]

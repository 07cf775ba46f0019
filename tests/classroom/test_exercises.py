"""Every exercise is whole: it can be solved, tells the untouched cell, and keeps apart what must not mix."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from course import exercises
from course.classroom.check import examine
from course.exercises import drivers
from course.exercises.definition import Exercise, Finding
from course.exercises.drivers import Outcome

ROOT = Path(__file__).resolve().parents[2]
ALL = [exercise for chapter in exercises.CHAPTERS for exercise in exercises.of_chapter(chapter)]
every_exercise = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.id)


def names_of_the_chapter() -> dict[str, Any]:
    """Return what a chapter's first cell imports, as far as exercises need it."""
    namespace: dict[str, Any] = {}
    modules = "cache_interleavings, caching, edge_map, scaling, sharding, workloads"
    exec(f"import asyncio, itertools\nimport numpy as np\nfrom course import {modules}", namespace)
    return namespace


def test_the_exercises_of_two_chapters_are_there() -> None:
    assert [exercise.id for exercise in ALL] == [
        "scalability.law",
        "scalability.reads",
        "scalability.migration",
        "scalability.hot_columns",
        "scalability.five_edges",
        "caching.hit_ratio",
        "caching.lru",
        "caching.single_flight",
        "caching.size",
        "caching.stale_orders",
        "caching.ttl",
    ]


def test_an_exercise_is_found_by_its_id() -> None:
    assert exercises.find("caching.lru").name == "LRU"


@pytest.mark.parametrize("unknown", ["caching.lfu", "lru", "", None, 5])
def test_an_unknown_exercise_is_one_sentence(unknown: Any) -> None:
    with pytest.raises(ValueError, match=r"^exercise = .*must be one of .*'caching.lru'"):
        exercises.find(unknown)


@every_exercise
def test_the_reference_is_right_for_the_public_and_for_other_seeds(exercise: Exercise) -> None:
    for seed in (1, 2, 77, "a secret"):
        result = examine(exercise, {exercise.name: exercise.right}, seed)
        assert result.state == "right", result
        assert result.points == exercise.points


@every_exercise
def test_the_solution_is_right_as_a_cell(exercise: Exercise) -> None:
    namespace = names_of_the_chapter()
    code = "from __future__ import annotations\n" + exercise.solution
    exec(code, namespace)
    assert examine(exercise, namespace).state == "right"


@every_exercise
def test_the_untouched_cell_is_not_written_yet_and_earns_nothing(exercise: Exercise) -> None:
    result = examine(exercise, {exercise.name: exercise.unwritten})
    assert result.state == "unwritten"
    assert result.points == 0
    assert "not written yet" in repr(result)


@every_exercise
def test_the_same_seed_makes_the_same_cases_and_another_one_others(exercise: Exercise) -> None:
    def given(seed: int) -> list[Any]:
        cases = exercise.parts[-1].cases(random.Random(seed))
        return [(case.given, case.hidden) for case in cases]

    assert given(3) == given(3)
    if exercise.id not in {"caching.stale_orders", "caching.ttl", "scalability.five_edges"}:
        assert given(3) != given(4)


@every_exercise
def test_cases_and_outcomes_cross_to_another_process_and_back(exercise: Exercise) -> None:
    for part in exercise.parts:
        for case in exercise.cases(part):
            given = json.loads(json.dumps(case.given))
            assert given == case.given
            outcome = drivers.run(exercise.drive, exercise.right, given, {}, 5)
            back = Outcome(**json.loads(json.dumps(asdict(outcome))))
            assert back == outcome
            assert exercise.judge(part, case, back) is None


@every_exercise
def test_the_driver_needs_no_exercise(exercise: Exercise) -> None:
    assert exercise.drive.__module__ == "course.exercises.drivers"
    assert getattr(drivers, exercise.drive.__name__) is exercise.drive


def test_calling_an_answer_needs_nothing_of_what_is_right() -> None:
    code = "import sys, course.exercises.drivers; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    ours = {name for name in loaded.split() if name.startswith("course")}
    assert ours == {"course", "course.checks", "course.exercises"} | {
        f"course.exercises.{name}" for name in ("drivers", "limits")
    }


@every_exercise
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        -1.5,
        float("nan"),
        float("inf"),
        10**300,
        -(10**900),
        "",
        "text",
        [],
        [[]],
        [None, None],
        [[1, 2], {}],
        {},
        {"loads": 1},
        {"loads": [], "answers": 3},
        {"loads": [{}], "answers": [{}]},
        [["copy", [], {}]],
        [[], [[]]],
    ],
    ids=repr,
)
def test_a_value_of_any_form_is_judged_and_earns_nothing(exercise: Exercise, value: object) -> None:
    for part in exercise.parts:
        case = exercise.cases(part)[0]
        finding = exercise.judge(part, case, Outcome("value", value))
        assert isinstance(finding, Finding), part.title


@every_exercise
def test_hints_climb_from_the_question_to_the_solution(exercise: Exercise) -> None:
    assert len(exercise.ladder) == 4
    assert all(step.strip() for step in exercise.ladder)
    solution = exercise.ladder[3]
    assert exercise.reason in solution and exercise.solution.rstrip() in solution
    assert not any(exercise.solution in hint for hint in exercise.hints)


@every_exercise
def test_the_stub_is_one_definition_that_the_solution_completes(exercise: Exercise) -> None:
    assert len(ast.parse(exercise.stub).body) == 1
    assert exercise.kind in {"function", "class", "value"}
    assert exercise.id.startswith(f"{exercise.chapter}.")
    assert all(part.points > 0 for part in exercise.parts)


def test_a_stub_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stub of caching.lru"):
        _ = replace(exercises.find("caching.lru"), stub="a.b = 1").name

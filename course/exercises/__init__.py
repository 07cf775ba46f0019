"""What each exercise asks: its task, cases, reference, hints. One module a chapter, with its exercises in order.

Nothing here imports a chapter before it is asked for, so that what calls an answer in another process
(:mod:`course.exercises.drivers`) can do without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from course import checks

if TYPE_CHECKING:
    from course.exercises.definition import Exercise

#: The chapters that have exercises, in the course's order.
CHAPTERS = ("scalability", "caching")


def of_chapter(chapter: str) -> tuple[Exercise, ...]:
    """List the exercises of a chapter.

    Parameters
    ----------
    chapter : str
        One of :data:`CHAPTERS`.

    Raises
    ------
    ValueError
        If there is no such chapter.
    """
    module = import_module(f"course.exercises.{checks.option('chapter', chapter, CHAPTERS)}")
    exercises: tuple[Exercise, ...] = module.EXERCISES
    return exercises


def find(exercise_id: str) -> Exercise:
    """Return an exercise.

    Parameters
    ----------
    exercise_id : str
        Such as ``"caching.lru"``.

    Raises
    ------
    ValueError
        If there is none of that id; the message lists those of the chapter.
    """
    chapter = str(exercise_id).partition(".")[0]
    known = {
        each.id: each
        for name in CHAPTERS
        if name == chapter or chapter not in CHAPTERS
        for each in of_chapter(name)
    }
    return known[checks.option("exercise", exercise_id, tuple(known))]

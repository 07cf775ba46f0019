"""``check``, ``hint`` and ``progress``: what a learner calls in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal

from course import exercises
from course.classroom import record
from course.classroom.record import Entry, NotKeptError, Record
from course.exercises import drivers
from course.exercises.definition import PUBLIC_SEED, Case, Exercise, Finding, Part
from course.exercises.drivers import Outcome

#: How long to look for a smaller case that goes wrong.
SHRINK_S = 0.3
#: How many cases of each part tell an answer from the untouched stub.
TELLING = 3

_GREEN, _RED, _GREY = "#009e73", "#d55e00", "#8888"


@dataclass(frozen=True)
class PartResult:
    """How one part of an exercise came out.

    Attributes
    ----------
    title : str
        What is right when it passes.
    points, of : int
        What it earned, and what it can earn.
    tried : bool
        Whether it was reached at all.
    """

    title: str
    points: int
    of: int
    tried: bool = True


@dataclass(frozen=True)
class Result:
    """What a check found; shows itself in a notebook.

    Attributes
    ----------
    exercise_id, title : str
        Which exercise.
    state : {"right", "wrong", "unwritten", "missing", "stopped"}
        All parts pass; one does not; the cell is as it was; there is no answer of that name; the reader pressed
        stop.
    parts : tuple of PartResult
        Empty where nothing was tried.
    points, of : int
        What was earned, and what can be.
    said : str
        One sentence: what was proved, or what is to do.
    finding : Finding or None
        The smallest case found that goes wrong.
    printed : str
        What the answer printed in that case.
    note : str
        Something else the reader should know.
    """

    exercise_id: str
    title: str
    state: Literal["right", "wrong", "unwritten", "missing", "stopped"]
    of: int
    said: str
    parts: tuple[PartResult, ...] = ()
    finding: Finding | None = None
    printed: str = ""
    note: str = ""

    @property
    def points(self) -> int:
        """What was earned."""
        return 0 if self.state == "unwritten" else sum(part.points for part in self.parts)

    def _headline(self) -> str:
        words = {
            "right": f"right, {self.of} of {self.of} points",
            "wrong": f"not yet, {self.points} of {self.of} points",
            "unwritten": "not written yet",
            "missing": "no answer found",
            "stopped": "stopped",
        }
        return f"{self.title}: {words[self.state]}"

    def _rows(self) -> list[tuple[str, str]]:
        if self.finding is None:
            return []
        named = [
            ("input", self.finding.given),
            ("expected", self.finding.expected),
            ("got", self.finding.got),
            ("printed", self.printed.rstrip()),
        ]
        return [(name, text) for name, text in named if text]

    def _part_lines(self) -> list[tuple[str, str]]:
        shown = self.parts if self.state in {"right", "wrong"} and len(self.parts) > 1 else ()
        return [
            ("–", f"{part.title} (not tried)")
            if not part.tried
            else ("✓" if part.points else "✗", f"{part.title} ({part.points} of {part.of})")
            for part in shown
        ]

    def __repr__(self) -> str:
        lines = [self._headline(), *(f"  {mark} {text}" for mark, text in self._part_lines())]
        if self._rows():
            lines.append("A case that goes wrong:")
        for name, text in self._rows():
            lines.append(f"  {name:9} {text.replace(chr(10), chr(10) + ' ' * 12)}")
        if self.finding and self.finding.because:
            lines.append(self.finding.because)
        return "\n".join(filter(None, [*lines, self.said, self.note]))

    def _repr_html_(self) -> str:
        colour = {"right": _GREEN, "wrong": _RED}.get(self.state, _GREY)
        parts = "".join(
            f"<li style='list-style:none'>{mark} {escape(text)}</li>" for mark, text in self._part_lines()
        )
        rows = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{name}</th>"
            f"<td style='text-align:left'><code style='white-space:pre-wrap'>{escape(text)}</code></td></tr>"
            for name, text in self._rows()
        )
        sentences = [self.finding.because if self.finding else "", self.said, self.note]
        return (
            f"<div role='status' style='max-width:940px;border-left:5px solid {colour};padding:4px 12px'>"
            f"<p style='margin:4px 0'><b>{'✓ ' if self.state == 'right' else ''}{escape(self._headline())}</b></p>"
            + (f"<ul style='margin:4px 0;padding-left:8px'>{parts}</ul>" if parts else "")
            + (
                f"<p style='margin:4px 0'>A case that goes wrong:</p><table style='margin:4px 0'>{rows}</table>"
                if rows
                else ""
            )
            + "".join(f"<p style='margin:4px 0'>{escape(text)}</p>" for text in sentences if text)
            + "</div>"
        )


# --- checking -----------------------------------------------------------------------------------------------


def check(exercise_id: str) -> Result:
    """Check your answer to an exercise.

    Looks for your function, class or value under the name it has in the exercise's cell, tries it, and shows what
    is right or the smallest case found that goes wrong.

    Parameters
    ----------
    exercise_id : str
        Such as ``"caching.lru"``.

    Returns
    -------
    Result
        Shows itself as the last line of a cell.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    exercise = exercises.find(exercise_id)
    result = examine(exercise, sys._getframe(1).f_globals)
    if result.state not in {"right", "wrong"}:
        return result

    def note(entry: Entry) -> Entry:
        return replace(entry, best=max(entry.best, result.points), checks=entry.checks + 1)

    try:
        Record(record.default_path()).change(exercise.id, note)
    except NotKeptError as error:
        return replace(result, note=str(error))
    return result


def examine(exercise: Exercise, namespace: Mapping[str, object], seed: int | str = PUBLIC_SEED) -> Result:
    """Check the answer that a namespace holds, and keep no record of it.

    Parameters
    ----------
    exercise : Exercise
        The exercise.
    namespace : mapping
        The globals of the learner's code.
    seed : int or str
        From which the cases are made.
    """
    about: dict[str, Any] = {"exercise_id": exercise.id, "title": exercise.title, "of": exercise.points}
    if exercise.name not in namespace:
        said = f"There is no `{exercise.name}` yet: run the cell with your answer first, then this one."
        return Result(**about, state="missing", said=said)
    trial = _Trial(exercise, namespace)
    try:
        return _examine(exercise, trial, seed, about)
    except KeyboardInterrupt:
        return Result(**about, state="stopped", said="You stopped the check.")


class _Trial:
    """Runs answers of an exercise, all together no longer than its limit."""

    def __init__(self, exercise: Exercise, namespace: Mapping[str, object]) -> None:
        self.exercise = exercise
        self.namespace = namespace
        self.answer = namespace[exercise.name]
        self.left_s = exercise.limit_s
        # A loop that is interrupted may leave its thread in disorder, so that must not be the kernel's own.
        self.own_thread = exercise.asynchronous

    def outcome(self, case: Case, answer: object) -> Outcome:
        if self.left_s <= 0:
            return Outcome("stopped")
        began = time.perf_counter()
        result = drivers.run(
            self.exercise.drive,
            answer,
            case.given,
            self.namespace,
            self.left_s,
            own_thread=self.own_thread,
        )
        self.left_s -= time.perf_counter() - began
        return result

    def first_wrong(self, part: Part, cases: tuple[Case, ...]) -> tuple[Case, Outcome, Finding] | None:
        for case in cases:
            wrong = self.wrong(part, case)
            if wrong:
                return wrong
        return None

    def wrong(self, part: Part, case: Case) -> tuple[Case, Outcome, Finding] | None:
        outcome = self.outcome(case, self.answer)
        finding = self.exercise.judge(part, case, outcome)
        return (case, outcome, finding) if finding else None

    def smallest(self, part: Part, found: tuple[Case, Outcome, Finding]) -> tuple[Case, Outcome, Finding]:
        """Make the case smaller for as long as it still goes wrong."""
        until = time.perf_counter() + SHRINK_S
        again = True
        while again:
            again = False
            for case in part.smaller(found[0]):
                if time.perf_counter() > until:
                    return found
                wrong = self.wrong(part, case)
                if wrong and wrong[1].kind != "stopped":
                    found, again = wrong, True
                    break
        return found

    def is_unwritten(self, seed: int | str) -> bool:
        """Tell whether the answer does what the untouched stub does."""
        for part in self.exercise.parts:
            for case in self.exercise.cases(part, seed)[:TELLING]:
                mine, stub = (self.outcome(case, answer) for answer in (self.answer, self.exercise.unwritten))
                if (mine.kind, mine.value) != (stub.kind, stub.value):
                    return False
        return True


def _examine(exercise: Exercise, trial: _Trial, seed: int | str, about: dict[str, Any]) -> Result:
    parts: list[PartResult] = []
    passed: list[Case] = []
    first: tuple[Case, Outcome, Finding] | None = None
    stopped = False
    for part in exercise.parts:
        if stopped:
            parts.append(PartResult(part.title, 0, part.points, tried=False))
            continue
        cases = exercise.cases(part, seed)
        found = trial.first_wrong(part, cases)
        parts.append(PartResult(part.title, 0 if found else part.points, part.points))
        if found is None:
            passed += cases
            continue
        stopped = found[1].kind == "stopped"
        if first is None:
            if found[1].kind == "value" and trial.is_unwritten(seed):
                return Result(
                    **about, state="unwritten", said=f"`{exercise.name}` does what the empty cell does."
                )
            first = found if stopped else trial.smallest(part, found)
    if first is None:
        return Result(
            **about, state="right", parts=tuple(parts), said=f"It held for {exercise.proved(passed)}."
        )
    _, outcome, finding = first
    if outcome.kind == "stopped":
        finding = replace(
            finding, because=f"Your code did not come back within {exercise.limit_s:g} s and was stopped."
        )
    return Result(
        **about,
        state="wrong",
        parts=tuple(parts),
        said=f"A hint: hint({exercise.id!r})" if outcome.kind == "value" else "",
        finding=finding,
        printed=outcome.printed,
    )


# --- hints --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hint:
    """One hint, and those before it; shows itself in a notebook.

    Attributes
    ----------
    title : str
        The exercise.
    steps : tuple of str
        Markdown, the newest last.
    of : int
        How many there are.
    """

    title: str
    steps: tuple[str, ...]
    of: int

    def _repr_markdown_(self) -> str:
        names = [f"Hint {number} of {self.of}" for number in range(1, self.of)] + ["The solution"]
        shown = [f"**{name}.** {step}" for name, step in zip(names, self.steps, strict=False)]
        return f"**{self.title}**\n\n" + "\n\n".join(shown)

    def __repr__(self) -> str:
        return self._repr_markdown_().replace("**", "")


#: Hints given by this kernel, for where no record can be kept.
_given: dict[str, int] = {}


def hint(exercise_id: str) -> Hint:
    """Give the next hint: what is asked again, an idea, half a solution, the solution with its reason.

    Each call climbs one step; those before are shown with it.

    Parameters
    ----------
    exercise_id : str
        Such as ``"caching.lru"``.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    exercise = exercises.find(exercise_id)
    ladder = exercise.ladder

    def climb(entry: Entry) -> Entry:
        return replace(entry, hints=min(max(entry.hints, _given.get(exercise.id, 0)) + 1, len(ladder)))

    try:
        entry = Record(record.default_path()).change(exercise.id, climb)
    except NotKeptError:
        entry = climb(Entry())
    _given[exercise.id] = entry.hints
    return Hint(exercise.title, ladder[: entry.hints], len(ladder))


# --- progress -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """How far a learner is; shows itself in a notebook.

    Attributes
    ----------
    rows : tuple of (Exercise, Entry)
        In the order of the course.
    """

    rows: tuple[tuple[Exercise, Entry], ...]

    @property
    def next(self) -> Exercise | None:
        """Where to go on: after the last one that was checked, the first that is not solved."""
        touched = [place for place, (_, entry) in enumerate(self.rows) if entry.checks]
        start = touched[-1] if touched else 0
        open_ = [
            exercise
            for exercise, entry in (*self.rows[start:], *self.rows[:start])
            if entry.best < exercise.points
        ]
        return open_[0] if open_ else None

    def _chapters(self) -> list[tuple[str, str, str, str]]:
        table = []
        for chapter in dict.fromkeys(exercise.chapter for exercise, _ in self.rows):
            rows = [(exercise, entry) for exercise, entry in self.rows if exercise.chapter == chapter]
            solved = sum(entry.best >= exercise.points for exercise, entry in rows)
            points = sum(min(entry.best, exercise.points) for exercise, entry in rows)
            table.append(
                (
                    chapter.replace("_", " ").capitalize(),
                    f"{solved} of {len(rows)}",
                    f"{points} of {sum(exercise.points for exercise, _ in rows)}",
                    f"{sum(entry.hints for _, entry in rows)}",
                )
            )
        return table

    def _sentence(self) -> str:
        if self.next is None:
            return "You have solved every exercise there is."
        start = "Go on" if any(entry.checks for _, entry in self.rows) else "Start"
        chapter = self.next.chapter.replace("_", " ").capitalize()
        return f"{start} with “{self.next.title}” in {chapter}: check({self.next.id!r})."

    def __repr__(self) -> str:
        lines = [
            f"{chapter:22} {solved:>8} solved  {points:>9} points  {hints:>3} hints"
            for chapter, solved, points, hints in self._chapters()
        ]
        return "\n".join([*lines, self._sentence()])

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th style='text-align:left'>{name}</th>" for name in ("chapter", "solved", "points", "hints")
        )
        rows = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{escape(text)}</td>" for text in row) + "</tr>"
            for row in self._chapters()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{escape(self._sentence())}</p>"


def progress() -> Progress:
    """Show which exercises you have solved, and where to go on."""
    entries = Record(record.default_path()).read()
    known = [exercise for chapter in exercises.CHAPTERS for exercise in exercises.of_chapter(chapter)]
    return Progress(tuple((exercise, entries.get(exercise.id, Entry())) for exercise in known))

"""What an exercise is. The check in the notebook, the hints and the grader all follow from it.

Three things are kept apart, so that an answer can run in a process that sees nothing of what is right:

1. :meth:`Exercise.cases` makes the cases from a seed; ``case.given`` is JSON data.
2. A driver of :mod:`course.exercises.drivers` calls the answer on one case; the outcome is JSON data.
3. :meth:`Exercise.judge` compares the outcome with what is right, from the case alone.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from course.exercises.drivers import Driver, Outcome

#: The seed of the check in the notebook. A grader takes others.
PUBLIC_SEED = 1


@dataclass(frozen=True, eq=False)
class Case:
    """One case; a key in a dictionary by what it is, not by what it holds.

    Attributes
    ----------
    given : JSON data
        What the answer gets, through the driver.
    hidden : object
        What only the comparison knows.
    """

    given: Any
    hidden: Any = None


@dataclass(frozen=True)
class Finding:
    """What is wrong with an outcome, in words.

    Attributes
    ----------
    got : str
        What the answer gave.
    expected : str
        What is right, if that can be said.
    because : str
        A sentence on it.
    given : str
        The case.
    """

    got: str
    expected: str = ""
    because: str = ""
    given: str = ""


def no_smaller(case: Case) -> Iterator[Case]:
    """Offer no smaller case: the generator begins with the smallest."""
    return iter(())


def count_cases(cases: Sequence[Case]) -> str:
    """Say how many cases there were."""
    return f"{len(cases):,} case{'' if len(cases) == 1 else 's'}"


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an exercise that earns points by itself.

    Attributes
    ----------
    title : str
        What is right when it passes.
    points : int
        What it is worth.
    cases : callable
        From a source of chance to the cases, the smallest first.
    judge : callable
        From a case and the value that came of it to what is wrong, or None.
    smaller : callable
        From a case to cases that are smaller, the smallest first.
    """

    title: str
    points: int
    cases: Callable[[random.Random], Iterable[Case]]
    judge: Callable[[Case, Any], Finding | None]
    smaller: Callable[[Case], Iterable[Case]] = no_smaller


@dataclass(frozen=True, eq=False)
class Exercise:
    """One exercise.

    Attributes
    ----------
    id : str
        The chapter's slug and a name: ``caching.lru``.
    title : str
        Its heading.
    task : str
        What is asked, in Markdown.
    stub : str
        The cell the learner starts from: one function, class or value.
    reference : callable
        The function or class that is right, under the stub's name; where a value is asked for, a function that
        finds it.
    drive : callable
        How an answer is called.
    parts : tuple of Part
        In the order in which they are shown.
    hints : tuple of three str
        What is asked again, an idea, half a solution. Markdown.
    reason : str
        Why the solution is right: with the solution, the fourth hint.
    written : callable
        From what a case gives to the call as a learner would write it; empty where nothing is given.
    proved : callable
        From the cases that passed to what they amount to.
    limit_s : float
        How long all cases together may take in the notebook.
    """

    id: str
    title: str
    task: str
    stub: str
    reference: Callable[..., Any]
    drive: Driver
    parts: tuple[Part, ...]
    hints: tuple[str, str, str]
    reason: str
    written: Callable[[Any], str]
    proved: Callable[[Sequence[Case]], str] = count_cases
    limit_s: float = 2.0

    @property
    def chapter(self) -> str:
        """The slug of its chapter."""
        return self.id.partition(".")[0]

    @property
    def points(self) -> int:
        """All that can be earned."""
        return sum(part.points for part in self.parts)

    @cached_property
    def _node(self) -> ast.stmt:
        return ast.parse(self.stub).body[-1]

    @cached_property
    def kind(self) -> Literal["function", "class", "value"]:
        """What the stub defines."""
        if isinstance(self._node, ast.FunctionDef):
            return "function"
        return "class" if isinstance(self._node, ast.ClassDef) else "value"

    @cached_property
    def name(self) -> str:
        """The name under which the learner's answer is found."""
        node = self._node
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return node.name
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if not isinstance(target, ast.Name):
            raise ValueError(
                f"stub of {self.id}: must end with a function, a class or the assignment of a name"
            )
        return target.id

    @cached_property
    def asynchronous(self) -> bool:
        """Whether the answer has coroutines, which need an event loop of their own."""
        return any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(self._node))

    @cached_property
    def unwritten(self) -> object:
        """What the stub defines, as it stands."""
        namespace: dict[str, object] = {}
        code = compile(self.stub, self.id, "exec", __future__.annotations.compiler_flag, dont_inherit=True)
        exec(code, namespace)
        return namespace[self.name]

    @cached_property
    def right(self) -> object:
        """An answer that is right."""
        return self.reference() if self.kind == "value" else self.reference

    @property
    def solution(self) -> str:
        """The cell of an answer that is right."""
        source = inspect.getsource(self.reference)
        return f"{source}\n\n{self.name} = {self.reference.__name__}()\n" if self.kind == "value" else source

    @property
    def ladder(self) -> tuple[str, str, str, str]:
        """The four hints: asked again, an idea, half a solution, the solution with its reason. Markdown."""
        return (*self.hints, f"{self.reason}\n\n```python\n{self.solution.rstrip()}\n```")

    def cases(self, part: Part, seed: int | str = PUBLIC_SEED) -> tuple[Case, ...]:
        """Make the cases of a part; the same seed makes the same cases."""
        return _cases(self.id, part, seed)

    def judge(self, part: Part, case: Case, outcome: Outcome) -> Finding | None:
        """Say what is wrong with the outcome of a case, or None.

        Parameters
        ----------
        part : Part
            One of :attr:`parts`.
        case : Case
            One of its cases.
        outcome : Outcome
            What came of it; may come from anywhere, for its value is not trusted to have a certain form.
        """
        if outcome.kind == "value":
            finding = part.judge(case, outcome.value)
        elif outcome.kind == "raised":
            where = f", in line {outcome.line} of your cell: {outcome.code}" if outcome.line else ""
            finding = Finding(got=f"{outcome.said}{where}", because="Your code raised an exception.")
        elif outcome.kind == "refused":
            finding = Finding(got="", because=outcome.said[:1].upper() + outcome.said[1:] + ".")
        else:
            finding = Finding(got="", because="Your code did not come back and was stopped.")
        return finding and replace(finding, given=finding.given or self.written(case.given))


@lru_cache(maxsize=64)
def _cases(exercise_id: str, part: Part, seed: int | str) -> tuple[Case, ...]:
    return tuple(part.cases(random.Random(f"{exercise_id}/{part.title}/{seed}")))

"""Check yourself: questions answered by clicking, with a reason for every answer.

Plain HTML, so that it works without a kernel, on GitHub and in a saved page alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

from course import checks

_QUESTIONS = Path(__file__).resolve().parent.parent / "data" / "questions"


@dataclass(frozen=True)
class Quiz:
    """One question.

    Attributes
    ----------
    question : str
        What is asked.
    right : str
        The right answer.
    because : str
        Why it is right.
    wrong : dict of str to str
        Wrong answers, each with the reason why it is wrong.
    """

    question: str
    right: str
    because: str
    wrong: dict[str, str]

    def __post_init__(self) -> None:
        if not self.wrong or self.right in self.wrong:
            raise ValueError(f"{self.question!r}: a quiz needs wrong answers that differ from the right one")
        if not all(text.strip() for text in (self.question, self.right, self.because, *self.wrong.values())):
            raise ValueError(f"{self.question!r}: every answer needs its reason")

    def _answers(self) -> list[tuple[str, str, str]]:
        entries = [(self.right, "Right", self.because)]
        entries += [(answer, "No", reason) for answer, reason in self.wrong.items()]
        return sorted(entries)

    def _repr_html_(self) -> str:
        items = "".join(
            "<details style='margin:4px 0;padding:4px 10px;border:1px solid #8884;border-radius:6px'>"
            f"<summary style='cursor:pointer'>{escape(answer)}</summary>"
            f"<p style='margin:6px 0'><b>{verdict}.</b> {escape(reason)}</p></details>"
            for answer, verdict, reason in self._answers()
        )
        return f"<div style='max-width:940px'><p><b>{escape(self.question)}</b></p>{items}</div>"

    def __repr__(self) -> str:
        return "\n".join([self.question, *(f"  - {answer}" for answer, _, _ in self._answers())])


class Questions:
    """The questions of a chapter, one below the other."""

    def __init__(self, quizzes: list[Quiz]) -> None:
        self.quizzes = quizzes

    def _repr_html_(self) -> str:
        return "".join(quiz._repr_html_() for quiz in self.quizzes)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.quizzes))


def check_yourself(topic: str) -> Questions:
    """Return the questions of a chapter.

    Parameters
    ----------
    topic : str
        The chapter's slug, as in its notebook's name: ``"caching"``.

    Raises
    ------
    ValueError
        If there are no questions of that name.
    """
    stored = sorted(path.stem for path in _QUESTIONS.glob("*.json"))
    checks.option("topic", topic, tuple(stored))
    entries = json.loads((_QUESTIONS / f"{topic}.json").read_text(encoding="utf-8"))
    return Questions([Quiz(**entry) for entry in entries])

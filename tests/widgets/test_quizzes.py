"""Questions answered by clicking: readable without a kernel, safe as HTML."""

from __future__ import annotations

import re

import pytest

import widgets
from widgets.quizzes import Quiz

SOUND = {
    "question": "Which is < LRU?",
    "right": "FIFO & co",
    "because": "It <b>forgets</b> hits.",
    "wrong": {"LFU": "It counts.", "ARC": "It adapts."},
}


def test_every_answer_has_its_verdict_and_reason() -> None:
    html = Quiz(**SOUND)._repr_html_()
    found = re.findall(r"<summary[^>]*>(.*?)</summary><p[^>]*><b>(.*?)</b> (.*?)</p>", html)
    assert sorted(found) == [
        ("ARC", "No.", "It adapts."),
        ("FIFO &amp; co", "Right.", "It &lt;b&gt;forgets&lt;/b&gt; hits."),
        ("LFU", "No.", "It counts."),
    ]
    assert "Which is &lt; LRU?" in html and html.count("<details") == html.count("</details>") == 3
    assert "script" not in html and "details open" not in html


def test_text_gives_nothing_away() -> None:
    text = repr(Quiz(**SOUND))
    assert text.splitlines() == ["Which is < LRU?", "  - ARC", "  - FIFO & co", "  - LFU"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wrong": {}}, "wrong answers"),
        ({"wrong": {"FIFO & co": "twice"}}, "differ from the right one"),
        ({"because": " "}, "reason"),
        ({"wrong": {"LFU": ""}}, "reason"),
        ({"question": ""}, "reason"),
    ],
)
def test_a_wrong_declaration_is_an_error(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Quiz(**{**SOUND, **change})


def test_questions_of_a_chapter() -> None:
    found = widgets.check_yourself("caching").quizzes
    assert len(found) >= 5 and len({quiz.question for quiz in found}) == len(found)
    html, text = widgets.check_yourself("caching")._repr_html_(), repr(widgets.check_yourself("caching"))
    for quiz in found:
        assert quiz._repr_html_() in html and repr(quiz) in text


def test_a_chapter_without_questions_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"^topic = 'cashing': must be one of .*'caching'"):
        widgets.check_yourself("cashing")

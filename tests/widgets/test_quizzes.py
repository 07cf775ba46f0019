"""Questions answered by clicking: readable without a kernel, safe as HTML."""

from __future__ import annotations

import re

import pytest

import widgets

SOUND = {
    "question": "Which is < LRU?",
    "right": "FIFO & co",
    "because": "It <b>forgets</b> hits.",
    "wrong": {"LFU": "It counts.", "ARC": "It adapts."},
}


def test_every_answer_has_its_verdict_and_reason() -> None:
    html = widgets.quiz(**SOUND)._repr_html_()
    found = re.findall(r"<summary[^>]*>(.*?)</summary><p[^>]*><b>(.*?)</b> (.*?)</p>", html)
    assert sorted(found) == [
        ("ARC", "No.", "It adapts."),
        ("FIFO &amp; co", "Right.", "It &lt;b&gt;forgets&lt;/b&gt; hits."),
        ("LFU", "No.", "It counts."),
    ]
    assert "Which is &lt; LRU?" in html and html.count("<details") == html.count("</details>") == 3
    assert "script" not in html and "details open" not in html


def test_text_gives_nothing_away() -> None:
    text = repr(widgets.quiz(**SOUND))
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
        widgets.quiz(**{**SOUND, **change})

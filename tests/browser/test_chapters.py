"""Every chapter as a reader meets it: opened in JupyterLab, run, and every explorable moved.

The tests of a chapter share one page, in the order they stand here.  They leave
``build/screenshots/<chapter>/`` for people to look at.  How fast it answers is the benchmark's part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator

from tests.browser.conftest import BUILD, Server
from tests.browser.lab import Section, Visit, visit

pytestmark = pytest.mark.needs("chromium")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


@dataclass
class Chapter:
    """A chapter that has been run, and what its notebook promises to show."""

    stem: str
    visit: Visit
    promised: list[str]

    def sections(self) -> Iterator[Section]:
        """Yield its explorables, opened past their questions, each scrolled into sight."""
        self.visit.open_all()
        for section in self.visit.sections():
            section.show()
            yield section


def test_there_are_chapters() -> None:
    assert "05_caching" in [path.stem for path in CHAPTERS]


def promised(notebook: dict[str, Any]) -> list[str]:
    """Return the explorables that the stored outputs of a notebook show, in order."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    named = [output.get("metadata", {}).get("workbook", {}).get("explorable") for output in outputs]
    return [name for name in named if name]


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request: pytest.FixtureRequest, lab: Server, chromium: Browser) -> Iterator[Chapter]:
    path: Path = request.param
    notebook = json.loads(path.read_text(encoding="utf-8"))
    names = promised(notebook)
    (lab.root / path.name).write_text(json.dumps(notebook), encoding="utf-8")
    with visit(chromium, lab.base) as page:
        page.open(path.name)
        page.run_all()
        yield Chapter(path.stem, page, names)
        page.close_kernels()


def test_asks_before_it_shows(chapter: Chapter) -> None:
    for section in chapter.visit.sections():
        section.root.scroll_into_view_if_needed()
        question, body = section.root.locator(".sdw-question"), section.root.locator(".sdw-body")
        assert question.is_visible()
        assert not body.is_visible()
        said = question.inner_text()
        options = question.locator(".sdw-option")
        if options.count():
            first = options.first.inner_text()
            options.first.click()
            assert f"“{first}”" in section.root.locator(".sdw-outcome").inner_text()
        else:
            guess = question.locator(".sdw-guess")
            guess.fill("a lot")
            guess.press("Enter")
            assert question.locator(".sdw-hint").inner_text(), said
            assert not body.is_visible()
            guess.fill("12,345.5")
            guess.press("Enter")
            assert "12,350" in section.root.locator(".sdw-outcome").inner_text()
        assert body.is_visible()
        assert not question.is_visible()


def test_runs_and_draws_all(chapter: Chapter) -> None:
    cells = chapter.visit.page.evaluate(
        "() => [...jupyterapp.shell.currentWidget.content.model.cells].map((cell) => cell.toJSON())"
    )
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    assert [cell["id"] for cell in code if cell["execution_count"] is None] == []
    failed = [
        (cell["source"], output["evalue"])
        for cell in code
        for output in cell["outputs"]
        if output["output_type"] == "error" and "raises-exception" not in cell["metadata"].get("tags", ())
    ]
    assert failed == []
    chapter.visit.open_all()
    assert [section.name for section in chapter.visit.sections()] == chapter.promised
    for number, section in enumerate(chapter.sections()):
        assert section.plot.locator(".main-svg").count(), section.name
        assert not section.error.is_visible(), section.name
        screenshot(chapter, section, number)


def screenshot(chapter: Chapter, section: Section, number: int, suffix: str = "") -> None:
    folder = BUILD / "screenshots" / chapter.stem
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:02d}_{section.name.partition('.')[2]}{suffix}.png"
    section.root.screenshot(path=folder / name)


def moves(section: Section, control: Locator) -> Iterator[Callable[[], object]]:
    """Yield the moves a reader can make with one control; each must lead to a redraw."""
    keyboard = control.page.keyboard
    if control.locator("select").count():
        select = control.locator("select")
        for key in ("ArrowDown", "ArrowUp") * select.locator("option").count():
            # At its first or last option a key changes nothing; one way or the other it does.
            index, last = select.evaluate("(node) => [node.selectedIndex, node.options.length - 1]")
            if index != (last if key == "ArrowDown" else 0):
                select.focus()
                yield lambda key=key: keyboard.press(key)  # type: ignore[misc]
    elif control.locator("input[type=checkbox]").count():
        for _ in range(2):
            control.locator("input").focus()
            yield lambda: keyboard.press("Space")
    elif control.get_by_role("button", name="Draw again").count():
        for _ in range(2):
            yield control.get_by_role("button", name="Draw again").click
    else:
        if control.get_by_role("button", name="Play").count():
            for name in ("To the start", "One step on", "One step on", "One step back", "To the end"):
                yield control.get_by_role("button", name=name).click
            yield control.get_by_role("button", name="Play").click
            control.get_by_role("button", name="Pause").click()
            section.settle()
        slider = control.locator("input[type=range]")
        for key in ("Home", "End", "ArrowLeft"):
            low, at, high = slider.evaluate("(node) => [node.min, node.value, node.max].map(Number)")
            if at != (high if key == "End" else low):
                slider.focus()
                yield lambda key=key: keyboard.press(key)  # type: ignore[misc]


def test_every_control_moves_the_picture(chapter: Chapter) -> None:
    for section in chapter.sections():
        start = section.sentence
        for control in section.root.locator(".sdw-control").all():
            where = f"{section.name}: {control.inner_text()}"
            faces = {section.sentence + section.picture()}
            made = 0
            for move in moves(section, control):
                section.redraw(move)
                faces.add(section.sentence + section.picture())
                made += 1
            assert made >= 2, f"{where}: never moved"
            assert not section.error.is_visible(), f"{where}: {section.error.inner_text()}"
            assert len(faces) > 1, f"{where}: moved {made} times and nothing changed"
            section.reset()
            assert section.sentence == start, where


def test_refuses_in_place(chapter: Chapter) -> None:
    for section in chapter.sections():
        # What every control refuses is tested without a browser; here, that it is said and how.
        for field in section.root.locator(".sdw-exact").all()[:1]:
            for wrong in ("1e15", "-1e15", "many"):
                start, picture = section.sentence, section.picture()
                field.fill(wrong)
                field.press("Enter")
                section.error.wait_for(state="visible", timeout=10_000)
                said = section.error.inner_text()
                assert re.search(r"\w+ = \S+", said), said
                section.settle()
                assert section.sentence == start
                assert section.picture() == picture
                section.reset()
                assert not section.error.is_visible()


def test_pins(chapter: Chapter) -> None:
    for section in chapter.sections():
        start, pinned = section.sentence, section.root.locator(".sdw-pinned")
        alone = traces(section)
        section.button("Pin").click()
        assert start in pinned.inner_text()
        control = section.root.locator(".sdw-control").first
        section.redraw(next(moves(section, control)))
        assert traces(section) > alone
        section.button("Unpin").click()
        section.reset()
        assert not pinned.is_visible()
        assert traces(section) == alone


def traces(section: Section) -> int:
    return int(section.plot.evaluate("(plot) => plot.data.length"))


def test_shares(chapter: Chapter) -> None:
    for section in chapter.sections():
        control = section.root.locator(".sdw-control").first
        section.redraw(next(moves(section, control)))
        section.button("Share").click()
        line = section.root.get_by_role("textbox", name="This scenario as a line of Python").input_value()
        match = re.fullmatch(r"widgets\.restore\('(.*)'\)", line)
        assert match, line
        shared = json.loads(match[1])
        assert shared["explorable"] == section.name
        assert len(shared["parameters"]) == section.root.locator(".sdw-control").count()
        section.reset()


#: Texts that are cut off or stick out of their explorable; those of plotly may not leave their picture.
CUT_OFF = """(root) => {
    const cut = [], edge = root.getBoundingClientRect(), padding = parseFloat(getComputedStyle(root).paddingLeft);
    for (const node of root.querySelectorAll('*')) {
        if (node.closest('svg') || node.closest('.sdw-plot') || !node.checkVisibility()) continue;
        const box = node.getBoundingClientRect();
        const out = box.right > edge.right - padding + 1 || box.left < edge.left + padding - 1;
        if (out) cut.push(['sticks out', node.outerHTML]);
        const text = node.matches('label, p, button, select, summary, .sdw-unit, .sdw-count');
        if (text && node.scrollWidth > node.clientWidth + 1) cut.push(['is cut off', node.outerHTML]);
    }
    for (const svg of root.querySelectorAll('.sdw-plot .main-svg')) {
        const frame = svg.getBoundingClientRect();
        for (const node of svg.querySelectorAll('text')) {
            const box = node.getBoundingClientRect();
            const out = box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
            if (box.width && out) cut.push(['leaves the picture', node.textContent]);
        }
    }
    const titles = [...root.querySelectorAll('.sdw-plot .xtitle')].map((node) => node.getBoundingClientRect());
    for (const node of root.querySelectorAll('.sdw-plot .legendtext')) {
        const box = node.getBoundingClientRect();
        const over = titles.some((title) => title.left < box.right && box.left < title.right
            && title.top + 2 < box.bottom && box.top + 2 < title.bottom);
        if (over) cut.push(['overlaps an axis title', node.textContent]);
    }
    return cut.map(([what, text]) => `${what}: ${text.slice(0, 150)}`);
}"""


@pytest.mark.parametrize("width", [1280, 700])
def test_no_text_is_cut_off(chapter: Chapter, width: int) -> None:
    page = chapter.visit.page
    try:
        page.set_viewport_size({"width": width, "height": 1700})
        page.wait_for_timeout(1000)
        cut = []
        for number, section in enumerate(chapter.sections()):
            section.settle()
            if width == 700:
                screenshot(chapter, section, number, "-700")
            cut += [(section.name, text) for text in section.root.evaluate(CUT_OFF)]
        assert cut == []
    finally:
        page.set_viewport_size({"width": 1280, "height": 1000})
        page.wait_for_timeout(500)


def faults(chapter: Chapter) -> list[str]:
    """Return what axe finds seriously wrong within the explorables."""
    if not chapter.promised:
        return []
    found = Axe().run(chapter.visit.page, context=".sdw").response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_is_accessible(chapter: Chapter, theme: str) -> None:
    chapter.visit.open_all()
    chapter.visit.theme(theme)
    try:
        assert faults(chapter) == []
        if theme == "JupyterLab Dark":
            for number, section in enumerate(chapter.sections()):
                screenshot(chapter, section, number, "-dark")
        # What a reader sees first: the question, before anything is answered.
        chapter.visit.page.evaluate(
            """() => document.querySelectorAll('.sdw').forEach((root) => {
                root.querySelector('.sdw-question').hidden = false;
                root.querySelector('.sdw-body').hidden = true;
            })"""
        )
        assert faults(chapter) == []
    finally:
        chapter.visit.open_all()
        chapter.visit.theme("JupyterLab Light")


def test_keeps_to_this_machine(chapter: Chapter) -> None:
    assert chapter.visit.external == []
    assert chapter.visit.problems == []

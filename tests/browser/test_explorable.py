"""The framework in a real browser: fast hands, lost kernels, saved pages, other hosts, keyboards only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from tests.browser.conftest import Server
from tests.browser.lab import Section, Visit, free_port, running, visit, write_notebook

pytestmark = pytest.mark.needs("chromium")

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "05_caching.ipynb"
#: Every answer of `slow` takes at least this long (seconds).
PAUSE = 0.05

MODULE = f'''
import time
from functools import cache

from course import queueing
from widgets.controls import choice, log_slider, slider, timeline, toggle
from widgets.explorable import choose, estimate, explorable
from widgets.plot import Axis, Panel, View, line


def panel(height, title=""):
    return Panel([line([0, 1, 2], [0, height, 1], "height")], Axis("time", "s"), Axis("height", "m"), title=title)


@explorable("Slow", predict=estimate("How high?", unit="m"), height=slider(0, 100, 50, "height"))
def slow(height):
    """Answer late."""
    time.sleep({PAUSE})
    return View([panel(height)], f"It is {{height}} m high.", answer=50.0)


@explorable(
    "Story",
    predict=choose("Up or down?", "up", "down"),
    height=slider(0, 100, 50, "height", unit="m"),
    kind=choice(("round", "square"), "round", "kind"),
    tall=toggle(False, "twice as high"),
    step=timeline(5, 0, "step"),
)
def story(height, kind, tall, step):
    """Two panels and every control."""
    top = height * (2 if tall else 1)
    sentence = f"Step {{step}}: {{kind}}, {{top}} m."
    return View([panel(top, "left"), panel(step, "right")], sentence, answer="up")


LOADS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
draws = cache(queueing.draw)
finished = []


@explorable(
    "Crowd",
    predict=estimate("How long?", unit="s"),
    customers=log_slider(1000, 10_000_000, 1000, "customers", whole=True),
    servers=slider(1, 1000, 1000, "servers"),
)
def crowd(customers, servers, *, progress):
    """Wait at ten loads: a blink for few customers, seconds for ten million and a thousand servers."""
    drawn = draws(customers, 1)
    waits = [
        queueing.replay(
            drawn, load * servers, 1, servers, progress=lambda share: progress((k + share) / len(LOADS))
        ).wait_s
        for k, load in enumerate(LOADS)
    ]
    finished.append((customers, servers))
    curve = Panel([line(LOADS, waits, "wait")], Axis("load"), Axis("wait", "s"))
    return View([curve], f"{{customers}} customers, {{servers}} servers.", answer=1.0)


@explorable("Patience", predict=estimate("How long?"), tenths=slider(0, 100, 0, "tenths of a second"))
def patience(tenths, *, progress):
    """Take as long as it is told to."""
    for done in range(tenths):
        time.sleep(0.1)
        progress(done / tenths)
    return View([panel(tenths)], f"{{tenths}} tenths.", answer=1.0)
'''
IMPORT = "import playground"


@pytest.fixture(scope="module")
def server(lab: Server) -> Server:
    (lab.root / "playground.py").write_text(MODULE, encoding="utf-8")
    return lab


@pytest.fixture
def page(server: Server, chromium: Browser) -> Iterator[Visit]:
    with visit(chromium, server.base) as opened:
        yield opened
        assert opened.external == []
        opened.close_kernels()


def start(page: Visit, server: Server, name: str, *cells: str) -> list[Section]:
    """Open and run a fresh notebook of these cells; returns its explorables, past their questions."""
    write_notebook(server.root / f"{name}.ipynb", IMPORT, *cells)
    page.open(f"{name}.ipynb")
    page.run_all()
    page.open_all()
    return page.sections()


def run_code(page: Visit, code: str) -> str:
    """Run code in the kernel of the notebook and return what it prints."""
    printed: str = page.page.evaluate(
        """async (code) => {
            const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({ code });
            let text = '';
            future.onIOPub = (message) => (text += message.content.text ?? message.content.evalue ?? '');
            await future.done;
            return text.trim();
        }""",
        code,
    )
    return printed


def slider(section: Section, number: int = 0) -> Locator:
    return section.root.locator(".sdw-control:not(.sdw-timeline) input[type=range]").nth(number)


def field(section: Section) -> Locator:
    return section.root.locator(".sdw-exact").first


def test_fast_keys_leave_no_backlog(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "fast", "w = playground.slow()\nw")
    section.press(slider(section), "Home")
    first = section.drawn()
    # 200 keys: 110 up (the end is at 100), 60 down, 30 up, as fast as the browser takes them.
    took = page.page.evaluate("() => (globalThis.started = performance.now())")
    for key, times in (("ArrowRight", 110), ("ArrowLeft", 60), ("ArrowRight", 30)):
        for _ in range(times):
            page.page.keyboard.press(key)
    last_key = section.drawn()
    section.settle()
    took = page.page.evaluate("() => performance.now() - started") / 1000
    assert section.sentence == "It is 70 m high."
    assert field(section).input_value() == "70"
    assert run_code(page, "print(w.parameters['height'])") == "70"
    # One request at a time, each of at least PAUSE: no more fit into the time, and far fewer than keys.
    assert section.drawn() - first <= took / PAUSE + 1
    assert section.drawn() - first < 150
    # After the last key: what was under way, and the newest setting.
    assert section.drawn() - last_key <= 3


def test_page_loaded_anew_shows_what_the_kernel_has(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "reload", "playground.slow()")
    section.press(slider(section), "End")
    # As a server without this project's extension saves it: with the reference to the widget.
    notebook = page.page.evaluate("() => jupyterapp.shell.currentWidget.context.model.toJSON()")
    (server.root / "reload.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page.open("reload.ipynb")
    # Written past the server it is not signed, and JupyterLab shows no widget before the reader trusts it.
    page.page.evaluate(
        """() => {
            for (const cell of jupyterapp.shell.currentWidget.content.model.cells) cell.trusted = true;
        }"""
    )
    page.page.locator(".sdw-plot[data-drawn]").wait_for()
    (section,) = page.sections()
    section.show()
    assert section.sentence == "It is 100 m high."
    assert field(section).input_value() == "100"
    section.press(slider(section), "ArrowLeft")
    assert section.sentence == "It is 99 m high."


def test_kernel_started_anew(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "restart", "playground.slow()")
    section.press(slider(section), "End")
    page.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.run_all()
    page.open_all()
    (section,) = page.sections()
    section.show()
    assert section.sentence == "It is 50 m high."
    section.press(slider(section), "ArrowRight")
    assert section.sentence == "It is 51 m high."


def test_kernel_that_is_gone_is_said(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "gone", "playground.slow()")
    page.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    slider(section).press("ArrowRight")
    section.error.wait_for(state="visible", timeout=15_000)
    assert "The kernel does not answer" in section.error.inner_text()
    assert section.plot.locator(".main-svg").count()


def test_long_computation_is_not_taken_for_a_lost_kernel(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "busy", "playground.slow()")
    page.page.evaluate(
        """() => void jupyterapp.shell.currentWidget.sessionContext.session.kernel
            .requestExecute({ code: "import time; time.sleep(7)" })"""
    )
    slider(section).press("ArrowRight")
    page.page.wait_for_timeout(6000)
    assert not section.error.is_visible()
    section.settle()
    assert section.sentence == "It is 51 m high."


#: Waits until the progress bar of an explorable shows at least this share (per cent).
REACHES = """async ([root, percent]) => {
    const bar = root.querySelector('[role=progressbar]');
    for (const started = performance.now(); bar.offsetParent === null || bar.ariaValueNow < percent;) {
        if (performance.now() - started > 20000) throw new Error(`stays at ${bar.ariaValueText}`);
        await new Promise(requestAnimationFrame);
    }
}"""


def wait_for_share(section: Section, percent: int) -> None:
    section.root.page.evaluate(REACHES, [section.root.element_handle(), percent])


def long_run(page: Visit, server: Server, name: str) -> Section:
    """Open a queue of a thousand servers and send it ten million customers."""
    (section,) = start(page, server, name, "playground.draws(10_000_000, 1)\nw = playground.crowd()\nw")
    assert section.root.get_by_role("progressbar").count() == 0
    field(section).fill("10,000,000")
    field(section).press("Enter")
    wait_for_share(section, 1)
    return section


def test_long_run_shows_its_progress_and_stops(page: Visit, server: Server) -> None:
    section = long_run(page, server, "stop")
    before = section.picture()
    bar = section.root.get_by_role("progressbar", name="Computing")
    wait_for_share(section, 10)
    share = int(bar.get_attribute("aria-valuenow") or 0)
    assert 10 <= share < 100
    shown = section.root.locator(".sdw-run").inner_text()
    assert re.fullmatch(r"computing \d+ %\s+Stop", shown), shown
    section.button("Stop").press("Enter")
    status = section.root.locator(".sdw-run [role=status]")
    status.filter(has_text="Stopped").wait_for()
    assert status.inner_text() == (
        "Stopped: the picture shows the last setting that was computed, customers 1,000."
    )
    assert bar.count() == section.button("Stop").count() == 0
    # The picture and its sentence belong together; the control that is ahead of them is marked.
    assert section.picture() == before and section.sentence == "1000 customers, 1000 servers."
    assert field(section).input_value() == "10,000,000" and slider(section).input_value() == "100"
    assert section.root.locator(".sdw-ahead label").all_inner_texts() == ["customers"]
    assert section.root.evaluate("(root) => root.contains(document.activeElement)")
    assert run_code(page, "print(w.parameters['customers'], playground.finished)") == "1000 [(1000, 1000)]"
    # The next change computes what the controls say, both of them.
    section.press(slider(section, 1), "Home")
    assert section.sentence == "10000000 customers, 1 servers."
    assert status.inner_text() == "" and section.root.locator(".sdw-ahead").count() == 0
    assert run_code(page, "print(playground.finished)") == "[(1000, 1000), (10000000, 1)]"
    assert page.problems == []


def test_newer_value_stops_the_older_run(page: Visit, server: Server) -> None:
    section = long_run(page, server, "newer")
    slider(section, 1).focus()
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("Home")
    section.settle()
    assert section.sentence == "10000000 customers, 1 servers."
    assert run_code(page, "print(playground.finished)") == "[(1000, 1000), (10000000, 1)]"
    # Back to what is quick: every picture on the way is there, and no bar.
    field(section).fill("1000")
    section.redraw(lambda: field(section).press("Enter"))
    section.press(slider(section, 1), "ArrowRight", "ArrowRight")
    assert section.sentence == "1000 customers, 21 servers."
    assert section.root.get_by_role("progressbar").count() == 0


def test_long_run_is_not_taken_for_a_lost_kernel(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "patience", "playground.patience()")
    section.press(slider(section), "ArrowRight")
    field(section).fill("60")
    field(section).press("Enter")
    section.settle()
    assert section.sentence == "60 tenths."
    assert not section.error.is_visible()


def assert_static(page: Page) -> None:
    """The page shows pictures, and none of a widget that is not there."""
    text = page.locator("body").inner_text().lower()
    assert "model not found" not in text
    assert "error displaying widget" not in text
    assert page.locator(".sdw").count() == 0


def wait_for_pictures(page: Page, number: int) -> None:
    """Wait until so many static pictures are loaded."""
    page.wait_for_function(
        """(number) => [...document.querySelectorAll('img')]
            .filter((image) => image.naturalWidth > 400).length === number""",
        arg=number,
        timeout=20_000,
    )


def shown() -> list[dict[str, Any]]:
    """Return the outputs of the chapter that hold a picture."""
    notebook = json.loads(CHAPTER.read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    found = [output for output in outputs if "workbook" in output.get("metadata", {})]
    assert found
    return found


def test_reopened_shows_the_static_pictures(page: Visit, server: Server) -> None:
    (server.root / "reopened.ipynb").write_bytes(CHAPTER.read_bytes())
    page.open("reopened.ipynb")
    wait_for_pictures(page.page, len(shown()))
    assert_static(page.page)


def test_saved_while_live_stays_readable(page: Visit, server: Server) -> None:
    """Also where one explorable has no stored picture: then its words stand there, and a hint."""
    known = shown()[0]
    write_notebook(server.root / "saved.ipynb", "import widgets", "import playground\nplayground.slow()")
    notebook = json.loads((server.root / "saved.ipynb").read_text(encoding="utf-8"))
    call = f"widgets.{known['metadata']['workbook']['explorable']}()"
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [known]}
    notebook["cells"].append({**cell, "id": "known", "source": call})
    (server.root / "saved.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page.open("saved.ipynb")
    page.run_all()
    assert page.open_all() == 2
    page.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    assert "widget-view" not in (server.root / "saved.ipynb").read_text(encoding="utf-8")
    page.close_kernels()
    page.open("saved.ipynb")
    wait_for_pictures(page.page, 1)
    assert_static(page.page)
    text = page.page.locator("body").inner_text()
    assert "It is 50 m high." in text
    assert "Run All Cells" in text


def test_two_views_of_one_widget_agree(page: Visit, server: Server) -> None:
    first, second = start(page, server, "views", "w = playground.slow()\nw", "w")
    second.redraw(lambda: slider(first).press("End"))
    assert first.sentence == second.sentence == "It is 100 m high."
    assert field(second).input_value() == "100"
    first.redraw(lambda: slider(second).press("Home"))
    assert first.sentence == second.sentence == "It is 0 m high."


def test_two_notebooks_share_one_page(page: Visit, server: Server) -> None:
    write_notebook(server.root / "neighbour.ipynb", IMPORT, "playground.slow(height=10)")
    start(page, server, "home", "playground.slow()")
    page.page.evaluate("() => jupyterapp.commands.execute('docmanager:open', { path: 'neighbour.ipynb' })")
    page.wait_for_kernel("neighbour.ipynb")
    page.run_all()
    (neighbour,) = [Section(root) for root in page.page.locator(".sdw:visible").all()]
    page.open_all()
    neighbour.press(slider(neighbour), "ArrowRight")
    assert neighbour.sentence == "It is 11 m high."
    page.page.evaluate("() => jupyterapp.commands.execute('docmanager:open', { path: 'home.ipynb' })")
    (home,) = [Section(root) for root in page.page.locator(".sdw:visible").all()]
    home.press(slider(home), "ArrowRight")
    assert home.sentence == "It is 51 m high."
    assert page.page.evaluate("() => Object.keys(systemDesignWorkbook.plotly).length") == 1


def test_theme_changes_every_colour(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "theme", "playground.slow()")

    def colours() -> list[str]:
        found: list[str] = section.root.evaluate(
            """(root) => {
                const of = (selector, property) => getComputedStyle(root.querySelector(selector))[property];
                return [getComputedStyle(root).backgroundColor, of('.sdw-sentence', 'color'),
                    of('.main-svg', 'backgroundColor'), of('.scatterlayer path.js-line', 'stroke'),
                    of('.xtitle', 'fill')];
            }"""
        )
        return found

    light = colours()
    page.theme("JupyterLab Dark")
    dark = colours()
    page.theme("JupyterLab Light")
    assert all(one != other for one, other in zip(light, dark, strict=True)), (light, dark)
    assert colours() == light


def steps_apart(section: Section) -> list[float]:
    """Play the timeline for three steps and return the milliseconds between their redraws."""
    section.root.evaluate(
        """(root) => {
            globalThis.steps = [];
            const plot = root.querySelector('.sdw-plot');
            new MutationObserver(() => {
                if (globalThis.seen !== plot.dataset.drawn) steps.push(performance.now());
                globalThis.seen = plot.dataset.drawn;
            }).observe(plot, { attributes: true, attributeFilter: ['data-drawn'] });
        }"""
    )
    section.button("Play").click()
    section.root.page.wait_for_function("() => steps.length >= 3", timeout=20_000)
    section.button("Pause").click()
    moments: list[float] = section.root.page.evaluate("() => steps")
    return [later - earlier for earlier, later in pairwise(moments)]


def test_timeline_plays_pauses_and_steps(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "play", "playground.story()")
    assert min(steps_apart(section)) > 400
    section.settle()
    paused = section.sentence
    page.page.wait_for_timeout(1500)
    assert section.sentence == paused
    section.redraw(section.button("To the end").click)
    assert section.sentence.startswith("Step 5")
    section.redraw(section.button("One step back").click)
    assert section.sentence.startswith("Step 4")
    section.redraw(section.button("To the start").click)
    section.redraw(section.button("One step on").click)
    assert section.sentence.startswith("Step 1")


def test_reduced_motion_plays_slower_and_nothing_slides(server: Server, chromium: Browser) -> None:
    with visit(chromium, server.base, reduced_motion="reduce") as page:
        (section,) = start(page, server, "motion", "playground.story()")
        # 1,200 ms between two steps, less what one redraw may take more than the next.
        assert min(steps_apart(section)) > 1000
        moving = section.root.evaluate(
            """(root) => [...root.querySelectorAll('*')].filter((node) =>
                node.getAnimations().some((animation) => animation.playState === 'running')).length"""
        )
        assert moving == 0
        page.close_kernels()


def test_keyboard_alone_does_everything(page: Visit, server: Server) -> None:
    write_notebook(server.root / "keys.ipynb", IMPORT, "playground.story()", "1 + 1")
    page.open("keys.ipynb")
    page.run_all()
    (section,) = page.sections()
    keyboard = page.page.keyboard
    cells = "() => jupyterapp.shell.currentWidget.content.widgets.length"
    active = "() => jupyterapp.shell.currentWidget.content.activeCellIndex"
    section.root.locator(".sdw-option").first.focus()
    keyboard.press("Enter")
    assert section.root.locator(".sdw-body").is_visible()
    section.settle()
    # From the first control on, Tab reaches all of them in the order they are seen.
    slider(section).focus()
    here = page.page.evaluate(active)
    section.redraw(lambda: keyboard.press("ArrowUp"))
    section.redraw(lambda: keyboard.press("ArrowRight"))
    assert section.sentence == "Step 0: round, 52 m."
    keyboard.press("Tab")
    keyboard.type("64")
    section.redraw(lambda: keyboard.press("Enter"))
    assert section.sentence == "Step 0: round, 64 m."
    # Letters are commands in a notebook, but not while a reader types.
    for key in "abdd":
        keyboard.press(key)
    assert page.page.evaluate(cells) == 3
    field(section).fill("64")
    keyboard.press("Tab")
    section.redraw(lambda: keyboard.press("ArrowDown"))
    assert section.sentence == "Step 0: square, 64 m."
    keyboard.press("Tab")
    section.redraw(lambda: keyboard.press("Space"))
    assert section.sentence == "Step 0: square, 128 m."
    names = []
    for _ in range(9):
        keyboard.press("Tab")
        names.append(
            page.page.evaluate("() => document.activeElement.ariaLabel || document.activeElement.textContent")
        )
    timeline = ["To the start", "One step back", "Play", "One step on", "To the end", ""]
    assert names == [*timeline, "Reset", "Pin", "Share"]
    section.button("One step on").focus()
    section.redraw(lambda: keyboard.press("Enter"))
    assert section.sentence == "Step 1: square, 128 m."
    assert page.page.evaluate(active) == here


def test_panels_stand_below_each_other_on_a_narrow_page(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "narrow", "playground.story()")

    def corners() -> list[list[float]]:
        found: list[list[float]] = section.plot.evaluate(
            """(plot) => [...plot.querySelectorAll('.nsewdrag')].map((panel) => {
                const box = panel.getBoundingClientRect();
                return [box.left, box.top];
            })"""
        )
        return found

    (left, top), (right, same) = corners()
    assert right > left + 200
    assert abs(top - same) < 100
    page.page.set_viewport_size({"width": 700, "height": 1000})
    page.page.wait_for_timeout(800)
    section.show()
    (left, top), (same, below) = corners()
    assert abs(left - same) < 100
    assert below > top + 150


def test_back_in_sight_it_is_up_to_date(page: Visit, server: Server) -> None:
    """What happens while a picture is out of the document is drawn when it returns."""
    (section,) = start(page, server, "hidden", "w = playground.slow()\nw")
    before = section.picture()
    section.root.evaluate(
        "(root) => { globalThis.place = root.parentNode; globalThis.root = root; root.remove(); }"
    )
    run_code(page, "w.set(height=90)")
    page.page.evaluate("() => place.append(root)")
    section.settle()
    assert section.sentence == "It is 90 m high."
    assert section.picture() != before


def test_shared_line_opens_the_same_picture(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "share", "playground.story()")
    section.press(slider(section), "End")
    section.button("Share").click()
    line = section.root.get_by_role("textbox", name="This scenario as a line of Python").input_value()
    (copy,) = start(page, server, "shared", f"import widgets\n{line}")
    assert copy.sentence == "Step 0: round, 100 m."


def test_start_that_is_refused_says_so(page: Visit, server: Server) -> None:
    (section,) = start(page, server, "refused", "playground.slow(height=1000)")
    assert "height = 1000" in section.error.inner_text()
    assert section.sentence == "It is 50 m high."


def test_voila_shows_and_moves_it(server: Server, chromium: Browser) -> None:
    write_notebook(server.root / "voila.ipynb", IMPORT, "playground.story()")
    port = free_port()
    command = [
        *(sys.executable, "-m", "voila", "voila.ipynb", "--no-browser", f"--port={port}"),
        "--Voila.ip=127.0.0.1",
    ]
    with (
        running(command, server.root, port) as base,
        visit(chromium, base) as page,
    ):
        page.page.goto(base, timeout=60_000)
        page.page.locator(".sdw").wait_for(timeout=60_000)
        page.open_all()
        (section,) = page.sections()
        section.press(slider(section), "ArrowRight", "ArrowRight")
        assert section.sentence == "Step 0: round, 52 m."
        # Voilà's own page asks a CDN for its icon font, and stands without it; nothing else is asked for.
        assert [url for url in page.external if "/fontawesome-free@" not in url] == []


def test_exported_html_shows_the_static_pictures(server: Server, chromium: Browser) -> None:
    target = server.root / "exported.html"
    command = [sys.executable, "-m", "nbconvert", "--to", "html", f"--output={target}", str(CHAPTER)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with visit(chromium, "http://127.0.0.1") as page:
        page.page.goto(target.as_uri(), wait_until="domcontentloaded")
        wait_for_pictures(page.page, len(shown()))
        assert_static(page.page)

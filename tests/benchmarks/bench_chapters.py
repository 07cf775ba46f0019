"""Every chapter's own page in a real JupyterLab: how long each explorable takes to answer a key.

The notebook is run from top to bottom as a reader runs it, and a bare ``IntSlider`` whose ``observe`` callback
writes into a ``Label`` is added below: the floor, the least an answer from Python can cost on this very page.
Explorables and floor are pressed in turn, a few keys each, round after round, so that whatever else the machine
does meets both.  Every key moves the explorable's first slider on to a value it has not had before, as a hand
does; all other controls stay at their defaults.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Locator

from tests.benchmarks import Row
from tests.browser.lab import FLOOR, Section, Visit, browser, lab_server, p95, visit

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
#: Keys that an explorable or the floor gets in a row, and how many explorables stand between two turns of the floor.
KEYS, FLOOR_AFTER = 6, 3
#: What an explorable may take, in times of the floor (95th percentile).
LIMIT = 1.5

#: Has plotly note how long it takes: ``globalThis.drawing`` is the last time (ms).
WATCH_PLOTLY = """() => {
    const { react } = Plotly;
    Plotly.react = (...given) => {
        const started = performance.now(), drawn = react.apply(Plotly, given);
        drawn.then(() => (globalThis.drawing = performance.now() - started));
        return drawn;
    };
}"""
#: What arrow keys can move, the best first.
MOVABLE = (".sdw-control:not(.sdw-timeline) input[type=range]", ".sdw-timeline input[type=range]", "select")
#: Where a slider or a choice stands and where it ends; what the last redraw took in the kernel and in plotly.
STATE = """(node) => [
    ...(node.matches('select') ? [node.selectedIndex, node.options.length - 1] : [node.value, node.max]),
    node.closest('.sdw').dataset.kernelMs, globalThis.drawing ?? 0].map(Number)"""


class Presses:
    """Keys pressed on one control, and how long each took until its answer was on the screen (ms)."""

    def __init__(self, page: Visit, control: Locator, watched: Locator) -> None:
        self.page, self.control, self.watched = page, control, watched
        self.times: list[float] = []

    def block(self, keys: int = KEYS) -> None:
        for key in ("ArrowRight", "ArrowLeft") * (keys // 2):
            self.press(key)

    def forget(self) -> None:
        self.times.clear()

    def press(self, key: str) -> None:
        self.times.append(self.page.latency(self.control, self.watched, key))
        self.page.page.wait_for_timeout(30)


class Answers(Presses):
    """Keys pressed on one explorable; also how much of the time went into what."""

    def __init__(self, page: Visit, section: Section) -> None:
        found = (section.root.locator(kind) for kind in MOVABLE)
        super().__init__(page, next(control.first for control in found if control.count()), section.plot)
        self.name, self.section = section.name, section
        self.kernel: list[float] = []
        self.drawing: list[float] = []
        choice = self.control.evaluate("(node) => node.matches('select')")
        self.on, self.back = ("ArrowDown", "ArrowUp") if choice else ("ArrowRight", "ArrowLeft")
        self.forward = True

    def forget(self) -> None:
        super().forget()
        self.kernel.clear()
        self.drawing.clear()

    def block(self, keys: int = KEYS) -> None:
        self.section.show()
        at, last, *_ = self.control.evaluate(STATE)
        for _ in range(keys):
            self.forward = at < last if self.forward else at == 0
            self.press(self.on if self.forward else self.back)
            at, last, kernel, drawing = self.control.evaluate(STATE)
            self.kernel.append(kernel)
            self.drawing.append(drawing)


def measure_chapter(path: Path, rounds: int, folder: Path, base: str, chromium: Browser) -> list[Row]:
    """Run one chapter and press keys on it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    notebook["cells"].append({**cell, "id": "the-floor", "source": FLOOR})
    (folder / path.name).write_text(json.dumps(notebook), encoding="utf-8")
    with visit(chromium, base) as page:
        page.open(path.name)
        page.run_all()
        assert page.open_all(), f"{path.name} shows no explorable"
        page.page.evaluate(WATCH_PLOTLY)
        explorables = [Answers(page, section) for section in page.sections()]
        floor = Presses(
            page, page.page.locator(".floor-slider .noUi-handle"), page.page.locator(".floor-label")
        )
        # The first keys pay for what is loaded and compiled on first use.
        for presses in (*explorables, floor):
            presses.block(2)
            presses.forget()
        for _ in range(rounds):
            for number, one in enumerate(explorables):
                if number % FLOOR_AFTER == 0:
                    floor.block()
                one.block()
        page.close_kernels()
    return [
        {
            "name": f"{path.stem}: {one.name}, key press to redrawn, p95",
            "peer": "bare IntSlider to Label on this page",
            "our_rate": p95(one.times),
            "peer_rate": p95(floor.times),
            "unit": "ms",
            "ratio": p95(floor.times) / p95(one.times),
            "goal": 1 / LIMIT,
            "parts": {
                "p50": median(one.times),
                "floor p50": median(floor.times),
                "kernel": median(one.kernel),
                "drawing": median(one.drawing),
            },
        }
        for one in explorables
    ]


def measure(rounds: int) -> list[Row]:
    """Measure every chapter there is: one row for each of its explorables, in ms, so less is better.

    Parameters
    ----------
    rounds : int
        How often each explorable gets its keys.
    """
    chapters = [
        path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")) if not path.stem.startswith("00")
    ]
    assert chapters, "there is no chapter"
    with tempfile.TemporaryDirectory() as name, lab_server(Path(name)) as base, browser() as chromium:
        return [row for path in chapters for row in measure_chapter(path, rounds, Path(name), base, chromium)]

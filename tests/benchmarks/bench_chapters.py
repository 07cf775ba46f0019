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
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Locator

from tests.benchmarks import Row
from tests.browser.lab import FLOOR, Section, Visit, browser, lab_server, p95, visit

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
#: Keys that an explorable gets in a row, then the floor.
KEYS, FLOOR_KEYS = 8, 4
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
#: Where a slider or a choice stands, and where it ends.
PLACE = """(node) => node.matches('select') ? [node.selectedIndex, node.options.length - 1]
    : [Number(node.value), Number(node.max)]"""


class Presses:
    """Keys pressed on one control, and what they cost (ms)."""

    def __init__(self, page: Visit, control: Locator, watched: Locator) -> None:
        self.page, self.control, self.watched = page, control, watched
        self.times: list[float] = []

    def keys(self) -> Iterator[str]:
        yield from ("ArrowRight", "ArrowLeft") * (FLOOR_KEYS // 2)

    def block(self) -> None:
        for key in self.keys():
            self.times.append(self.page.latency(self.control, self.watched, key))
            self.note()
            self.page.page.wait_for_timeout(30)

    def note(self) -> None:
        """Look at what one key left behind."""


class Answers(Presses):
    """Keys pressed on one explorable; also how much of the time went into what."""

    def __init__(self, page: Visit, section: Section) -> None:
        found = (section.root.locator(kind) for kind in MOVABLE)
        super().__init__(page, next(control.first for control in found if control.count()), section.plot)
        self.section = section
        self.kernel: list[float] = []
        self.drawing: list[float] = []
        self.on = True

    def keys(self) -> Iterator[str]:
        self.section.show()
        choice = self.control.evaluate("(node) => node.matches('select')")
        forward, back = ("ArrowDown", "ArrowUp") if choice else ("ArrowRight", "ArrowLeft")
        for _ in range(KEYS):
            at, last = self.control.evaluate(PLACE)
            self.on = at < last if self.on else at == 0
            yield forward if self.on else back

    def note(self) -> None:
        self.section.settle()
        self.kernel.append(float(self.section.root.get_attribute("data-kernel-ms") or "nan"))
        self.drawing.append(float(self.page.page.evaluate("() => globalThis.drawing")))


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
        for presses in (*explorables, floor):
            # The first key of all pays for what is loaded and compiled on first use.
            presses.block()
            presses.times.clear()
        for _ in range(rounds):
            for one in explorables:
                one.block()
                floor.block()
        page.close_kernels()
    return [
        {
            "name": f"{path.stem}: {one.section.name}, key press to redrawn, p95",
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

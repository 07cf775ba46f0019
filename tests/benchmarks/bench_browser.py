"""A page of eight pictures in a real JupyterLab: ours beside ``plotly.FigureWidget``, and beside the floor.

Eight plots of three lines with 2,000 points each, every plot with one slider that changes all three lines.
The peer is drawn the way its documentation advises: one ``FigureWidget`` a plot, changed in place within
``batch_update``.  The floor is the least an answer from Python can cost: a bare ``IntSlider`` whose
``observe`` callback writes into a ``Label``, on the same page as ours and pressed in turn with it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TypedDict

from playwright.sync_api import Browser

from tests.benchmarks import Row
from tests.browser.lab import FLOOR, Visit, browser, lab_server, p95, visit, write_notebook

PLOTS = 8

#: An update may weigh this much (kB): three times 2,000 float32 values are 24.
BUDGET_KB = 27.0

MODULE = '''
import numpy as np

from widgets.controls import slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Panel, View, line

X = np.linspace(0, 10, 2000)


@explorable("Waves", predict=estimate("How many?"), frequency=slider(0, 100, 50, "frequency"))
def waves(frequency):
    """Show three waves."""
    lines = [line(X, np.sin(X * frequency / (10 + k)) * (k + 1), f"wave {k}") for k in range(3)]
    panel = Panel(lines, Axis("time", "s"), Axis("height", "m"))
    return View([panel], f"The frequency is {frequency}.", answer=1.0)
'''
OURS = ["import waves", *["waves.waves()"] * PLOTS]
PEER = [
    """
import ipywidgets
import numpy as np
import plotly.graph_objects as go

X = np.linspace(0, 10, 2000)


def lines(frequency):
    return [np.sin(X * frequency / (10 + k)) * (k + 1) for k in range(3)]


def waves():
    figure = go.FigureWidget([go.Scatter(x=X, y=y, name=f"wave {k}") for k, y in enumerate(lines(50))])
    figure.update_layout(height=340, title="The frequency is 50.")
    slider = ipywidgets.IntSlider(value=50, max=100)
    slider.add_class("peer-slider")

    def draw(change):
        with figure.batch_update():
            for trace, y in zip(figure.data, lines(change["new"])):
                trace.y = y
            figure.layout.title.text = f"The frequency is {change['new']}."

    slider.observe(draw, "value")
    return ipywidgets.VBox([slider, figure])
""",
    *["waves()"] * PLOTS,
]


#: Opens what asks a question first, and says how many pictures there are.
OURS_DRAWN = """() => {
    document.querySelectorAll('.sdw-question:not([hidden]) .sdw-quiet').forEach((button) => button.click());
    return document.querySelectorAll('.sdw-plot[data-drawn]').length;
}"""
PEER_DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')]
    .filter((plot) => plot.querySelectorAll('.scatterlayer .trace').length === 3).length"""


def draw_all(page: Visit, notebook: str, drawn: str) -> tuple[float, int]:
    """Run a notebook; return the seconds until all is drawn and the bytes received until then."""
    page.open(notebook)
    page.page.wait_for_timeout(1000)
    started = time.perf_counter()
    page.page.evaluate("() => void jupyterapp.commands.execute('runmenu:run-all')")
    page.page.wait_for_function(f"() => ({drawn})() === {PLOTS}", timeout=120_000)
    seconds = time.perf_counter() - started
    page.settle()
    page.page.wait_for_timeout(1000)
    return seconds, page.received


class Presses:
    """Key presses on one control after another, and what they cost."""

    def __init__(self, page: Visit, controls: str, watched: str) -> None:
        self.page = page
        self.controls = page.page.locator(controls)
        self.watched = page.page.locator(watched)
        self.latencies: list[float] = []
        self.bytes = 0

    def block(self, index: int) -> None:
        """Press six times on one control, to and fro so that it never reaches its end."""
        before = self.page.received
        for key in ("ArrowRight", "ArrowLeft") * 3:
            took = self.page.latency(self.controls.nth(index), self.watched.nth(index), key)
            self.latencies.append(took)
            self.page.page.wait_for_timeout(40)
        self.bytes += self.page.received - before

    @property
    def kb(self) -> float:
        """Kilobytes received per press."""
        return self.bytes / len(self.latencies) / 1000


class Round(TypedDict):
    """What one round measured: ours, and what it is held against."""

    drawn: tuple[float, float]
    received: tuple[float, float]
    update: tuple[float, float]
    latency: tuple[float, float]


def measure_round(chromium: Browser, root: Path, base: str, number: int) -> Round:
    write_notebook(root / f"ours-{number}.ipynb", *OURS, FLOOR)
    write_notebook(root / f"peer-{number}.ipynb", *PEER)
    with visit(chromium, base) as page:
        our_seconds, our_bytes = draw_all(page, f"ours-{number}.ipynb", OURS_DRAWN)
        ours = Presses(page, ".sdw input[type=range]", ".sdw-plot")
        floor = Presses(page, ".floor-slider .noUi-handle", ".floor-label")
        # Twice round: the 95th percentile of fewer presses is the luck of two of them.
        for plot in [*range(PLOTS)] * 2:
            ours.block(plot)
            floor.block(0)
        page.close_kernels()
    with visit(chromium, base) as page:
        peer_seconds, peer_bytes = draw_all(page, f"peer-{number}.ipynb", PEER_DRAWN)
        peer = Presses(page, ".peer-slider .noUi-handle", ".js-plotly-plot")
        for plot in range(2):
            peer.block(plot)
        page.close_kernels()
    return {
        "drawn": (our_seconds, peer_seconds),
        "received": (our_bytes / 1e6, peer_bytes / 1e6),
        "update": (ours.kb, peer.kb),
        "latency": (p95(ours.latencies), p95(floor.latencies)),
    }


def measure(rounds: int) -> list[Row]:
    """Return one row for each thing asked of a page; times and bytes, so less is better.

    Parameters
    ----------
    rounds : int
        How often each page is opened; every ratio is the median of the ratios of the rounds.
    """
    with tempfile.TemporaryDirectory() as folder, lab_server(Path(folder)) as base, browser() as chromium:
        (Path(folder) / "waves.py").write_text(MODULE, encoding="utf-8")
        measured = [measure_round(chromium, Path(folder), base, number) for number in range(rounds)]

    def row(name: str, peer: str, pairs: list[tuple[float, float]], unit: str, goal: float) -> Row:
        return {
            "name": name,
            "peer": peer,
            "our_rate": median(ours for ours, _ in pairs),
            "peer_rate": median(other for _, other in pairs),
            "unit": unit,
            "ratio": median(other / ours for ours, other in pairs),
            "goal": goal,
        }

    figure_widget = "plotly.FigureWidget"
    updates = [taken["update"] for taken in measured]
    return [
        row("page of 8 plots, run to drawn", figure_widget, [taken["drawn"] for taken in measured], "s", 4),
        row("page of 8 plots, received", figure_widget, [taken["received"] for taken in measured], "MB", 5),
        row("one update, received", figure_widget, updates, "kB", 2),
        row("one update, received", "budget", [(ours, BUDGET_KB) for ours, _ in updates], "kB", 1),
        row(
            "key press to redrawn, p95",
            "bare IntSlider to Label",
            [taken["latency"] for taken in measured],
            "ms",
            1 / 1.3,
        ),
    ]

"""The memory hierarchy as an explorable."""

from __future__ import annotations

import numpy as np

from course import memory_hierarchy as model
from widgets.controls import log_slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Mark, Panel, View, line, points, quantity


def _size(kilobytes: float) -> str:
    return quantity(kilobytes, "kB") if kilobytes < 1024 else quantity(kilobytes / 1024, "MB")


@explorable(
    "Where the cliffs are",
    predict=estimate(
        "A hit in the first-level cache takes 1 ns, main memory 100 ns. A program walks at random through 64 MB, twice "
        "what the last cache holds. How long does an access take on average?",
        unit="ns",
    ),
    leaves_out="prefetching and accesses that overlap: this is a program that must wait for each access.",
    array_kb=log_slider(4, 262_144, 65_536, "the program touches", unit="kB", whole=True),
    l1_kb=log_slider(8, 256, 32, "first-level cache", unit="kB", whole=True),
    l2_kb=log_slider(256, 8192, 1024, "second-level cache", unit="kB", whole=True),
    l3_kb=log_slider(8192, 131_072, 32_768, "last-level cache", unit="kB", whole=True),
    memory_ns=log_slider(50, 400, 100, "main memory", unit="ns"),
)
def cliffs(array_kb: int, l1_kb: int, l2_kb: int, l3_kb: int, memory_ns: float) -> View:
    """Draw the time of a dependent access over what the program touches."""
    levels = [(l1_kb * 1024.0, 1.0), (l2_kb * 1024.0, 4.0), (l3_kb * 1024.0, 20.0)]
    sizes = np.geomspace(4, 262_144, 160)
    curve = model.chase_latency(sizes * 1024, levels, memory_ns)
    now = float(model.chase_latency(np.array([array_kb * 1024.0]), levels, memory_ns)[0])
    names = ("L1", "L2", "L3")
    within = next((n for n, (size, _) in zip(names, levels, strict=True) if array_kb * 1024 <= size), "")
    return View(
        [
            Panel(
                [line(sizes, curve, "time of an access"), points([array_kb], [now], "now", size=11, color=1)],
                Axis("the program touches", "kB", log=True, range=(4, 280_000)),
                Axis("time of an access", "ns", log=True, range=(0.8, 500)),
                marks=[Mark(size / 1024, name) for name, (size, _) in zip(names, levels, strict=True)],
            )
        ],
        f"A program that touches {_size(array_kb)} waits {quantity(now, 'ns')} for an access"
        + (
            f": everything fits into {within}."
            if within
            else f", {quantity(now)} times what a hit in L1 takes."
        ),
        answer=float(model.chase_latency(np.array([65_536 * 1024.0]), levels, memory_ns)[0]),
    )

"""What an operation costs in four data structures, as an explorable."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import data_structures as model
from widgets.controls import choice, log_slider, toggle
from widgets.explorable import estimate, explorable
from widgets.palette import DASHES
from widgets.plot import Axis, Mark, Note, Panel, View, line, points, quantity

_HIGHEST = 1_000_000
_SIZES = np.unique(np.geomspace(20, _HIGHEST, 40).astype(int)).tolist()
#: Where the operation is done for real, with keys that count.
_COUNTED = (20, 60, 180)


@lru_cache(maxsize=64)
def _counted(structure: str, operation: str, colliding: bool) -> list[float]:
    return [model.count_steps(structure, operation, n, colliding=colliding).total for n in _COUNTED]


@explorable(
    "What does one operation cost?",
    predict=estimate(
        "A form with 10,000 field names has been made so that all the names have the same hash, and the server puts "
        "them into a hash table. With how many names is one compared, on average, when it is looked up?",
        unit="names",
    ),
    leaves_out="caches and constants: a step through a list costs less than one through a tree. The next cell measures.",
    operation=choice(model.OPERATIONS, "look-up", "operation"),
    n=log_slider(20, _HIGHEST, 10_000, "keys in the structure", whole=True),
    colliding=toggle(True, "all keys have the same hash"),
)
def operations(operation: str, n: int, colliding: bool) -> View:
    """Draw the elementary steps of one operation over the number of keys, and compare them at one number."""
    there = [s for s in model.STRUCTURES if model.has_operation(s, operation)]

    def total(structure: str, keys: int, bad: bool) -> float:
        return model.expected_steps(structure, operation, keys, colliding=bad).total

    now = {structure: total(structure, n, colliding) for structure in there}
    curves = [
        line(_SIZES, [total(s, keys, colliding) for keys in _SIZES], s, color=place, dash=DASHES[place])
        for place, s in enumerate(model.STRUCTURES)
        if s in there
    ]
    well = total("dict", n, False) if "dict" in there else 0.0
    spoilt = "dict" in there and now["dict"] > well
    if spoilt:
        good = [total("dict", keys, False) for keys in _SIZES]
        curves.append(line(_SIZES, good, "dict, good hashes", color=6, dash="dot", width=1.5))
    counted = [steps for s in there for steps in _counted(s, operation, colliding)]
    curves.append(points(_COUNTED * len(there), counted, "counted in a real run", size=6, color=6))
    cheapest, dearest = min(there, key=now.__getitem__), max(there, key=now.__getitem__)
    alike = [s for s in there if quantity(now[s]) == quantity(now[cheapest])]
    if len(alike) == len(there):
        said = f"all take {_steps(now[cheapest])}"
    else:
        said = f"{_join(alike)} {'takes' if len(alike) == 1 else 'take'} {_steps(now[cheapest])}"
        also = [s for s in there if quantity(now[s]) == quantity(now[dearest])]
        said += f", {_join(also)} {_steps(now[dearest])}"
    said = f"One {operation} with {n:,} keys: {said}."
    if "dict" not in there:
        said += " A dict has no front."
    if spoilt:
        said += f" With keys that hash well the dict would take {_steps(well)}."
    return View(
        [
            Panel(
                curves,
                Axis("keys in the structure", log=True, range=(15, 1.3 * _HIGHEST)),
                Axis("steps", log=True, range=(0.7, 4 * _HIGHEST)),
                marks=[Mark(n, "now")],
                title="Steps of one operation",
            ),
            Panel(
                [
                    points(
                        np.arange(len(model.STRUCTURES)),
                        [now.get(s, np.nan) for s in model.STRUCTURES],
                        "",
                        size=12,
                        color=5,
                    )
                ],
                Axis(
                    "structure",
                    labels=["list", "dict", "sorted<br>list", "Sorted-<br>List"],
                    range=(-0.6, 3.6),
                ),
                Axis("steps", log=True, range=(0.7, 4 * _HIGHEST)),
                title=f"With {n:,} keys",
                notes=[
                    Note(place, 4 * now[s] if s in now else 1.0, quantity(now[s]) if s in now else "none")
                    for place, s in enumerate(model.STRUCTURES)
                ],
            ),
        ],
        said,
        answer=model.expected_steps("dict", "look-up", n, colliding=colliding).comparisons,
    )


def _steps(number: float) -> str:
    return "1 step" if number == 1 else f"{quantity(number)} steps"


def _join(names: list[str]) -> str:
    words = [f"the {name}" for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""What redundancy costs, counted in a real database, as an explorable."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import normalisation as model
from widgets.controls import log_slider, seed, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Panel, View, bars, count, line, quantity


@lru_cache(maxsize=16)
def _compared(lines: int, customers: int, moves: int, careless: float, seed: int) -> list[model.Anomalies]:
    return model.compare_schemas(lines=lines, customers=customers, moves=moves, careless=careless, seed=seed)


@explorable(
    "One fact, many copies",
    predict=estimate(
        "A shop keeps 2,000 order lines in one table, with the city of the customer in each; 100 customers have ordered. "
        "50 times a customer moves, and each fifth move is written in one row only. How many customers have two "
        "cities in the end?",
        unit="customers",
    ),
    leaves_out="the price of reading: what is split must be joined.",
    lines=log_slider(10, 5_000, 2_000, "order lines", whole=True),
    customers=log_slider(5, 1_000, 100, "customers", whole=True),
    moves=slider(1, 100, 50, "moves of customers"),
    careless=slider(0, 100, 20, "moves written in one row only", unit="%"),
    seed=seed(),
)
def anomalies(lines: int, customers: int, moves: int, careless: int, seed: int) -> View:
    """Draw how many rows hold one fact in three schemas, and how many customers end up with two cities."""
    results = _compared(lines, customers, moves, careless / 100, seed)
    one = results[0]
    places = np.arange(len(results))
    number = np.arange(moves + 1)
    wrong = one.inconsistent[-1]
    if wrong:
        verb = "has" if wrong == 1 else "have"
        said = f"After {count(moves, 'move')} {count(wrong, 'customer')} {verb} two cities in the one table"
    else:
        said = f"After {count(moves, 'move')} the one table agrees with itself, as does every other schema"
    forgotten = (
        f"deleting the older half of the orders forgets where {count(one.forgotten, 'customer')} "
        f"{'lives' if one.forgotten == 1 else 'live'}"
        if one.forgotten
        else "deleting the older half of the orders forgets nobody"
    )
    return View(
        [
            Panel(
                [
                    bars(places, [r.copies_of_a_city for r in results], "city of a customer", color=0),
                    bars(places, [r.copies_of_a_price for r in results], "price of a product", color=5),
                ],
                Axis(
                    "schema",
                    labels=[f"{r.schema}<br>{r.normal_form}" for r in results],
                    range=(-0.6, 2.6),
                ),
                Axis("rows that hold it, on average"),
                title="Copies of one fact",
            ),
            Panel(
                [line(number, (0, *r.inconsistent), r.schema, step=True) for r in results],
                Axis("moves"),
                Axis("customers", range=(-0.05 * (wrong + 2), 1.1 * (wrong + 2))),
                title="Customers with two cities",
            ),
        ],
        f"{said}. A customer’s city stands in {quantity(one.copies_of_a_city)} of its rows on average, and {forgotten}. With four "
        "tables it stands in one row, and nobody can have two or be forgotten.",
        answer=float(wrong),
    )

"""The capacity calculator: what some users need, where each number comes from, and how sure it is."""

from __future__ import annotations

from course import capacity as model
from widgets.controls import choice, log_slider, slider
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Note, Panel, View, count, line, points, quantity

_SHOWN = (
    "requests_per_day",
    "mean_rps",
    "peak_rps",
    "incoming",
    "outgoing",
    "stored",
    "replicated",
    "planned",
)
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _amount(value: float, unit: str, system: str, digits: int = 4) -> str:
    """Return an amount with its prefix, as on a sheet of paper."""
    if unit.startswith("requests/"):
        return _short(value, digits) + ("/s" if unit.endswith("/s") else "")
    shown, prefixed = model.scaled(value, unit, system)
    return quantity(shown, prefixed, digits)


def _short(number: float, digits: int = 4) -> str:
    """Return 1M for a million, 1G for a thousand of them."""
    for prefix, size in (("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{quantity(number / size, digits=digits)}{prefix}"
    return quantity(number, digits=digits)


@explorable(
    "The capacity calculator",
    predict=estimate(
        "A million users own 1 MB each, kept in three copies. It grows by 20 % a year, each year on top of the last. How "
        "many terabytes is that after five years?",
        unit="TB",
    ),
    leaves_out="guesses that are wrong together: each is off on its own, so their errors partly cancel.",
    users=log_slider(10_000, 1e9, 1_000_000, "daily active users", whole=True),
    requests_per_user=slider(1, 200, 10, "requests of a user a day"),
    peak_factor=slider(1.0, 10.0, 3.0, "peak over mean", unit="times", step=0.1),
    request_kb=log_slider(0.1, 10_000, 1, "size of a request", unit="kB or KiB"),
    response_kb=log_slider(0.1, 10_000, 10, "size of a response", unit="kB or KiB"),
    mb_per_user=log_slider(0.01, 1_000, 1, "stored for each user", unit="MB or MiB"),
    copies=slider(1, 5, 3, "copies"),
    growth_percent=slider(0.0, 100.0, 20.0, "growth a year", unit="%"),
    years=slider(0, 10, 5, "planned for", unit="years"),
    system=choice(model.SYSTEMS, "SI", "kB = 1,000 bytes (SI) or KiB = 1,024 bytes (IEC)"),
    uncertainty=log_slider(1, 10, 2, "each guess is right within a factor of"),
)
def calculator(
    users: int,
    requests_per_user: int,
    peak_factor: float,
    request_kb: float,
    response_kb: float,
    mb_per_user: float,
    copies: int,
    growth_percent: float,
    years: int,
    system: str,
    uncertainty: float,
) -> View:
    """Work an estimate out line by line, and draw how far off each line may be.

    The table of the widget as it stands is ``course.capacity.table(**calculator.parameters)``.
    """
    numbers = {
        "users": users,
        "requests_per_user": requests_per_user,
        "peak_factor": peak_factor,
        "request_kb": request_kb,
        "response_kb": response_kb,
        "mb_per_user": mb_per_user,
        "copies": copies,
        "growth_percent": growth_percent,
        "years": years,
    }
    middle = model.estimate(model.assume(**numbers, system=system))
    ranges = model.estimate(model.assume(**numbers, system=system, uncertainty=uncertainty))
    kilo, mega = ("KiB", "MiB") if system == "IEC" else ("kB", "MB")
    sheet = (
        ("requests", f"{_short(users)} × {requests_per_user} a day"),
        ("mean", "÷ 86,400 s"),
        ("peak", f"× {quantity(peak_factor)}"),
        ("peak in", f"× {quantity(request_kb)} {kilo} × 8"),
        ("peak out", f"× {quantity(response_kb)} {kilo} × 8"),
        ("one copy", f"{_short(users)} × {quantity(mb_per_user)} {mega}"),
        ("all copies", f"× {copies}"),
        (
            f"in {count(years, 'year')}" if years else "today",
            f"× {quantity(1 + growth_percent / 100, digits=4)}{str(years).translate(_RAISED)}",
        ),
    )
    last = len(_SHOWN) - 1
    notes, across, up, labels = [], [], [], []
    rows = [float(last - k) for k in range(last + 1)]
    for row, key, (name, origin) in zip(rows, _SHOWN, sheet, strict=True):
        one, seen = middle[key], ranges[key]
        notes += [
            Note(0.0, row, name, "left"),
            Note(0.27, row, origin, "left"),
            Note(1.0, row, _amount(one.p50, one.unit, system), "right"),
        ]
        across += [seen.p10 / one.p50, seen.p90 / one.p50, float("nan")]
        up += [row, row, float("nan")]
        if uncertainty > 1:
            low, high = (_amount(value, one.unit, system, 2) for value in (seen.p10, seen.p90))
            labels.append(Note(1.0, row + 0.36, f"{low} to {high}"))
    height = (-0.6, last + 0.8)
    widest = 1.1 * max(10.0, *(value for value in across if value == value))
    planned = ranges["planned"]
    doubt = (
        f"each guess within a factor of {quantity(uncertainty)} makes that "
        f"{_amount(planned.p10, 'B', system, 2)} to {_amount(planned.p90, 'B', system, 2)}, eight times in ten"
        if uncertainty > 1
        else "every number is taken as certain"
    )
    return View(
        [
            Panel(
                [points([0.0, 1.0], height, "", size=0.1)],
                Axis("sheet", hidden=True, range=(0, 1)),
                Axis("lines", hidden=True, range=height),
                title="Where each number comes from",
                notes=notes,
            ),
            Panel(
                [
                    line(across, up, "P10 to P90", color=6, width=5),
                    points([1.0] * len(rows), rows, "estimate", color=1, size=9),
                ],
                Axis("times the estimate", log=True, range=(1 / widest, widest)),
                Axis("line", labels=[name for name, _ in reversed(sheet)], hidden=True, range=height),
                title="How sure it is: P10 to P90",
                notes=labels,
            ),
        ],
        f"{quantity(middle['mean_rps'].p50, 'requests/s', 4)} on average and "
        f"{quantity(middle['peak_rps'].p50, '', 4)} at the peak; {_amount(middle['planned'].p50, 'B', system)} "
        f"{'after ' + count(years, 'year') if years else 'today'}: {doubt}.",
        answer=model.estimate(model.Assumptions())["planned"].p50 / 1e12,
        height=400,
    )

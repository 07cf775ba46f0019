"""Views: numbers in words, the figure, the description, the fingerprint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.plot import (
    Axis,
    Mark,
    Note,
    Panel,
    Trace,
    View,
    band,
    bars,
    boxes,
    count,
    line,
    percent,
    points,
    quantity,
)

X, Y = Axis("time", "s"), Axis("requests", "1/s")


def view(*traces: Trace, x: Axis = X, y: Axis = Y, **more: Any) -> View:
    return View([Panel(traces, x, y, **more)], "It is so.")


# Numbers in words ------------------------------------------------------------------------------------------


@given(
    value=st.floats(1e-9, 1e15, exclude_min=True) | st.floats(-1e15, -1e-9),
    digits=st.integers(1, 6),
)
def test_quantity_is_right_to_half_a_unit_of_its_last_digit(value: float, digits: int) -> None:
    text = quantity(value, digits=digits)
    shown = float(text.replace(",", ""))
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    # Half a unit, and what floats themselves cannot tell apart.
    assert abs(shown - value) <= 0.5 * unit + 4 * math.ulp(value)


@given(value=st.floats(1e-6, 1e12), digits=st.integers(1, 6))
def test_quantity_shows_no_more_digits_than_asked(value: float, digits: int) -> None:
    text = quantity(value, digits=digits)
    mantissa = text.split("e")[0].replace(",", "")
    # Zeros at the end of a whole number hold its place and claim nothing.
    held = mantissa.rstrip("0") if "." not in mantissa else mantissa
    assert len(Decimal(held or "0").as_tuple().digits) <= digits + 1  # 9.996 becomes 10.00
    assert "." not in text or not text.endswith(".")


@given(fraction=st.floats(1e-6, 1))
def test_percent_is_quantity_of_hundredths(fraction: float) -> None:
    text = percent(fraction)
    assert text.endswith(" %")
    unit = 10.0 ** (math.floor(math.log10(100 * fraction)) - 2)
    assert abs(float(text[:-2].replace(",", "")) - 100 * fraction) <= 0.5 * unit + 1e-13


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (-0.0, "0 ms"),
        (10.9, "10.9 ms"),
        (999.9999, "1,000 ms"),
        (0.99951, "1 ms"),
        (1234567, "1,230,000 ms"),
        (-2.5, "-2.5 ms"),
        (2e-9, "2.00e-09 ms"),
        (math.nan, "undefined ms"),
        (math.inf, "infinite ms"),
        (-math.inf, "minus infinite ms"),
        (np.float32(0.1), "0.1 ms"),
    ],
)
def test_quantity_by_hand(value: float, text: str) -> None:
    found = quantity(value, "ms")
    assert found == text or (text == "0.1 ms" and found == "0.100 ms")


def test_count_agrees_with_its_noun() -> None:
    assert count(1, "miss", "misses") == "1 miss"
    assert count(0, "miss", "misses") == "0 misses"
    assert count(1500, "key") == "1,500 keys"


# What is declared wrongly ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: Axis(" "), "axis needs a title"),
        (lambda: View([Panel([], X, Y)], " "), "one sentence"),
        (lambda: View([], "So."), "one to three"),
        (lambda: View([Panel([], X, Y)] * 4, "So."), "one to three"),
    ],
)
def test_a_wrong_declaration_is_an_error(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        declare()


# The figure ------------------------------------------------------------------------------------------------


def test_arrays_travel_apart_as_float32() -> None:
    figure = view(line([0, 1, 2], [1, 2, 4], "a"), bars([0], [3], "b"), boxes([0], [0], ["k"], "c")).figure()
    assert len(figure.data) == len(figure.arrays) == 3
    for meta, arrays in zip(figure.data, figure.arrays, strict=True):
        assert not arrays.keys() & meta.keys()
        for values in arrays.values():
            assert values.dtype == np.float32 and values.flags.c_contiguous
    assert figure.assembled()["data"][0]["y"] == [1, 2, 4]


def test_gaps_become_null() -> None:
    assembled = view(line([0, 1, 2], [1, math.nan, math.inf], "a")).figure().assembled()
    assert assembled["data"][0]["y"] == [1, None, None]
    json.dumps(assembled, allow_nan=False)


def test_one_legend_entry_for_one_name() -> None:
    left = Panel([line([0, 1], [0, 1], "LRU"), line([0, 1], [0, 1], "FIFO")], X, Y)
    right = Panel([line([0, 1], [0, 1], "LRU")], X, Y)
    figure = View([left, right], "So.").figure()
    assert [trace["showlegend"] for trace in figure.data] == [True, True, False]
    assert figure.layout["showlegend"]
    assert not view(line([0, 1], [0, 1], "LRU")).figure().layout["showlegend"]
    assert not view(boxes([0], [0], ["k"], "c", legend=False)).figure().data[0]["showlegend"]


def test_panels_stand_beside_each_other() -> None:
    figure = View([Panel([line([0, 1], [0, 1], "a")], X, Y)] * 3, "So.").figure()
    domains = [figure.layout[f"xaxis{suffix}"]["domain"] for suffix in ("", "2", "3")]
    assert domains[0][0] == 0 and domains[2][1] == pytest.approx(1)
    assert domains[0][1] < domains[1][0] and domains[1][1] < domains[2][0]
    assert [trace["xaxis"] for trace in figure.data] == ["x", "x2", "x3"]


def test_log_axes_take_logarithms_where_plotly_does() -> None:
    """In plotly a shape's place is in data units, a range's and an annotation's in powers of ten."""
    figure = view(
        line([1, 1000], [1, 10], "a"),
        x=Axis("size", log=True, range=(1, 1000)),
        y=Axis("rate", log=True),
        marks=[Mark(100, "here"), Mark(10, "there", vertical=False)],
        notes=[Note(10, 10, "n")],
    ).figure()
    assert figure.layout["xaxis"]["range"] == [0, 3]
    assert figure.layout["shapes"][0]["x0"] == 100 and figure.layout["shapes"][1]["y0"] == 10
    where = {note["text"]: note for note in figure.layout["annotations"]}
    assert where["here"]["x"] == 2 and where["there"]["y"] == 1
    assert (where["n"]["x"], where["n"]["y"]) == (1, 1)


def test_a_declared_trace_is_not_changed_by_drawing() -> None:
    trace = line([0, 1], [0, 1], "a")
    before = json.dumps(trace.style)
    view(line([0, 1], [1, 1], "b"), trace).figure()
    assert json.dumps(trace.style) == before


def test_a_given_colour_stays() -> None:
    figure = view(line([0, 1], [0, 1], "a", color=3, dash="dot"), bars([0], [1], "b", color=2)).figure()
    assert figure.data[0]["line"]["color"] == "$3" and figure.data[0]["line"]["dash"] == "dot"
    assert figure.data[1]["marker"]["color"] == "$2"


# The description -------------------------------------------------------------------------------------------


def test_a_curve_is_told_by_its_ends_and_extremes() -> None:
    text = view(line(range(6), [5, 1, 2, 9, 3, 4], "queue")).description()
    assert text == (
        "requests (1/s) against time (s). queue: from 5 1/s at 0 s to 4 1/s at 5 s, highest 9 1/s at 3 s, "
        "lowest 1 1/s at 1 s."
    )
    monotone = view(line(range(6), range(6), "queue")).description()
    assert "highest" not in monotone and "lowest" not in monotone


def test_few_values_are_told_one_by_one() -> None:
    labelled = Axis("policy", labels=["LRU", "S3-<br>FIFO"])
    text = view(
        bars([0, 1], [0.5, 0.25], "misses"), x=labelled, y=Axis("miss ratio", percent=True)
    ).description()
    assert text == "miss ratio against policy. misses: LRU: 50 %; S3- FIFO: 25 %."


def test_many_bars_are_told_by_the_highest() -> None:
    assert "9 bars, the highest 8 1/s at 8 s" in view(bars(range(9), range(9), "hits")).description()


def test_marks_gaps_and_nothing_are_told() -> None:
    text = view(line([0, 1], [math.nan] * 2, "gone"), marks=[Mark(1, "the limit"), Mark(2, "")]).description()
    assert text.endswith("gone: nothing to show. A line marks the limit.")


def test_a_picture_of_state_is_told_by_its_labels() -> None:
    hidden = Axis("slots", hidden=True)
    text = view(
        boxes([0, 1], [0, 0], ["A", "B"], "cache"), boxes([], [], [], "ghosts"), x=hidden, y=hidden,
        notes=[Note(0, 1, "B is evicted next")], title="LRU",
    ).description()  # fmt: skip
    assert text == "Picture: LRU. cache: A, B. B is evicted next."


def test_band_is_drawn_around() -> None:
    trace = band([0, 1], [1, 2], [3, 4], "95 %")
    assert trace.arrays["x"].tolist() == [0, 1, 1, 0] and trace.arrays["y"].tolist() == [1, 2, 4, 3]


# The fingerprint -------------------------------------------------------------------------------------------

BASE = view(line([0, 1], [10, 20], "a"), marks=[Mark(0.5, "half")])
PANEL = BASE.panels[0]


def test_equal_pictures_have_equal_fingerprints() -> None:
    again = view(line([0, 1], [10, 20], "a"), marks=[Mark(0.5, "half")])
    assert BASE.fingerprint() == BASE.fingerprint() == again.fingerprint()
    # The last bits of a float differ between processors; what is seen does not.
    assert view(line([0, 1], [10 * (1 + 1e-6), 20], "a"), marks=[Mark(0.5, "half")]).fingerprint() == (
        BASE.fingerprint()
    )


def test_a_whole_number_is_the_same_number() -> None:
    one, other = (view(line([0, 1], [1, 2], "a"), marks=[Mark(at, "m")]) for at in (1, 1.0))
    assert one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, sentence="It is not so."),
        replace(BASE, height=400),
        replace(BASE, panels=[replace(PANEL, traces=[line([0, 1], [10, 20.1], "a")])]),
        replace(BASE, panels=[replace(PANEL, traces=[line([0, 1], [10, 20], "b")])]),
        replace(BASE, panels=[replace(PANEL, traces=[line([0, 1], [10, 20], "a", dash="dot", color=0)])]),
        replace(BASE, panels=[replace(PANEL, traces=[points([0, 1], [10, 20], "a")])]),
        replace(BASE, panels=[replace(PANEL, x=Axis("time", "ms"))]),
        replace(BASE, panels=[replace(PANEL, marks=[Mark(0.6, "half")])]),
        replace(BASE, panels=[replace(PANEL, marks=[])]),
        replace(BASE, panels=[PANEL, PANEL]),
    ],
)
def test_whatever_is_seen_is_in_the_fingerprint(other: View) -> None:
    assert other.fingerprint() != BASE.fingerprint()


def test_the_title_is_in_the_fingerprint() -> None:
    assert len({BASE.fingerprint(), BASE.fingerprint("One"), BASE.fingerprint("Another")}) == 3


def test_a_round_panel_draws_circles_as_circles() -> None:
    first = Panel([line([0, 1], [0, 1], "one")], X, Y)
    second = replace(first, round=True)
    layout = View([first, second], "It is so.").figure().layout
    assert "scaleanchor" not in layout["yaxis"] and layout["yaxis2"]["scaleanchor"] == "x2"


def test_a_panel_may_bring_its_own_words() -> None:
    shown = view(line([0, 1], [5, 9], "one"), title="Lanes", words="two lanes, the upper one full.")
    assert shown.description() == "Lanes: two lanes, the upper one full."
    assert view(line([0, 1], [5, 9], "one"), words="Two lanes.").description() == "Two lanes."

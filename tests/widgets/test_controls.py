"""Controls: a wrong declaration is an error at once, a wrong value a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.controls import Control, choice, log_slider, seed, slider, timeline, toggle

SOUND: dict[str, Control] = {
    "slider": slider(0.0, 1.0, 0.9, "hit ratio"),
    "whole slider": slider(1, 500, 100, "clients"),
    "negative slider": slider(-10.0, -5.0, -7.0, "offset"),
    "log slider": log_slider(0.1, 10, 1, "hit time", unit="ms"),
    "whole log slider": log_slider(1, 1000, 10, "slots", whole=True),
    "choice": choice(("LRU", "FIFO"), "LRU", "policy"),
    "toggle": toggle(True, "coalesce"),
    "seed": seed(3),
    "timeline": timeline(20, 5, "request"),
}
each = pytest.mark.parametrize("control", SOUND.values(), ids=SOUND)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: slider(0.0, 1.0, 1.2, "hit ratio"), r"'hit ratio' = 1\.2: must be a number from 0 to 1"),
        (lambda: slider(1, 10, 0, "servers"), "must be a whole number from 1 to 10"),
        (lambda: slider(0.0, 1.0, math.nan, "hit ratio"), "= nan"),
        (lambda: log_slider(1, 10, 11, "time", unit="ms"), "from 1 to 10 ms"),
        (lambda: choice(("LRU", "FIFO"), "ARC", "policy"), "'ARC': must be one of 'LRU', 'FIFO'"),
        (lambda: toggle("yes", "coalesce"), "True or False"),
        (lambda: seed(-1), "from 0 to 9,999"),
        (lambda: seed(10_000), "from 0 to 9,999"),
        (lambda: timeline(5, 6, "request"), "from 0 to 5"),
        (lambda: slider(1.0, 1.0, 1.0, "nothing"), "lower bound"),
        (lambda: slider(2.0, 1.0, 1.5, "upside down"), "lower bound"),
        (lambda: slider(math.nan, 1.0, 0.5, "bound"), "lower bound"),
        (lambda: slider(0.0, math.inf, 0.5, "bound"), "finite"),
        (lambda: slider(0.0, 1.0, 0.5, "step", step=0.0), "step"),
        (lambda: slider(0.0, 1.0, 0.5, "step", step=-0.1), "step"),
        (lambda: slider(0.0, 1.0, 0.5, "step", step=2.0), "step"),
        (lambda: log_slider(0, 10, 1, "time"), "above zero"),
        (lambda: log_slider(0.5, 10, 1, "slots", whole=True), "whole bounds"),
        (lambda: choice(("LRU",), "LRU", "policy"), "two different"),
        (lambda: choice(("LRU", "LRU"), "LRU", "policy"), "two different"),
        (lambda: timeline(0, 0, "request"), "lower bound"),
        (lambda: slider(0.0, 1.0, 0.5, "  "), "label"),
    ],
)
def test_a_wrong_declaration_is_an_error(declare: Callable[[], Control], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        declare()


@each
def test_probes_are_allowed_and_invalid_values_are_not(control: Control) -> None:
    probes = control.probes()
    assert len(set(probes.values())) >= 2
    for value in probes.values():
        assert control.validate(value) == value
    assert control.default in probes.values()
    assert len(control.invalid()) >= 2
    for value in control.invalid():
        with pytest.raises(ValueError, match=r" = .*: must be "):
            control.validate(value)


@each
def test_spec_is_json(control: Control) -> None:
    spec = json.loads(json.dumps(control.spec(), allow_nan=False))
    assert spec["value"] == control.default and spec["label"] == control.label


@each
def test_values_keep_their_type(control: Control) -> None:
    kind = type(control.validate(control.default))
    expected = int if control.whole else {"choice": str, "toggle": bool}.get(control.kind, float)
    assert kind is expected and type(control.default) is expected


def test_whole_numbers() -> None:
    clients = SOUND["whole slider"]
    assert clients.whole and not slider(0.0, 10, 5, "x").whole and not slider(0, 1, 1, "x").whole
    assert clients.validate(7.0) == 7  # JavaScript knows one kind of number
    with pytest.raises(ValueError, match="whole number"):
        clients.validate(7.5)


def test_the_message_names_the_parameter() -> None:
    named = Control("slider", "hit ratio", 0.5, low=0.0, high=1.0, step=0.1, name="hit_rate")
    with pytest.raises(ValueError, match=r"^hit_rate = 1\.2: must be a number from 0 to 1$"):
        named.validate(1.2)


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    inside=st.floats(0, 1),
    beyond=st.floats(1e-3, 1e9),
)
def test_exactly_the_range_is_allowed(low: float, width: float, inside: float, beyond: float) -> None:
    high = low + width
    default = min(high, low + inside * width)
    control = slider(low, high, default, "x")
    assert control.validate(default) == default
    for value in (low - beyond, high + beyond):
        with pytest.raises(ValueError):
            control.validate(value)

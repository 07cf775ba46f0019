"""Colours: strong enough to see, apart enough for colour-blind readers."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from widgets.palette import DARK, DASHES, LIGHT, MARKERS, paint, role, text_on
from widgets.plot import Axis, Panel, View, line, points

SERIES = 7
themes = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
# Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), full severity, on linear RGB.
VISIONS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
# CIE 1976 distance in L*a*b*: 2.3 is just noticeable side by side.  Six times that is told apart in a legend.
APART = 14.0


def linear(colour: str) -> np.ndarray[Any, Any]:
    """Return linear RGB of ``#rrggbb`` (IEC 61966-2-1)."""
    encoded = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    darker, lighter = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def lab(rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return CIE L*a*b* (D65) of linear RGB."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x, y, z = np.cbrt(np.maximum(to_xyz @ rgb / [0.95047, 1, 1.08883], 216 / 24389))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, vision: str) -> float:
    seen = [lab(np.clip(VISIONS[vision] @ linear(colour), 0, 1)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def test_the_measures_themselves() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)  # WCAG: the largest there is
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # its best-known near miss
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    # Red and green of one lightness: what colour-blindness is named after.
    assert distance("#d00000", "#6a6a00", "full") > 3 * distance("#d00000", "#6a6a00", "protanopia")


@themes
def test_both_themes_know_the_same_roles(theme: dict[str, str]) -> None:
    assert theme.keys() == LIGHT.keys() == DARK.keys()
    assert {role(index) for index in range(20)} == {f"${index}" for index in range(SERIES)} < theme.keys()


@themes
def test_series_stand_out_from_the_paper(theme: dict[str, str]) -> None:
    for index in range(SERIES):
        assert contrast(theme[role(index)], theme["$paper"]) >= 3, role(index)  # WCAG 1.4.11, graphics


@themes
def test_text_can_be_read(theme: dict[str, str]) -> None:
    for text, ground in [
        ("$ink", "$paper"),
        ("$soft", "$paper"),
        *((text_on(index), role(index)) for index in range(SERIES)),
    ]:
        assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)  # WCAG 1.4.3


@themes
@pytest.mark.parametrize("vision", VISIONS)
def test_the_first_five_series_stay_apart(theme: dict[str, str], vision: str) -> None:
    for one, other in combinations(range(5), 2):
        assert distance(theme[role(one)], theme[role(other)], vision) >= APART, (one, other)


def test_nothing_rests_on_colour_alone() -> None:
    """Seven curves differ in dash, or in colour by far; seven sets of points differ in marker."""
    assert len(set(MARKERS)) == SERIES and len(set(DASHES[:6])) == 6
    for theme in (LIGHT, DARK):
        assert DASHES[6] == DASHES[0]
        assert min(distance(theme["$0"], theme["$6"], vision) for vision in VISIONS) >= APART
    curves = View(
        [Panel([line([0, 1], [i, i], f"{i}") for i in range(SERIES)], Axis("x"), Axis("y"))], "Seven curves."
    ).figure()
    assert [trace["line"]["dash"] for trace in curves.data] == list(DASHES)
    dots = View(
        [Panel([points([0, 1], [i, i], f"{i}") for i in range(SERIES)], Axis("x"), Axis("y"))], "Seven sets."
    ).figure()
    assert [trace["marker"]["symbol"] for trace in dots.data] == list(MARKERS)


def test_paint_replaces_roles_only() -> None:
    figure = {"line": {"color": "$1"}, "text": ["costs $1", "$0"], "width": 2, "on": None}
    painted = paint(figure, DARK)
    assert painted == {
        "line": {"color": DARK["$1"]},
        "text": ["costs $1", DARK["$0"]],
        "width": 2,
        "on": None,
    }
    assert figure["line"] == {"color": "$1"}

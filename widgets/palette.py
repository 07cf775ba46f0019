"""Colours by role, one set for each theme: after Okabe and Ito, which colour-blind readers tell apart.

On white, their yellow and sky blue are too pale, so violet stands in.  Series also differ in dash and marker,
so that nothing rests on colour alone.  A figure names colours by role (``"$0"`` ... ``"$6"``, for text on them
``"$on0"`` ... ``"$on6"``, ``"$ink"``, ``"$soft"``, ``"$grid"``, ``"$paper"``); the theme decides what they are.
"""

from __future__ import annotations

from typing import Any

LIGHT = {
    "$0": "#0072B2",
    "$1": "#D55E00",
    "$2": "#009E73",
    "$3": "#CC79A7",
    "$4": "#6A4FCF",
    "$5": "#B87F00",
    "$6": "#4D4D4D",
    "$on0": "#ffffff",
    "$on1": "#000000",
    "$on2": "#000000",
    "$on3": "#000000",
    "$on4": "#ffffff",
    "$on5": "#000000",
    "$on6": "#ffffff",
    "$ink": "#1f2328",
    "$soft": "#57606a",
    "$grid": "#e3e6ea",
    "$paper": "#ffffff",
}
DARK = {
    "$0": "#56B4E9",
    "$1": "#FF8A3D",
    "$2": "#2FC79A",
    "$3": "#E6A3C8",
    "$4": "#F0E442",
    "$5": "#E6B84D",
    "$6": "#B8BDC4",
    "$ink": "#e8eaed",
    "$soft": "#aab1ba",
    "$grid": "#3a3f46",
    "$paper": "#111111",
    **{f"$on{index}": "#111111" for index in range(7)},
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


def role(index: int) -> str:
    """Return the colour role of the series at `index`."""
    return f"${index % 7}"


def text_on(index: int) -> str:
    """Return the colour role of text that stands on the colour of the series at `index`."""
    return f"$on{index % 7}"


def paint(figure: Any, theme: dict[str, str]) -> Any:
    """Return `figure` (nested JSON) with every colour role replaced by the theme's colour."""
    if isinstance(figure, str):
        return theme.get(figure, figure)
    if isinstance(figure, dict):
        return {key: paint(value, theme) for key, value in figure.items()}
    if isinstance(figure, list):
        return [paint(value, theme) for value in figure]
    return figure

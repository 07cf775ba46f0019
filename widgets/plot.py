"""What an explorable shows: panels of traces, one true sentence, and the same in words.

A :class:`View` is data. It knows how to become a figure (JSON beside its arrays, so that only arrays that
changed need to travel), a description for those who do not see it, and a fingerprint of what it shows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgets.palette import DASHES, MARKERS, role, text_on

Array = NDArray[Any]
#: Height of the picture in CSS pixels, by number of rows of panels.
HEIGHT = 340


def quantity(value: float, unit: str = "", digits: int = 3) -> str:
    """Return `value` with so many significant digits, thousands separated, and its unit.

    >>> quantity(10.9, "ms"), quantity(1234567.0), quantity(0.00123)
    ('10.9 ms', '1,230,000', '0.00123')
    """
    if math.isnan(value):
        text = "undefined"
    elif math.isinf(value):
        text = "infinite" if value > 0 else "minus infinite"
    elif value == 0:
        text = "0"
    else:
        places = digits - 1 - math.floor(math.log10(abs(value)))
        rounded = round(value, places)
        text = f"{rounded:,.{max(0, places)}f}" if abs(rounded) >= 1e-6 else f"{rounded:.{digits - 1}e}"
        if "." in text and "e" not in text:
            text = text.rstrip("0").rstrip(".")
    return f"{text} {unit}" if unit else text


def percent(fraction: float, digits: int = 3) -> str:
    """Return a fraction as a percentage.

    >>> percent(0.9), percent(0.12345)
    ('90 %', '12.3 %')
    """
    return quantity(100 * fraction, "%", digits)


def count(number: float, singular: str, plural: str = "") -> str:
    """Return a number with its noun in the right form.

    >>> count(1, "miss", "misses"), count(2, "hit")
    ('1 miss', '2 hits')
    """
    return f"{quantity(number, digits=6)} {singular if number == 1 else plural or singular + 's'}"


@dataclass(frozen=True)
class Axis:
    """One axis: a title, a unit, and where fixed a range.

    Attributes
    ----------
    title, unit : str
        What it measures, in which unit; a number without a unit says so by ``unit=""``.
    log : bool
        Logarithmic, as the field draws it.
    range : (float, float), optional
        Fixed ends, in data units; free unless given.
    percent : bool
        Fractions drawn as percentages.
    labels : sequence of str, optional
        Names of the positions 0, 1, 2, ... on an axis that counts nothing.
    hidden : bool
        No ticks and no line, for pictures that are not charts.
    whole : bool
        Counts things, so that only whole numbers are labelled.
    """

    title: str
    unit: str = ""
    log: bool = False
    range: tuple[float, float] | None = None
    percent: bool = False
    labels: Sequence[str] | None = None
    hidden: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError("title = '': an axis needs a title, also when it is hidden")

    @property
    def caption(self) -> str:
        """Title with unit, as drawn."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def layout(self) -> dict[str, Any]:
        """Return plotly's layout of the axis."""
        result: dict[str, Any] = {
            "title": {"text": "" if self.hidden else self.caption, "standoff": 8},
            "type": "log" if self.log else "linear",
            "gridcolor": "$grid",
            "linecolor": "$soft",
            "zeroline": False,
            "automargin": True,
            "fixedrange": True,
        }
        if self.range is not None:
            low, high = self.range
            result["range"] = [math.log10(low), math.log10(high)] if self.log else [low, high]
        if self.percent:
            result["tickformat"] = ".3~%"
        elif self.log:
            # 10, 1k, 1M; below one, SI prefixes would read "500m".
            result["tickformat"] = "~s" if self.range is not None and self.range[0] >= 0.5 else "~g"
        else:
            result["separatethousands"] = True
        if self.log and self.range is not None and self.range[1] / self.range[0] > 100:
            # A label at 1, 2 and 5 of each decade, or, over many, at its start only.
            result["dtick"] = "D2" if self.percent else 1
        if self.whole and self.range is not None:
            # Each server its number, as far as there is room: never one and a half.
            result["dtick"] = max(1, math.ceil((self.range[1] - self.range[0]) / 13))
        if self.labels is not None:
            result |= {
                "tickmode": "array",
                "tickvals": list(range(len(self.labels))),
                "ticktext": list(self.labels),
            }
        if self.hidden:
            result |= {"visible": False}
        return result


@dataclass(frozen=True)
class Trace:
    """One series: arrays apart from how they are drawn."""

    name: str
    kind: str
    arrays: dict[str, Array]
    style: dict[str, Any]
    #: Whether colour and dash follow from the position among the other series.
    automatic: bool = True
    legend: bool = True


def _numbers(values: ArrayLike) -> Array:
    return np.ascontiguousarray(values, dtype=np.float32)


def line(
    x: ArrayLike,
    y: ArrayLike,
    name: str,
    *,
    step: bool = False,
    color: int | None = None,
    dash: str = "",
    width: float = 2,
) -> Trace:
    """Return a curve; `step` for a value that holds until it changes."""
    style: dict[str, Any] = {"mode": "lines", "line": {"width": width}}
    if step:
        style["line"]["shape"] = "hv"
    return _styled(Trace(name, "scatter", {"x": _numbers(x), "y": _numbers(y)}, style), color, dash)


def points(
    x: ArrayLike,
    y: ArrayLike,
    name: str,
    *,
    size: float = 8,
    color: int | None = None,
    text: Sequence[str] | None = None,
    joined: bool = False,
) -> Trace:
    """Return single points, with `text` beside them if given."""
    mode = "markers" + ("+text" if text is not None else "") + ("+lines" if joined else "")
    style: dict[str, Any] = {"mode": mode, "marker": {"size": size}}
    if text is not None:
        style |= {"text": list(text), "textposition": "top center"}
    return _styled(Trace(name, "scatter", {"x": _numbers(x), "y": _numbers(y)}, style), color)


def bars(
    x: ArrayLike, height: ArrayLike, name: str, *, color: int | None = None, text: Sequence[str] | None = None
) -> Trace:
    """Return bars at `x`."""
    style: dict[str, Any] = {"marker": {}}
    if text is not None:
        style |= {"text": list(text), "textposition": "outside", "cliponaxis": False}
    return _styled(Trace(name, "bar", {"x": _numbers(x), "y": _numbers(height)}, style), color)


def band(x: ArrayLike, low: ArrayLike, high: ArrayLike, name: str, *, color: int = 0) -> Trace:
    """Return the area between two curves, for a confidence band."""
    across = _numbers(x)
    style = {
        "mode": "lines",
        "fill": "toself",
        "fillcolor": role(color),
        "opacity": 0.2,
        "line": {"width": 0, "color": role(color)},
        "hoverinfo": "skip",
    }
    outline = {
        "x": np.concatenate([across, across[::-1]]),
        "y": np.concatenate([_numbers(low), _numbers(high)[::-1]]),
    }
    return Trace(name, "scatter", outline, style, automatic=False)


def boxes(
    x: ArrayLike,
    y: ArrayLike,
    text: Sequence[str],
    name: str,
    *,
    color: int = 0,
    size: float = 34,
    hollow: bool = False,
    legend: bool = True,
) -> Trace:
    """Return labelled boxes, for pictures of state: slots of a cache, servers, messages."""
    style = {
        "mode": "markers+text",
        "marker": {
            "symbol": "square",
            "size": size,
            "color": "$paper" if hollow else role(color),
            "line": {"width": 2, "color": role(color)},
        },
        "text": list(text),
        "textposition": "middle center",
        "textfont": {"color": "$ink" if hollow else text_on(color), "size": 13},
        "hoverinfo": "text",
    }
    return Trace(name, "scatter", {"x": _numbers(x), "y": _numbers(y)}, style, automatic=False, legend=legend)


def _styled(trace: Trace, color: int | None, dash: str = "") -> Trace:
    if color is None:
        return trace
    style = dict(trace.style)
    if trace.kind == "bar" or "markers" in style.get("mode", ""):
        style["marker"] = {**style.get("marker", {}), "color": role(color)}
    if "lines" in style.get("mode", ""):
        style["line"] = {**style.get("line", {}), "color": role(color), "dash": dash or "solid"}
    return Trace(trace.name, trace.kind, trace.arrays, style, automatic=False)


@dataclass(frozen=True)
class Mark:
    """A reference line across a panel, with its label.

    Attributes
    ----------
    at : float
        Where, in data units.
    label : str
        What it marks.
    vertical : bool
        A line at x = `at`; otherwise at y = `at`.
    """

    at: float
    label: str
    vertical: bool = True


@dataclass(frozen=True)
class Note:
    """A text at a point of a panel, in data units; `anchor` is the side that stands there: left, center, right."""

    x: float
    y: float
    text: str
    anchor: str = "center"


@dataclass(frozen=True)
class Panel:
    """Traces that share two axes.

    Attributes
    ----------
    traces, x, y, title, marks, notes
        What is drawn.
    stacked : bool
        Bars on top of each other.
    round : bool
        One unit as long up as across, so that a circle is one.
    words : str
        What it shows in words, where the numbers of its traces do not say it.
    """

    traces: Sequence[Trace]
    x: Axis
    y: Axis
    title: str = ""
    marks: Sequence[Mark] = ()
    notes: Sequence[Note] = ()
    stacked: bool = False
    round: bool = False
    words: str = ""


@dataclass(frozen=True)
class View:
    """What an explorable shows for one setting of its controls.

    Attributes
    ----------
    panels : sequence of Panel
        One to three, side by side (below each other where the page is narrow).
    sentence : str
        What is true now, with its numbers computed.
    answer : float or str, optional
        The answer to the explorable's question; read at the default parameters only.
    last_step : int, optional
        Last step of a timeline, where it depends on the other controls.
    height : int
        Height of the picture in CSS pixels.
    """

    panels: Sequence[Panel]
    sentence: str
    answer: float | str | None = None
    last_step: int | None = None
    height: int = HEIGHT

    def __post_init__(self) -> None:
        if not self.sentence.strip():
            raise ValueError("sentence = '': a view says in one sentence what it shows")
        if not 1 <= len(self.panels) <= 3:
            raise ValueError(f"panels: one to three, not {len(self.panels)}")

    def figure(self) -> Figure:
        """Return the picture as JSON beside its arrays."""
        return build_figure(self)

    def description(self) -> str:
        """Return in words what the picture shows, for readers who do not see it."""
        return " ".join(_describe_panel(panel) for panel in self.panels)

    def fingerprint(self, title: str = "") -> str:
        """Return a digest of what is shown under `title`; equal pictures have equal digests.

        Numbers count with four significant digits: less is not visible, more differs between processors.
        """
        figure = self.figure()
        shown = [
            {**meta, **{key: _rounded(values) for key, values in arrays.items()}}
            for meta, arrays in zip(figure.data, figure.arrays, strict=True)
        ]
        text = json.dumps([shown, _round_nested(figure.layout), self.sentence, title], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Figure:
    """A plotly figure taken apart: ``data[i]`` lacks exactly the entries in ``arrays[i]``."""

    data: list[dict[str, Any]]
    arrays: list[dict[str, Array]]
    layout: dict[str, Any]

    def assembled(self) -> dict[str, Any]:
        """Return one JSON figure, arrays in their places."""
        data = [
            {**meta, **{key: _json_list(values) for key, values in arrays.items()}}
            for meta, arrays in zip(self.data, self.arrays, strict=True)
        ]
        return {"data": data, "layout": self.layout}


def build_figure(view: View) -> Figure:
    """Return the plotly figure of `view`."""
    data: list[dict[str, Any]] = []
    arrays: list[dict[str, Array]] = []
    columns = len(view.panels)
    gap = 0.14 if columns == 2 else 0.1
    width = (1 - gap * (columns - 1)) / columns
    titled = any(panel.title for panel in view.panels)
    # Tick labels of two lines push the axis title, and so the legend, down.
    deep = 17 if any("<br>" in label for panel in view.panels for label in panel.x.labels or ()) else 0
    if all(panel.x.hidden for panel in view.panels):
        deep = -44
    layout: dict[str, Any] = {
        "height": view.height,
        "margin": {"l": 60, "r": 20, "t": 34 if titled else 12, "b": 50 + deep},
        "paper_bgcolor": "$paper",
        "plot_bgcolor": "$paper",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "$ink"},
        # Below the axis title, whatever the height: plotly counts in heights of the plot itself.
        "legend": {"orientation": "h", "x": 0, "y": -(56 + deep) / (view.height - 84), "yanchor": "top"},
        "hoverlabel": {"bgcolor": "$paper", "font": {"color": "$ink"}},
        "bargap": 0.25,
        "shapes": [],
        "annotations": [],
    }
    seen: set[str] = set()
    number = 0
    for column, panel in enumerate(view.panels):
        suffix = "" if column == 0 else str(column + 1)
        left = column * (width + gap)
        layout[f"xaxis{suffix}"] = {
            **panel.x.layout(),
            "domain": [left, left + width],
            "anchor": f"y{suffix}",
        }
        layout[f"yaxis{suffix}"] = {**panel.y.layout(), "anchor": f"x{suffix}"}
        if panel.round:
            layout[f"yaxis{suffix}"]["scaleanchor"] = f"x{suffix}"
        if panel.stacked:
            layout["barmode"] = "stack"
        for trace in panel.traces:
            style = json.loads(json.dumps(trace.style))
            if trace.automatic:
                style = _automatic(trace, style, number)
                number += 1
            data.append(
                {
                    "type": trace.kind,
                    "name": trace.name,
                    "xaxis": f"x{suffix}",
                    "yaxis": f"y{suffix}",
                    "legendgroup": trace.name,
                    "showlegend": trace.legend and bool(trace.name) and trace.name not in seen,
                    **style,
                }
            )
            seen.add(trace.name)
            arrays.append(trace.arrays)
        _annotate(layout, panel, suffix, left, width)
    layout["showlegend"] = len(seen - {""}) > 1
    return Figure(data, arrays, layout)


def _automatic(trace: Trace, style: dict[str, Any], number: int) -> dict[str, Any]:
    color = role(number)
    if trace.kind == "bar" or "markers" in style.get("mode", ""):
        style["marker"] = {"color": color, "symbol": MARKERS[number % 7], **style.get("marker", {})}
        if trace.kind == "bar":
            style["marker"].pop("symbol")
    if "lines" in style.get("mode", ""):
        style["line"] = {"color": color, "dash": DASHES[number % 7], **style.get("line", {})}
    return style


def _annotate(layout: dict[str, Any], panel: Panel, suffix: str, left: float, width: float) -> None:
    x, y = f"x{suffix}", f"y{suffix}"
    text = {"showarrow": False, "font": {"size": 12, "color": "$soft"}, "bgcolor": "$paper"}
    for mark in panel.marks:
        at = mark.at
        if mark.vertical:
            where = math.log10(at) if panel.x.log else at
            shape = {"xref": x, "yref": f"{y} domain", "x0": at, "x1": at, "y0": 0, "y1": 1}
            note = {
                "xref": x,
                "yref": f"{y} domain",
                "x": where,
                "y": 1,
                "xanchor": "left",
                "yanchor": "top",
                "xshift": 4,
            }
        else:
            where = math.log10(at) if panel.y.log else at
            shape = {"xref": f"{x} domain", "yref": y, "x0": 0, "x1": 1, "y0": at, "y1": at}
            note = {
                "xref": f"{x} domain",
                "yref": y,
                "x": 1,
                "y": where,
                "xanchor": "right",
                "yanchor": "bottom",
            }
        layout["shapes"].append(
            {"type": "line", **shape, "line": {"color": "$soft", "width": 1.5, "dash": "dot"}}
        )
        layout["annotations"].append({**text, **note, "text": mark.label})
    for note_ in panel.notes:
        place = {
            "xref": x,
            "yref": y,
            "x": math.log10(note_.x) if panel.x.log else note_.x,
            "y": math.log10(note_.y) if panel.y.log else note_.y,
        }
        layout["annotations"].append(
            {
                **text,
                **place,
                "text": note_.text,
                "font": {"size": 13, "color": "$ink"},
                "xanchor": note_.anchor,
            }
        )
    if panel.title:
        place = {
            "xref": "paper",
            "yref": "paper",
            "x": left + width / 2,
            "y": 1,
            "yshift": 26,
            "xanchor": "center",
        }
        layout["annotations"].append(
            {**text, **place, "text": f"<b>{panel.title}</b>", "font": {"size": 13, "color": "$ink"}}
        )


def _describe_panel(panel: Panel) -> str:
    if panel.words:
        return f"{panel.title}: {panel.words}" if panel.title else panel.words
    if panel.x.hidden and panel.y.hidden:
        shown = [_describe_state(trace) for trace in panel.traces if trace.style.get("text")]
        said = [note.text for note in panel.notes if note.text.strip()]
        return f"Picture: {panel.title or panel.x.title}. " + ". ".join(shown + said) + "."
    parts = [_describe_trace(trace, panel) for trace in panel.traces]
    marks = [f"A line marks {mark.label}." for mark in panel.marks if mark.label]
    name = f"{panel.title}: " if panel.title else ""
    return f"{name}{panel.y.caption} against {panel.x.caption}. " + " ".join(parts + marks)


def _describe_state(trace: Trace) -> str:
    shown = ", ".join(str(label) for label in trace.style["text"] if str(label).strip())
    return f"{trace.name}: {shown or 'nothing'}"


def _describe_trace(trace: Trace, panel: Panel) -> str:
    x, y = trace.arrays["x"].astype(float), trace.arrays["y"].astype(float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    name = trace.name or panel.y.title
    if "text" in trace.style and trace.kind == "scatter":
        return f"{_describe_state(trace)}."
    if not len(x):
        return f"{name}: nothing to show."

    def across(value: float) -> str:
        if panel.x.labels is not None and 0 <= round(value) < len(panel.x.labels):
            return panel.x.labels[round(value)].replace("<br>", " ")
        return percent(value) if panel.x.percent else quantity(value, panel.x.unit)

    def up(value: float) -> str:
        if panel.y.labels is not None and 0 <= round(value) < len(panel.y.labels):
            return panel.y.labels[round(value)].replace("<br>", " ")
        return percent(value) if panel.y.percent else quantity(value, panel.y.unit)

    if trace.kind == "bar" or len(x) <= 4:
        if len(x) > 8:
            top = int(np.argmax(y))
            return f"{name}: {len(x)} bars, the highest {up(y[top])} at {across(x[top])}."
        return f"{name}: " + "; ".join(f"{across(a)}: {up(b)}" for a, b in zip(x, y, strict=True)) + "."
    text = f"{name}: from {up(y[0])} at {across(x[0])} to {up(y[-1])} at {across(x[-1])}"
    low, high = int(np.argmin(y)), int(np.argmax(y))
    if 0 < high < len(y) - 1 and y[high] > max(y[0], y[-1]):
        text += f", highest {up(y[high])} at {across(x[high])}"
    if 0 < low < len(y) - 1 and y[low] < min(y[0], y[-1]):
        text += f", lowest {up(y[low])} at {across(x[low])}"
    return text + "."


def _rounded(values: Array) -> list[str]:
    return [f"{value:.4g}" for value in values.tolist()]


def _round_nested(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return {key: _round_nested(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_round_nested(entry) for entry in value]
    return value


def _json_list(values: Array) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.astype(float).tolist()]

"""Controls of an explorable: what a reader may move, between which bounds, from which default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from course import checks

Value = float | int | str | bool
#: Positions on a slider between its two ends: about what a hand or an arrow key can tell apart.
POSITIONS = 100


@dataclass(frozen=True)
class Control:
    """One control: declared in Python, drawn by the browser, validated in the kernel.

    Attributes
    ----------
    kind : str
        How the browser draws it.
    label : str
        What the reader sees; never empty.
    default : float, int, str or bool
        The value at the start and after a reset; itself validated on declaration.
    unit : str
        Unit shown behind the value.
    low, high : float
        Bounds of a numeric control, both allowed.
    step : float
        Distance of two positions of a linear slider.
    options : tuple of str
        The values of a choice.
    whole : bool
        Whether the value is a whole number.
    """

    kind: Literal["slider", "log", "choice", "toggle", "seed", "timeline"]
    label: str
    default: Value
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    options: tuple[str, ...] = ()
    whole: bool = False
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.label.strip():
            raise ValueError("label = '': a control needs a label that says what it moves")
        if self.kind == "choice" and len(set(self.options)) < 2:
            raise ValueError(f"{self.label}: a choice needs at least two different options")
        if self.kind in ("slider", "log", "timeline", "seed") and not self.low < self.high:
            raise ValueError(f"{self.label}: the lower bound {self.low:g} must be below {self.high:g}")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"{self.label}: the bounds {self.low:g} and {self.high:g} must be finite")
        if self.kind == "slider" and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"{self.label}: the step {self.step:g} must be above 0 and fit into the range")
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(
                f"{self.label}: whole numbers need whole bounds, not {self.low:g} and {self.high:g}"
            )
        if self.kind == "log" and self.low <= 0:
            raise ValueError(f"{self.label}: a log slider starts above zero, not at {self.low:g}")
        # In the control's own type: 1 and 1.0 would give two pictures where there is one.
        default = self.validate(self.default, what=f"default of {self.label!r}")
        object.__setattr__(self, "default", default)

    def validate(self, value: object, what: str = "") -> Value:
        """Return `value` in the control's own type.

        Parameters
        ----------
        value : object
            What the reader or a caller gave.
        what : str
            How the message names it; the control's name unless given.

        Raises
        ------
        ValueError
            If it is not allowed; the message names the control, the value and the allowed range.
        """
        name = what or self.name or self.label
        if self.kind == "choice":
            return checks.option(name, value, self.options)  # type: ignore[return-value]
        if self.kind == "toggle":
            if isinstance(value, bool):
                return value
            raise ValueError(f"{name} = {value!r}: must be True or False")
        if self.whole:
            return checks.integer(name, value, self.low, self.high, unit=self.unit)
        return checks.number(name, value, self.low, self.high, unit=self.unit)

    def probes(self) -> dict[str, Value]:
        """Return the values at which every control is tried: its default and its ends."""
        if self.kind == "choice":
            return {f"option {option}": option for option in self.options}
        if self.kind == "toggle":
            return {"off": False, "on": True}
        number: type[int] | type[float] = int if self.whole else float
        return {"minimum": number(self.low), "default": self.default, "maximum": number(self.high)}

    def invalid(self) -> tuple[object, ...]:
        """Return values that must be refused with a sentence."""
        if self.kind == "choice":
            return ("no such option", None)
        if self.kind == "toggle":
            return ("yes", None)
        beyond = self.high - self.low + 1
        return (self.high + beyond, self.low - beyond, math.nan, math.inf, "many", None, True)

    def spec(self) -> dict[str, Any]:
        """Return what the browser needs to draw the control (JSON)."""
        return {
            "name": self.name,
            "kind": self.kind,
            "label": self.label,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "step": self.step,
            "whole": self.whole,
            "options": list(self.options),
            "value": self.default,
            "positions": POSITIONS,
        }


def slider(
    low: float, high: float, default: float, label: str, *, unit: str = "", step: float | None = None
) -> Control:
    """Declare a linear slider; whole numbers for all three bounds make a whole-number slider.

    Parameters
    ----------
    low, high, default : float
        Bounds, both allowed, and the value at the start.
    label, unit : str
        What it moves, in which unit.
    step : float, optional
        Distance of two positions; a hundredth of the range (or 1) unless given.
    """
    whole = all(isinstance(bound, int) for bound in (low, high, default)) and isinstance(step, int | None)
    if whole and step is None and high - low <= 1:
        whole = False
    if step is None:
        step = max(1, round((high - low) / POSITIONS)) if whole else (high - low) / POSITIONS
    return Control("slider", label, default, unit, float(low), float(high), float(step), whole=whole)


def log_slider(
    low: float, high: float, default: float, label: str, *, unit: str = "", whole: bool = False
) -> Control:
    """Declare a slider whose positions are equal ratios; `whole` for things that are counted."""
    return Control("log", label, default, unit, float(low), float(high), whole=whole)


def choice(options: tuple[str, ...], default: str, label: str) -> Control:
    """Declare a choice of one of several named options."""
    return Control("choice", label, default, options=tuple(options))


def toggle(default: bool, label: str) -> Control:
    """Declare a switch."""
    return Control("toggle", label, default)


def seed(default: int = 1) -> Control:
    """Declare the seed of a simulation, with a button that draws anew."""
    return Control("seed", "seed", default, low=0.0, high=9999.0, step=1.0, whole=True)


def timeline(last: int, default: int, label: str) -> Control:
    """Declare the step of something that happens in time: play, pause, step to and fro, scrub.

    Parameters
    ----------
    last : int
        The last step that can ever be; a view may end earlier (``View.last_step``).
    default : int
        The step shown first.
    label : str
        What one step is, e.g. ``"request"``.
    """
    return Control("timeline", label, default, low=0.0, high=float(last), step=1.0, whole=True)

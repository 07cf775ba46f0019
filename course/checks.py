"""Checks of arguments: one clear sentence that names the parameter, its value and the allowed range."""

from __future__ import annotations

import math
import numbers
from reprlib import repr as shortened
from typing import TypeVar

T = TypeVar("T")


def number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    unit: str = "",
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a float if it lies in the allowed range.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    value : object
        What the caller gave.
    low, high : float
        The allowed range.
    unit : str
        Unit of the range, for the message.
    open_low, open_high : bool
        Whether the bound itself is excluded.

    Raises
    ------
    ValueError
        If `value` is not a finite number in the range; the message names all three.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        result = _as_float(value)
        above = result > low if open_low else result >= low
        below = result < high if open_high else result <= high
        if math.isfinite(result) and above and below:
            return result
    raise ValueError(
        f"{name} = {shortened(value)}: must be a number {_range(low, high, unit, open_low, open_high)}"
    )


def integer(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, unit: str = ""
) -> int:
    """Return `value` as an int if it is a whole number in the allowed range.

    Parameters
    ----------
    name, value, low, high, unit
        As for :func:`number`.

    Raises
    ------
    ValueError
        If `value` is not a whole number in the range.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        result = _as_float(value)
        if math.isfinite(result) and result == int(result) and low <= result <= high:
            return int(result)
    raise ValueError(
        f"{name} = {shortened(value)}: must be a whole number {_range(low, high, unit, False, False)}"
    )


def option(name: str, value: T, allowed: tuple[T, ...]) -> T:
    """Return `value` if it is one of `allowed`.

    Raises
    ------
    ValueError
        If it is not; the message lists what is.
    """
    if value not in allowed:
        raise ValueError(f"{name} = {shortened(value)}: must be one of {', '.join(map(repr, allowed))}")
    return value


def _as_float(value: numbers.Real) -> float:
    """Return `value` as a float; a whole number too large for one counts as infinite, and is refused."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _range(low: float, high: float, unit: str, open_low: bool, open_high: bool) -> str:
    suffix = f" {unit}" if unit else ""
    if math.isfinite(low) and math.isfinite(high):
        return f"{'above' if open_low else 'from'} {low:,g} {'to below' if open_high else 'to'} {high:,g}{suffix}"
    if math.isfinite(low):
        return f"{'above' if open_low else 'of at least'} {low:,g}{suffix}"
    if math.isfinite(high):
        return f"{'below' if open_high else 'of at most'} {high:,g}{suffix}"
    return f"that is finite{suffix}"

"""The calculator's picture, its table, and the guide's figures are the same numbers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import widgets
from course import capacity


def sheet(**parameters: Any) -> list[str]:
    """Return the right column of the sheet."""
    notes = widgets.capacity.calculator.view(**parameters).panels[0].notes
    return [note.text for note in notes if note.anchor == "right"]


def test_defaults_are_the_guides_examples() -> None:
    assert sheet() == [
        *("10M", "115.7/s", "347.2/s", "2.778 Mbit/s", "27.78 Mbit/s"),
        *("1 TB", "3 TB", "7.465 TB"),
    ]
    assert sheet(system="IEC")[3:] == ["2.844 Mbit/s", "28.44 Mbit/s", "976.6 GiB", "2.861 TiB", "7.119 TiB"]


@pytest.mark.parametrize("system", capacity.SYSTEMS)
def test_a_widget_as_it_stands_becomes_a_table(system: str) -> None:
    widget = widgets.capacity.calculator(users=2_000_000, years=3, system=system, uncertainty=3)
    rows = capacity.table(**widget.parameters).set_index("name")
    for key, shown in zip(("stored", "replicated", "planned"), sheet(**widget.parameters)[5:], strict=True):
        number, unit = shown.split()
        assert rows.loc[key, "estimate"] == pytest.approx(float(number), rel=1e-3)
        assert rows.loc[key, "unit"] == unit
        assert rows.loc[key, "P10"] < rows.loc[key, "estimate"] < rows.loc[key, "P90"]


def test_controls_are_the_parameters_of_assume() -> None:
    defaults = {name: p.default for name, p in inspect.signature(capacity.assume).parameters.items()}
    controls = widgets.capacity.calculator.defaults
    assert set(controls) == set(defaults)
    assert {name for name in defaults if defaults[name] != controls[name]} == {"uncertainty"}

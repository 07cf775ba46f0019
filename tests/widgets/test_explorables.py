"""Every explorable of the course, found by the framework, at every end of every control."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import ipywidgets
import numpy as np
import pytest

import widgets
from widgets.explorable import STRICT, Explorable, ExplorableWidget, registry, restore
from widgets.plot import View

for _concept in widgets.concepts():
    importlib.import_module(f"widgets.{_concept}")
EXPLORABLES = {
    name: declared
    for name, declared in sorted(registry.items())
    if declared.function.__module__.startswith("widgets.")
}
#: (explorable, control, name of the probe, value)
PROBES = [
    pytest.param(name, key, value, id=f"{name}-{key}-{probe}".replace(" ", "_"))
    for name, declared in EXPLORABLES.items()
    for key, control in declared.controls.items()
    for probe, value in control.probes().items()
]
CONTROLS = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, declared in EXPLORABLES.items()
    for key in declared.controls
]
# What a number becomes when it is none.  One control at its end must not lead there: an engineer would
# rather read "the queue grows without bound" than "infinite ms".
NO_NUMBER = re.compile(r"\b(nan|NaN|inf|infinite|Infinity|undefined|None)\b")

each_explorable = pytest.mark.parametrize("declared", EXPLORABLES.values(), ids=EXPLORABLES)


@cache
def view_at(name: str, key: str, value: Any) -> View:
    return EXPLORABLES[name].view(**{key: value})


def views(declared: Explorable) -> list[View]:
    return [
        view_at(declared.name, key, value)
        for key, control in declared.controls.items()
        for value in control.probes().values()
    ]


def another(declared: Explorable) -> dict[str, Any]:
    """Return an allowed setting of one control that shows something other than the defaults do."""
    default = declared.view().fingerprint()
    return next(
        {key: value}
        for key, control in declared.controls.items()
        for value in control.probes().values()
        if view_at(declared.name, key, value).fingerprint() != default
    )


@pytest.fixture(autouse=True)
def close_widgets() -> Iterator[None]:
    yield
    ipywidgets.Widget.close_all()


def test_explorables_are_found() -> None:
    assert "caching.effective_access_time" in EXPLORABLES
    modules = {declared.function.__module__.rpartition(".")[2] for declared in EXPLORABLES.values()}
    assert modules == set(widgets.concepts()), "a module of widgets/ declares no explorable"
    assert len(PROBES) >= 2 * len(CONTROLS) >= 2 * len(EXPLORABLES) > 0


@each_explorable
def test_declaration(declared: Explorable) -> None:
    asked_for = [name for name in inspect.signature(declared.function).parameters if name != "progress"]
    assert asked_for == list(declared.controls)
    assert declared.title.strip() and declared.question.text.strip().endswith("?")
    assert declared.__doc__ and declared.__doc__.strip()
    # Two explorables of one title could not be told apart by who hears them.
    assert [other.title for other in EXPLORABLES.values()].count(declared.title) == 1
    assert isinstance(
        declared.answer(declared.view()), str | float
    )  # raises where it does not fit the question


@pytest.mark.parametrize(("name", "key", "value"), PROBES)
def test_probe(name: str, key: str, value: Any) -> None:
    view = view_at(name, key, value)
    assert EXPLORABLES[name].view(**{key: value}).fingerprint() == view.fingerprint(), (
        "differs when run again"
    )

    description = view.description()
    for text in (view.sentence, description):
        assert text.strip()
        assert not NO_NUMBER.search(text), text
    assert view.sentence.rstrip()[-1] in ".?)”", "a sentence ends like one"
    timeline = next((c for c in EXPLORABLES[name].controls.values() if c.kind == "timeline"), None)
    if view.last_step is not None:
        assert timeline is not None and 0 <= view.last_step <= timeline.high

    figure = view.figure()
    # What a browser cannot read as JSON (NaN, Infinity, a NumPy number) would be shown as nothing.
    json.dumps([figure.data, figure.layout], allow_nan=False)
    drawn = sum(len(panel.notes) for panel in view.panels)
    for panel in view.panels:
        for axis in (panel.x, panel.y):
            assert axis.title.strip()
        for trace in panel.traces:
            x, y = trace.arrays["x"], trace.arrays["y"]
            assert x.shape == y.shape and x.ndim == 1, trace.name
            assert all(values.dtype == np.float32 for values in trace.arrays.values()), trace.name
            # NaN is a gap, on purpose; infinity is an accident.
            assert not np.isinf(x).any() and not np.isinf(y).any(), trace.name
            if "text" in trace.style:
                assert len(trace.style["text"]) == len(x), trace.name
            shown = np.isfinite(x) & np.isfinite(y)
            drawn += int(shown.sum())
            for axis, values in ((panel.x, x), (panel.y, y)):
                # plotly drops what a logarithmic axis cannot show, without a word; a missing bar says 0.
                assert not axis.log or trace.kind == "bar" or (values[shown] > 0).all(), (
                    f"{trace.name}: not above 0 on a log axis"
                )
    assert drawn, "an empty picture"


@pytest.mark.parametrize(("name", "key"), CONTROLS)
def test_control_moves_something(name: str, key: str) -> None:
    declared = EXPLORABLES[name]
    default = declared.view().fingerprint()
    seen = {view_at(name, key, value).fingerprint() for value in declared.controls[key].probes().values()}
    assert seen - {default}, f"{key} changes nothing that is shown"


@each_explorable
def test_words_follow_the_picture(declared: Explorable) -> None:
    assert len({view.sentence for view in views(declared)}) > 1
    assert len({view.description() for view in views(declared)}) > 1


@pytest.mark.parametrize(("name", "key"), CONTROLS)
def test_invalid_values_are_refused(name: str, key: str) -> None:
    declared = EXPLORABLES[name]
    invalid = declared.controls[key].invalid()
    assert invalid
    for value in invalid:
        with pytest.raises(ValueError) as refused:
            declared.view(**{key: value})
        assert str(refused.value).startswith(f"{key} = {value!r}: must be ")
    with pytest.raises(ValueError, match=r"'no_such_control' is no control"):
        declared.view(no_such_control=1)


@each_explorable
def test_widget_refuses_restores_and_resets(declared: Explorable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STRICT, "1")
    moved = another(declared)
    widget = declared()
    widget.set(**moved)
    assert widget.error == "" and widget.parameters == declared.defaults | moved
    good = widget.view.fingerprint()
    for key, control in declared.controls.items():
        for value in control.invalid():
            widget.set(**{key: value})
            assert widget.error.startswith(f"{key} = "), (key, value)
            assert widget.view.fingerprint() == good and widget.parameters == declared.defaults | moved

    again = restore(widget.scenario())
    assert again.parameters == widget.parameters and again.view.fingerprint() == good
    assert again.scenario() == widget.scenario()

    widget.reset()
    assert widget.error == "" and widget.parameters == declared.defaults
    assert widget.view.fingerprint() == declared.view().fingerprint() != good


@each_explorable
def test_a_broken_function_is_shown_and_raised_under_test(
    declared: Explorable, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = declared()
    before = widget.view.fingerprint()

    def broken(**_parameters: object) -> View:
        raise ZeroDivisionError("capacity")

    monkeypatch.setattr(declared, "function", broken)
    monkeypatch.setenv(STRICT, "0")
    widget.set()
    assert "ZeroDivisionError: capacity" in widget.error and widget.view.fingerprint() == before
    monkeypatch.setenv(STRICT, "1")
    with pytest.raises(ZeroDivisionError):
        widget.set()
    assert widget.view.fingerprint() == before


@each_explorable
def test_stored_output_reads_well_without_a_kernel(declared: Explorable) -> None:
    widget: ExplorableWidget = declared()
    bundle, metadata = widget._repr_mimebundle_()
    assert bundle["text/plain"] == "\n".join(
        [declared.title, declared.view().sentence, declared.view().description()]
    )
    assert re.fullmatch("[0-9a-f]{16}", metadata["workbook"]["picture"])

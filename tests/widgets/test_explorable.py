"""The framework: a declaration, its widget, and what travels to the browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import widgets
from widgets import explorable as framework
from widgets.controls import choice, slider, timeline
from widgets.explorable import (
    FIGURE_TYPE,
    RECORD,
    STRICT,
    WIDGET_TYPE,
    Explorable,
    ExplorableWidget,
    changes,
    choose,
    estimate,
    explorable,
    restore,
)
from widgets.library import Library, library, library_key
from widgets.plot import Axis, Figure, Mark, Panel, Trace, View, band, bars, boxes, line, points


def one_panel(
    *traces: Trace, sentence: str = "So it is.", answer: float | str | None = 3.0, **more: Any
) -> View:
    return View([Panel(traces, Axis("time", "s"), Axis("rate"), **more)], sentence, answer=answer)


def declare(
    function: Callable[..., View] | None = None, predict: framework.Question | None = None, **controls: Any
) -> Explorable:
    """Declare an explorable of two controls; a refusal and a failure can be provoked."""

    def sample(rate: float, kind: str) -> View:
        if rate == 9:
            raise ValueError("rate = 9: this model does not go there")
        if rate == 8:
            raise KeyError("lost")
        return one_panel(
            line([0, 1, 2], [0, rate, 2 * rate], "work"),
            line([0, 1, 2], [1, 1, 1], "capacity"),
            sentence=f"{kind}: {rate:g} a second.",
        )

    controls = controls or {
        "rate": slider(0.0, 10.0, 3.0, "rate"),
        "kind": choice(("open", "closed"), "open", "kind"),
    }
    return explorable("A sample", predict=predict or estimate("How fast?"), **controls)(function or sample)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(framework, "registry", {})
    monkeypatch.delenv(STRICT, raising=False)
    monkeypatch.delenv(RECORD, raising=False)
    yield
    ipywidgets.Widget.close_all()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[memoryview]]]:
    """Collect what widgets send."""
    messages: list[tuple[dict[str, Any], list[memoryview]]] = []
    monkeypatch.setattr(
        ExplorableWidget,
        "send",
        lambda _self, content, buffers=None: messages.append((content, buffers or [])),
    )
    return messages


def ask(widget: ExplorableWidget, request: int, **parameters: object) -> None:
    """Speak as the browser does."""
    widget._receive(widget, {"kind": "set", "request": request, "parameters": parameters}, [])


# A small model of the browser: what explorable.js does with a message -------


class Page:
    """Holds what a page holds after the messages so far."""

    def __init__(self) -> None:
        self.traces: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {}

    def apply(self, message: dict[str, Any], buffers: list[memoryview]) -> None:
        message = json.loads(json.dumps(message, allow_nan=False))
        traces = []
        for index, trace in enumerate(message["traces"]):
            nothing: dict[str, Any] = {"meta": {}, "arrays": {}}
            before = self.traces[index] if index < len(self.traces) else nothing
            changed = "meta" in trace and before["meta"].get("type") != trace["meta"]["type"]
            arrays = {} if changed else dict(before["arrays"])
            for key, place in trace["arrays"].items():
                arrays[key] = np.frombuffer(bytes(buffers[place]), np.float32)
            traces.append({"meta": trace.get("meta", before["meta"]), "arrays": arrays})
        self.traces = traces
        self.layout = message.get("layout", self.layout)

    def shows(self, figure: Figure) -> bool:
        return (
            [trace["meta"] for trace in self.traces] == json.loads(json.dumps(figure.data))
            and self.layout == json.loads(json.dumps(figure.layout))
            and [trace["arrays"].keys() for trace in self.traces]
            == [arrays.keys() for arrays in figure.arrays]
            and all(
                np.array_equal(trace["arrays"][key], arrays[key], equal_nan=True)
                for trace, arrays in zip(self.traces, figure.arrays, strict=True)
                for key in arrays
            )
        )


numbers = st.lists(st.sampled_from([0.0, 1.0, 2.5, float("nan")]), min_size=2, max_size=2)
names = st.sampled_from(["a", "b"])
traces = st.one_of(
    st.builds(line, numbers, numbers, names, step=st.booleans()),
    st.builds(points, numbers, numbers, names, joined=st.booleans()),
    st.builds(bars, numbers, numbers, names),
    st.builds(band, numbers, numbers, numbers, names),
    st.builds(boxes, numbers, numbers, st.just(["k", "l"]), names, hollow=st.booleans()),
    st.builds(line, st.just([]), st.just([]), names),
)
figures = st.builds(
    lambda chosen, at: one_panel(*chosen, marks=[Mark(at, "m")]).figure(),
    st.lists(traces, max_size=4),
    st.sampled_from([1.0, 2.0]),
)


@given(st.lists(figures, min_size=2, max_size=5))
@settings(max_examples=200)
def test_changes_always_lead_to_the_new_figure(sequence: list[Figure]) -> None:
    page = Page()
    old = None
    for new in sequence:
        page.apply(*changes(old, new))
        assert page.shows(new)
        old = new


@given(figures)
def test_nothing_travels_where_nothing_changed(figure: Figure) -> None:
    message, buffers = changes(figure, figure)
    assert buffers == [] and "layout" not in message
    assert message["traces"] == [{"arrays": {}}] * len(figure.data)


def test_only_the_changed_array_travels() -> None:
    old = one_panel(line([0, 1], [1, 2], "a"), line([0, 1], [3, 4], "b")).figure()
    new = one_panel(line([0, 1], [1, 2], "a"), line([0, 1], [3, 5], "b")).figure()
    message, buffers = changes(old, new)
    assert message == {"traces": [{"arrays": {}}, {"arrays": {"y": 0}}]}
    assert [np.frombuffer(buffer, np.float32).tolist() for buffer in buffers] == [[3, 5]]


def test_a_trace_of_another_kind_starts_from_nothing() -> None:
    """Curve to bars: the x that did not change has to travel too, for the browser drops it."""
    old, new = (one_panel(trace).figure() for trace in (line([0, 1], [1, 2], "a"), bars([0, 1], [1, 2], "a")))
    message, buffers = changes(old, new)
    assert message["traces"][0]["arrays"] == {"x": 0, "y": 1} and len(buffers) == 2


# Declaring -------------------------------------------------------------------------------------------------


def test_declaration_and_registry() -> None:
    declared = declare()
    assert framework.registry == {"test_explorable.sample": declared}
    assert list(declared.controls) == ["rate", "kind"]
    assert declared.defaults == {"rate": 3.0, "kind": "open"}
    assert declared.view(rate=2).sentence == "open: 2 a second."
    json.dumps(declared.spec(), allow_nan=False)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: declare(rate=slider(0.0, 1.0, 2.0, "rate")), "'rate' = 2.0: must be a number from 0 to 1"),
        (lambda: explorable("None", predict=estimate("?"))(lambda: one_panel()), "at least one control"),
        (lambda: choose("Which?", "this", "this"), "two different answers"),
    ],
)
def test_a_wrong_declaration_is_an_error(wrong: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()


def test_a_taken_name_is_an_error() -> None:
    first = declare()

    def sample(rate: float) -> View:
        return one_panel()

    sample.__module__ = "elsewhere.test_explorable"
    with pytest.raises(
        ValueError, match=r"test_explorable\.sample: there is an explorable of this name already"
    ):
        declare(sample, rate=slider(0.0, 1.0, 0.5, "rate"))
    assert framework.registry == {first.name: first}


@pytest.mark.parametrize(
    ("predict", "answer", "fits"),
    [
        (estimate("How much?"), 3.0, True),
        (estimate("How much?"), None, False),
        (estimate("How much?"), float("nan"), False),
        (estimate("How much?"), float("inf"), False),
        (estimate("How much?"), "a lot", False),
        (choose("Which?", "this", "that"), "that", True),
        (choose("Which?", "this", "that"), "those", False),
        (choose("Which?", "this", "that"), 3.0, False),
        (choose("Which?", "this", "that"), None, False),
    ],
)
def test_the_answer_fits_the_question(predict: framework.Question, answer: Any, fits: bool) -> None:
    declared = declare(
        lambda rate: one_panel(line([0, 1], [0, rate], "a"), answer=answer),
        predict,
        rate=slider(0.0, 1.0, 0.5, "rate"),
    )
    if fits:
        assert declared.answer == answer
    else:
        with pytest.raises(ValueError, match="answer"):
            declared()


# What a widget sends ---------------------------------------------------------------------------------------


def test_a_page_that_follows_the_messages_shows_the_view(sent: list[Any]) -> None:
    widget = declare()()
    page = Page()
    whole = widget.get_state(["picture"])["picture"]
    page.apply({key: whole[key] for key in ("traces", "layout")}, whole["buffers"])
    for request, change in enumerate(
        [{"rate": 4}, {"kind": "closed"}, {"rate": 99}, {"rate": 0, "kind": "open"}]
    ):
        ask(widget, request, **change)
        message, buffers = sent[-1]
        if message["kind"] == "draw":
            page.apply(message, buffers)
        assert page.shows(widget.view.figure())
        assert message["sentence"] == widget.view.sentence
        assert message["description"] == widget.view.description()
    assert [message["kind"] for message, _ in sent] == ["draw", "draw", "refused", "draw"]


def test_every_request_is_answered_once_and_in_order(sent: list[Any]) -> None:
    """A request without an answer would leave the browser waiting, with every later setting in its queue."""
    widget = declare()()
    for request, rate in enumerate([1, 9, 8, "many", 99, 2], 10):  # refused by the model, broken, invalid
        ask(widget, request, rate=rate)
    messages = [message for message, _ in sent]
    assert [message["request"] for message in messages] == list(range(10, 16))
    assert [message["kind"] for message in messages] == ["draw", *["refused"] * 4, "draw"]
    sequence = [message["sequence"] for message in messages]
    assert sequence == sorted(set(sequence))
    for message in messages:
        assert bool(message["error"]) == (message["kind"] == "refused")
    assert messages[1]["error"] == "rate = 9: this model does not go there"
    assert "KeyError" in messages[2]["error"]
    # Refused: the controls go back to the last good picture.
    assert [message["parameters"]["rate"] for message in messages] == [1, 1, 1, 1, 1, 2]
    assert [message["sentence"] for message in messages[:5]] == ["open: 1 a second."] * 5


def test_a_broken_function_is_raised_under_test_after_it_was_shown(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STRICT, "1")
    widget = declare()()
    with pytest.raises(KeyError):
        ask(widget, 1, rate=8)
    assert [(message["kind"], message["request"]) for message, _ in sent] == [("refused", 1)]
    ask(widget, 2, rate=9)  # a refusal is no error
    assert sent[-1][0]["error"].startswith("rate = 9")


def test_a_description_that_fails_is_a_broken_picture(sent: list[Any]) -> None:
    def sample(rate: float) -> View:
        axis = Axis("kind", labels=["none", "one"] if rate < 5 else [0, 1])  # type: ignore[list-item]
        return View([Panel([bars([0, 1], [1, 2], "a")], axis, Axis("rate"))], f"{rate:g}.", answer=1.0)

    widget = declare(sample, rate=slider(0.0, 10.0, 3.0, "rate"))()
    ask(widget, 1, rate=6)
    assert [(message["kind"], message["request"]) for message, _ in sent] == [("refused", 1)]
    assert widget.parameters == {"rate": 3.0} and widget.view.sentence == "3."


def test_a_page_loaded_anew_gets_the_whole_picture(sent: list[Any]) -> None:
    widget = declare()()
    ask(widget, 1, rate=7)
    widget._receive(widget, {"kind": "ready", "sequence": sent[-1][0]["sequence"]}, [])
    assert len(sent) == 1  # it has the newest already
    widget._receive(widget, {"kind": "ready", "sequence": 0}, [])
    page = Page()
    page.apply(*sent[-1])
    assert page.shows(widget.view.figure()) and sent[-1][0]["parameters"]["rate"] == 7


def test_the_state_of_a_new_page_is_the_present_one() -> None:
    widget = declare()()
    widget.set(rate=7)
    whole = widget.get_state(["picture"])["picture"]
    assert whole["parameters"]["rate"] == 7 and whole["sentence"] == "open: 7 a second."


def test_a_timeline_tells_its_last_step(sent: list[Any]) -> None:
    def sample(step: int) -> View:
        figure = Panel([line([0, 1], [0, step], "a")], Axis("x"), Axis("y"))
        return View([figure], f"{step}.", answer=1.0, last_step=7)

    ask(declare(sample, step=timeline(20, 0, "request"))(), 1, step=3)
    assert sent[-1][0]["last_step"] == 7


# What a reader calls ---------------------------------------------------------------------------------------


def test_parameters_of_the_call() -> None:
    widget = declare()(rate=5, kind="closed")
    assert widget.error == "" and widget.parameters == {"rate": 5.0, "kind": "closed"}


def test_wrong_parameters_of_the_call_are_a_sentence() -> None:
    for wrong, says in [({"rate": 11}, "rate = 11: must be"), ({"speed": 1}, "'speed' is no control")]:
        widget = declare()(**wrong)
        assert widget.error.startswith(says) and widget.parameters == {"rate": 3.0, "kind": "open"}
        assert says in widget._repr_mimebundle_()[0]["text/plain"]


def test_parameters_are_a_copy() -> None:
    widget = declare()()
    widget.parameters["rate"] = 99
    assert widget.parameters["rate"] == 3.0


def test_scenario_comes_back() -> None:
    widget = declare()(rate=5)
    saved = widget.scenario()
    assert json.loads(saved) == {
        "explorable": "test_explorable.sample",
        "parameters": {"rate": 5.0, "kind": "open"},
    }
    assert restore(saved).parameters == widget.parameters


@pytest.mark.parametrize(
    "scenario",
    ["", "[]", "{}", "null", "3", '{"explorable": "caching.no_such", "parameters": {}}',
     '{"explorable": "no_such.one", "parameters": {}}', '{"explorable": "../x.y", "parameters": {}}',
     '{"explorable": 5, "parameters": {}}', '{"explorable": "caching.x", "parameters": 5}', "nonsense"],
)  # fmt: skip
def test_what_is_no_scenario_is_a_sentence(scenario: str) -> None:
    with pytest.raises(ValueError, match=r"paste the whole text"):
        widgets.restore(scenario)


def test_a_scenario_of_another_version_is_a_sentence_in_place() -> None:
    declare()
    widget = restore('{"explorable": "test_explorable.sample", "parameters": {"rate": 5, "gone": 1}}')
    assert "'gone' is no control" in widget.error


def test_no_such_module_is_a_sentence() -> None:
    with pytest.raises(AttributeError, match=r"there is no .no_such_concept. in widgets"):
        widgets.no_such_concept


# What is stored --------------------------------------------------------------------------------------------


def test_output_holds_text_and_a_reference_only() -> None:
    bundle, metadata = declare()()._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", WIDGET_TYPE}
    shown = {"explorable": "test_explorable.sample", "picture": declare().view().fingerprint("A sample")}
    assert metadata == {"workbook": shown}
    assert bundle["text/plain"].startswith("A sample\nopen: 3 a second.\n")


def test_output_carries_its_figure_when_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECORD, "1")
    recorded = declare()(rate=4)._repr_mimebundle_()[0][FIGURE_TYPE]
    json.dumps(recorded, allow_nan=False)
    assert recorded["title"] == "A sample" and recorded["sentence"] == "open: 4 a second."
    assert recorded["figure"]["data"][0]["y"] == [0, 4, 8]


# The library -----------------------------------------------------------------------------------------------


def test_one_library_a_kernel_whole_and_compressed() -> None:
    first, second = declare()(), declare()(rate=4)
    assert library() is library() and isinstance(library(), Library)
    assert first.library == second.library == library().key == library_key()
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    assert gzip.decompress(library().plotly).decode() == get_plotlyjs()
    assert library().plotly_version == get_plotlyjs_version()
    # What every explorable sends besides its data.
    assert len(ExplorableWidget._esm) < 1500


def test_nothing_is_fetched_from_elsewhere() -> None:
    addresses = re.findall(
        r"https?://[^\s\"'`]+", str(library()._esm) + library().style + ExplorableWidget._esm
    )
    assert addresses == []
    assert base64.b64encode(library().plotly)  # bytes, not text

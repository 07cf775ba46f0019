"""The framework: a declaration, its widget, and what travels to the browser."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import gzip
import json
import re
import threading
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
    Progress,
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
    json.dumps(declared.spec(declared.view()), allow_nan=False)


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
        assert declared.answer(declared.view()) == answer
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


# What takes longer, and can be stopped ---------------------------------------------------------------------


class Bench:
    """An explorable that reports its progress and goes on only when it is told to; used within a loop.

    Its one control is the number of shares it reports, each of which waits to be let through.
    """

    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent
        self.gate = threading.Semaphore(0)
        self.ended: list[str] = []
        self.threads: list[threading.Thread] = []

        def sample(steps: int, rate: float, *, progress: Progress) -> View:
            self.threads.append(threading.current_thread())
            try:
                for step in range(steps):
                    assert self.gate.acquire(timeout=10)
                    progress((step + 1) / steps)
                if rate == 8:
                    raise KeyError("lost")
            except BaseException as end:
                self.ended.append(type(end).__name__)
                raise
            self.ended.append(f"{steps} {rate:g}")
            return one_panel(line([0, 1], [rate, steps], "a"), sentence=f"{steps} at {rate:g}.")

        self.declared = declare(sample, steps=slider(0, 9, 0, "steps"), rate=slider(0.0, 10.0, 3.0, "rate"))
        self.widget = self.declared()

    def ask(self, request: int, **parameters: object) -> None:
        ask(self.widget, request, **parameters)

    def stop(self, request: int) -> None:
        self.widget._receive(self.widget, {"kind": "stop", "request": request}, [])

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not happened():
                await asyncio.sleep(0.001)

    async def answers(self, number: int) -> list[Any]:
        """Wait until so many requests are answered; returns kind, request and sentence of each."""

        def answered() -> list[Any]:
            return [message for message, _ in self.sent if message["kind"] != "progress"]

        await self.until(lambda: len(answered()) >= number)
        return [(message["kind"], message["request"], message["sentence"]) for message in answered()]


@pytest.fixture
def bench(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(framework, "PROGRESS_AFTER", 0.01)
    monkeypatch.setattr(framework, "PROGRESS_EVERY", 0.01)
    return Bench(sent)


def test_progress_is_no_control(bench: Bench) -> None:
    assert bench.declared.reports and list(bench.declared.controls) == ["steps", "rate"]
    assert bench.declared.spec(bench.declared.view())["reports"]
    assert not declare().spec(declare().view())["reports"]
    with pytest.raises(ValueError, match="progress is what a function reports"):
        declare(lambda progress: one_panel(), progress=slider(0.0, 1.0, 0.5, "progress"))


def test_without_a_loop_it_is_computed_at_once(bench: Bench) -> None:
    bench.gate.release(9)
    assert bench.declared.view(steps=2).sentence == "2 at 3."
    bench.ask(1, steps=3)
    bench.widget.set(steps=4)
    assert [message["kind"] for message, _ in bench.sent] == ["draw", "draw"]
    assert bench.widget.view.sentence == "4 at 3."
    assert set(bench.threads) == {threading.current_thread()}


def test_a_request_is_computed_beside_the_loop_and_answered_on_it(bench: Bench) -> None:
    async def story() -> None:
        bench.ask(7, steps=4)
        assert bench.sent == []
        bench.gate.release(1)
        await bench.until(lambda: any(message.get("share") == 0.25 for message, _ in bench.sent))
        # What is under way is not shown before it is finished.
        assert bench.widget.view.sentence == "0 at 3." and bench.widget.parameters["steps"] == 0
        bench.gate.release(3)
        assert await bench.answers(1) == [("draw", 7, "4 at 3.")]
        assert bench.threads[-1] is not threading.current_thread()
        assert bench.widget.parameters == {"steps": 4, "rate": 3.0}
        # Nothing more is said of what is finished.
        quiet = len(bench.sent)
        await asyncio.sleep(0.05)
        assert len(bench.sent) == quiet

    asyncio.run(story())
    shares = [message["share"] for message, _ in bench.sent if message["kind"] == "progress"]
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)


def test_everything_is_sent_by_the_thread_of_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    senders = set()
    monkeypatch.setattr(ExplorableWidget, "send", lambda *_arguments: senders.add(threading.current_thread()))

    async def story() -> None:
        bench.ask(1, steps=1)
        await bench.until(lambda: senders)
        bench.gate.release(1)
        await bench.until(lambda: bench.widget.view.sentence == "1 at 3.")

    asyncio.run(story())
    assert senders == {threading.current_thread()}


def test_an_answer_is_a_reply_to_its_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel keeps in the context whom it answers."""
    parent = contextvars.ContextVar("parent", default="none")
    found = []
    monkeypatch.setattr(ExplorableWidget, "send", lambda *_arguments: found.append(parent.get()))

    async def story() -> None:
        parent.set("the request")
        bench.ask(1, steps=1)
        parent.set("another")
        await bench.until(lambda: found)
        bench.gate.release(1)
        await bench.until(lambda: bench.widget.view.sentence == "1 at 3.")

    asyncio.run(story())
    assert set(found) == {"the request"}


def test_stop_leaves_the_last_picture(bench: Bench) -> None:
    async def story() -> None:
        bench.ask(1, steps=2)
        bench.stop(99)  # of another page
        bench.stop(1)
        # The page has its answer before the computation has heard of it.
        assert await bench.answers(1) == [("stopped", 1, "0 at 3.")]
        bench.gate.release(1)
        await bench.until(lambda: bench.ended[-1:] == ["_Stopped"])
        assert bench.widget.parameters["steps"] == 0 and bench.widget.error == ""
        bench.stop(1)  # it is stopped already
        bench.gate.release(3)
        bench.ask(2, steps=2, rate=4)
        assert (await bench.answers(2))[1:] == [("draw", 2, "2 at 4.")]

    asyncio.run(story())


def test_a_newer_setting_stops_the_older(bench: Bench) -> None:
    async def story() -> None:
        for request, rate in enumerate((4, 5, 6), 1):
            bench.ask(request, steps=3, rate=rate)
        bench.gate.release(4)
        assert await bench.answers(3) == [
            ("stopped", 1, "0 at 3."),
            ("stopped", 2, "0 at 3."),
            ("draw", 3, "3 at 6."),
        ]

    asyncio.run(story())
    # The second had not begun; the first ended at the share it reported next.
    assert bench.ended == ["0 3", "_Stopped", "3 6"]


def test_one_computation_at_a_time(bench: Bench) -> None:
    other = Bench(bench.sent)

    async def story() -> None:
        bench.ask(1, steps=1)
        await bench.until(lambda: len(bench.threads) == 2)
        other.ask(2, steps=0, rate=5)
        await asyncio.sleep(0.02)
        assert len(other.threads) == 1
        bench.gate.release(1)
        assert sorted(await bench.answers(2)) == [("draw", 1, "1 at 3."), ("draw", 2, "0 at 5.")]

    asyncio.run(story())


def test_a_cell_goes_before_what_is_under_way(bench: Bench) -> None:
    async def story() -> None:
        bench.ask(1, steps=1)
        bench.widget.set(rate=5)
        assert await bench.answers(2) == [("stopped", 1, "0 at 3."), ("draw", None, "0 at 5.")]
        bench.gate.release(1)
        await bench.until(lambda: bench.ended[-1] == "_Stopped")

    asyncio.run(story())
    assert bench.widget.view.sentence == "0 at 5."


def test_what_fails_beside_the_loop_is_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, told: raised.append(told["exception"]))
        bench.ask(1, rate=8)
        bench.ask(2, rate=99)
        assert [kind for kind, _, _ in await bench.answers(2)] == ["stopped", "refused"]
        bench.ask(3, rate=8)
        await bench.answers(3)
        assert bench.widget.error.startswith("This setting cannot be drawn (KeyError: 'lost')")
        assert raised == []
        monkeypatch.setenv(STRICT, "1")
        bench.ask(4, rate=8)
        assert [kind for kind, _, _ in await bench.answers(4)][2:] == ["refused", "refused"]
        await bench.until(lambda: raised)

    asyncio.run(story())
    assert isinstance(raised[0], KeyError)
    assert bench.widget.view.sentence == "0 at 3."


def test_a_loop_that_is_gone_takes_no_picture(bench: Bench) -> None:
    async def story() -> None:
        bench.ask(1, steps=1)
        await bench.until(lambda: len(bench.threads) == 2)

    asyncio.run(story())
    bench.gate.release(1)
    bench.threads[1].join(10)
    assert bench.widget.view.sentence == "0 at 3."
    bench.widget.set(rate=5)
    assert bench.widget.view.sentence == "0 at 5."


def test_without_progress_it_is_answered_at_once(sent: list[Any]) -> None:
    async def story() -> None:
        ask(declare()(), 1, rate=4)
        assert [message["kind"] for message, _ in sent] == ["draw"]

    asyncio.run(story())


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

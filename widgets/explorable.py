"""Explorables: declared as a function of its controls, drawn and kept right by the framework.

.. code-block:: python

    @explorable(
        "What a cache buys",
        predict=estimate("Nine of ten requests take 1 ms, the tenth 100 ms. What is the mean?", unit="ms"),
        hit_rate=slider(0.0, 1.0, 0.9, "hit rate"),
        hit_ms=log_slider(0.1, 10, 1, "hit time", unit="ms"),
    )
    def effective_access_time(hit_rate: float, hit_ms: float) -> View: ...

The function computes (by calling ``course``) and returns a :class:`widgets.plot.View`; it knows nothing of
browsers.  Called by a reader, the explorable gives a widget; ``.view(...)`` gives the picture without one.

A function that may take longer than a third of a second asks for ``progress`` as well, and tells it the share
that is done:

.. code-block:: python

    def replayed(customers: int, *, progress: Progress) -> View:
        run = queueing.simulate(9, 10, customers=customers, progress=progress)

The page then computes it in the background, shows the share, and can stop it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import anywidget
import numpy as np
import traitlets

from widgets.controls import Control, Value
from widgets.library import library, library_key
from widgets.palette import DARK, LIGHT
from widgets.plot import Figure, View, quantity

#: Set to 1 (tests do), an error inside a picture is raised as well as shown.
STRICT = "COURSE_STRICT"
#: Set to 1 (``make sync`` does), an output carries its figure, for the static picture.
RECORD = "COURSE_RECORD"
FIGURE_TYPE = "application/vnd.system-design-workbook.figure+json"
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"
#: Key under which an output's metadata names the picture it shows.
METADATA = "workbook"

#: What a function is given to say how far it is: the share that is done, from 0 to 1.
Progress = Callable[[float], None]
#: Seconds until a page shows how far a computation is, and between two messages about it.
PROGRESS_AFTER, PROGRESS_EVERY = 0.3, 0.1
#: Held by the one computation of this kernel that runs in the background.
_COMPUTING = threading.Lock()

#: Every explorable that has been declared, by its name ``module.function``.
registry: dict[str, Explorable] = {}


@dataclass(frozen=True)
class Question:
    """What the reader predicts before the picture opens.

    Attributes
    ----------
    text : str
        The question.
    unit : str
        Unit of a number asked for.
    options : tuple of str
        The answers to choose from; none for a number.
    """

    text: str
    unit: str = ""
    options: tuple[str, ...] = ()


def estimate(text: str, *, unit: str = "") -> Question:
    """Ask for a number; the view's ``answer`` at the default parameters is the right one."""
    return Question(text, unit=unit)


def choose(text: str, *options: str) -> Question:
    """Ask for one of several answers; the view's ``answer`` is the right one of them."""
    if len(set(options)) < 2:
        raise ValueError(f"options = {options!r}: a question needs at least two different answers")
    return Question(text, options=options)


class Explorable:
    """One declared explorable: call it for a widget, or ask for its view without one.

    Attributes
    ----------
    name : str
        ``module.function``, the name in scenarios.
    title : str
        What stands above it.
    controls : dict of str to Control
        By parameter name, in the order shown.
    question : Question
        What the reader predicts first.
    leaves_out : str
        What the model behind it leaves out; one line.
    reports : bool
        Whether the function says how far it is, and so may be stopped.
    """

    def __init__(
        self,
        function: Callable[..., View],
        title: str,
        question: Question,
        leaves_out: str,
        controls: Mapping[str, Control],
    ) -> None:
        if not controls:
            raise ValueError(f"{function.__name__}: an explorable needs at least one control")
        if "progress" in controls:
            raise ValueError(f"{function.__name__}: progress is what a function reports, and no control")
        self.function = function
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.title = title
        self.question = question
        self.leaves_out = leaves_out
        self.reports = "progress" in inspect.signature(function).parameters
        self.controls = {key: replace(control, name=key) for key, control in controls.items()}
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    @property
    def defaults(self) -> dict[str, Value]:
        """The parameters at the start and after a reset."""
        return {key: control.default for key, control in self.controls.items()}

    def validate(self, parameters: Mapping[str, object]) -> dict[str, Value]:
        """Return all parameters, those not given at their defaults.

        Raises
        ------
        ValueError
            If one is unknown or not allowed; the message names it and what is.
        """
        for key in parameters:
            if key not in self.controls:
                raise ValueError(f"{key!r} is no control of {self.name}; it has {', '.join(self.controls)}")
        given = {key: self.controls[key].validate(value) for key, value in parameters.items()}
        return self.defaults | given

    def view(self, **parameters: object) -> View:
        """Return what is shown for `parameters`, without a widget.

        Raises
        ------
        ValueError
            If a parameter is not allowed, or the model refuses their combination.
        """
        return self.compute(self.validate(parameters))

    def compute(self, parameters: Mapping[str, Value], progress: Progress = lambda _share: None) -> View:
        """Return the view of parameters that are valid, telling `progress` how far it is if it says so."""
        return self.function(**parameters, **({"progress": progress} if self.reports else {}))

    def answer(self, view: View) -> float | str:
        """Return the answer to the question, which `view`, that of the default parameters, holds.

        Raises
        ------
        ValueError
            If it is no answer to the question.
        """
        answer = view.answer
        if isinstance(answer, str):
            if answer not in self.question.options:
                raise ValueError(f"{self.name}: the answer {answer!r} is none of {self.question.options}")
            return answer
        if answer is None or self.question.options or not np.isfinite(answer):
            raise ValueError(f"{self.name}: the view's answer {answer!r} does not fit the question")
        return float(answer)

    def __call__(self, **parameters: object) -> ExplorableWidget:
        """Return the widget; it draws itself where a cell ends with it."""
        return ExplorableWidget(self, parameters)

    def spec(self, view: View) -> dict[str, Any]:
        """Return what the browser needs to know of the declaration (JSON).

        Parameters
        ----------
        view : View
            The view of the default parameters.
        """
        answer = self.answer(view)
        return {
            "name": self.name,
            "title": self.title,
            "question": {
                "text": self.question.text,
                "unit": self.question.unit,
                "options": list(self.question.options),
                "answer": answer,
                "answer_text": answer if isinstance(answer, str) else quantity(answer, self.question.unit),
            },
            "leaves_out": self.leaves_out,
            "reports": self.reports,
            "controls": [control.spec() for control in self.controls.values()],
            "light": LIGHT,
            "dark": DARK,
        }


def explorable(
    title: str, *, predict: Question, leaves_out: str = "", **controls: Control
) -> Callable[[Callable[..., View]], Explorable]:
    """Declare an explorable from the function that follows.

    Parameters
    ----------
    title : str
        What stands above it.
    predict : Question
        What the reader predicts before it opens: :func:`estimate` or :func:`choose`.
    leaves_out : str
        What the model behind it leaves out, in one line.
    **controls : Control
        One for each parameter of the function, by name.

    Raises
    ------
    ValueError
        If a default lies outside its range, a label is missing, or the name is taken.
    """

    def declare(function: Callable[..., View]) -> Explorable:
        result = Explorable(function, title, predict, leaves_out, controls)
        known = registry.get(result.name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ValueError(f"{result.name}: there is an explorable of this name already")
        registry[result.name] = result
        return result

    return declare


@dataclass(frozen=True)
class _Drawn:
    """A setting and what is shown for it."""

    parameters: dict[str, Value]
    view: View
    figure: Figure
    description: str


@dataclass(frozen=True)
class _Refused:
    """Why a setting shows nothing, and the exception if that is a mistake of ours."""

    text: str
    broken: Exception | None = None


class _Stopped(BaseException):
    """Ends a computation that nobody waits for; no ``except Exception`` is meant to catch it."""


class _Run:
    """A computation in the background, for one request; called with the share that is done."""

    def __init__(self, request: int) -> None:
        self.request = request
        self.share = 0.0
        self.stopped = False

    def __call__(self, share: float) -> None:
        if self.stopped:
            raise _Stopped
        self.share = min(1.0, max(0.0, float(share)))


class ExplorableWidget(anywidget.AnyWidget):
    """An explorable on a page.

    The browser sends the parameters the reader has set; the kernel answers with one message that holds the
    sentence, the description and those arrays of the picture that have changed.  The browser has at most one
    request under way and then sends the newest setting only, so fast hands leave no backlog.

    A function that reports its progress is computed in a thread, and only there: the loop that has received the
    request (of the kernel, or of a subshell of it) sends everything, how far it is and the picture at the end,
    and hears meanwhile that the reader stops it or has moved on.  In a cell, and without a loop, it computes
    at once like every other.
    """

    # The page's library does the work; this finds it, or says how to get it.
    _esm = """
    export default {
      render(context) {
        const shelf = (globalThis.systemDesignWorkbook ??= {});
        const key = context.model.get("library");
        const slot = (shelf[key] ??= {});
        slot.ready ??= new Promise((resolve) => (slot.resolve = resolve));
        let undo, gone = false;
        const wait = setTimeout(() => {
          context.el.textContent = "This picture is not connected: choose Run, then Run All Cells.";
        }, 8000);
        slot.ready.then((code) => {
          clearTimeout(wait);
          context.el.textContent = "";
          if (!gone) undo = code.render(context);
        });
        return () => { gone = true; clearTimeout(wait); undo?.(); };
      },
    };
    """
    spec = traitlets.Dict().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)
    # The whole picture, made when it is asked for: at the start, and when a page is loaded anew.
    picture = traitlets.Any().tag(sync=True, to_json=lambda _value, widget: widget._whole())

    def __init__(self, declared: Explorable, parameters: Mapping[str, object]) -> None:
        self._declared = declared
        self._sequence = 0
        self._error = ""
        self._run: _Run | None = None
        # Cells and the messages of a page may come in on two threads of the kernel.
        self._lock = threading.RLock()
        self._parameters = declared.defaults
        self._view = declared.view()
        spec = declared.spec(self._view)
        self._figure = self._view.figure()
        self._description = self._view.description()
        if parameters:
            self._keep(self._compute(parameters))
        library()
        super().__init__(spec=spec, library=library_key())
        self.on_msg(self._receive)

    # What a reader calls -----------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Value]:
        """The parameters of the picture now shown."""
        return dict(self._parameters)

    @property
    def view(self) -> View:
        """The view now shown."""
        return self._view

    @property
    def error(self) -> str:
        """Why the last setting was refused; empty when it was not."""
        return self._error

    def set(self, **parameters: object) -> None:
        """Move controls from code; a setting that is not allowed is refused in place, with a sentence."""
        self._update(parameters)

    def reset(self) -> None:
        """Put every control back to its default."""
        self._update(self._declared.defaults)

    def scenario(self) -> str:
        """Return the explorable's name and parameters as text, to keep, send and :func:`restore`."""
        return json.dumps({"explorable": self._declared.name, "parameters": self._parameters})

    # The way of one slider ---------------------------------------------------------------------

    def _compute(
        self, parameters: Mapping[str, object], progress: Progress = lambda _share: None
    ) -> _Drawn | _Refused:
        """Return what a setting shows, or why it shows nothing; changes nothing."""
        try:
            merged = self._declared.validate({**self._parameters, **parameters})
            view = self._declared.compute(merged, progress)
            return _Drawn(merged, view, view.figure(), view.description())
        except ValueError as refused:
            return _Refused(str(refused))
        except Exception as broken:
            return _Refused(
                f"This setting cannot be drawn ({type(broken).__name__}: {broken}). "
                "The last picture stays; please report it with the controls as they stand.",
                broken,
            )

    def _keep(self, outcome: _Drawn | _Refused) -> None:
        """Show it; keep the last good picture where it was refused."""
        if isinstance(outcome, _Refused):
            self._error = outcome.text
            if outcome.broken is not None and os.environ.get(STRICT) == "1":
                raise outcome.broken
            return
        self._error = ""
        self._view, self._figure = outcome.view, outcome.figure
        self._description, self._parameters = outcome.description, outcome.parameters

    def _answer(self, outcome: _Drawn | _Refused, request: int | None, started: float) -> None:
        previous = self._figure
        self._sequence += 1
        try:
            self._keep(outcome)
        finally:
            if self._error:
                self.send({"kind": "refused", **self._caption(request, started)})
        if not self._error:
            message, buffers = changes(previous, self._figure)
            self.send({"kind": "draw", **message, **self._caption(request, started)}, buffers)

    def _update(self, parameters: Mapping[str, object], request: int | None = None) -> None:
        """Compute a setting here and now."""
        started = time.perf_counter()
        with self._lock:
            self._stop()
            self._answer(self._compute(parameters), request, started)

    def _begin(self, parameters: Mapping[str, object], request: int, loop: asyncio.AbstractEventLoop) -> None:
        """Compute a setting in a thread, and answer on the loop."""
        started = time.perf_counter()
        run = _Run(request)

        def work() -> None:
            try:
                with _COMPUTING:
                    run(0.0)
                    outcome = self._compute(parameters, run)
            except _Stopped:
                return
            # A page that is gone has closed its loop.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(deliver, outcome, context=context)

        def deliver(outcome: _Drawn | _Refused) -> None:
            with self._lock:
                if self._run is run:
                    self._run = None
                    self._answer(outcome, request, started)

        def report() -> None:
            if self._run is run:
                self.send({"kind": "progress", "request": request, "share": run.share})
                loop.call_later(PROGRESS_EVERY, report)

        with self._lock:
            self._stop()
            self._run = run
        # What is sent later is a reply to this request as well.
        context = contextvars.copy_context()
        loop.call_later(PROGRESS_AFTER, report)
        # Not one of a pool, which the kernel would wait for when it ends.
        threading.Thread(target=work, name=f"{self._declared.name}-{request}", daemon=True).start()

    def _stop(self) -> None:
        """End the computation in the background, if there is one, at the next share it reports."""
        run, self._run = self._run, None
        if run is not None:
            run.stopped = True
            self.send({"kind": "stopped", **self._caption(run.request, time.perf_counter())})

    def _caption(self, request: int | None, started: float) -> dict[str, Any]:
        return {
            "sequence": self._sequence,
            "request": request,
            "error": self._error,
            "parameters": self._parameters,
            "sentence": self._view.sentence,
            "description": self._description,
            "last_step": self._view.last_step,
            "kernel_ms": round(1000 * (time.perf_counter() - started), 3),
        }

    def _receive(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        kind = content.get("kind")
        if kind == "set":
            parameters, request = dict(content["parameters"]), int(content["request"])
            loop = _loop() if self._declared.reports else None
            if loop is None:
                self._update(parameters, request)
            else:
                self._begin(parameters, request, loop)
            return
        with self._lock:
            if kind == "stop":
                if self._run is not None and self._run.request == content.get("request"):
                    self._stop()
            elif kind == "ready" and content.get("sequence") != self._sequence:
                message, buffers = changes(None, self._figure)
                self.send({"kind": "draw", **message, **self._caption(None, time.perf_counter())}, buffers)

    def _whole(self) -> dict[str, Any]:
        with self._lock:
            message, buffers = changes(None, self._figure)
            return {**message, **self._caption(None, time.perf_counter()), "buffers": buffers}

    # What is stored in a notebook --------------------------------------------------------------

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        text = f"{self._declared.title}\n{self._view.sentence}\n{self._description}"
        if self._error:
            text += f"\n{self._error}"
        bundle: dict[str, Any] = {
            "text/plain": text,
            WIDGET_TYPE: {"version_major": 2, "version_minor": 0, "model_id": self.model_id},
        }
        if os.environ.get(RECORD) == "1":
            bundle[FIGURE_TYPE] = {
                "title": self._declared.title,
                "sentence": self._view.sentence,
                "figure": self._figure.assembled(),
            }
        shown = {"explorable": self._declared.name, "picture": self._view.fingerprint(self._declared.title)}
        return bundle, {METADATA: shown}


def _loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that is running here, if one is."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def changes(old: Figure | None, new: Figure) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the message and buffers that turn the picture `old` into `new`.

    Parameters
    ----------
    old : Figure or None
        What the browser shows; None for nothing yet.
    new : Figure
        What it is to show.

    Returns
    -------
    message : dict
        ``traces[i]["arrays"]`` maps a key to the index of its buffer (float32); keys that are missing have
        not changed.  ``traces[i]["meta"]`` and ``layout`` are there where they have changed.
    buffers : list of memoryview
        The arrays that have changed.
    """
    buffers: list[memoryview] = []
    traces: list[dict[str, Any]] = []
    for index, (meta, arrays) in enumerate(zip(new.data, new.arrays, strict=True)):
        entry: dict[str, Any] = {"arrays": {}}
        before_meta = old.data[index] if old is not None and index < len(old.data) else None
        if before_meta != meta:
            entry["meta"] = meta
        # A trace that becomes another kind of trace starts from nothing: the browser drops its arrays.
        keeps = before_meta is not None and before_meta["type"] == meta["type"]
        for key, values in arrays.items():
            before = old.arrays[index].get(key) if old is not None and keeps else None
            if before is None or not np.array_equal(before, values, equal_nan=True):
                entry["arrays"][key] = len(buffers)
                buffers.append(values.data)
        traces.append(entry)
    message: dict[str, Any] = {"traces": traces}
    if old is None or old.layout != new.layout:
        message["layout"] = new.layout
    return message, buffers


def restore(scenario: str) -> ExplorableWidget:
    """Return the explorable of a saved scenario, with its parameters.

    Parameters
    ----------
    scenario : str
        What :meth:`ExplorableWidget.scenario` gave, or what the Share button copies.

    Raises
    ------
    ValueError
        If the text is no scenario or names an explorable that does not exist.
    """
    import importlib

    hint = "paste the whole text that scenario() or the Share button gave"
    try:
        saved = json.loads(scenario)
        name, parameters = saved["explorable"], dict(saved["parameters"])
        module, _, _function = str(name).partition(".")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"scenario = {scenario!r}: this is no saved scenario; {hint}") from error
    if name not in registry and module.isidentifier():
        try:
            importlib.import_module(f"widgets.{module}")
        except ModuleNotFoundError as error:
            raise ValueError(f"explorable = {name!r}: this course has none of that name; {hint}") from error
    if name not in registry:
        raise ValueError(f"explorable = {name!r}: this course has none of that name; {hint}")
    return registry[name](**parameters)

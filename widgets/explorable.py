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
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
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
        self.function = function
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.title = title
        self.question = question
        self.leaves_out = leaves_out
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
        return self.function(**self.validate(parameters))

    @cached_property
    def answer(self) -> float | str:
        """The answer to the question: the view's, at the default parameters."""
        answer = self.view().answer
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

    def spec(self) -> dict[str, Any]:
        """Return what the browser needs to know of the declaration (JSON)."""
        return {
            "name": self.name,
            "title": self.title,
            "question": {
                "text": self.question.text,
                "unit": self.question.unit,
                "options": list(self.question.options),
                "answer": self.answer,
                "answer_text": self.answer
                if isinstance(self.answer, str)
                else quantity(self.answer, self.question.unit),
            },
            "leaves_out": self.leaves_out,
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


class ExplorableWidget(anywidget.AnyWidget):
    """An explorable on a page.

    The browser sends the parameters the reader has set; the kernel answers with one message that holds the
    sentence, the description and those arrays of the picture that have changed.  The browser has at most one
    request under way and then sends the newest setting only, so fast hands leave no backlog.
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
        self._parameters = declared.defaults
        self._view = declared.view()
        self._figure = self._view.figure()
        self._description = self._view.description()
        if parameters:
            self._attempt(parameters)
        library()
        super().__init__(spec=declared.spec(), library=library_key())
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
        self._update(parameters, request=None)

    def reset(self) -> None:
        """Put every control back to its default."""
        self._update(self._declared.defaults, request=None)

    def scenario(self) -> str:
        """Return the explorable's name and parameters as text, to keep, send and :func:`restore`."""
        return json.dumps({"explorable": self._declared.name, "parameters": self._parameters})

    # The way of one slider ---------------------------------------------------------------------

    def _attempt(self, parameters: Mapping[str, object]) -> Figure | None:
        """Try a setting; keep the last good picture where it is refused."""
        try:
            merged = self._declared.validate({**self._parameters, **parameters})
            view = self._declared.function(**merged)
            figure = view.figure()
            description = view.description()
        except ValueError as refused:
            self._error = str(refused)
            return None
        except Exception as broken:
            self._error = (
                f"This setting cannot be drawn ({type(broken).__name__}: {broken}). "
                "The last picture stays; please report it with the controls as they stand."
            )
            if os.environ.get(STRICT) == "1":
                raise
            return None
        self._error = ""
        previous, self._figure = self._figure, figure
        self._view, self._description, self._parameters = view, description, merged
        return previous

    def _update(self, parameters: Mapping[str, object], request: int | None) -> None:
        started = time.perf_counter()
        try:
            previous = self._attempt(parameters)
        finally:
            self._sequence += 1
            if self._error:
                self.send({"kind": "refused", **self._caption(request, started)})
        if previous is not None:
            message, buffers = changes(previous, self._figure)
            self.send({"kind": "draw", **message, **self._caption(request, started)}, buffers)

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
        if content.get("kind") == "set":
            self._update(dict(content["parameters"]), int(content["request"]))
        elif content.get("kind") == "ready" and content.get("sequence") != self._sequence:
            message, buffers = changes(None, self._figure)
            self.send({"kind": "draw", **message, **self._caption(None, time.perf_counter())}, buffers)

    def _whole(self) -> dict[str, Any]:
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

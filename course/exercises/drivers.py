"""How an answer is called: plain data in, plain data out, and nothing known of what is right.

A driver gets the learner's object and one case, and returns what the answer gave. :func:`run` calls a driver so that
whatever happens comes back as an :class:`Outcome`, which is JSON through and through. Both may run in another process
than the comparison; neither imports an exercise.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import linecache
import sys
from collections import Counter, deque
from collections.abc import Callable, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from course.exercises.limits import TooLongError, limited

#: The learner's object, what a case gives, and back what the answer gave.
Driver = Callable[[Any, Any], Any]

MOST_VALUES = 200_000
MOST_DEPTH = 20
MOST_BITS = 3_000
MOST_TEXT = 2_000
_AS_IT_IS = {type(None), bool, float}
_SIZED = (str, set, frozenset, KeysView, ValuesView, list, tuple, deque, range, dict)


class RefusedError(Exception):
    """The answer cannot be used; the message is one sentence for the learner."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes
    ----------
    kind : {"value", "raised", "refused", "stopped"}
        It gave a value, raised an exception, cannot be used, or did not come back.
    value : object
        JSON data: None, bool, int, float, str, list, dict with text as keys.
    said : str
        The exception, or why it is refused.
    line : int
        Where in the learner's cell the exception left it, 0 if nowhere.
    code : str
        That line.
    printed : str
        The end of what the answer printed.
    """

    kind: Literal["value", "raised", "refused", "stopped"]
    value: Any = None
    said: str = ""
    line: int = 0
    code: str = ""
    printed: str = ""


def run(
    drive: Driver,
    answer: object,
    given: object,
    namespace: Mapping[str, object],
    limit_s: float,
    *,
    own_thread: bool = False,
) -> Outcome:
    """Drive an answer through one case.

    Parameters
    ----------
    drive : callable
        One of this module.
    answer : object
        What the learner wrote.
    given : JSON data
        The case. The answer gets a copy.
    namespace : mapping
        The globals of the learner's code, by which its frames are known.
    limit_s : float
        How long it may take.
    own_thread : bool
        As for :func:`course.exercises.limits.limited`.

    Raises
    ------
    KeyboardInterrupt
        If the reader pressed stop.
    """
    printed = _Tail()
    try:
        with contextlib.redirect_stdout(printed):
            value = limited(lambda: plain(drive(answer, plain(given))), limit_s, own_thread=own_thread)
        return Outcome("value", value, printed=printed.text())
    except KeyboardInterrupt:
        raise
    except TooLongError:
        return Outcome("stopped", printed=printed.text())
    except RefusedError as refusal:
        return Outcome("refused", said=str(refusal), printed=printed.text())
    except BaseException as error:
        line, code = _place(error.__traceback__, namespace)
        return Outcome("raised", said=_said(error), line=line, code=code, printed=printed.text())


def plain(value: object) -> Any:
    """Copy a value into JSON data.

    Arrays, tuples, sets, ranges and the like become lists (sets in order), numbers of NumPy become Python's.

    Raises
    ------
    RefusedError
        If it holds anything else, or too much.
    """
    if type(value) in _AS_IT_IS:
        return value
    left = MOST_VALUES

    def copy(value: object, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MOST_DEPTH:
            raise RefusedError("your answer holds too much to be compared")
        if type(value) in _AS_IT_IS:
            return value
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
            if value.size > left:
                raise RefusedError("your answer holds too much to be compared")
            value = value.tolist()
            if isinstance(value, bool):
                return value
        if isinstance(value, _SIZED) and len(value) > left:
            raise RefusedError("your answer holds too much to be compared")
        if isinstance(value, int):
            if value.bit_length() > MOST_BITS:
                raise RefusedError("your answer holds a number of more than 900 digits")
            return int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, str):
            return "".join(value)
        if isinstance(value, set | frozenset | KeysView):
            return sorted((copy(item, depth + 1) for item in value), key=repr)
        if isinstance(value, list | tuple | deque | range | ValuesView):
            return [copy(item, depth + 1) for item in value]
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise RefusedError("your answer holds a dictionary whose keys are not text")
            return {"".join(key): copy(item, depth + 1) for key, item in value.items()}
        if inspect.iscoroutine(value):
            value.close()
            raise RefusedError(
                "your function is `async`, and it must give its answer at once: leave out `async`"
            )
        if inspect.isgenerator(value):
            raise RefusedError(
                "your function has a `yield`, so it gives a generator: return the values in a list"
            )
        if callable(value):
            raise RefusedError(f"your answer is {_a(value)}, not what it returns")
        raise RefusedError(f"your answer holds {_a(value)}: give numbers, text, lists, tuples, sets or None")

    return copy(value, 0)


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} object of type {name}"


class _Tail(io.TextIOBase):
    """Keeps the end of what is written to it, however much that is."""

    def __init__(self) -> None:
        self.kept: deque[str] = deque()
        self.length = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.kept.append(text[-MOST_TEXT:])
        self.length += len(self.kept[-1])
        while len(self.kept) > 1 and self.length - len(self.kept[0]) >= MOST_TEXT:
            self.length -= len(self.kept.popleft())
        return len(text)

    def text(self) -> str:
        return "".join(self.kept)[-MOST_TEXT:]


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}"[:MOST_TEXT] if text else type(error).__name__


def _place(traceback: TracebackType | None, namespace: Mapping[str, object]) -> tuple[int, str]:
    """Return the last line of the learner's in a traceback."""
    place = (0, "")
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals is namespace:
            line = linecache.getline(frame.f_code.co_filename, traceback.tb_lineno, frame.f_globals)
            place = (traceback.tb_lineno, line.strip()[:MOST_TEXT])
        traceback = traceback.tb_next
    return place


def _callable(answer: object, what: str) -> Callable[..., Any]:
    if not callable(answer) or (what == "class") != isinstance(answer, type):
        raise RefusedError(f"what you have defined is {_a(answer)}, and it must be a {what}")
    return answer


# --- drivers of more than one exercise ----------------------------------------------------------------------


def value(answer: object, given: object) -> object:
    """Take the answer as it is: a number, a choice, a design."""
    if callable(answer):
        raise RefusedError("what you have defined is a function or a class, and it must be a value")
    return answer


def call(answer: object, given: list[Any]) -> Any:
    """Call a function with the arguments that the case lists."""
    return _callable(answer, "function")(*given)


def call_arrays(answer: object, given: list[list[float]]) -> Any:
    """Call a function with arrays."""
    import numpy as np

    return _callable(answer, "function")(*map(np.array, given))


def operations(answer: object, given: dict[str, Any]) -> list[Any]:
    """Make an object of a class and call its methods one after the other; list what they give."""
    made = _callable(answer, "class")(*given["made_with"])
    return [plain(getattr(made, name)(*arguments)) for name, *arguments in given["operations"]]


# --- drivers of one exercise --------------------------------------------------------------------------------


def single_flight(answer: object, given: dict[str, Any]) -> dict[str, Any]:
    """Let several ask at certain times, in virtual time; list the loads and what each who asked got."""
    from course import virtual_time

    loads: list[str] = []
    times: Counter[str] = Counter()

    class AwayError(ConnectionError):
        pass

    async def load(key: str) -> str:
        loads.append(key)
        times[key] += 1
        number = times[key]
        await asyncio.sleep(given["load_s"])
        if [key, number] in given["failing"]:
            raise AwayError("the database is away")
        return f"row {key}"

    async def ask(flight: Any, at_s: float, key: str) -> Any:
        await asyncio.sleep(at_s)
        answered = flight.get(key)
        if not inspect.isawaitable(answered):
            raise RefusedError("get() must be a coroutine: write `async def get`")
        try:
            return await answered
        except AwayError:
            return "ConnectionError"
        except asyncio.CancelledError:
            return "CancelledError"

    async def experiment() -> list[Any]:
        # A task that failed and was awaited by nobody is the answer's affair, and no line in the notebook.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        flight = _callable(answer, "class")(load)
        return list(await asyncio.gather(*(ask(flight, at_s, key) for at_s, key in given["asks"])))

    try:
        answers = virtual_time.run(experiment())
    except virtual_time.DeadlockError:
        raise RefusedError("your code waits for something that never happens") from None
    return {"loads": loads, "answers": answers}


def migration(answer: object, given: dict[str, list[Any]]) -> Any:
    """Call a function with keys and two rules from a key to its shard."""
    before = dict(zip(given["keys"], given["before"], strict=True))
    after = dict(zip(given["keys"], given["after"], strict=True))
    return _callable(answer, "function")(given["keys"], before.__getitem__, after.__getitem__)


def column_split(answer: object, given: dict[str, Any]) -> Any:
    """Call a function with the widths of columns and the queries that read them, as sets."""
    queries = [(set(columns), times) for columns, times in given["queries"]]
    return _callable(answer, "function")(given["widths"], queries)

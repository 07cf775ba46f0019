"""Stop code that does not come back, without another process. Standard library only: it also runs in a sandbox.

On the main thread an interval timer interrupts whatever runs, a blocking sleep included. Elsewhere (Windows, other
threads, code that needs an event loop of its own beside the notebook's) the code runs in a daemon thread that is
sent an exception; one that sleeps gets it when it wakes, and is not waited for. A single long call into C, such as
``sum(range(10**12))``, hears of neither: only the end of its process stops it.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

AGAIN_S = 0.02
PATIENCE_S = 1.0


class TooLongError(Exception):
    """The code was stopped."""


class _Stop(SystemExit):
    """Raised inside the code. asyncio lets a SystemExit through, and a thread that ends with one stays silent."""


def limited(work: Callable[[], T], seconds: float, *, own_thread: bool = False) -> T:
    """Call `work` and return what it returns, or stop it after a time.

    Parameters
    ----------
    work : callable
        Called without arguments.
    seconds : float
        How long it may take, above 0.
    own_thread : bool
        Whether it must not run in this thread.

    Raises
    ------
    TooLongError
        If it took longer, also where it caught the exception that was to stop it.
    """
    here = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    hook = sys.unraisablehook

    def silent(unraisable: Any) -> None:
        if unraisable.exc_type is not _Stop:  # which may arrive where nothing can be raised, and comes again
            hook(unraisable)

    sys.unraisablehook = silent
    try:
        return _with_a_timer(work, seconds) if here and not own_thread else _in_a_thread(work, seconds)
    finally:
        sys.unraisablehook = hook


def _with_a_timer(work: Callable[[], T], seconds: float) -> T:
    armed, rings = True, 0
    here = sys._getframe()
    tracer = sys.gettrace()

    def ring(_: int, frame: FrameType | None) -> None:
        nonlocal rings
        rings += 1
        if not armed:
            return
        if rings > 1:
            # It caught the first. Now the next line raises too, and in a loop around `except: pass` that is a line
            # outside the `try`.
            sys.settrace(_nothing)
            while frame is not None and frame is not here:
                frame.f_trace = _raise_on_a_line
                frame = frame.f_back
        raise _Stop

    before = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        try:
            result = work()
        finally:
            armed = False
    except BaseException:
        if rings:
            raise TooLongError from None
        raise
    finally:
        armed = False
        sys.settrace(tracer)
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, before)
    if rings:
        raise TooLongError
    return result


def _nothing(*_: object) -> None:
    """Trace no new frame."""


def _raise_on_a_line(frame: FrameType, event: str, _: object) -> Any:
    # Raising ends all tracing, so not on the exception that `ring` has raised: the `except` is still to come.
    if event == "line":
        raise _Stop
    return _raise_on_a_line


def _in_a_thread(work: Callable[[], T], seconds: float) -> T:
    outcome: list[T] = []
    error: list[BaseException] = []
    # An interrupted `join` takes a thread that runs for one that has ended, so that is not what is waited for.
    done = threading.Event()

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as caught:
            error.append(caught)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="an answer", daemon=True)
    thread.start()
    try:
        done.wait(seconds)
    finally:  # also where the reader pressed stop
        stopped = not done.is_set()
        until = time.monotonic() + PATIENCE_S
        while not done.is_set() and thread.is_alive() and time.monotonic() < until:
            ident = ctypes.c_ulong(thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_Stop))
            done.wait(AGAIN_S)
        thread.join(AGAIN_S)
    if stopped:
        raise TooLongError
    if error:
        raise error[0]
    return outcome[0]

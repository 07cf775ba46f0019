"""Run asyncio code in virtual time: sleeps cost nothing and every run is the same.

The event loop is asyncio's own; only its clock and its waiting are replaced. When no task can run, the clock
jumps to the next timer instead of waiting for it. Code that waits for a socket or a thread has no place here.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Every task waits for another one and no timer is set."""


class _Jump(selectors.SelectSelector):
    """Asked to wait, moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits for another one and no timer is set")
        self.now += max(timeout, 0.0)
        return []


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, starting at 0.0 s, and return its result.

    Works inside a notebook, whose own loop is already running: this one runs in a thread of its own. Tasks
    still pending when `main` returns are cancelled. Read the clock with
    ``asyncio.get_running_loop().time()``.

    Parameters
    ----------
    main : coroutine

    Raises
    ------
    DeadlockError
        If nothing can ever happen again.
    """
    outcome: list[T] = []
    error: list[BaseException] = []

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
                outcome.append(runner.run(main))
        except BaseException as caught:
            error.append(caught)

    thread = threading.Thread(target=work, name="virtual time")
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return outcome[0]

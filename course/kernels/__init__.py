"""Compiled loops, one module a concept, each with a plain-Python twin that means the same.

A kernel is declared with :func:`kernel`.  Where Numba is not installed (a browser, a bare Python) the name
stands for the twin instead: same arguments, same results, slower.  :func:`warm_up` compiles everything once
and keeps the machine code beside the module, so that a reader never waits for a compiler.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

try:
    from numba import njit

    COMPILED = True
except ImportError:
    COMPILED = False


@dataclass(frozen=True)
class WarmUp:
    """How long the first call of one kernel took in this process, in milliseconds."""

    kernel: str
    milliseconds: float


_KERNELS: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {}


def kernel(
    example: Callable[[], tuple[Any, ...]], *, twin: Callable[..., Any] | None = None
) -> Callable[[F], F]:
    """Declare a compiled loop.

    Parameters
    ----------
    example : callable
        Returns small arguments of the very types the kernel is used with; :func:`warm_up` calls the kernel on
        them.
    twin : callable, optional
        What stands in without Numba. The loop itself, uncompiled, if left out.

    Returns
    -------
    callable
        A decorator. The decorated name is the compiled loop, or the twin where Numba is missing.
    """

    def declare(loop: F) -> F:
        chosen: Any = njit(loop, cache=True, nogil=True) if COMPILED else twin or loop
        _KERNELS[f"{loop.__module__.rpartition('.')[2]}.{loop.__name__}"] = (chosen, example)
        return chosen  # type: ignore[no-any-return]

    return declare


def inlined(helper: F) -> F:
    """Compile a helper that kernels call, if there is a compiler."""
    return njit(helper, cache=True, nogil=True) if COMPILED else helper


def warm_up(report: Callable[[WarmUp], None] = lambda _: None) -> list[WarmUp]:
    """Compile every kernel with its real types, or load it if it has been compiled before.

    Parameters
    ----------
    report : callable
        Told of each kernel as it is ready.

    Returns
    -------
    list of WarmUp
        One a kernel. The first one of a process also pays for starting Numba (about 0.4 s).
    """
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    done = []
    for name, (call, example) in sorted(_KERNELS.items()):
        arguments = example()
        started = time.perf_counter()
        call(*arguments)
        done.append(WarmUp(name, 1000 * (time.perf_counter() - started)))
        report(done[-1])
    return done

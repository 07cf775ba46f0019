"""Measured against other people's work, in the same run on the same machine: ``python -m tests.benchmarks``.

Each module ``bench_*.py`` has ``measure(rounds)``, which returns rows; the program runs all of them.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Row(TypedDict):
    """One comparison.

    ``our_rate`` and ``peer_rate`` are medians over the rounds, in ``unit``; ``ratio`` is the median of how many
    times better ours was than the peer within each round, and ``goal`` the least that is asked of it.
    ``parts`` says what ours is made of, in the same unit; ``machine`` is where it was measured, and with what.
    """

    name: str
    peer: str
    our_rate: float
    peer_rate: float
    unit: str
    ratio: float
    goal: float
    parts: NotRequired[dict[str, float]]
    machine: NotRequired[str]

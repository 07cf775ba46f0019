"""The exercises of the fundamentals can be solved from the chapter alone, and their checks tell right from wrong."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.notebooks.exercises import check_cells, problems


@pytest.fixture(scope="module")
def chapter() -> dict[str, Any]:
    """What the chapter's imports and its check cells define."""
    return check_cells("01_fundamentals", exercises=6)


def mttr_for(nines: float, mttf_h: float) -> float:
    down = 10**-nines
    return mttf_h * down / (1 - down)


def percentile(times: list[float], percent: int) -> float:
    return sorted(times)[-(-percent * len(times) // 100) - 1]


def truncated_percentile(times: list[float], percent: int) -> float:
    return sorted(times)[min(percent * len(times) // 100, len(times) - 1)]


def one_too_low(times: list[float], percent: int) -> float:
    return sorted(times)[max(percent * len(times) // 100 - 1, 0)]


def sorts_in_place(times: list[float], percent: int) -> float:
    times.sort()
    return percentile(times, percent)


def interpolated(times: list[float], percent: int) -> float:
    rank = percent / 100 * (len(times) - 1)
    low, ordered = int(rank), sorted(times)
    return ordered[low] + (rank - low) * (ordered[min(low + 1, len(times) - 1)] - ordered[low])


def erlang_c(servers: int, load: float) -> float:
    b = 1.0
    for k in range(1, servers + 1):
        b = load * b / (k + load * b)
    return b / (1 - load / servers * (1 - b))


def erlang_b(servers: int, load: float) -> float:
    b = 1.0
    for k in range(1, servers + 1):
        b = load * b / (k + load * b)
    return b


def textbook_erlang_c(servers: int, load: float) -> float:
    top = load**servers / math.factorial(servers) / (1 - load / servers)
    return top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)


def textbook_erlang_c_in_numpy(servers: int, load: float) -> float:
    k = np.arange(1, servers + 1)
    terms = np.concatenate(([1.0], np.cumprod(np.full(servers, load)) / np.cumprod(k.astype(float))))
    top = terms[-1] / (1 - load / servers)
    return float(top / (terms[:-1].sum() + top))


def backwards_erlang_c(servers: int, load: float) -> float:
    term, total = 1.0, 0.0
    for k in range(servers, 0, -1):
        term *= k / load
        total += term
    last = 1 / (1 - load / servers)
    return last / (total + last)


Dependencies = list[tuple[set[str], set[str]]]


def closure(attributes: set[str], dependencies: Dependencies) -> set[str]:
    known = set(attributes)
    while True:
        more = known.union(*(right for left, right in dependencies if left <= known))
        if more == known:
            return known
        known = more


def one_round(attributes: set[str], dependencies: Dependencies) -> set[str]:
    known = set(attributes)
    for left, right in dependencies:
        if left <= known:
            known |= right
    return known


def two_rounds(attributes: set[str], dependencies: Dependencies) -> set[str]:
    return one_round(one_round(attributes, dependencies), dependencies)


def four_rounds(attributes: set[str], dependencies: Dependencies) -> set[str]:
    return two_rounds(two_rounds(attributes, dependencies), dependencies)


def any_of_it(attributes: set[str], dependencies: Dependencies) -> set[str]:
    known = set(attributes)
    for _ in dependencies:
        for left, right in dependencies:
            if left & known:
                known |= right
    return known


def in_place(attributes: set[str], dependencies: Dependencies) -> set[str]:
    attributes |= closure(attributes, dependencies)
    return attributes


def record(payload: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def recover(log: bytes) -> dict[bytes, bytes]:
    committed: dict[bytes, bytes] = {}
    pending: dict[bytes, bytes] = {}
    for line in log.splitlines(keepends=True):
        payload = line[9:-1]
        if record(payload) != line:
            break
        if payload == b"commit":
            committed |= pending
            pending = {}
        else:
            _, key, value = payload.split(b" ")
            pending[key] = value
    return committed


def recovers_text(log: bytes) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in recover(log).items()}


def ignores_commits(log: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in log.splitlines(keepends=True):
        payload = line[9:-1]
        if record(payload) != line:
            break
        if payload != b"commit":
            _, key, value = payload.split(b" ")
            found[key] = value
    return found


def skips_what_is_damaged(log: bytes) -> dict[bytes, bytes]:
    whole = (line for line in log.splitlines(keepends=True) if record(line[9:-1]) == line)
    return recover(b"".join(whole))


def trusts_the_file(log: bytes) -> dict[bytes, bytes]:
    lines = log.splitlines()
    return recover(b"".join(record(line.split(b" ", 1)[1]) for line in lines))


def some_servers() -> int:
    from course import queueing

    return 1 + next(n for n in range(10, 100) if queueing.mmc(900, 100, n).response_percentile(99) <= 0.06)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("check_mttr_for", mttr_for),
        ("check_percentile", percentile),
        ("check_erlang_c", erlang_c),
        ("check_erlang_c", backwards_erlang_c),
        ("check_servers", some_servers()),
        ("check_closure", closure),
        ("check_recover", recover),
    ],
)
def test_a_right_answer_is_right(chapter: dict[str, Any], check: str, answer: object) -> None:
    assert problems(chapter, check, answer) == []


def nothing(*_arguments: object) -> None:
    return None


def text(*_arguments: object) -> str:
    return "12"


def a_list(*_arguments: object) -> list[int]:
    return [1, 2]


def fails(*_arguments: object) -> float:
    raise KeyError("what")


WRONG: list[tuple[str, Callable[..., Any] | float | str | None, str]] = [
    ("check_mttr_for", nothing, "not written yet"),
    ("check_mttr_for", lambda nines, mttf_h: mttf_h * 10**-nines, "did you divide"),
    ("check_mttr_for", lambda nines, mttf_h: mttf_h * (1 - 10**-nines), "nines"),
    ("check_mttr_for", lambda nines, mttf_h: 0.0, "a repair takes some time"),
    ("check_mttr_for", lambda nines, mttf_h: math.nan, "a repair takes some time"),
    ("check_mttr_for", text, "'12', which is not a number"),
    ("check_mttr_for", fails, "KeyError"),
    ("check_percentile", nothing, "not written yet"),
    ("check_percentile", truncated_percentile, "a smaller one would do"),
    ("check_percentile", one_too_low, "do not exceed it"),
    ("check_percentile", sorts_in_place, "has changed"),
    ("check_percentile", interpolated, "none of the times"),
    ("check_percentile", a_list, "not a number"),
    ("check_percentile", fails, "KeyError"),
    ("check_erlang_c", nothing, "not written yet"),
    ("check_erlang_c", erlang_b, "Erlang's B"),
    ("check_erlang_c", lambda servers, load: load / servers, "one waits only if all are"),
    ("check_erlang_c", lambda servers, load: (load / servers) ** servers, "independently"),
    ("check_erlang_c", lambda servers, load: 0.5, "not the share that waits"),
    ("check_erlang_c", textbook_erlang_c, "overflows"),
    ("check_erlang_c", textbook_erlang_c_in_numpy, "overflows"),
    ("check_erlang_c", text, "not a number"),
    ("check_erlang_c", fails, "KeyError"),
    ("check_servers", None, "not written yet"),
    ("check_servers", 9, "without end"),
    ("check_servers", 10, "without end"),
    ("check_servers", some_servers() - 1, "the P99 is"),
    ("check_servers", some_servers() + 1, "more than it takes"),
    ("check_servers", "12", "not a whole number"),
    ("check_servers", 12.5, "not a whole number"),
    ("check_servers", -1, "without end"),
    ("check_closure", nothing, "not written yet"),
    ("check_closure", one_round, "follows too"),
    ("check_closure", two_rounds, "follows too"),
    ("check_closure", four_rounds, "follows too"),
    ("check_closure", a_list, "not a set"),
    ("check_closure", lambda attributes, dependencies: {1, "a", None}, "does not follow"),
    ("check_closure", fails, "KeyError"),
    ("check_closure", any_of_it, "does not follow"),
    ("check_closure", in_place, "has changed"),
    ("check_recover", nothing, "not written yet"),
    ("check_recover", ignores_commits, "committed was"),
    ("check_recover", recovers_text, "not bytes"),
    ("check_recover", text, "not a dictionary"),
    ("check_recover", fails, "KeyError"),
    ("check_recover", skips_what_is_damaged, "changed: "),
    ("check_recover", trusts_the_file, "a log cut after"),
]


@pytest.mark.parametrize(("check", "answer", "said"), WRONG)
def test_a_wrong_answer_is_told_why(chapter: dict[str, Any], check: str, answer: object, said: str) -> None:
    found = problems(chapter, check, answer)
    assert found and said in found[0]

"""What an operation costs in a list, a dict and a sorted list, counted in elementary steps.

Guide, "Data Structure Selection": arrays, hash tables, trees. Time depends on the machine; steps do not:

``comparison``
    one call of ``==`` or ``<`` on two keys, counted by keys that count;
``move``
    one element that changes its place, because another came before it or the array had to grow.

The structures are the real ones of Python: ``list``, ``dict``, a sorted ``list`` with :mod:`bisect`, and
``sortedcontainers.SortedList``, which keeps a list of short sorted lists where other languages keep a balanced tree.
"""

from __future__ import annotations

import bisect
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sortedcontainers import SortedList

from course import checks

STRUCTURES = ("list", "dict", "sorted list", "SortedList")
OPERATIONS = ("append", "insert at the front", "look-up", "range of ten")
#: Keys that a range query asks for.
RANGE = 10


class CountingKey:
    """A key that counts how often keys are compared, and hashes as well or as badly as asked.

    Attributes
    ----------
    comparisons : int
        Calls of ``==`` and ``<``, of all keys together; set it to zero to begin.
    """

    comparisons = 0
    __slots__ = ("_hash", "value")

    def __init__(self, value: int, *, colliding: bool = False) -> None:
        self.value = value
        # A collision is a hash that many keys share; the constant is the worst there is.
        self._hash = 0 if colliding else hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        CountingKey.comparisons += 1
        return isinstance(other, CountingKey) and self.value == other.value

    def __lt__(self, other: CountingKey) -> bool:
        CountingKey.comparisons += 1
        return self.value < other.value


def colliding_integers(n: int) -> list[int]:
    """Return plain integers that all have the same hash: multiples of Python's hash modulus.

    ``hash(i)`` of an integer is its remainder by ``sys.hash_info.modulus`` (2**61 - 1 on 64-bit machines), and is
    not salted. Texts have been since Python 3.3 (PEP 456 describes the hash in use since 3.4), against the attack
    that sends a server a form full of colliding names.
    """
    n = checks.integer("n", n, 1, 100_000)
    return [i * sys.hash_info.modulus for i in range(1, n + 1)]


@dataclass(frozen=True)
class Steps:
    """Elementary steps of one operation, on average over the keys it may concern.

    Attributes
    ----------
    structure : str
    comparisons, moves : float
    elements : float
        Elements written or given back: one, or those of the range.
    """

    structure: str
    comparisons: float
    moves: float
    elements: float

    @property
    def total(self) -> float:
        """All steps together."""
        return self.comparisons + self.moves + self.elements


def has_operation(structure: str, operation: str) -> bool:
    """Return whether a structure offers an operation: a dict has no front to insert at."""
    checks.option("structure", structure, STRUCTURES)
    checks.option("operation", operation, OPERATIONS)
    return (structure, operation) in _ACTIONS


def _found(box: Sequence[Any], key: Any) -> bool:
    at = bisect.bisect_left(box, key)
    return at < len(box) and box[at] == key


def _scan(box: Iterable[Any], low: Any, high: Any) -> list[Any]:
    return [key for key in box if not key < low and key < high]


def _slice(box: Any, low: Any, high: Any) -> list[Any]:
    return list(box[bisect.bisect_left(box, low) : bisect.bisect_left(box, high)])


_APPEND, _FRONT, _LOOK_UP, _RANGE = OPERATIONS
#: What is called with the structure, the key (or the lower bound), and the upper bound.
_ACTIONS: dict[tuple[str, str], Callable[[Any, Any, Any], object]] = {
    ("list", _APPEND): lambda box, key, _: box.append(key),
    ("list", _FRONT): lambda box, key, _: box.insert(0, key),
    ("list", _LOOK_UP): lambda box, key, _: key in box,
    ("list", _RANGE): _scan,
    ("dict", _APPEND): lambda box, key, _: box.setdefault(key),
    ("dict", _LOOK_UP): lambda box, key, _: key in box,
    ("dict", _RANGE): _scan,
    ("sorted list", _APPEND): lambda box, key, _: bisect.insort(box, key),
    ("sorted list", _FRONT): lambda box, key, _: bisect.insort(box, key),
    ("sorted list", _LOOK_UP): lambda box, key, _: _found(box, key),
    ("sorted list", _RANGE): _slice,
    ("SortedList", _APPEND): lambda box, key, _: box.add(key),
    ("SortedList", _FRONT): lambda box, key, _: box.add(key),
    ("SortedList", _LOOK_UP): lambda box, key, _: key in box,
    ("SortedList", _RANGE): lambda box, low, high: list(box.irange(low, high, inclusive=(True, False))),
}
_BUILD: dict[str, Callable[[Iterable[Any]], Any]] = {
    "list": list,
    "dict": dict.fromkeys,
    "sorted list": sorted,
    "SortedList": SortedList,
}


def bisection(n: int) -> float:
    """Return the comparisons in which :func:`bisect.bisect_left` finds a key among `n`, on average over them.

    The search is a binary tree with n + 1 ends at two depths; a key that is there leads to any of them but the
    last.
    """
    deep = (n + 1).bit_length() - 1
    all_ends = (n + 1) * (deep + 2) - (1 << (deep + 1))
    return (all_ends - deep) / n


def _bisections(operation: str, n: int) -> float:
    """Return the comparisons of an operation's bisections in `n` sorted keys."""
    if operation == _APPEND:
        return (n + 1).bit_length() - 1  # always to the right, where the ends are not the deepest
    if operation == _FRONT:
        return n.bit_length()  # always to the left, where they are
    return bisection(n) * (2 if operation == _RANGE else 1)


def expected_steps(structure: str, operation: str, n: int, *, colliding: bool = False) -> Steps:
    """Return the steps of one operation in theory.

    ``append`` and ``insert at the front`` bring a key greater, or smaller, than all others. ``look-up`` asks for a
    key that is there, each as likely. ``range of ten`` asks for the keys between two bounds, ten of them.

    The growth of an array is left out (:func:`growth_moves`). A ``SortedList`` is taken as it is just after it was
    built: in parts of 1,000 (its load factor); a part grows to twice that before it is split.

    Parameters
    ----------
    structure, operation : str
        Of :data:`STRUCTURES` and :data:`OPERATIONS`.
    n : int
        Keys in the structure, 20 to 10**9.
    colliding : bool
        Whether all keys have the same hash.

    Raises
    ------
    ValueError
        If a parameter is not allowed, or the structure has no such operation.
    """
    _check(structure, operation)
    n = checks.integer("n", n, 2 * RANGE, 10**9)
    elements = RANGE if operation == _RANGE else 1
    if operation == _RANGE and structure in ("list", "dict"):
        # Every key against the lower bound, and those that pass against the upper.
        comparisons = n + (n + RANGE) / 2
    elif structure == "list":
        comparisons = (n + 1) / 2 if operation == _LOOK_UP else 0
    elif structure == "dict":
        met = n if operation == _APPEND else (n + 1) / 2
        comparisons = met if colliding else float(operation == _LOOK_UP)
    elif structure == "sorted list":
        comparisons = _bisections(operation, n) + (operation == _LOOK_UP)
    else:
        # First among the greatest keys of the parts, then in one part; not for what is greater than all.
        parts = -(-n // SortedList.DEFAULT_LOAD_FACTOR)
        comparisons = _bisections(operation, parts) + (operation == _LOOK_UP)
        comparisons += _bisections(operation, -(-n // parts)) if operation != _APPEND else 0
    moves = 0
    if operation == _FRONT:
        moves = min(n, SortedList.DEFAULT_LOAD_FACTOR) if structure == "SortedList" else n
    return Steps(structure, comparisons, moves, elements)


def count_steps(
    structure: str, operation: str, n: int, *, colliding: bool = False, samples: int = 9, seed: int = 1
) -> Steps:
    """Do an operation for real, with keys that count, at places spread evenly over the structure.

    Comparisons are counted. Moves follow from where the new key came to stand (for ``SortedList`` as in
    :func:`expected_steps`).

    Parameters
    ----------
    structure, operation, colliding
        As for :func:`expected_steps`.
    n : int
        Keys in the structure, 20 to 3,000.
    samples : int
        Operations done, at most `n`.
    seed : int
        Of the order of the keys.

    Raises
    ------
    ValueError
        As :func:`expected_steps`.
    """
    _check(structure, operation)
    n = checks.integer("n", n, 2 * RANGE, 3_000)
    samples = checks.integer("samples", samples, 1, n)
    order = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1)).permutation(n).tolist()
    action = _ACTIONS[structure, operation]
    box = _BUILD[structure](CountingKey(value, colliding=colliding) for value in order)
    places = [int((i + 0.5) * n / samples) for i in range(samples)]
    if operation in (_APPEND, _FRONT):
        places = places[:1]
    comparisons = moves = elements = 0
    for place in places:
        low = {_APPEND: n, _FRONT: -1, _LOOK_UP: order[place]}.get(operation, int(place * (n - RANGE) / n))
        # Not the key that is in the structure: the same object is found without a comparison.
        key, high = (CountingKey(value, colliding=colliding) for value in (low, low + RANGE))
        CountingKey.comparisons = 0
        got = action(box, key, high)
        comparisons += CountingKey.comparisons
        elements += len(got) if isinstance(got, list) else 1
        if operation in (_APPEND, _FRONT) and structure in ("list", "sorted list"):
            moves += n - next(at for at, other in enumerate(box) if other is key)
        elif operation == _FRONT:
            moves += min(n, SortedList.DEFAULT_LOAD_FACTOR)
    return Steps(structure, comparisons / len(places), moves / len(places), elements / len(places))


def growth_moves(structure: str, n: int) -> float:
    """Return the elements that change their place for an append, on average over `n` of them, because of growth.

    An array that is full is replaced by a larger one, into which everything moves (at worst: the memory may also
    grow where it is). It shows in ``sys.getsizeof``. A list grows by an eighth, which costs 8 to 9 moves an append;
    a dict doubles, which costs 1 to 2. Neither depends on n: the cost of appending is **amortised** constant.

    Parameters
    ----------
    structure : str
        ``list`` or ``dict``.
    n : int
        1 to 1,000,000.

    Raises
    ------
    ValueError
        If a parameter is not allowed.
    """
    checks.option("structure", structure, ("list", "dict"))
    n = checks.integer("n", n, 1, 1_000_000)
    box = _BUILD[structure](())
    action = _ACTIONS[structure, _APPEND]
    moves, size = 0, sys.getsizeof(box)
    for key in range(n):
        action(box, key, None)
        if (now := sys.getsizeof(box)) != size:
            moves, size = moves + key, now
    return moves / n


@dataclass(frozen=True)
class Timing:
    """What :func:`measure` found: nanoseconds for one operation; NaN where the structure has no such operation."""

    structure: str
    operation: str
    n: int
    nanoseconds: float


def measure(
    n: int = 10_000, operations: Sequence[str] = OPERATIONS, *, colliding: bool = False, repeats: int = 3
) -> list[Timing]:
    """Measure operations on structures of whole numbers, here and now.

    Parameters
    ----------
    n : int
        Keys, 100 to 100,000; at most 10,000 that collide, for filling a dict with them takes n**2 / 2 comparisons.
    operations : sequence of str
    colliding : bool
        Whether the keys are :func:`colliding_integers`, plain numbers that a client could send.
    repeats : int
        Rounds of up to 100 operations on a fresh structure, 1 to 100; their median counts.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    n = checks.integer("n", n, 100, 10_000 if colliding else 100_000)
    repeats = checks.integer("repeats", repeats, 1, 100)
    step = sys.hash_info.modulus if colliding else 1
    keys = [step * (place + 1) for place in np.random.default_rng(1).permutation(n).tolist()]
    full = {structure: build(keys) for structure, build in _BUILD.items()}
    results = []
    for operation in operations:
        for structure in STRUCTURES:
            nanoseconds = math.nan
            if has_operation(structure, operation):
                nanoseconds = statistics.median(
                    _time(full[structure].copy(), structure, operation, keys, step) for _ in range(repeats)
                )
            results.append(Timing(structure, operation, n, nanoseconds))
    return results


def _time(box: Any, structure: str, operation: str, keys: list[int], step: int) -> float:
    """Return the nanoseconds of one operation, over a round of them."""
    n = len(keys)
    action = _ACTIONS[structure, operation]
    # A scan of many keys is not done a hundred times.
    rounds = 100 if n <= 10_000 else 20
    places = [n * i // rounds for i in range(rounds)]
    lows = {
        _APPEND: [step * (n + 1 + i) for i in range(rounds)],
        _FRONT: [-step * (i + 1) for i in range(rounds)],
        _LOOK_UP: [keys[place] for place in places],
        _RANGE: [step * (place * (n - RANGE) // n + 1) for place in places],
    }[operation]
    start = time.perf_counter_ns()
    for low in lows:
        action(box, low, low + RANGE * step)
    return (time.perf_counter_ns() - start) / rounds


def _check(structure: str, operation: str) -> None:
    if not has_operation(structure, operation):
        raise ValueError(f"operation = {operation!r}: a {structure} has none")

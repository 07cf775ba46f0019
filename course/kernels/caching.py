"""Loops of :mod:`course.caching`.

Every eviction policy is here twice: as a small class in plain Python that one can read, step through and
draw, and as a loop over dense ``int32`` ids and preallocated arrays.  Both decide alike, request by request.
A kernel takes ``(keys, items, capacity, flags)``: ids from 0 to ``items - 1``, the number of slots, and an
array of ``uint8`` that receives 1 for a hit and 0 for a miss, or an empty one if only the number of hits is
wanted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import inlined, kernel

Keys = NDArray[np.int32]
Flags = NDArray[np.uint8]
Counts = NDArray[np.int64]
Generator = np.random.Generator

SMALL_QUEUE = 0.1  # shares of the capacity that S3-FIFO gives to its small and its ghost queue
GHOST_QUEUE = 0.9
PROMOTE_AT = 2  # hits in the small queue that earn a place in the main one
MOST_COUNTED = 3  # S3-FIFO counts hits in two bits

_ABSENT = 0xFFFFFFFF


# --- the readable twins -------------------------------------------------------------------------------------


class PlainCache(ABC):
    """One cache of unit-size objects that admits every miss."""

    mark_name = ""  # what `marks` counts

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evicted: int | None = None

    @abstractmethod
    def access(self, key: int) -> bool:
        """Serve one request; leave in `evicted` what had to go. True on a hit."""

    @abstractmethod
    def queues(self) -> dict[str, list[int]]:
        """Return what is held, each queue from its newest end to the end where objects leave."""

    def marks(self) -> dict[int, int]:
        """Bits or counters, by object."""
        return {}

    def hand(self) -> int | None:
        """Return the object at which the hand points, if there is a hand."""
        return None


class LRU(PlainCache):
    """Evict what has not been used for longest."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._order: OrderedDict[int, None] = OrderedDict()

    def access(self, key: int) -> bool:
        """Move a hit to the young end; evict at the old end."""
        self.evicted = None
        if key in self._order:
            self._order.move_to_end(key)
            return True
        if len(self._order) == self.capacity:
            self.evicted, _ = self._order.popitem(last=False)
        self._order[key] = None
        return False

    def queues(self) -> dict[str, list[int]]:
        """Most recently used first."""
        return {"cache": list(reversed(self._order))}


class LFU(PlainCache):
    """Evict what has been used least since it came in; among equals, what has not been used for longest."""

    mark_name = "frequency"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._frequency: dict[int, int] = {}
        self._classes: dict[int, OrderedDict[int, None]] = {}

    def access(self, key: int) -> bool:
        """Count a hit; evict the oldest of the lowest class."""
        self.evicted = None
        frequency = self._frequency.get(key, 0)
        if frequency:
            self._leave(key, frequency)
        elif len(self._frequency) == self.capacity:
            lowest = min(self._classes)
            self.evicted = next(iter(self._classes[lowest]))
            self._leave(self.evicted, lowest)
            del self._frequency[self.evicted]
        self._frequency[key] = frequency + 1
        self._classes.setdefault(frequency + 1, OrderedDict())[key] = None
        return frequency > 0

    def _leave(self, key: int, frequency: int) -> None:
        del self._classes[frequency][key]
        if not self._classes[frequency]:
            del self._classes[frequency]

    def queues(self) -> dict[str, list[int]]:
        """Most frequently used first."""
        return {
            "cache": [
                key for _, same in sorted(self._classes.items(), reverse=True) for key in reversed(same)
            ]
        }

    def marks(self) -> dict[int, int]:
        """Return the uses since each came in."""
        return dict(self._frequency)


class FIFO(PlainCache):
    """Evict what came in first, however much it is used."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._queue: OrderedDict[int, None] = OrderedDict()

    def access(self, key: int) -> bool:
        """Leave a hit where it is."""
        self.evicted = None
        if key in self._queue:
            return True
        if len(self._queue) == self.capacity:
            self.evicted, _ = self._queue.popitem(last=False)
        self._queue[key] = None
        return False

    def queues(self) -> dict[str, list[int]]:
        """Youngest first."""
        return {"cache": list(reversed(self._queue))}


class Random(PlainCache):
    """Evict any object, all equally likely."""

    def __init__(self, capacity: int, rng: Generator) -> None:
        super().__init__(capacity)
        self._rng = rng
        self._slots: list[int] = []
        self._held: set[int] = set()

    def access(self, key: int) -> bool:
        """Put a miss into a slot drawn by lot."""
        self.evicted = None
        if key in self._held:
            return True
        if len(self._slots) < self.capacity:
            self._slots.append(key)
        else:
            slot = int(self._rng.random() * self.capacity)
            self.evicted = self._slots[slot]
            self._held.remove(self.evicted)
            self._slots[slot] = key
        self._held.add(key)
        return False

    def queues(self) -> dict[str, list[int]]:
        """In the order of the slots, which means nothing."""
        return {"cache": list(self._slots)}


class Clock(PlainCache):
    """FIFO that gives an object used since the hand last passed a second chance (Corbató 1968)."""

    mark_name = "reference bit"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._queue: deque[int] = deque()  # the hand stands at the left end; what it passes goes to the right
        self._used: dict[int, int] = {}

    def access(self, key: int) -> bool:
        """Set the bit on a hit; on a miss turn the hand to an object without one."""
        self.evicted = None
        if key in self._used:
            self._used[key] = 1
            return True
        if len(self._queue) == self.capacity:
            while self._used[self._queue[0]]:
                self._used[self._queue[0]] = 0
                self._queue.rotate(-1)
            self.evicted = self._queue.popleft()
            del self._used[self.evicted]
        self._queue.append(key)
        self._used[key] = 0
        return False

    def queues(self) -> dict[str, list[int]]:
        """From the object the hand passed last to the one it meets next."""
        return {"cache": list(reversed(self._queue))}

    def marks(self) -> dict[int, int]:
        """1 if used since the hand last passed."""
        return dict(self._used)

    def hand(self) -> int | None:
        """Return the object the hand meets next."""
        return self._queue[0] if self._queue else None


class Sieve(PlainCache):
    """SIEVE (Zhang et al., NSDI 2024): CLOCK whose survivors stay in place, so newcomers are tried first."""

    mark_name = "visited"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._queue: list[int] = []  # oldest first
        self._visited: dict[int, int] = {}
        self._hand = 0  # index into the queue; past its end means: begin again with the oldest

    def access(self, key: int) -> bool:
        """Mark a hit; on a miss move the hand from old to young, to an object not visited."""
        self.evicted = None
        if key in self._visited:
            self._visited[key] = 1
            return True
        if len(self._queue) == self.capacity:
            self._hand %= len(self._queue)
            while self._visited[self._queue[self._hand]]:
                self._visited[self._queue[self._hand]] = 0
                self._hand = (self._hand + 1) % len(self._queue)
            # Past the youngest the hand begins again with the oldest, not with the newcomer.
            wraps = self._hand == len(self._queue) - 1
            self.evicted = self._queue.pop(self._hand)
            del self._visited[self.evicted]
            if wraps:
                self._hand = 0
        self._queue.append(key)
        self._visited[key] = 0
        return False

    def queues(self) -> dict[str, list[int]]:
        """Youngest first."""
        return {"cache": self._queue[::-1]}

    def marks(self) -> dict[int, int]:
        """1 if visited since the hand last passed."""
        return dict(self._visited)

    def hand(self) -> int | None:
        """Return the object at which the next search begins."""
        return self._queue[self._hand] if self._queue else None


class S3FIFO(PlainCache):
    """S3-FIFO (Yang et al., SOSP 2023): a probation queue, a main queue, and a memory of what just left.

    As in the authors' own simulator, libCacheSim, and not in the paper's listing: until the first eviction,
    what no longer fits the small queue goes to the main one, and a promotion never evicts from the main queue
    by itself. The small queue has at least one slot; libCacheSim refuses to work below 20 slots.
    """

    mark_name = "hits counted"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._small_size = max(1, int(capacity * SMALL_QUEUE))
        self._main_size = capacity - self._small_size
        self._ghost_size = int(capacity * GHOST_QUEUE)
        self._small: deque[int] = deque()
        self._main: deque[int] = deque()
        self._ghost: OrderedDict[int, None] = OrderedDict()
        self._hits: dict[int, int] = {}
        self._has_evicted = False

    def access(self, key: int) -> bool:
        """Count a hit; on a miss make room, then admit to the main queue what the ghost queue remembers."""
        self.evicted = None
        if key in self._hits:
            self._hits[key] = min(self._hits[key] + 1, MOST_COUNTED)
            return True
        remembered = key in self._ghost
        if remembered:
            del self._ghost[key]
        while len(self._hits) == self.capacity:
            self._has_evicted = True
            if len(self._main) > self._main_size or not self._small:
                self._evict_main()
            else:
                self._evict_small()
        crowded = not self._has_evicted and len(self._small) >= self._small_size
        (self._main if remembered or crowded else self._small).append(key)
        self._hits[key] = 0
        return False

    def _evict_small(self) -> None:
        while self._small:
            key = self._small.popleft()
            if self._hits[key] < PROMOTE_AT:
                self._drop(key)
                if self._ghost_size:
                    if len(self._ghost) == self._ghost_size:
                        self._ghost.popitem(last=False)
                    self._ghost[key] = None
                return
            self._hits[key] = 0
            self._main.append(key)

    def _evict_main(self) -> None:
        while self._hits[self._main[0]]:
            self._hits[self._main[0]] -= 1
            self._main.rotate(-1)
        self._drop(self._main.popleft())

    def _drop(self, key: int) -> None:
        del self._hits[key]
        self.evicted = key

    def queues(self) -> dict[str, list[int]]:
        """Youngest first; the ghost queue holds names only."""
        return {
            "small": list(reversed(self._small)),
            "main": list(reversed(self._main)),
            "ghost": list(reversed(self._ghost)),
        }

    def marks(self) -> dict[int, int]:
        """Hits since admission or promotion, at most 3."""
        return dict(self._hits)


class ARC(PlainCache):
    """ARC (Megiddo & Modha, FAST 2003): recency T1 against frequency T2; ghosts B1 and B2 steer the split."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.target = 0.0  # the paper's p: how many slots T1 should have
        self._t1: OrderedDict[int, None] = OrderedDict()
        self._t2: OrderedDict[int, None] = OrderedDict()
        self._b1: OrderedDict[int, None] = OrderedDict()
        self._b2: OrderedDict[int, None] = OrderedDict()

    def access(self, key: int) -> bool:
        """Cases I to IV of the paper's figure 4."""
        self.evicted = None
        t1, t2, b1, b2 = self._t1, self._t2, self._b1, self._b2
        if key in t1 or key in t2:
            (t1 if key in t1 else t2).pop(key)
            t2[key] = None
            return True
        if key in b1:
            self.target = min(self.target + max(len(b2) / len(b1), 1.0), float(self.capacity))
            del b1[key]
            self._replace(False)
            t2[key] = None
            return False
        if key in b2:
            self.target = max(self.target - max(len(b1) / len(b2), 1.0), 0.0)
            del b2[key]
            self._replace(True)
            t2[key] = None
            return False
        if len(t1) + len(b1) == self.capacity:
            if b1:
                b1.popitem(last=False)
                self._replace(False)
            else:
                self.evicted, _ = t1.popitem(last=False)
        elif len(t1) + len(t2) == self.capacity:
            if len(t1) + len(t2) + len(b1) + len(b2) == 2 * self.capacity:
                b2.popitem(last=False)
            self._replace(False)
        t1[key] = None
        return False

    def _replace(self, found_in_b2: bool) -> None:
        t1 = len(self._t1)
        if t1 and (t1 > self.target or (found_in_b2 and t1 == self.target)):
            self.evicted, _ = self._t1.popitem(last=False)
            self._b1[self.evicted] = None
        else:
            self.evicted, _ = self._t2.popitem(last=False)
            self._b2[self.evicted] = None

    def queues(self) -> dict[str, list[int]]:
        """Most recently used first; B1 and B2 hold names only."""
        named = {"T1": self._t1, "T2": self._t2, "B1": self._b1, "B2": self._b2}
        return {name: list(reversed(queue)) for name, queue in named.items()}


class Optimal(PlainCache):
    """Belady's MIN (1966): evict what is needed again last; of what is never needed again, the highest id."""

    mark_name = "next use"

    def __init__(self, capacity: int, keys: Sequence[int]) -> None:
        super().__init__(capacity)
        self._next = _next_uses_plain(keys)
        self._now = 0
        self._held: dict[int, int] = {}

    def access(self, key: int) -> bool:
        """Look into the future."""
        self.evicted = None
        hit = key in self._held
        if not hit and len(self._held) == self.capacity:
            self.evicted = max(self._held, key=self._held.__getitem__)
            del self._held[self.evicted]
        self._held[key] = self._next[self._now]
        self._now += 1
        return hit

    def queues(self) -> dict[str, list[int]]:
        """Needed soonest first."""
        return {"cache": sorted(self._held, key=self._held.__getitem__)}

    def marks(self) -> dict[int, int]:
        """Index of the request that needs it next; at least the length of the trace if none does."""
        return dict(self._held)


def _next_uses_plain(keys: Sequence[int]) -> list[int]:
    """Find the next request for the same object; ``len(keys) + key`` where there is none: all differ."""
    coming: dict[int, int] = {}
    following = [0] * len(keys)
    for i in range(len(keys) - 1, -1, -1):
        following[i] = coming.get(keys[i], len(keys) + keys[i])
        coming[keys[i]] = i
    return following


# --- replaying a trace through a twin: what the kernels' names stand for where Numba is missing -------------


def replay(cache: PlainCache, keys: Keys, flags: Flags) -> int:
    """Send a whole trace through one twin; return the number of hits."""
    hits = 0
    for i, key in enumerate(keys.tolist()):
        hit = cache.access(key)
        hits += hit
        if flags.size:
            flags[i] = hit
    return hits


def _replaying(make: Callable[[int], PlainCache]) -> Callable[[Keys, int, int, Flags], int]:
    return lambda keys, items, capacity, flags: replay(make(capacity), keys, flags)


def random_plain(keys: Keys, items: int, capacity: int, flags: Flags, rng: Generator) -> int:
    """Replay random eviction."""
    return replay(Random(capacity, rng), keys, flags)


def opt_plain(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Replay Belady's optimum."""
    return replay(Optimal(capacity, keys.tolist()), keys, flags)


def stack_distances_plain(keys: Keys, items: int) -> Counts:
    """Count stack distances with Mattson's own method: one list, most recent first."""
    histogram = np.zeros(items + 1, np.int64)
    stack: list[int] = []
    seen: set[int] = set()
    for key in keys.tolist():
        if key in seen:
            depth = stack.index(key)
            histogram[depth + 1] += 1
            del stack[depth]
        else:
            seen.add(key)
            histogram[0] += 1
        stack.insert(0, key)
    return histogram


def lru_bytes_plain(keys: Keys, sizes: Counts, capacity: int, flags: Flags) -> int:
    """Replay size-aware LRU."""
    held: OrderedDict[int, int] = OrderedDict()
    free = capacity
    hits = 0
    for i, key in enumerate(keys.tolist()):
        hit = key in held
        if hit:
            held.move_to_end(key)
        else:
            size = int(sizes[key])
            if size <= capacity:
                while free < size:
                    free += held.popitem(last=False)[1]
                held[key] = size
                free -= size
        hits += hit
        flags[i] = hit
    return hits


# --- the compiled loops -------------------------------------------------------------------------------------
# Ids are viewed as unsigned: Numba would otherwise test each index for being negative.  Lists are rings
# closed by a sentinel, the first index after the objects, so that no end needs a test.


def _example() -> tuple[Any, ...]:
    return (np.array([0, 1, 2, 0, 1, 3], np.int32), 4, 2, np.empty(6, np.uint8))


def _random_example() -> tuple[Any, ...]:
    return (*_example(), np.random.default_rng(1))


def _distance_example() -> tuple[Any, ...]:
    return _example()[:2]


def _bytes_example() -> tuple[Any, ...]:
    return (_example()[0], np.ones(4, np.int64), 2, np.empty(6, np.uint8))


@kernel(_example, twin=_replaying(LRU))
def lru(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run LRU over a doubly linked ring.

    Nothing depends on hit or miss but two choices of a value: a branch there would be mispredicted every
    third time. A hit takes its own object out of the ring, a miss the oldest; either puts its object in at
    the young end.  The ring begins full of dummies, so that it never grows.
    """
    ids = keys.view(np.uint32)
    absent, end = np.uint32(_ABSENT), np.uint32(items)
    newer = np.full(items + 1 + capacity, absent, np.uint32)
    older = np.full(items + 1 + capacity, absent, np.uint32)
    newer[items:] = np.arange(items + 1, items + 2 + capacity)
    older[items + 1 :] = np.arange(items, items + capacity)
    newest = np.uint32(items + capacity)
    newer[newest] = end
    older[end] = newest
    oldest = newer[end]
    record = flags.size > 0
    hits = 0
    for i in range(ids.size):
        key = ids[i]
        hit = newer[key] != absent
        hits += hit
        if record:
            flags[i] = hit
        leaver = key if hit else oldest
        younger, elder = newer[leaver], older[leaver]
        older[younger] = elder
        newer[elder] = younger
        newest = elder if leaver == newest else newest
        oldest = younger if leaver == oldest else oldest
        newer[leaver] = absent
        newer[key] = end
        older[key] = newest
        newer[newest] = key
        newest = key
        oldest = key if oldest == end else oldest
    return hits


@kernel(_example, twin=_replaying(LFU))
def lfu(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run LFU over one ring ordered by frequency, then recency; ``last[f]`` is the youngest with f uses."""
    ids = keys.view(np.uint32)
    end = np.uint32(items)
    above = np.full(items + 1, end, np.uint32)
    below = np.full(items + 1, end, np.uint32)
    frequency = np.zeros(items + 1, np.uint32)  # 0: not held
    last = np.full(keys.size + 2, end, np.uint32)
    one = np.uint32(1)
    record = flags.size > 0
    hits = held = 0
    for i in range(ids.size):
        key = ids[i]
        now = frequency[key]
        then = np.uint32(now + one)
        frequency[key] = then
        under = last[then]
        if now > 0:
            hits += 1
            if record:
                flags[i] = 1
            lower = below[key]
            if last[now] == key:
                last[now] = lower if frequency[lower] == now else end
                if under == end:
                    last[then] = key
                    continue
            elif under == end:
                under = last[now]
            last[then] = key
            upper = above[key]
            above[lower] = upper
            below[upper] = lower
        else:
            if record:
                flags[i] = 0
            if held < capacity:
                held += 1
            else:
                victim = above[end]
                if last[frequency[victim]] == victim:
                    last[frequency[victim]] = end
                    under = last[then]
                frequency[victim] = 0
                upper = above[victim]
                above[end] = upper
                below[upper] = end
            last[then] = key
        upper = above[under]
        above[key] = upper
        below[key] = under
        above[under] = key
        below[upper] = key
    return hits


@kernel(_example, twin=_replaying(FIFO))
def fifo(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run FIFO over a ring of slots, without a branch on the hit, which no processor can predict."""
    ids = keys.view(np.uint32)
    held = np.zeros(items + 1, np.uint8)
    slots = np.full(capacity, items, np.uint32)
    slot = np.uint32(0)
    size = np.uint32(capacity)
    record = flags.size > 0
    hits = 0
    for i in range(ids.size):
        key = ids[i]
        hit = held[key]
        first = slots[slot]
        slots[slot] = first if hit else key
        held[first] = hit  # on a hit the first in line is held and stays so
        held[key] = 1
        hits += hit
        if record:
            flags[i] = hit
        slot = np.uint32(slot + np.uint32(1 - hit))
        slot = slot if slot < size else np.uint32(0)
    return hits


@kernel(_random_example, twin=random_plain)
def random(keys: Keys, items: int, capacity: int, flags: Flags, rng: Generator) -> int:
    """Run random eviction; one draw an eviction."""
    ids = keys.view(np.uint32)
    held = np.zeros(items, np.uint8)
    slots = np.zeros(capacity, np.uint32)
    record = flags.size > 0
    hits = count = 0
    for i in range(ids.size):
        key = ids[i]
        hit = held[key]
        hits += hit
        if record:
            flags[i] = hit
        if hit:
            continue
        if count < capacity:
            slot = np.uint32(count)
            count += 1
        else:
            slot = np.uint32(rng.random() * capacity)
            held[slots[slot]] = 0
        slots[slot] = key
        held[key] = 1
    return hits


@kernel(_example, twin=_replaying(Clock))
def clock(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run CLOCK over a ring of slots; an object's state is 0 absent, 1 held, 2 held and used."""
    ids = keys.view(np.uint32)
    state = np.zeros(items + 1, np.uint8)
    slots = np.full(capacity, items, np.uint32)
    hand = np.uint32(0)
    size = np.uint32(capacity)
    one = np.uint32(1)
    record = flags.size > 0
    hits = 0
    for i in range(ids.size):
        key = ids[i]
        hit = state[key] != 0
        if record:
            flags[i] = hit
        if hit:
            hits += 1
            state[key] = 2
            continue
        while state[slots[hand]] == 2:
            state[slots[hand]] = 1
            hand = np.uint32(hand + one)
            hand = hand if hand < size else np.uint32(0)
        state[slots[hand]] = 0
        slots[hand] = key
        state[key] = 1
        hand = np.uint32(hand + one)
        hand = hand if hand < size else np.uint32(0)
    return hits


@kernel(_example, twin=_replaying(Sieve))
def sieve(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run SIEVE over two rows of slots: what the hand has still to meet, and the survivors it has passed.

    When the first row is empty the hand is at the young end: the rows change places.  No links are needed,
    and what depends on hit or miss is values, not branches; only survivors, which are few, are handled apart.
    """
    ids = keys.view(np.uint32)
    state = np.zeros(items + 1, np.uint8)  # 0 absent, 1 held, 2 held and visited
    zero, one = np.uint32(0), np.uint32(1)
    row = np.uint32(capacity + 1)  # one slot more than objects, so that the free slot is never the first
    slots = np.full(2 * (capacity + 1), items, np.uint32)
    ahead, passed = zero, row
    first, free, survivors = zero, np.uint32(capacity), zero
    record = flags.size > 0
    hits = 0
    for i in range(ids.size):
        key = ids[i]
        hit = state[key] != 0
        hits += hit
        if record:
            flags[i] = hit
        victim = slots[np.uint32(ahead + first)]
        if state[victim] == 2 and not hit:
            while state[victim] == 2:
                state[victim] = 1
                slots[np.uint32(passed + survivors)] = victim
                survivors = np.uint32(survivors + one)
                first = np.uint32(first + one)
                first = first if first < row else zero
                if first == free:
                    ahead, passed = passed, ahead
                    first, free, survivors = zero, survivors, zero
                victim = slots[np.uint32(ahead + first)]
        state[victim] = state[victim] if hit else 0
        state[key] = 2 if hit else 1
        step = np.uint32(not hit)
        first = np.uint32(first + step)
        first = first if first < row else zero
        if first == free:
            ahead, passed = passed, ahead
            first, free, survivors = zero, survivors, zero
        slots[np.uint32(ahead + free)] = key  # on a hit this slot is free and stays so
        free = np.uint32(free + step)
        free = free if free < row else zero
    return hits


_GHOST, _SMALL, _MAIN = (
    4,
    8,
    12,
)  # S3-FIFO's states: the queue in the upper bits, hits counted in the lower two


@kernel(_example, twin=_replaying(S3FIFO))
def s3fifo(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run S3-FIFO: two rings of slots, and a doubly linked one for ghosts, which leave anywhere."""
    ids = keys.view(np.uint32)
    end = np.uint32(items)
    one = np.uint32(1)
    small_size = max(1, int(capacity * SMALL_QUEUE))
    main_size = capacity - small_size
    ghost_size = int(capacity * GHOST_QUEUE)
    room = np.uint32(capacity + 1)
    small = np.empty(room, np.uint32)
    main = np.empty(room, np.uint32)
    small_out = small_in = main_out = main_in = np.uint32(0)
    newer = np.full(items + 1, end, np.uint32)
    older = np.full(items + 1, end, np.uint32)
    state = np.zeros(items + 1, np.uint8)
    smalls = mains = ghosts = hits = 0
    has_evicted = False
    record = flags.size > 0
    for i in range(ids.size):
        key = ids[i]
        now = state[key]
        hit = now >= _SMALL
        if record:
            flags[i] = hit
        if hit:
            hits += 1
            state[key] = now + ((now & 3) != MOST_COUNTED)
            continue
        if now == _GHOST:
            younger, elder = newer[key], older[key]
            older[younger] = elder
            newer[elder] = younger
            ghosts -= 1
        while smalls + mains == capacity:
            has_evicted = True
            if mains > main_size or smalls == 0:
                while True:
                    victim = main[main_out]
                    main_out = np.uint32(main_out + one)
                    main_out = main_out if main_out < room else np.uint32(0)
                    if state[victim] == _MAIN:
                        break
                    state[victim] -= 1
                    main[main_in] = victim
                    main_in = np.uint32(main_in + one)
                    main_in = main_in if main_in < room else np.uint32(0)
                state[victim] = 0
                mains -= 1
            else:
                while smalls > 0:
                    victim = small[small_out]
                    small_out = np.uint32(small_out + one)
                    small_out = small_out if small_out < room else np.uint32(0)
                    smalls -= 1
                    if state[victim] < _SMALL + PROMOTE_AT:
                        state[victim] = 0
                        if ghost_size > 0:
                            if ghosts == ghost_size:
                                forgotten = newer[end]
                                second = newer[forgotten]
                                newer[end] = second
                                older[second] = end
                                state[forgotten] = 0
                            else:
                                ghosts += 1
                            state[victim] = _GHOST
                            youngest = older[end]
                            newer[youngest] = victim
                            older[victim] = youngest
                            newer[victim] = end
                            older[end] = victim
                        break
                    state[victim] = _MAIN
                    main[main_in] = victim
                    main_in = np.uint32(main_in + one)
                    main_in = main_in if main_in < room else np.uint32(0)
                    mains += 1
        if now == _GHOST or (not has_evicted and smalls >= small_size):
            state[key] = _MAIN
            main[main_in] = key
            main_in = np.uint32(main_in + one)
            main_in = main_in if main_in < room else np.uint32(0)
            mains += 1
        else:
            state[key] = _SMALL
            small[small_in] = key
            small_in = np.uint32(small_in + one)
            small_in = small_in if small_in < room else np.uint32(0)
            smalls += 1
    return hits


_T1, _T2, _B1, _B2 = 1, 2, 3, 4


@inlined
def _unlink(newer: Any, older: Any, key: Any) -> None:
    younger, elder = newer[key], older[key]
    older[younger] = elder
    newer[elder] = younger


@inlined
def _push(newer: Any, older: Any, end: Any, key: Any) -> None:
    youngest = older[end]
    newer[youngest] = key
    older[key] = youngest
    newer[key] = end
    older[end] = key


@kernel(_example, twin=_replaying(ARC))
def arc(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run ARC over four doubly linked rings in the same two arrays."""
    ids = keys.view(np.uint32)
    t1, t2, b1, b2 = np.uint32(items), np.uint32(items + 1), np.uint32(items + 2), np.uint32(items + 3)
    newer = np.arange(items + 4).astype(np.uint32)
    older = np.arange(items + 4).astype(np.uint32)
    where = np.zeros(items, np.uint8)
    in_t1 = in_t2 = in_b1 = in_b2 = hits = 0
    target = 0.0
    record = flags.size > 0
    for i in range(ids.size):
        key = ids[i]
        place = where[key]
        hit = place in (_T1, _T2)
        if record:
            flags[i] = hit
        if hit:
            hits += 1
            if place == _T1:
                in_t1 -= 1
                in_t2 += 1
                where[key] = _T2
            if older[t2] != key:
                _unlink(newer, older, key)
                _push(newer, older, t2, key)
            continue
        replace = True
        if place == _B1:
            target = min(target + max(in_b2 / in_b1, 1.0), float(capacity))
            in_b1 -= 1
            _unlink(newer, older, key)
        elif place == _B2:
            target = max(target - max(in_b1 / in_b2, 1.0), 0.0)
            in_b2 -= 1
            _unlink(newer, older, key)
        elif in_t1 + in_b1 == capacity:
            if in_b1 > 0:
                victim = newer[b1]
                in_b1 -= 1
            else:
                victim = newer[t1]
                in_t1 -= 1
                replace = False
            _unlink(newer, older, victim)
            where[victim] = 0
        elif in_t1 + in_t2 == capacity:
            if in_b1 + in_b2 == capacity:
                victim = newer[b2]
                in_b2 -= 1
                _unlink(newer, older, victim)
                where[victim] = 0
        else:
            replace = False
        if replace:
            if in_t1 > 0 and (in_t1 > target or (place == _B2 and in_t1 == target)):
                victim = newer[t1]
                _unlink(newer, older, victim)
                _push(newer, older, b1, victim)
                where[victim] = _B1
                in_t1 -= 1
                in_b1 += 1
            else:
                victim = newer[t2]
                _unlink(newer, older, victim)
                _push(newer, older, b2, victim)
                where[victim] = _B2
                in_t2 -= 1
                in_b2 += 1
        if place == 0:
            _push(newer, older, t1, key)
            where[key] = _T1
            in_t1 += 1
        else:
            _push(newer, older, t2, key)
            where[key] = _T2
            in_t2 += 1
    return hits


@inlined
def _highest_bit(word: Any) -> Any:
    place = np.uint64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(step):
            word >>= np.uint64(step)
            place += np.uint64(step)
    return place


@kernel(_example, twin=opt_plain)
def opt(keys: Keys, items: int, capacity: int, flags: Flags) -> int:
    """Run Belady's optimum.

    The next uses of the held objects are bits in a bitmap over time, with bitmaps of its non-empty words
    above it: the last set bit, the victim's, is found in a word per level.
    """
    ids = keys.view(np.uint32)
    requests = ids.size
    coming = np.arange(requests, requests + items)
    following = np.empty(requests, np.int64)
    for i in range(requests - 1, -1, -1):
        following[i] = coming[ids[i]]
        coming[ids[i]] = i

    bits = requests + items
    levels = 0
    start = np.zeros(8, np.uint64)
    words = 0
    width = bits
    while True:
        width = (width + 63) // 64
        start[levels] = words
        words += width
        levels += 1
        if width == 1:
            break
    bitmap = np.zeros(words, np.uint64)
    one, six, low = np.uint64(1), np.uint64(6), np.uint64(63)

    held = np.zeros(items, np.uint8)
    count = hits = 0
    record = flags.size > 0
    for i in range(requests):
        key = ids[i]
        hit = held[key]
        hits += hit
        if record:
            flags[i] = hit
        gone = np.uint64(i)
        removing = hit != 0
        if not removing:
            if count < capacity:
                count += 1
            else:
                gone = np.uint64(0)
                for level in range(levels - 1, -1, -1):
                    word = bitmap[start[level] + gone]
                    gone = (gone << six) + _highest_bit(word)
                held[ids[gone] if gone < requests else gone - np.uint64(requests)] = 0
                removing = True
            held[key] = 1
        if removing:
            for level in range(levels):
                place = start[level] + (gone >> six)
                bitmap[place] &= ~(one << (gone & low))
                if bitmap[place]:
                    break
                gone >>= six
        added = np.uint64(following[i])
        for level in range(levels):
            place = start[level] + (added >> six)
            before = bitmap[place]
            bitmap[place] = before | (one << (added & low))
            if before:
                break
            added >>= six
    return hits


@inlined
def _ones(word: Any) -> Any:
    """Count set bits; LLVM knows this idiom and makes one instruction of it."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel(_distance_example, twin=stack_distances_plain)
def stack_distances(keys: Keys, items: int) -> Counts:
    """Count LRU stack distances in one pass; element 0 counts first requests.

    The time of each object's last request is a set bit; the distance is how many are set from there on.  They
    are counted in three steps: 64-bit words up to the end of a group of 8, groups up to the end of a block of
    16, and blocks.  The first two steps have a fixed length and mask what lies before, which becomes a few
    vector instructions.  When the time runs out of bits, the set ones are moved together, so four bits an
    object are enough and stay in the processor's nearest caches.
    """
    ids = keys.view(np.uint32)
    histogram = np.zeros(items + 1, np.int64)
    last_block = (4 * items - 1) // 8192
    span = np.uint32(8192 * (last_block + 1))
    never = np.uint32(_ABSENT)
    last = np.full(items, never, np.uint32)
    owner = np.zeros(span, np.uint32)
    words = np.zeros(128 * (last_block + 1), np.uint64)
    groups = np.zeros(16 * (last_block + 1), np.uint64)
    blocks = np.zeros(last_block + 1, np.uint64)
    zero, one, full = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
    after = np.zeros((16, 16), np.uint64)  # row r lets through what comes after place r
    for row in range(16):
        after[row, row + 1 :] = full
    bit6, word3, group4 = np.uint32(63), np.uint32(7), np.uint32(15)
    now = np.uint32(0)
    for i in range(ids.size):
        key = ids[i]
        if now == span:
            words[:] = 0
            groups[:] = 0
            blocks[:] = 0
            now = np.uint32(0)
            for time in range(span):
                moved = owner[np.uint32(time)]
                live = last[moved] == time
                owner[now] = moved
                last[moved] = now if live else last[moved]
                now = np.uint32(now + np.uint32(live))
            for place in range(np.uint64(now)):
                words[place >> np.uint64(6)] |= one << (place & np.uint64(63))
                groups[place >> np.uint64(9)] += one
                blocks[place >> np.uint64(13)] += one
        before = last[key]
        if before == never:
            histogram[0] += 1
        else:
            word, group, block = before >> np.uint32(6), before >> np.uint32(9), before >> np.uint32(13)
            distance = _ones(words[word] & (full << np.uint64(before & bit6)))
            start, rank = np.uint64(group) << np.uint64(3), word & word3
            for j in range(np.uint64(8)):
                distance += _ones(words[start + j] & after[rank, j])
            start, rank = np.uint64(block) << np.uint64(4), group & group4
            for j in range(np.uint64(16)):
                distance += groups[start + j] & after[rank, j]
            for j in range(np.uint64(blocks.size)):
                distance += blocks[j] if j > np.uint64(block) else zero
            histogram[distance] += 1
            words[word] &= ~(one << np.uint64(before & bit6))
            groups[group] -= one
            blocks[block] -= one
        words[now >> np.uint32(6)] |= one << np.uint64(now & bit6)
        groups[now >> np.uint32(9)] += one
        blocks[now >> np.uint32(13)] += one
        last[key] = now
        owner[now] = key
        now = np.uint32(now + np.uint32(1))
    return histogram


@kernel(_bytes_example, twin=lru_bytes_plain)
def lru_bytes(keys: Keys, sizes: Counts, capacity: int, flags: Flags) -> int:
    """Run LRU over objects of different sizes; one larger than the whole cache passes it by."""
    ids = keys.view(np.uint32)
    items = sizes.size
    end = np.uint32(items)
    newer = np.full(items + 1, end, np.uint32)
    older = np.full(items + 1, end, np.uint32)
    held = np.zeros(items, np.uint8)
    free = capacity
    hits = 0
    for i in range(ids.size):
        key = ids[i]
        hit = held[key]
        flags[i] = hit
        hits += hit
        if hit:
            _unlink(newer, older, key)
        else:
            size = sizes[key]
            if size > capacity:
                continue
            while free < size:
                victim = newer[end]
                _unlink(newer, older, victim)
                held[victim] = 0
                free += sizes[victim]
            held[key] = 1
            free -= size
        _push(newer, older, end, key)
    return hits


KERNELS: dict[str, Callable[[Keys, int, int, Flags], int]] = {
    "LRU": lru,
    "LFU": lfu,
    "FIFO": fifo,
    "CLOCK": clock,
    "SIEVE": sieve,
    "S3-FIFO": s3fifo,
    "ARC": arc,
    "OPT": opt,
}


def plain_cache(policy: str, capacity: int, keys: Sequence[int], rng: Generator) -> PlainCache:
    """Make the twin of a policy; only OPT looks at `keys` and only random draws from `rng`."""
    simple: dict[str, type[PlainCache]] = {
        "LRU": LRU,
        "LFU": LFU,
        "FIFO": FIFO,
        "CLOCK": Clock,
        "SIEVE": Sieve,
        "S3-FIFO": S3FIFO,
        "ARC": ARC,
    }
    if policy == "random":
        return Random(capacity, rng)
    if policy == "OPT":
        return Optimal(capacity, keys)
    return simple[policy](capacity)

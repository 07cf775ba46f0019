"""Loops of :mod:`course.cache_strategies`."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Strategies and write orders, numbered as the kernel wants them.
ASIDE, THROUGH, BACK, REFRESH, AROUND = range(5)
SEQUENTIAL, PARALLEL, INVALIDATE = range(3)

# Kinds of step, as a timeline shows them.
HIT, MISS, DB_READ, FILL, DB_WRITE, PUT, DELETE, FLUSH, RELOAD, CRASH = range(10)

# When an entry is refreshed before it expires.
OFF, ON_ACCESS, ON_TIMER = range(3)

# Columns of the counters that `arena` fills.
HITS, MISSES, STALE, DIRTY, LOST, CRASHED, DB_READS, DB_WRITES, STEPS = range(9)

# What an event means.  Parallel legs have codes of their own because two of them must end before the reply.
_START, _GET, _FILL, _COMMIT, _PUT, _DELETE = range(6)
_COMMIT_LEG, _PUT_LEG, _PUT_DIRTY, _FLUSH, _FLUSHED, _RELOADED = range(6, 12)


@inlined
def _unlink(before: Ints, after: Ints, key: int) -> None:
    after[before[key]] = after[key]
    before[after[key]] = before[key]


@inlined
def _push_front(before: Ints, after: Ints, key: int) -> None:
    head = len(after) - 1  # the sentinel closes the ring
    first = after[head]
    after[head] = key
    before[key] = head
    after[key] = first
    before[first] = key


def _arena_example() -> tuple[Any, ...]:
    ones, no = np.ones(2), np.zeros(2, np.bool_)
    return (
        *(ASIDE, INVALIDATE, no, np.zeros(2, np.int64), ones, ones, ones, ones, no, ones, ones),
        *(2, 2, 1.0, 0.5, 1.0, np.zeros(2), np.zeros(9, np.int64), np.zeros((2, 6))),
    )


@kernel(_arena_example)
def arena(
    strategy: int,
    order: int,
    is_write: Bools,
    keys: Ints,
    lookup_ms: Floats,
    db_ms: Floats,
    update_ms: Floats,
    background_ms: Floats,
    crashes: Bools,
    offsets_ms: Floats,
    warm_expiry_ms: Floats,
    n_keys: int,
    capacity: int,
    ttl_ms: float,
    window: float,
    flush_ms: float,
    latency_ms: Floats,
    counts: Ints,
    timeline: Floats,
) -> int:
    """Run every operation; returns the number of keys whose cache and database differ at the end.

    Operations are handed to whichever client is free; all random numbers were drawn before, so that two
    strategies see the same world.  A database read sees the snapshot of the moment it starts, a write commits
    when it ends.
    """
    n = len(keys)
    version_committed = np.full(n + 1, -1, np.int64)  # commit number of a version, -1 until committed
    version_committed[0] = 0
    db_version = np.zeros(n_keys, np.int64)
    db_commit = np.zeros(n_keys, np.int64)
    cached = np.full(n_keys, -1, np.int64)
    expiry = np.zeros(n_keys)
    unsaved = np.zeros(n_keys, np.int64)  # acknowledged writes of a key that the database does not have
    flushing = np.full(n_keys, -1, np.int64)
    reloading = np.full(n_keys, -1, np.int64)
    before = np.full(n_keys + 1, n_keys, np.int64)
    after = np.full(n_keys + 1, n_keys, np.int64)
    size = 0
    for key in range(min(capacity, n_keys) - 1, -1, -1):
        cached[key] = 0
        expiry[key] = warm_expiry_ms[key]
        _push_front(before, after, key)
        size += 1

    client_of = np.zeros(n, np.int64)
    started = np.zeros(n)
    seen_commit = np.zeros(n, np.int64)
    value = np.zeros(n, np.int64)
    legs = np.zeros(n, np.int64)
    commits = 0
    next_op = 0
    background = 0
    serial = 0
    rows = 0
    max_rows = len(timeline)

    heap = [(0.0, 0, 0, 0)]
    heap.pop()
    for client in range(len(offsets_ms)):
        heappush(heap, (offsets_ms[client], serial, client, _START))
        serial += 1

    while len(heap) > 0:
        now, _, who, code = heappop(heap)
        done = -1  # operation that ends here
        put = -1  # key whose cache entry is set here, to `put_value`
        put_value = -1
        begun = now
        kind = -1
        op = who

        if code == _START:
            if next_op == n:
                continue
            op = next_op
            next_op += 1
            client_of[op] = who
            started[op] = now
            key = keys[op]
            seen_commit[op] = db_commit[key]
            if not is_write[op]:
                heappush(heap, (now + lookup_ms[op], serial, op, _GET))
            elif strategy == BACK:
                heappush(heap, (now + update_ms[op], serial, op, _PUT_DIRTY))
            elif order == PARALLEL and strategy != AROUND:
                if not crashes[op] or db_ms[op] <= update_ms[op]:
                    heappush(heap, (now + db_ms[op], serial, op, _COMMIT_LEG))
                    serial += 1
                    legs[op] += 1
                if not crashes[op] or db_ms[op] > update_ms[op]:
                    heappush(heap, (now + update_ms[op], serial, op, _PUT_LEG))
                    legs[op] += 1
            else:
                heappush(heap, (now + db_ms[op], serial, op, _COMMIT))
            serial += 1
            continue

        key = who if code in (_FLUSH, _FLUSHED, _RELOADED) else keys[op]

        if code == _GET:
            begun = now - lookup_ms[op]
            version = cached[key]
            if version >= 0 and (unsaved[key] > 0 or flushing[key] >= 0 or now < expiry[key]):
                kind = HIT
                counts[HITS] += 1
                value[op] = version
                done = op
                _unlink(before, after, key)
                _push_front(before, after, key)
                if strategy == REFRESH and reloading[key] < 0 and expiry[key] - now < window * ttl_ms:
                    reloading[key] = db_version[key]
                    counts[DB_READS] += 1
                    heappush(heap, (now + background_ms[background % n], serial, key, _RELOADED))
                    serial += 1
                    background += 1
            else:
                kind = MISS
                counts[MISSES] += 1
                counts[DB_READS] += 1
                value[op] = db_version[key]
                heappush(heap, (now + db_ms[op] + update_ms[op], serial, op, _FILL))
                serial += 1
        elif code == _FILL:
            if rows < max_rows:  # the database read that came before the fill
                timeline[rows, 0] = now - update_ms[op] - db_ms[op]
                timeline[rows, 1] = now - update_ms[op]
                timeline[rows, 2] = client_of[op]
                timeline[rows, 3] = key
                timeline[rows, 4] = DB_READ
                timeline[rows, 5] = value[op]
                rows += 1
            kind = FILL
            begun = now - update_ms[op]
            if (
                unsaved[key] == 0 and flushing[key] < 0
            ):  # a write-back cache never overwrites an unsaved entry
                put = key
                put_value = value[op]
            done = op
        elif code in (_COMMIT, _COMMIT_LEG):
            kind = DB_WRITE
            begun = now - db_ms[op]
            commits += 1
            version_committed[op + 1] = commits
            db_version[key] = op + 1
            db_commit[key] = commits
            counts[DB_WRITES] += 1
            if code == _COMMIT_LEG:
                legs[op] -= 1
                if legs[op] == 0:
                    done = op
            elif strategy == AROUND or crashes[op]:
                done = op
            else:
                heappush(heap, (now + update_ms[op], serial, op, _DELETE if order == INVALIDATE else _PUT))
                serial += 1
        elif code == _PUT:
            kind = PUT
            begun = now - update_ms[op]
            if strategy != ASIDE or cached[key] >= 0:  # cache-aside updates what is there and adds nothing
                put = key
                put_value = op + 1
            done = op
        elif code == _PUT_LEG:
            kind = PUT
            begun = now - update_ms[op]
            if strategy != ASIDE or cached[key] >= 0:
                put = key
                put_value = op + 1
            legs[op] -= 1
            if legs[op] == 0:
                done = op
        elif code == _DELETE:
            kind = DELETE
            begun = now - update_ms[op]
            if cached[key] >= 0:
                cached[key] = -1
                _unlink(before, after, key)
                size -= 1
            done = op
        elif code == _PUT_DIRTY:
            kind = PUT
            begun = now - update_ms[op]
            put = key
            put_value = op + 1
            if unsaved[key] == 0 and flushing[key] < 0:
                heappush(heap, (now + flush_ms, serial, key, _FLUSH))
                serial += 1
            unsaved[key] += 1
            done = op
        elif code == _FLUSH:
            if unsaved[key] == 0:  # lost in a crash, or written when it was evicted
                continue
            flushing[key] = cached[key]
            unsaved[key] = 0
            heappush(heap, (now + background_ms[background % n], serial, key, _FLUSHED))
            serial += 1
            background += 1
            kind = FLUSH
            done = -2
        elif code == _FLUSHED:
            commits += 1
            version_committed[flushing[key]] = commits
            db_version[key] = flushing[key]
            db_commit[key] = commits
            counts[DB_WRITES] += 1
            flushing[key] = -1
            if cached[key] >= 0:
                expiry[key] = now + ttl_ms
            if unsaved[key] > 0:  # one flush of a key at a time keeps its writes in order
                heappush(heap, (now + flush_ms, serial, key, _FLUSH))
                serial += 1
            continue
        else:
            kind = RELOAD
            put = key
            put_value = reloading[key]
            reloading[key] = -1

        if put >= 0:
            if cached[put] >= 0:
                _unlink(before, after, put)
            elif size == capacity:
                victim = before[n_keys]
                if unsaved[victim] > 0:  # a dirty victim is written out before its place is given away
                    commits += 1
                    version_committed[cached[victim]] = commits
                    db_version[victim] = cached[victim]
                    db_commit[victim] = commits
                    unsaved[victim] = 0
                    counts[DB_WRITES] += 1
                _unlink(before, after, victim)
                cached[victim] = -1
            else:
                size += 1
            cached[put] = put_value
            expiry[put] = now + ttl_ms
            _push_front(before, after, put)

        if code == _PUT_DIRTY and crashes[op]:
            # The cache node restarts with this key's unsaved writes: acknowledged, and gone.
            counts[LOST] += unsaved[key]
            counts[CRASHED] += 1
            unsaved[key] = 0
            if flushing[key] < 0:
                cached[key] = -1
                _unlink(before, after, key)
                size -= 1
            else:
                cached[key] = flushing[key]

        if rows < max_rows:
            timeline[rows, 0] = begun
            timeline[rows, 1] = now
            timeline[rows, 2] = client_of[op] if done >= -1 and kind != RELOAD else -1
            timeline[rows, 3] = key
            timeline[rows, 4] = kind
            timeline[rows, 5] = value[op] if kind in (HIT, FILL) else (op + 1 if kind != MISS else -1)
            if kind in (RELOAD, FLUSH):
                timeline[rows, 5] = cached[key]
            rows += 1

        if done >= 0:
            if not is_write[done]:
                latency_ms[done] = now - started[done]
                committed = version_committed[value[done]]
                if committed < 0:
                    counts[DIRTY] += 1
                elif committed < seen_commit[done]:
                    counts[STALE] += 1
            elif crashes[done] and strategy != BACK and strategy != AROUND:
                counts[CRASHED] += 1
                if rows < max_rows:
                    timeline[rows, 0] = now
                    timeline[rows, 1] = now
                    timeline[rows, 2] = client_of[done]
                    timeline[rows, 3] = key
                    timeline[rows, 4] = CRASH
                    timeline[rows, 5] = done + 1
                    rows += 1
            else:
                latency_ms[done] = now - started[done]
            heappush(heap, (now, serial, client_of[done], _START))
            serial += 1

    counts[STEPS] = rows
    differing = 0
    for key in range(n_keys):
        if cached[key] >= 0 and cached[key] != db_version[key]:
            differing += 1
    return differing


def _refresh_example() -> tuple[Any, ...]:
    return np.zeros(2, np.int64), np.ones(2), 2, 2, 1.0, 0.5, ON_ACCESS, np.zeros(6, np.int64)


@kernel(_refresh_example)
def refresh_ahead(
    keys: Ints,
    times_s: Floats,
    n_keys: int,
    capacity: int,
    ttl_s: float,
    window: float,
    mode: int,
    counts: Ints,
) -> None:
    """Count hits, expiry, cold and capacity misses, database reads, and expiry misses read in their window.

    Each entry lives `ttl_s` from its last load; its window is the last share `window` of that life.  `mode`
    is OFF (nothing is refreshed), ON_ACCESS (an access in the window loads the entry anew) or ON_TIMER (every
    resident entry is loaded anew when its window opens, accessed or not).
    """
    loaded = np.full(n_keys, -1.0)  # when the entry was last loaded, -1 = never
    touched = np.zeros(n_keys)  # last access
    resident = np.zeros(n_keys, np.bool_)
    before = np.full(n_keys + 1, n_keys, np.int64)
    after = np.full(n_keys + 1, n_keys, np.int64)
    opens = ttl_s * (1.0 - window)
    size = 0
    for i in range(len(keys)):
        key = keys[i]
        now = times_s[i]
        if resident[key]:
            age = now - loaded[key]
            if mode == ON_TIMER and age >= opens:
                rounds = np.floor(age / opens)
                counts[4] += int(rounds)
                loaded[key] += rounds * opens
                age = now - loaded[key]
            if age < ttl_s:
                counts[0] += 1
                if mode == ON_ACCESS and age >= opens:
                    counts[4] += 1
                    loaded[key] = now
            else:
                counts[1] += 1
                counts[4] += 1
                if touched[key] - loaded[key] >= opens:
                    counts[5] += 1
                loaded[key] = now
            _unlink(before, after, key)
        else:
            if loaded[key] < 0.0:
                counts[2] += 1
            else:
                counts[3] += 1
            counts[4] += 1
            loaded[key] = now
            resident[key] = True
            if size == capacity:
                victim = before[n_keys]
                if mode == ON_TIMER:
                    counts[4] += int(np.floor((now - loaded[victim]) / opens))
                _unlink(before, after, victim)
                resident[victim] = False
            else:
                size += 1
        touched[key] = now
        _push_front(before, after, key)
    if mode == ON_TIMER:
        for key in range(n_keys):
            if resident[key]:
                counts[4] += int(np.floor((times_s[-1] - loaded[key]) / opens))

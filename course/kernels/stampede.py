"""Loop of :mod:`course.stampede`."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NONE, GUIDE_V1, GUIDE_V2, SINGLE_FLIGHT, REDIS_LOCK, XFETCH, SWR = range(7)
OK, ERROR, EMPTY = range(3)

_LOADED, _STORED, _POLL = range(3)
_FREE, _DEAD = -1, -2  # otherwise a lock holds the number of its flight


def _example() -> tuple[Any, ...]:
    two = np.ones(2)
    return (
        *(SWR, np.arange(2.0), np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(3, np.bool_)),
        *(two, np.ones(3), 1, 1, 0.2, 0.001, 1.0, 0.05, 1.0),
        *(np.zeros(2), np.zeros(2, np.int64), np.zeros(2), np.zeros(3)),
    )


@kernel(_example)
def run(
    fix: int,
    arrive_s: Floats,
    key_of: Ints,
    process_of: Ints,
    db_fails: Bools,
    dice: Floats,
    ttl_factor: Floats,
    n_keys: int,
    n_processes: int,
    db_s: float,
    set_s: float,
    ttl_s: float,
    poll_s: float,
    grace_s: float,
    finish_s: Floats,
    status: Ints,
    age_s: Floats,
    call_s: Floats,
) -> tuple[int, int]:
    """Answer every request; fills the last four arrays, returns the database calls and the dead locks."""
    n = len(arrive_s)
    loaded_at = np.full(n_keys, -1.0)  # when the cached value left the database
    expires = np.full(n_keys, -np.inf)
    lock = np.full((n_processes, n_keys), _FREE)
    flight_key = np.zeros(n + 1, np.int64)
    flight_process = np.zeros(n + 1, np.int64)
    owner = np.full(n + 1, -1)  # request that waits for the flight to be stored; -1: background
    first_waiter = np.full(n + 1, -1)
    next_waiter = np.full(n, -1)
    calls = 0
    thrown = 0  # dice used
    stored = 0  # TTLs used
    serial = 0
    arrived = 0
    heap = [(0.0, 0, 0, 0)]
    heap.pop()

    while arrived < n or len(heap) > 0:
        request = -1
        if arrived < n and (len(heap) == 0 or arrive_s[arrived] < heap[0][0]):
            request = arrived
            now = arrive_s[request]
            arrived += 1
        else:
            now, _, who, code = heappop(heap)
            if code == _POLL:
                request = who
            elif code == _LOADED:
                flight = who
                key, process = flight_key[flight], flight_process[flight]
                guide = fix in (GUIDE_V1, GUIDE_V2)
                failed = db_fails[flight]
                if not failed:
                    heappush(heap, (now + set_s, serial, flight, _STORED))
                    serial += 1
                if failed or guide:
                    if fix == GUIDE_V1 and failed:
                        lock[process, key] = _DEAD
                    elif lock[process, key] == flight:
                        lock[process, key] = _FREE
                    if owner[flight] >= 0:
                        finish_s[owner[flight]] = now
                        status[owner[flight]] = ERROR if failed else OK
                        age_s[owner[flight]] = now - call_s[flight]
                    waiter = first_waiter[flight]
                    while waiter >= 0:
                        finish_s[waiter] = now
                        if failed:
                            status[waiter] = ERROR
                        elif now < expires[key]:
                            age_s[waiter] = now - loaded_at[key]
                        else:  # the waiter looks into the cache before the value is there
                            status[waiter] = EMPTY
                        waiter = next_waiter[waiter]
                continue
            else:
                flight = who
                key, process = flight_key[flight], flight_process[flight]
                loaded_at[key] = call_s[flight]
                if fix in (GUIDE_V1, GUIDE_V2):
                    expires[key] = np.inf
                    continue
                expires[key] = now + ttl_s * ttl_factor[stored]
                stored += 1
                if lock[process, key] == flight:
                    lock[process, key] = _FREE
                if owner[flight] >= 0:
                    finish_s[owner[flight]] = now
                    age_s[owner[flight]] = now - call_s[flight]
                waiter = first_waiter[flight]
                while waiter >= 0:
                    finish_s[waiter] = now
                    age_s[waiter] = now - call_s[flight]
                    waiter = next_waiter[waiter]
                continue

        key = key_of[request]
        process = 0 if fix == REDIS_LOCK else process_of[request]  # its lock is one for all processes
        held = lock[process, key]
        hit = now < expires[key]
        if hit and fix == XFETCH:
            # Exact when loads always take db_s; the entry remembers how long its load took.
            hit = now - db_s * np.log(dice[thrown]) < expires[key]
            thrown += 1
        background = fix == SWR and not hit and now < expires[key] + grace_s
        if hit or background:
            finish_s[request] = now
            age_s[request] = now - loaded_at[key]
            if hit or held != _FREE:
                continue
        elif held == _DEAD:
            finish_s[request] = now
            status[request] = ERROR
            continue
        elif held != _FREE:
            if fix == REDIS_LOCK:
                heappush(heap, (now + poll_s, serial, request, _POLL))
                serial += 1
            else:
                next_waiter[request] = first_waiter[held]
                first_waiter[held] = request
            continue
        flight = calls
        calls += 1
        call_s[flight] = now
        flight_key[flight] = key
        flight_process[flight] = process
        if not background:
            owner[flight] = request
        if fix not in (NONE, XFETCH):
            lock[process, key] = flight
        heappush(heap, (now + db_s, serial, flight, _LOADED))
        serial += 1
    return calls, int((lock == _DEAD).sum())

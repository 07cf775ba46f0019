"""Loops of :mod:`course.balancing`.

Every server is one FIFO queue, so the end of a request is known when it arrives, and the ends at one server come
in the order of the arrivals.  Nothing needs an event heap: policies that know nothing of the servers
choose all servers first (:func:`choose`), then :func:`serve` goes through the queues; for the others the loops of
:data:`INFORMED` keep a linked list of unfinished requests a server and take off what has ended only when a policy looks.

Every loop goes through the requests from `begin` to `end` and keeps in arrays what it needs for the next slice, so a run
can be cut in slices, to be watched and stopped, without changing it.

Each policy is here a second time as a small class in plain Python, over a heap of departures (:func:`replay`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Servers = NDArray[np.int32]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

ROUND_ROBIN, SMOOTH_WEIGHTED, GUIDE_WEIGHTED, RANDOM, WEIGHTED_RANDOM, IP_HASH, RING = range(7)
LEAST_CONNECTIONS, POWER_OF_TWO, SHORTEST_QUEUE, BOUNDED_RING, RESPONSE_TIME, RESOURCES = range(7, 13)

DOWN, FAILING_FAST, STARTING_COLD = range(3)

RESPONSE_TIME_CONNECTIONS = 13

# An entry of a ledger, from the highest bit: open connections (25 bits), last request (28), server (10).
_COUNT, _REQUEST = 38, 10
_ONE = 1 << _COUNT
_BELOW_COUNT = _ONE - 1
_SERVER = (1 << _REQUEST) - 1
MAX_SERVERS = 1 << _REQUEST
MAX_REQUESTS = 10_000_000

# A run that is watched reports this often.
SLICES = 32

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Traffic(NamedTuple):
    """What arrives: one entry a request.

    ``arrive`` (s), ``work`` (mean 1), ``pick`` (64 random bits), ``balancer`` that takes it, and ``home``: the hash
    of the client's address, or the index of the first ring token at or after it; empty if the policy hashes
    nothing.
    """

    arrive: Floats
    work: Floats
    pick: Words
    balancer: Servers
    home: Ints


class Faults(NamedTuple):
    """Faults of server i: entries ``first[i]`` to ``first[i + 1]``; ``value`` as in :class:`course.balancing.Fault`."""

    first: Ints
    kind: Ints
    begin: Floats
    end: Floats
    value: Floats


class Rotation(NamedTuple):
    """When which server leaves the rotation or comes back, by time."""

    time: Floats
    server: Ints
    up: Flags


class Journal(NamedTuple):
    """What became of each request: server, begin and end of its service in s, and whether it failed."""

    server: Servers
    start: Floats
    finish: Floats
    failed: Flags


class Knowledge(NamedTuple):
    """What informed policies are told, and how they weigh it; see :func:`course.balancing.simulate`."""

    refresh: float
    bound: float
    alpha: float
    explore: float
    error_counts: float
    window: float
    memory_slots: float


def new_traffic(arrive: Floats, work: Floats, pick: Words, balancer: Servers, home: Ints) -> Traffic:
    """Return what arrives as read-only views: to a compiler, arrays that may be written to are of another type."""
    views: list[Any] = []
    for array in (arrive, work, pick, balancer, home):
        view = np.ascontiguousarray(array).view()
        view.flags.writeable = False
        views.append(view)
    return Traffic(*views)


def new_journal(requests: int) -> Journal:
    """Return a journal to be filled."""
    return Journal(
        np.empty(requests, np.int32), np.empty(requests), np.empty(requests), np.zeros(requests, np.bool_)
    )


# --- one server ---------------------------------------------------------------------------------------------


def service(
    now: float, free: float, work: float, speed: float, low: int, high: int, faults: Faults
) -> tuple[float, float, bool]:
    """Begin, end and failure of a request that joins a server which is free from `free` on.

    A crash loses all that has not ended. `free` never lies after the crash: the first request that would end after it
    ends with it, and so do all behind.
    """
    start = max(now, free)
    duration = work / speed
    failed = False
    lost_at = math.inf
    for f in range(low, high):
        begin, end, kind = faults.begin[f], faults.end[f], faults.kind[f]
        if kind == DOWN:
            if begin <= now < end:
                return now, now, True
            if now < begin:
                lost_at = min(lost_at, begin)
        elif begin <= start < end:
            if kind == FAILING_FAST:
                duration = faults.value[f]
                failed = True
            else:
                cold = faults.value[f]
                duration = work / (speed * (cold + (1.0 - cold) * (start - begin) / (end - begin)))
    finish = start + duration
    if lost_at < finish:
        return start, lost_at, True
    return start, finish, failed


_service = inlined(service)


# --- policies that know nothing of the servers --------------------------------------------------------------


def no_faults(servers: int) -> Faults:
    """Return the table of servers that never fail."""
    nothing = np.empty(0)
    return Faults(np.zeros(servers + 1, np.int64), np.empty(0, np.int64), nothing, nothing, nothing)


def no_rotation() -> Rotation:
    """Return the changes of a rotation that stays as it is."""
    return Rotation(np.empty(0), np.empty(0, np.int64), np.empty(0, np.bool_))


def _traffic_example() -> Traffic:
    return new_traffic(
        np.arange(3.0),
        np.ones(3),
        np.arange(3, dtype=np.uint64),
        np.zeros(3, np.int32),
        np.zeros(3, np.int64),
    )


class Turns(NamedTuple):
    """What :func:`choose` remembers: who is in rotation, the next change of that, and where each balancer stands."""

    up: Flags
    event: Ints
    turn: Ints
    current: Floats


def new_turns(servers: int, balancers: int) -> Turns:
    """Return the state in which nothing has been chosen yet."""
    return Turns(
        np.ones(servers, np.bool_),
        np.zeros(1, np.int64),
        np.zeros(balancers, np.int64),
        np.zeros((balancers, servers)),
    )


def _choose_example() -> tuple[Any, ...]:
    owners = np.arange(2, dtype=np.int32)
    places = np.empty(3, np.int32)
    return (RING, _traffic_example(), np.ones(2), owners, no_rotation(), places, new_turns(2, 1), 0, 3)


@inlined
def _scaled(word: np.uint64, count: int) -> int:
    """Map 32 random bits to 0 … count - 1."""
    return np.int64((word * np.uint64(count)) >> _HALF)  # type: ignore[return-value]


@inlined
def _in_rotation(up: Flags, alive: Servers) -> int:
    """List the servers in rotation in `alive`, all if there is none; returns how many."""
    count = 0
    for i in range(up.size):
        if up[i]:
            alive[count] = i
            count += 1
    if count == 0:
        for i in range(up.size):
            alive[i] = i
        count = up.size
    return count


@inlined
def _next_owner(owners: Servers, token: int, listed: Flags) -> int:
    """First token from `token` on, clockwise, whose server is listed."""
    while True:
        if token >= owners.size:
            token = 0
        if listed[owners[token]]:
            return token
        token += 1


@kernel(_choose_example)
def choose(
    policy: int,
    traffic: Traffic,
    weights: Floats,
    owners: Servers,
    rotation: Rotation,
    server: Servers,
    turns: Turns,
    begin: int,
    end: int,
) -> None:
    """Fill `server` by a policy that does not look at the servers."""
    arrive, pick, balancer, home = traffic.arrive, traffic.pick, traffic.balancer, traffic.home
    up, turn, current = turns.up, turns.turn, turns.current
    n = weights.size
    alive = np.empty(n, np.int32)
    listed = np.empty(n, np.bool_)
    sums = np.empty(n)
    count = 0
    total = 0.0
    event = turns.event[0]
    for j in range(max(begin, 0), end):
        if count == 0 or (event < rotation.time.size and rotation.time[event] <= arrive[j]):
            while event < rotation.time.size and rotation.time[event] <= arrive[j]:
                up[rotation.server[event]] = rotation.up[event]
                event += 1
            count = _in_rotation(up, alive)
            total = 0.0
            listed[:] = False
            for k in range(count):
                listed[alive[k]] = True
                total += weights[alive[k]]
                sums[k] = total
        if policy == ROUND_ROBIN:
            b = balancer[j]
            k = turn[b] if turn[b] < count else 0
            server[j] = alive[k]
            turn[b] = k + 1
        elif policy == RANDOM:
            server[j] = alive[_scaled(pick[j] & _LOW, count)]
        elif policy == WEIGHTED_RANDOM:
            drawn = np.float64(pick[j] & _LOW) / 4294967296.0 * total
            server[j] = alive[np.searchsorted(sums[:count], drawn, side="right")]
        elif policy == IP_HASH:
            server[j] = alive[home[j] % count]
        elif policy == RING:
            server[j] = owners[_next_owner(owners, home[j], listed)]
        else:
            mine = current[balancer[j]]
            best = alive[0]
            for k in range(count):
                i = alive[k]
                mine[i] += weights[i]
                if policy == GUIDE_WEIGHTED:
                    mine[i] %= total
                if mine[i] > mine[best]:
                    best = i
            if policy == SMOOTH_WEIGHTED:
                mine[best] -= total
            server[j] = best
    turns.event[0] = event


def _serve_example() -> tuple[Any, ...]:
    return (
        _traffic_example(),
        np.ones(2),
        no_faults(2),
        new_journal(3)._replace(server=np.zeros(3, np.int32)),
        *(np.zeros(2), 0, 3),
    )


@kernel(_serve_example)
def serve(
    traffic: Traffic,
    speeds: Floats,
    faults: Faults,
    journal: Journal,
    idle_from: Floats,
    begin: int,
    end: int,
) -> None:
    """Send every request through the queue of the server that was chosen for it."""
    arrive, work = traffic.arrive, traffic.work
    server, begins, ends = journal.server, journal.start, journal.finish
    free = idle_from.copy()  # nothing else points into it, which the compiler makes use of
    if faults.kind.size == 0:
        for j in range(max(begin, 0), end):
            i = server[j]
            start = max(arrive[j], free[i])
            finish = start + work[j] / speeds[i]
            free[i] = finish
            begins[j] = start
            ends[j] = finish
    else:
        for j in range(max(begin, 0), end):
            i = server[j]
            start, finish, failed = _service(
                arrive[j], free[i], work[j], speeds[i], faults.first[i], faults.first[i + 1], faults
            )
            free[i] = finish
            begins[j] = start
            ends[j] = finish
            journal.failed[j] = failed
    for i in range(free.size):
        idle_from[i] = free[i]


# --- policies that look at the servers ----------------------------------------------------------------------


class Views(NamedTuple):
    """What the loops of :data:`INFORMED` remember of each server.

    ``ledger`` and ``seen`` have one number a server and balancer: as it is, and as it was at the last refresh.  The
    number holds open connections, the request for which the server was last chosen, and the server itself, from the
    highest bits down; the least number is then the server to choose.  ``response`` and ``seen_response`` (s, below 0 if not
    measured yet) likewise.  Unfinished requests of a server are a linked list: ``oldest``, ``newest``, ``following``;
    ``due`` is when the oldest one ends.
    """

    ledger: Ints
    seen: Ints
    response: Floats
    seen_response: Floats
    score: Floats
    busy_share: Floats
    since: Floats
    free: Floats
    oldest: Ints
    newest: Ints
    due: Floats
    following: Ints
    up: Flags
    event: Ints
    refreshed: Floats


def new_views(servers: int, rows: int, requests: int, refresh: float) -> Views:
    """Return the state in which nobody has come; `rows` is the number of balancers that see different things."""
    ledger = np.tile(np.arange(servers), (rows, 1))
    response = np.full((rows, servers), -1.0)
    zeros = np.zeros((4, servers))
    return Views(
        ledger,
        ledger.copy() if refresh > 0 else ledger,
        response,
        response.copy() if refresh > 0 else response,
        score=zeros[0],
        busy_share=zeros[1],
        since=zeros[2],
        free=zeros[3],
        oldest=np.zeros(servers, np.int64),
        newest=np.zeros(servers, np.int64),
        due=np.full(servers, math.inf),
        following=np.empty(requests, np.int64),
        up=np.ones(servers, np.bool_),
        event=np.zeros(1, np.int64),
        refreshed=np.full(1, -1.0),
    )


def _informed_example(policy: int) -> tuple[Any, ...]:
    knowledge = Knowledge(0.0, 1.25, 0.2, 0.0, -1.0, 1.0, 16.0)
    owners = np.arange(2, dtype=np.int32)
    return (
        *(policy, _traffic_example(), np.ones(2), owners, knowledge, no_faults(2), no_rotation()),
        *(new_journal(3), new_views(2, 1, 3, 0.0), 0, 3),
    )


@inlined
def _busy_share(share: float, since: float, now: float, free: float, window: float) -> float:
    """Smoothed share of time busy at `now`, of a server that is busy from `since` until `free`, then idle."""
    busy_until = min(max(free, since), now)
    risen = 1.0 - (1.0 - share) * math.exp((since - busy_until) / window)
    return risen * math.exp((busy_until - now) / window)


@inlined
def _chosen(entry: int, request: int, connections: int) -> int:
    """Entry of a server that has been chosen for `request`."""
    return (((entry >> _COUNT) + connections) << _COUNT) | (request + 1) << _REQUEST | (entry & _SERVER)


@inlined
def _least(score: Floats, ledger: Ints, alive: Servers, in_rotation: int) -> int:
    """Server of the lowest score; among equals the one chosen longest ago."""
    best = int(alive[0])
    for k in range(1, in_rotation):
        i = int(alive[k])
        if score[i] < score[best] or (
            score[i] == score[best] and ledger[i] & _BELOW_COUNT < ledger[best] & _BELOW_COUNT
        ):
            best = i
    return best


def _informed(name: str, sampled: bool, weighed: bool) -> Callable[..., None]:
    """Compile the loop for some of the policies only: a third of the machine code loads in a third of the time."""

    def loop(
        policy: int,
        traffic: Traffic,
        speeds: Floats,
        owners: Servers,
        knowledge: Knowledge,
        faults: Faults,
        rotation: Rotation,
        journal: Journal,
        views: Views,
        begin: int,
        end: int,
    ) -> None:
        """Choose a server for each request by what its balancer sees, and send it through that queue."""
        arrive, pick = traffic.arrive, traffic.pick
        balancer, work = traffic.balancer, traffic.work
        server, begins, ends, failures = journal.server, journal.start, journal.finish, journal.failed
        ledger, seen, response, seen_response = views.ledger, views.seen, views.response, views.seen_response
        score, busy_share, since, free = views.score, views.busy_share, views.since, views.free
        oldest, newest, due, following = views.oldest, views.newest, views.due, views.following
        refresh = knowledge.refresh
        n = speeds.size
        # Only what the servers report themselves is the same for every balancer.
        shared = policy in (SHORTEST_QUEUE, RESOURCES)
        measures = policy in (RESPONSE_TIME, RESPONSE_TIME_CONNECTIONS)
        refreshed = views.refreshed[0]
        reliable = faults.kind.size == 0
        up = views.up
        alive = np.empty(n, np.int32)
        listed = np.empty(n, np.bool_)
        in_rotation = 0
        event = views.event[0]

        for j in range(max(begin, 0), end):
            now = arrive[j]
            row = 0 if shared else balancer[j]
            if in_rotation == 0 or (event < rotation.time.size and rotation.time[event] <= now):
                while event < rotation.time.size and rotation.time[event] <= now:
                    up[rotation.server[event]] = rotation.up[event]
                    event += 1
                in_rotation = _in_rotation(up, alive)
                if sampled:
                    for i in range(n):
                        listed[i] = False
                    for k in range(in_rotation):
                        listed[alive[k]] = True

            told = math.floor(now / refresh) * refresh if refresh > 0.0 else now
            if told > refreshed and (not sampled or policy != POWER_OF_TWO or refresh > 0.0):
                refreshed = told
                for i in range(n):
                    while due[i] <= told:
                        ended = oldest[i]
                        r = 0 if shared else balancer[ended]
                        ledger[r, i] -= _ONE
                        if weighed and measures:
                            sample = ends[ended] - arrive[ended]
                            if failures[ended] and knowledge.error_counts >= 0.0:
                                sample = knowledge.error_counts
                            if response[r, i] < 0.0:
                                response[r, i] = sample
                            else:
                                response[r, i] += knowledge.alpha * (sample - response[r, i])
                        oldest[i] = following[ended]
                        due[i] = ends[oldest[i]] if oldest[i] >= 0 else math.inf
                if weighed and policy == RESOURCES:
                    for i in range(n):
                        busy_share[i] = _busy_share(busy_share[i], since[i], told, free[i], knowledge.window)
                        since[i] = told
                        memory = (ledger[0, i] >> _COUNT) / knowledge.memory_slots
                        score[i] = max(busy_share[i], min(1.0, memory))
                if refresh > 0.0:
                    # Element by element: an assignment of whole arrays is twenty times the machine code.
                    for r in range(ledger.shape[0]):
                        for i in range(n):
                            seen[r, i] = ledger[r, i]
                            if weighed:
                                seen_response[r, i] = response[r, i]

            if sampled and policy == POWER_OF_TWO:
                k = _scaled(pick[j] & _LOW, in_rotation)
                chosen = alive[k]
                if in_rotation > 1:
                    other = _scaled(pick[j] >> _HALF, in_rotation - 1)
                    rival = alive[other + 1 if other >= k else other]
                    if refresh == 0.0:
                        for i in (chosen, rival):
                            while due[i] <= now:
                                ledger[balancer[oldest[i]], i] -= _ONE
                                oldest[i] = following[oldest[i]]
                                due[i] = ends[oldest[i]] if oldest[i] >= 0 else math.inf
                    if seen[row, rival] >> _COUNT < seen[row, chosen] >> _COUNT:
                        chosen = rival
            elif sampled:
                active = 0
                for k in range(in_rotation):
                    active += seen[row, alive[k]] >> _COUNT
                limit = math.ceil(knowledge.bound * (active + 1) / in_rotation)
                token = _next_owner(owners, traffic.home[j], listed)
                while seen[row, owners[token]] >> _COUNT >= limit:
                    token = _next_owner(owners, token + 1, listed)
                chosen = owners[token]
            elif weighed and policy == RESOURCES:
                chosen = _least(score, seen[row], alive, in_rotation)
            elif weighed:
                if np.float64(pick[j] >> _HALF) < knowledge.explore * 4294967296.0:
                    chosen = alive[_scaled(pick[j] & _LOW, in_rotation)]
                elif policy == RESPONSE_TIME:
                    chosen = _least(seen_response[row], seen[row], alive, in_rotation)
                else:
                    for k in range(in_rotation):
                        i = alive[k]
                        score[i] = seen_response[row, i] * ((seen[row, i] >> _COUNT) + 1)
                    chosen = _least(score, seen[row], alive, in_rotation)
            else:
                lowest = seen[row, alive[0]]
                if in_rotation == n:
                    for i in range(n):  # the compiler takes several at a time
                        lowest = min(lowest, seen[row, i])
                else:
                    for k in range(in_rotation):
                        lowest = min(lowest, seen[row, alive[k]])
                chosen = lowest & _SERVER

            begun = free[chosen]
            if reliable:
                start = max(now, begun)
                finish = start + work[j] / speeds[chosen]
            else:
                start, finish, failures[j] = _service(
                    now,
                    begun,
                    work[j],
                    speeds[chosen],
                    faults.first[chosen],
                    faults.first[chosen + 1],
                    faults,
                )
            if weighed and policy == RESOURCES:
                busy_share[chosen] = _busy_share(
                    busy_share[chosen], since[chosen], now, begun, knowledge.window
                )
                since[chosen] = now
            free[chosen] = finish
            server[j] = chosen
            begins[j] = start
            ends[j] = finish
            ledger[row, chosen] = _chosen(ledger[row, chosen], j, 1)
            if refresh > 0.0:
                seen[row, chosen] = _chosen(seen[row, chosen], j, 0)
            following[j] = -1
            if due[chosen] == math.inf:
                oldest[chosen] = j
                due[chosen] = finish
            else:
                following[newest[chosen]] = j
            newest[chosen] = j
        views.event[0] = event
        views.refreshed[0] = refreshed

    loop.__name__ = loop.__qualname__ = name
    policy = POWER_OF_TWO if sampled else RESPONSE_TIME if weighed else LEAST_CONNECTIONS
    return kernel(lambda: _informed_example(policy))(loop)


serve_fewest = _informed("serve_fewest", sampled=False, weighed=False)
serve_sampled = _informed("serve_sampled", sampled=True, weighed=False)
serve_weighed = _informed("serve_weighed", sampled=False, weighed=True)

INFORMED = {
    LEAST_CONNECTIONS: serve_fewest,
    SHORTEST_QUEUE: serve_fewest,
    POWER_OF_TWO: serve_sampled,
    BOUNDED_RING: serve_sampled,
    RESPONSE_TIME: serve_weighed,
    RESPONSE_TIME_CONNECTIONS: serve_weighed,
    RESOURCES: serve_weighed,
}


@inlined
def _doubled(ends: Floats, head: Ints, tail: Ints) -> Floats:
    """Room for twice as many requests a server; each keeps its number."""
    servers, size = ends.shape
    larger = np.full((servers, 2 * size), math.inf)
    for i in range(servers):
        for k in range(head[i], tail[i]):
            larger[i, k & (2 * size - 1)] = ends[i, k & (size - 1)]
    return larger


class Rings(NamedTuple):
    """What :func:`serve_power_of_two` remembers of each server: numbers of ended and of sent requests, and when free."""

    head: Ints
    tail: Ints
    free: Floats


def new_rings(servers: int) -> tuple[Floats, Rings]:
    """Return room for the ends of 64 requests a server, none of which has come."""
    zeros = np.zeros(servers, np.int64)
    return np.full((servers, 64), math.inf), Rings(zeros, zeros.copy(), np.zeros(servers))


def _power_of_two_example() -> tuple[Any, ...]:
    return _traffic_example(), np.ones(2), new_journal(3), *new_rings(2), 0, 3


@kernel(_power_of_two_example)
def serve_power_of_two(
    traffic: Traffic, speeds: Floats, journal: Journal, ends: Floats, rings: Rings, begin: int, end: int
) -> Floats:
    """Serve as :data:`INFORMED` does, with power of two choices, at least two servers, and nothing in the way.

    One balancer that sees everything at once, and no faults: then the k-th request of a server need only be known by its
    end, in a ring of them, and the difference of two counters is the number of connections.  Returns the rings, which
    grow.
    """
    arrive, work, pick = traffic.arrive, traffic.work, traffic.pick
    server, begins, finish_of = journal.server, journal.start, journal.finish
    head, tail, free = rings.head, rings.tail, rings.free
    n = speeds.size
    size = ends.shape[1]
    for j in range(max(begin, 0), end):
        now = arrive[j]
        first = _scaled(pick[j] & _LOW, n)
        second = _scaled(pick[j] >> _HALF, n - 1)
        second = second + 1 if second >= first else second
        # Mostly none to two have ended, which no processor can predict: so the first two without a branch.
        left = head[first]
        left += 1 if ends[first, left & (size - 1)] <= now else 0
        left += 1 if ends[first, left & (size - 1)] <= now else 0
        while ends[first, left & (size - 1)] <= now:
            left += 1
        head[first] = left
        right = head[second]
        right += 1 if ends[second, right & (size - 1)] <= now else 0
        right += 1 if ends[second, right & (size - 1)] <= now else 0
        while ends[second, right & (size - 1)] <= now:
            right += 1
        head[second] = right
        chosen = second if tail[second] - right < tail[first] - left else first
        start = max(now, free[chosen])
        finish = start + work[j] / speeds[chosen]
        free[chosen] = finish
        server[j] = chosen
        begins[j] = start
        finish_of[j] = finish
        place = tail[chosen]
        if place + 1 - head[chosen] >= size:  # one place stays infinite and ends the search
            ends = _doubled(ends, head, tail)
            size *= 2
        ends[chosen, place & (size - 1)] = finish
        ends[chosen, (place + 1) & (size - 1)] = math.inf
        tail[chosen] = place + 1
    return ends


def simulate(
    policy: int,
    traffic: Traffic,
    weights: Floats,
    speeds: Floats,
    balancers: int,
    owners: Servers,
    knowledge: Knowledge,
    faults: Faults,
    rotation: Rotation,
    journal: Journal,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Fill the journal, by whichever loops the policy needs; tell `progress` the share that is done, 32 times."""
    n, requests = speeds.size, traffic.arrive.size
    undisturbed = balancers == 1 and knowledge.refresh == 0 and faults.kind.size == rotation.time.size == 0
    one_slice: Callable[[int, int], None]
    if policy < LEAST_CONNECTIONS:
        turns, free = new_turns(n, balancers), np.zeros(n)

        def one_slice(begin: int, end: int) -> None:
            choose(policy, traffic, weights, owners, rotation, journal.server, turns, begin, end)
            serve(traffic, speeds, faults, journal, free, begin, end)

    elif policy == POWER_OF_TWO and undisturbed and n > 1:
        ends, rings = new_rings(n)

        def one_slice(begin: int, end: int) -> None:
            nonlocal ends
            ends = serve_power_of_two(traffic, speeds, journal, ends, rings, begin, end)

    else:
        rows = 1 if policy in (SHORTEST_QUEUE, RESOURCES) else balancers
        views = new_views(n, rows, requests, knowledge.refresh)

        def one_slice(begin: int, end: int) -> None:
            INFORMED[policy](
                *(policy, traffic, speeds, owners, knowledge, faults, rotation, journal, views, begin, end)
            )

    if progress is None:
        one_slice(0, requests)
        return
    for k in range(SLICES):
        one_slice(requests * k // SLICES, requests * (k + 1) // SLICES)
        progress((k + 1) / SLICES)


# --- the readable twins -------------------------------------------------------------------------------------


class Situation(NamedTuple):
    """What a balancer knows when a request comes in; lists have one entry a server.

    Attributes
    ----------
    balancer : int
        Which balancer has to choose.
    in_rotation : list of int
        The servers it may choose.
    weights : list of float
        Their shares, in any unit.
    connections : list of int
        Requests that this balancer has open, as of the last refresh.
    queue_lengths : list of int
        Requests at the server, waiting or in service, whoever sent them; as of the last refresh.
    response_s : list of float
        Smoothed response time of what this balancer sent; -1 if nothing has come back yet.
    cpu, memory : list of float
        Shares in use, as the servers reported them at the last refresh.
    home : int
        Hash of the client's address, or index of its token on the ring.
    draws : tuple of int
        Two random numbers, each from 0 to 2³² - 1.
    """

    balancer: int
    in_rotation: list[int]
    weights: list[float]
    connections: list[int]
    queue_lengths: list[int]
    response_s: list[float]
    cpu: list[float]
    memory: list[float]
    home: int
    draws: tuple[int, int]


Pick = Callable[[Situation], int]


class PlainPolicy(ABC):
    """One way of choosing; `balancers` of them work side by side."""

    shared = False  # whether all balancers see the same

    def __init__(self, servers: int, balancers: int, owners: list[int], knowledge: Knowledge) -> None:
        self.owners = owners
        self.knowledge = knowledge
        self.last = [[-1] * servers for _ in range(balancers)]
        self.counter = 0

    @abstractmethod
    def choose(self, s: Situation) -> int:
        """Return a server in rotation."""

    def __call__(self, s: Situation) -> int:
        """Choose, and remember when each server was chosen last."""
        server = self.choose(s)
        self.last[0 if self.shared else s.balancer][server] = self.counter
        self.counter += 1
        return server

    def least(self, score: list[float] | list[int], s: Situation) -> int:
        """Lowest score; among equals the one chosen longest ago."""
        last = self.last[0 if self.shared else s.balancer]
        return min(s.in_rotation, key=lambda i: (score[i], last[i], i))

    def clockwise(self, token: int, s: Situation) -> list[int]:
        """Servers in rotation in the order in which the ring meets them from `token` on."""
        around = self.owners[token % len(self.owners) :] + self.owners[: token % len(self.owners)]
        return [i for i in dict.fromkeys(around) if i in s.in_rotation]


class RoundRobin(PlainPolicy):
    """One after the other."""

    def __init__(self, servers: int, balancers: int, owners: list[int], knowledge: Knowledge) -> None:
        super().__init__(servers, balancers, owners, knowledge)
        self.turn = [0] * balancers

    def choose(self, s: Situation) -> int:
        """Take the next of those in rotation."""
        k = self.turn[s.balancer]
        k = k if k < len(s.in_rotation) else 0
        self.turn[s.balancer] = k + 1
        return s.in_rotation[k]


class SmoothWeighted(PlainPolicy):
    """Raise every server by its weight, choose the highest, lower that one by the sum (nginx 2012)."""

    def __init__(self, servers: int, balancers: int, owners: list[int], knowledge: Knowledge) -> None:
        super().__init__(servers, balancers, owners, knowledge)
        self.current = [[0.0] * servers for _ in range(balancers)]

    def choose(self, s: Situation) -> int:
        """Choose the highest, the first among equals."""
        current = self.current[s.balancer]
        for i in s.in_rotation:
            current[i] += s.weights[i]
        best = max(s.in_rotation, key=lambda i: current[i])
        current[best] -= sum(s.weights[i] for i in s.in_rotation)
        return best


class GuideWeighted(SmoothWeighted):
    """Raise every server by its weight modulo the sum, choose the highest: gives wrong shares."""

    def choose(self, s: Situation) -> int:
        """Choose the highest, the first among equals."""
        current = self.current[s.balancer]
        total = sum(s.weights[i] for i in s.in_rotation)
        for i in s.in_rotation:
            current[i] = (current[i] + s.weights[i]) % total
        return max(s.in_rotation, key=lambda i: current[i])


class Random(PlainPolicy):
    """Any server, all equally likely."""

    def choose(self, s: Situation) -> int:
        """Use the first draw."""
        return s.in_rotation[s.draws[0] * len(s.in_rotation) >> 32]


class WeightedRandom(PlainPolicy):
    """Any server, with chances in proportion to the weights."""

    def choose(self, s: Situation) -> int:
        """Use the first draw."""
        drawn = s.draws[0] / 2**32 * sum(s.weights[i] for i in s.in_rotation)
        reached = 0.0
        for i in s.in_rotation:
            reached += s.weights[i]
            if drawn < reached:
                return i
        return s.in_rotation[-1]


class IPHash(PlainPolicy):
    """Hash of the address modulo the number of servers."""

    def choose(self, s: Situation) -> int:
        """Keep to one server for an address, as long as the rotation stays the same."""
        return s.in_rotation[s.home % len(s.in_rotation)]


class Ring(PlainPolicy):
    """Consistent hashing (Karger et al. 1997)."""

    def choose(self, s: Situation) -> int:
        """Take the first server clockwise."""
        return self.clockwise(s.home, s)[0]


class BoundedRing(PlainPolicy):
    """Consistent hashing with bounded loads (Mirrokni, Thorup & Zadimoghaddam 2018)."""

    def choose(self, s: Situation) -> int:
        """Take the first server clockwise that has fewer connections than its bound."""
        active = sum(s.connections[i] for i in s.in_rotation)
        limit = math.ceil(self.knowledge.bound * (active + 1) / len(s.in_rotation))
        return next(i for i in self.clockwise(s.home, s) if s.connections[i] < limit)


class LeastConnections(PlainPolicy):
    """Fewest open connections of this balancer."""

    def choose(self, s: Situation) -> int:
        """Choose by its own count."""
        return self.least(s.connections, s)


class PowerOfTwo(PlainPolicy):
    """The one with fewer connections of two different servers drawn at random (Mitzenmacher 2001)."""

    def choose(self, s: Situation) -> int:
        """Keep the first unless the second has fewer."""
        several = len(s.in_rotation)
        k = s.draws[0] * several >> 32
        first = s.in_rotation[k]
        if several == 1:
            return first
        other = s.draws[1] * (several - 1) >> 32
        second = s.in_rotation[other + (other >= k)]
        return second if s.connections[second] < s.connections[first] else first


class ShortestQueue(PlainPolicy):
    """Shortest queue at the server, whoever filled it."""

    shared = True

    def choose(self, s: Situation) -> int:
        """Choose by what the servers say."""
        return self.least(s.queue_lengths, s)


class ResponseTime(PlainPolicy):
    """Lowest smoothed response time."""

    def score(self, i: int, s: Situation) -> float:
        """Return what is to be low."""
        return s.response_s[i]

    def choose(self, s: Situation) -> int:
        """Explore now and then, otherwise choose by the score."""
        if s.draws[1] < self.knowledge.explore * 2**32:
            return s.in_rotation[s.draws[0] * len(s.in_rotation) >> 32]
        return self.least([self.score(i, s) for i in range(len(s.weights))], s)


class ResponseTimeConnections(ResponseTime):
    """Lowest product of smoothed response time and connections, the new one included."""

    def score(self, i: int, s: Situation) -> float:
        """Return about the time until the new request would be answered."""
        return s.response_s[i] * (s.connections[i] + 1)


class Resources(PlainPolicy):
    """Lowest load, where the scarcer of CPU and memory counts."""

    shared = True

    def choose(self, s: Situation) -> int:
        """Choose by what the servers report."""
        return self.least([max(c, m) for c, m in zip(s.cpu, s.memory, strict=True)], s)


PLAIN: dict[int, type[PlainPolicy]] = {
    ROUND_ROBIN: RoundRobin,
    SMOOTH_WEIGHTED: SmoothWeighted,
    GUIDE_WEIGHTED: GuideWeighted,
    RANDOM: Random,
    WEIGHTED_RANDOM: WeightedRandom,
    IP_HASH: IPHash,
    RING: Ring,
    LEAST_CONNECTIONS: LeastConnections,
    POWER_OF_TWO: PowerOfTwo,
    SHORTEST_QUEUE: ShortestQueue,
    BOUNDED_RING: BoundedRing,
    RESPONSE_TIME: ResponseTime,
    RESPONSE_TIME_CONNECTIONS: ResponseTimeConnections,
    RESOURCES: Resources,
}


def replay(
    choose_server: Pick,
    traffic: Traffic,
    weights: Floats,
    speeds: Floats,
    balancers: int,
    knowledge: Knowledge,
    faults: Faults,
    rotation: Rotation,
    journal: Journal,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Send every request to the server that a Python function chooses; all ends are in one calendar."""
    n = speeds.size
    servers = range(n)
    connections = [[0] * n for _ in range(balancers)]
    queue_lengths = [0] * n
    response = [[-1.0] * n for _ in range(balancers)]
    cpu = [0.0] * n
    since = [0.0] * n
    free = [0.0] * n
    up = [True] * n
    events = list(zip(rotation.time.tolist(), rotation.server.tolist(), rotation.up.tolist(), strict=True))
    events.reverse()
    calendar: list[tuple[float, int]] = []
    refreshed = -1.0
    requests, told_slices = traffic.arrive.size, 0
    seen: tuple[list[list[int]], list[int], list[list[float]], list[float], list[float]]
    for j, now in enumerate(traffic.arrive.tolist()):
        while events and events[-1][0] <= now:
            _, who, state = events.pop()
            up[who] = state
        told = math.floor(now / knowledge.refresh) * knowledge.refresh if knowledge.refresh > 0 else now
        if told > refreshed:
            refreshed = told
            while calendar and calendar[0][0] <= told:
                _, ended = heappop(calendar)
                i, b = int(journal.server[ended]), int(traffic.balancer[ended])
                connections[b][i] -= 1
                queue_lengths[i] -= 1
                sample = float(journal.finish[ended] - traffic.arrive[ended])
                if journal.failed[ended] and knowledge.error_counts >= 0:
                    sample = knowledge.error_counts
                if response[b][i] < 0:
                    response[b][i] = sample
                else:
                    response[b][i] += knowledge.alpha * (sample - response[b][i])
            for i in servers:
                cpu[i] = _busy_share(cpu[i], since[i], told, free[i], knowledge.window)
                since[i] = told
            seen = (
                [list(row) for row in connections],
                list(queue_lengths),
                [list(row) for row in response],
                list(cpu),
                [min(1.0, length / knowledge.memory_slots) for length in queue_lengths],
            )
        b, word = int(traffic.balancer[j]), int(traffic.pick[j])
        i = choose_server(
            Situation(
                b,
                [i for i in servers if up[i]] or list(servers),
                weights.tolist(),
                list(seen[0][b]),
                list(seen[1]),
                list(seen[2][b]),
                list(seen[3]),
                list(seen[4]),
                int(traffic.home[j]) if traffic.home.size else 0,
                (word & 0xFFFFFFFF, word >> 32),
            )
        )
        cpu[i] = _busy_share(cpu[i], since[i], now, free[i], knowledge.window)
        since[i] = now
        low, high = int(faults.first[i]), int(faults.first[i + 1])
        start, finish, failed = service(
            now, free[i], float(traffic.work[j]), float(speeds[i]), low, high, faults
        )
        free[i] = finish
        journal.server[j], journal.start[j], journal.finish[j], journal.failed[j] = i, start, finish, failed
        connections[b][i] += 1
        queue_lengths[i] += 1
        heappush(calendar, (finish, j))
        while progress is not None and told_slices < SLICES * (j + 1) // requests:
            told_slices += 1
            progress(told_slices / SLICES)

"""Load balancing: which of several servers gets the next request, and what that does to the waiting.

Requests come as a Poisson process; each server is one FIFO queue.  All policies can be given the same requests, by
the same seed: what differs between two runs is then the policy alone.  The loops are in
:mod:`course.kernels.balancing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks, sharding

if TYPE_CHECKING:
    from course.kernels.balancing import Faults, Pick, Rotation

Floats = NDArray[np.float64]
Progress = Callable[[float], None]

# In the order of the numbers in course.kernels.balancing.
POLICIES = (
    "round robin",
    "smooth weighted round robin",
    "guide's weighted round robin",
    "random",
    "weighted random",
    "IP hash",
    "consistent hashing",
    "least connections",
    "power of two choices",
    "join the shortest queue",
    "bounded-load consistent hashing",
    "least response time",
    "resource-based",
    "response time × connections",
)
SERVICES = ("exponential", "deterministic", "Pareto")
FAULTS = ("down", "failing fast", "starting cold")
WEIGHTED = ("guide", "smooth", "expanded")
TIES = ("first", "last")
RESOURCE_RULES = ("or", "max")
STICKINESS = ("none", "cookie", "IP address")

MAX_SERVERS = 1_000
MAX_REQUESTS = 10_000_000
MAX_PLAIN_REQUESTS = 200_000
MAX_BALANCERS = 100
MIN_SPEED, MAX_SPEED = 1e-6, 1e6
MAX_UTILISATION = 2.0
MAX_WEIGHT = 1_000_000
MIN_TAIL, MAX_TAIL = 1.05, 100.0
MAX_ADDRESSES = 10_000_000
MAX_BOUND = 1_000.0
MAX_TIME_S = 1e9
MAX_FAULTS = 10_000
MAX_PROBES = 1_000_000
MAX_THRESHOLD = 1_000
MAX_STEPS = 10_000
MAX_POINTS = 10_000
MAX_MEMORY_SLOTS = 1e9

_HASHING = ("IP hash", "consistent hashing", "bounded-load consistent hashing")


# --- what arrives -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """Random numbers of one seed, the same for every policy and every position of a slider.

    Attributes
    ----------
    gaps, works : ndarray of float64, shape (requests,)
        Unit exponentials: time between arrivals, and size of each request.
    picks, origins : ndarray of uint64, shape (requests,)
        Random bits: for the choice of a server, and for who asks and through which balancer.
    """

    gaps: Floats
    works: Floats
    picks: NDArray[np.uint64]
    origins: NDArray[np.uint64]


@lru_cache(maxsize=2)
def draw(requests: int, seed: int) -> Draws:
    """Draw all the randomness of a run at once; the last two sets are kept.

    Parameters
    ----------
    requests : int
        From 1 to 10 million.
    seed : int
        The same seed gives the same numbers, and each kind of number has a stream of its own.

    Returns
    -------
    Draws
        Read-only arrays.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    requests = checks.integer("requests", requests, 1, MAX_REQUESTS)
    seed = checks.integer("seed", seed, 0, sharding.MAX_SEED)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
    draws = Draws(
        streams[0].standard_exponential(requests),
        streams[1].standard_exponential(requests),
        streams[2].integers(0, 2**64, requests, dtype=np.uint64),
        streams[3].integers(0, 2**64, requests, dtype=np.uint64),
    )
    for array in (draws.gaps, draws.works, draws.picks, draws.origins):
        array.flags.writeable = False
    return draws


def service_shape(works: Floats, service: str, tail: float = 2.5) -> Floats:
    """Turn unit exponentials into service times of mean 1, longer for longer ones.

    Parameters
    ----------
    works : ndarray of float64
        Unit exponentials.
    service : str
        ``"exponential"``, ``"deterministic"`` or ``"Pareto"``.
    tail : float
        Exponent of the Pareto distribution, from 1.05 to 100; its variance is infinite up to 2.

    Returns
    -------
    ndarray of float64
        By inversion: exp(-E) is uniform, so (1 - 1/α) exp(E/α) is Pareto with mean 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("service", service, SERVICES)
    tail = checks.number("tail", tail, MIN_TAIL, MAX_TAIL)
    if service == "exponential":
        return works
    if service == "deterministic":
        return np.ones_like(works)
    return np.asarray((1 - 1 / tail) * np.exp(works / tail))


# --- what breaks --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One server misbehaves for a while.

    Attributes
    ----------
    server : int
        Which, from 0.
    kind : str
        ``"down"``: what has not ended is lost, what comes is refused at once. ``"failing fast"``: each request is
        answered with an error after `error_s`. ``"starting cold"``: the speed rises from `cold_speed` of the usual
        one to all of it, in a straight line.
    start_s, end_s : float
        From when to when, at most 10⁹ s.
    error_s : float
        From 0 to 10⁹ s; only for ``"failing fast"``.
    cold_speed : float
        From 0.001 to 1; only for ``"starting cold"``.
    """

    server: int
    kind: str
    start_s: float
    end_s: float
    error_s: float = 0.001
    cold_speed: float = 0.1

    def __post_init__(self) -> None:
        checks.integer("server of a fault", self.server, 0, MAX_SERVERS - 1)
        checks.option("kind of a fault", self.kind, FAULTS)
        start = checks.number("start_s of a fault", self.start_s, 0, MAX_TIME_S, unit="s")
        checks.number("end_s of a fault", self.end_s, start, MAX_TIME_S, unit="s", open_low=True)
        checks.number("error_s of a fault", self.error_s, 0, MAX_TIME_S, unit="s")
        checks.number("cold_speed of a fault", self.cold_speed, 0.001, 1)

    @property
    def value(self) -> float:
        """What the kind needs to know."""
        return self.cold_speed if self.kind == "starting cold" else self.error_s


@dataclass(frozen=True)
class HealthCheck:
    """Probes that take a server out of rotation and put it back.

    Attributes
    ----------
    interval_s : float
        Between two probes of a server; the first is at time 0. At most a million in a run.
    fall, rise : int
        Failures in a row that take it out, successes in a row that put it back; from 1 to 1,000.
    deep : bool
        Whether a probe does what a request does, and so notices a server that fails fast. A shallow one notices
        only that a server is down.

    Notes
    -----
    If no server is left in rotation, all are used ("fail open"), as Envoy and AWS's balancers do.
    """

    interval_s: float
    fall: int = 3
    rise: int = 2
    deep: bool = False

    def __post_init__(self) -> None:
        checks.number("interval_s", self.interval_s, 0, MAX_TIME_S, unit="s", open_low=True)
        checks.integer("fall", self.fall, 1, MAX_THRESHOLD)
        checks.integer("rise", self.rise, 1, MAX_THRESHOLD)


def rotation_changes(
    faults: Sequence[Fault], health: HealthCheck, until_s: float
) -> list[tuple[float, int, bool]]:
    """When health checks take a server out of rotation, or put it back.

    Parameters
    ----------
    faults : sequence of Fault
        At most 10,000.
    health : HealthCheck
        How servers are probed.
    until_s : float
        Time of the last probe.

    Returns
    -------
    list of (time, server, in rotation)
        In the order of time.

    Raises
    ------
    ValueError
        If there are too many faults or probes.
    """
    checks.integer("number of faults", len(faults), 0, MAX_FAULTS)
    until_s = checks.number("until_s", until_s, 0, MAX_TIME_S * 2, unit="s")
    checks.number("number of probes of a server", until_s / health.interval_s + 1, 1, MAX_PROBES)
    noticed = ("down", "failing fast") if health.deep else ("down",)
    changes = []
    for server in sorted({fault.server for fault in faults if fault.kind in noticed}):
        times = np.arange(math.floor(until_s / health.interval_s) + 1) * health.interval_s
        sick = np.zeros(times.size, np.bool_)
        for fault in faults:
            if fault.server == server and fault.kind in noticed:
                sick |= (fault.start_s <= times) & (times < fault.end_s)
        # Runs of equal answers: a run that is long enough changes the state, if it is not that already.
        begins = np.flatnonzero(np.diff(sick, prepend=~sick[:1]))
        lengths = np.diff(begins, append=times.size)
        up = True
        for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True):
            needed = health.fall if sick[begin] else health.rise
            if sick[begin] == up and length >= needed:
                up = not up
                changes.append((float(times[begin + needed - 1]), server, up))
    return sorted(changes)


# --- simulation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QueueLengths:
    """Requests at each server over time.

    Attributes
    ----------
    times_s : ndarray of float64, shape (points,)
        When.
    lengths : ndarray of int64, shape (servers, points)
        Waiting or in service at that time; what arrives just then counts, what ends just then does not.
    """

    times_s: Floats
    lengths: NDArray[np.int64]


@dataclass(frozen=True)
class BalancingRun:
    """What became of every request.

    Attributes
    ----------
    policy : str
        One of :data:`POLICIES`, or ``"your own"``.
    speeds : ndarray of float64, shape (servers,)
        Requests a second that each server can serve.
    warmup : int
        Requests at the beginning that the figures below leave out.
    arrival_s, start_s, finish_s : ndarray of float64, shape (requests,)
        When each came, when its service began, and when it ended.
    server : ndarray of int32, shape (requests,)
        Where it went.
    failed : ndarray of bool, shape (requests,)
        Whether it ended with an error.
    """

    policy: str
    speeds: Floats
    warmup: int
    arrival_s: Floats = field(repr=False)
    start_s: Floats = field(repr=False)
    finish_s: Floats = field(repr=False)
    server: NDArray[np.int32] = field(repr=False)
    failed: NDArray[np.bool_] = field(repr=False)

    @property
    def response_s(self) -> Floats:
        """Time from arrival to answer, of the requests that were answered without error after the warm-up."""
        return self._answered(self.finish_s - self.arrival_s)

    @property
    def wait_s(self) -> Floats:
        """Time from arrival to the begin of service, of the same requests."""
        return self._answered(self.start_s - self.arrival_s)

    @property
    def mean_response_s(self) -> float:
        """Mean response time; NaN if nothing was answered."""
        return _mean(self.response_s)

    @property
    def mean_wait_s(self) -> float:
        """Mean waiting time; NaN if nothing was answered."""
        return _mean(self.wait_s)

    def percentile_s(self, percent: ArrayLike) -> Floats:
        """Response times that so many percent of the answered requests do not exceed; NaN if there are none."""
        asked = np.asarray(percent, np.float64)
        for one in asked.ravel():
            checks.number("percent", float(one), 0, 100)
        answered = self.response_s
        if answered.size == 0:
            return np.full(asked.shape, np.nan)
        return np.asarray(np.percentile(answered, asked))

    @property
    def share(self) -> Floats:
        """Share of the requests that each server got."""
        counted = np.bincount(self.server[self.warmup :], minlength=self.speeds.size)
        return np.asarray(counted / counted.sum())

    @property
    def utilisation(self) -> Floats:
        """Share of the time that each server was busy, from the first counted arrival to the last."""
        begin, end = self.arrival_s[self.warmup], self.arrival_s[-1]
        if begin == end:
            return np.zeros(self.speeds.size)
        busy = np.minimum(self.finish_s, end) - np.maximum(self.start_s, begin)
        total = np.bincount(self.server, np.maximum(busy, 0), self.speeds.size)
        return np.asarray(total / (end - begin))

    @property
    def errors(self) -> int:
        """Number of requests that ended with an error."""
        return int(np.count_nonzero(self.failed[self.warmup :]))

    @property
    def error_ratio(self) -> float:
        """Share of requests that ended with an error."""
        return self.errors / (self.failed.size - self.warmup)

    def queue_lengths(self, points: int = 200) -> QueueLengths:
        """Count the requests at each server, at `points` equally spaced times (2 to 10,000) from first to last arrival."""
        points = checks.integer("points", points, 2, MAX_POINTS)
        times = np.linspace(self.arrival_s[self.warmup], self.arrival_s[-1], points)
        order = np.argsort(self.server, kind="stable")
        ends = np.cumsum(np.bincount(self.server, minlength=self.speeds.size))
        lengths = np.empty((self.speeds.size, points), np.int64)
        for i, end in enumerate(ends.tolist()):
            own = order[ends[i - 1] if i else 0 : end]
            came = np.searchsorted(self.arrival_s[own], times, side="right")
            lengths[i] = came - np.searchsorted(self.finish_s[own], times, side="right")
        return QueueLengths(times, lengths)

    def _answered(self, times: Floats) -> Floats:
        return np.asarray(times[self.warmup :][~self.failed[self.warmup :]])


def simulate(
    policy: str | Pick,
    speeds: ArrayLike,
    utilisation: float,
    *,
    requests: int = 100_000,
    warmup: int = 0,
    seed: int = 1,
    service: str = "exponential",
    tail: float = 2.5,
    weights: ArrayLike | None = None,
    balancers: int = 1,
    refresh_s: float = 0.0,
    addresses: int = 10_000,
    nat_share: float = 0.0,
    vnodes: int = 100,
    bound: float = 1.25,
    alpha: float = 0.2,
    explore: float = 0.0,
    error_counts_s: float | None = None,
    window_s: float | None = None,
    memory_slots: float = 16.0,
    faults: Sequence[Fault] = (),
    health: HealthCheck | None = None,
    progress: Progress | None = None,
) -> BalancingRun:
    """Send Poisson arrivals through a balancer to servers with one FIFO queue each.

    Parameters
    ----------
    policy : str or callable
        One of :data:`POLICIES`, or a function that takes a :class:`course.kernels.balancing.Situation` and returns
        the number of a server in rotation; with a function at most 200,000 requests.
    speeds : array_like, shape (servers,)
        Requests a second that each server can serve, from 10⁻⁶ to 10⁶; 1 to 1,000 servers.
    utilisation : float
        Arrivals a second over the sum of the speeds, above 0 to 2. From 1 on queues grow without end.
    requests : int
        From 1 to 10 million.
    warmup : int
        Requests at the beginning that are left out of the figures, fewer than there are. A run starts empty.
    seed : int
        The same seed gives every policy the same requests.
    service, tail
        As for :func:`service_shape`.
    weights : array_like, shape (servers,), optional
        For the weighted policies, each from 0 to a million, not all 0. The speeds, if left out.
    balancers : int
        From 1 to 100. Each request comes through any of them; each sees only its own connections.
    refresh_s : float
        Balancers learn of connections, response times and loads only at multiples of this, from 0 (at once) to
        10⁹ s, and even of their own connections.
    addresses : int
        Source addresses, all equally busy but for `nat_share`; from 1 to 10 million. Only the hashing policies
        look at them.
    nat_share : float
        Share of the requests that come from behind one more address, from 0 to 1.
    vnodes : int
        Tokens a server on the ring, from 1 to 10,000 (a million on the ring).
    bound : float
        Bounded-load consistent hashing: no server gets a request that would bring it above this times the mean
        number of connections, rounded up; from 1 to 1,000.
    alpha : float
        Weight of the last response in the smoothed response time, above 0 to 1.
    explore : float
        Response-time policies: share of requests that go to any server, from 0 to 1.
    error_counts_s : float, optional
        Response-time policies: response time that an error counts as, from 0 to 10⁹ s. Its own, if left out.
    window_s : float, optional
        Resource-based: time constant of the reported CPU load, above 0 to 10⁹ s. If left out, ten times the mean
        service time of a server of mean speed.
    memory_slots : float
        Resource-based: requests that fill the memory of a server, from 1 to 10⁹.
    faults : sequence of Fault
        At most 10,000; those of one server must not overlap.
    health : HealthCheck, optional
        Without it every server stays in rotation.
    progress : callable, optional
        Told the share that is done, 32 times; what it raises ends the run.

    Returns
    -------
    BalancingRun
        Every request, and the figures.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Least connections counts the open connections of the balancer; join the shortest queue asks the servers, and
    so sees the requests of all balancers. Both, and every other policy that looks for the least, take among equals the
    server chosen longest ago. Power of two choices draws two different servers. Least response time is the
    guide's formula: the lowest exponential moving average, whatever is on the way already; response time ×
    connections multiplies it by the open connections and one, as Finagle and Linkerd do, and so reacts before the
    first slow answer is back. Resource-based takes the lowest max(CPU, memory), where CPU is the smoothed share of time
    busy and memory the share of `memory_slots` in use.
    """
    from course.kernels import balancing as kernels

    if not callable(policy):
        checks.option("policy", policy, POLICIES)
    rates = _row("speeds", speeds, MIN_SPEED, MAX_SPEED)
    n = rates.size
    load = checks.number("utilisation", utilisation, 0, MAX_UTILISATION, open_low=True)
    requests = checks.integer(
        "requests", requests, 1, MAX_PLAIN_REQUESTS if callable(policy) else MAX_REQUESTS
    )
    warmup = checks.integer("warmup", warmup, 0, requests - 1)
    shares = rates if weights is None else _row("weights", weights, 0, MAX_WEIGHT)
    if shares.size != n or not shares.any():
        raise ValueError(f"weights = {shares.tolist()!r:.60}: must be {n}, one a server, and not all 0")
    balancers = checks.integer("balancers", balancers, 1, MAX_BALANCERS)
    knowledge = kernels.Knowledge(
        checks.number("refresh_s", refresh_s, 0, MAX_TIME_S, unit="s"),
        checks.number("bound", bound, 1, MAX_BOUND),
        checks.number("alpha", alpha, 0, 1, open_low=True),
        checks.number("explore", explore, 0, 1),
        -1.0
        if error_counts_s is None
        else checks.number("error_counts_s", error_counts_s, 0, MAX_TIME_S, unit="s"),
        10 / float(rates.mean())
        if window_s is None
        else checks.number("window_s", window_s, 0, MAX_TIME_S, unit="s", open_low=True),
        checks.number("memory_slots", memory_slots, 1, MAX_MEMORY_SLOTS),
    )
    vnodes = checks.integer("vnodes", vnodes, 1, sharding.MAX_VNODES)
    draws = draw(requests, seed)
    arrivals = np.cumsum(draws.gaps) / (load * float(rates.sum()))
    tokens, owners = sharding.ring_tokens(range(n), vnodes) if "hashing" in str(policy) else (None, None)
    home = np.empty(0, np.int64)
    if callable(policy) or policy in _HASHING:
        home = _homes(draws.origins, addresses, nat_share, tokens)
    traffic = kernels.new_traffic(
        arrivals,
        service_shape(draws.works, service, tail),
        draws.picks,
        _balancer(draws.origins, balancers),
        home,
    )
    breaks = _fault_table(faults, n)
    rotation = _rotation(faults, health, float(arrivals[-1]))
    journal = kernels.new_journal(requests)
    ring = np.zeros(1, np.int32) if owners is None else owners
    if callable(policy):
        kernels.replay(
            policy, traffic, shares, rates, balancers, knowledge, breaks, rotation, journal, progress
        )
    else:
        number = POLICIES.index(policy)
        kernels.simulate(
            number, traffic, shares, rates, balancers, ring, knowledge, breaks, rotation, journal, progress
        )
    return BalancingRun(
        "your own" if callable(policy) else policy,
        rates,
        warmup,
        arrivals,
        journal.start,
        journal.finish,
        journal.server,
        journal.failed,
    )


def _row(name: str, values: ArrayLike, low: float, high: float) -> Floats:
    # A copy: the compiled loops take a read-only or strided array for another type, and compile anew.
    row = np.array(values, np.float64, ndmin=1, order="C")
    if row.ndim != 1 or not 1 <= row.size <= MAX_SERVERS:
        raise ValueError(f"{name} of shape {row.shape}: must be one row of 1 to {MAX_SERVERS:,} numbers")
    for one in row.tolist():
        checks.number(f"{name} (one of them)", one, low, high)
    return row


def _mean(times: Floats) -> float:
    return float(times.mean()) if times.size else math.nan


def _balancer(origins: NDArray[np.uint64], balancers: int) -> NDArray[np.int32]:
    """Balancer of each request, from the low bits."""
    if balancers == 1:
        return np.zeros(origins.size, np.int32)
    low = origins & np.uint64(0xFFFFFFFF)
    return ((low * np.uint64(balancers)) >> np.uint64(32)).astype(np.int32)


def _homes(
    origins: NDArray[np.uint64], addresses: int, nat_share: float, tokens: NDArray[np.uint32] | None
) -> NDArray[np.int64]:
    """Hash of each request's source address, or the ring token that it leads to; from the high bits."""
    addresses = checks.integer("addresses", addresses, 1, MAX_ADDRESSES)
    nat_share = checks.number("nat_share", nat_share, 0, 1)
    hashes = sharding.hash_keys(np.arange(addresses + 1), salt=1)
    of_address = hashes if tokens is None else np.searchsorted(tokens, hashes)
    drawn = (origins >> np.uint64(32)) / 2.0**32
    direct = (drawn - nat_share) / (1 - nat_share) if nat_share < 1 else np.full(drawn.size, -1.0)
    source = np.where(direct < 0, addresses, np.floor(direct * addresses)).astype(np.int64)
    return of_address.astype(np.int64)[np.minimum(source, addresses)]


def _fault_table(faults: Sequence[Fault], servers: int) -> Faults:
    from course.kernels import balancing as kernels

    checks.integer("number of faults", len(faults), 0, MAX_FAULTS)
    ordered = sorted(faults, key=lambda fault: (fault.server, fault.start_s))
    for fault in ordered:
        checks.integer("server of a fault", fault.server, 0, servers - 1)
    for earlier, later in pairwise(ordered):
        if earlier.server == later.server and later.start_s < earlier.end_s:
            raise ValueError(
                f"start_s of a fault = {later.start_s}: must be at least {earlier.end_s} s, when the fault of server "
                f"{earlier.server} before it ends"
            )
    first = np.searchsorted([fault.server for fault in ordered], np.arange(servers + 1))
    return kernels.Faults(
        first.astype(np.int64),
        np.array([FAULTS.index(fault.kind) for fault in ordered], np.int64),
        np.array([fault.start_s for fault in ordered], np.float64),
        np.array([fault.end_s for fault in ordered], np.float64),
        np.array([fault.value for fault in ordered], np.float64),
    )


def _rotation(faults: Sequence[Fault], health: HealthCheck | None, until_s: float) -> Rotation:
    from course.kernels import balancing as kernels

    changes = rotation_changes(faults, health, until_s) if health else []
    return kernels.Rotation(
        np.array([when for when, _, _ in changes], np.float64),
        np.array([server for _, server, _ in changes], np.int64),
        np.array([up for _, _, up in changes], np.bool_),
    )


# --- one choice at a time -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightedStep:
    """One choice of a weighted round robin.

    Attributes
    ----------
    raised : tuple of float
        Current weight of each server when the choice is made; empty for ``"expanded"``.
    chosen : int
        The server.
    left : tuple of float
        Current weights after it.
    """

    raised: tuple[float, ...]
    chosen: int
    left: tuple[float, ...]


def weighted_steps(
    weights: Sequence[int], rule: str, steps: int, *, ties: str = "first"
) -> list[WeightedStep]:
    """Show a weighted round robin at work, choice by choice.

    Parameters
    ----------
    weights : sequence of int
        Of 1 to 1,000 servers, from 0 to a million, not all 0.
    rule : str
        ``"guide"``: each current weight becomes (itself + weight) mod sum, the highest is chosen. ``"smooth"``: each
        is raised by its weight, the highest is chosen and lowered by the sum (nginx 2012). ``"expanded"``: server i
        stands `weights[i]` times in a list that is read round and round.
    steps : int
        From 1 to 10,000.
    ties : str
        Which of equal servers is chosen: the ``"first"`` or the ``"last"``.

    Returns
    -------
    list of WeightedStep
        One a choice.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    After as many choices as the weights sum up to, the smooth rule has chosen each server `weights[i]` times and
    all its current weights are 0 again. The guide's rule keeps no account of what was chosen: with weights 3, 1, 2
    it gives the second server a third of the requests.
    """
    checks.integer("number of weights", len(weights), 1, MAX_SERVERS)
    given = [checks.integer("weights (one of them)", one, 0, MAX_WEIGHT) for one in weights]
    if not any(given):
        raise ValueError(f"weights = {given!r:.60}: must not all be 0: give at least one server a weight")
    checks.option("rule", rule, WEIGHTED)
    steps = checks.integer("steps", steps, 1, MAX_STEPS)
    checks.option("ties", ties, TIES)
    total = sum(given)
    servers = range(len(given))
    if rule == "expanded":
        starts = np.cumsum(given)
        chosen = np.searchsorted(starts, np.arange(steps) % total, side="right").tolist()
        return [WeightedStep((), one, ()) for one in chosen]
    current = [0] * len(given)
    done = []
    for _ in range(steps):
        for i in servers:
            current[i] += given[i]
            if rule == "guide":
                current[i] %= total
        raised = tuple(current)
        best = max(servers if ties == "first" else reversed(servers), key=lambda i: raised[i])
        if rule == "smooth":
            current[best] -= total
        done.append(WeightedStep(raised, best, tuple(current)))
    return done


def pick_by_resources(cpu: Sequence[float], memory: Sequence[float], rule: str = "max") -> int:
    """Choose a server by its load.

    Parameters
    ----------
    cpu, memory : sequence of float
        Load of each of 1 to 1,000 servers, from 0 to 1.
    rule : str
        ``"max"``: the lowest of max(CPU, memory). ``"or"``: the lowest of what ``cpu or memory`` gives in Python or
        JavaScript, which is the CPU unless that is 0.

    Returns
    -------
    int
        The first such server.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.integer("number of servers", len(cpu), 1, MAX_SERVERS)
    if len(memory) != len(cpu):
        raise ValueError(f"number of memory loads = {len(memory)}: must be {len(cpu)}, one a server")
    loads = [
        (checks.number("cpu (one of them)", c, 0, 1), checks.number("memory (one of them)", m, 0, 1))
        for c, m in zip(cpu, memory, strict=True)
    ]
    checks.option("rule", rule, RESOURCE_RULES)
    score = [(c or m) if rule == "or" else max(c, m) for c, m in loads]
    return score.index(min(score))


def sessions_lost(stickiness: str, servers: int, clients: int, nat_share: float = 0.0) -> float:
    """Share of the sessions lost when one server restarts, on average over the servers.

    Parameters
    ----------
    stickiness : str
        What ties a session to a server, where its state is: ``"none"`` (the state is elsewhere), a ``"cookie"`` that
        names the server, or a hash of the ``"IP address"`` modulo the number of servers.
    servers : int
        From 2 to 1,000.
    clients : int
        From 1 to 10 million, each with a session and an address of its own.
    nat_share : float
        Share of the sessions that come from behind one more address, from 0 to 1.

    Returns
    -------
    float
        0 without stickiness, 1/N with a cookie. With a hash modulo N those of other servers move too while one is away:
        about 1 - 1/N, as for :class:`course.sharding.Modulo`.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("stickiness", stickiness, STICKINESS)
    servers = checks.integer("servers", servers, 2, MAX_SERVERS)
    clients = checks.integer("clients", clients, 1, MAX_ADDRESSES)
    nat_share = checks.number("nat_share", nat_share, 0, 1)
    if stickiness == "none":
        return 0.0
    if stickiness == "cookie":
        return 1 / servers
    # The addresses of `simulate`, the shared one last.
    hashes = sharding.hash_keys(np.arange(clients + 1), salt=1).astype(np.int64)
    before, among_others = hashes % servers, hashes % (servers - 1)
    # Others are numbered past the one that is away: place k is server k before it, k + 1 from it on.
    kept = np.where(among_others == before, servers - 1 - before, 0)
    kept += np.where(among_others + 1 == before, before, 0)
    stays = kept / servers
    return float(1 - (1 - nat_share) * stays[:-1].mean() - nat_share * stays[-1])

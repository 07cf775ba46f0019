"""Two balancers behind one name: what a dead one costs, by how clients are moved and by which servers each reaches.

Every client asks DNS for the name and keeps the answer, one of the balancers at random. A balancer dies at time 0.
Plain round robin DNS goes on handing out its address; DNS with health checks stops after a while, and clients move when
what they hold expires; a virtual address is taken over by another balancer, and nobody has to ask again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks

TAKEOVERS = ("plain DNS", "DNS with health checks", "virtual address")
#: Three failed checks, 10 s apart, as DNS services with health checks offer it.
NOTICED_S = 30.0
#: VRRP with its defaults: three advertisements of 1 s missed, and the skew of priority 100, (256 - 100)/256 s
#: (RFC 5798, section 6.1).
TAKEN_OVER_S = 3.0 + 156 / 256
#: Clients that keep an address beyond its time to live let go of it after this long.
HELD_S = 1_800.0
MAX_BALANCERS = 100
MAX_CLIENTS = 100_000
MAX_TTL_S = 86_400.0
MAX_TIMES = 10_000
MAX_DRAWS = 20_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Names:
    """How clients find a balancer.

    Attributes
    ----------
    takeover : {"plain DNS", "DNS with health checks", "virtual address"}
    ttl_s : float
        Time to live of the answer, from 1 s to a day.
    ignoring : float
        Share of the clients that keep an answer for `held_s` whatever its time to live, from 0 to 1.
    held_s : float
        From 1 s to a day.
    balancers : int
        From 2 to 100; one of them dies.
    """

    takeover: str = "DNS with health checks"
    ttl_s: float = 60.0
    ignoring: float = 0.1
    held_s: float = HELD_S
    balancers: int = 2

    def __post_init__(self) -> None:
        checks.option("takeover", self.takeover, TAKEOVERS)
        checks.number("ttl_s", self.ttl_s, 1, MAX_TTL_S, unit="s")
        checks.number("ignoring", self.ignoring, 0, 1)
        checks.number("held_s", self.held_s, 1, MAX_TTL_S, unit="s")
        checks.integer("balancers", self.balancers, 2, MAX_BALANCERS)

    @property
    def moved_s(self) -> float:
        """When the dead address is handed out no more, or works again; infinite if never."""
        return {"plain DNS": np.inf, "virtual address": TAKEN_OVER_S}.get(self.takeover, NOTICED_S)

    def stranded(self, times_s: ArrayLike) -> Floats:
        """Share of the clients that hold the dead address, expected.

        Parameters
        ----------
        times_s : array_like
            Since the failure, at least 0; 1 to 10,000 of them.

        Returns
        -------
        ndarray of float64
            1/balancers at first. Once the address has been dropped, an answer that lives for L is left with probability
            1 - t/L, t after that: the time when it was asked for is uniform.

        Raises
        ------
        ValueError
            If a time is outside its range.
        """
        since = _times(times_s) - self.moved_s
        first = np.where(since < 0, 1.0, 0.0)
        if self.takeover == "DNS with health checks":
            obeying = np.clip(1 - since / self.ttl_s, 0, 1)
            holding = np.clip(1 - since / self.held_s, 0, 1)
            first = (1 - self.ignoring) * obeying + self.ignoring * holding
        return np.asarray(first / self.balancers)

    @property
    def lost_s(self) -> float:
        """Seconds without service of the average client: the area under :meth:`stranded`; infinite for plain DNS."""
        after = (1 - self.ignoring) * self.ttl_s / 2 + self.ignoring * self.held_s / 2
        by_dns = self.takeover == "DNS with health checks"
        return (self.moved_s + (after if by_dns else 0.0)) / self.balancers

    def simulate(self, times_s: ArrayLike, clients: int = 1_000, seed: int = 1) -> Floats:
        """Return :meth:`stranded` as it comes out for so many clients, each with a clock and draws of its own.

        Parameters
        ----------
        times_s : array_like
            As there.
        clients : int
            From 1 to 100,000.
        seed : int

        Returns
        -------
        ndarray of float64

        Raises
        ------
        ValueError
            If a parameter is outside its range, or there are more than 20 million draws.
        """
        times = _times(times_s)
        clients = checks.integer("clients", clients, 1, MAX_CLIENTS)
        rng = np.random.default_rng(checks.integer("seed", seed, 0))
        stubborn = rng.random(clients) < self.ignoring
        lives = np.where(stubborn, self.held_s, self.ttl_s)
        expires = rng.random(clients) * lives
        if self.takeover == "virtual address":
            dead = rng.random(clients) < 1 / self.balancers
            return np.where(times < self.moved_s, dead.mean(), 0.0)
        # Answers before the address is dropped: one already held, and one at each expiry.
        last = min(self.moved_s, float(times.max()))
        answers = int(last / min(self.ttl_s, self.held_s)) + 2
        checks.integer("clients times answers", clients * answers, 1, MAX_DRAWS)
        dead = rng.random((clients, answers)) < 1 / self.balancers
        share = np.empty(times.size)
        for i, time in enumerate(times.tolist()):
            # The number of the answer that a client holds now, and when it came.
            number = np.floor((time - expires) / lives).astype(np.int64) + 1
            came = expires + (number - 1) * lives
            held = dead[np.arange(clients), np.minimum(number, answers - 1)]
            share[i] = np.count_nonzero(held & (came < self.moved_s)) / clients
        return share


@dataclass(frozen=True)
class Failover:
    """What fails over time.

    Attributes
    ----------
    stranded : ndarray of float64
        Share of the requests that go to the dead balancer.
    refused : ndarray of float64
        Share of the requests that reach a balancer and are too many for the servers it reaches.
    load : ndarray of float64
        Requests that reach those servers, over what they can do.
    """

    stranded: Floats = field(repr=False)
    refused: Floats = field(repr=False)
    load: Floats = field(repr=False)

    @property
    def failing(self) -> Floats:
        """Share of the requests that fail."""
        return np.asarray(self.stranded + self.refused)


def failover(
    stranded: ArrayLike, utilisation: float, balancers: int = 2, *, reach_all: bool = False
) -> Failover:
    """Compute what fails while clients move away from a dead balancer.

    Parameters
    ----------
    stranded : array_like
        Share of the clients that hold the dead address, from 0 to 1.
    utilisation : float
        Of all servers, when nothing is broken; above 0, up to 1.
    balancers : int
        From 2 to 100.
    reach_all : bool
        Whether every balancer reaches every server. Otherwise each has an equal part of them to itself, and those of
        the dead one are idle.

    Returns
    -------
    Failover

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    shares = np.atleast_1d(np.asarray(stranded, np.float64))
    for share in shares.tolist():
        checks.number("stranded (one of them)", share, 0, 1)
    utilisation = checks.number("utilisation", utilisation, 0, 1, open_low=True)
    balancers = checks.integer("balancers", balancers, 2, MAX_BALANCERS)
    # Before the failure a balancer's own part of the servers gets its own part of the requests.
    reached = 1.0 if reach_all else (balancers - 1) / balancers
    load = (1 - shares) * utilisation / reached
    refused = np.maximum(0.0, (1 - shares) - reached / utilisation)
    return Failover(shares, refused, load)


def _times(times_s: ArrayLike) -> Floats:
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    checks.integer("number of times", times.size, 1, MAX_TIMES)
    if times.ndim != 1 or not np.isfinite(times).all() or times.min() < 0:
        raise ValueError(f"times_s = {times_s!r:.60}: must be one row of finite numbers of at least 0 s")
    return times

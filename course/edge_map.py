"""Edges near the users: how far it is, how long that takes, and where to put a few.

Distances are great circles, times those of light in fibre along a path that is longer than the great circle by a
factor. Bozkurt, Aqeel, Chandrasekaran, Godfrey, Laughlin, Maggs and Singla ("Dissecting latency in the Internet's
fiber infrastructure", 2018) give 2.1 as the rule of thumb that measurements suggest.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks

DATA = Path(__file__).parents[1] / "data"
EARTH_KM = 6371.0
#: Two thirds of the speed of light.
FIBRE_KM_PER_MS = 200.0
INFLATION = 2.1

Floats = NDArray[np.float64]


# --- where and how far --------------------------------------------------------------------------------------


def great_circle_km(
    latitude_1: ArrayLike, longitude_1: ArrayLike, latitude_2: ArrayLike, longitude_2: ArrayLike
) -> Floats:
    """Compute the shortest way over a globe.

    Parameters
    ----------
    latitude_1, longitude_1, latitude_2, longitude_2 : array_like
        In degrees, latitudes from -90 to 90, longitudes from -180 to 180.

    Returns
    -------
    ndarray of float64
        In km, by the haversine formula with a radius of 6,371 km; half a percent off at most, for the Earth is
        no sphere.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    angles = [np.asarray(a, np.float64) for a in (latitude_1, longitude_1, latitude_2, longitude_2)]
    names = ("latitude_1", "longitude_1", "latitude_2", "longitude_2")
    for name, angle, most in zip(names, angles, (90, 180, 90, 180), strict=True):
        for extreme in (angle.min(), angle.max()) if angle.size else ():
            checks.number(name, float(extreme), -most, most, unit="degrees")
    phi_1, lambda_1, phi_2, lambda_2 = map(np.radians, angles)
    half = (
        np.sin((phi_2 - phi_1) / 2) ** 2
        + np.cos(phi_1) * np.cos(phi_2) * np.sin((lambda_2 - lambda_1) / 2) ** 2
    )
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))))


def round_trip_ms(km: ArrayLike, inflation: float = INFLATION) -> Floats:
    """Time of light in fibre there and back.

    Parameters
    ----------
    km : array_like
        Great-circle distance, at least 0.
    inflation : float
        How much longer the path of the packets is, from 1 to 10.

    Returns
    -------
    ndarray of float64
        In ms.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    distance = np.asarray(km, np.float64)
    if distance.size:
        checks.number("km (the least)", float(distance.min()), 0)
    return np.asarray(2 * distance * checks.number("inflation", inflation, 1, 10) / FIBRE_KM_PER_MS)


@dataclass(frozen=True)
class Cities:
    """Where the users are.

    Attributes
    ----------
    names : tuple of str
    latitude, longitude : ndarray of float64, shape (cities,)
        In degrees.
    population : ndarray of float64, shape (cities,)
        In millions.
    """

    names: tuple[str, ...]
    latitude: Floats
    longitude: Floats
    population: Floats

    @cached_property
    def km(self) -> Floats:
        """Distances between the cities, shape (cities, cities)."""
        lat, lon = self.latitude, self.longitude
        return great_circle_km(lat[:, None], lon[:, None], lat[None, :], lon[None, :])

    def index(self, name: str) -> int:
        """Return the number of a city; ValueError if there is none of that name."""
        return self.names.index(checks.option("city", name, self.names))


def cities() -> Cities:
    """Load 56 large cities of all continents; the source is in ``data/README.md``.

    Returns
    -------
    Cities
        The most populous first.
    """
    with (DATA / "cities.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [
        np.array([float(row[key]) for row in rows])
        for key in ("latitude", "longitude", "population_millions")
    ]
    return Cities(tuple(row["city"] for row in rows), *columns)


def place_edges(places: Cities, edges: int, *, candidates: Sequence[int] | None = None) -> tuple[int, ...]:
    """Choose cities for edges, one after the other, each where it shortens the ways most (greedy k-median).

    Parameters
    ----------
    places : Cities
        Where the users are.
    edges : int
        How many, from 0 to the number of candidates.
    candidates : sequence of int, optional
        Numbers of the cities where an edge may be. All, if left out.

    Returns
    -------
    tuple of int
        Numbers of cities, the first chosen first: the first k of them are the choice for k.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Finding the best k is hard; what the greedy choice saves is at least 1 - 1/e of what the best would, counted
    from the first edge on (Nemhauser, Wolsey and Fisher 1978).
    """
    allowed = np.arange(len(places.names)) if candidates is None else np.array(candidates, np.int64)
    for extreme in (allowed.min(), allowed.max()) if allowed.size else ():
        checks.integer("candidates (one of them)", int(extreme), 0, len(places.names) - 1)
    count = checks.integer("edges", edges, 0, np.unique(allowed).size)
    nearest = np.full(len(places.names), np.inf)
    chosen: list[int] = []
    for _ in range(count):
        ways = np.minimum(nearest[:, None], places.km[:, allowed])
        cost = places.population @ ways
        # A city that has an edge already shortens nothing.
        cost[np.isin(allowed, chosen)] = np.inf
        best = int(allowed[np.argmin(cost)])
        chosen.append(best)
        nearest = np.minimum(nearest, places.km[:, best])
    return tuple(chosen)


def nearest_edge(places: Cities, edges: Sequence[int]) -> NDArray[np.int64]:
    """Return for each city the number of the city whose edge is nearest.

    Parameters
    ----------
    places : Cities
        Where the users are.
    edges : sequence of int
        Numbers of cities with an edge, at least one.

    Returns
    -------
    ndarray of int64, shape (cities,)

    Raises
    ------
    ValueError
        If there is no edge, or one is at no city.
    """
    checks.integer("number of edges", len(edges), 1)
    for edge in edges:
        checks.integer("edges (one of them)", edge, 0, len(places.names) - 1)
    there = np.array(edges, np.int64)
    return np.asarray(there[np.argmin(places.km[:, there], axis=1)])


# --- how long -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latency:
    """Latencies of all requests.

    Attributes
    ----------
    ms : ndarray of float64
        Ascending.
    share : ndarray of float64
        Share of the requests that take each.
    """

    ms: Floats
    share: Floats

    @property
    def mean_ms(self) -> float:
        """Mean over all requests."""
        return float(self.ms @ self.share)

    def percentile(self, percent: float) -> float:
        """Latency in ms that `percent` of the requests, above 0 to 100, do not exceed."""
        wanted = checks.number("percent", percent, 0, 100, open_low=True) / 100
        # Sums of shares are off by rounding.
        found = np.searchsorted(np.cumsum(self.share), wanted - 1e-9)
        return float(self.ms[min(int(found), self.ms.size - 1)])

    def within(self, ms: ArrayLike) -> Floats:
        """Share of the requests that take no longer."""
        total = np.concatenate([[0.0], np.cumsum(self.share)])
        return np.asarray(total[np.searchsorted(self.ms, np.asarray(ms, np.float64), side="right")])


def latency(
    places: Cities,
    origin: int,
    edges: Sequence[int] = (),
    hit_ratio: float = 0.0,
    *,
    inflation: float = INFLATION,
    access_ms: float = 10.0,
    edge_ms: float = 2.0,
    round_trips: int = 1,
) -> Latency:
    """Latencies of the users of all cities, with a network of edges or without.

    A hit takes the round trips to the nearest edge. A miss takes them too, and then one more from the edge to the
    origin, over a connection that is kept open. Without edges each user goes to the origin.

    Parameters
    ----------
    places : Cities
        Where the users are.
    origin : int
        Number of the city with the origin.
    edges : sequence of int
        Numbers of the cities with an edge; none for the origin only.
    hit_ratio : float
        Share of the requests that the edge can answer, from 0 to 1.
    inflation : float
        Of the paths, from 1 to 10.
    access_ms : float
        Round trip between a user and the network of the same city, from 0 to 1,000.
    edge_ms : float
        What a miss costs at the edge besides, from 0 to 1,000.
    round_trips : int
        Of the user for one request: 1 over an open connection, 3 over a new one with TLS 1.3 (TCP, TLS, request);
        from 1 to 10.

    Returns
    -------
    Latency

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    home = checks.integer("origin", origin, 0, len(places.names) - 1)
    hit = checks.number("hit_ratio", hit_ratio, 0, 1)
    access = checks.number("access_ms", access_ms, 0, 1000, unit="ms")
    extra = checks.number("edge_ms", edge_ms, 0, 1000, unit="ms")
    trips = checks.integer("round_trips", round_trips, 1, 10)
    users = places.population / places.population.sum()
    if not len(edges):
        times, shares = trips * (access + round_trip_ms(places.km[:, home], inflation)), users
    else:
        nearest = nearest_edge(places, edges)
        near = trips * (access + round_trip_ms(places.km[np.arange(users.size), nearest], inflation))
        far = near + extra + round_trip_ms(places.km[nearest, home], inflation)
        times, shares = np.concatenate([near, far]), np.concatenate([users * hit, users * (1 - hit)])
    order = np.argsort(times, kind="stable")
    order = order[shares[order] > 0]
    return Latency(times[order], shares[order])


def break_even(
    places: Cities,
    origin: int,
    edges: Sequence[int],
    *,
    inflation: float = INFLATION,
    access_ms: float = 10.0,
    edge_ms: float = 2.0,
    round_trips: int = 1,
) -> float:
    """Find the hit ratio at which edges are no slower than the origin on average.

    Parameters
    ----------
    places, origin, edges, inflation, access_ms, edge_ms, round_trips
        As for :func:`latency`; at least one edge.

    Returns
    -------
    float
        The mean is linear in the hit ratio. 0 or less if the edges win even without a hit, infinite if hits
        save nothing.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.integer("number of edges", len(edges), 1)
    direct, none, all_hits = (
        latency(
            places,
            origin,
            there,
            hit,
            inflation=inflation,
            access_ms=access_ms,
            edge_ms=edge_ms,
            round_trips=round_trips,
        ).mean_ms
        for there, hit in (((), 0.0), (edges, 0.0), (edges, 1.0))
    )
    return (none - direct) / (none - all_hits) if none > all_hits else math.inf

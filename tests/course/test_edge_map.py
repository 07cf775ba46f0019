from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import edge_map as em

CITIES = em.cities()
NEW_YORK = CITIES.index("New York")


def test_cities_are_facts_that_fit() -> None:
    assert len(CITIES.names) == len(set(CITIES.names)) == 56
    assert list(CITIES.population) == sorted(CITIES.population, reverse=True)
    assert "`cities.csv`" in (em.DATA / "README.md").read_text("utf-8")
    # Distances between airports or centres as they are commonly given, to 1 %.
    for one, other, km in [
        ("New York", "London", 5570),
        ("Paris", "London", 344),
        ("Tokyo", "Sydney", 7820),
        ("Los Angeles", "New York", 3940),
        ("São Paulo", "Johannesburg", 7440),
        ("Singapore", "Jakarta", 890),
    ]:
        found = CITIES.km[CITIES.index(one), CITIES.index(other)]
        # A tenth of a degree is up to 11 km.
        assert abs(found - km) < 0.01 * km + 15, (one, other, found)


def by_vectors(lat_1: float, lon_1: float, lat_2: float, lon_2: float) -> float:
    """Angle between two vectors from the middle of the Earth."""
    a, b = (
        np.array(
            [
                math.cos(math.radians(lat)) * math.cos(math.radians(lon)),
                math.cos(math.radians(lat)) * math.sin(math.radians(lon)),
                math.sin(math.radians(lat)),
            ]
        )
        for lat, lon in ((lat_1, lon_1), (lat_2, lon_2))
    )
    return em.EARTH_KM * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


latitudes, longitudes = st.floats(-90, 90), st.floats(-180, 180)


@given(latitudes, longitudes, latitudes, longitudes)
def test_great_circles(lat_1: float, lon_1: float, lat_2: float, lon_2: float) -> None:
    found = float(em.great_circle_km(lat_1, lon_1, lat_2, lon_2))
    assert found == pytest.approx(by_vectors(lat_1, lon_1, lat_2, lon_2), abs=0.5)
    assert 0 <= found <= math.pi * em.EARTH_KM + 1e-6


def test_light_in_fibre() -> None:
    assert float(em.round_trip_ms(5570, 1)) == pytest.approx(55.7)
    assert float(em.round_trip_ms(5570)) == pytest.approx(117, abs=0.1)


def cost(chosen: tuple[int, ...]) -> float:
    return float(CITIES.population @ CITIES.km[:, list(chosen)].min(axis=1))


def test_greedy_places() -> None:
    chosen = em.place_edges(CITIES, 40)
    assert len(set(chosen)) == 40 and em.place_edges(CITIES, 7) == chosen[:7]
    assert em.place_edges(CITIES, 0) == ()
    everywhere = range(len(CITIES.names))
    assert cost(chosen[:1]) == min(cost((one,)) for one in everywhere)
    # Against the best of all pairs and triples of twenty cities, and the bound of submodular functions.
    twenty = range(0, 56, 3)
    for k in (2, 3):
        greedy = em.place_edges(CITIES, k, candidates=list(twenty))
        best = min(cost(some) for some in itertools.combinations(twenty, k))
        first = cost(greedy[:1])
        saved = first - cost(greedy)
        assert best <= cost(greedy) and saved >= (1 - 1 / math.e) * (first - best)
    costs = [cost(chosen[:k]) for k in range(1, 41)]
    assert costs == sorted(costs, reverse=True)


def test_latency_of_one_city_by_hand() -> None:
    two = em.Cities(("a", "b"), np.array([0.0, 0.0]), np.array([0.0, 90.0]), np.array([3.0, 1.0]))
    quarter = 2 * math.pi * em.EARTH_KM / 4
    trip = 2 * quarter * 2.1 / 200
    direct = em.latency(two, 0)
    assert direct.ms == pytest.approx([10, 10 + trip]) and direct.share == pytest.approx([0.75, 0.25])
    assert (direct.percentile(75), direct.percentile(76)) == pytest.approx((10, 10 + trip))
    assert direct.within([9, 10, 1e4]) == pytest.approx([0, 0.75, 1])
    edge = em.latency(two, 0, [1], 0.6, edge_ms=2)
    # b hits its own edge; a goes to b, and on a miss back to a.
    hits = [(10.0, 0.25 * 0.6), (10 + trip, 0.75 * 0.6)]
    misses = [(12 + trip, 0.25 * 0.4), (12 + 2 * trip, 0.75 * 0.4)]
    expected = sorted(hits + misses)
    assert edge.ms == pytest.approx([ms for ms, _ in expected])
    assert edge.share == pytest.approx([share for _, share in expected])
    assert em.latency(two, 0, round_trips=3).mean_ms == pytest.approx(3 * direct.mean_ms)


@given(st.integers(0, 55), st.integers(1, 40), st.integers(0, 1000), st.integers(1, 3))
def test_invariants(origin: int, edges: int, per_mille: int, trips: int) -> None:
    hit = per_mille / 1000
    there = em.place_edges(CITIES, edges)
    found = em.latency(CITIES, origin, there, hit, round_trips=trips)
    assert found.share.sum() == pytest.approx(1) and np.all(np.diff(found.ms) >= 0)
    assert found.percentile(50) <= found.percentile(95) <= found.percentile(100) == found.ms[-1]
    assert found.mean_ms <= em.latency(CITIES, origin, there, hit / 2, round_trips=trips).mean_ms + 1e-9
    direct = em.latency(CITIES, origin, round_trips=trips)
    even = em.break_even(CITIES, origin, there, round_trips=trips)
    if abs(hit - even) > 1e-6:
        assert (found.mean_ms < direct.mean_ms) == (hit > even)


def test_without_hits_edges_are_a_detour_unless_connections_are_new() -> None:
    ten = em.place_edges(CITIES, 10)
    direct, through = em.latency(CITIES, NEW_YORK), em.latency(CITIES, NEW_YORK, ten, 0.0)
    # The triangle: no way over an edge is shorter.
    assert through.mean_ms > direct.mean_ms and through.percentile(95) > direct.percentile(95)
    assert 0 < em.break_even(CITIES, NEW_YORK, ten) < 0.5
    # A new connection needs two more round trips, and those end at the edge.
    assert em.break_even(CITIES, NEW_YORK, ten, round_trips=3) < 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: em.great_circle_km(91, 0, 0, 0),
        lambda: em.great_circle_km(0, 0, 0, 181),
        lambda: em.round_trip_ms(-1),
        lambda: em.round_trip_ms(1, 0.9),
        lambda: em.place_edges(CITIES, 57),
        lambda: em.place_edges(CITIES, 1, candidates=[56]),
        lambda: em.nearest_edge(CITIES, []),
        lambda: em.nearest_edge(CITIES, [99]),
        lambda: em.latency(CITIES, 56),
        lambda: em.latency(CITIES, 0, [0], 1.1),
        lambda: em.latency(CITIES, 0, access_ms=-1),
        lambda: em.latency(CITIES, 0, edge_ms=-1),
        lambda: em.latency(CITIES, 0, round_trips=0),
        lambda: em.latency(CITIES, 0).percentile(0),
        lambda: em.break_even(CITIES, 0, []),
        lambda: CITIES.index("Atlantis"),
    ],
)
def test_refusals(call) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()

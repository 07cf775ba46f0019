from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course import sharding, workloads
from course.kernels import sharding as kernels

KEYS = np.arange(200_000)


@pytest.fixture(scope="module", params=sharding.METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ten(method: str, **more: Any) -> sharding.Sharding:
    return sharding.sharding(method, 10, keys=KEYS.size, **more)


# --- the loops against their readable twins -----------------------------------------------------------------


def test_mix_is_splitmix64() -> None:
    # The first numbers of the generator with seed 1234567, whose state grows by the golden ratio.
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + k * golden) % 2**64 for k in range(3)], np.uint64)
    assert kernels.mix(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@settings(max_examples=60)
@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 2**32))
def test_ring_equals_binary_search(nodes: int, vnodes: int, seed: int) -> None:
    tokens, owners = sharding.ring_tokens(range(nodes), vnodes)
    table = kernels.bucket_table(tokens, owners)
    keys = np.random.default_rng(seed).integers(0, 2**63, 2000, dtype=np.uint64)
    hashes = sharding.hash_keys(keys)
    # The corners of the ring, and of the tokens.
    hashes[:3] = 0, 2**32 - 1, tokens[-1]
    hashes[3 : 3 + min(tokens.size, 900)] = tokens[:900]
    found, twin, of_keys = np.empty(2000, np.int16), np.empty(2000, np.int16), np.empty(2000, np.int16)
    kernels.ring(hashes, tokens, owners, table, found)
    kernels.ring_plain(hashes, tokens, owners, table, twin)
    assert np.array_equal(found, twin)
    kernels.ring_of_keys(keys, tokens, owners, table, of_keys)
    kernels.ring_of_keys_plain(keys, tokens, owners, table, twin)
    assert np.array_equal(of_keys, twin)
    clockwise = {int(h): int(owners[np.flatnonzero(tokens >= h)[0]]) for h in hashes if h <= tokens[-1]}
    assert all(found[j] == clockwise.get(int(h), owners[0]) for j, h in enumerate(hashes))


@given(st.integers(1, 1000), st.integers(0, 2**62))
def test_jump_equals_its_twin(nodes: int, first: int) -> None:
    keys = np.arange(first, first + 20, dtype=np.uint64)
    loop, twin = np.empty(20, np.int32), np.empty(20, np.int32)
    kernels.jump(keys, nodes, loop)
    kernels.jump_plain(keys, nodes, twin)
    assert np.array_equal(loop, twin) and loop.max() < nodes


def test_rendezvous_equals_its_twin() -> None:
    hashes, seeds = sharding.hash_keys(np.arange(10_000)), sharding.hash_keys(np.arange(7), salt=3)
    loop, twin = np.empty(10_000, np.int32), np.empty(10_000, np.int32)
    kernels.rendezvous(hashes, seeds, loop)
    kernels.rendezvous_plain(hashes, seeds, twin)
    assert np.array_equal(loop, twin)


def test_maglev_fills_the_table_in_turn() -> None:
    # The example of the paper's figure: seven entries, permutations from (3, 4), (0, 2), (3, 1).
    table = kernels.maglev(np.array([3, 0, 3]), np.array([4, 2, 1]), 7)
    assert table.tolist() == [1, 0, 1, 0, 2, 2, 0]
    counts = np.bincount(sharding.Maglev(tuple(range(10))).table)
    assert counts.max() - counts.min() <= 1 and counts.sum() == 65_537


# --- what moves ---------------------------------------------------------------------------------------------


def spread(method: str, nodes: int) -> float:
    """Five standard errors of the share that one change moves."""
    share = sharding.expected_moves(method, nodes, "add")
    thrown = share * (1 - share) / KEYS.size
    if method == "ring":
        # The new node's part is Beta(V, NV): its variance, for V = 100.
        thrown += share * (1 - share) / (100 * (nodes + 1) + 1)
    if method == "hash slots":
        thrown += share / sharding.SLOTS  # whole slots, of unequal content
    return 5 * math.sqrt(thrown)


@pytest.mark.parametrize("nodes", [1, 4, 10])
def test_a_new_node_moves_what_theory_says(method: str, nodes: int) -> None:
    before = sharding.sharding(method, nodes, keys=KEYS.size)
    after = before.add(nodes)
    found = sharding.moves(before, after, KEYS)
    expected = sharding.expected_moves(method, nodes, "add")
    extra = 0.02 if method == "Maglev" else 0.0  # it moves up to a few percent of the keys needlessly
    assert expected - spread(method, nodes) <= found.share <= expected + spread(method, nodes) + extra
    if method not in {"modulo", "Maglev"}:
        assert found.needless == 0
    back = after.remove(nodes)
    assert back.nodes == before.nodes
    if method not in {"hash slots", "directory"}:  # these remember how they came here
        assert sharding.moves(before, back, KEYS).moved == 0
    gone = sharding.moves(after, back, KEYS)
    assert gone.share >= float(np.mean(after.locate(KEYS) == nodes))


def test_ten_to_eleven() -> None:
    before, ring = ten("modulo"), ten("ring")
    moved = sharding.moves(before, before.add(10), KEYS)
    assert moved.share == pytest.approx(10 / 11, abs=spread("modulo", 10)) and moved.keys == KEYS.size
    assert moved.needless > 0.8 * KEYS.size
    assert sharding.moves(ring, ring.add(10), KEYS).share == pytest.approx(1 / 11, abs=0.03)


@settings(max_examples=60)
@given(
    st.sampled_from([m for m in sharding.METHODS if m not in {"modulo", "Maglev", "jump"}]),
    st.lists(st.integers(0, 50), min_size=2, max_size=8, unique=True),
    st.data(),
)
def test_only_the_keys_of_a_removed_node_move(method: str, nodes: list[int], data: st.DataObject) -> None:
    keys = np.arange(500)
    before = sharding.sharding(method, nodes, vnodes=3, keys=500)
    gone = data.draw(st.sampled_from(nodes))
    after = before.remove(gone)
    old, new = before.locate(keys), after.locate(keys)
    assert np.array_equal(old[old != gone], new[old != gone])
    assert not (new == gone).any() and set(new.tolist()) <= set(after.nodes)
    added = after.add(60)
    newest = added.locate(keys)
    assert set(newest[newest != new].tolist()) <= {60}


def test_slots_and_directory_stay_even() -> None:
    slots = sharding.HashSlots((0, 1, 2))
    assert slots.slots[:2].tolist() == [0, 0] and np.all(np.diff(slots.slots) >= 0)
    for rule in (slots, sharding.Directory((0, 1, 2), 1000)):
        for change in ("add 3", "add 4", "remove 1", "add 7", "remove 0", "remove 2"):
            verb, node = change.split()
            rule = rule.add(int(node)) if verb == "add" else rule.remove(int(node))
            entries = rule.slots if isinstance(rule, sharding.HashSlots) else rule.entries
            counts = np.bincount(entries, minlength=8)[list(rule.nodes)]
            assert counts.max() - counts.min() <= 1 and counts.sum() == entries.size


def test_ranges_keep_the_order_of_the_keys() -> None:
    rule = sharding.Range((5, 7), 100)
    assert rule.locate([0, 49, 50, 99, 1000]).tolist() == [5, 5, 7, 7, 7]
    cut = rule.add(6)
    assert (cut.nodes, cut.starts) == ((5, 6, 7), (0, 25, 50))
    assert cut.remove(5).starts == (0, 50) and cut.remove(5).nodes == (6, 7)
    assert cut.remove(7).locate([99]).tolist() == [6]
    # New keys at the end: all go to one node.
    assert set(sharding.sharding("range", 10, keys=1000).locate(np.arange(950, 1000)).tolist()) == {9}


# --- how even it is -----------------------------------------------------------------------------------------


def test_methods_with_equal_chances_are_even(method: str) -> None:
    if method in {"ring", "hash slots", "Maglev"}:
        return
    found = sharding.load(ten(method), KEYS)
    expected = 0.0 if method in {"range", "directory"} else sharding.expected_cv(10, keys=KEYS.size)
    # A sample CV of ten has a relative standard error of 1 / sqrt(2 · 9).
    assert found.cv <= expected * (1 + 5 / math.sqrt(18))
    assert found.share.sum() == pytest.approx(1) and 1 <= found.max_over_mean < 1 + 5 * expected + 1e-12


@pytest.mark.parametrize("vnodes", [1, 10, 100, 1000])
def test_virtual_nodes_even_the_ring(vnodes: int) -> None:
    nodes, keys, rings = 10, 20_000, 60
    squares = [
        sharding.load(sharding.Ring(tuple(range(10 * k, 10 * k + nodes)), vnodes), KEYS[:keys]).cv ** 2
        for k in range(rings)
    ]
    expected = sharding.expected_cv(nodes, vnodes, keys)
    # The mean square over 60 rings; their own scatter gives the standard error.
    assert np.mean(squares) == pytest.approx(expected**2, abs=5 * np.std(squares) / math.sqrt(rings))
    assert sharding.expected_cv(nodes, vnodes) == pytest.approx(1 / math.sqrt(vnodes), rel=0.12)


def test_hot_keys_make_hot_nodes() -> None:
    weights = workloads.zipf_probabilities(KEYS.size, 1.1)
    for method in ("modulo", "ring", "jump", "rendezvous", "Maglev", "hash slots"):
        rule = ten(method)
        even, hot = sharding.load(rule, KEYS), sharding.load(rule, KEYS, weights)
        # The most popular key alone has a share that no placing can divide.
        assert hot.share.max() >= weights[0] > 0.1
        assert hot.max_over_mean > 1.3 > even.max_over_mean
        assert hot.nodes == rule.nodes


def test_loads_follow_the_nodes_order() -> None:
    rule = sharding.Range((9, 2), 10)
    assert sharding.load(rule, [0, 1, 9]).share.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert sharding.load(rule, [0, 9], [1, 3]).share.tolist() == [0.25, 0.75]


def test_methods_are_spelled_in_one_place(method: str) -> None:
    rule = ten(method)
    assert type(rule).__name__.lower() == method.replace(" ", "").lower()
    assert rule.locate([]).size == 0
    assert set(rule.locate(KEYS[:5000]).tolist()) == ({0} if method == "range" else set(range(10)))


# --- how uneven a ring is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 10, 50])
def test_one_token_each_gives_the_harmonic_numbers(nodes: int) -> None:
    harmonic = sum(1 / k for k in range(1, nodes + 1))
    assert sharding.expected_max_over_mean(nodes, 1) == pytest.approx(harmonic, rel=1e-5)


@pytest.mark.parametrize(("nodes", "vnodes"), [(10, 4), (5, 100), (50, 20)])
def test_rings_are_as_uneven_as_expected(nodes: int, vnodes: int) -> None:
    # 300 rings of different node names stand for 300 hash functions.
    rings = [sharding.Ring(tuple(range(start, start + nodes)), vnodes) for start in range(0, 30_000, 100)]
    shares = []
    for ring in rings:
        arcs = np.diff(ring.tokens.astype(np.float64), prepend=ring.tokens[-1] - 2.0**32) / 2.0**32
        shares.append([arcs[ring.owners == node].sum() for node in ring.nodes])
    parts = np.array(shares)
    highest = parts.max(axis=1) * nodes
    error = highest.std(ddof=1) / math.sqrt(len(rings))
    assert highest.mean() == pytest.approx(sharding.expected_max_over_mean(nodes, vnodes), abs=4 * error)
    for percent in (5, 50, 95):
        below = (parts[:, 0] <= sharding.ring_share_percentile(nodes, vnodes, percent)).mean()
        chance = percent / 100
        assert below == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / len(rings)))


@given(st.integers(2, 1000), st.floats(0.01, 99.9))
def test_share_of_one_token(nodes: int, percent: float) -> None:
    # Beta(1, N - 1) by formula; beyond its grid nothing is left but rounding.
    exact = 1 - (1 - percent / 100) ** (1 / (nodes - 1))
    assert sharding.ring_share_percentile(nodes, 1, percent) == pytest.approx(exact, rel=1e-3, abs=1e-5)


BAD = [
    (lambda: sharding.sharding("best", 3), "method = 'best': must be one of 'modulo'"),
    (lambda: sharding.sharding("ring", 0), "nodes = 0: must be a whole number from 1 to 1,000"),
    (lambda: sharding.sharding("ring", []), "number of nodes = 0: "),
    (lambda: sharding.sharding("ring", [1, 1]), r"nodes = \(1, 1\): must all be different"),
    (lambda: sharding.sharding("ring", [40_000]), r"nodes \(one of them\) = 40000: "),
    (lambda: sharding.sharding("ring", 3, vnodes=0), "vnodes = 0: "),
    (lambda: sharding.sharding("ring", 1000, vnodes=10_000), "number of tokens = 10000000: "),
    (lambda: sharding.sharding("range", 3, keys=0), "keys = 0: "),
    (lambda: sharding.sharding("directory", 3, keys=10**8), "keys = 100000000: "),
    (lambda: sharding.Modulo((1, 2)).add(2), "node = 2: must not be one of the nodes already"),
    (lambda: sharding.Modulo((1, 2)).add(-1), "node = -1: "),
    (lambda: sharding.Modulo((1, 2)).remove(3), "node = 3: must be one of the nodes"),
    (lambda: sharding.Modulo((1,)).remove(1), "node = 1: .* not the only one"),
    (lambda: sharding.Jump((1, 2)).remove(1), "node = 1: must be 2, the last one"),
    (lambda: sharding.Modulo((1,)).locate([-1]), r"keys \(the lowest\) = -1: "),
    (lambda: sharding.Modulo((1,)).locate([0.5]), "keys of shape .* whole numbers"),
    (lambda: sharding.Modulo((1,)).locate([[1]]), r"keys of shape \(1, 1\)"),
    (lambda: sharding.Directory((1,), 10).locate([10]), r"keys \(the highest\) = 10: .* 0 to 9"),
    (lambda: sharding.load(sharding.Modulo((1,)), []), "number of keys = 0: "),
    (lambda: sharding.load(sharding.Modulo((1,)), [1], [0]), r"weights of shape \(1,\): must be 1 numbers"),
    (lambda: sharding.load(sharding.Modulo((1,)), [1], [1, 1]), r"weights of shape \(2,\)"),
    (lambda: sharding.moves(sharding.Modulo((1,)), sharding.Modulo((2,)), []), "number of keys = 0: "),
    (lambda: sharding.expected_moves("ring", 1, "remove"), "nodes = 1: .* from 2"),
    (lambda: sharding.expected_moves("ring", 1, "swap"), "change = 'swap': "),
    (lambda: sharding.expected_cv(0), "nodes = 0: "),
    (lambda: sharding.expected_cv(1, 0), "vnodes = 0: "),
    (lambda: sharding.expected_cv(1, 1, 0), "keys = 0: "),
    (lambda: sharding.hash_keys([1], salt=-1), "salt = -1: "),
    (lambda: sharding.expected_max_over_mean(0, 1), "nodes = 0: "),
    (lambda: sharding.expected_max_over_mean(1, 0), "vnodes = 0: "),
    (lambda: sharding.ring_share_percentile(1, 1, 50), "nodes = 1: "),
    (lambda: sharding.ring_share_percentile(2, 0, 50), "vnodes = 0: "),
    (lambda: sharding.ring_share_percentile(2, 1, 101), "percent = 101: "),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_even_in_keys_is_not_even_in_load(method: str) -> None:
    keys = np.arange(10_000)
    popularity = workloads.zipf_probabilities(keys.size, 1.1)
    rule = sharding.sharding(method, 10, keys=keys.size)
    asked = sharding.load(rule, keys, popularity).share
    # Whoever holds the hottest key has at least its requests, however many shards there are.
    assert asked.max() >= popularity[0] > 0.15
    many = sharding.load(sharding.sharding(method, 200, keys=keys.size), keys, popularity)
    assert many.share.max() >= popularity[0] > 30 * many.share.mean()
    if method == "jump":
        held = sharding.load(rule, keys).share
        # Binomial: three deviations of √(0.1·0.9/10,000) each way.
        assert np.all(np.abs(held - 0.1) < 3 * 0.003)
        assert (asked.min(), asked.max()) == pytest.approx((0.049, 0.221), abs=0.001)

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import memory_hierarchy as mh
from course.kernels.memory_hierarchy import chase


@given(st.integers(1, 200), st.integers(1, 9), st.integers(0, 99))
def test_links_are_one_cycle_through_every_node(nodes, spacing, seed):
    links = mh.random_cycle(nodes, spacing, seed)
    at, seen = 0, set()
    for _ in range(nodes):
        seen.add(at)
        at = int(links[at])
    assert at == 0 and seen == {i * spacing for i in range(nodes)}
    for steps in (0, 1, nodes, 3 * nodes + 1):
        assert chase(links, 0, steps) == chase.py_func(links, 0, steps)


def test_measured_curve_has_a_time_for_each_size():
    curve = mh.pointer_chase([4, 64, 1_024], budget_s=0.05)
    assert curve.bytes.tolist() == [4_096, 65_536, 1_048_576]
    assert (curve.ns > 0).all()
    strided = mh.strided_sum(64, [1, 8])
    assert strided.shape == (2,) and (strided > 0).all()


def lru_or_random_misses(lines, nodes, rng):
    """Slow twin: follow a cycle through a cache that throws out a random line."""
    held, places = set(range(lines)), list(range(lines))
    misses, rounds = 0, 60
    for turn in range(rounds):
        for node in range(nodes):
            if node not in held:
                misses += turn >= 10
                victim = int(rng.integers(lines))
                held.remove(places[victim])
                held.add(node)
                places[victim] = node
    return misses / (nodes * (rounds - 10))


@pytest.mark.parametrize("times_larger", [0.9, 1.3, 2.0, 4.0])
def test_miss_ratio_of_a_cycle_is_that_of_random_replacement(times_larger):
    lines = 300
    nodes = int(lines * times_larger)
    (modelled,) = mh.chase_latency(np.array([float(nodes)]), [(lines, 0.0)], 1.0)
    seen = lru_or_random_misses(min(lines, nodes), nodes, np.random.default_rng(1))
    # 15,000 or more accesses, a few of them independent: binomial error below 0.01; the formula is of order
    # 1/lines off
    assert modelled == pytest.approx(seen if times_larger > 1 else 0.0, abs=0.03)


@pytest.mark.parametrize("sizes", [(48, 1_024, 32_768), (32, 256, 8_192), (128, 4_096)])
def test_cliffs_are_found_to_a_step_of_the_curve(sizes):
    grid = np.array([round(4 * 2 ** (i / 2)) * 1024 for i in range(29)])
    latencies = [1.5, 4.5, 15.0, 100.0][-len(sizes) - 1 :]
    ns = mh.chase_latency(
        grid.astype(float), [(s * 1024, t) for s, t in zip(sizes, latencies, strict=False)], latencies[-1]
    )
    noisy = ns * (1 + 0.03 * np.random.default_rng(2).random(len(ns)))
    noisy[[5, 12, 20]] *= 8  # someone else used the machine
    found = mh.estimate_hierarchy(mh.LatencyCurve(grid, noisy), levels=len(sizes))
    for size, estimate in zip(sizes, found.bytes, strict=True):
        assert abs(math.log2(estimate / (size * 1024))) <= 0.51, found  # half an octave: one step
    assert found.ns[0] == pytest.approx(latencies[0], rel=0.05)
    assert found.ns[-1] == pytest.approx(latencies[-1], rel=0.15)


def test_a_flat_curve_has_no_cliffs():
    flat = mh.LatencyCurve(np.arange(1, 13) * 4_096, np.full(12, 2.0))
    with pytest.raises(ValueError, match=r"^curve = "):
        mh.estimate_hierarchy(flat, levels=1)


def test_amat_of_textbook_levels():
    # 1 ns, 5 % miss; 4 ns, 20 % of those miss; 15 ns, half of those miss; memory 100 ns
    assert mh.amat([(1, 0.05), (4, 0.2), (15, 0.5)], 100) == pytest.approx(1 + 0.05 * (4 + 0.2 * (15 + 50)))
    assert mh.amat([], 100) == 100


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), max_size=4), st.floats(0, 1e6))
def test_amat_lies_between_the_first_level_and_all_of_them(levels, memory):
    first = levels[0][0] if levels else memory
    assert first - 1e-6 <= mh.amat(levels, memory) <= sum(ns for ns, _ in levels) + memory + 1e-6


def test_levels_are_read_as_linux_writes_them(tmp_path):
    for index, (level, kind, size) in enumerate(
        [
            ("1", "Data", "48K"),
            ("1", "Instruction", "32K"),
            ("3", "Unified", "32M"),
            ("2", "Unified", "1024K"),
        ]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size), ("coherency_line_size", "64")):
            (folder / name).write_text(text + "\n")
    (tmp_path / "index9").mkdir()  # a virtual machine that tells nothing of it
    assert mh.cache_levels(tmp_path) == (
        mh.CacheLevel("L1", 48 * 1024, 64),
        mh.CacheLevel("L2", 1024 * 1024, 64),
        mh.CacheLevel("L3", 32 * 1024**2, 64),
    )
    assert mh.cache_levels(tmp_path / "nowhere") is None


def test_published_numbers_are_complete_and_their_sources_told():
    table = mh.latency_numbers()
    assert list(table.columns) == ["operation", "nanoseconds", "year", "source"]
    assert len(table) > 25 and (table.nanoseconds > 0).all() and not table.isna().any().any()
    assert not table.duplicated(["operation", "source"]).any()
    dean = table[table.source == "dean"].set_index("operation").nanoseconds
    assert dean["Main memory reference"] == 100
    assert dean["Round trip in the same data centre"] == 5_000 * dean["Main memory reference"]
    readme = "".join(path.read_text() for path in mh.DATA.glob("README*.md"))
    for source in set(table.source):
        assert f"`{source}`" in readme


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("sizes_kb", lambda: mh.pointer_chase([1])),
        ("sizes_kb", lambda: mh.pointer_chase([10**9])),
        ("number of sizes", lambda: mh.pointer_chase([])),
        ("budget_s", lambda: mh.pointer_chase([4], budget_s=math.nan)),
        ("nodes", lambda: mh.random_cycle(10**8, 8)),
        ("array_kb", lambda: mh.strided_sum(0)),
        ("strides", lambda: mh.strided_sum(64, [0])),
        ("levels", lambda: mh.estimate_hierarchy(mh.LatencyCurve(np.arange(9), np.ones(9)), 9)),
        ("number of sizes", lambda: mh.estimate_hierarchy(mh.LatencyCurve(np.arange(3), np.ones(3)))),
        ("miss ratio", lambda: mh.amat([(1, 1.5)], 100)),
        ("memory_ns", lambda: mh.amat([], -1)),
    ],
)
def test_impossible_measurement_is_refused_by_name(name, call):
    with pytest.raises(ValueError, match=f"^{name} = "):
        call()

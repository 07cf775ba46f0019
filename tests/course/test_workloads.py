from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import workloads
from course.kernels import workloads as kernels


def test_zipf_probabilities_follow_the_law() -> None:
    chances = workloads.zipf_probabilities(1000, 0.9)
    assert chances.sum() == pytest.approx(1)
    assert chances[0] / chances[99] == pytest.approx(100**0.9)
    assert np.allclose(workloads.zipf_probabilities(10, 0), 0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50).filter(lambda w: sum(w) > 1e-6))
def test_alias_table_means_its_distribution(weights: list[float]) -> None:
    chances = np.array(weights) / sum(weights)
    threshold, alias = kernels.alias_table(chances)
    meant = threshold.copy()
    np.add.at(meant, alias, 1 - threshold)
    # Each of n columns was rounded a few times, in units of 1.
    assert np.allclose(meant / chances.size, chances, rtol=0, atol=1e-12)
    assert threshold.min() >= 0


def test_draw_equals_its_twin_pathwise() -> None:
    table = kernels.alias_table(workloads.zipf_probabilities(1000, 0.8))
    loop = kernels.draw(*table, 50_000, np.random.default_rng(7))
    assert np.array_equal(loop, kernels.draw_plain(*table, 50_000, np.random.default_rng(7)))
    assert loop.dtype == np.int32


def test_zipf_trace_has_the_frequencies_of_the_law() -> None:
    requests, items = 1_000_000, 200
    seen = np.bincount(workloads.zipf_trace(requests, items, 0.9, seed=3), minlength=items)
    expected = requests * workloads.zipf_probabilities(items, 0.9)
    # Chi-squared with 199 degrees of freedom: mean 199, sd sqrt(2 * 199); five sd: one chance in 10^5.
    statistic = float(((seen - expected) ** 2 / expected).sum())
    assert statistic < 199 + 5 * math.sqrt(2 * 199)


def test_zipf_trace_is_seeded() -> None:
    first = workloads.zipf_trace(1000, 50, 1.0, seed=1)
    assert np.array_equal(first, workloads.zipf_trace(1000, 50, 1.0, seed=1))
    assert not np.array_equal(first, workloads.zipf_trace(1000, 50, 1.0, seed=2))


def test_lognormal_sizes_have_their_moments() -> None:
    items, mean, spread = 200_000, 50_000.0, 1.0
    sizes = workloads.lognormal_sizes(items, mean, spread, seed=2)
    logs = np.log(sizes)
    # Standard errors: of the mean sd / sqrt(n), with a coefficient of variation sqrt(e - 1) for the sizes;
    # of an sd 1 / sqrt(2n).  Five of each.
    assert sizes.mean() == pytest.approx(mean, rel=5 * math.sqrt(math.e - 1) / math.sqrt(items))
    assert logs.std() == pytest.approx(spread, rel=5 / math.sqrt(2 * items))
    assert sizes.min() >= 1


def test_sizes_correlate_with_popularity_as_asked() -> None:
    items = 100_000
    score = np.sort(np.random.default_rng(9).standard_normal(items))[::-1]
    for wanted in (-0.6, 0.0, 0.6):
        logs = np.log(workloads.lognormal_sizes(items, 1e6, 1.0, seed=4, popularity_correlation=wanted))
        # A correlation is estimated within 1 / sqrt(n): five of that, and a little for the scores, which are
        # another sample's order statistics.
        assert np.corrcoef(score, logs)[0, 1] == pytest.approx(wanted, abs=5 / math.sqrt(items) + 0.001)
    small_first = workloads.lognormal_sizes(items, 1e6, 1.0, seed=4, popularity_correlation=-1)
    assert np.all(np.diff(small_first) >= 0)


@given(st.lists(st.one_of(st.text(max_size=3), st.integers(), st.tuples(st.integers(0, 3))), min_size=1))
def test_densify_numbers_by_first_occurrence(keys: list[object]) -> None:
    ids, names = workloads.densify(keys)  # type: ignore[arg-type]
    assert [names[i] for i in ids] == keys
    assert len(names) == ids.max() + 1
    first = [int(np.flatnonzero(ids == i)[0]) for i in range(len(names))]
    assert first == sorted(first)


def test_recorded_traces_are_there() -> None:
    assert set(workloads.recorded_traces()) == {"sqlite_pages", "docs_build"}


@pytest.mark.parametrize("name", ["sqlite_pages", "docs_build"])
def test_recorded_trace_is_whole(name: str) -> None:
    trace = workloads.recorded_trace(name)
    assert trace.name == name
    assert trace.keys.dtype == np.int32
    assert 25_000 <= trace.requests <= 500_000
    assert np.array_equal(np.unique(trace.keys), np.arange(trace.items))
    assert trace.sizes is not None
    assert trace.sizes.shape == (trace.items,)
    assert trace.sizes.min() >= 0  # there are empty files
    assert "recorded 20" in trace.recorded
    assert (workloads.TRACES / f"{name}.npz").stat().st_size < 300_000
    assert (workloads.TRACES / f"record_{name}.py").is_file()
    readme = (workloads.TRACES.parent / "README.md").read_text(encoding="utf-8")
    assert f"{name}.npz" in readme
    assert f"{trace.requests:,}" in readme
    assert f"{trace.items:,}" in readme


def test_as_trace_takes_ids() -> None:
    trace = workloads.as_trace([3, 1, 3])
    assert (trace.items, trace.requests, trace.keys.dtype) == (4, 3, np.int32)
    assert workloads.as_trace(trace) is trace


BAD = [
    (lambda: workloads.zipf_probabilities(0, 1), "items = 0: must be a whole number from 1 to 1e"),
    (lambda: workloads.zipf_probabilities(10**9, 1), "items = 1000000000: "),
    (lambda: workloads.zipf_probabilities(10, math.nan), "exponent = nan: must be a number from 0 to 10"),
    (lambda: workloads.zipf_probabilities(10, -0.1), "exponent = -0.1: "),
    (lambda: workloads.zipf_trace(0, 10, 1, 1), "requests = 0: "),
    (lambda: workloads.zipf_trace(10**12, 10, 1, 1), "requests = 1000000000000: "),
    (lambda: workloads.zipf_trace(10, 10, 1, -1), "seed = -1: "),
    (lambda: workloads.lognormal_sizes(10, 0, 1, 1), "mean_bytes = 0: "),
    (lambda: workloads.lognormal_sizes(10, 100, 9, 1), "log_sd = 9: "),
    (lambda: workloads.lognormal_sizes(10, 100, 1, 1, 1.5), "popularity_correlation = 1.5: "),
    (lambda: workloads.densify([]), "number of keys = 0: "),
    (lambda: workloads.recorded_trace("none"), "name = 'none': must be one of 'docs_build', 'sqlite_pages'"),
    (lambda: workloads.as_trace([]), "trace of shape"),
    (lambda: workloads.as_trace(np.zeros((2, 2), np.int32)), "trace of shape"),
    (lambda: workloads.as_trace(np.array([0.5])), "densify"),
    (lambda: workloads.as_trace([-1, 2]), "= -1: must be a whole number from 0"),
    (lambda: workloads.as_trace([10**8]), "= 100000000: must be a whole number from 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        call()  # type: ignore[operator]

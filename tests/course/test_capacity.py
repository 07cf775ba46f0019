from __future__ import annotations

import io
import math
import re
from dataclasses import fields
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import capacity
from course.capacity import Assumptions, LogNormal, Triangular, estimate


@pytest.mark.parametrize("name", capacity.PRESETS)
def test_the_guides_examples_come_out(name: str) -> None:
    preset = capacity.PRESETS[name]
    found = estimate(preset.assumptions)
    for key, printed in preset.printed.items():
        # The guide prints three digits, and 348 from a mean that it had rounded before: within 0.5 %.
        assert found[key].p50 == pytest.approx(printed, rel=5e-3)
        assert found[key].p10 == found[key].p50 == found[key].p90


def test_unrounded_figures() -> None:
    found = estimate(Assumptions())
    assert found["mean_rps"].p50 == pytest.approx(115.7407, abs=1e-4)
    assert found["peak_rps"].p50 == pytest.approx(347.2222, abs=1e-4)
    assert found["planned"].p50 == pytest.approx(7.46496e12)
    assert found["incoming"].p50 == pytest.approx(2.7777e6, rel=1e-4)
    binary = estimate(Assumptions(request_bytes=capacity.to_bytes(1, "KiB")))
    assert binary["incoming"].p50 / found["incoming"].p50 == pytest.approx(1.024)
    assert found["peak_reads"].p50 / found["peak_writes"].p50 == pytest.approx(100)
    assert found["logs"].p50 == pytest.approx(10e6 * 500 * 30)
    guess = estimate(Assumptions(users=LogNormal(5e5, 2e6)))["servers"]
    assert all(value == round(value) for value in (guess.p10, guess.p50, guess.p90))
    # 347.2 / 70 = 4.96: five, and one spare.
    assert found["servers"].p50 == 6


def test_servers_are_whole_and_enough() -> None:
    whole = Assumptions(users=86_400, requests_per_user=70, peak_factor=10, spare_servers=0)
    assert estimate(whole)["servers"].p50 == 10  # 700 requests/s at 70 a server
    more = Assumptions(users=86_400, requests_per_user=70.1, peak_factor=10, spare_servers=0)
    assert estimate(more)["servers"].p50 == 11
    assert estimate(Assumptions(requests_per_user=0))["servers"].p50 == 2


def test_growth() -> None:
    assert capacity.grow(3e12, 0.2, 5) == pytest.approx(7.46496e12)
    assert capacity.grow(3e12, 0.2, 5, "linear") == pytest.approx(6e12)
    assert capacity.grow(3e12, 0.2, 5, "guide") == pytest.approx(0.96e9)
    assert capacity.grow(1, -0.5, 5, "linear") == 0


def test_a_product_of_log_normals_is_one() -> None:
    samples = 200_000
    guesses = {
        "users": LogNormal(5e5, 2e6),
        "requests_per_user": LogNormal(5, 20),
        "peak_factor": LogNormal(2, 5),
    }
    found = estimate(Assumptions(**guesses), samples=samples)["peak_rps"]
    normal = NormalDist()
    z = normal.inv_cdf(0.9)
    logs = [(math.log(g.p10), math.log(g.p90)) for g in guesses.values()]
    centre = sum((low + high) / 2 for low, high in logs) - math.log(86_400)
    spread = math.sqrt(sum(((high - low) / (2 * z)) ** 2 for low, high in logs))
    for value, share in ((found.p10, 0.1), (found.p50, 0.5), (found.p90, 0.9)):
        quantile = normal.inv_cdf(share)
        # Standard error of a sample quantile: sqrt(p (1 - p) / n) over the density there; five of it.
        error = spread * math.sqrt(share * (1 - share) / samples) / normal.pdf(quantile)
        assert math.log(value) == pytest.approx(centre + spread * quantile, abs=5 * error)
    # All at their P90 at once would be far beyond the P90 of the whole.
    assert found.p90 < 0.7 * math.exp(sum(high for _, high in logs)) / 86_400


def test_triangular_has_its_quantiles() -> None:
    samples = 100_000
    found = estimate(Assumptions(copies=Triangular(1, 2, 5)), samples=samples)["replicated"]
    # Below the mode F(x) = (x - a)² / ((b - a)(c - a)), above it 1 - (b - x)² / ((b - a)(b - c)).
    for value, share in ((found.p10, 0.1), (found.p50, 0.5), (found.p90, 0.9)):
        x = value / 1e12
        below = (x - 1) ** 2 / 4 if x < 2 else 1 - (5 - x) ** 2 / 12
        assert below == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / samples))


def test_a_guess_does_not_disturb_the_others() -> None:
    narrow = estimate(Assumptions(users=LogNormal(1e5, 1e6)))
    wide = estimate(Assumptions(users=LogNormal(1e5, 1e6), copies=Triangular(2, 3, 4)))
    assert narrow["peak_rps"] == wide["peak_rps"] and narrow["replicated"] != wide["replicated"]
    assert estimate(wide.assumptions, seed=2)["peak_rps"] != wide["peak_rps"]


def test_samples_stay_in_the_allowed_range() -> None:
    found = estimate(Assumptions(utilisation=LogNormal(0.5, 0.99), spare_servers=0), samples=10_000)
    assert found["servers"].p10 >= math.ceil(found["peak_rps"].p50 / 100)


def test_rows_are_a_table() -> None:
    found = estimate(Assumptions(users=LogNormal(1e6, 4e6)))
    rows = found.rows()
    assert len(rows) == len(found.quantities) and len({row["quantity"] for row in rows}) == len(rows)
    assert all(row["P10"] <= row["P50"] <= row["P90"] for row in rows)  # type: ignore[operator]
    by_name = {row["quantity"]: row for row in rows}
    assert (
        by_name["data, one copy"]["unit"] == "TB" and by_name["peak incoming bandwidth"]["unit"] == "Mbit/s"
    )
    (binary,) = found.rows("IEC", ("replicated",))
    assert binary["unit"] == "TiB"
    assert binary["P90"] == pytest.approx(found["replicated"].p90 / 2**40)
    assert estimate(Assumptions(bytes_per_user=0)).rows(keys=("stored",))[0]["P50"] == 0


def test_quantiles_are_those_of_the_samples() -> None:
    for guess in (LogNormal(2, 7), Triangular(1, 2, 5), Triangular(1, 1, 5), Triangular(1, 5, 5)):
        samples = guess.sample(np.random.default_rng(1), 200_000)
        for share in (0.1, 0.5, 0.9):
            # Standard error of the share: sqrt(p (1 - p) / n) is 0.0011 or less.
            assert (samples <= guess.quantile(share)).mean() == pytest.approx(share, abs=0.006)
    assert LogNormal(2, 8).quantile(0.5) == pytest.approx(4)


def test_medians_of_products_are_exact() -> None:
    found = estimate(capacity.assume(uncertainty=3))
    for key in ("requests_per_day", "mean_rps", "stored", "replicated"):
        # One sample of 20,000 more or less on either side.
        assert found[key].p50 == pytest.approx(estimate(Assumptions())[key].p50, rel=1e-3)


def test_assume_speaks_as_people_do() -> None:
    assert capacity.assume() == Assumptions()
    assert capacity.assume(request_kb=1, mb_per_user=2, system="IEC") == Assumptions(
        request_bytes=1024, response_bytes=10_240, bytes_per_user=2 * 2**20
    )
    guessed = capacity.assume(uncertainty=2, growth_percent=10)
    assert guessed.users == LogNormal(5e5, 2e6) and guessed.copies == 3 and guessed.years == 5
    assert guessed.growth == LogNormal(0.05, 0.2)
    # Nothing to be uncertain about at the end of a range, or at nothing.
    edge = capacity.assume(
        uncertainty=10, peak_factor=1, growth_percent=0, requests_per_user=0, mb_per_user=0
    )
    assert (edge.peak_factor, edge.growth, edge.requests_per_user, edge.bytes_per_user) == (1, 0, 0, 0)
    assert capacity.assume(uncertainty=10, peak_factor=2).peak_factor == LogNormal(1, 4)
    assert capacity.assume(uncertainty=10, growth_percent=-50).growth == -0.5


def test_table_explains_itself() -> None:
    frame = capacity.table()
    assert list(frame.columns) == ["name", "quantity", "estimate", "P10", "P50", "P90", "unit", "formula"]
    rows = frame.set_index("name")
    assert rows.index.is_unique and rows["quantity"].is_unique
    assert (rows["formula"] == "assumed").sum() == len(fields(Assumptions))
    assert rows.loc["planned", ["estimate", "unit"]].tolist() == [pytest.approx(7.46496), "TB"]
    assert rows.loc["incoming", ["estimate", "unit"]].tolist() == [pytest.approx(2.7778, abs=1e-4), "Mbit/s"]
    # Every name that a formula uses stands in a row above it.
    known: set[str] = set()
    for name, formula in rows["formula"].items():
        used = set(re.findall(r"[a-z]+(?:_[a-z]+)+|users|growth|years|copies|stored", formula))
        assert formula == "assumed" or (used and used <= known), name
        known.add(str(name))


def test_table_of_a_readers_numbers() -> None:
    guessed = capacity.table(uncertainty=2).set_index("name")
    assert guessed.loc["stored", ["estimate", "unit"]].tolist() == [1, "TB"]
    assert guessed.loc["bytes_per_user", ["estimate", "unit"]].tolist() == [1, "MB"]
    mine = capacity.table(users=2e6, years=0, uncertainty=2).set_index("name")
    assert mine.loc["planned", "estimate"] == pytest.approx(6)
    assert mine.loc["users", ["P10", "P50", "P90"]].tolist() == pytest.approx([1e6, 2e6, 4e6])
    assert mine.loc["planned", "P10"] < 6 < mine.loc["planned", "P90"]
    binary = capacity.table(system="IEC").set_index("name")
    assert binary.loc["planned", ["estimate", "unit"]].tolist() == [pytest.approx(7.119, abs=1e-3), "TiB"]
    own = capacity.table(Assumptions(copies=Triangular(1, 2, 6), growth=-0.5)).set_index("name")
    assert own.loc["copies", "estimate"] == pytest.approx(Triangular(1, 2, 6).quantile(0.5))
    assert own.loc["growth", "estimate"] == -0.5
    text = capacity.table(uncertainty=2).to_csv(index=False)
    again = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert again["P90"].tolist() == pytest.approx(capacity.table(uncertainty=2)["P90"].tolist())


def test_every_assumption_has_a_range_and_a_use() -> None:
    names = {field.name for field in fields(Assumptions)}
    assert names == set(capacity.RANGES)
    before = estimate(Assumptions())
    for name, (low, high) in capacity.RANGES.items():
        value = min(max(getattr(Assumptions(), name) * 3 + 0.1, low), high)
        assert estimate(Assumptions(**{name: value})).quantities != before.quantities, name
        for extreme in (low, high):
            found = estimate(Assumptions(**{name: extreme}))
            assert all(math.isfinite(q.p90) and q.p10 >= 0 for q in found.quantities), name


@given(st.floats(0, 1e24), st.sampled_from(["B", "bit/s"]), st.sampled_from(capacity.SYSTEMS))
def test_scaling_keeps_the_value(value: float, unit: str, system: str) -> None:
    number, name = capacity.scaled(value, unit, system)
    step = 1024 if unit == "B" and system == "IEC" else 1000
    assert number < step or name[0] == "E"
    prefix = name.removesuffix(unit)
    back = number * (capacity.UNITS[prefix + "B"] if prefix else 1)
    assert back == pytest.approx(value)


def test_units() -> None:
    assert capacity.UNITS["kB"] == 1000 and capacity.UNITS["KiB"] == 1024 and "KB" not in capacity.UNITS
    assert capacity.to_bytes(2, "TiB") == 2 * 2**40
    assert capacity.scaled(348.0, "requests/s") == (348.0, "requests/s")
    assert np.isclose(capacity.scaled(3e12, "B", "IEC")[0], 2.728, atol=1e-3)


BAD = [
    (lambda: Assumptions(users=0), "users = 0: must be a number from 1 to 1e"),
    (lambda: Assumptions(copies=LogNormal(0.5, 3)), "copies = 0.5: must be a number from 1 to 100"),
    (lambda: Assumptions(growth=Triangular(0, 1, 500)), "growth = 500: "),
    (lambda: Assumptions(utilisation=math.nan), "utilisation = nan: "),
    (lambda: capacity.assume(uncertainty=0.5), "uncertainty = 0.5: must be a number from 1 to 1,000"),
    (lambda: capacity.assume(users=0, uncertainty=2), "users = 0: "),
    (lambda: capacity.assume(request_kb=-1), "request_kb = -1: "),
    (lambda: capacity.assume(growth_percent=-100), "growth_percent = -100: "),
    (lambda: capacity.assume(system="KB"), "system = 'KB': "),
    (lambda: capacity.table(user=1), "name of a number = 'user': must be one of 'users'"),
    (lambda: capacity.table(Assumptions(), users=1), "users: must not be given beside assumptions"),
    (lambda: LogNormal(0, 1), "p10 = 0: must be a number above 0"),
    (lambda: LogNormal(2, 1), "p90 = 1: must be a number above 2"),
    (lambda: Triangular(0, 3, 2), "mode = 3: must be a number from 0 to 2"),
    (lambda: Triangular(1, 1, 1), "high = 1: must be a number above 1"),
    (lambda: estimate(Assumptions(), samples=10), "samples = 10: "),
    (lambda: estimate(Assumptions(), seed=-1), "seed = -1: "),
    (lambda: estimate(Assumptions())["cost"], "key = 'cost': must be one of 'requests_per_day'"),
    (lambda: estimate(Assumptions()).rows("metric"), "system = 'metric': "),
    (lambda: capacity.to_bytes(1, "KB"), "unit = 'KB': must be one of 'B', 'kB'"),
    (lambda: capacity.to_bytes(-1, "kB"), "value = -1: "),
    (lambda: capacity.scaled(-1, "B"), "value = -1: "),
    (lambda: capacity.scaled(1, "B", "both"), "system = 'both': "),
    (lambda: capacity.grow(-1, 0.2, 5), "value = -1: "),
    (lambda: capacity.grow(1, 200, 5), "growth = 200: "),
    (lambda: capacity.grow(1, 0.2, 500), "years = 500: "),
    (lambda: capacity.grow(1, 0.2, 5, "fast"), "mode = 'fast': "),
    (lambda: capacity.grow(1, -0.2, 5, "guide"), "growth = -0.2: "),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

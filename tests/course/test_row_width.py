from __future__ import annotations

import math
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import row_width as rw

SIZES = [(5000, 60, 10), (5000, 60, 1500), (300, 60, 4000), (3000, 200, 5000), (200, 20, 100_000), (1, 1, 1)]
TABLES = ("users", "users_hot", "users_cold")


@pytest.fixture(scope="module", params=SIZES, ids=str)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[int, int, int]]:
    path = tmp_path_factory.mktemp("row_width") / "users.sqlite"
    rw.create_tables(path, *request.param)
    return path, request.param


def test_the_model_predicts_real_files(made: tuple[Path, tuple[int, int, int]]) -> None:
    path, (rows, hot, blob) = made
    for table, columns in zip(TABLES, ((hot, blob), (hot,), (blob,)), strict=True):
        real, model = rw.file_pages(path, table), rw.table_pages(rows, columns)
        assert real.overflow == model.overflow
        assert abs(real.leaf - model.leaf) <= 1
        assert real.depth == model.depth
        # Inner pages are at least half full but for the last of each level.
        assert model.interior <= real.interior <= 2 * model.interior + 1


def test_all_pages_of_the_file_are_counted(made: tuple[Path, tuple[int, int, int]]) -> None:
    path, _ = made
    with closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        (equal,) = connection.execute(
            "SELECT count(*) FROM users w JOIN users_hot h USING (id) JOIN users_cold c USING (id) "
            "WHERE w.hot = h.hot AND w.cold = c.cold"
        ).fetchone()
    # And the first page, with the schema.
    assert sum(rw.file_pages(path, table).total for table in TABLES) + 1 == pages
    assert equal == made[1][0]


def test_the_walk_agrees_with_sqlites_own_statistics(made: tuple[Path, tuple[int, int, int]]) -> None:
    path, _ = made
    with closing(sqlite3.connect(path)) as connection:
        try:
            connection.execute("SELECT count(*) FROM dbstat")
        except sqlite3.OperationalError:
            pytest.skip("SQLite was compiled without dbstat")
        for table in TABLES:
            found = dict(
                connection.execute(
                    "SELECT pagetype, count(*) FROM dbstat WHERE name = ? GROUP BY pagetype", (table,)
                ).fetchall()
            )
            walked = rw.file_pages(path, table)
            assert (walked.interior, walked.leaf, walked.overflow) == (
                found.get("internal", 0),
                found.get("leaf", 0),
                found.get("overflow", 0),
            )


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")
def test_scans_and_look_ups_read_the_pages_the_model_says(made: tuple[Path, tuple[int, int, int]]) -> None:
    path, (rows, _, _) = made
    counted = [rw.file_pages(path, table) for table in TABLES]
    asked = {(layout, blob, "scan"): sql for (layout, blob), sql in rw.SCANS.items()}
    middle = rows // 2 + 1
    asked |= {
        (layout, blob, "look-up"): f"{sql} WHERE {'users_hot.' if layout == 'split' else ''}id = {middle}"
        for (layout, blob), sql in rw.SCANS.items()
    }
    idle = bytes_read()
    idle = bytes_read() - idle
    for (layout, blob, query), sql in asked.items():
        sql = sql.replace("users_hot.id", "id")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA cache_size = -500000")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            before = bytes_read()
            connection.execute(sql).fetchone()
            read = bytes_read() - before - idle
        said = rw.per_query(*counted, rows, query, float(blob))
        expected = said.wide if layout == "wide" else said.split
        # SQLite looks at 16 bytes of the header besides, to see whether the file has changed.
        assert read / rw.PAGE_BYTES == pytest.approx(expected, abs=0.1), (layout, blob, query)


def test_the_split_pays_for_scans_of_hot_columns_and_not_for_look_ups() -> None:
    rare = rw.predict(100_000, 60, 1500, "scan", 0.05)
    assert rare.wide > 10 * rare.split
    assert 0.9 < rare.break_even < 1
    always = rw.predict(100_000, 60, 1500, "scan", 1.0)
    assert always.split > always.wide
    one = rw.predict(100_000, 60, 1500, "look-up", 0.05)
    assert one.split > 0.9 * one.wide
    # Beyond a page SQLite splits the row by itself: the scan of hot columns gets cheaper, not dearer.
    assert rw.predict(100_000, 60, 4000, "scan", 0).wide < rw.predict(100_000, 60, 3900, "scan", 0).wide / 7


@given(
    st.integers(1, 200_000),
    st.integers(1, 500),
    st.integers(1, 50_000),
    st.sampled_from(rw.QUERIES),
    st.floats(0, 1),
)
def test_break_even_is_where_the_two_meet(rows: int, hot: int, blob: int, query: str, share: float) -> None:
    found = rw.predict(rows, hot, blob, query, share)
    assert found.wide > 0 and found.split > 0
    if share < found.break_even - 1e-6:
        assert found.split <= found.wide + 1e-6
    elif share > found.break_even + 1e-6:
        assert found.split >= found.wide - 1e-6
    if 0 < found.break_even <= 1:
        there = rw.predict(rows, hot, blob, query, found.break_even)
        assert there.wide == pytest.approx(there.split)


def test_measure() -> None:
    found = rw.measure(2000, 60, 1500)
    assert found.per_query("scan", 0.05).wide == pytest.approx(
        rw.predict(2000, 60, 1500, "scan", 0.05).wide, rel=0.01
    )
    assert set(found.scan_ms) == set(rw.SCANS) and all(ms > 0 for ms in found.scan_ms.values())
    assert math.isclose(found.wide.leaf, 1000, abs_tol=1)


def test_refusals(tmp_path: Path) -> None:
    there = tmp_path / "there.sqlite"
    rw.create_tables(there, 1, 1, 1)
    for call in (
        lambda: rw.table_pages(0, (1,)),
        lambda: rw.table_pages(1, ()),
        lambda: rw.table_pages(1, (0,)),
        lambda: rw.predict(1, 1, 1, "join", 0),
        lambda: rw.predict(1, 1, 1, "scan", 1.1),
        lambda: rw.measure(200_001),
        lambda: rw.measure(200_000, 1, 100_000),
        lambda: rw.create_tables(there, 1, 1, 1),
        lambda: rw.file_pages(there, "nobody"),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()

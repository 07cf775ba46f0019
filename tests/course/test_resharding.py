from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import resharding as r
from course.sharding import METHODS, load, moves, sharding

ROWS = 3_000


def files(folder: Path) -> dict[int, dict[int, bytes]]:
    """Read what is in each file, apart from the module's own way of doing so."""
    found = {}
    for path in folder.glob("shard-*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            found[int(path.stem[6:])] = dict(connection.execute("SELECT key, payload FROM rows").fetchall())
    return found


def test_least_and_modulo() -> None:
    assert r.least_moves(4, 5) == pytest.approx(0.2) and r.least_moves(5, 4) == pytest.approx(0.2)
    assert r.modulo_moves(4, 5) == pytest.approx(0.8)
    assert r.modulo_moves(10, 11) == pytest.approx(10 / 11)
    assert r.modulo_moves(4, 8) == pytest.approx(r.least_moves(4, 8))  # doubling is cheap
    assert r.modulo_moves(7, 7) == r.least_moves(7, 7) == 0


@given(st.integers(1, 12), st.integers(1, 12))
def test_modulo_moves_is_what_all_remainders_say(before: int, after: int) -> None:
    hashes = np.arange(before * after)
    assert r.modulo_moves(before, after) == pytest.approx((hashes % before != hashes % after).mean())
    assert r.modulo_moves(before, after) >= r.least_moves(before, after) - 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [3, 7])
def test_resize(method: str, after: int) -> None:
    rule = r.resize(sharding(method, 5, keys=ROWS), after)
    assert sorted(rule.nodes) == list(range(after))
    assert r.resize(rule, after) is rule
    step_by_step = sharding(method, 5, keys=ROWS)
    for node in (5, 6) if after == 7 else (4, 3):
        step_by_step = step_by_step.add(node) if after == 7 else step_by_step.remove(node)
    keys = np.arange(ROWS)
    assert np.array_equal(rule.locate(keys), step_by_step.locate(keys))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [2, 5])
def test_nothing_is_lost_whatever_the_method(method: str, after: int) -> None:
    done = r.reshard(method, 4, after, rows=ROWS, payload_bytes=20)
    assert done.nothing_lost
    old = sharding(method, 4, keys=ROWS)
    expected = moves(old, r.resize(old, after), np.arange(ROWS)).moved
    assert done.migration.rows_copied == done.migration.rows_deleted == expected
    assert done.migration.bytes_moved == expected * (20 + r.KEY_BYTES)
    assert done.share_moved == expected / ROWS
    assert done.max_over_mean == pytest.approx(load(r.resize(old, after), np.arange(ROWS)).max_over_mean)


def test_modulo_moves_four_of_five_rows_and_the_ring_one() -> None:
    # Three standard errors of a binomial of 20,000 rows; a ring's arcs vary by 10 % of 1/5 besides.
    thrown = 3 * np.sqrt(0.8 * 0.2 / 20_000)
    assert abs(r.reshard("modulo", 4, 5).share_moved - 0.8) < thrown
    assert abs(r.reshard("ring", 4, 5).share_moved - 0.2) < 3 * 0.2 * np.sqrt(4 / 501) + thrown


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "shards"
    folder.mkdir()
    yield folder


class CrashError(Exception):
    pass


@pytest.mark.parametrize("after", [3, 5])
def test_a_crash_after_any_batch_loses_nothing(shards: Path, tmp_path: Path, after: int) -> None:
    old = sharding("modulo", 4)
    new = r.resize(old, after)
    r.create_shards(shards, old, 240, payload_bytes=10)
    truth = {key: payload for rows in files(shards).values() for key, payload in rows.items()}
    assert sorted(truth) == list(range(240))
    steps: list[str] = []

    whole = tmp_path / "whole"
    shutil.copytree(shards, whole)
    r.migrate(whole, old, new, batch=40, progress=lambda phase, rows: steps.append(phase))
    assert steps.count("switch") == 1 and steps.index("switch") == steps.count("copy") > 5
    assert "delete" in steps and "copy" not in steps[steps.index("switch") :]

    for last in range(len(steps)):
        folder = tmp_path / f"after-{last}"
        shutil.copytree(shards, folder)
        seen: list[int] = []

        def stop(phase: str, rows: int, seen: list[int] = seen, last: int = last) -> None:
            seen.append(rows)
            if len(seen) > last:
                raise CrashError

        with pytest.raises(CrashError):
            r.migrate(folder, old, new, batch=40, progress=stop)
        # Readers find every row by the rule in force ...
        rule = r.rule_in_force(folder, old, new)
        assert rule is (old if "switch" not in steps[: last + 1] else new)
        there = r.inventory(folder, rule)
        assert there.rows == 240
        held = files(folder)
        places = rule.locate(np.arange(240)).tolist()
        assert all(held[place][key] == truth[key] for key, place in enumerate(places))
        # ... and the same call again finishes the work; a third time there is none.
        r.migrate(folder, old, new, batch=40)
        end = r.inventory(folder, new)
        assert (end.rows, end.strays, end.checksum) == (240, 0, there.checksum)
        assert sorted(files(folder)) == list(range(after))
        again = r.migrate(folder, old, new, batch=40)
        assert again.rows_copied == again.rows_deleted == again.bytes_moved == 0


def test_a_crash_inside_a_transaction_leaves_it_undone(shards: Path) -> None:
    old = sharding("modulo", 2)
    new = r.resize(old, 3)
    r.create_shards(shards, old, 500, payload_bytes=10)
    before = r.inventory(shards, old)
    # The disk of the new node refuses the 30th row.
    with closing(sqlite3.connect(r.shard_file(shards, 2))) as connection, connection:
        connection.execute("CREATE TABLE rows (key INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON rows WHEN (SELECT count(*) FROM rows) >= 30 "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        r.migrate(shards, old, new)
    assert files(shards)[2] == {}
    assert r.rule_in_force(shards, old, new) is old
    assert r.inventory(shards, old).checksum == before.checksum
    with closing(sqlite3.connect(r.shard_file(shards, 2))) as connection, connection:
        connection.execute("DROP TRIGGER full")
    r.migrate(shards, old, new)
    assert r.inventory(shards, new).checksum == before.checksum


def test_the_inventory_sees_what_is_wrong(shards: Path) -> None:
    rule = sharding("modulo", 3)
    r.create_shards(shards, rule, 300, payload_bytes=10)
    good = r.inventory(shards, rule)
    assert (good.rows, good.strays, sum(good.per_node.values())) == (300, 0, 300)
    place = int(rule.locate([7])[0])
    with closing(sqlite3.connect(r.shard_file(shards, place))) as connection, connection:
        connection.execute("UPDATE rows SET payload = x'00' WHERE key = 7")
    assert r.inventory(shards, rule).checksum != good.checksum
    with closing(sqlite3.connect(r.shard_file(shards, (place + 1) % 3))) as connection, connection:
        connection.execute("INSERT INTO rows VALUES (7, x'00')")
    assert r.inventory(shards, rule).strays == 1
    with closing(sqlite3.connect(r.shard_file(shards, place))) as connection, connection:
        connection.execute("DELETE FROM rows WHERE key = 7")
    assert r.inventory(shards, rule).rows == 299


def test_what_is_refused(shards: Path) -> None:
    rule = sharding("modulo", 2)
    r.create_shards(shards, rule, 10)
    with pytest.raises(ValueError, match="must be empty"):
        r.create_shards(shards, rule, 10)
    with pytest.raises(ValueError, match="neither of the two"):
        r.migrate(shards, sharding("ring", 2), sharding("ring", 3))
    for wrong in (
        lambda: r.reshard("modulo", 0, 4),
        lambda: r.reshard("modulo", 4, 65),
        lambda: r.reshard("modulo", 4, 5, rows=0),
        lambda: r.reshard("modulo", 4, 5, payload_bytes=0),
        lambda: r.reshard("modulus", 4, 5),
        lambda: r.migrate(shards, rule, rule, batch=0),
        lambda: r.resize(rule, 0),
        lambda: r.least_moves(0, 1),
        lambda: r.modulo_moves(1, 0),
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()

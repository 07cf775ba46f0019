"""The record of progress loses nothing: not to a crash, not to a second kernel, not to a file that is no record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from course.classroom import record
from course.classroom.record import Entry, NotKeptError, Record

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from course.classroom.record import Record
record, mine, times = Record(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for _ in range(times):
    for name in ("shared", mine):
        entry = record.change(name, lambda entry: replace(entry, checks=entry.checks + 1))
    print(entry.checks, flush=True)
"""


def writer(path: Path, name: str, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(times)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def check_once(entry: Entry) -> Entry:
    return replace(entry, checks=entry.checks + 1)


def test_nothing_is_there_at_first(record_path: Path) -> None:
    assert Record(record_path).read() == {}
    assert not record_path.parent.exists()


def test_what_is_changed_is_kept(record_path: Path) -> None:
    Record(record_path).change("caching.lru", lambda entry: replace(entry, best=3, hints=1))
    Record(record_path).change("caching.ttl", check_once)
    assert Record(record_path).read() == {"caching.lru": Entry(3, 0, 1), "caching.ttl": Entry(0, 1, 0)}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a user's folders by other means")
def test_it_is_private(record_path: Path) -> None:
    Record(record_path).change("caching.lru", check_once)
    assert record_path.parent.stat().st_mode & 0o077 == 0
    assert record_path.stat().st_mode & 0o077 == 0


def test_kernels_that_write_at_once_lose_nothing(record_path: Path) -> None:
    writers = [writer(record_path, f"kernel {number}", 20) for number in range(3)]
    assert [process.wait(120) for process in writers] == [0, 0, 0]
    for process in writers:
        assert process.stdout is not None
        process.stdout.close()
    entries = Record(record_path).read()
    assert entries.pop("shared").checks == 60
    assert {name: entry.checks for name, entry in entries.items()} == {f"kernel {n}": 20 for n in range(3)}


def test_a_kernel_that_is_killed_leaves_a_whole_record_and_no_lock(record_path: Path) -> None:
    done = 0
    for kept in (1, 2, 5, 9):
        with writer(record_path, "mine", 10_000) as process:
            assert process.stdout is not None
            for _ in range(kept):
                last = int(process.stdout.readline())
            process.kill()
        entries = {name: Entry(**entry) for name, entry in json.loads(record_path.read_text("utf-8")).items()}
        assert entries["mine"].checks >= last == done + kept
        assert entries["shared"].checks - entries["mine"].checks in {0, 1}
        done = Record(record_path).change("mine", lambda entry: entry).checks
        Record(record_path).change("shared", lambda entry: replace(entry, checks=done))  # noqa: B023


def test_a_crash_before_the_new_record_is_in_place_keeps_the_old_one(
    record_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Record(record_path).change("caching.lru", check_once)
    before = record_path.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NotKeptError, match=r"Your progress was not kept in .*: No space left on device\."):
        Record(record_path).change("caching.lru", check_once)
    assert record_path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b'{"caching.lru": {"be', b"\xff\xfe", b"[1, 2]", b"[" * 100_000])
def test_a_damaged_record_is_set_aside_and_a_new_one_begun(record_path: Path, damage: bytes) -> None:
    record_path.parent.mkdir()
    for number in (1, 2):
        record_path.write_bytes(damage)
        assert Record(record_path).read() == {}
        Record(record_path).change("caching.lru", check_once)
        assert Record(record_path).read() == {"caching.lru": Entry(checks=1)}
        assert (record_path.parent / f"progress.damaged-{number}.json").read_bytes() == damage


def test_what_is_not_understood_stays_and_counts_for_nothing(record_path: Path) -> None:
    record_path.parent.mkdir()
    stored = {
        "caching.lru": {"best": "all", "hints": -1, "checks": 2, "since": "2031"},
        "odd": 7,
        "later": {"x": 1},
    }
    record_path.write_text(json.dumps(stored))
    assert Record(record_path).read() == {"caching.lru": Entry(checks=2), "odd": Entry(), "later": Entry()}
    Record(record_path).change("caching.lru", check_once)
    after = json.loads(record_path.read_text("utf-8"))
    assert after == {**stored, "caching.lru": {"best": 0, "hints": 0, "checks": 3, "since": "2031"}}


def test_a_lock_that_is_not_given_back_is_said(record_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LOCK_S", 0.1)
    holder = f"""
from filelock import FileLock
with FileLock({str(record_path.with_suffix(".lock"))!r}):
    print("held", flush=True)
    input()
"""
    record_path.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(NotKeptError, match="another kernel holds"):
            Record(record_path).change("caching.lru", check_once)
        process.communicate("\n")
    Record(record_path).change("caching.lru", check_once)


def test_it_is_where_the_system_keeps_what_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = record.default_path()
    assert path.name == "progress.json"
    assert path.parent.name == "system-design-workbook"
    assert ROOT not in path.parents

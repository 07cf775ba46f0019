"""Real processes, really killed: only what holds on every machine is asserted, and no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from course import crash_lab
from course.crash_lab import (
    JOURNAL_MODES,
    SYNCHRONOUS,
    ChildError,
    kill_every_mode,
    kill_log,
    kill_minus_nine,
)


def test_a_kill_loses_no_acknowledged_row_whatever_the_setting():
    results = kill_every_mode(after=10)
    assert [(r.journal_mode, r.synchronous) for r in results] == [
        (mode, setting) for mode in JOURNAL_MODES for setting in SYNCHRONOUS
    ]
    for result in results:
        assert result.lost == 0 and result.integrity_check == "ok"
        # The commit under way when it died may be there, and one acknowledgement not yet said.
        assert 10 <= result.acknowledged <= result.recovered <= result.acknowledged + 1
        assert result.ms_per_commit > 0


def test_between_write_and_fsync_the_commit_is_there_after_a_kill_and_gone_after_a_power_cut():
    result = kill_log(fsync=True, after=10)
    assert (result.acknowledged, result.after_kill, result.after_power_cut) == (10, 11, 10)
    assert result.lost_to_kill == result.lost_to_power_cut == 0


def test_without_fsync_a_kill_loses_nothing_and_a_power_cut_everything():
    result = kill_log(fsync=False, after=10)
    assert result.acknowledged >= 10 and result.after_kill >= result.acknowledged
    assert result.lost_to_kill == 0 and result.after_power_cut == 0
    assert result.lost_to_power_cut == result.acknowledged


def test_a_child_that_fails_is_heard(tmp_path: Path):
    with (
        pytest.raises(ChildError, match="unable to open database file"),
        crash_lab._child("sqlite", str(tmp_path / "no" / "folder"), "WAL", "OFF") as child,
    ):
        crash_lab._kill_after(child, 1)
    assert child.poll() is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kill_minus_nine("wal"), "journal_mode = 'wal'"),
        (lambda: kill_minus_nine("WAL", "EXTRA"), "synchronous = 'EXTRA'"),
        (lambda: kill_minus_nine(after=1), "after = 1"),
        (lambda: kill_log(after=1), "after = 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Real processes that commit, and die by ``kill -9`` in the middle of it.

The child commits one row after the other and reports each acknowledged commit through a pipe. The parent kills
it (``SIGKILL``; ``TerminateProcess`` on Windows), opens what it left, and compares.

A kill is no power cut. What a dead process had written lives on in the page cache of the operating system, and
every setting of SQLite survives it. Nobody cuts the power for a lesson, so :func:`kill_log` uses a **stand-in**:
its child reports how far its file was forced out by ``fsync``, and the parent cuts a copy of the file off there,
which is the worst that a power cut may do.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from course import checks
from course.write_ahead_log import Folder, WriteAheadLog, recover

JOURNAL_MODES = ("DELETE", "WAL")
SYNCHRONOUS = ("OFF", "NORMAL", "FULL")
_ROOT = Path(__file__).resolve().parent.parent
#: A child that takes longer hangs, and is killed (seconds).
_PATIENCE_S = 20.0
_LOG = "log.1"


class ChildError(RuntimeError):
    """The child ended by itself, which it never should; the message is what it said."""


@dataclass(frozen=True)
class KillResult:
    """What :func:`kill_minus_nine` found.

    Attributes
    ----------
    journal_mode, synchronous : str
    acknowledged : int
        Rows whose commit had returned, as the parent heard.
    recovered : int
        Rows in the database afterwards.
    lost : int
        Rows acknowledged and not there.
    integrity_check : str
        SQLite's own verdict; ``ok`` if the file is whole.
    ms_per_commit : float
        From one acknowledgement to the next, on average, here and now.
    """

    journal_mode: str
    synchronous: str
    acknowledged: int
    recovered: int
    lost: int
    integrity_check: str
    ms_per_commit: float


def kill_minus_nine(journal_mode: str = "WAL", synchronous: str = "NORMAL", after: int = 50) -> KillResult:
    """Kill a process that commits rows to SQLite, and count what is left.

    Parameters
    ----------
    journal_mode : str
        ``DELETE`` (a rollback journal) or ``WAL``.
    synchronous : str
        When SQLite calls ``fsync``: ``OFF`` never; ``NORMAL`` at the critical moments, which in WAL mode is the
        checkpoint only; ``FULL`` before every commit returns (the SQLite manual, "PRAGMA synchronous").
    after : int
        Acknowledged commits after which it is killed, 2 to 10,000.

    Raises
    ------
    ValueError
        If a parameter is not allowed.
    ChildError
        If the child failed by itself.
    """
    checks.option("journal_mode", journal_mode, JOURNAL_MODES)
    checks.option("synchronous", synchronous, SYNCHRONOUS)
    after = checks.integer("after", after, 2, 10_000)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "rows.db"
        with _child("sqlite", str(path), journal_mode, synchronous) as child:
            lines, seconds = _kill_after(child, after)
        acknowledged = {int(line) for line in lines}
        with closing(sqlite3.connect(path)) as connection:
            recovered = {row for (row,) in connection.execute("SELECT id FROM payment")}
            verdict = str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    return KillResult(
        journal_mode,
        synchronous,
        len(acknowledged),
        len(recovered),
        len(acknowledged - recovered),
        verdict,
        1000 * seconds / (after - 1),
    )


def kill_every_mode(after: int = 30) -> list[KillResult]:
    """Return :func:`kill_minus_nine` for both journal modes with each setting of ``synchronous``."""
    return [kill_minus_nine(mode, setting, after) for mode, setting in product(JOURNAL_MODES, SYNCHRONOUS)]


@dataclass(frozen=True)
class LogKillResult:
    """What :func:`kill_log` found, for one setting.

    Attributes
    ----------
    fsync : bool
        Whether a commit waited for the disk.
    killed : str
        Where the process died.
    acknowledged : int
        Commits that had returned, as the parent heard.
    after_kill : int
        Commits recovered from the file that the dead process left.
    after_power_cut : int
        Commits recovered from what had been forced out: the stand-in for a power cut at the same moment.
    lost_to_kill, lost_to_power_cut : int
        Acknowledged commits that are missing in each.
    """

    fsync: bool
    killed: str
    acknowledged: int
    after_kill: int
    after_power_cut: int
    lost_to_kill: int
    lost_to_power_cut: int


def kill_log(fsync: bool = True, after: int = 50) -> LogKillResult:
    """Kill a process that commits to our own log, and read the log as it is and as a power cut may leave it.

    With `fsync` the process dies between writing a commit and forcing it out; without, somewhere.

    Parameters
    ----------
    fsync : bool
        Whether a commit waits for the disk before it is acknowledged.
    after : int
        Acknowledged commits after which it is killed, 2 to 10,000.

    Raises
    ------
    ValueError
        If `after` is out of range.
    ChildError
        If the child failed by itself.
    """
    after = checks.integer("after", after, 2, 10_000)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with _child("log", folder, str(after if fsync else 0)) as child:
            # With fsync it says one line more, before the call that never comes, and waits to be killed.
            lines, _ = _kill_after(child, after + fsync)
        log = (Path(folder) / _LOG).read_bytes()
    acknowledged = len(lines) - fsync
    forced_out = int(lines[-1])
    after_kill = recover(log).sequence
    after_cut = recover(log[:forced_out]).sequence
    return LogKillResult(
        fsync,
        "between write and fsync" if fsync else "while committing",
        acknowledged,
        after_kill,
        after_cut,
        max(0, acknowledged - after_kill),
        max(0, acknowledged - after_cut),
    )


@contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start this module as a process of its own; it is dead at the end of the block, whatever happens."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-m", "course.crash_lab", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    watch = Timer(_PATIENCE_S, child.kill)
    watch.start()
    try:
        with child:
            try:
                yield child
            finally:
                child.kill()
    finally:
        watch.cancel()


def _kill_after(child: subprocess.Popen[str], lines: int) -> tuple[list[str], float]:
    """Read so many lines, kill the child, and return all it had said, and the time from the first of them."""
    assert child.stdout is not None and child.stderr is not None
    heard: list[str] = []
    start = end = time.perf_counter()
    while len(heard) < lines:
        line = child.stdout.readline()
        if not line.endswith("\n"):
            raise ChildError(child.stderr.read().strip() or f"it stopped after {len(heard)} commits")
        heard.append(line)
        end = time.perf_counter()
        if len(heard) == 1:
            start = end
    child.kill()
    # What was in the pipe was acknowledged too, but for a line cut short.
    heard += [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return heard, end - start


def _say(text: object) -> None:
    """Acknowledge: the line is in the pipe when this returns."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _commit_to_sqlite(path: str, journal_mode: str, synchronous: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE payment (id INTEGER PRIMARY KEY, note TEXT)")
    for number in count(1):
        # Each statement is a transaction of its own, and committed when it returns.
        connection.execute("INSERT INTO payment VALUES (?, ?)", (number, "paid " * 20))
        _say(number)


class _Reporting(Folder):
    """A folder that knows how many bytes of a log were forced out, and can stop before it does so again."""

    def __init__(self, path: Path, stop_at: int) -> None:
        super().__init__(path)
        self.written = self.forced_out = self._calls = 0
        self._stop_at = stop_at

    def append(self, name: str, data: bytes) -> None:
        super().append(name, data)
        self.written += len(data)

    def fsync(self, name: str) -> None:
        if self._calls == self._stop_at:
            _say(self.forced_out)
            time.sleep(2 * _PATIENCE_S)
        self._calls += 1
        super().fsync(name)
        self.forced_out = self.written


def _commit_to_log(folder: str, stop_at: str) -> None:
    disk = _Reporting(Path(folder), int(stop_at))
    log = WriteAheadLog(disk, fsync=int(stop_at) > 0)
    for number in count(1):
        log.commit(f"k{number}", "paid")
        _say(disk.forced_out)


def _main(arguments: Sequence[str]) -> None:
    if arguments[0] == "sqlite":
        _commit_to_sqlite(*arguments[1:])
    else:
        _commit_to_log(*arguments[1:])


if __name__ == "__main__":
    _main(sys.argv[1:])

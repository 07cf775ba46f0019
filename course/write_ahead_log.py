"""A write-ahead log, small and whole: what it promises, and to whom it lies without ``fsync``.

Guide, "Durability": log changes before applying them. A commit is appended to a log, forced to the disk, and only
then acknowledged. After a crash the log is read from its start, or from the last checkpoint, up to the first
record that is not whole.

``write`` hands bytes to the operating system, which keeps them in its **page cache** and writes them to the disk
when it likes. A program that dies loses none of them; a power cut may lose all that ``fsync`` had not forced
out. :class:`SimulatedDisk` is such a page cache, with a power cut after any byte; :class:`Folder` is a real one.

A record is ``length (4 bytes) | CRC-32 (4) | sequence number (8) | payload``, numbers in big-endian order. The
checksum covers everything but itself: also the length, or a run of zeros, which a disk leaves where a sector was
never written, would read as empty records that are whole. The sequence number keeps what an old file holds from
being taken for new.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from course import checks

_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">IIQ")
HEADER_BYTES = _HEADER.size
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Record:
    """One committed change: `key` now has `value`; records are numbered from 1."""

    sequence: int
    key: str
    value: str


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record.

    Raises
    ------
    ValueError
        If the key holds "=", or the sequence number is not from 1 to 2**63.
    """
    if "=" in record.key:
        raise ValueError(f"key = {record.key!r}: must not hold '='")
    checks.integer("sequence", record.sequence, 1, 2**63)
    return _frame(record.sequence, f"{record.key}={record.value}".encode())


def _frame(sequence: int, payload: bytes) -> bytes:
    length = _LENGTH.pack(len(payload))
    numbered = sequence.to_bytes(8, "big") + payload
    return length + _LENGTH.pack(zlib.crc32(length + numbered)) + numbered


def _unframe(data: bytes, at: int) -> tuple[int, bytes] | None:
    """Return sequence number and payload of the frame at `at`, or None if it is not whole."""
    if len(data) - at < HEADER_BYTES:
        return None
    length, crc, sequence = _HEADER.unpack_from(data, at)
    end = at + HEADER_BYTES + length
    if end > len(data) or crc != zlib.crc32(data[at : at + 4] + data[at + 8 : end]):
        return None
    return sequence, data[at + HEADER_BYTES : end]


@dataclass(frozen=True)
class Recovery:
    """What :func:`recover` made of a log.

    Attributes
    ----------
    state : dict of str to str
        Every key with its last value.
    sequence : int
        Number of the last commit in it; 0 if there is none.
    replayed : int
        Records read from the log, after the checkpoint.
    valid_bytes : int
        Length of the part of the log that holds whole records.
    torn_bytes : int
        What comes after it, and is thrown away.
    """

    state: dict[str, str]
    sequence: int
    replayed: int
    valid_bytes: int
    torn_bytes: int


def recover(log: bytes, checkpoint: bytes = b"") -> Recovery:
    """Rebuild the state from a log and, if there is one, the checkpoint before it.

    Reading ends at the first record that is cut short, whose checksum is wrong, or that is not the next one.
    Nothing after it counts, whole or not: a state that lacks a commit but holds a later one never existed.

    Parameters
    ----------
    log : bytes
        The log as the crash left it.
    checkpoint : bytes
        State written by :meth:`WriteAheadLog.checkpoint`; none if empty. One that is not whole counts as none.
    """
    state: dict[str, str] = {}
    sequence = 0
    if saved := _unframe(checkpoint, 0):
        sequence, state = saved[0], json.loads(saved[1])
    at = replayed = 0
    while (found := _unframe(log, at)) and found[0] == sequence + 1:
        key, _, value = found[1].decode().partition("=")
        state[key] = value
        sequence += 1
        replayed += 1
        at += HEADER_BYTES + len(found[1])
    return Recovery(state, sequence, replayed, at, len(log) - at)


class Disk(Protocol):
    """What the log needs of a file system."""

    def append(self, name: str, data: bytes) -> None:
        """Add bytes to the end of a file, in the page cache."""

    def fsync(self, name: str) -> None:
        """Force a file to the disk, and return when it is there."""

    def replace(self, source: str, target: str) -> None:
        """Rename a file over another, all or nothing, for good."""

    def delete(self, name: str) -> None:
        """Remove a file, if there is one."""

    def read(self, name: str) -> bytes:
        """Return a file; one that is not there is empty."""


class PowerCutError(Exception):
    """The power failed: the program is gone, and with it what was only in memory."""


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    synced: int = 0


class SimulatedDisk:
    """Files behind a page cache, and a power cut after any number of bytes.

    Parameters
    ----------
    power_cut_after : int, optional
        The power fails as soon as so many bytes have been written, to all files together; never unless given.

    Attributes
    ----------
    written : int
        Bytes written so far.
    writes : list of (str, int, int)
        Every write: the file, and the values of `written` before and after it.
    """

    def __init__(self, power_cut_after: int | None = None) -> None:
        self._left = (
            None if power_cut_after is None else checks.integer("power_cut_after", power_cut_after, 0)
        )
        self._files: dict[str, _File] = {}
        self.written = 0
        self.writes: list[tuple[str, int, int]] = []

    def append(self, name: str, data: bytes) -> None:
        """Add bytes in the page cache; the power may fail in the middle of them."""
        kept = data if self._left is None else data[: self._left]
        self._files.setdefault(name, _File()).data.extend(kept)
        self.writes.append((name, self.written, self.written + len(kept)))
        self.written += len(kept)
        if self._left is not None:
            self._left -= len(kept)
            if self._left == 0:
                raise PowerCutError(f"after {self.written} bytes")

    def fsync(self, name: str) -> None:
        """Make the file safe from a power cut, as far as it is written."""
        file = self._files[name]
        file.synced = len(file.data)

    def replace(self, source: str, target: str) -> None:
        """Rename at once and for good; the contents are as safe as they were."""
        self._files[target] = self._files.pop(source)

    def delete(self, name: str) -> None:
        """Remove at once and for good."""
        self._files.pop(name, None)

    def read(self, name: str) -> bytes:
        """Return the file as a program sees it: through the page cache."""
        return bytes(self._files[name].data) if name in self._files else b""

    def after_power_cut(
        self, reached: float = 0.0, lost_sectors: Collection[int] = (), sector_bytes: int = 512
    ) -> SimulatedDisk:
        """Return the disk as it is found when the power is back.

        What was forced out by ``fsync`` is there. Of the rest, what the operating system happened to have
        written by itself.

        Parameters
        ----------
        reached : float
            Share of the bytes not yet forced out that reached the disk, from the front, 0 to 1.
        lost_sectors : collection of int
            Sectors of a file that did not, although later ones may have: zeros, where they were not safe.
        sector_bytes : int
            Size of a sector, at least 1.

        Raises
        ------
        ValueError
            If a parameter is outside its range.
        """
        reached = checks.number("reached", reached, 0, 1)
        sector_bytes = checks.integer("sector_bytes", sector_bytes, 1)
        found = SimulatedDisk()
        for name, file in self._files.items():
            data = file.data[: file.synced + int(reached * (len(file.data) - file.synced))]
            for sector in lost_sectors:
                low = max(file.synced, sector * sector_bytes)
                high = min(len(data), (sector + 1) * sector_bytes)
                data[low:high] = bytes(max(0, high - low))
            found._files[name] = _File(data, len(data))
        return found


class Folder:
    """A folder of the real file system: what is written to it outlives a kill, and ``fsync`` is the real one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, BinaryIO] = {}

    def append(self, name: str, data: bytes) -> None:
        """Write to the operating system, not waiting for the disk."""
        if name not in self._open:
            self._open[name] = (self._path / name).open("ab", buffering=0)
        self._open[name].write(data)

    def fsync(self, name: str) -> None:
        """Wait until the disk has it (on macOS: until the drive's own cache has it)."""
        os.fsync(self._open[name].fileno())

    def replace(self, source: str, target: str) -> None:
        """Rename, and force the folder out too: a new name is a change of the folder."""
        self._close(source)
        (self._path / source).replace(self._path / target)
        if os.name == "posix":
            folder = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def delete(self, name: str) -> None:
        """Remove a file, if there is one."""
        self._close(name)
        (self._path / name).unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Return a file; one that is not there is empty."""
        path = self._path / name
        return path.read_bytes() if path.exists() else b""

    def close(self) -> None:
        """Close every file."""
        for name in list(self._open):
            self._close(name)

    def _close(self, name: str) -> None:
        if name in self._open:
            self._open.pop(name).close()


class WriteAheadLog:
    """A store of keys and values that survives crashes; opening it recovers what is there.

    Parameters
    ----------
    disk : Disk
        Where its files are: a checkpoint, and the log of what came after it.
    fsync : bool
        Whether a commit waits for the disk before it is acknowledged.
    checkpoint_every : int
        Commits from one checkpoint to the next, 0 for none.

    Attributes
    ----------
    state : dict of str to str
        Every key with its value.
    sequence : int
        Number of the last commit.
    recovery : Recovery
        What opening found.

    Raises
    ------
    ValueError
        If `checkpoint_every` is not a whole number of at least 0.
    """

    def __init__(self, disk: Disk, *, fsync: bool = True, checkpoint_every: int = 0) -> None:
        self._disk = disk
        self._fsync = fsync
        self._every = checks.integer("checkpoint_every", checkpoint_every, 0)
        self.recovery = read_back(disk)
        self.state = dict(self.recovery.state)
        self.sequence = self._saved = self.recovery.sequence
        self._log = _log_name(self.recovery.sequence - self.recovery.replayed)
        if disk.read(self._log):
            # Never append behind a torn record: whatever follows it is not read again.
            self.checkpoint()

    def commit(self, key: str, value: str) -> int:
        """Make one change durable, and return its number: that is the acknowledgement."""
        if self._every and self.sequence - self._saved >= self._every:
            self.checkpoint()
        record = Record(self.sequence + 1, key, value)
        self._disk.append(self._log, encode_record(record))
        if self._fsync:
            self._disk.fsync(self._log)
        self.state[key] = value
        self.sequence = record.sequence
        return record.sequence

    def checkpoint(self) -> None:
        """Write the whole state beside the log, begin a new log, and throw the old one away.

        Forced out even where commits are not; the old checkpoint is there until the new one is safe.
        """
        part = f"{CHECKPOINT}.part"
        self._disk.delete(part)
        self._disk.append(part, _frame(self.sequence, json.dumps(self.state).encode()))
        self._disk.fsync(part)
        self._disk.replace(part, CHECKPOINT)
        self._disk.delete(self._log)
        self._log = _log_name(self.sequence)
        self._saved = self.sequence


def _log_name(saved: int) -> str:
    """Return the name of the log that follows the checkpoint of commit `saved`."""
    return f"log.{saved + 1}"


def read_back(disk: Disk) -> Recovery:
    """Recover from the files of a :class:`WriteAheadLog`, changing nothing."""
    checkpoint = disk.read(CHECKPOINT)
    saved = _unframe(checkpoint, 0)
    return recover(disk.read(_log_name(saved[0] if saved else 0)), checkpoint)


@dataclass(frozen=True)
class CrashResult:
    """What :func:`crash` saw.

    Attributes
    ----------
    acknowledged : tuple of str
        Keys whose commit had returned when the power failed.
    recovered : tuple of str
        Keys that are there afterwards.
    lost : tuple of str
        Acknowledged, and not recovered.
    surprising : tuple of str
        Recovered, and never acknowledged: allowed, the client does not know.
    after_kill : int
        Commits that would be there if the program alone had died, and the page cache lived on.
    replayed, torn_bytes : int
        Records read from the log after the checkpoint, and bytes of a torn end thrown away.
    bytes_written, bytes_of_checkpoints : int
        All that the program wrote until then; the share of checkpoints.
    """

    acknowledged: tuple[str, ...]
    recovered: tuple[str, ...]
    lost: tuple[str, ...]
    surprising: tuple[str, ...]
    after_kill: int
    replayed: int
    torn_bytes: int
    bytes_written: int
    bytes_of_checkpoints: int


def crash(
    *,
    commits: int = 20,
    fsync: bool = True,
    checkpoint_every: int = 0,
    crash_at_byte: int | None = None,
    reached: float = 0.0,
) -> CrashResult:
    """Commit one key after the other until the power fails, and recover.

    Parameters
    ----------
    commits : int
        Commits tried, of the keys ``k1``, ``k2``, ..., 1 to 10,000.
    fsync : bool
        Whether a commit waits for the disk before it is acknowledged.
    checkpoint_every : int
        Commits from one checkpoint to the next, 0 for none.
    crash_at_byte : int, optional
        The power fails as soon as so many bytes have been written, logs and checkpoints together; after the
        last commit unless given, or if there are not so many.
    reached : float
        Share of what was not forced out that is on the disk all the same, 0 to 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    commits = checks.integer("commits", commits, 1, 10_000)
    disk = SimulatedDisk(crash_at_byte)
    acknowledged = []
    try:
        log = WriteAheadLog(disk, fsync=fsync, checkpoint_every=checkpoint_every)
        for number in range(1, commits + 1):
            log.commit(f"k{number}", "paid")
            acknowledged.append(f"k{number}")
    except PowerCutError:
        pass
    recovery = read_back(disk.after_power_cut(reached))
    recovered = tuple(recovery.state)
    return CrashResult(
        tuple(acknowledged),
        recovered,
        tuple(key for key in acknowledged if key not in recovery.state),
        tuple(key for key in recovered if key not in set(acknowledged)),
        read_back(disk).sequence,
        recovery.replayed,
        recovery.torn_bytes,
        disk.written,
        sum(end - start for name, start, end in disk.writes if not name.startswith("log")),
    )


def run_bytes(*, commits: int = 20, fsync: bool = True, checkpoint_every: int = 0) -> int:
    """Return the bytes that :func:`crash` writes when the power holds out."""
    return crash(commits=commits, fsync=fsync, checkpoint_every=checkpoint_every).bytes_written

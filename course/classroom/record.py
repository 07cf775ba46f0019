"""What a learner has solved, kept on their disk and nowhere else.

One JSON file in the folder that the system sets aside for the user's data. Every change is made under a lock that ends
with its process, written to a second file and put in place as one step: a crash leaves the old record or the new one,
and two kernels lose nothing of each other's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

FOLDER = "system-design-workbook"
LOCK_S = 1.0


class NotKeptError(Exception):
    """The record cannot be read or written; the message is one sentence."""


@dataclass(frozen=True)
class Entry:
    """What is known of one exercise.

    Attributes
    ----------
    best : int
        The most points of any check.
    checks : int
        How often it was checked.
    hints : int
        How many hints were read.
    """

    best: int = 0
    checks: int = 0
    hints: int = 0


def default_path() -> Path:
    """Return where the record of this user is."""
    from platformdirs import user_data_path

    return user_data_path(FOLDER, appauthor=False) / "progress.json"


class Record:
    """The record in a file.

    Parameters
    ----------
    path : Path
        The file; it and its folder are made when something is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Entry]:
        """Return the entries by exercise; an unreadable record is an empty one."""
        try:
            return {name: _entry(entry) for name, entry in self._load().items()}
        except NotKeptError:
            return {}

    def change(self, exercise_id: str, change: Callable[[Entry], Entry]) -> Entry:
        """Change one entry and return it.

        Parameters
        ----------
        exercise_id : str
            Which one.
        change : callable
            From the entry as it is to the entry as it is to be.

        Raises
        ------
        NotKeptError
            If the record cannot be written.
        """
        try:
            with self._locked():
                try:
                    stored = self._load()
                except NotKeptError:
                    self._set_aside()
                    stored = {}
                entry = change(_entry(stored.get(exercise_id)))
                # What a later version of the course has noted stays.
                known = stored.get(exercise_id)
                stored[exercise_id] = {**(known if isinstance(known, dict) else {}), **asdict(entry)}
                self._write(stored)
                return entry
        except TimeoutError:
            raise NotKeptError(
                f"Your progress was not kept: another kernel holds {self.path.parent}."
            ) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise NotKeptError(f"Your progress was not kept in {self.path.parent}: {reason}.") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_S, mode=0o600):
            yield

    def _load(self) -> dict[str, Any]:
        try:
            stored = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise NotKeptError(f"{self.path} cannot be read: {error}") from None
        if not isinstance(stored, dict):
            raise NotKeptError(f"{self.path} is not a record of progress")
        return stored

    def _set_aside(self) -> None:
        """Keep a record that cannot be read under another name: someone may still want it."""
        for number in range(1, 1_000):
            beside = self.path.with_suffix(f".damaged-{number}.json")
            if not beside.exists():
                self.path.replace(beside)
                return

    def _write(self, stored: dict[str, Any]) -> None:
        beside = self.path.with_suffix(".new")
        beside.touch(mode=0o600)
        with beside.open("w", encoding="utf-8") as file:
            json.dump(stored, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def _entry(stored: object) -> Entry:
    """Read an entry; whatever is no count counts as 0."""
    if not isinstance(stored, dict):
        return Entry()
    counts = {field.name: stored.get(field.name) for field in fields(Entry)}
    return replace(
        Entry(), **{name: count for name, count in counts.items() if type(count) is int and count >= 0}
    )

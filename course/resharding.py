"""Resharding of real SQLite files: rows move to where a new rule wants them, and none is lost on the way.

Each node is one file. Copy, then switch, then delete: until the switch every row is where the old rule looks
for it, after it where the new rule looks, so a migration that dies may be run again from the start. What it
leaves out: writes while it runs (a real one sends them to both places), and the network between the nodes.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from course import checks
from course.sharding import MAX_NODES, Jump, Maglev, Modulo, Rendezvous, Ring, Sharding, sharding

MAX_ROWS = 1_000_000
MAX_PAYLOAD = 10_000
#: Bytes of a key.
KEY_BYTES = 8

#: Called after each committed batch with the phase and the rows of the batch; what it raises stops the migration.
Progress = Callable[[str, int], None]


# --- what has to move ---------------------------------------------------------------------------------------


def least_moves(before: int, after: int) -> float:
    """Share of the keys that any method must move to keep the load even.

    Parameters
    ----------
    before, after : int
        Nodes, from 1 to 1,000.

    Returns
    -------
    float
        ``|after - before| / max(before, after)``: what the new nodes have to get, or the old ones to give away.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    n = checks.integer("before", before, 1, MAX_NODES)
    m = checks.integer("after", after, 1, MAX_NODES)
    return abs(m - n) / max(n, m)


def modulo_moves(before: int, after: int) -> float:
    """Share of the keys that ``hash % nodes`` moves, in expectation over hash functions.

    Parameters
    ----------
    before, after : int
        Nodes, from 1 to 1,000.

    Returns
    -------
    float
        ``1 - gcd(before, after) / max(before, after)``: a key stays if both remainders agree, which is so for
        ``min(before, after)`` of the least common multiple of hashes.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    n = checks.integer("before", before, 1, MAX_NODES)
    m = checks.integer("after", after, 1, MAX_NODES)
    return 1 - math.gcd(n, m) / max(n, m)


def resize(rule: Sharding, nodes: int) -> Sharding:
    """Add or remove nodes one at a time, the highest number last to come and first to go.

    Parameters
    ----------
    rule : Sharding
        Where the keys are now.
    nodes : int
        How many there shall be, from 1 to 1,000.

    Returns
    -------
    Sharding
        Of the same kind.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    wanted = checks.integer("nodes", nodes, 1, MAX_NODES)
    if isinstance(rule, Modulo | Ring | Jump | Rendezvous | Maglev):
        # Where their keys are does not depend on how the nodes came.
        fresh = range(max(rule.nodes) + 1, max(rule.nodes) + 1 + wanted - len(rule.nodes))
        kept = sorted(rule.nodes)[:wanted]
        names = tuple(node for node in rule.nodes if node in kept) + tuple(fresh)
        return rule if names == rule.nodes else replace(rule, nodes=names)
    while len(rule.nodes) < wanted:
        rule = rule.add(max(rule.nodes) + 1)
    while len(rule.nodes) > wanted:
        rule = rule.remove(max(rule.nodes))
    return rule


# --- the files ----------------------------------------------------------------------------------------------


def shard_file(folder: Path, node: int) -> Path:
    """Return the file of a node."""
    return folder / f"shard-{node:05}.sqlite"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def _routing(folder: Path) -> Path:
    return folder / "routing.sqlite"


def _fingerprint(rule: Sharding) -> str:
    # A directory and ranges know their keys; a thousand of them tell two rules apart.
    keys = np.linspace(0, getattr(rule, "keys", 1_000_000) - 1, 1000).astype(np.int64)
    placed = np.asarray(rule.locate(keys), np.int32)
    return hashlib.sha256(repr((type(rule).__name__, rule.nodes)).encode() + placed.tobytes()).hexdigest()


def create_shards(
    folder: Path, rule: Sharding, rows: int, *, payload_bytes: int = 100, seed: int = 1
) -> None:
    """Create one SQLite file a node and put every row where the rule wants it.

    Parameters
    ----------
    folder : Path
        An empty folder.
    rule : Sharding
        Which node holds which key.
    rows : int
        From 1 to 1,000,000; their keys are 0 to this less one.
    payload_bytes : int
        Of each row, random, from 1 to 10,000.
    seed : int
        Of the payloads.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or the folder is not empty.
    """
    count = checks.integer("rows", rows, 1, MAX_ROWS)
    size = checks.integer("payload_bytes", payload_bytes, 1, MAX_PAYLOAD)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    if any(folder.iterdir()):
        raise ValueError(f"folder = {folder.name!r}: must be empty")
    keys = np.arange(count)
    places = rule.locate(keys)
    for node in rule.nodes:
        here = keys[places == node].tolist()
        payloads = rng.bytes(size * len(here))
        with _opened(shard_file(folder, node)) as connection, connection:
            _make_table(connection)
            connection.executemany(
                "INSERT INTO rows VALUES (?, ?)",
                ((key, payloads[i * size : (i + 1) * size]) for i, key in enumerate(here)),
            )
    with _opened(_routing(folder)) as connection, connection:
        connection.execute("CREATE TABLE routing (in_force TEXT NOT NULL)")
        connection.execute("INSERT INTO routing VALUES (?)", (_fingerprint(rule),))


def _make_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS rows (key INTEGER PRIMARY KEY, payload BLOB NOT NULL)")


def rule_in_force(folder: Path, before: Sharding, after: Sharding) -> Sharding:
    """Return the rule by which readers find their rows now.

    Parameters
    ----------
    folder : Path
        Of the shards.
    before, after : Sharding
        The two it may be.

    Returns
    -------
    Sharding
        One of them.

    Raises
    ------
    ValueError
        If it is neither.
    """
    with _opened(_routing(folder)) as connection:
        (found,) = connection.execute("SELECT in_force FROM routing").fetchone()
    # Twice the same rule is no migration: it counts as done.
    for rule in (after, before):
        if _fingerprint(rule) == found:
            return rule
    raise ValueError("before, after: the shards are placed by neither of the two")


@dataclass(frozen=True)
class Inventory:
    """What is in the files.

    Attributes
    ----------
    rows : int
        Rows that a reader finds, for they are at the node where the rule looks.
    strays : int
        Rows at other nodes, which no reader sees: copies not yet in force, or not yet deleted.
    checksum : int
        Of the keys and payloads of the rows that are found, whatever their order and place.
    per_node : dict of int to int
        Rows found at each node of the rule.
    """

    rows: int
    strays: int
    checksum: int
    per_node: dict[int, int]


def inventory(folder: Path, rule: Sharding) -> Inventory:
    """Read every file, and count what a reader who follows the rule would find.

    A key is at one place under a rule, and once in a file: a row found is found exactly once.

    Parameters
    ----------
    folder : Path
        Of the shards.
    rule : Sharding
        By which readers look.

    Returns
    -------
    Inventory
    """
    strays = checksum = 0
    per_node = dict.fromkeys(rule.nodes, 0)
    for path in sorted(folder.glob("shard-*.sqlite")):
        node = int(path.stem.removeprefix("shard-"))
        with _opened(path) as connection:
            rows = connection.execute("SELECT key, payload FROM rows ORDER BY key").fetchall()
        places = rule.locate(np.array([key for key, _ in rows], np.int64))
        for (key, payload), place in zip(rows, places.tolist(), strict=True):
            if place != node:
                strays += 1
                continue
            per_node[node] += 1
            digest = hashlib.blake2b(key.to_bytes(KEY_BYTES, "big") + payload, digest_size=8).digest()
            checksum = (checksum + int.from_bytes(digest, "big")) % 2**64
    return Inventory(sum(per_node.values()), strays, checksum, per_node)


# --- the migration ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Migration:
    """What one run of :func:`migrate` did.

    Attributes
    ----------
    rows_copied, rows_deleted : int
        Rows written to their new node, and removed from the old.
    bytes_moved : int
        Keys and payloads of the rows copied.
    seconds : float
        Measured.
    """

    rows_copied: int
    rows_deleted: int
    bytes_moved: int
    seconds: float


def migrate(
    folder: Path,
    before: Sharding,
    after: Sharding,
    *,
    batch: int = 2_000,
    progress: Progress | None = None,
) -> Migration:
    """Bring every row to where `after` wants it: copy, switch, delete. Safe to run again after a crash.

    Parameters
    ----------
    folder : Path
        Of the shards.
    before, after : Sharding
        The rule until now, and from now on.
    batch : int
        Rows read at a time and written in one transaction a target, from 1 to 100,000.
    progress : callable, optional
        Called after each batch with ``"copy"`` or ``"delete"`` and its rows, and with ``"switch"``.

    Returns
    -------
    Migration
        Of this run; nothing is copied and deleted if there is nothing left to do.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or the shards are placed by neither rule.
    """
    size = checks.integer("batch", batch, 1, 100_000)
    tell = progress or (lambda phase, rows: None)
    begun = time.perf_counter()
    copied = moved = 0
    if rule_in_force(folder, before, after) is not after:
        for node in after.nodes:
            with _opened(shard_file(folder, node)) as target, target:
                _make_table(target)
        for node in before.nodes:
            for rows, octets in _copy_from(folder, node, before, after, size):
                copied, moved = copied + rows, moved + octets
                tell("copy", rows)
        # The one moment at which readers change over: a transaction in one file.
        with _opened(_routing(folder)) as connection, connection:
            connection.execute("UPDATE routing SET in_force = ?", (_fingerprint(after),))
        tell("switch", 0)
    deleted = 0
    for path in sorted(folder.glob("shard-*.sqlite")):
        node = int(path.stem.removeprefix("shard-"))
        for rows in _delete_strays(path, node, after, size):
            deleted += rows
            tell("delete", rows)
        if node not in after.nodes:
            path.unlink()
    return Migration(copied, deleted, moved, time.perf_counter() - begun)


def _batches(connection: sqlite3.Connection, columns: str, size: int) -> Iterator[list[tuple[int, bytes]]]:
    last = -1
    query = f"SELECT {columns} FROM rows WHERE key > ? ORDER BY key LIMIT ?"
    while rows := connection.execute(query, (last, size)).fetchall():
        yield rows
        last = rows[-1][0]


def _copy_from(
    folder: Path, node: int, before: Sharding, after: Sharding, size: int
) -> Iterator[tuple[int, int]]:
    with _opened(shard_file(folder, node)) as source:
        for rows in _batches(source, "key, payload", size):
            keys = np.array([key for key, _ in rows], np.int64)
            places = after.locate(keys)
            # A copy that came here in a run that died is not this node's to pass on.
            own = before.locate(keys) == node
            for target in np.unique(places[own & (places != node)]).tolist():
                going = [rows[i] for i in np.flatnonzero(own & (places == target)).tolist()]
                with _opened(shard_file(folder, target)) as connection, connection:
                    # Replace: until the switch, the old place has the truth.
                    connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", going)
                yield len(going), sum(KEY_BYTES + len(payload) for _, payload in going)


def _delete_strays(path: Path, node: int, after: Sharding, size: int) -> Iterator[int]:
    with _opened(path) as connection:
        for rows in _batches(connection, "key", size):
            keys = np.array([row[0] for row in rows], np.int64)
            strays = keys[after.locate(keys) != node].tolist()
            if strays:
                with connection:
                    connection.executemany("DELETE FROM rows WHERE key = ?", ((key,) for key in strays))
                yield len(strays)


@dataclass(frozen=True)
class Resharding:
    """A whole resharding, checked.

    Attributes
    ----------
    rows : int
        In all.
    migration : Migration
        What was copied, in which time.
    share_moved, least : float
        Rows copied over all rows, and the least any method needs to keep the load even.
    max_over_mean : float
        Rows of the fullest node over the average, after.
    nothing_lost : bool
        Every row is found exactly once, at its new place, with the same contents; nothing is left behind.
    """

    rows: int
    migration: Migration
    share_moved: float
    least: float
    max_over_mean: float
    nothing_lost: bool


def reshard(
    method: str,
    before: int,
    after: int,
    *,
    rows: int = 20_000,
    payload_bytes: int = 100,
    vnodes: int = 100,
    seed: int = 1,
) -> Resharding:
    """Create `before` SQLite files, move their rows to `after` files, and check that nothing is lost.

    Parameters
    ----------
    method : str
        One of :data:`course.sharding.METHODS`.
    before, after : int
        Nodes, from 1 to 64.
    rows : int
        From 1 to 1,000,000; 20,000 take about half a second.
    payload_bytes : int
        Of each row, from 1 to 10,000.
    vnodes : int
        For the ring.
    seed : int
        Of the payloads.

    Returns
    -------
    Resharding

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    count = checks.integer("rows", rows, 1, MAX_ROWS)
    old = sharding(method, checks.integer("before", before, 1, 64), vnodes=vnodes, keys=count)
    new = resize(old, checks.integer("after", after, 1, 64))
    with TemporaryDirectory() as name:
        folder = Path(name)
        create_shards(folder, old, count, payload_bytes=payload_bytes, seed=seed)
        start = inventory(folder, old)
        migration = migrate(folder, old, new)
        end = inventory(folder, new)
    return Resharding(
        count,
        migration,
        migration.rows_copied / count,
        least_moves(before, after),
        max(end.per_node.values()) * len(end.per_node) / count,
        (end.rows, end.strays, end.checksum) == (count, 0, start.checksum),
    )

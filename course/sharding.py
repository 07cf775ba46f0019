"""Sharding: which node holds which key, and what has to move when a node comes or goes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint32]
Nodes = NDArray[np.int32]

METHODS = ("modulo", "ring", "jump", "rendezvous", "Maglev", "hash slots", "range", "directory")

MAX_SEED = 2**63 - 1
MAX_KEYS = 10_000_000
MAX_KEY = 2**63 - 1
MAX_NODES = 1_000
MAX_NODE = 32_767
MAX_VNODES = 10_000
MAX_TOKENS = 1_000_000
SLOTS = 16_384
MAGLEV_SIZE = 65_537


# --- hashing ------------------------------------------------------------------------------------------------


def hash_keys(keys: ArrayLike, salt: int = 0) -> Hashes:
    """Hash whole numbers to 32 bits.

    Parameters
    ----------
    keys : array_like of int
        From 0 to 2⁶⁴ - 1.
    salt : int
        Another salt gives an independent hash; from 0 to 2⁶³ - 1.

    Returns
    -------
    ndarray of uint32
        The upper half of SplitMix64's mixer.
    """
    from course.kernels import sharding as kernels

    words = np.asarray(keys).astype(np.uint64)
    if salt:
        words = words ^ kernels.mix(np.array([checks.integer("salt", salt, 0, MAX_SEED)], np.uint64))
    return np.asarray((kernels.mix(words) >> np.uint64(32)).astype(np.uint32))


def ring_tokens(nodes: Sequence[int], vnodes: int) -> tuple[Hashes, Nodes]:
    """Place each node on the ring `vnodes` times.

    Parameters
    ----------
    nodes : sequence of int
        Numbers of 1 to 10,000 nodes, from 0 to 32,767.
    vnodes : int
        Tokens a node, from 1 to 10,000; a million tokens at most.

    Returns
    -------
    tokens : ndarray of uint32, shape (tokens,)
        Ascending.
    owners : ndarray of int32, shape (tokens,)
        Node of each token.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    vnodes = checks.integer("vnodes", vnodes, 1, MAX_VNODES)
    checks.integer("number of tokens", len(nodes) * vnodes, 1, MAX_TOKENS)
    names = np.asarray(nodes, np.uint64)
    places = (names[:, None] << np.uint64(32)) + np.arange(vnodes, dtype=np.uint64)
    tokens = hash_keys(places.ravel(), salt=2)
    order = np.argsort(tokens, kind="stable")
    return tokens[order], np.repeat(names, vnodes)[order].astype(np.int32)


# --- methods ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sharding(ABC):
    """A rule that says which node holds a key.

    Attributes
    ----------
    nodes : tuple of int
        The numbers of 1 to 1,000 different nodes, from 0 to 32,767.
    """

    nodes: tuple[int, ...]

    def __post_init__(self) -> None:
        checks.integer("number of nodes", len(self.nodes), 1, MAX_NODES)
        for node in self.nodes:
            checks.integer("nodes (one of them)", node, 0, MAX_NODE)
        if len(set(self.nodes)) < len(self.nodes):
            raise ValueError(f"nodes = {self.nodes!r:.60}: must all be different")

    @abstractmethod
    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key.

        Parameters
        ----------
        keys : array_like of int, shape (keys,)
            Up to 10 million, each from 0 to 2⁶³ - 1.
        """

    @abstractmethod
    def add(self, node: int) -> Sharding:
        """Return the same with one node more; ValueError if it is there already."""

    @abstractmethod
    def remove(self, node: int) -> Sharding:
        """Return the same with one node less; ValueError if it is not there, or the last one."""

    def _more(self, node: int) -> tuple[int, ...]:
        checks.integer("node", node, 0, MAX_NODE)
        if node in self.nodes:
            raise ValueError(f"node = {node}: must not be one of the nodes already")
        return (*self.nodes, node)

    def _fewer(self, node: int) -> tuple[int, ...]:
        if node not in self.nodes or len(self.nodes) == 1:
            raise ValueError(f"node = {node!r:.20}: must be one of the nodes, and not the only one")
        return tuple(one for one in self.nodes if one != node)

    @property
    def _names(self) -> Nodes:
        return np.array(self.nodes, np.int32)


@dataclass(frozen=True)
class Modulo(Sharding):
    """Hash modulo the number of nodes."""

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key."""
        return np.asarray(self._names[hash_keys(_keys(keys)) % np.uint32(len(self.nodes))])

    def add(self, node: int) -> Modulo:
        """Return the same with one node more, at the end."""
        return Modulo(self._more(node))

    def remove(self, node: int) -> Modulo:
        """Return the same with one node less; those behind it move up."""
        return Modulo(self._fewer(node))


@dataclass(frozen=True)
class Ring(Sharding):
    """Consistent hashing (Karger et al. 1997): a key belongs to the next token clockwise.

    Attributes
    ----------
    vnodes : int
        Tokens a node, from 1 to 10,000; a million tokens at most.
    tokens, owners : ndarray, shape (tokens,)
        Places of the tokens, from 0 to 2³² - 1 in ascending order, and their nodes.
    table : ndarray of int16, shape (65536,)
        Node of each equal arc of the ring, or -1 where a token splits it.
    """

    vnodes: int = 100
    tokens: Hashes = field(init=False, repr=False, compare=False)
    owners: Nodes = field(init=False, repr=False, compare=False)
    table: NDArray[np.int16] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from course.kernels import sharding as kernels

        super().__post_init__()
        tokens, owners = ring_tokens(self.nodes, self.vnodes)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "owners", owners)
        object.__setattr__(self, "table", kernels.bucket_table(tokens, owners))

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key."""
        from course.kernels import sharding as kernels

        given = _keys(keys)
        found = np.empty(given.size, np.int16)
        kernels.ring_of_keys(given, self.tokens, self.owners, self.table, found)
        return found.astype(np.int32)

    def add(self, node: int) -> Ring:
        """Return the same with one node more: each of its tokens takes over a part of an arc."""
        return Ring(self._more(node), self.vnodes)

    def remove(self, node: int) -> Ring:
        """Return the same with one node less: each of its arcs goes to the next token."""
        return Ring(self._fewer(node), self.vnodes)


@dataclass(frozen=True)
class Jump(Sharding):
    """Jump consistent hash (Lamping & Veach 2014): no memory at all, but nodes come and go at the end only."""

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key."""
        from course.kernels import sharding as kernels

        given = _keys(keys)
        places = np.empty(given.size, np.int32)
        kernels.jump(given, len(self.nodes), places)
        return np.asarray(self._names[places])

    def add(self, node: int) -> Jump:
        """Return the same with one node more, at the end."""
        return Jump(self._more(node))

    def remove(self, node: int) -> Jump:
        """Return the same without its last node; ValueError for any other."""
        if node != self.nodes[-1]:
            raise ValueError(
                f"node = {node!r:.20}: must be {self.nodes[-1]}, the last one, with jump hashing"
            )
        return Jump(self._fewer(node))


@dataclass(frozen=True)
class Rendezvous(Sharding):
    """Highest random weight (Thaler & Ravishankar 1998): every node has a score for every key."""

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key; takes a time in proportion to the number of nodes."""
        from course.kernels import sharding as kernels

        hashes = hash_keys(_keys(keys))
        places = np.empty(hashes.size, np.int32)
        kernels.rendezvous(hashes, hash_keys(self.nodes, salt=3), places)
        return np.asarray(self._names[places])

    def add(self, node: int) -> Rendezvous:
        """Return the same with one node more: it gets the keys that score highest for it."""
        return Rendezvous(self._more(node))

    def remove(self, node: int) -> Rendezvous:
        """Return the same with one node less: each of its keys goes to its second best."""
        return Rendezvous(self._fewer(node))


@dataclass(frozen=True)
class Maglev(Sharding):
    """Google's look-up table of 65,537 entries (Eisenbud et al. 2016).

    Attributes
    ----------
    table : ndarray of int32, shape (65537,)
        Place of the node of each entry; the nodes' entries differ by at most one in number.
    """

    table: Nodes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from course.kernels import sharding as kernels

        super().__post_init__()
        offsets = hash_keys(self.nodes, salt=4).astype(np.int64) % MAGLEV_SIZE
        skips = hash_keys(self.nodes, salt=5).astype(np.int64) % (MAGLEV_SIZE - 1) + 1
        object.__setattr__(self, "table", kernels.maglev(offsets, skips, MAGLEV_SIZE))

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key: one look into the table."""
        return np.asarray(self._names[self.table[hash_keys(_keys(keys)) % np.uint32(MAGLEV_SIZE)]])

    def add(self, node: int) -> Maglev:
        """Return the same with one node more; some keys move between old nodes too."""
        return Maglev(self._more(node))

    def remove(self, node: int) -> Maglev:
        """Return the same with one node less; some keys move between the others too."""
        return Maglev(self._fewer(node))


@dataclass(frozen=True)
class HashSlots(Sharding):
    """16,384 slots, each assigned to a node, as in Redis Cluster (which hashes by CRC-16).

    Attributes
    ----------
    slots : ndarray of int32, shape (16384,)
        Node of each slot. Left out: contiguous and even.
    """

    slots: Nodes = field(default_factory=lambda: np.empty(0, np.int32), repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slots.size == 0:
            object.__setattr__(self, "slots", self._names[np.arange(SLOTS) * len(self.nodes) // SLOTS])

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key: that of its slot."""
        return np.asarray(self.slots[hash_keys(_keys(keys)) % np.uint32(SLOTS)])

    def add(self, node: int) -> HashSlots:
        """Return the same with one node more, that takes its share of the slots from the fullest."""
        nodes = self._more(node)
        return HashSlots(nodes, _evened_out(self.slots, nodes))

    def remove(self, node: int) -> HashSlots:
        """Return the same with one node less, whose slots the emptiest get."""
        nodes = self._fewer(node)
        return HashSlots(nodes, _evened_out(self.slots, nodes))


@dataclass(frozen=True)
class Range(Sharding):
    """Contiguous ranges of keys, in the order of the keys themselves: the only one here that can scan a range.

    Attributes
    ----------
    keys : int
        Keys lie from 0 to this less one, from 1 to 2⁶³ - 1; keys above belong to the last range.
    starts : tuple of int
        First key of each range, ascending from 0, in the order of the nodes. Left out: even.
    """

    keys: int = MAX_KEYS
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("keys", self.keys, 1, MAX_KEY)
        if not self.starts:
            even = tuple(self.keys * i // len(self.nodes) for i in range(len(self.nodes)))
            object.__setattr__(self, "starts", even)

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key: of the last range that does not start after it."""
        found = np.searchsorted(np.array(self.starts, np.uint64), _keys(keys), side="right") - 1
        return np.asarray(self._names[found])

    def add(self, node: int) -> Range:
        """Return the same with the widest range cut in two; the new node gets the upper half."""
        self._more(node)
        ends = (*self.starts[1:], self.keys)
        i = max(range(len(ends)), key=lambda k: ends[k] - self.starts[k])
        middle = (self.starts[i] + ends[i]) // 2
        nodes = (*self.nodes[: i + 1], node, *self.nodes[i + 1 :])
        return Range(nodes, self.keys, (*self.starts[: i + 1], middle, *self.starts[i + 1 :]))

    def remove(self, node: int) -> Range:
        """Return the same with one node less; its range joins the one before it, or after it if it is the first."""
        nodes = self._fewer(node)
        i = self.nodes.index(node)
        left = self.starts[:i] + self.starts[i + 1 :]
        return Range(nodes, self.keys, (0, *left[1:]))


@dataclass(frozen=True)
class Directory(Sharding):
    """A table that says for every single key where it is: perfect balance, for one entry a key.

    Attributes
    ----------
    keys : int
        Keys are 0 to this less one; from 1 to 10 million.
    entries : ndarray of int32, shape (keys,)
        Node of each key. Left out: dealt out in turn.
    """

    keys: int = 1_000_000
    entries: Nodes = field(default_factory=lambda: np.empty(0, np.int32), repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("keys", self.keys, 1, MAX_KEYS)
        if self.entries.size == 0:
            object.__setattr__(self, "entries", self._names[np.arange(self.keys) % len(self.nodes)])

    def locate(self, keys: ArrayLike) -> Nodes:
        """Node of each key; ValueError for one that is not in the directory."""
        given = _keys(keys)
        if given.size:
            checks.integer("keys (the highest)", int(given.max()), 0, self.keys - 1)
        return np.asarray(self.entries[given])

    def add(self, node: int) -> Directory:
        """Return the same with one node more, that takes its share of the keys from the fullest."""
        nodes = self._more(node)
        return Directory(nodes, self.keys, _evened_out(self.entries, nodes))

    def remove(self, node: int) -> Directory:
        """Return the same with one node less, whose keys the emptiest get."""
        nodes = self._fewer(node)
        return Directory(nodes, self.keys, _evened_out(self.entries, nodes))


def sharding(
    method: str, nodes: int | Sequence[int], *, vnodes: int = 100, keys: int = 1_000_000
) -> Sharding:
    """Make a sharding by its name.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`.
    nodes : int or sequence of int
        How many, or their numbers; 1 to 1,000.
    vnodes : int
        For the ring.
    keys : int
        Keys lie from 0 to this less one; only range and directory need it.

    Returns
    -------
    Sharding
        Of the class of that name.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("method", method, METHODS)
    names = (
        tuple(nodes)
        if isinstance(nodes, Sequence)
        else tuple(range(checks.integer("nodes", nodes, 1, MAX_NODES)))
    )
    if method == "ring":
        return Ring(names, vnodes)
    if method == "range":
        return Range(names, keys)
    if method == "directory":
        return Directory(names, keys)
    kinds: dict[str, type[Sharding]] = {
        "modulo": Modulo,
        "jump": Jump,
        "rendezvous": Rendezvous,
        "Maglev": Maglev,
        "hash slots": HashSlots,
    }
    return kinds[method](names)


def _keys(keys: ArrayLike) -> NDArray[np.uint64]:
    given = np.asarray(keys)
    if (
        given.ndim != 1
        or given.size > MAX_KEYS
        or not (np.issubdtype(given.dtype, np.integer) or given.size == 0)
    ):
        raise ValueError(
            f"keys of shape {given.shape} and type {given.dtype}: must be one row of at most {MAX_KEYS:,} whole numbers"
        )
    if given.size and np.issubdtype(given.dtype, np.signedinteger):
        checks.integer("keys (the lowest)", int(given.min()), 0, MAX_KEY)
    return np.ascontiguousarray(given, np.uint64)


def _evened_out(owners: Nodes, nodes: tuple[int, ...]) -> Nodes:
    """Give every node its equal part of the entries, moving as few as can be."""
    counts = np.bincount(owners, minlength=max(nodes) + 1)
    names = np.array(nodes)
    # The parts differ by one if there is a remainder: let the fullest keep it.
    fullest = names[np.argsort(-counts[names], kind="stable")]
    quota = np.zeros(counts.size, np.int64)
    quota[fullest] = owners.size // names.size
    quota[fullest[: owners.size % names.size]] += 1
    order = np.argsort(owners, kind="stable")
    rank = np.empty(owners.size, np.int64)
    rank[order] = np.arange(owners.size) - np.repeat(np.cumsum(counts) - counts, counts)
    result = owners.copy()
    missing = np.maximum(quota - counts, 0)
    result[rank >= quota[owners]] = np.repeat(np.arange(counts.size), missing)
    return result


# --- what moves, and how even it is -------------------------------------------------------------------------


@dataclass(frozen=True)
class Moves:
    """What had to be copied.

    Attributes
    ----------
    keys : int
        How many there are.
    moved : int
        How many are on another node than before.
    needless : int
        How many of those moved between two nodes that were there before and after.
    """

    keys: int
    moved: int
    needless: int

    @property
    def share(self) -> float:
        """Moved keys over all keys."""
        return self.moved / self.keys


def moves(before: Sharding, after: Sharding, keys: ArrayLike) -> Moves:
    """Count the keys that are on another node after a change.

    Parameters
    ----------
    before, after : Sharding
        The rule before and after.
    keys : array_like of int
        From 1 to 10 million keys.

    Returns
    -------
    Moves
        The counts.

    Raises
    ------
    ValueError
        If there are no keys, or they are not keys.
    """
    old, new = before.locate(keys), after.locate(keys)
    checks.integer("number of keys", old.size, 1, MAX_KEYS)
    stay = tuple(set(before.nodes) & set(after.nodes))
    moved = old != new
    needless = moved & np.isin(old, stay) & np.isin(new, stay)
    return Moves(old.size, int(np.count_nonzero(moved)), int(np.count_nonzero(needless)))


def expected_moves(method: str, nodes: int, change: str) -> float:
    """Share of keys that one node more or less moves, in expectation over hash functions.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`.
    nodes : int
        Before the change, from 1 to 1,000; from 2 to remove one.
    change : str
        ``"add"`` or ``"remove"``.

    Returns
    -------
    float
        With N nodes before: 1/(N + 1) or 1/N, the least that keeps the load even. Modulo keeps a key only if both
        remainders agree, and moves N/(N + 1) or (N - 1)/N. A range cut in two moves 1/(2N). Maglev moves a few percent
        more than this says.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("method", method, METHODS)
    checks.option("change", change, ("add", "remove"))
    n = checks.integer("nodes", nodes, 1 if change == "add" else 2, MAX_NODES)
    larger = n + 1 if change == "add" else n
    if method == "modulo":
        return 1 - 1 / larger
    if method == "range" and change == "add":
        return 1 / (2 * n)
    return 1 / larger


@dataclass(frozen=True)
class Load:
    """How much each node has to do.

    Attributes
    ----------
    nodes : tuple of int
        Which.
    share : ndarray of float64, shape (nodes,)
        Of all keys, or of all requests if the keys have weights.
    """

    nodes: tuple[int, ...]
    share: Floats

    @property
    def cv(self) -> float:
        """Coefficient of variation: standard deviation over mean."""
        return float(self.share.std() / self.share.mean())

    @property
    def max_over_mean(self) -> float:
        """How much more the busiest node has than the average."""
        return float(self.share.max() / self.share.mean())


def load(rule: Sharding, keys: ArrayLike, weights: ArrayLike | None = None) -> Load:
    """Share of each node.

    Parameters
    ----------
    rule : Sharding
        Who holds what.
    keys : array_like of int, shape (keys,)
        From 1 to 10 million keys.
    weights : array_like, shape (keys,), optional
        Requests for each key, at least 0 and not all 0: hot keys make hot nodes. All equal, if left out.

    Returns
    -------
    Load
        In the order of the rule's nodes.

    Raises
    ------
    ValueError
        If keys or weights are not what they should be.
    """
    found = rule.locate(keys)
    checks.integer("number of keys", found.size, 1, MAX_KEYS)
    each = None if weights is None else np.asarray(weights, np.float64)
    if each is not None and (
        each.shape != found.shape or not (each >= 0).all() or not 0 < each.sum() < math.inf
    ):
        raise ValueError(
            f"weights of shape {each.shape}: must be {found.size} numbers of at least 0, not all 0"
        )
    held = np.bincount(found, each, max(rule.nodes) + 1)[list(rule.nodes)]
    return Load(rule.nodes, np.asarray(held / held.sum()))


def expected_cv(nodes: int, vnodes: int | None = None, keys: int | None = None) -> float:
    """Coefficient of variation of the nodes' shares, as root of its mean square over hash functions.

    Parameters
    ----------
    nodes : int
        From 1 to 1,000.
    vnodes : int, optional
        Tokens a node on a ring, from 1 to 10,000. Left out: a method that gives every node the same chance.
    keys : int, optional
        From 1 to 10 million. Left out: as many as one likes.

    Returns
    -------
    float
        Tokens cut the ring like uniform spacings, so a node's part is Beta(V, (N - 1)V) and its squared CV is
        (N - 1) / (NV + 1), about 1/V; K keys thrown on parts p add (1 - Σ p²) N / K.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    n = checks.integer("nodes", nodes, 1, MAX_NODES)
    uneven = 0.0 if vnodes is None else (n - 1) / (n * checks.integer("vnodes", vnodes, 1, MAX_VNODES) + 1)
    # The mean of Σ p² is (1 + uneven) / N.
    thrown = 0.0 if keys is None else (n - 1 - uneven) / checks.integer("keys", keys, 1, MAX_KEYS)
    return math.sqrt(uneven + thrown)


# --- how uneven a ring is -----------------------------------------------------------------------------------


def expected_max_over_mean(nodes: int, vnodes: int) -> float:
    """How much more the busiest node of a ring has than the average, in expectation over hash functions.

    Parameters
    ----------
    nodes : int
        From 1 to 1,000.
    vnodes : int
        Tokens a node, from 1 to 10,000.

    Returns
    -------
    float
        With one token each it is 1 + 1/2 + … + 1/N.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Parts of a ring are V spacings each, so together Dirichlet: Gamma(V) variables over their sum, which is independent
    of them (Lukacs 1955). The mean of the largest part is thus the mean of the largest of N such variables over
    N·V; and that mean is the integral of 1 - F(x)ᴺ.
    """
    n = checks.integer("nodes", nodes, 1, MAX_NODES)
    v = checks.integer("vnodes", vnodes, 1, MAX_VNODES)
    end = v + 12 * math.sqrt(v) + 60
    x = np.linspace(0, end, _GRID)
    below = _cumulated(x, (v - 1) * _log(x) - x)
    return float(np.trapezoid(1 - below**n, x)) / v


def ring_share_percentile(nodes: int, vnodes: int, percent: float) -> float:
    """Share of the ring that one node does not exceed with so many percent of all hash functions.

    Parameters
    ----------
    nodes : int
        With that one, from 2 to 1,000.
    vnodes : int
        Tokens a node, from 1 to 10,000.
    percent : float
        From 0 to 100.

    Returns
    -------
    float
        Percentile of Beta(V, (N - 1)V): tokens cut the ring like uniform spacings. It is also the share of keys that move
        when the node joins or leaves.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    n = checks.integer("nodes", nodes, 2, MAX_NODES)
    v = checks.integer("vnodes", vnodes, 1, MAX_VNODES)
    wanted = checks.number("percent", percent, 0, 100) / 100
    # Nothing of it is left 12 standard deviations, or 40 means of an exponential, above the mean.
    end = min(1.0, (1 + 12 / math.sqrt(v) + 40 / v) / n)
    x = np.linspace(0, end, _GRID)
    below = _cumulated(x, (v - 1) * _log(x) + ((n - 1) * v - 1) * _log(1 - x))
    return float(np.interp(wanted, below, x))


_GRID = 20_001


def _log(x: Floats) -> Floats:
    """Logarithm, with one for 0 that stays finite when it is multiplied by 0."""
    return np.asarray(np.log(np.maximum(x, 1e-300)))


def _cumulated(x: Floats, log_density: Floats) -> Floats:
    """Distribution function on a grid, from a density up to its constant (trapezoids)."""
    density = np.exp(log_density - log_density.max())
    steps = (density[1:] + density[:-1]) / 2 * np.diff(x)
    below = np.concatenate(([0.0], np.cumsum(steps)))
    return np.asarray(below / below[-1])

"""Loops of :mod:`course.sharding`: hashing, and one look-up a method for a million keys at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import inlined, kernel

Keys = NDArray[np.uint64]
Tokens = NDArray[np.uint32]
Nodes = NDArray[np.int32]
Table = NDArray[np.int16]

BUCKETS = 1 << 16
SEVERAL = -1  # in a bucket of the table: a token lies within, so look closer

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32, _33 = (np.uint64(bits) for bits in (30, 27, 31, 32, 33))
_48 = np.uint64(48)
_ONE = np.uint64(1)
_JUMP = np.uint64(2862933555777941757)


def mix(keys: Keys) -> Keys:
    """Hash 64-bit numbers so that each bit of a key changes half of the bits (SplitMix64, Steele et al. 2014).

    Parameters
    ----------
    keys : ndarray of uint64
        Any numbers.

    Returns
    -------
    ndarray of uint64
        Different for different keys.
    """
    x = keys + _GOLDEN
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return np.asarray(x ^ (x >> _31))


@inlined
def _mix(key: np.uint64) -> np.uint64:
    x = key + _GOLDEN
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


# --- ring ---------------------------------------------------------------------------------------------------


def bucket_table(tokens: Tokens, owners: Nodes) -> Table:
    """Owner of each of 2¹⁶ equal arcs of the ring, or ``SEVERAL`` if a token splits the arc.

    Parameters
    ----------
    tokens : ndarray of uint32, shape (tokens,)
        In ascending order.
    owners : ndarray of int32, shape (tokens,)
        Node of each token, below 32,768.
    """
    starts = np.arange(BUCKETS, dtype=np.uint64) << np.uint64(16)
    first = np.searchsorted(tokens, starts.astype(np.uint32))
    last = np.searchsorted(tokens, (starts + np.uint64(0xFFFF)).astype(np.uint32))
    return np.where(first == last, owners[first % owners.size], SEVERAL).astype(np.int16)


def _ring_example() -> tuple[Any, ...]:
    tokens, owners = np.arange(2, dtype=np.uint32), np.arange(2, dtype=np.int32)
    return np.arange(3, dtype=np.uint32), tokens, owners, bucket_table(tokens, owners), np.empty(3, np.int16)


def _ring_plain(
    hashes: Tokens, tokens: Tokens, owners: Nodes, table: Table, nodes: NDArray[np.int16]
) -> None:
    nodes[:] = owners[np.searchsorted(tokens, hashes) % tokens.size]


@kernel(_ring_example, twin=_ring_plain)
def ring(hashes: Tokens, tokens: Tokens, owners: Nodes, table: Table, nodes: NDArray[np.int16]) -> None:
    """Find the owner of the first token at or after each hash: one look into the table, seldom a search."""
    for j in range(hashes.size):
        hashed = hashes[j]
        owner = table[hashed >> np.uint32(16)]
        if owner == SEVERAL:
            token = np.searchsorted(tokens, hashed)
            owner = owners[token if token < tokens.size else 0]
        nodes[j] = owner


ring_plain = _ring_plain


def _hashed_ring_example() -> tuple[Any, ...]:
    return (np.arange(3, dtype=np.uint64), *_ring_example()[1:])


def _ring_of_keys_plain(
    keys: Keys, tokens: Tokens, owners: Nodes, table: Table, nodes: NDArray[np.int16]
) -> None:
    _ring_plain((mix(keys) >> _32).astype(np.uint32), tokens, owners, table, nodes)


@kernel(_hashed_ring_example, twin=_ring_of_keys_plain)
def ring_of_keys(keys: Keys, tokens: Tokens, owners: Nodes, table: Table, nodes: NDArray[np.int16]) -> None:
    """Hash each key and find its owner on the ring."""
    for j in range(keys.size):
        hashed = _mix(keys[j]) >> _32
        owner = table[hashed >> np.uint64(16)]
        if owner == SEVERAL:
            token = np.searchsorted(tokens, np.uint32(hashed))
            owner = owners[token if token < tokens.size else 0]
        nodes[j] = owner


ring_of_keys_plain = _ring_of_keys_plain


# --- the other methods --------------------------------------------------------------------------------------


def _jump_example() -> tuple[Any, ...]:
    return np.arange(3, dtype=np.uint64), 3, np.empty(3, np.int32)


def _jump_plain(keys: Keys, nodes: int, places: Nodes) -> None:
    for j, key in enumerate(mix(keys).tolist()):
        place, following = -1, 0
        while following < nodes:
            place = following
            key = (key * 2862933555777941757 + 1) % 2**64
            following = int((place + 1) * (2.0**31 / ((key >> 33) + 1)))
        places[j] = place


@kernel(_jump_example, twin=_jump_plain)
def jump(keys: Keys, nodes: int, places: Nodes) -> None:
    """Place of each key among `nodes` numbered ones (jump consistent hash, Lamping & Veach 2014)."""
    for j in range(keys.size):
        key = _mix(keys[j])
        place = np.int64(-1)
        following = np.int64(0)
        while following < nodes:
            place = following
            key = key * _JUMP + _ONE
            following = np.int64((place + 1) * (2147483648.0 / np.float64((key >> _33) + _ONE)))
        places[j] = place


jump_plain = _jump_plain

_BLOCK = 4096
_M1, _M2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_13, _16 = np.uint32(13), np.uint32(16)


def _scores(hashes: Tokens, seed: np.uint32) -> Tokens:
    """Score of each key for one node: MurmurHash3's finaliser."""
    x = hashes ^ seed
    x = (x ^ (x >> _16)) * _M1
    x = (x ^ (x >> _13)) * _M2
    return np.asarray(x ^ (x >> _16))


def _rendezvous_example() -> tuple[Any, ...]:
    return np.arange(3, dtype=np.uint32), np.arange(2, dtype=np.uint32), np.empty(3, np.int32)


def _rendezvous_plain(hashes: Tokens, seeds: Tokens, places: Nodes) -> None:
    places[:] = np.argmax([_scores(hashes, seed) for seed in seeds], axis=0)


@kernel(_rendezvous_example, twin=_rendezvous_plain)
def rendezvous(hashes: Tokens, seeds: Tokens, places: Nodes) -> None:
    """Place of each key: the node for which it scores highest (Thaler & Ravishankar 1998)."""
    best = np.empty(_BLOCK, np.uint32)
    for begin in range(0, hashes.size, _BLOCK):
        # Node by node over a block of keys that stays in the cache, so that the compiler takes several keys at once.
        size = min(_BLOCK, hashes.size - begin)
        for node in range(seeds.size):
            seed = seeds[node]
            for j in range(size):
                x = hashes[begin + j] ^ seed
                x = np.uint32((x ^ (x >> _16)) * _M1)
                x = np.uint32((x ^ (x >> _13)) * _M2)
                x = x ^ (x >> _16)
                higher = node == 0 or x > best[j]
                best[j] = x if higher else best[j]
                places[begin + j] = node if higher else places[begin + j]


rendezvous_plain = _rendezvous_plain


def _maglev_example() -> tuple[Any, ...]:
    return np.array([0, 2]), np.array([1, 3]), 5


@kernel(_maglev_example)
def maglev(offsets: NDArray[np.int64], skips: NDArray[np.int64], size: int) -> Nodes:
    """Fill the look-up table: node by node takes the next free entry of its own permutation (Eisenbud et al. 2016).

    Parameters
    ----------
    offsets, skips : ndarray of int64, shape (nodes,)
        Entry k of a node's permutation is (offset + k · skip) mod `size`; skips from 1 to size - 1.
    size : int
        A prime number.
    """
    table = np.full(size, -1, np.int32)
    place = offsets.copy()
    filled = 0
    while filled < size:
        for node in range(offsets.size):
            while table[place[node]] >= 0:
                place[node] = (place[node] + skips[node]) % size
            table[place[node]] = node
            filled += 1
            if filled == size:
                break
    return table

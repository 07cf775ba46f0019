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

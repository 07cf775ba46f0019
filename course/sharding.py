"""Sharding: which node holds which key, and what has to move when a node comes or goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks

Hashes = NDArray[np.uint32]
Nodes = NDArray[np.int32]

MAX_SEED = 2**63 - 1
MAX_NODES = 10_000
MAX_VNODES = 10_000
MAX_TOKENS = 1_000_000


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

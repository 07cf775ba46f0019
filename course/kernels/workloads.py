"""Loops of :mod:`course.workloads`: Walker's alias method draws from any finite distribution in O(1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import kernel

Floats = NDArray[np.float64]
Keys = NDArray[np.int32]


def _table_example() -> tuple[Any, ...]:
    return (np.array([0.5, 0.25, 0.25]),)


def _draw_example() -> tuple[Any, ...]:
    return (np.ones(3), np.zeros(3, np.int32), 4, np.random.default_rng(1))


@kernel(_table_example)
def alias_table(probabilities: Floats) -> tuple[Floats, Keys]:
    """Build the table: column i keeps its own item below ``threshold[i]`` and gives ``alias[i]`` above it.

    Source: Vose 1991, A linear algorithm for generating random numbers with a given distribution.
    """
    items = probabilities.size
    threshold = probabilities * items
    alias = np.arange(items).astype(np.int32)
    poor = np.empty(items, np.int32)
    rich = np.empty(items, np.int32)
    poor_count = rich_count = 0
    for item in range(items):
        if threshold[item] < 1.0:
            poor[poor_count] = item
            poor_count += 1
        else:
            rich[rich_count] = item
            rich_count += 1
    while poor_count > 0 and rich_count > 0:
        poor_count -= 1
        short, donor = poor[poor_count], rich[rich_count - 1]
        alias[short] = donor
        threshold[donor] -= 1.0 - threshold[short]
        if threshold[donor] < 1.0:
            rich_count -= 1
            poor[poor_count] = donor
            poor_count += 1
    # Rounding can leave columns that are full but for an ulp.
    for left in range(poor_count):
        threshold[poor[left]] = 1.0
    for left in range(rich_count):
        threshold[rich[left]] = 1.0
    return threshold, alias


def _draw_plain(threshold: Floats, alias: Keys, requests: int, rng: np.random.Generator) -> Keys:
    position = rng.random(requests) * threshold.size
    column = position.astype(np.int32)
    return np.where(position - column < threshold[column], column, alias[column]).astype(np.int32)


@kernel(_draw_example, twin=_draw_plain)
def draw(threshold: Floats, alias: Keys, requests: int, rng: np.random.Generator) -> Keys:
    """Draw `requests` ids; one uniform number chooses both the column and the side of its threshold."""
    keys = np.empty(requests, np.int32)
    items = threshold.size
    for i in range(requests):
        position = rng.random() * items
        column = np.uint32(position)
        keys[i] = column if position - column < threshold[column] else alias[column]
    return keys


draw_plain = _draw_plain

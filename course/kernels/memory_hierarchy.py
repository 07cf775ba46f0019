"""Loop of :mod:`course.memory_hierarchy`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.kernels import kernel


def _example() -> tuple[Any, ...]:
    return np.zeros(8, np.int64), 0, 8


@kernel(_example)
def chase(following: NDArray[np.int64], start: int, steps: int) -> int:
    """Follow the links `steps` times. Each load needs the one before: nothing can be fetched ahead."""
    at = start
    for _ in range(steps):
        at = following[at]
    return at

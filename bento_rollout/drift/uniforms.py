"""Random numbers that depend on their place alone: a replay, a restart and another split draw the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["uniforms"]

_WORDS = 4
"""Numbers that Philox draws for one value of its counter."""

_SEED_BITS = 64


def uniforms(seed: int, first_row: int, rows: int, lanes: int, epoch: int = 0) -> NDArray[np.float64]:
    """Return a number of [0, 1) for each of some rows and lanes.

    Philox is keyed with the seed and the epoch and counts rows and lanes (Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", SC 2011), so that a number is a function of its place.

    Args:
        seed: of the test, from 0 to 2**64 - 1.
        first_row: the number of the first row, counted from 0.
        rows: how many rows.
        lanes: how many numbers each row needs; another number of lanes draws others.
        epoch: how often the test began anew, from 0: each epoch draws its own.

    >>> whole = uniforms(seed=7, first_row=0, rows=5, lanes=3)
    >>> bool((uniforms(seed=7, first_row=2, rows=3, lanes=3) == whole[2:]).all())
    True
    """
    blocks = -(-lanes // _WORDS)
    key = np.array([seed % 2**_SEED_BITS, epoch], dtype=np.uint64)
    counter = np.array([first_row * blocks, 0, 0, 0], dtype=np.uint64)
    raw = np.random.Philox(counter=counter, key=key).random_raw(rows * blocks * _WORDS)
    words = np.asarray(raw, dtype=np.uint64).reshape(rows, blocks * _WORDS)[:, :lanes]
    return np.asarray((words >> np.uint64(11)) * 2.0**-53, dtype=np.float64)

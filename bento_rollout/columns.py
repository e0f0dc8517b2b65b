"""Calls as columns of numbers: grouped by key, and counted by bin; pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arms import KeySums
from .histogram import ABOVE, LEAST, STEP

__all__ = ["Flags", "Floats", "Groups", "Ints", "bins_of_logs", "counted", "firsts_of", "key_sums"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Groups:
    """Calls by key, in the order in which they came.

    Args:
        keys: whose each call is.

    Attributes:
        keys: the different ones.
        first: where each one's first call is.
        counts: how many each has.
    """

    def __init__(self, keys: NDArray[Any]) -> None:
        self.keys, self.first, self._inverse, self.counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )

    def sums(self, flags: Flags) -> Ints:
        """Return how many of each key's calls are flagged."""
        sums: Ints = np.bincount(self._inverse, weights=flags, minlength=self.keys.size).astype(np.int64)
        return sums


def key_sums(hashes: NDArray[np.uint64], failed: Flags, bins: Ints, times: Floats) -> dict[int, KeySums]:
    """Return what each key did."""
    group = Groups(hashes)
    rows = zip(
        group.keys.tolist(),
        group.counts.tolist(),
        group.sums(failed).tolist(),
        failed[group.first].tolist(),
        bins[group.first].tolist(),
        times[group.first].tolist(),
        strict=True,
    )
    return {key: KeySums(*sums) for key, *sums in rows}


def firsts_of(
    hashes: NDArray[np.uint64], values: NDArray[Any], times: Floats
) -> dict[int, tuple[Any, float]]:
    """Return by key what its first call was, and when."""
    group = Groups(hashes)
    firsts = zip(values[group.first].tolist(), times[group.first].tolist(), strict=True)
    return dict(zip(group.keys.tolist(), firsts, strict=True))


def counted(bins: Ints) -> dict[int, int]:
    """Return how many fell into each bin."""
    found, counts = np.unique(bins, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def bins_of_logs(logs: Floats) -> Ints:
    """Return the bins of durations, from their natural logarithms in seconds; see `histogram.bin_of`.

    >>> bins_of_logs(np.log([0.001, 1e9])).tolist()
    [349, 1048]
    """
    places = np.floor((logs - np.log(LEAST)) / np.log(STEP)) + 1
    bins: Ints = np.clip(places, 0, ABOVE).astype(np.int64)
    return bins

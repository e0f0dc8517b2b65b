"""How large a change is: certainty grows with every row, the size does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["psi"]


def psi(reference_counts: NDArray[np.integer], counts: NDArray[np.integer]) -> float:
    """Return the population stability index of two histograms, corrected for chance and never below 0.

    ``sum (q - p) ln(q / p)``, less its mean where nothing changed, ``(B - 1)(1/n + 1/N)`` (Yurdakul,
    "Statistical properties of the population stability index", 2018). By custom 0.1 is worth a look, and
    0.25 is much.

    Args:
        reference_counts: how many values of the reference lie in each bin.
        counts: how many of the rows.

    >>> half = np.array([500, 500])
    >>> psi(half, np.array([250, 250])), round(psi(half, np.array([150, 350])), 2)
    (0.0, 0.17)
    """
    used = (reference_counts + counts) > 0
    before, after = reference_counts[used].astype(float), counts[used].astype(float)
    if not before.sum() or not after.sum():
        return 0.0
    p = (before + 0.5) / (before.sum() + len(before) / 2)
    q = (after + 0.5) / (after.sum() + len(after) / 2)
    chance = (len(before) - 1) * (1.0 / before.sum() + 1.0 / after.sum())
    return max(0.0, float(np.sum((q - p) * np.log(q / p)) - chance))

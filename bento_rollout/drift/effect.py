"""How large a change is: certainty grows with every row, the size does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["expected", "psi"]


def expected(
    base: NDArray[np.int64], strata: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the histogram that rows are compared with, and which of them can be.

    Rows of an hour are to be compared with those of that hour: with strata the reference is weighted as these
    rows are, and counts as so many values as its mean over strata is worth. A row of a stratum without a
    reference cannot be compared.

    Args:
        base: strata x bins: how many values of the reference lie where.
        strata: the stratum of each row.

    >>> base = np.array([[90, 10], [10, 90]])
    >>> expected(base, np.array([0, 0]))[0].tolist(), expected(base, np.array([0, 1]))[0].tolist()
    ([90.0, 10.0], [100.0, 100.0])
    """
    known = base.sum(axis=1)
    usable = strata < len(base)
    usable &= known[np.where(usable, strata, 0)] > 0
    part = np.bincount(strata[usable], minlength=len(base))[: len(base)] / max(1, int(usable.sum()))
    if len(base) == 1 or not usable.any():
        return base.sum(axis=0).astype(float), usable
    there = part > 0
    part, own = part[there], known[there]
    worth = 1.0 / float((part**2 / own).sum())
    return np.asarray(((part / own)[:, None] * base[there]).sum(axis=0) * worth), usable


def psi(reference_counts: NDArray[np.integer] | NDArray[np.floating], counts: NDArray[np.integer]) -> float:
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

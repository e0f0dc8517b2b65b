"""Conformal p-values of binned rows: each is ranked among the reference and all rows so far, itself included.

Never against a frozen reference: its own chance is the same for all rows to come, and would add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue

__all__ = ["conformal_p", "counts_of", "strata_of"]

_ROWS = 64
"""Rows that are compared with each other at once."""

_MOST_STRATA = 1000
"""Each has counts of its own."""

_PAIRS = 2**22
"""Comparisons at once, at most: they are made in memory."""


def counts_of(bins: NDArray[np.uint8], parts: NDArray[np.intp], most: int, size: int) -> NDArray[np.int64]:
    """Return parts x lanes x bins: how many rows lie where.

    Args:
        bins: rows x lanes.
        parts: the part of each row, from 0.
        most: how many parts there are.
        size: how many bins a lane has, at most.

    >>> counts_of(np.array([[0], [1], [1]], dtype=np.uint8), np.array([0, 0, 1]), 2, 2).tolist()
    [[[1, 1]], [[0, 1]]]
    """
    counts = np.zeros((most, bins.shape[1], size), dtype=np.int64)
    np.add.at(counts, (parts[:, None], np.arange(bins.shape[1]), bins), 1)
    return counts


def conformal_p(
    counts: NDArray[np.int64],
    bins: NDArray[np.uint8],
    u: NDArray[np.float64],
    strata: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the p-values of rows, and the counts with these rows in them.

    ``p = (N(bins above) + U N(same bin)) / N``, counted over the reference and all rows up to this one. While
    the rows are exchangeable with the reference, these are independent and uniform, whatever the distribution
    (Vovk, Nouretdinov, Gammerman: arXiv 2006.02329). Near 0 means a high value.

    Args:
        counts: lanes x bins, or strata x lanes x bins: how many rows lay where.
        bins: rows x lanes, the bin of each value.
        u: rows x lanes, numbers of [0, 1) that break ties.
        strata: the stratum of each row, from 0; a row is ranked among those of its own.

    >>> counts = np.array([[50, 50]])
    >>> p, after = conformal_p(counts, np.array([[1], [0]], dtype=np.uint8), np.array([[0.5], [0.5]]))
    >>> p.ravel().round(3).tolist(), after.tolist()
    ([0.252, 0.75], [[51, 51]])
    """
    stratified = counts if counts.ndim == 3 else counts[None]  # noqa: PLR2004 - strata x lanes x bins
    stratified = stratified.copy()
    of = np.zeros(len(bins), dtype=np.intp) if strata is None else np.asarray(strata, dtype=np.intp)
    if len(bins) == 1:
        p = _alone(stratified[of[0]], bins[0], u[0])[None]
        return p, stratified if counts.ndim == stratified.ndim else stratified[0]
    p = np.empty(bins.shape, dtype=np.float64)
    step = max(1, min(_ROWS, int((_PAIRS // max(1, bins.shape[1])) ** 0.5)))
    for start in range(0, len(bins), step):
        part = slice(start, start + step)
        p[part] = _ranked(stratified, bins[part], u[part], of[part])
    return p, stratified if counts.ndim == stratified.ndim else stratified[0]


def strata_of(strata: NDArray[np.integer], rows: int) -> NDArray[np.intp]:
    """Return the stratum of each row, or raise `InvalidValue`: whole numbers from 0, one a row.

    >>> strata_of(np.array([0, 167]), 2).tolist()
    [0, 167]
    """
    of = np.asarray(strata)
    whole = of.shape == (rows,) and of.dtype.kind in "iu"
    if not whole or (rows and not 0 <= of.min() <= of.max() < _MOST_STRATA):
        raise InvalidValue(
            f"strata are {rows} whole numbers from 0 to {_MOST_STRATA - 1}, one a row;"
            f" these are {of.dtype} of shape {of.shape}"
        )
    return of.astype(np.intp)


def _alone(counts: NDArray[np.int64], bins: NDArray[np.uint8], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the p-values of one row, and count it in place: as `_ranked`, in a quarter of the time."""
    lane = np.arange(len(bins))
    counts[lane, bins] += 1
    up_to = counts.cumsum(axis=1)
    total = up_to[:, -1]
    return np.asarray((total - up_to[lane, bins] + u * counts[lane, bins]) / total, dtype=np.float64)


def _ranked(
    counts: NDArray[np.int64], bins: NDArray[np.uint8], u: NDArray[np.float64], of: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the p-values of a few rows, and count them in place."""
    rows, lanes = bins.shape
    lane = np.arange(lanes)
    totals = counts.sum(axis=2)
    above = totals[:, :, None] - np.cumsum(counts, axis=2)
    earlier = (np.tri(rows, dtype=bool) & (of[:, None] == of[None, :]))[:, :, None]
    higher = (earlier & (bins[None] > bins[:, None])).sum(axis=1, dtype=np.uint8)
    same = (earlier & (bins[None] == bins[:, None])).sum(axis=1, dtype=np.uint8)
    place = (of[:, None], lane[None], bins)
    total = totals[of] + earlier.sum(axis=1)
    p = (above[place] + higher + u * (counts[place] + same)) / total
    np.add.at(counts, place, 1)
    return np.asarray(p, dtype=np.float64)

"""In which order features are named: what is certain, then what moved with it, then all others."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .counts import counts_of
from .engine import DATA_BETS

__all__ = ["evidence_of", "order_of"]

_HINT = math.log(0.5)
"""What must speak for a feature beside one that is certain. Where one feature moved, another one passes it by
chance in 3 % of cases; where three of 30 moved, 90 % of alarms name just these three first. At 1 these would
be 0 to 2 % and 86 %, at a quarter 8 % and 94 %."""


def order_of(logs: NDArray[np.float64], beside: NDArray[np.float64], enough: float) -> NDArray[np.intp]:
    """Return the places of features in the order in which they are named.

    Those that are certain by themselves come first, most evidence first; then those for which the rows since
    the first one's change speak (`beside` above ln 1/2), most of this first; then the others, most evidence
    first. While none is certain nobody knows when anything began, and all are ordered by evidence.

    Args:
        logs: the log of each feature's weighted e-value.
        beside: the log of what the rows since the first one's change say of each, weighted (`evidence_of`).
        enough: the log of the e-value that is an alarm.

    >>> order_of(np.array([-2.0, -3.0, 9.0, -4.0]), np.array([-1.0, 2.0, 8.0, 3.0]), enough=4.6).tolist()
    [2, 3, 1, 0]
    """
    certain = logs >= enough
    with_it = ~certain & (beside > _HINT) & certain.any()
    group = np.where(certain, 0, np.where(with_it, 1, 2))
    return np.lexsort((-np.where(with_it, beside, logs), group))


def evidence_of(
    counts: NDArray[np.int64],
    bins: NDArray[np.uint8],
    strata: NDArray[np.integer],
    single: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the log of what the bets on each feature win on some rows, the last ones, on average.

    The bets are those of the test; each value is ranked among all that came before these rows, in the middle
    of its bin. The rows are chosen by what is known of them, so it promises nothing: it compares features on
    the same rows, and raises no alarm.

    Args:
        counts: strata x features x bins: how many values lie where, those of these rows included.
        bins: rows x features.
        strata: the stratum of each row.
        single: of each feature, whether it has only two values.

    >>> rows = np.array([[1, 0], [1, 1]] * 20, dtype=np.uint8)
    >>> counts = np.array([[[50, 90], [70, 70]]])
    >>> none = np.zeros(2, dtype=bool)
    >>> evidence_of(counts, rows, np.zeros(40, dtype=int), none).round(1).tolist()
    [12.4, -0.4]
    """
    present, part = np.unique(strata, return_inverse=True)
    there = counts_of(bins, part.ravel(), len(present), counts.shape[2])
    before = counts[present] - there
    total = before.sum(axis=2, keepdims=True)
    middle = np.full(before.shape, 0.5)
    np.divide(total - before.cumsum(axis=2) + before / 2, total, out=middle, where=total > 0)
    won = np.zeros((len(DATA_BETS), len(single)))
    for ranks, here in zip(middle, there, strict=True):
        won += (here.T[:, None] * np.log(DATA_BETS.of(np.ascontiguousarray(ranks.T)))).sum(axis=0)
    first = len(DATA_BETS.tilt)
    won[first : first + len(DATA_BETS.spread), single] = -np.inf
    playing = len(DATA_BETS) - len(DATA_BETS.spread) * single
    return np.asarray(np.logaddexp.reduce(won, axis=0) - np.log(playing))

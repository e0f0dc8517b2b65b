"""How long calls took, in bins that everybody shares: counts that can be added, and read as quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["ABOVE", "LEAST", "STEP", "bin_of", "edges_of", "quantile"]

LEAST = 1e-6
"""Seconds at which the first bin begins; what took less is in bin 0."""

STEP = 1.02
"""How much wider each bin is than the one before: a quantile is off by 1 % at most."""

ABOVE = 1048
"""The last bin: what took about a thousand seconds or more."""

_LOG_STEP = math.log(STEP)


def bin_of(seconds: float) -> int:
    """Return the bin that a duration falls into.

    Bin 0 is below 1 µs, bin ``i`` from 1 to 1047 is ``[1e-6 * 1.02**(i - 1), 1e-6 * 1.02**i)`` seconds.

    >>> bin_of(0.0), bin_of(1e-6), bin_of(0.001), bin_of(1e9)
    (0, 1, 349, 1048)
    """
    if not seconds >= LEAST:  # NaN is nowhere: at the bottom it does least harm
        return 0
    return min(ABOVE, 1 + int(math.log(min(seconds, 1e9) / LEAST) / _LOG_STEP))


def edges_of(index: int) -> tuple[float, float]:
    """Return where a bin begins and ends, in seconds; the last one has no end."""
    if index <= 0:
        return 0.0, LEAST
    low = LEAST * STEP ** (index - 1)
    return (low, math.inf) if index >= ABOVE else (low, low * STEP)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration in seconds that a share of the calls did not exceed; None when there were none.

    The middle of the bin is told (geometric), so it is within 1 % of the true one.

    Args:
        counts: calls by bin.
        share: from 0 to 1, like 0.99.

    >>> round(quantile({bin_of(0.010): 99, bin_of(2.0): 1}, 0.5), 3)
    0.01
    """
    total = sum(counts.values())
    if total <= 0:
        return None
    wanted, seen = max(1, math.ceil(share * total)), 0
    for index in sorted(counts):
        seen += counts[index]
        if seen >= wanted:
            low, high = edges_of(index)
            return low if math.isinf(high) else LEAST / 2 if not low else math.sqrt(low * high)
    return None

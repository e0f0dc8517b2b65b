"""What a number of runs tells: rates with their bounds, and delays with their spread."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .twins import Array

__all__ = ["Delay", "Rate"]

SURE = 0.05
"""What a one-sided bound may be wrong in."""

WIDTH = 0.98
"""Half of 1.96: so many roots of the number of runs lie an interval's ends from the median's place."""


class Rate:
    """How many of so many runs, with one-sided 95 % bounds of Clopper and Pearson.

    >>> rate = Rate(57, 10_000)
    >>> f"{rate.value:.4f} {rate.low:.4f} {rate.high:.4f}"
    '0.0057 0.0045 0.0071'
    """

    def __init__(self, hits: int, runs: int) -> None:
        self.hits, self.runs, self.value = hits, runs, hits / runs
        self.low = _root(lambda p: _at_least(hits, runs, p) < SURE) if hits else 0.0
        self.high = _root(lambda p: 1.0 - _at_least(hits + 1, runs, p) > SURE) if hits < runs else 1.0

    def __str__(self) -> str:
        return f"{self.hits} of {self.runs}, {self.value:.2%} [{self.low:.2%}, {self.high:.2%}]"

    def plain(self) -> dict[str, float]:
        """Return it for JSON."""
        return {"hits": self.hits, "runs": self.runs, "rate": self.value, "low": self.low, "high": self.high}


def _at_least(hits: int, runs: int, p: float) -> float:
    """The chance of so many hits or more; summed from the largest term on, where floats are exact enough."""
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = [
        math.lgamma(runs + 1)
        - math.lgamma(n + 1)
        - math.lgamma(runs - n + 1)
        + n * log_p
        + (runs - n) * log_q
        for n in range(hits)
    ]
    return 1.0 - math.fsum(map(math.exp, terms))


def _root(below: Callable[[float], bool]) -> float:
    """Return where a statement about a chance, true of small ones, becomes false."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


class Delay:
    """How long runs took: the median with its 95 % interval (order statistics), and the 90th percentile.

    A run in which nothing was found took for ever.

    >>> print(Delay(np.arange(1.0, 101.0)))
    51 [40, 61], 90 % within 91
    """

    def __init__(self, delays: Array) -> None:
        ordered = np.sort(delays)
        runs = len(ordered)
        off = WIDTH * math.sqrt(runs)
        self.runs, self.found = runs, int(np.isfinite(ordered).sum())
        self.median, self.p90 = float(ordered[runs // 2]), float(ordered[min(runs - 1, (9 * runs) // 10)])
        self.low = float(ordered[max(0, math.floor(runs / 2 - off) - 1)])
        self.high = float(ordered[min(runs - 1, math.ceil(runs / 2 + off) - 1 + 1)])

    def __str__(self) -> str:
        if not math.isfinite(self.median):
            return f"found in {self.found} of {self.runs}"
        text = (
            f"{_whole(self.median)} [{_whole(self.low)}, {_whole(self.high)}], 90 % within {_whole(self.p90)}"
        )
        return text if self.found == self.runs else f"{text}, found in {self.found} of {self.runs}"

    def plain(self) -> dict[str, float | None]:
        """Return it for JSON; None: for ever."""
        return {
            name: value if math.isfinite(value) else None
            for name in ("median", "low", "high", "p90", "found", "runs")
            for value in (getattr(self, name),)
        }


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"

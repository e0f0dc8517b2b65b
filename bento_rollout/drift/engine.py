"""The e-process under every test of drift: bets on p-values, for a change that began nobody knows when.

An e-process begins at 1 and under the null is at most 1 in expectation whenever one looks: that it ever
reaches ``1/alpha`` has a chance of at most ``alpha``. Nothing here knows what the p-values stand for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["DATA_BETS", "LOSS_BETS", "Bets", "Wealth", "start_weight"]

_RENORM = 16
"""After how many rows the scale of a lane is looked at: a bet wins at most 2**48, a float holds 2**1023."""

_ROOM = 64
"""Powers of two that a lane may win before it gets a scale: hardly any quiet one ever does."""

_CELLS = 2**17
"""Bets that are computed at once."""

_LEAST = 2.0**-53
"""A p-value below it counts as this: a power of it is finite, and wins less than it could."""

_LN2 = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Bets:
    """What is bet on a p-value: functions that are never negative and have a mean of 1 when it is uniform.

    Attributes:
        tilt: ``1 + e (p - 1/2)``: a negative ``e`` wins on high values, which have a small p.
        spread: ``1 + e (|2p - 1| - 1/2)``: a positive ``e`` wins on values at both ends.
        power: ``k p**(k - 1)``: wins much on few very high values.
        step: pairs ``c, w``: ``1 - w``, and ``w/c`` more where ``p < c``: wins on the highest part ``c``.
    """

    tilt: tuple[float, ...]
    spread: tuple[float, ...] = ()
    power: tuple[float, ...] = ()
    step: tuple[tuple[float, float], ...] = ()

    def __len__(self) -> int:
        return len(self.tilt) + len(self.spread) + len(self.power) + len(self.step)

    @property
    def directions(self) -> tuple[str, ...]:
        """What each bet wins on: ``higher`` or ``lower`` values, ``wider`` or ``narrower`` spread."""
        return (
            *("higher" if e < 0 else "lower" for e in self.tilt),
            *("wider" if e > 0 else "narrower" for e in self.spread),
            *("higher" for _ in (*self.power, *self.step)),
        )

    def of(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each bet makes of 1: rows x bets x lanes, from rows x lanes.

        >>> DATA_BETS.of(np.array([[0.5]])).ravel()[:3].tolist()
        [1.0, 1.0, 1.0]
        """
        made = np.empty((len(p), len(self), p.shape[1]))
        first, second = len(self.tilt), len(self.tilt) + len(self.spread)
        np.multiply(_column(self.tilt), (p - 0.5)[:, None], out=made[:, :first])
        if self.spread:
            off = np.abs(2.0 * p - 1.0) - 0.5
            np.multiply(_column(self.spread), off[:, None], out=made[:, first:second])
        made[:, :second] += 1.0
        for place, k in enumerate(self.power, second):
            made[:, place] = k * np.maximum(p, _LEAST) ** (k - 1.0)
        for place, (c, w) in enumerate(self.step, second + len(self.power)):
            made[:, place] = 1.0 - w + (w / c) * (p < c)
        return made


@cache
def _column(sizes: tuple[float, ...]) -> NDArray[np.float64]:
    """Return sizes of bets in the shape 1 x bets x 1."""
    return np.array(sizes)[None, :, None]


_EPSILONS = (-1.8, -0.9, -0.45, 0.45, 0.9, 1.8)

DATA_BETS = Bets(tilt=_EPSILONS, spread=_EPSILONS)
"""Twelve: values that rise or fall, and their spread, each in three sizes."""

LOSS_BETS = Bets(
    tilt=_EPSILONS[:3],
    power=(0.1, 0.25, 0.5),
    step=tuple((c, w) for w in (0.1, 0.3) for c in (1 / 8, 1 / 16, 1 / 32, 1 / 64)),
)
"""Fourteen: a loss that rises, a little for all rows or much for few; steps halve the longest delays."""


def start_weight(row: int) -> float:
    """Return the weight of all the starts after so many rows: ``ln 3 / ln(row + 3)``, 1 before the first.

    What it falls by at a row is the prior weight of a change that begins there, about ``1/(t log(t)**2)``:
    these sum to 1, and a late change costs only the log of its own.

    >>> start_weight(0), round(start_weight(1000), 3)
    (1.0, 0.159)
    """
    return math.log(3.0) / math.log(row + 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class Wealth:
    """What the bets have won so far on many lanes at once: a lane is one feature of one stream.

    Begin with `start`; `advance` returns the next one. The same rows in any split make the same numbers, bit
    by bit.

    Attributes:
        bets: what is bet.
        rows: how many rows there were.
        sums: bets x lanes: the wealth over all starts so far, as a multiple of ``2**scale``.
        best: bets x lanes: the wealth of the best start, in the same unit.
        began: bets x lanes: the row, counted from 0, at which the best start began.
        scale: lanes: powers of two, never negative, so that nothing overflows.
        log_peak: lanes: the log of the largest e-value ever.
        single: lanes: whether only two values are possible: their spread says what their mean says already.
    """

    bets: Bets
    rows: int
    sums: NDArray[np.float64]
    best: NDArray[np.float64]
    began: NDArray[np.int64]
    scale: NDArray[np.int64]
    log_peak: NDArray[np.float64]
    single: NDArray[np.bool_]

    @classmethod
    def start(cls, lanes: int, bets: Bets = DATA_BETS, single: NDArray[np.bool_] | None = None) -> Wealth:
        """Return the wealth before the first row: 1 in every lane, all of it on starts to come.

        >>> Wealth.start(2).log_evidence.tolist()
        [0.0, 0.0]
        """
        shape = (len(bets), lanes)
        return cls(
            bets=bets,
            rows=0,
            sums=np.zeros(shape),
            best=np.zeros(shape),
            began=np.zeros(shape, dtype=np.int64),
            scale=np.zeros(lanes, dtype=np.int64),
            log_peak=np.zeros(lanes),
            single=np.zeros(lanes, dtype=bool) if single is None else np.asarray(single, dtype=bool),
        )

    @property
    def log_evidence(self) -> NDArray[np.float64]:
        """The log of each lane's e-value now."""
        left = np.array([[start_weight(self.rows)]])
        return np.asarray(self._log(self.sums.sum(axis=0)[None], self.scale[None], left)[0])

    @property
    def since(self) -> NDArray[np.int64]:
        """The row, counted from 0, at which each lane's change seems to have begun."""
        return np.asarray(self.began[self._leading, np.arange(len(self.scale))])

    @property
    def direction(self) -> tuple[str, ...]:
        """Where each lane's values seem to go: ``higher``, ``lower``, ``wider`` or ``narrower``."""
        words = self.bets.directions
        return tuple(words[place] for place in self._leading)

    @property
    def _leading(self) -> NDArray[np.intp]:
        return np.asarray(np.argmax(self.best, axis=0))

    def advance(self, p: NDArray[np.float64]) -> Wealth:
        """Return the wealth after more rows.

        Args:
            p: rows x lanes, p-values.

        >>> after = Wealth.start(1).advance(np.full((100, 1), 0.1))
        >>> after.direction, after.since.tolist(), bool(after.log_evidence[0] > 20)
        (('higher',), [0], True)
        """
        p = np.ascontiguousarray(p, dtype=np.float64)  # a power of other strides may differ in its last bit
        sums, best, began, scale = (a.copy() for a in (self.sums, self.best, self.began, self.scale))
        peak = self.log_peak
        row = self.rows
        step = max(1, min(256, _CELLS // max(1, sums.size)))
        won = np.empty(sums.shape, dtype=bool)
        for start in range(0, len(p), step):
            made = self._made(p[start : start + step])
            totals = np.empty((len(made), len(scale)))
            scales = np.empty((len(made), len(scale)), dtype=np.int64)
            left = np.empty((len(made), 1))
            for place, bet in enumerate(made):
                after = start_weight(row + 1)
                fresh = np.ldexp(start_weight(row) - after, -scale)
                sums += fresh
                sums *= bet
                np.less(best, fresh, out=won)
                np.maximum(best, fresh, out=best)
                best *= bet
                np.copyto(began, row, where=won)
                np.add.reduce(sums, axis=0, out=totals[place])
                scales[place], left[place] = scale, after
                row += 1
                if row % _RENORM == 0:
                    _renormalise(sums, best, scale)
            peak = np.maximum(peak, self._log(totals, scales, left).max(axis=0))
        return replace(self, rows=row, sums=sums, best=best, began=began, scale=scale, log_peak=peak)

    def _made(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the bets make of p-values; those on the spread of two values do not play."""
        made = self.bets.of(p)
        if self.bets.spread and self.single.any():
            first = len(self.bets.tilt)
            made[:, first : first + len(self.bets.spread), self.single] = 0.0
        return made

    def _log(
        self, totals: NDArray[np.float64], scale: NDArray[np.int64], left: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the logs of e-values: the mean over the bets that play, and the weight of starts to come."""
        playing = len(self.bets) - len(self.bets.spread) * self.single
        return np.asarray(np.log(totals / playing + np.ldexp(left, -scale)) + scale * _LN2)


def _renormalise(sums: NDArray[np.float64], best: NDArray[np.float64], scale: NDArray[np.int64]) -> None:
    """Bring the largest wealth of each lane near 1 again, exactly: by a power of two, never below scale 0."""
    _, exponent = np.frexp(sums.max(axis=0))
    shift = np.maximum(exponent, -scale)
    if shift.any():
        shift = np.where((scale == 0) & (shift < _ROOM), 0, shift)
        np.ldexp(sums, -shift, out=sums)
        np.ldexp(best, -shift, out=best)
        scale += shift

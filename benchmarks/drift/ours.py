"""Our tests on many streams at once: each feature of each stream is a lane of the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_rollout.drift.counts import conformal_p, counts_of
from bento_rollout.drift.drift_test import KEPT
from bento_rollout.drift.engine import DATA_BETS, LOSS_BETS, Bets, Wealth
from bento_rollout.drift.loss_test import LossTest
from bento_rollout.drift.ranking import evidence_of, order_of
from bento_rollout.drift.reference import Reference
from bento_rollout.drift.uniforms import uniforms

from .data import MOVED, Floats, Shift, losses, table

__all__ = ["Alarms", "Lanes", "data_alarms", "loss_alarms"]

AT_ONCE = 256
"""Rows of all streams that are tested at once."""

LATER = 100
"""Rows after the alarm at which it is asked again which features moved: about when somebody looks."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """When streams alarmed.

    Attributes:
        rows: the first alarm, counted from the change, or from the beginning where there is none;
            infinite: never.
        early: whether a stream alarmed before the change.
        top: of the three features with most evidence at the alarm, how many had moved; NaN: no alarm.
        later: the same 100 rows later.
    """

    rows: Floats
    early: NDArray[np.bool_]
    top: Floats
    later: Floats


@dataclass(slots=True)
class Lanes:
    """Tests of many streams, of so many lanes each.

    Args:
        counts: lanes x bins, of the reference.
        bets: what is bet.
        each: lanes of a stream.
        seed: of the numbers that break ties.
        recent: the newest rows, and those after them that are counted already.
        ahead: how many these are.
    """

    counts: NDArray[np.int64]
    wealth: Wealth
    each: int
    seed: int
    recent: NDArray[np.uint8]
    ahead: int = 0

    @classmethod
    def of(cls, counts: NDArray[np.int64], bets: Bets, each: int, seed: int) -> Lanes:
        """Return the tests before the first row."""
        single = (counts > 0).sum(axis=1) <= 2 if each == 1 else None
        none = np.empty((0, len(counts)), dtype=np.uint8)
        return cls(counts, Wealth.start(len(counts), bets, single), each, seed, none)

    def take(self, bins: NDArray[np.uint8], every: int) -> Iterator[tuple[int, Floats]]:
        """Test rows; yield how many were tested and each stream's log peak, every so many rows."""
        lanes = bins.shape[1]
        for start in range(0, len(bins), AT_ONCE):
            part = bins[start : start + AT_ONCE]
            u = uniforms(self.seed, self.wealth.rows, len(part), lanes)
            p, self.counts = conformal_p(self.counts, part, u)
            self.recent = np.concatenate([self.recent[-KEPT:], part])
            for place in range(0, len(p), every):
                self.wealth = self.wealth.advance(p[place : place + every])
                self.ahead = max(0, len(p) - place - every)
                yield start + min(place + every, len(p)), self._peaks()

    def _peaks(self) -> Floats:
        peaks = self.wealth.log_peak.reshape(-1, self.each) - math.log(self.each)
        return np.asarray(peaks.max(axis=1))

    def leading(self, streams: NDArray[np.intp], alpha: float) -> NDArray[np.intp]:
        """Return the three features that are named first, of some streams."""
        logs, since = self.wealth.log_evidence - math.log(self.each), self.wealth.since
        found = np.empty((len(streams), MOVED), dtype=np.intp)
        for place, stream in enumerate(streams):
            own = slice(stream * self.each, (stream + 1) * self.each)
            begun = self.wealth.rows - int(since[own][np.argmax(logs[own])])
            now = len(self.recent) - self.ahead
            first = max(0, now - min(begun, KEPT))
            bins = self.recent[first:now, own]
            counts = self.counts[own] - _counted(self.recent[now:, own], self.counts.shape[1])
            none = np.zeros(len(bins), dtype=np.intp)
            beside = evidence_of(counts[None], bins, none, self.wealth.single[own]) - math.log(self.each)
            found[place] = order_of(logs[own], beside, -math.log(alpha))[:MOVED]
        return found


def _counted(bins: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Return lanes x bins: how many rows lie where."""
    return np.asarray(counts_of(bins, np.zeros(len(bins), dtype=np.intp), 1, size)[0])


def data_alarms(rng: np.random.Generator, streams: int, reference: int, alpha: float, shift: Shift) -> Alarms:
    """Test streams for data drift.

    Args:
        rng: what they are drawn with.
        streams: how many.
        reference: rows of each one's reference, its own draw.
        alpha: the chance of a false alarm.
        shift: what happens; without rows after it nothing does.
    """
    rows, drawn = table(), len(table())
    fitted = [Reference.fit(rows[rng.integers(0, drawn, reference)], seed=int(rng.integers(2**32)))
              for _ in range(streams)]  # fmt: skip
    size = max(one.counts.shape[1] for one in fitted)
    width = len(rows[0])
    counts = np.zeros((streams, width, size), dtype=np.int64)
    binned = np.empty((streams, drawn, width), dtype=np.uint8)
    for place, one in enumerate(fitted):
        assert len(one.tested) == width
        counts[place, :, : one.counts.shape[1]] = one.counts
        binned[place] = one.encode(rows).bins
    lanes = Lanes.of(counts.reshape(-1, size), DATA_BETS, width, int(rng.integers(2**32)))
    moved = np.argsort(rng.random((streams, width)), axis=1)[:, :MOVED]
    bar = -math.log(alpha)
    every = AT_ONCE if not shift.rows else 1 if not shift.over else 10
    first = np.full(streams, np.inf)
    done = 0
    while done < shift.after:
        take = min(AT_ONCE, shift.after - done)
        bins = _draw(rng, binned, take)
        for seen, peaks in lanes.take(bins, AT_ONCE):
            first[(peaks >= bar) & np.isinf(first)] = done + seen
        done += take
    early = np.isfinite(first)
    if not shift.rows:
        return _alarms(first, early)
    found, top, later = (np.full(streams, value) for value in (np.inf, np.nan, np.nan))
    sizes, deviations, done = shift.sizes(), rows.std(axis=0), 0
    while done < shift.rows and not (early | np.isfinite(later)).all():
        part = sizes[done : done + AT_ONCE]
        picked = rng.integers(0, drawn, (len(part), streams))
        bins = binned[np.arange(streams), picked]
        for place, one in enumerate(fitted):
            for column in moved[place]:
                values = rows[picked[:, place], column] + part * deviations[column]
                feature = one.tested[column].bins
                assert feature is not None
                bins[:, place, column] = feature.encode(values)
        for seen, peaks in lanes.take(bins.reshape(len(part), -1), every):
            new = (peaks >= bar) & np.isinf(found) & ~early
            found[new] = done + seen
            old = (done + seen >= found + LATER) & np.isnan(later)
            top[new] = _hits(lanes, new, moved, alpha)
            later[old] = _hits(lanes, old, moved, alpha)
        done += len(part)
    return Alarms(found, early, top, later)


def _hits(lanes: Lanes, which: NDArray[np.bool_], moved: NDArray[np.intp], alpha: float) -> Floats:
    """Return how many of the features that are named first have moved, of some streams."""
    streams = np.flatnonzero(which)
    pairs = zip(lanes.leading(streams, alpha), moved[streams], strict=True)
    return np.array([np.isin(*pair).sum() for pair in pairs], dtype=float)


def _alarms(rows: Floats, early: NDArray[np.bool_]) -> Alarms:
    """Return alarms that name no features."""
    return Alarms(rows, early, np.full(len(rows), np.nan), np.full(len(rows), np.nan))


def _draw(rng: np.random.Generator, binned: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    streams, drawn, _ = binned.shape
    return binned[np.arange(streams), rng.integers(0, drawn, (rows, streams))].reshape(rows, -1)


def loss_alarms(
    rng: np.random.Generator, streams: int, kind: str, reference: int, alpha: float, shift: Shift
) -> Alarms:
    """Test streams for concept drift; the arguments are those of `data_alarms`."""
    known = losses(kind)
    drawn = len(known.before)
    fitted = [
        LossTest.fit(known.before[rng.integers(0, drawn, reference)], kind=kind) for _ in range(streams)
    ]
    size = max(len(one.reference) for one in fitted)
    counts = np.zeros((streams, size), dtype=np.int64)
    before, after = (np.empty((drawn, streams), dtype=np.uint8) for _ in range(2))
    for place, one in enumerate(fitted):
        counts[place, : len(one.reference)] = one.reference
        before[:, place] = np.searchsorted(one.edges, known.before)
        after[:, place] = np.searchsorted(one.edges, known.after)
    lanes = Lanes.of(counts, LOSS_BETS, 1, int(rng.integers(2**32)))
    bar, which = -math.log(alpha), np.arange(streams)
    first, found, done = np.full(streams, np.inf), np.full(streams, np.inf), 0
    while done < shift.after:
        take = min(8 * AT_ONCE, shift.after - done)
        for seen, peaks in lanes.take(before[rng.integers(0, drawn, (take, streams)), which], AT_ONCE):
            first[(peaks >= bar) & np.isinf(first)] = done + seen
        done += take
    early = np.isfinite(first)
    if not shift.rows:
        return _alarms(first, early)
    chance = shift.sizes() / shift.sizes()[-1]
    picked = rng.integers(0, drawn, (shift.rows, streams))
    turned = rng.random((shift.rows, streams)) < chance[:, None]
    bins = np.where(turned, after[picked, which], before[picked, which])
    for seen, peaks in lanes.take(bins, 1 if not shift.over else 10):
        found[(peaks >= bar) & np.isinf(found) & ~early] = seen
        if (early | np.isfinite(found)).all():
            break
    return _alarms(found, early)

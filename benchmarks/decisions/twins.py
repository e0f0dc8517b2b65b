"""The tests of ``bento_rollout.analysis`` for many runs at once: arrays whose first axis is the run.

They are written from the definitions, and `benchmarks.decisions.check` holds them against the classes. As in
the service, rates, durations and health are told the share that the candidate really had in each block, and
events and the sample ratio the assigned one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bento_rollout.analysis.floor import PARTS
from bento_rollout.analysis.harm import ODDS
from bento_rollout.analysis.health import PRIOR
from bento_rollout.analysis.latency import MOST_HISTORY, QUANTILES
from bento_rollout.analysis.latency import ODDS as LATENCY_ODDS
from bento_rollout.analysis.mixture import EVERY
from bento_rollout.analysis.ratio import KAPPA, SERIES_FROM
from bento_rollout.histogram import LEAST, STEP

__all__ = [
    "Array",
    "Blocks",
    "Events",
    "Floor",
    "Harm",
    "Health",
    "Latency",
    "Mixtures",
    "SampleRatio",
    "Twin",
    "log_mean",
    "thresholds",
    "two_rates",
]

Array = np.ndarray[Any, np.dtype[Any]]

HUGE = 1e100
"""Evidence is cut here: far above any alarm, and far below where floats end."""

LOG_ODDS = np.log(np.array(ODDS))


@dataclass(frozen=True, slots=True)
class Blocks:
    """One block of each run.

    Attributes:
        bad_c, good_c, bad_s, good_s: outcomes of the candidate, then of the champion. Of latencies they have
            a second axis, the thresholds, and bad is slower.
        share: the assigned one.
        pinned: bad and good outcomes of calls that somebody pinned to the candidate.
    """

    bad_c: Array
    good_c: Array
    bad_s: Array
    good_s: Array
    share: float
    pinned: tuple[Array, Array] | None = None

    @classmethod
    def of(cls, sums: Iterable[Array], share: float) -> Blocks:
        """Return blocks with these sums, in their order."""
        bad_c, good_c, bad_s, good_s = (part.astype(float) for part in sums)
        return cls(bad_c, good_c, bad_s, good_s, share)

    @property
    def realised(self) -> Array:
        """The share that the candidate really had: 0 or 1 where one arm has nothing."""
        calls = self.bad_c + self.good_c
        share: Array = calls / np.maximum(calls + self.bad_s + self.good_s, 1.0)
        return share

    @property
    def calls(self) -> Array:
        """Of the candidate."""
        calls = self.bad_c + self.good_c
        return calls if calls.ndim == 1 else calls[:, 0]

    @property
    def champion_calls(self) -> Array:
        """Of the champion."""
        calls = self.bad_s + self.good_s
        return calls if calls.ndim == 1 else calls[:, 0]

    def with_pinned(self) -> Blocks:
        """Return what a collector would say that does not ask who chose the candidate."""
        assert self.pinned is not None
        bad, good = self.bad_c + self.pinned[0], self.good_c + self.pinned[1]
        return Blocks(bad, good, self.bad_s, self.good_s, self.share)


class Twin(Protocol):
    """A test of many runs."""

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""

    @property
    def alarms(self) -> Array:
        """Whether each run is above its threshold now."""


def log_mean(logs: Array) -> Array:
    """Return the log of the mean over the last axis of what logs stand for."""
    top = logs.max(axis=-1)
    mean: Array = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return mean


def two_rates(blocks: Blocks, bad: Array, calls: Array, odds: Array) -> Array:
    """Return what each bet of a grid wins, in logs: one axis more than the sums have, the last one.

    Where one arm has nothing the bet is that of the other arm against itself, and wins nothing.

    Args:
        blocks: the sums.
        bad, calls: what was seen of the champion before.
        odds: the grid.
    """
    s, rest = (bad + 0.5) / (calls + 50.0), (calls - bad + 49.5) / (calls + 50.0)
    own, share = odds * (s / rest)[..., None], blocks.realised[..., None]
    whole = 1.0 + own
    log_whole, log_s, log_rest = np.log(whole), np.log(s), np.log(rest)
    log_t = np.log(share * own / whole + (1.0 - share) * s[..., None])
    log_not_t = np.log(share / whole + (1.0 - share) * rest[..., None])
    log_c = np.log(odds) + (log_s - log_rest)[..., None] - log_whole
    champion = blocks.bad_s * log_s + blocks.good_s * log_rest
    won: Array = (
        blocks.bad_c[..., None] * log_c
        - blocks.good_c[..., None] * log_whole
        + champion[..., None]
        - (blocks.bad_c + blocks.bad_s)[..., None] * log_t
        - (blocks.good_c + blocks.good_s)[..., None] * log_not_t
    )
    return won


class Mixtures:
    """The start mixture: ``sums`` is S of each bet of each run, as it is and not in logs.

    Args:
        runs, bets: how many.
        calls: of the candidate since an epoch opened by count: a number, or one for each run.
    """

    def __init__(self, runs: int, bets: int, calls: Any = 0) -> None:
        self.sums = np.full((runs, bets), 0.5)
        self.epochs = np.ones(runs)
        self.calls = np.zeros(runs) + calls

    def step(self, won: Array, calls: Any) -> None:
        """Let each bet win so much, in logs, in so many calls of the candidate."""
        self.sums *= np.exp(won)
        np.minimum(self.sums, HUGE, out=self.sums)
        self.calls += calls
        due = self.calls >= EVERY
        if due.any():
            self.calls[due] %= EVERY
            self.epoch(due)

    def epoch(self, which: Any = slice(None)) -> None:
        """Open an epoch in these runs."""
        self.epochs[which] += 1
        number = self.epochs[which]
        self.sums[which] += (1.0 / (number * (number + 1)))[:, None]

    @property
    def evidence(self) -> Array:
        """``E`` of each run."""
        found: Array = self.sums.mean(axis=1) + 1.0 / (self.epochs + 1)
        return found


class _Mixed:
    """What the tests of harm have in common."""

    def __init__(self, runs: int, bets: int, alpha: float, calls: Any) -> None:
        self.alpha = alpha
        self.mixture = Mixtures(runs, bets, calls)

    @property
    def alarms(self) -> Array:
        """Whether each run is above its threshold now."""
        alarms: Array = self.mixture.evidence >= 1.0 / self.alpha
        return alarms

    @property
    def log_evidence(self) -> Array:
        """``ln E`` of each run."""
        found: Array = np.log(self.mixture.evidence)
        return found

    def epoch(self) -> None:
        """Open an epoch in all runs."""
        self.mixture.epoch()


class Harm(_Mixed):
    """`HarmTest` without a tolerance."""

    def __init__(self, runs: int, alpha: float = 0.01, calls: Any = 0) -> None:
        super().__init__(runs, len(ODDS), alpha, calls)
        self.bad, self.calls = np.zeros(runs), np.zeros(runs)

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        won = two_rates(blocks, self.bad, self.calls, np.array(ODDS))
        self.bad += blocks.bad_s
        self.calls += blocks.champion_calls
        self.mixture.step(won, blocks.calls)


class HarmPinned(Harm):
    """`HarmTest` as it would be fed without a look at who chose the candidate."""

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run, and what was pinned."""
        super().update(blocks.with_pinned())


class Events(_Mixed):
    """`EventTest`; an epoch opens after every 1 000 calls of the candidate, as its feeder does it."""

    def __init__(self, runs: int, alpha: float = 0.01, calls: Any = 0, *, by_count: bool = True) -> None:
        super().__init__(runs, len(ODDS), alpha, calls)
        self.by_count = by_count

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        total = np.log(1.0 - blocks.share + np.array(ODDS) * blocks.share)
        won = blocks.bad_c[:, None] * (LOG_ODDS - total) - blocks.bad_s[:, None] * total
        self.mixture.step(won, blocks.calls if self.by_count else 0)


class Floor(_Mixed):
    """`FloorTest` of the candidate's sums."""

    def __init__(self, runs: int, p0: float, alpha: float = 0.01, *, good: bool = False) -> None:
        super().__init__(runs, len(PARTS) if good else len(ODDS), alpha, 0)
        self.good = good
        if good:
            self.mixture.sums[:], self.mixture.epochs[:] = 1.0, np.inf
        own = np.array(ODDS) * p0 / (1.0 - p0)
        rates = np.array(PARTS) * p0 if good else own / (1.0 + own)
        rest = 1.0 - rates if good else 1.0 / (1.0 + own)
        self.log_bad, self.log_good = np.log(rates / p0), np.log(rest / (1.0 - p0))

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        won = blocks.bad_c[:, None] * self.log_bad + blocks.good_c[:, None] * self.log_good
        self.mixture.step(won, 0 if self.good else blocks.calls)


def thresholds(calls: Array) -> tuple[Array, Array]:
    """Return the last bin that is not slower, for each run and quantile, and the champion's slower calls.

    Args:
        calls: earlier durations of the champion, one row for each run.
    """
    bins = np.clip(1 + np.floor(np.log(calls / LEAST) / np.log(STEP)).astype(int), 0, 1048)
    bins.sort(axis=1)
    total = bins.shape[1]
    places = [int(np.ceil(share * total - 1e-9)) - 1 for share in QUANTILES]
    own = bins[:, places]
    slower = (bins[:, None, :] > own[:, :, None]).mean(axis=2) * min(total, MOST_HISTORY)
    return own, slower


class Latency(_Mixed):
    """`LatencyTest` without a tolerance; of its blocks the second axis are the thresholds.

    Args:
        slower: how many of the champion's earlier calls were slower than each threshold, by run.
        calls: how many earlier calls there were.
    """

    def __init__(self, slower: Array, calls: float, alpha: float = 0.01) -> None:
        super().__init__(len(slower), len(QUANTILES) * len(LATENCY_ODDS), alpha, 0)
        self.slower, self.calls = slower.copy(), np.full(slower.shape, float(calls))

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        won = two_rates(blocks, self.slower, self.calls, np.array(LATENCY_ODDS))
        self.slower += blocks.bad_s
        self.calls += blocks.bad_s + blocks.good_s
        self.mixture.step(won.reshape(len(won), -1), blocks.calls)


class Health:
    """`HealthTest`: it alarms where health is shown."""

    def __init__(self, runs: int, margin: float = 0.01, alpha: float = 0.05) -> None:
        self.margin, self.alpha = margin, alpha
        self.log_bets = np.zeros((runs, 2))
        self.candidate, self.champion = np.zeros((2, runs)), np.zeros((2, runs))  # bad, calls

    @property
    def log_evidence(self) -> Array:
        """``ln E`` of each run."""
        return log_mean(self.log_bets)

    @property
    def alarms(self) -> Array:
        """Whether health is shown in each run now."""
        alarms: Array = self.log_evidence >= -np.log(self.alpha)
        return alarms

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        bad, calls = self.champion
        s = (bad + 0.5) / (calls + 50.0)
        own = (self.candidate[0] + PRIOR * s) / (self.candidate[1] + PRIOR)
        self.log_bets[:, 0] += self._won(blocks, s, s)
        self.log_bets[:, 1] += np.where(own < s + self.margin, self._won(blocks, own, s), 0.0)
        self.candidate += blocks.bad_c, blocks.calls
        self.champion += blocks.bad_s, blocks.champion_calls

    def _won(self, blocks: Blocks, c: Array, s: Array) -> Array:
        share = blocks.realised
        t = _nearest(share, c, s, self.margin)
        u = t + self.margin
        won: Array = (
            blocks.bad_c * np.log(c / u)
            + blocks.good_c * np.log((1.0 - c) / (1.0 - u))
            + blocks.bad_s * np.log(s / t)
            + blocks.good_s * np.log((1.0 - s) / (1.0 - t))
        )
        return np.where(share < 1.0, won, 0.0)  # of the candidate alone nothing is said; 0 wins nothing


def _nearest(share: Array, c: Array, s: Array, apart: float) -> Array:
    """Return the champion's rate of the nearest null, by Newton's steps between two bounds."""
    low = np.maximum(0.0, np.minimum(s, c - apart))
    high = np.minimum(1.0 - apart, np.maximum(s, c - apart))
    t = (low + high) / 2
    for _ in range(200):
        u = t + apart
        p, q = t * (1.0 - t), u * (1.0 - u)
        value = share * (u - c) * p + (1.0 - share) * (t - s) * q
        slope = share * (p + (u - c) * (1.0 - 2 * t)) + (1.0 - share) * (q + (t - s) * (1.0 - 2 * u))
        high, low = np.where(value > 0, t, high), np.where(value < 0, t, low)
        step = t - value / np.where(slope > 0, slope, np.nan)
        following = np.where((low < step) & (step < high), step, low + (high - low) / 2)
        moves = (np.abs(following - t) > 1e-15 * t) & (low < following) & (following < high) & (value != 0)
        if not moves.any():
            break
        t = np.where(moves, following, t)
    found: Array = np.maximum(t, 1e-300)
    return found


class SampleRatio:
    """`SampleRatioTest`: only counts of calls matter."""

    def __init__(self, runs: int, alpha: float = 0.001) -> None:
        self.alpha, self.share = alpha, 0.0
        self.frozen, self.counts = np.zeros(runs), np.zeros((2, runs))

    @property
    def log_evidence(self) -> Array:
        """``ln E`` of each run."""
        if not self.share:
            return self.frozen
        found: Array = self.frozen + _beta_multinomial(self.counts[0], self.counts[1], self.share)
        return found

    @property
    def alarms(self) -> Array:
        """Whether each run is above its threshold now."""
        alarms: Array = self.log_evidence >= -np.log(self.alpha)
        return alarms

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        if blocks.share != self.share:
            self.frozen, self.counts = self.log_evidence, np.zeros_like(self.counts)
            self.share = blocks.share
        self.counts += blocks.calls, blocks.champion_calls


def _beta_multinomial(n_c: Array, n_s: Array, share: float) -> Array:
    """The log of ``B(a+n_c, b+n_s)/(B(a,b) share^n_c (1-share)^n_s)``."""
    a, b = KAPPA * share, KAPPA * (1.0 - share)
    zero = np.zeros_like(n_c)
    total = _lgamma(zero + KAPPA) - _lgamma(zero + a) - _lgamma(zero + b)
    joint = _lgamma(n_c + a) + _lgamma(n_s + b) - _lgamma(n_c + n_s + KAPPA)
    found: Array = joint + total - n_c * np.log(share) - n_s * np.log1p(-share)
    return found


def _lgamma(z: Array) -> Array:
    """The log of the gamma function for ``z`` above 0: Stirling's series, from ``z`` or a little above it."""
    below = z < SERIES_FROM
    shifted = np.where(below, z + SERIES_FROM, z)
    square = shifted * shifted
    beyond = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / shifted
    series = (shifted - 0.5) * np.log(shifted) - shifted + np.log(2 * np.pi) / 2 + beyond
    factors = np.log(np.where(below, z, 1.0))
    for more in range(1, int(SERIES_FROM)):
        factors += np.log(np.where(below, z + more, 1.0))
    found: Array = series - factors
    return found

"""Sticky keys: requests of Zipf keys, and the twin of `KeyedTest`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bento_rollout.analysis.harm import ODDS
from bento_rollout.analysis.keyed import LONG_PART, MOST_COPIES, NEWEST, SHORT, SPREAD
from bento_rollout.analysis.latency import ODDS as LATENCY_ODDS
from bento_rollout.analysis.mixture import EVERY

from .twins import Array, Blocks, log_mean, two_rates

__all__ = ["KeyEvents", "KeyFloor", "KeyLatency", "KeyRates", "Keyed", "Population", "Requests"]

FAR = 1 << 30
"""An epoch that never opens."""


class Population:
    """Keys with Zipf frequencies, hashed into two arms: other ones in each run.

    Args:
        rng: where chance comes from.
        runs, keys: how many.
        share: of the candidate.
        skew: a key's frequency is one over its rank to this power.
    """

    def __init__(
        self, rng: np.random.Generator, runs: int, keys: int = 2000, share: float = 0.05, skew: float = 1.1
    ) -> None:
        self.rng, self.runs, self.keys, self.share = rng, runs, keys, share
        weights = np.arange(1, keys + 1) ** -skew
        self.ends = np.cumsum(weights / weights.sum())
        self.ends[-1] = 1.0
        self.candidate = rng.random((runs, keys)) < share

    def draw(self, requests: int) -> Array:
        """Return so many keys for each run."""
        found: Array = np.searchsorted(self.ends, self.rng.random((self.runs, requests)), side="right")
        return found


@dataclass(frozen=True, slots=True)
class Requests:
    """One block of each run, request by request; one row for each run.

    Attributes:
        keys: of each request.
        candidate: whether it went to the candidate.
        level: how bad it was: 0 or 1; of latencies how many thresholds it is slower than.
        share: the assigned one.
    """

    keys: Array
    candidate: Array
    level: Array
    share: float

    def counted(self, levels: int) -> Blocks:
        """Return the sums of a collector that counts each request."""
        bad = self.level[..., None] > np.arange(levels)
        arms = [bad & self.candidate[..., None], bad & ~self.candidate[..., None]]
        bad_c, bad_s = (arm.sum(axis=1).astype(float) for arm in arms)
        n_c = self.candidate.sum(axis=1, dtype=float)[:, None]
        sums = bad_c, n_c - bad_c, bad_s, self.keys.shape[1] - n_c - bad_s
        return Blocks.of(sums if levels > 1 else [part[:, 0] for part in sums], self.share)


class Keyed:
    """`KeyedTest` for many runs; subclasses say what one block wins.

    Args:
        population: whose keys they are.
        bets: how many a copy places.
        levels: thresholds of latencies; 1 for rates.
        champion: what is known of the champion before: bad outcomes by run and threshold, and calls.
        alpha: the chance of a false alarm.
        events: only what is bad counts.
    """

    def __init__(
        self,
        population: Population,
        bets: int,
        *,
        levels: int = 1,
        champion: tuple[Array, float] | None = None,
        alpha: float = 0.01,
        events: bool = False,
    ) -> None:
        runs = population.runs
        self.population, self.alpha, self.events, self.levels = population, alpha, events, levels
        self.keys = population.keys
        self.last = np.zeros(runs * self.keys, dtype=np.int32)
        self.epochs, self.long = np.ones(runs, dtype=np.int64), np.ones(runs, dtype=np.int64)
        self.calls = np.zeros(runs, dtype=np.int64)
        self.begun = np.full((runs, MOST_COPIES), FAR, dtype=np.int32)
        self.begun[:, 0] = 1
        self.live = np.ones(runs, dtype=np.int64)
        self.log_weights = np.full((runs, MOST_COPIES), -np.inf)
        self.log_weights[:, 0] = np.log(_weights(self.epochs, self.long))
        self.logs = np.zeros((runs, MOST_COPIES, bets))
        self.evidence = np.zeros((runs, MOST_COPIES))
        bad, calls = champion or (np.zeros((runs, levels)), 0.0)
        self.champion_bad = np.repeat(bad[:, None, :], MOST_COPIES, axis=1).astype(float)
        self.champion_calls = np.full((runs, MOST_COPIES, 1), float(calls))

    def won(self, blocks: Blocks) -> Array:
        """Return what each bet of each copy wins; the sums have axes for runs, copies and thresholds."""
        raise NotImplementedError

    @property
    def log_evidence(self) -> Array:
        """``ln(max_j w_j E_j)`` of each run."""
        found: Array = (self.log_weights + self.evidence).max(axis=1)
        return found

    def update(self, requests: Requests) -> Array:
        """Take one more block of each run; return which are above their threshold."""
        changed = self._count(requests)
        if changed is not None:
            self.logs += self.won(changed)
            self.champion_bad += changed.bad_s
            self.champion_calls += (changed.bad_s + changed.good_s)[..., :1]
            self.evidence = log_mean(self.logs)
        alarms: Array = self.log_evidence >= -np.log(self.alpha)
        self._open(requests.candidate.sum(axis=1))
        return alarms

    def _count(self, requests: Requests) -> Blocks | None:
        """Return the sums of what each copy counts."""
        run = np.repeat(np.arange(len(requests.keys)), requests.keys.shape[1])
        flat = run * self.keys + requests.keys.ravel()
        candidate, level = requests.candidate.ravel(), requests.level.ravel()
        able = self.last[flat] < self.epochs[run]
        if self.events:
            able &= level > 0
        run, flat, candidate, level = run[able], flat[able], candidate[able], level[able]
        if not len(flat):
            return None
        lasts = self.last[flat].copy()
        places = np.arange(len(flat), dtype=np.int32)
        self.last[flat] = places  # of several calls of one key the last one wins, and counts
        once = self.last[flat] == places
        run, flat, candidate, level, lasts = run[once], flat[once], candidate[once], level[once], lasts[once]
        self.last[flat] = self.epochs[run]
        first = (self.begun[run] <= lasts[:, None]).sum(axis=1)  # the oldest copy that counts it
        shape = len(self.live), MOST_COPIES, 2, self.levels + 1
        cells = ((run * MOST_COPIES + first) * 2 + candidate) * shape[3] + level
        counts = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).cumsum(axis=1)
        up_to = counts.cumsum(axis=3).astype(float)
        good, all_ = up_to[..., :-1], up_to[..., -1:]
        bad = all_ - good
        return Blocks(bad[:, :, 1], good[:, :, 1], bad[:, :, 0], good[:, :, 0], requests.share)

    def _open(self, calls: Array) -> None:
        after = self.calls + calls
        long = after >= EVERY
        due = long | (after // SHORT > self.calls // SHORT)
        self.calls = after % EVERY
        if due.any():
            self._begin(np.flatnonzero(due), long)

    def _begin(self, runs: Array, long: Array) -> None:
        self.epochs[runs] += 1
        self.long[runs] += long[runs]
        full = runs[self.live[runs] == MOST_COPIES]
        if len(full):  # the least of all but the newest five, the new one among them, is dropped
            held = (self.log_weights + self.evidence)[full, : MOST_COPIES + 1 - NEWEST]
            kept = np.arange(MOST_COPIES - 1)
            source = kept + (kept >= held.argmin(axis=1)[:, None])
            for name in ("begun", "log_weights", "evidence", "logs", "champion_bad", "champion_calls"):
                array = getattr(self, name)
                array[full, : MOST_COPIES - 1] = array[full[:, None], source]
            self.live[full] -= 1
        place = self.live[runs]
        weights = _weights(self.epochs[runs], np.where(long, self.long, 0)[runs])
        self.begun[runs, place] = self.epochs[runs]
        self.log_weights[runs, place] = np.log(weights)
        self.logs[runs, place] = 0.0
        self.evidence[runs, place] = 0.0
        self.champion_bad[runs, place] = self.champion_bad[runs, place - 1]
        self.champion_calls[runs, place] = self.champion_calls[runs, place - 1]
        self.live[runs] += 1


def _weights(epochs: Array, long: Array) -> Array:
    """Return the weights of copies: of all epochs a fifth, and of the long ones (not 0) the rest."""
    later = SPREAD + epochs
    part = -np.log1p(-1.0 / later) / np.log(later) / np.log(later - 1.0)
    more = np.where(long > 0, LONG_PART / np.maximum(long * (long + 1), 1), 0.0)
    weights: Array = (1.0 - LONG_PART) * np.log(SPREAD) * part + more
    return weights


class KeyEvents(Keyed):
    """First errors of keys: `EventTest`."""

    def __init__(self, population: Population, alpha: float = 0.01) -> None:
        super().__init__(population, len(ODDS), alpha=alpha, events=True)

    def won(self, blocks: Blocks) -> Array:
        """Return what each bet of each copy wins."""
        total = np.log(1.0 - blocks.share + np.array(ODDS) * blocks.share)
        won: Array = blocks.bad_c * (np.log(np.array(ODDS)) - total) - blocks.bad_s * total
        return won


class KeyRates(Keyed):
    """First calls of keys: `HarmTest`."""

    def __init__(self, population: Population, alpha: float = 0.01) -> None:
        super().__init__(population, len(ODDS), alpha=alpha)

    def won(self, blocks: Blocks) -> Array:
        """Return what each bet of each copy wins."""
        calls = np.broadcast_to(self.champion_calls, self.champion_bad.shape)
        won = two_rates(blocks, self.champion_bad, calls, np.array(ODDS))
        return won.reshape(*won.shape[:2], -1)


class KeyLatency(Keyed):
    """Durations of keys' first calls: `LatencyTest`."""

    def __init__(self, population: Population, slower: Array, calls: float, alpha: float = 0.01) -> None:
        levels = slower.shape[1]
        bets = levels * len(LATENCY_ODDS)
        super().__init__(population, bets, levels=levels, champion=(slower, calls), alpha=alpha)

    def won(self, blocks: Blocks) -> Array:
        """Return what each bet of each copy wins."""
        calls = np.broadcast_to(self.champion_calls, self.champion_bad.shape)
        won = two_rates(blocks, self.champion_bad, calls, np.array(LATENCY_ODDS))
        return won.reshape(*won.shape[:2], -1)


class KeyFloor(Keyed):
    """Pairs of keys' first calls, of the candidate's arm: `FloorTest`."""

    def __init__(self, population: Population, p0: float, alpha: float = 0.01) -> None:
        super().__init__(population, len(ODDS), alpha=alpha)
        own = np.array(ODDS) * p0 / (1.0 - p0)
        self.log_bad = np.log(own / (1.0 + own) / p0)
        self.log_good = -np.log(1.0 + own) - np.log(1.0 - p0)

    def won(self, blocks: Blocks) -> Array:
        """Return what each bet of each copy wins."""
        won: Array = blocks.bad_c * self.log_bad + blocks.good_c * self.log_good
        return won

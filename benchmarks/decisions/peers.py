"""What others do, from their definitions: a z-test that is looked at again and again, and a threshold."""

from __future__ import annotations

import numpy as np

from .twins import Array, Blocks

__all__ = ["Peeked", "Threshold"]

INTERVAL = 300
"""Requests of the candidate from one look to the next."""

Z = 2.3263478740408408
"""What a normal variable exceeds with a chance of 1 %."""


class _Interval:
    """Looks after every so many requests of the candidate; an alarm stays."""

    def __init__(self, runs: int) -> None:
        self.sums = np.zeros((4, runs))
        self.left = np.full(runs, float(INTERVAL))
        self.alarms: Array = np.zeros(runs, dtype=bool)

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        self.sums += blocks.bad_c, blocks.good_c, blocks.bad_s, blocks.good_s
        self.left -= blocks.calls
        due = self.left <= 0
        if due.any():
            self.left[due] += INTERVAL
            self.alarms |= due & self.worse()
            self.looked(due)

    def worse(self) -> Array:
        """Whether each run fails, if it is looked at now."""
        raise NotImplementedError

    def looked(self, due: Array) -> None:
        """Note that these runs were looked at."""


class Peeked(_Interval):
    """The z-test of two proportions, pooled and one-sided at 1 %, over all sums so far."""

    def worse(self) -> Array:
        """Whether each run fails, if it is looked at now."""
        bad_c, good_c, bad_s, good_s = self.sums
        n_c, n_s = bad_c + good_c, bad_s + good_s
        pooled = (bad_c + bad_s) / (n_c + n_s)
        error = np.sqrt(pooled * (1.0 - pooled) * (1.0 / n_c + 1.0 / n_s))
        worse: Array = bad_c / n_c - bad_s / n_s > Z * error
        return worse


class Threshold(_Interval):
    """Argo Rollouts' shape: the error rate of the last interval over a limit, ``failureLimit: 0``."""

    def __init__(self, runs: int, limit: float) -> None:
        super().__init__(runs)
        self.limit = limit

    def worse(self) -> Array:
        """Whether each run fails, if it is looked at now."""
        worse: Array = self.sums[0] > self.limit * (self.sums[0] + self.sums[1])
        return worse

    def looked(self, due: Array) -> None:
        """Begin the next interval."""
        self.sums[:, due] = 0.0

"""Whether what is simulated is what is shipped: lanes of many streams against the tests themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bento_rollout.drift.drift_test import DriftTest
from bento_rollout.drift.engine import DATA_BETS, LOSS_BETS
from bento_rollout.drift.loss_test import LossTest

from .data import losses, table
from .ours import Lanes

__all__ = ["Checked", "check"]

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Checked:
    """How far apart the two are at most, in logs of evidence."""

    name: str
    streams: int
    rows: int
    apart: float

    @property
    def met(self) -> bool:
        """Whether they are the same."""
        return self.apart <= _CLOSE

    def __str__(self) -> str:
        word = "met" if self.met else "**MISSED**"
        streams = f"{self.streams} streams of {self.rows} rows"
        return f"{self.name}: {streams}, apart by {self.apart:.1e} at most ({word})"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "streams": self.streams,
            "rows": self.rows,
            "apart": self.apart,
            "met": self.met,
        }


def check(streams: int) -> list[Checked]:
    """Run both on the same rows, in other pages: compare the largest evidence and who is first."""
    return [_rows(streams, 1500), _losses(streams, 5000)]


def _rows(streams: int, count: int) -> Checked:
    rng, rows, apart = np.random.default_rng(1), table(), 0.0
    for seed in range(streams):
        test = DriftTest.fit(rows[rng.integers(0, len(rows), 1000)], seed=seed)
        drawn = rows[rng.integers(0, len(rows), count)]
        drawn[count // 2 :, 0] *= 1.2
        counts = test.reference.counts
        lanes = Lanes.of(counts, DATA_BETS, len(counts), seed)
        *_, (_, peaks) = lanes.take(test.reference.encode(drawn).bins, 100)
        for start in range(0, count, 377):
            test = test.update(drawn[start : start + 377])
        apart = max(apart, abs(float(peaks[0]) - test.log_peak))
        first = [test.reference.tested[place].name for place in lanes.leading(np.array([0]), test.alpha)[0]]
        apart = apart if first == [one.name for one in test.features[: len(first)]] else math.inf
    return Checked("check of data", streams, count, apart)


def _losses(streams: int, count: int) -> Checked:
    rng, known, apart = np.random.default_rng(2), losses("log"), 0.0
    for seed in range(streams):
        drawn = len(known.before)
        test = LossTest.fit(known.before[rng.integers(0, drawn, 500)], kind="log", seed=seed)
        stream = known.before[rng.integers(0, drawn, count)]
        lanes = Lanes.of(test.reference[None], LOSS_BETS, 1, seed)
        bins = np.searchsorted(test.edges, stream).astype(np.uint8)[:, None]
        *_, (_, peaks) = lanes.take(bins, 100)
        for start in range(0, count, 377):
            test = test.update(stream[start : start + 377])
        apart = max(apart, abs(float(peaks[0]) - float(test.wealth.log_peak[0])))
    return Checked("check of losses", streams, count, apart)

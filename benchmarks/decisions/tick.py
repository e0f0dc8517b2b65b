"""What one look of the leader costs: ten guardrails, in plain Python, through the classes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bento_rollout.analysis import (
    Block,
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    KeyBlock,
    KeyedTest,
    LatencyBlock,
    LatencyHealthTest,
    LatencyTest,
)
from bento_rollout.histogram import bin_of

__all__ = ["Cost", "tick"]

BAR = 5.0
ROUNDS = 300
SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """What a tick of ten guardrails cost, in milliseconds of this process's time."""

    name: str
    median: float
    p90: float

    @property
    def met(self) -> bool:
        """Whether it is below the bar."""
        return self.median < BAR

    def __str__(self) -> str:
        state = "met" if self.met else "MISSED"
        return f"{self.name}: {self.median:.2f} ms, 90 % within {self.p90:.2f} ms, bar {BAR:.0f} ms: {state}"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"name": self.name, "median_ms": self.median, "p90_ms": self.p90, "met": self.met}


def tick() -> list[Cost]:
    """Measure ticks at a hundred requests a second, long after the start, so that all copies live.

    Ten guardrails: errors, latency, agreement, and seven numbers that the service measures; each with its
    test of health.
    """
    return [
        _cost("tick of 10 guardrails, each call counts", _by_call()),
        _cost("tick of 10 guardrails, sticky keys", _by_key()),
    ]


def _cost(name: str, one: Callable[[], object]) -> Cost:
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        one()
        times.append(1000 * (time.process_time() - began))
    times = sorted(times[ROUNDS // 3 :])  # the first ones fill the copies
    return Cost(name, statistics.median(times), times[9 * len(times) // 10])


def _durations(random: np.random.Generator, calls: int) -> list[int]:
    return [bin_of(float(seconds)) for seconds in 0.05 * np.exp(0.5 * random.standard_normal(calls))]


def _histogram(bins: list[int]) -> list[int]:
    return [int(count) for count in np.bincount(bins, minlength=1049)]


def _by_call() -> Callable[[], object]:
    random = np.random.default_rng(1)
    before = _histogram(_durations(random, 2000))
    rates: list[Any] = [*(HarmTest() for _ in range(8)), *(HealthTest() for _ in range(8))]
    floors: list[Any] = [FloorTest(0.03), FloorTest(0.03, good=True)]
    slow: list[Any] = [LatencyTest(before), LatencyHealthTest(before)]

    def one() -> None:
        block = Block(5, float(random.binomial(5, 0.01)), 95, float(random.binomial(95, 0.01)), SHARE)
        arms = [_histogram(_durations(random, calls)) for calls in (5, 95)]
        durations = LatencyBlock(arms[0], arms[1], SHARE)
        rates[:] = [test.update(block) for test in rates]
        floors[:] = [test.update(5, 0) for test in floors]
        slow[:] = [test.update(durations) for test in slow]

    return one


def _by_key() -> Callable[[], object]:
    random = np.random.default_rng(2)
    before = _histogram(_durations(random, 2000))
    first_errors: list[Any] = [KeyedTest(EventTest(0.005))]
    starts: list[Any] = [HarmTest(0.005), *[HarmTest()] * 7, *[HealthTest()] * 8]
    rates: list[Any] = [KeyedTest(start) for start in starts]
    floors: list[Any] = [KeyedTest(FloorTest(0.03)), KeyedTest(FloorTest(0.03, good=True))]
    slow: list[Any] = [KeyedTest(LatencyTest(before)), KeyedTest(LatencyHealthTest(before))]

    def one() -> None:
        keys = [int(key) for key in random.integers(0, 1 << 63, 100)]
        bad = [float(random.random() < 0.01) for _ in keys]
        bins = _durations(random, 100)

        def block(values: list[Any]) -> KeyBlock:
            of = dict(zip(keys, values, strict=True))
            arms = {key: of[key] for key in keys[:5]}, {key: of[key] for key in keys[5:]}
            return KeyBlock(arms[0], arms[1], SHARE, calls=25)  # keys that come again open epochs, too

        rate, duration = block(bad), block(bins)
        first_errors[:] = [test.update(rate) for test in first_errors]
        rates[:] = [test.update(rate) for test in rates]
        floors[:] = [test.update(rate) for test in floors]
        slow[:] = [test.update(duration) for test in slow]

    return one

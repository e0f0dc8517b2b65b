"""Compare things in one interleaved run: the machine's moods hit all of them, and the ratio stays true."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Ratio", "interleaved", "ratio"]


@dataclass(frozen=True)
class Ratio:
    """How many times one thing costs the other: the median over rounds, and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f}x  [{self.low:.3f}, {self.high:.3f}]"


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Return the seconds that each contestant took in each round; the order is drawn anew for every round.

    Args:
        contestants: what to run, by name; each is run once beforehand, unmeasured.
        rounds: how often.
        clock: CPU seconds of this process by default: others on the machine do not count.
    """
    for run in contestants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in random.sample(list(contestants), len(contestants)):
            began = clock()
            contestants[name]()
            times[name].append(clock() - began)
    return times


def ratio(over: Sequence[float], under: Sequence[float], draws: int = 2000) -> Ratio:
    """Return the median of the rounds' ratios ``over / under`` with its 95 % bootstrap interval."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(draws))
    return Ratio(statistics.median(ratios), medians[int(draws * 0.025)], medians[int(draws * 0.975)])

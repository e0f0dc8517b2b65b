"""Small seeded rollouts: false alarms keep their promise, and harm is found as soon as published.

A 5 % canary, looked at every 5 candidate requests. `benchmarks/decisions` does this in full.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pytest

from bento_rollout.analysis import (
    Block,
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    LatencyBlock,
    LatencyTest,
)
from bento_rollout.histogram import bin_of

pytestmark = pytest.mark.simulation


def alarmed_after(
    test: Any, champion: float, candidate: float, random: np.random.Generator, most: int
) -> int:
    """How many candidate requests it took to an alarm; ``most`` where there was none."""
    requests = 0
    while not test.alarm and requests < most:
        requests += 5
        bad_c, bad_s = random.binomial(5, candidate), random.binomial(95, champion)
        test = test.update(Block(5, bad_c, 95, bad_s, share=0.05))
    return requests if test.alarm else most


def delays(test: Any, champion: float, candidate: float, runs: int, most: int = 6000) -> list[int]:
    """How long several rollouts took."""
    random = np.random.default_rng(8)
    return [alarmed_after(test, champion, candidate, random, most) for _ in range(runs)]


@pytest.mark.parametrize(
    ("champion", "candidate", "runs", "least", "most"),
    [(0.01, 0.05, 200, 120, 200), (0.0, 1.0, 20, 5, 5), (0.005, 0.02, 120, 400, 680)],
    ids=["1 to 5 %", "0 to 100 %", "0.5 to 2 %"],
)
def test_harm_is_found_soon(champion: float, candidate: float, runs: int, least: int, most: int) -> None:
    """Median delays are near those of the published table: 160, 5, and 508 to 585 candidate requests."""
    assert least <= median(delays(HarmTest(), champion, candidate, runs)) <= most


def test_harm_is_found_soon_after_long_health() -> None:
    """The start mixture: harm after 5 000 healthy candidate requests is found in about 875, not 1 650."""
    random = np.random.default_rng(9)
    healthy = HarmTest()
    for _ in range(1000):
        healthy = healthy.update(
            Block(5, random.binomial(5, 0.005), 95, random.binomial(95, 0.005), share=0.05)
        )
    assert not healthy.alarm
    assert median(delays(healthy, 0.005, 0.02, 40)) <= 1200


@pytest.mark.parametrize("test", [HarmTest(0.1), HarmTest(0.1, 0.002), EventTest(0.1)], ids=repr)
def test_false_alarms_keep_their_promise(test: Any) -> None:
    """Equal arms at 10 %, 1 000 candidate requests, looked at 200 times: at most 10 % of rollouts alarm."""
    runs = 100 if test == HarmTest(0.1, 0.002) else 200
    found = delays(test, 0.02, 0.02, runs, most=1005)
    assert sum(delay < 1005 for delay in found) <= 0.1 * runs


def test_a_ramp_through_an_incident_alarms_nobody() -> None:
    """The share goes 5 to 50 % while both arms fail ten times as often: each block has its own share."""
    random, alarms = np.random.default_rng(10), 0
    for _ in range(100):
        test = HarmTest(0.05)
        for share, rate in [(0.05, 0.01)] * 40 + [(0.25, 0.1)] * 40 + [(0.5, 0.1)] * 40 + [(0.5, 0.01)] * 40:
            n_c = int(random.binomial(100, share))
            bad = random.binomial(n_c, rate), random.binomial(100 - n_c, rate)
            test = test.update(Block(n_c, bad[0], 100 - n_c, bad[1], share=share))
        alarms += test.alarm
    assert alarms <= 5


def test_health_is_shown_and_not_claimed_falsely() -> None:
    """Equal at 0.5 % with a margin of one point: about 570; at the margin: at most 10 %."""
    assert 350 <= median(delays(HealthTest(), 0.005, 0.005, 60)) <= 750
    false = [delay < 1505 for delay in delays(HealthTest(alpha=0.1), 0.005, 0.015, 80, most=1505)]
    assert sum(false) <= 0.1 * 80 + 2 * (80 * 0.1 * 0.9) ** 0.5


def test_agreement_is_shown_to_be_good() -> None:
    """Disagreement shown to be under 3 % at a true 1 %: about 280 pairs; at a true 3 % hardly ever."""
    random = np.random.default_rng(11)

    def pairs(rate: float, most: int) -> int:
        test, seen = FloorTest(0.03, alpha=0.05, good=True), 0
        while not test.alarm and seen < most:
            seen, test = seen + 5, test.update(5, random.binomial(5, rate))
        return seen if test.alarm else most

    assert 180 <= median([pairs(0.01, 4000) for _ in range(100)]) <= 450
    assert sum(pairs(0.03, 1000) < 1000 for _ in range(100)) <= 5


def histogram(seconds: Any) -> list[int]:
    """Counts by bin."""
    counts = [0] * 1049
    for value in seconds:
        counts[bin_of(float(value))] += 1
    return counts


def slow_after(factor: float, share: float, tolerance: float, runs: int, most: int) -> list[int]:
    """Candidate requests until an alarm where a share of its calls takes so many times as long."""
    random = np.random.default_rng(12)

    def calls(number: int) -> Any:
        return 0.05 * np.exp(0.5 * random.standard_normal(number))

    found = []
    for _ in range(runs):
        test, requests = LatencyTest(histogram(calls(2000)), tolerance=tolerance), 0
        while not test.alarm and requests < most:
            requests += 5
            slow = calls(5) * np.where(random.random(5) < share, factor, 1.0)
            test = test.update(LatencyBlock(histogram(slow), histogram(calls(95)), share=0.05))
        found.append(requests if test.alarm else most)
    return found


@pytest.mark.parametrize(
    ("factor", "share", "tolerance", "most"),
    [(1.2, 1.0, 1.0, 230), (2.0, 1.0, 1.0, 25), (10.0, 0.02, 1.0, 380), (2.0, 1.0, 1.1, 40)],
    ids=["1.2 times", "twice", "a tail", "twice, with a tolerance"],
)
def test_slowness_is_found_soon(factor: float, share: float, tolerance: float, most: int) -> None:
    """Median delays are near those of the published table: 165, 15 and 270 candidate requests."""
    assert median(slow_after(factor, share, tolerance, 30, 2000)) <= most


def test_equal_latencies_alarm_nobody() -> None:
    """Equal arms, 300 candidate requests: at most the promised 1 % of rollouts, so none of 40."""
    assert slow_after(1.0, 1.0, 1.0, 40, 300) == [300] * 40

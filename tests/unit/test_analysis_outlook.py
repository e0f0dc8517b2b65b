"""About how many more requests it takes: near what rollouts take, and None where it never ends."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest

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
    needed,
    typical_block,
)
from bento_rollout.analysis.outlook import typical_of
from bento_rollout.errors import InvalidValue

SHARE = 0.05


def histogram(**calls: int) -> list[int]:
    """A histogram with calls in some bins, like ``b350=5``."""
    counts = [0] * 1049
    for name, number in calls.items():
        counts[int(name[1:])] = number
    return counts


BEFORE = histogram(b390=500, b400=1000, b420=490, b500=10)


def taken(test: Any, champion: float, candidate: float, seed: int) -> int:
    """Candidate requests to an alarm."""
    generator, calls = np.random.default_rng(seed), 0
    while not test.alarm:
        bad = int(generator.binomial(5, candidate)), int(generator.binomial(95, champion))
        test, calls = test.update(Block(5, bad[0], 95, bad[1], share=SHARE)), calls + 5
    return calls


@pytest.mark.parametrize(
    ("test", "champion", "odds"),
    [(HarmTest(), 0.01, 5.2), (HarmTest(tolerance=0.01), 0.01, 8.0), (HealthTest(0.03), 0.02, 1.0)],
    ids=["harm", "tolerance", "health"],
)
def test_it_is_near_what_rollouts_take(test: Any, champion: float, odds: float) -> None:
    """The mean of 60, to a third or so: an estimate that a person plans with."""
    block = typical_block(SHARE, champion, odds)
    estimate = needed(test, block)
    assert estimate is not None
    rate = block.x_candidate / block.n_candidate
    mean = statistics.fmean(taken(test, champion, rate, seed) for seed in range(60))
    assert 0.8 * mean < estimate < 1.6 * mean


def test_it_shrinks_as_evidence_grows() -> None:
    """Half way there, about half is missing; at the end nothing is."""
    test, block = HealthTest(0.03), typical_block(SHARE, 0.01)
    told = [needed(test, block)]
    while not test.alarm:
        test = test.update(Block(50, 0.5, 950, 9.5, share=SHARE))
        told.append(needed(test, block))
    numbers = [number for number in told if number is not None]
    assert len(numbers) == len(told)
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] == 0


def test_no_difference_is_never_found() -> None:
    """None: there is no number of requests after which equal arms would be harm, or a bad one healthy."""
    assert needed(HarmTest(), typical_block(SHARE, 0.01)) is None
    assert needed(HarmTest(), typical_block(SHARE, 0.05, odds=0.5)) is None
    assert needed(HarmTest(tolerance=0.05), typical_block(SHARE, 0.01, odds=3)) is None
    assert needed(HealthTest(), typical_block(SHARE, 0.05, odds=2)) is None
    assert needed(FloorTest(0.03), typical_block(SHARE, 0.03)) is None
    assert needed(FloorTest(0.03, good=True), typical_block(SHARE, 0.05)) is None
    assert needed(EventTest(), typical_block(SHARE, 0.05)) is None
    assert needed(HarmTest(), Block(0, 0, 100, 3)) is None


def test_a_new_epoch_would_be_as_good_as_the_first() -> None:
    """After long health a break is found later, by the weight of the next epoch, not by all that was lost."""
    block = typical_block(SHARE, 0.005, odds=4)
    first = needed(HarmTest(), block)
    healthy = HarmTest()
    for _ in range(200):
        healthy = healthy.update(Block(500, 2.5, 9500, 47.5, share=SHARE))
    later = needed(healthy, block)
    assert first is not None
    assert later is not None
    assert first < later < 3 * first


def test_larger_effects_need_fewer() -> None:
    """For every test of harm."""
    for test in (HarmTest(), EventTest(), FloorTest(0.02), KeyedTest(EventTest()), KeyedTest(HarmTest())):
        told = [needed(test, typical_block(SHARE, 0.02, odds)) or 0 for odds in (2, 4, 8, 100)]
        assert told == sorted(told, reverse=True)
        assert told[-1] >= 1


def test_durations() -> None:
    """In requests, whatever the size of the typical block; equal arms are never harm."""
    slower = histogram(b410=500, b420=1000, b440=490, b520=10)
    told = [
        needed(
            LatencyTest(BEFORE), LatencyBlock([n * times for n in slower], [n * 19 * times for n in BEFORE])
        )
        for times in (1, 100)
    ]
    assert told[0] == pytest.approx(told[1], rel=0.1)
    assert needed(LatencyTest(BEFORE), LatencyBlock(BEFORE, BEFORE)) is None
    for health in (LatencyHealthTest(BEFORE), KeyedTest(LatencyHealthTest(BEFORE))):
        assert 100 < (needed(health, LatencyBlock(BEFORE, [19 * n for n in BEFORE])) or 0) < 2000
        assert needed(health, LatencyBlock(slower, BEFORE)) is None


def test_keys() -> None:
    """The first copy has half the weight; an alarm needs nothing more."""
    block = typical_block(SHARE, 0.01, odds=5)
    plain, keyed = needed(HarmTest(), block), needed(KeyedTest(HarmTest()), block)
    assert plain is not None
    assert keyed is not None
    assert plain * 0.9 <= keyed <= plain * 1.1
    alarmed = KeyedTest(EventTest()).update(KeyBlock(dict.fromkeys(range(50), 1.0), {}, share=SHARE))
    assert needed(alarmed, block) == 0


def test_a_typical_block_has_the_rate_that_the_test_knows() -> None:
    """So that an estimate needs a share only."""
    test = HarmTest(champion_calls=100_000, champion_bad=2000)
    block = typical_of(test, SHARE, odds=3)
    assert block.x_champion / block.n_champion == pytest.approx(0.02, rel=0.01)
    assert needed(test, block) == needed(test, typical_block(SHARE, block.x_champion / block.n_champion, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.1), "share is 0"),
        ((0.5, 1.0), "champion is 1"),
        ((0.5, 0.1, 0.0), "odds is 0"),
        ((0.5, 0.1, float("nan")), "odds is nan"),
    ],
)
def test_what_cannot_be_typical_is_refused(arguments: tuple[float, ...], message: str) -> None:
    """By name."""
    with pytest.raises(InvalidValue, match=message):
        typical_block(*arguments)


def test_a_block_of_another_metric_is_refused() -> None:
    """Durations for rates, and the other way round; no share where it is needed."""
    with pytest.raises(InvalidValue, match="another kind than HarmTest"):
        needed(HarmTest(), LatencyBlock(BEFORE, BEFORE))
    with pytest.raises(InvalidValue, match="another kind than LatencyTest"):
        needed(LatencyTest(BEFORE), Block(1, 0, 1, 0))
    with pytest.raises(InvalidValue, match="share is None"):
        needed(EventTest(), Block(1, 0, 1, 0))

"""What health is made of: slow calls by two claims, first minutes of keys, and one finding of all tests."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.analysis import (
    Block,
    HarmTest,
    HealthTest,
    KeyBlock,
    KeyCalls,
    KeyedTest,
    KeyWindows,
    LatencyBlock,
    LatencyHealthTest,
    SampleRatioTest,
    finding_of,
    worst,
)
from bento_rollout.assessment import Finding
from bento_rollout.errors import InvalidValue
from bento_rollout.histogram import bin_of

# -- latency -------------------------------------------------------------------------------------------------


def calls(generator: random.Random, number: int, factor: float = 1.0) -> list[int]:
    """Log-normal durations around 20 ms."""
    counts = [0] * 1049
    for _ in range(number):
        counts[bin_of(factor * 0.02 * math.exp(generator.gauss(0, 0.5)))] += 1
    return counts


def shown_after(factor: float, tolerance: float, seed: int, most: int) -> int | None:
    """Candidate requests until it is shown that the candidate is not slower, at a share of 5 %."""
    generator = random.Random(seed)
    test = LatencyHealthTest(calls(generator, 2000), tolerance=tolerance)
    for served in range(25, most, 25):
        block = LatencyBlock(calls(generator, 25, factor), calls(generator, 475), share=0.05)
        test = test.update(block)
        if test.alarm:
            return served
    return None


def test_health_of_latencies_is_shown() -> None:
    """Equal arms: about 475 requests; 5 % slower within a tolerance of 10 %: fewer still than without it."""
    found = [shown_after(1.0, 1.0, seed, 3000) for seed in range(9)]
    told = sorted(number for number in found if number is not None)
    assert len(told) == 9
    assert 200 <= told[4] <= 1000
    assert all(shown_after(1.05, 1.1, seed, 3000) for seed in range(3))


def test_slower_candidates_are_not_healthy() -> None:
    """30 % slower: half as many again are slower than the median."""
    assert [shown_after(1.3, 1.0, seed, 1500) for seed in range(5)] == [None] * 5


def test_the_claims_are_tests_of_exceedances() -> None:
    """The same as two tests of health that are given the slow calls by hand, from the same history."""
    generator = random.Random(7)
    before = calls(generator, 4000)
    test = LatencyHealthTest(before, tolerance=1.1)
    edges, total = [], 0
    for share in (0.5, 0.95):
        up_to = [sum(before[: last + 1]) for last in range(1049)]
        edges.append(next(last for last, seen in enumerate(up_to) if seen >= share * 4000))
    history = [sum(before[edge + 1 :]) / 2 for edge in edges]
    by_hand = [
        HealthTest(margin, champion_bad=bad, champion_calls=2000)
        for margin, bad in zip((0.10, 0.03), history, strict=True)
    ]
    for _ in range(8):
        block = LatencyBlock(calls(generator, 50), calls(generator, 150), share=0.25)
        test, total = test.update(block), total + 50
        by_hand = [
            one.update(
                Block(50, sum(block.candidate[edge + 6 :]), 150, sum(block.champion[edge + 1 :]), 0.25)
            )
            for one, edge in zip(by_hand, edges, strict=True)
        ]
    assert [one.log_evidence for one in test.tests] == pytest.approx([one.log_evidence for one in by_hand])
    assert test.log_evidence == min(one.log_evidence for one in test.tests)
    assert LatencyHealthTest.from_dict(json.loads(json.dumps(test.to_dict()))) == test


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tests": []}, "no list of 2 tests"),
        ({"tests": [HealthTest(0.1).to_dict(), HealthTest(0.1).to_dict()]}, "start anew"),
        ({"tests": [HealthTest(0.1).to_dict(), HarmTest().to_dict()]}, "'HealthTest' is needed"),
        ({"thresholds": {}}, "'LatencyTest' is needed"),
        ({"claims": [[0.5, 0.2], [0.95, 0.03]]}, "start anew"),
    ],
)
def test_stored_health_of_latencies_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    """By the name of what is wrong."""
    stored = LatencyHealthTest(calls(random.Random(1), 1000)).to_dict()
    with pytest.raises(InvalidValue, match=message):
        LatencyHealthTest.from_dict({**stored, **change})


def test_too_few_earlier_calls_are_refused() -> None:
    """As for the test of harm: no thresholds, no data."""
    with pytest.raises(InvalidValue, match="wait for 1 more"):
        LatencyHealthTest(calls(random.Random(1), 999))


# -- windows -------------------------------------------------------------------------------------------------


def test_a_key_is_averaged_over_its_first_minute() -> None:
    """Calls after it do not count, nor those of the other arm; the flush in which it ends may be late."""
    windows = KeyWindows(60)
    windows, closed = windows.update({1: KeyCalls(1, 1, 0.0)}, {2: KeyCalls(2, 0, 5.0)}, share=0.2, now=6)
    assert closed == ()
    windows, closed = windows.update({1: KeyCalls(2, 0, 59.0)}, {}, share=0.2, now=59.9)
    assert closed == ()
    windows, closed = windows.update({}, {1: KeyCalls(9, 9, 60.5)}, share=0.2, now=61)
    assert closed == (KeyBlock({1: 1 / 3}, {}, 0.2),)
    windows, closed = windows.update({}, {2: KeyCalls(7, 7, 65.0)}, share=0.2, now=70)
    assert closed == (KeyBlock({}, {2: 0.0}, 0.2),)
    assert windows.windows == {}


def test_a_window_belongs_to_the_share_at_which_it_opened() -> None:
    """A block never crosses a revision."""
    windows = KeyWindows(10)
    windows, _ = windows.update({1: KeyCalls(1, 0, 0.0)}, {}, share=0.05, now=0)
    windows, _ = windows.update({2: KeyCalls(1, 0, 3.0)}, {3: KeyCalls(1, 1, 3.0)}, share=0.25, now=3)
    windows, closed = windows.update({}, {}, share=0.25, now=30)
    assert closed == (KeyBlock({1: 0.0}, {}, 0.05), KeyBlock({2: 0.0}, {3: 1.0}, 0.25))


def test_windows_are_bounded_in_hashes() -> None:
    """Of too many keys only those with small hashes are kept, whatever they did."""
    generator = random.Random(2)
    windows = KeyWindows(60, 50)
    for _ in range(10):
        keys = {generator.getrandbits(64): KeyCalls(1, 0, 0.0) for _ in range(40)}
        windows, closed = windows.update(keys, {}, share=0.5, now=1)
        assert closed == ()
        assert len(windows.windows) <= 50
    assert windows.cut < 1 << 64
    assert all(key < windows.cut for key in windows.windows)
    windows, closed = windows.update({windows.cut: KeyCalls(1, 0, 2.0)}, {}, share=0.5, now=100)
    assert [len(block.candidate) for block in closed] == [len(closed[0].candidate)]
    assert windows.windows == {}


def test_health_of_sticky_keys() -> None:
    """Windows feed a test in which a key counts once and for ever: about 660 keys of the candidate."""
    generator = random.Random(5)
    windows, test = KeyWindows(5), KeyedTest(HealthTest(0.05))
    for second in range(400):
        arms: tuple[dict[int, KeyCalls], dict[int, KeyCalls]] = ({}, {})
        for key in {generator.randrange(4000) for _ in range(60)}:
            arms[key % 4 > 0][key] = KeyCalls(2, float(generator.random() < 0.01), float(second))
        windows, closed = windows.update(*arms, share=0.25, now=second + 0.5)
        for block in closed:
            test = test.update(block)
    assert test.alarm
    assert len(test.table) <= 4000


@given(
    st.dictionaries(
        st.integers(0, (1 << 64) - 1),
        st.tuples(st.integers(1, 9), st.floats(0, 1), st.floats(-1e6, 1e6)).map(
            lambda found: KeyCalls(found[0], found[0] * found[1], found[2])
        ),
        max_size=9,
    ),
    st.floats(-1e6, 1e6),
)
def test_windows_survive_their_way_through_json(arm: dict[int, KeyCalls], now: float) -> None:
    """Exactly, and whatever the clock says."""
    windows, closed = KeyWindows().update(arm, {}, share=0.5, now=now)
    assert KeyWindows.from_dict(json.loads(json.dumps(windows.to_dict()))) == windows
    assert sum(len(block.candidate) for block in closed) + len(windows.windows) == len(arm)


@pytest.mark.parametrize(
    ("calls_", "share", "now", "message"),
    [
        (KeyCalls(0, 0, 0.0), 0.5, 0.0, "bad is 0 of 0 calls"),
        (KeyCalls(1, 2, 0.0), 0.5, 0.0, "bad is 2 of 1 calls"),
        (KeyCalls(1, math.nan, 0.0), 0.5, 0.0, "bad is nan"),
        (KeyCalls(-1, 0, 0.0), 0.5, 0.0, "calls is -1"),
        (KeyCalls(1, 0, math.inf), 0.5, 0.0, "time is inf"),
        (KeyCalls(1, 0, 0.0), 0.0, 0.0, "share is 0"),
        (KeyCalls(1, 0, 0.0), 0.5, math.nan, "now is nan"),
    ],
)
def test_calls_that_cannot_be_are_refused(calls_: KeyCalls, share: float, now: float, message: str) -> None:
    """By name."""
    with pytest.raises(InvalidValue, match=message):
        KeyWindows().update({1: calls_}, {}, share=share, now=now)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"capacity": 0}, "capacity is 0"),
        ({"cut": 0}, "cut is 0"),
        ({"windows": 5}, "a list is needed"),
        ({"windows": [[1, True]]}, "no list of a hash"),
        ({"windows": [[1, 1, 0.5, 1, 0, 0.0]]}, "true or false is needed"),
        ({"windows": [[1, True, 0.5, 1, 0, 0.0]] * 2}, "a key twice"),
        ({"windows": [[9, True, 0.5, 1, 0, 0.0]], "cut": 9}, "not below the cut"),
        ({"windows": [[-1, True, 0.5, 1, 0, 0.0]]}, "no hash of a key"),
    ],
)
def test_stored_windows_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InvalidValue, match=message):
        KeyWindows.from_dict({**KeyWindows().to_dict(), **change})


# -- findings ------------------------------------------------------------------------------------------------

QUIET, LOUD = HarmTest(), HarmTest(alarm=True)
UNSHOWN, SHOWN = HealthTest(), HealthTest(alarm=True)
RIGHT, WRONG = SampleRatioTest(), SampleRatioTest(alarm=True)


@pytest.mark.parametrize(
    ("harm", "health", "ratio", "heard", "finding"),
    [
        ([QUIET, LOUD], [SHOWN], [WRONG], True, Finding.HARMFUL),
        ([LOUD], [], [], False, Finding.HARMFUL),
        ([QUIET], [SHOWN], [RIGHT, WRONG], True, Finding.UNMEASURABLE),
        ([QUIET], [SHOWN], [RIGHT], False, Finding.NO_DATA),
        ([QUIET], [SHOWN, SHOWN], [RIGHT], True, Finding.HEALTHY),
        ([QUIET], [SHOWN, UNSHOWN], [RIGHT], True, Finding.INCONCLUSIVE),
        ([QUIET], [], [RIGHT], True, Finding.INCONCLUSIVE),
        ([], [], [], True, Finding.INCONCLUSIVE),
    ],
)
def test_one_finding(harm: Any, health: Any, ratio: Any, heard: bool, finding: Finding) -> None:
    """Harm outweighs all; health needs positive evidence from each of its tests."""
    assert finding_of(harm=harm, health=health, ratio=ratio, heard=heard) is finding


def test_the_worst_wins() -> None:
    """Only healthy ones are healthy together; nothing at all is no data."""
    assert worst([]) is Finding.NO_DATA
    assert worst([Finding.HEALTHY] * 2) is Finding.HEALTHY
    for finding in Finding:
        assert worst([Finding.HEALTHY, finding]) is finding
        assert worst([finding, Finding.HARMFUL]) is Finding.HARMFUL

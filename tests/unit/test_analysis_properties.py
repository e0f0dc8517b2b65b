"""What holds of every test, whatever is counted: latched, stored exactly, never NaN, added in any order."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.analysis import (
    Block,
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    LatencyBlock,
    LatencyTest,
    SampleRatioTest,
)
from bento_rollout.errors import InvalidValue

HISTORY = [0] * 300 + [20] * 100 + [0] * 649

SHARES = st.one_of(
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.sampled_from([5e-324, 1e-300, 1e-12, 0.05, 0.5, 1 - 1e-12, 1 - 2**-53]),
)


@st.composite
def arms(draw: st.DrawFn) -> tuple[int, float]:
    """Calls of one arm, up to 10^9, and the bad ones: none, all, or any sum between."""
    n = draw(st.one_of(st.integers(0, 30), st.sampled_from([0, 10**3, 10**6, 10**9])))
    return n, draw(st.one_of(st.just(0.0), st.just(float(n)), st.floats(0, n), st.integers(0, n).map(float)))


BLOCKS = st.builds(lambda c, s, share: Block(c[0], c[1], s[0], s[1], share), arms(), arms(), SHARES)


@st.composite
def histograms(draw: st.DrawFn) -> list[int]:
    """Calls in a few bins."""
    counts = [0] * 1049
    for bin_ in draw(st.lists(st.integers(0, 1048), max_size=4)):
        counts[bin_] = draw(st.sampled_from([1, 5, 1000, 10**9]))
    return counts


LATENCIES = st.builds(LatencyBlock, histograms(), histograms(), SHARES)

STARTS: list[Any] = [
    HarmTest(),
    HarmTest(0.05, 0.01),
    HarmTest(tolerance=0.9),
    HarmTest(champion_bad=3, champion_calls=1000),
    EventTest(),
    HealthTest(),
    HealthTest(0.3, 0.2),
    FloorTest(0.01),
    FloorTest(0.03, good=True),
    SampleRatioTest(),
    LatencyTest(HISTORY),
    LatencyTest(HISTORY, tolerance=1.1),
]
IDS = [f"{type(test).__name__}{place}" for place, test in enumerate(STARTS)]


def updated(test: Any, block: Block, latency: LatencyBlock) -> Any:
    """The next test, given what it takes."""
    if isinstance(test, LatencyTest):
        return test.update(latency)
    if isinstance(test, FloorTest):
        return test.update(block.n_candidate, block.x_candidate)
    return test.update(block)


@pytest.mark.parametrize("start", STARTS, ids=IDS)
@given(st.lists(st.tuples(BLOCKS, LATENCIES, st.booleans()), max_size=5))
@settings(max_examples=60, deadline=None)
def test_every_test(start: Any, given_blocks: list[tuple[Block, LatencyBlock, bool]]) -> None:
    """Evidence stays a number, an alarm stays, an epoch leaves the evidence, and storing changes nothing."""
    test = start
    for block, latency, epoch in given_blocks:
        following = updated(test, block, latency)
        assert math.isfinite(following.log_evidence)
        assert following.alarm >= test.alarm
        assert following.alarm == (test.alarm or following.log_evidence >= -math.log(test.alpha))
        test = following
        if epoch and hasattr(test, "epoch"):
            opened = test.epoch()
            near = pytest.approx(test.log_evidence, abs=1e-9, rel=1e-12)
            assert opened.log_evidence == near
            assert opened.alarm == test.alarm
            test = opened
        stored = json.loads(json.dumps(test.to_dict(), allow_nan=False))
        assert type(test).from_dict(stored) == test
        assert updated(type(test).from_dict(stored), block, latency) == updated(test, block, latency)


@given(BLOCKS, LATENCIES)
@settings(max_examples=50, deadline=None)
def test_blocks_are_stored_exactly(block: Block, latency: LatencyBlock) -> None:
    """A block comes back as it was, with its share or without."""
    assert Block.from_dict(json.loads(json.dumps(block.to_dict()))) == block
    assert LatencyBlock.from_dict(json.loads(json.dumps(latency.to_dict()))) == latency


@given(st.lists(st.tuples(*[st.integers(0, 10**6)] * 4), min_size=1, max_size=6), st.randoms())
def test_workers_may_be_added_in_any_order(sums: list[tuple[int, int, int, int]], random: Any) -> None:
    """The sum of the blocks of all workers is the same, whoever comes first."""
    blocks = [Block(n_c + x_c, x_c, n_s + x_s, x_s, share=0.3) for n_c, x_c, n_s, x_s in sums]
    shuffled = random.sample(blocks, len(blocks))
    first, second = blocks[0], shuffled[0]
    for one, other in zip(blocks[1:], shuffled[1:], strict=True):
        first, second = first + one, second + other
    assert first == second
    assert HarmTest().update(first) == HarmTest().update(second)


@pytest.mark.parametrize("start", STARTS, ids=IDS)
def test_what_was_stored_otherwise_is_refused(start: Any) -> None:
    """Other kinds, missing, unknown and other fields, and numbers that are none: each by name."""
    kind, good = type(start), start.to_dict()
    with pytest.raises(InvalidValue, match="a mapping"):
        kind.from_dict([good])
    with pytest.raises(InvalidValue, match="'Other'"):
        kind.from_dict(good | {"kind": "Other"})
    with pytest.raises(InvalidValue, match="no field 'more'"):
        kind.from_dict(good | {"more": 1})
    for name in good.keys() - {"kind"}:
        with pytest.raises(InvalidValue, match=name):
            kind.from_dict({key: value for key, value in good.items() if key != name})
        bad: list[Any] = [math.nan, math.inf, "x", [math.nan], {}]
        for wrong in bad:
            with pytest.raises(InvalidValue, match=name):
                kind.from_dict(good | {name: wrong})
        if isinstance(good[name], list):
            with pytest.raises(InvalidValue, match=name):
                kind.from_dict(good | {name: good[name][1:]})


def test_stored_evidence_of_another_grid_is_refused() -> None:
    """Evidence that other odds or epochs made is not carried on."""
    stored = HarmTest().to_dict()
    with pytest.raises(InvalidValue, match="other settings"):
        HarmTest.from_dict(stored | {"every": 500})
    with pytest.raises(InvalidValue, match="other settings"):
        HarmTest.from_dict(stored | {"odds": [2.0, *stored["odds"][1:]]})
    with pytest.raises(InvalidValue, match="epochs is -1"):
        HarmTest.from_dict(stored | {"epochs": -1})
    with pytest.raises(InvalidValue, match="calls is 1000"):
        HarmTest.from_dict(stored | {"calls": 1000})


def test_large_counts_keep_the_sample_ratio_exact() -> None:
    """Counts that follow the share give less evidence the more there are, by half the log of their number."""
    one, hundred = (
        SampleRatioTest().update(Block(n, 0, 19 * n, 0, share=0.05)).log_evidence for n in (10**9, 10**11)
    )
    assert one - hundred == pytest.approx(math.log(100) / 2, abs=1e-6)

"""Harm where routing is sticky: a key counts once for each epoch, and the promise holds whatever keys do."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.analysis import Block, EventTest, HarmTest, KeyTable, StickyTest
from bento_rollout.analysis.sticky import MOST_COPIES, NEWEST
from bento_rollout.errors import InvalidValue

SHARE = 0.05
KEYS = 2000


def zipf(generator: random.Random) -> Iterator[int]:
    """Draw keys, a few of which send most of the calls."""
    weights = [1 / rank**1.1 for rank in range(1, KEYS + 1)]
    while True:
        yield from generator.choices(list(range(KEYS)), weights, k=5000)


def run(seed: int, fails: Callable[[int, bool, int], bool], calls: int) -> tuple[int | None, bool]:
    """Serve calls of sticky keys, a twentieth of which are the candidate's, in blocks of a hundred.

    Returns the call at which the test of keys alarmed, and whether one of calls ever did.
    """
    generator = random.Random(seed)
    draw = zipf(generator)
    mine = [generator.random() < SHARE for _ in range(KEYS)]
    hashes = [generator.getrandbits(64) for _ in range(KEYS)]
    test, table, naive = StickyTest(alpha=0.01, events=True), KeyTable(), HarmTest(alpha=0.01)
    since = 0
    for begun in range(0, calls, 100):
        block = [(key, fails(key, mine[key], begun)) for key in islice(draw, 100)]
        arms = [[(key, bad) for key, bad in block if mine[key] is arm] for arm in (True, False)]
        failed = [[(hashes[key], 1.0) for key in dict.fromkeys(k for k, bad in arm if bad)] for arm in arms]
        counts = [table.counted(keys, test.epoch_number) for keys in failed]
        test = test.update(counts[0], counts[1], share=SHARE)
        sums = [(len(arm), float(sum(bad for _, bad in arm))) for arm in arms]
        naive = naive.update(Block(*sums[0], *sums[1], share=SHARE))
        since += len(arms[0])
        if since >= 1000:
            since, test = 0, test.epoch()
        if test.alarm:
            return begun + 100, naive.alarm
    return None, naive.alarm


def test_keys_that_always_fail_are_no_harm() -> None:
    """One key in a hundred always fails, in both arms: a test of calls takes that for harm."""
    found = []
    for seed in range(40):
        generator = random.Random(1000 + seed)
        broken = {key for key in range(KEYS) if generator.random() < 0.01}
        found.append(run(seed, lambda key, _mine, _at, broken=broken: key in broken, 20_000))  # type: ignore[misc]
    assert sum(alarm is not None for alarm, _ in found) <= 2
    assert sum(naive for _, naive in found) >= 4


def test_a_break_long_after_the_start_is_found() -> None:
    """When most keys have failed once already: from 5 % to all, after 30 000 healthy calls."""
    chance = random.Random(1)

    def fails(_key: int, mine: bool, at: int) -> bool:
        return (mine and at >= 30_000) or chance.random() < 0.05

    for seed in range(5):
        alarm, _ = run(seed, fails, 40_000)
        assert alarm is not None
        assert alarm > 30_000


def test_with_one_epoch_it_is_the_plain_test_halved() -> None:
    """Copy 1 has the weight 1/2, and no copy is to come."""
    plain, sticky = EventTest(), StickyTest(events=True)
    for x_candidate, x_champion in ((1, 3), (2, 0), (0, 9)):
        plain = plain.update(Block(9, x_candidate, 9, x_champion, share=SHARE))
        sticky = sticky.update({0: (x_candidate, x_candidate)}, {0: (x_champion, x_champion)}, share=SHARE)
    assert math.exp(sticky.log_evidence) + 0.5 == pytest.approx(math.exp(plain.log_evidence))


def test_rates_are_bet_on_as_without_keys() -> None:
    """With as many keys as calls, the first copy is the test of calls."""
    plain, sticky, table = HarmTest(tolerance=0.01), StickyTest(tolerance=0.01), KeyTable()
    for start in range(0, 900, 100):
        candidate = [(start + n, float(n < 2)) for n in range(20)]
        champion = [(10_000 + start + n, float(n < 1)) for n in range(80)]
        sticky = sticky.update(table.counted(candidate, 1), table.counted(champion, 1), share=0.2)
        plain = plain.update(Block(20, 2, 80, 1, share=0.2))
    assert math.exp(sticky.log_evidence) + 0.5 == pytest.approx(math.exp(plain.log_evidence))


def test_what_a_copy_counts() -> None:
    """A key that counted before its epoch opened, or never; once."""
    table = KeyTable()
    assert table.counted([(1, 1.0), (2, 0.5), (1, 1.0)], 1) == {0: (2, 1.5)}
    assert table.counted([(1, 1.0)], 1) == {}
    assert table.counted([(1, 1.0), (3, 1.0)], 4) == {1: (1, 1.0), 0: (1, 1.0)}
    test = StickyTest(events=True).epoch().epoch().epoch()
    test = test.update({1: (1, 1.0), 0: (1, 1.0)}, {}, share=0.5)
    won = [copy.logs[0] for copy in test.copies]
    once = math.log(1.25 / 1.125)
    assert won == pytest.approx([once, 2 * once, 2 * once, 2 * once])


def test_copies_are_bounded_and_the_newest_stay() -> None:
    """However long it runs; of the others the ones with the most evidence."""
    test = StickyTest(events=True)
    for epoch in range(1, 200):
        if epoch == 50:
            test = test.update({epoch - 1: (3, 3.0)}, {}, share=SHARE)
        test = test.epoch()
    epochs = [copy.epoch for copy in test.copies]
    assert len(epochs) == MOST_COPIES
    assert epochs[-NEWEST:] == [196, 197, 198, 199, 200]
    assert 50 in epochs


def test_the_table_is_bounded_in_hashes() -> None:
    """When it is full, only keys of half the hashes are counted, and those that stay still count once."""
    table, generator = KeyTable(most=100), random.Random(3)
    keys = [(generator.getrandbits(64), 1.0) for _ in range(1000)]
    for key in keys:
        table.counted([key], 1)
    assert 20 < len(table) <= 100
    assert table.cut < 1 << 64
    assert table.counted(keys, 1) == {}
    assert table.counted(keys, 2) == {1: (len(table), float(len(table)))}


counts = st.dictionaries(
    st.integers(0, 30),
    st.integers(0, 1000).flatmap(lambda n: st.tuples(st.just(n), st.floats(0, n))),
    max_size=5,
)


@given(st.lists(st.one_of(st.none(), st.tuples(counts, counts)), max_size=30), st.booleans())
def test_it_survives_its_way_through_json(steps: list[Any], events: bool) -> None:
    """At any moment, exactly; the alarm stays; nothing is ever no number."""
    test, alarmed = StickyTest(alpha=0.2, events=events), False
    for step in steps:
        test = test.epoch() if step is None else test.update(*step, share=0.3)
        alarmed = alarmed or test.log_evidence >= math.log(5)
        assert math.isfinite(test.log_evidence)
        assert test.alarm is alarmed
        assert StickyTest.from_dict(json.loads(json.dumps(test.to_dict()))) == test


def test_a_table_survives_its_way_through_json() -> None:
    """With its cut."""
    table = KeyTable(most=4)
    table.counted([(n << 60, 1.0) for n in range(8)], 3)
    back = KeyTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert (back.to_dict(), back.cut) == (table.to_dict(), 1 << 62)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"copies": []}, "no list of 1 to 20"),
        ({"copies": [[2, [0.0] * 11, 0, 0], [1, [0.0] * 11, 0, 0]]}, "rising ones are needed"),
        ({"copies": [[1, [0.0] * 10, 0, 0]]}, "no list of 11 numbers"),
        ({"copies": [[1, [math.nan] * 11, 0, 0]]}, "logs"),
        ({"copies": [[0, [0.0] * 11, 0, 0]]}, "that cannot be"),
        ({"copies": [[1, [0.0] * 11, 5, 1]]}, "that cannot be"),
        ({"copies": [[1]]}, "two sums are needed"),
        ({"odds": [2.0]}, "start anew"),
        ({"alpha": 1}, "alpha is 1"),
        ({"tolerance": -0.1}, "tolerance is -0.1"),
        ({"tolerance": 0.1, "events": True}, "0 with events"),
        ({"alarm": 1}, "alarm is 1"),
        ({"kind": "HarmTest"}, "'StickyTest' is needed"),
    ],
)
def test_a_stored_test_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InvalidValue, match=message):
        StickyTest.from_dict({**StickyTest().to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cut": -1}, "cut is -1"),
        ({"cut": 1.5}, "cut is 1.5"),
        ({"keys": {}}, "a list of pairs is needed"),
        ({"keys": [[1]]}, "a hash and an epoch"),
        ({"keys": [[1, 0]]}, "an epoch from 1"),
        ({"keys": [[5, 1]], "cut": 5}, "below the cut"),
        ({"most": -1}, "most is -1"),
    ],
)
def test_a_stored_table_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InvalidValue, match=message):
        KeyTable.from_dict({**KeyTable().to_dict(), **change})

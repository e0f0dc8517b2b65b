"""Harm where routing is sticky: a key counts once for each epoch, and the promise holds whatever keys do."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from itertools import islice
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
    KeyBlock,
    KeyedTest,
    KeyTable,
    LatencyBlock,
    LatencyTest,
)
from bento_rollout.analysis.keyed import MOST_COPIES, NEWEST, weight_of
from bento_rollout.errors import InvalidValue

SHARE = 0.05
KEYS = 2000


def zipf(generator: random.Random) -> Iterator[int]:
    """Draw keys, a few of which send most of the calls."""
    weights = [1 / rank**1.1 for rank in range(1, KEYS + 1)]
    while True:
        yield from generator.choices(list(range(KEYS)), weights, k=5000)


def histogram(**calls: int) -> list[int]:
    """A histogram with calls in some bins, like ``b350=5``."""
    counts = [0] * 1049
    for name, number in calls.items():
        counts[int(name[1:])] = number
    return counts


BEFORE = histogram(b390=500, b400=1000, b420=490, b500=10)


def run(
    seed: int,
    fails: Callable[[int, bool, int], bool],
    calls: int,
    start: EventTest | HarmTest | None = None,
) -> tuple[int | None, bool]:
    """Serve calls of sticky keys, a twentieth of which are the candidate's, in blocks of a hundred.

    Returns the call at which the test of keys alarmed, and whether one of calls ever did.
    """
    generator = random.Random(seed)
    draw = zipf(generator)
    mine = [generator.random() < SHARE for _ in range(KEYS)]
    hashes = [generator.getrandbits(64) for _ in range(KEYS)]
    test, naive = KeyedTest(start or EventTest(alpha=0.01)), HarmTest(alpha=0.01)
    for begun in range(0, calls, 100):
        block = [(key, fails(key, mine[key], begun)) for key in islice(draw, 100)]
        arms = [[(key, bad) for key, bad in block if mine[key] is arm] for arm in (True, False)]
        failed = [{hashes[key]: float(bad) for key, bad in reversed(arm) if bad or start} for arm in arms]
        test = test.update(KeyBlock(failed[0], failed[1], share=SHARE, calls=len(arms[0])))
        sums = [(len(arm), float(sum(bad for _, bad in arm))) for arm in arms]
        naive = naive.update(Block(*sums[0], *sums[1], share=SHARE))
        if test.alarm:
            return begun + 100, naive.alarm
    return None, naive.alarm


@pytest.mark.simulation
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
    """When most keys have failed once already: from 5 % to all, after 40 000 healthy calls."""
    chance = random.Random(1)

    def fails(_key: int, mine: bool, at: int) -> bool:
        return (mine and at >= 40_000) or chance.random() < 0.05

    for seed in range(4):
        alarm, _ = run(seed, fails, 45_000)
        assert alarm is not None
        assert alarm > 40_000


def test_a_break_is_found_wherever_an_epoch_is() -> None:
    """From 5 % to all, 10 000 calls after a long epoch opened: first calls see it in short epochs."""
    chance = random.Random(1)

    def fails(_key: int, mine: bool, at: int) -> bool:
        return (mine and at >= 30_000) or chance.random() < 0.05

    found = [run(seed, fails, 34_000, HarmTest(alpha=0.01))[0] for seed in range(6)]
    assert all(alarm is not None and 30_000 < alarm <= 32_000 for alarm in found)


@pytest.mark.simulation
def test_keys_that_are_slow_by_themselves_are_no_harm() -> None:
    """Each key has a latency of its own (sd of the log 0.3), the same in both arms."""
    keyed = called = 0
    for seed in range(25):
        generator = random.Random(seed)
        bins = [400 + round(generator.gauss(0, 0.3) / math.log(1.02)) for _ in range(KEYS)]
        before = [0] * 1049
        for key in islice(zipf(generator), 2000):
            before[bins[key]] += 1
        mine = [generator.random() < SHARE for _ in range(KEYS)]
        draw, naive = zipf(generator), LatencyTest(before)
        test = KeyedTest(naive)
        for _ in range(30):
            arms: tuple[dict[int, float], dict[int, float]] = ({}, {})
            counts = [0] * 1049, [0] * 1049
            for key in islice(draw, 400):
                arm = 0 if mine[key] else 1
                arms[arm][key] = bins[key]
                counts[arm][bins[key]] += 1
            test = test.update(KeyBlock(arms[0], arms[1], share=SHARE, calls=sum(counts[0])))
            naive = naive.update(LatencyBlock(*counts, share=SHARE))
        keyed += test.alarm
        called += naive.alarm
    assert keyed <= 1
    assert called >= 4


# -- against copies that are kept one by one ---------------------------------------------------------------


class ByHand:
    """The definition: each copy remembers for itself which keys it has counted."""

    def __init__(self, start: Any) -> None:
        self.copies: dict[int, tuple[Any, set[int]]] = {1: (start.plain(), set())}

    @property
    def newest(self) -> int:
        """The epoch that is open."""
        return max(self.copies)

    def epoch(self) -> None:
        """Open one more; of too many the least goes, the newest ones excepted."""
        self.copies[self.newest + 1] = (self.copies[self.newest][0].plain(), set())
        if len(self.copies) > MOST_COPIES:
            del self.copies[min(sorted(self.copies)[:-NEWEST], key=self.evidence)]

    def evidence(self, epoch: int) -> float:
        """``ln(w_m E_m)``; all epochs here are long ones."""
        log: float = self.copies[epoch][0].log_evidence
        early, late = math.log(epoch + 99), math.log(epoch + 100)
        return log + math.log(0.2 * math.log(100) * (1 / early - 1 / late) + 0.8 / (epoch * (epoch + 1)))

    def update(self, candidate: dict[int, float], champion: dict[int, float]) -> None:
        """Count what each copy has not."""
        for epoch, (test, seen) in self.copies.items():
            arms = [{k: v for k, v in arm.items() if k not in seen} for arm in (candidate, champion)]
            if isinstance(test, EventTest):
                arms = [{k: v for k, v in arm.items() if v} for arm in arms]
            sums = [(len(arm), sum(arm.values())) for arm in arms]
            seen |= {*arms[0], *arms[1]}
            if isinstance(test, FloorTest):
                self.copies[epoch] = test.update(*sums[0]), seen
            elif isinstance(test, LatencyTest):
                bins = [[list(arm.values()).count(at) for at in range(1049)] for arm in arms]
                self.copies[epoch] = test.update(LatencyBlock(bins[0], bins[1], share=SHARE)), seen
            else:
                self.copies[epoch] = test.update(Block(*sums[0], *sums[1], share=SHARE)), seen


STARTS = [
    pytest.param(EventTest(), 1, id="events"),
    pytest.param(HarmTest(), 1, id="rates"),
    pytest.param(HarmTest(tolerance=0.03), 1, id="tolerance"),
    pytest.param(FloorTest(0.1), 1, id="floor"),
    pytest.param(LatencyTest(BEFORE), 500, id="latency"),
]


@pytest.mark.parametrize(("start", "most"), STARTS)
def test_one_table_serves_all_copies(start: Any, most: int) -> None:
    """It is what copies give that remember their keys one by one, with 40 epochs and 300 keys."""
    generator = random.Random(4)
    arm_of = [generator.random() < 0.3 for _ in range(300)]
    test, by_hand, highest = KeyedTest(start), ByHand(start), -math.inf
    for step in range(120):
        keys = generator.sample(range(300), 30)
        arms = [
            {key: float(most if generator.random() < 0.2 else 0) for key in keys if arm_of[key] is mine}
            for mine in (True, False)
        ]
        test = test.update(KeyBlock(arms[0], arms[1], share=SHARE, calls=0))
        by_hand.update(*arms)
        highest = max(highest, *map(by_hand.evidence, by_hand.copies))
        if step % 3 == 2:
            test = test.epoch()
            by_hand.epoch()
        assert [copy.epoch for copy in test.copies] == sorted(by_hand.copies)
        found = [copy.log_evidence for copy in test.copies]
        assert found == pytest.approx([by_hand.evidence(epoch) for epoch in sorted(by_hand.copies)])
        assert test.alarm is (highest >= math.log(100))


def test_with_one_epoch_it_is_the_plain_test_but_for_its_weight() -> None:
    """Copy 1 of the plain test has the weight 1/2, and a half is for copies to come."""
    plain, keyed, key = EventTest(), KeyedTest(EventTest()), iter(range(100))
    for x_candidate, x_champion in ((1, 3), (2, 0), (0, 9)):
        plain = plain.update(Block(9, x_candidate, 9, x_champion, share=SHARE))
        arms = [{next(key): 1.0 for _ in range(x)} for x in (x_candidate, x_champion)]
        keyed = keyed.update(KeyBlock(arms[0], arms[1], share=SHARE))
    found = math.exp(keyed.log_evidence) / weight_of(1, 1)
    assert (found + 1) / 2 == pytest.approx(math.exp(plain.log_evidence))


def test_calls_without_a_key_are_units_of_their_own() -> None:
    """Every copy counts them, each time."""
    block = KeyBlock({1: 1.0}, {}, share=0.5, keyless=Block(3, 1, 4, 0))
    test = KeyedTest(HarmTest()).update(block).epoch().update(block)
    oldest, newest = (copy.test for copy in test.copies)
    assert isinstance(oldest, HarmTest)
    assert isinstance(newest, HarmTest)
    assert oldest == HarmTest().plain().update(Block(4, 2, 4, 0, share=0.5)).update(
        Block(3, 1, 4, 0, share=0.5)
    )
    assert newest.champion_calls == 8


def test_health_counts_a_key_once_and_for_ever() -> None:
    """Whatever opens; with all its evidence, for there is one claim."""
    block = KeyBlock({1: 0.0, 2: 0.0}, {3: 0.0, 4: 0.0}, share=0.5)
    for start in (HealthTest(margin=0.05), FloorTest(0.2, good=True)):
        once = KeyedTest(start).update(block)
        assert once.epoch().update(block).epoch().log_evidence == once.log_evidence
    floor = FloorTest(0.2, good=True)
    found = KeyedTest(floor).update(block).log_evidence
    assert found == pytest.approx(floor.update(2, 0).log_evidence)


def test_epochs_open_by_count() -> None:
    """Long ones after 1 000 calls of the candidate, those of known keys included; short ones after 20."""
    test = KeyedTest(EventTest())
    for _ in range(5):
        test = test.update(KeyBlock({}, {}, share=SHARE, calls=450))
    assert (test.epochs, test.long, test.calls) == (6, 3, 250)
    assert [copy.long for copy in test.copies] == [1, 0, 0, 2, 0, 3]
    for _ in range(6):
        test = test.update(KeyBlock({}, {}, share=SHARE, calls=9))
    assert (test.epochs, test.long, test.calls) == (9, 3, 304)
    assert KeyedTest(HealthTest()).update(KeyBlock({}, {}, share=SHARE, calls=5000)).epochs == 1


def test_the_weights_sum_to_one() -> None:
    """Whichever epochs are long: all of a long try, and what is left for later ones."""
    number = 20_000
    everything = math.fsum(weight_of(epoch, 0) for epoch in range(1, number + 1))
    assert everything + 0.2 * math.log(100) / math.log(number + 100) == pytest.approx(0.2)
    long = math.fsum(weight_of(number, j) - weight_of(number, 0) for j in range(1, number + 1))
    assert long + 0.8 / (number + 1) == pytest.approx(0.8)
    assert KeyBlock({1: 0.0, 2: 0.0}, {3: 1.0}, keyless=Block(5, 0, 9, 0)).candidate_calls == 7


def test_copies_are_bounded_and_the_newest_stay() -> None:
    """However long it runs; of the others the ones with the most evidence."""
    test = KeyedTest(EventTest())
    for epoch in range(1, 200):
        if epoch == 49:  # three users fail with the champion, and then with the candidate
            test = test.update(KeyBlock({}, {1: 1.0, 2: 1.0, 3: 1.0}, share=SHARE))
        if epoch == 50:
            test = test.update(KeyBlock({1: 1.0, 2: 1.0, 3: 1.0}, {}, share=SHARE))
        test = test.epoch()
    epochs = [copy.epoch for copy in test.copies]
    assert len(epochs) == MOST_COPIES
    assert epochs[-NEWEST:] == [197, 198, 199, 200]
    assert 50 in epochs


# -- the table -----------------------------------------------------------------------------------------------


def test_the_table_is_bounded_in_hashes() -> None:
    """When it is full, only keys of half the hashes are counted, and those that stay still count once."""
    table, generator = KeyTable(100), random.Random(3)
    keys = [generator.getrandbits(64) for _ in range(1000)]
    for key in keys:
        table, _ = table.counting([key], 1)
        assert len(table) <= 100
    assert len(table) > 20
    assert table.part < 1
    assert table.counting(keys, 1)[1] == {}
    assert table.counting(keys, 2)[1] == dict.fromkeys(table, 1)


def test_a_cut_is_made_before_anything_counts() -> None:
    """In both arms alike: else one arm would have more keys in that flush."""
    table, counted = KeyTable(4).counting([number << 60 for number in range(8)], 1)
    assert (table.part, sorted(counted)) == (0.25, [number << 60 for number in range(4)])
    test = KeyedTest(HarmTest(), table=KeyTable(4))
    candidate, champion = [{(2 * n + arm) << 60: 0.0 for n in range(4)} for arm in (0, 1)]
    first = test.update(KeyBlock(candidate, champion, share=0.5)).copies[0].test
    assert first == HarmTest().plain().update(Block(2, 0, 2, 0, share=0.5))


@given(st.lists(st.tuples(st.lists(st.integers(0, 60), max_size=40), st.booleans()), max_size=60), st.data())
def test_the_table_is_a_dictionary(steps: list[tuple[list[int], bool]], data: st.DataObject) -> None:
    """Whatever its layers: the same answers as one dictionary, and the old table stays as it was."""
    table, known, epoch = KeyTable(), dict[int, int](), 1
    for keys, opens in steps:
        epoch += opens
        before, size = table, len(table)
        table, counted = table.counting(keys, epoch)
        assert counted == {key: known.get(key, 0) for key in keys if known.get(key, 0) < epoch}
        known.update(dict.fromkeys(counted, epoch))
        assert (len(before), len(table)) == (size, len(known))
    assert {key: table.last(key) for key in table} == known
    since = data.draw(st.integers(0, epoch))
    assert sorted(table.since(since)) == sorted(key for key, last in known.items() if last >= since)


def test_large_tables_are_layered() -> None:
    """An update of a full table makes no copy of all of it."""
    table, _ = KeyTable().counting(range(5000), 1)
    following, _ = table.counting(range(5000, 5010), 1)
    assert following.epochs is table.epochs
    assert following == KeyTable(epochs=dict.fromkeys(range(5010), 1))
    assert following != table


# -- blocks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        (({-1: 0.0}, {}), {}, "candidate has -1 as a key"),
        (({}, {1 << 64: 0.0}), {}, "champion has 18446744073709551616 as a key"),
        (({}, {"key": 0.0}), {}, "champion has 'key' as a key"),
        (({1: -0.5}, {}), {}, "a value of candidate is -0.5"),
        (({1: math.nan}, {}), {}, "a value of candidate is nan"),
        (({1: 0.0}, {1: 0.0}), {}, "1 keys are in both arms"),
        (({}, {}, 1.0), {}, "share is 1.0"),
        (({}, {}), {"calls": -1}, "calls is -1"),
        (({}, {}, 0.5), {"keyless": Block(0, 0, 0, 0, share=0.4)}, "keyless has the share 0.4"),
    ],
)
def test_a_block_that_cannot_be_is_refused(
    arguments: tuple[Any, ...], more: dict[str, Any], message: str
) -> None:
    """By name."""
    with pytest.raises(InvalidValue, match=message):
        KeyBlock(*arguments, **more)


@pytest.mark.parametrize(
    ("start", "block", "message"),
    [
        (EventTest(), KeyBlock({1: 1.0}, {}), "share is None"),
        (HarmTest(), KeyBlock({1: 1.5}, {}), "a value of candidate is 1.5; a number from 0 to 1"),
        (LatencyTest(BEFORE), KeyBlock({}, {1: 1049}), "a bin from 0 to 1048"),
        (LatencyTest(BEFORE), KeyBlock({}, {1: 0.5}), "a bin from 0 to 1048"),
        (LatencyTest(BEFORE), KeyBlock({}, {}, keyless=Block(1, 0, 1, 0)), "keyless is a Block"),
        (HarmTest(), KeyBlock({}, {}, keyless=LatencyBlock(BEFORE, BEFORE)), "keyless is a LatencyBlock"),
    ],
)
def test_a_block_of_another_metric_is_refused(start: Any, block: KeyBlock, message: str) -> None:
    """The test is as it was."""
    with pytest.raises(InvalidValue, match=message):
        KeyedTest(start).update(block)


def test_blocks_of_workers_add_up() -> None:
    """Keys together, calls and keyless sums added; where both have a key, the left one came first."""
    left = KeyBlock({1: 1.0}, {2: 0.0}, share=0.5, calls=7, keyless=Block(1, 1, 0, 0))
    right = KeyBlock({1: 0.0, 3: 0.0}, {}, share=0.5)
    assert left + right == KeyBlock({1: 1.0, 3: 0.0}, {2: 0.0}, share=0.5, calls=9, keyless=Block(1, 1, 0, 0))
    with pytest.raises(InvalidValue, match=r"shares 0\.5 and None"):
        _ = left + KeyBlock({}, {})
    with pytest.raises(InvalidValue, match="two metrics"):
        _ = left + KeyBlock({}, {}, share=0.5, keyless=LatencyBlock(BEFORE, BEFORE))


# -- stored --------------------------------------------------------------------------------------------------

arms = st.dictionaries(st.integers(0, (1 << 64) - 1), st.floats(0, 1), max_size=8)
starts = st.sampled_from(
    [
        EventTest(0.2),
        HarmTest(0.2),
        HarmTest(0.2, 0.01),
        FloorTest(0.1, 0.2),
        HealthTest(),
        LatencyTest(BEFORE),
    ]
)


@settings(max_examples=60, deadline=None)
@given(starts, st.lists(st.one_of(st.none(), st.tuples(arms, arms, st.floats(1e-9, 1 - 1e-9))), max_size=25))
def test_it_survives_its_way_through_json(start: Any, steps: list[Any]) -> None:
    """At any moment, exactly; the alarm stays; nothing is ever no number."""
    test, alarmed = KeyedTest(start), False
    for step in steps:
        if step is None:
            test = test.epoch()
        else:
            candidate, champion, share = step
            if isinstance(start, LatencyTest):
                candidate, champion = (
                    {k: round(v * 1048) for k, v in arm.items()} for arm in (candidate, champion)
                )
            champion = {key: value for key, value in champion.items() if key not in candidate}
            test = test.update(KeyBlock(candidate, champion, share, calls=len(champion)))
        alarmed = alarmed or test.log_evidence >= -math.log(start.alpha)
        assert math.isfinite(test.log_evidence)
        assert test.alarm is alarmed
    assert KeyedTest.from_dict(json.loads(json.dumps(test.to_dict()))) == test


COPY = EventTest().plain().to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"copies": []}, "no list of 1 to 8"),
        ({"copies": [[2, 2, COPY], [1, 1, COPY]]}, "rising epochs are needed"),
        ({"copies": [[0, 0, COPY]]}, "rising epochs are needed"),
        ({"copies": [[1]]}, "no list of an epoch, a long epoch and a test"),
        ({"copies": [[1, 1, COPY | {"logs": [math.nan] * 11}]]}, "logs"),
        ({"copies": [[1, 1, COPY | {"alpha": 0.5}]]}, "of other settings than start"),
        ({"copies": [[1, 1, HarmTest().plain().to_dict()]]}, "of other settings than start"),
        ({"copies": [[1, 1, 5]]}, "was stored as None"),
        ({"epochs": 2}, "up to 2"),
        ({"copies": [[1, 2, COPY]]}, "long is 1"),
        ({"long": 2}, "long is 2"),
        ({"calls": 1000}, "calls is 1000"),
        ({"start": {"kind": "Block"}}, "start was stored as 'Block'"),
        ({"table": KeyTable(epochs={5: 2}).to_dict()}, "an epoch that has not opened"),
        ({"most_copies": 5}, "start anew"),
        ({"alarm": 1}, "alarm is 1"),
        ({"kind": "HarmTest"}, "'KeyedTest' is needed"),
    ],
)
def test_a_stored_test_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InvalidValue, match=message):
        KeyedTest.from_dict({**KeyedTest(EventTest()).to_dict(), **change})


def test_a_table_survives_its_way_through_json() -> None:
    """With its cut, whatever its layers."""
    table, _ = KeyTable(4).counting([number << 60 for number in range(8)], 3)
    table, _ = table.counting([1 << 60], 4)
    back = KeyTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert back == table
    assert back.cut == 1 << 62


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cut": 0}, "cut is 0"),
        ({"cut": 1.5}, "cut is 1.5"),
        ({"capacity": 0}, "capacity is 0"),
        ({"capacity": 1, "keys": {"1": "0" * 31 + "1"}}, "2 keys are too many"),
        ({"keys": []}, "hashes by epoch are needed"),
        ({"keys": {"1": "abc"}}, "16 hex digits"),
        ({"keys": {"1": 5}}, "16 hex digits"),
        ({"keys": {"0": "0" * 16}}, "a whole number from 1"),
        ({"keys": {"1": "0" * 32}}, "already there"),
        ({"keys": {"1": "0" * 16, "2": "0" * 16}}, "already there"),
        ({"keys": {"1": f"{5:016x}"}, "cut": 5}, "no hash below the cut"),
    ],
)
def test_a_stored_table_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InvalidValue, match=message):
        KeyTable.from_dict({**KeyTable().to_dict(), **change})

"""What predictions say of variants: only what chance gave them, once for each key, in sums of any order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.arms import MOST_NAMES, Arm, KeySums
from bento_rollout.errors import InvalidValue
from bento_rollout.evidence import Evidence, Place, hash64_of
from bento_rollout.guardrails import Latency, Measure
from bento_rollout.histogram import bin_of
from bento_rollout.records import (
    Compared,
    Comparison,
    Observation,
    Outcome,
    Plan,
    Prediction,
    Reason,
    Relation,
)
from bento_rollout.sums import MeasureSums, PairSums, Timing
from bento_rollout.units import pairs_of, units_of

PLACE = Place(7, "predict")


def run_of(
    variant: str,
    outcome: Outcome = Outcome.OK,
    reason: Reason = Reason.SPLIT,
    *,
    revision: int = 7,
    seconds: float = 0.01,
    rows: tuple[int, ...] = (),
    **more: Any,
) -> Observation:
    """A run."""
    return Observation("r", "predict", variant, revision, reason, "id", outcome, seconds, rows, **more)


def told(
    *runs: Observation,
    keys: Sequence[str | None] = ("u1",),
    time: float = 0.0,
    plans: Sequence[Plan] = (),
    ids: Sequence[str | None] = (),
    name: str = "id",
) -> Prediction:
    """A prediction of a user."""
    return Prediction(
        "r", "predict", name, time, tuple(plans), runs, Outcome.OK, 0.01, tuple(keys), tuple(ids)
    )


def compared(
    *relations: Relation, variant: str = "two", key: str | None = "u1", time: float = 0.0, **more: Any
) -> Compared:
    """What a shadow made of a call."""
    found = tuple(Comparison(relation) for relation in relations)
    facts: dict[str, Any] = {"seconds": 0.02, "champion_seconds": 0.01, "keys": (key,), **more}
    return Compared("r", "predict", variant, "one", 7, "id", time, found, **facts)


def hashed(name: str) -> int:
    """The hash of a unit's name."""
    return hash64_of("s", name)


def counted(*facts: Prediction | Compared, **settings: Any) -> Evidence:
    """What some facts say."""
    evidence = Evidence(**{"salt": "s", **settings})
    for fact in facts:
        if isinstance(fact, Compared):
            evidence.count_pair(fact)
        else:
            evidence.count(fact)
    return evidence


def arm_of(evidence: Evidence, variant: str = "two") -> Arm:
    """What one variant did."""
    return evidence.arms[PLACE][variant]


@pytest.mark.parametrize("reason", [Reason.PINNED, Reason.TARGETED, Reason.UNAVAILABLE, Reason.DEFAULT])
def test_what_chance_did_not_give_is_counted_apart(reason: Reason) -> None:
    """A candidate that is pinned for the hard questions is not judged by them."""
    arm = arm_of(counted(told(run_of("two", Outcome.ERROR, reason))))
    assert (arm.calls, arm.errors, arm.keys, arm.seconds) == (0, 0, {}, {})
    assert arm.apart == {reason.value: 1}


@pytest.mark.parametrize(
    ("outcome", "errors"),
    [
        (Outcome.OK, 0),
        (Outcome.CLIENT_ERROR, 0),
        (Outcome.DISCONNECTED, 0),
        (Outcome.ERROR, 1),
        (Outcome.TIMEOUT, 1),
        (Outcome.UNAVAILABLE, 1),
    ],
)
def test_whose_error_it_is(outcome: Outcome, errors: int) -> None:
    """A client's mistake is nobody's error; one that a fallback covered is the candidate's."""
    stand_in = run_of("one", reason=Reason.FALLBACK, seconds=0.5)
    evidence = counted(told(run_of("two", outcome), stand_in))
    arm = arm_of(evidence)
    assert (arm.calls, arm.errors, list(evidence.arms[PLACE])) == (1, errors, ["two"])
    assert sum(arm.seconds.values()) == 1 - errors


@pytest.mark.parametrize(("said", "outcome", "errors"), [(True, Outcome.OK, 1), (False, Outcome.ERROR, 0)])
def test_errors_can_be_classified(said: bool, outcome: Outcome, errors: int) -> None:
    """By whoever knows better what a failure is."""
    assert arm_of(counted(told(run_of("two", outcome, counts=said)))).errors == errors


def test_a_key_keeps_its_first_call() -> None:
    """Whatever the order in which calls are told, or workers are added."""
    early, late = told(run_of("two", seconds=3.0), time=1.0), told(run_of("two", Outcome.ERROR), time=2.0)
    expected = KeySums(2, 1, first_error=False, first_bin=bin_of(3.0), time=1.0)
    for order in ((early, late), (late, early)):
        assert arm_of(counted(*order)).keys == {hashed("key:u1"): expected}
        both = counted(order[0])
        both.add(counted(order[1]))
        assert arm_of(both).keys == {hashed("key:u1"): expected}


def test_calls_without_a_key_are_units_of_their_own() -> None:
    """By the caller's own id, so that its retries count once, else by the prediction's."""
    runs = run_of("two"), run_of("two", Outcome.ERROR)
    arm = arm_of(
        counted(
            told(runs[0], keys=(None,), name="p1"),
            told(runs[1], keys=(), name="p2"),
            told(runs[1], keys=(None,), ids=("tx",), name="p3", time=1.0),
            told(runs[0], keys=(None,), ids=("tx",), name="p4", time=2.0),
        )
    )
    assert {key: sums[:3] for key, sums in arm.keys.items()} == {
        hashed("call:p1"): (1, 0, False),
        hashed("call:p2"): (1, 1, True),
        hashed("id:tx"): (2, 1, True),
    }
    assert len({hashed("call:x"), hashed("id:x"), hashed("key:x")}) == 3


@pytest.mark.parametrize("settings", [{"salt": ""}, {"sticky": ("explain",)}])
def test_where_routing_is_not_sticky_nobody_is_told_apart(settings: Any) -> None:
    """Only the sums are there."""
    arm = arm_of(counted(told(run_of("two")), told(run_of("two")), **settings))
    assert (arm.keys, arm.calls) == ({}, 2)
    assert arm_of(counted(told(run_of("two")), sticky=("predict",))).keys


def test_rows_of_one_key_count_once() -> None:
    """A call with a key for each row: one unit for each key and variant; one failed row fails it."""
    first = run_of("two", Outcome.ERROR, rows=(0, 2, 3))
    again = run_of("one", reason=Reason.FALLBACK, rows=(0, 2, 3))
    evidence = counted(told(first, again, run_of("one", rows=(1, 4)), keys=("a", "b", "a", None, "b")))
    two, one = arm_of(evidence), arm_of(evidence, "one")
    assert (two.calls, two.errors) == (2, 2)
    assert {key: sums.calls for key, sums in two.keys.items()} == {hashed("key:a"): 1, hashed("call:id.3"): 1}
    assert (one.calls, one.errors, len(one.keys)) == (1, 0, 1)


def test_revisions_are_never_added_together() -> None:
    """Shares differ between them."""
    evidence = counted(told(run_of("two")), told(run_of("two", revision=8)))
    assert [(place.revision, arms["two"].calls) for place, arms in evidence.arms.items()] == [(7, 1), (8, 1)]


def test_a_prediction_that_nobody_ran_for_is_no_evidence() -> None:
    """An empty one, which no worker tells, harms nothing."""
    assert not counted(told())


def test_keys_are_bounded_in_both_arms_alike() -> None:
    """Too many keys: those of the upper half of hashes go, in all arms; sums of calls stay whole."""
    evidence = counted(
        *(told(run_of("two" if n % 10 else "one"), keys=(f"u{n}",)) for n in range(1000)), most_keys=100
    )
    one, two = arm_of(evidence, "one"), arm_of(evidence)
    cut = evidence.cuts[PLACE]
    every = {hashed(f"key:u{n}"): n for n in range(1000)}
    kept = {n for found, n in every.items() if found < cut}
    assert (one.calls, two.calls) == (100, 900)
    assert {every[key] for key in (*one.keys, *two.keys)} == kept
    assert 20 < len(kept) <= 100


def test_cuts_are_added_too() -> None:
    """What one worker has cut off is cut off of the others, and of what comes later."""
    many = [told(run_of("two"), keys=(f"u{n}",)) for n in range(300)]
    whole = counted(*many, most_keys=100)
    added = counted(*many[:50], most_keys=100)
    added.add(counted(*many[50:], most_keys=100))
    back = Evidence.from_plain(json.loads(json.dumps(added.to_plain())), most_keys=100)
    assert arm_of(added).keys.keys() == arm_of(whole).keys.keys()
    assert (back.arms, back.cuts) == (added.arms, added.cuts)


GUARDRAILS = {
    "score": Measure(better="high", range=(0, 10)),
    "score@predict": Measure(better="low", range=(0, 1)),
    "score@explain": Measure(better="low", range=(0, 1)),
    "retries": Measure(better="low"),
    "latency": Latency(of="per_item"),
}
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 10)
keys = st.sampled_from([None, "a", "b", "c", "d", "e"])
reasons = st.sampled_from([Reason.SPLIT, Reason.NO_KEY, Reason.PINNED, Reason.DEFAULT])
times = st.integers(0, 3).map(float)
measures = st.lists(st.tuples(st.sampled_from(["score", "retries", "other"]), numbers), max_size=3).map(tuple)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Whatever a call may come to."""
    total = draw(st.none() | st.sampled_from([0.5, 7.0]))
    run = run_of(
        draw(st.sampled_from(["one", "two"])),
        draw(st.sampled_from(Outcome)),
        draw(reasons),
        seconds=draw(st.sampled_from([0.001, 0.1, 5.0])),
        measures=draw(measures),
        total=total,
        items=None if total is None else draw(st.integers(0, 3)),
    )
    name = draw(st.sampled_from(["p1", "p2", "p3"]))
    return told(run, keys=(draw(keys),), time=draw(times), name=name)


pairs = st.builds(
    lambda relation, variant, key, time, failed: compared(
        relation, variant=variant, key=key, time=time, failed=failed
    ),
    st.sampled_from(Relation),
    st.sampled_from(["one", "two"]),
    keys,
    times,
    st.booleans(),
)
facts_told = st.lists(predictions() | pairs, max_size=20)


def same(one: Evidence, other: Evidence) -> bool:
    """Whether two say the same."""
    return (one.arms, one.pairs, one.cuts) == (other.arms, other.pairs, other.cuts)


@given(facts_told, st.integers(0, 20), st.randoms(use_true_random=False))
def test_sums_do_not_know_who_counted_what(facts: list[Prediction | Compared], at: int, random: Any) -> None:
    """Any split over workers and flushes, any order, and the way through JSON: the same sums."""
    settings: dict[str, Any] = {"most_keys": 3, "guardrails": GUARDRAILS}
    whole = counted(*facts, **settings)
    random.shuffle(facts)
    some, others = counted(*facts[:at], **settings), counted(*facts[at:], **settings)
    back = Evidence.from_plain(json.loads(json.dumps(some.to_plain(), allow_nan=False)), most_keys=3)
    back.add(others)
    assert same(back, whole)


@given(facts_told, st.randoms(use_true_random=False))
def test_who_is_left_has_nothing_to_do_with_what_they_did(
    facts: list[Prediction | Compared], random: Any
) -> None:
    """With too many keys the same ones are left, whatever came of their calls."""

    def otherwise(fact: Prediction | Compared) -> Prediction | Compared:
        if isinstance(fact, Compared):
            return compared(random.choice(list(Relation)), variant=fact.variant, key=fact.keys[0])
        (run,) = fact.runs
        outcome = random.choice(list(Outcome))
        return fact._replace(runs=(run._replace(outcome=outcome, seconds=random.random(), measures=()),))

    first = counted(*facts, most_keys=3, guardrails=GUARDRAILS)
    second = counted(*map(otherwise, facts), most_keys=3, guardrails=GUARDRAILS)
    assert first.cuts == second.cuts
    assert kept(first) == kept(second)


def kept(evidence: Evidence) -> list[set[int]]:
    """Whom it tells apart."""
    arms = [set(arm.keys) for arms in evidence.arms.values() for _, arm in sorted(arms.items())]
    return arms + [set(sums.keys) for found in evidence.pairs.values() for _, sums in sorted(found.items())]


def test_taking_begins_anew() -> None:
    """What was taken is told once."""
    evidence = counted(told(run_of("two")))
    assert evidence.take()
    assert not evidence
    assert not evidence.take()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calls": -1}, "-1 is no count"),
        ({"calls": 1.5}, "1.5 is no count"),
        ({"calls": True}, "True is no count"),
        ({"errors": 2}, "2 errors in 1 calls"),
        ({"kind": "odd"}, "of the kind 'odd'"),
        ({"measures": {"score": [1]}}, "no evidence that a worker wrote"),
        ({"others": [5]}, "5 is no name"),
        ({"history": {"total": [[3, -1]]}}, r"history\.total: -1 is no count"),
        ({"seconds": [[2000, 1]]}, "bin 2000"),
        ({"seconds": [[3, float("nan")]]}, "nan is no count"),
        ({"keys": [[-1, 1, 0, False, 3, 0.0]]}, "-1 is no count"),
        ({"keys": [[1 << 64, 1, 0, False, 3, 0.0]]}, "no key can be like this"),
        ({"keys": [[5, 1, 0, False, 3, float("inf")]]}, "no key can be like this"),
        ({"keys": [[5, 1]]}, "no evidence that a worker wrote"),
        ({"apart": {"luck": 1}}, "no evidence that a worker wrote"),
        ({"revision": None}, "None is no count"),
        ({"cut": "low"}, "'low' is no count"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    """Evidence that somebody wrote by hand, or that is of another version."""
    (row,) = counted(told(run_of("two"))).to_plain()
    assert Evidence.from_plain([row])
    with pytest.raises(InvalidValue, match=message):
        Evidence.from_plain([{**row, **change}])


@pytest.mark.parametrize("rows", [None, 5, ["x"], [{}]])
def test_what_is_no_evidence_is_refused(rows: object) -> None:
    """With what to do about it left to whoever reads it."""
    with pytest.raises(InvalidValue, match="no evidence that a worker wrote"):
        Evidence.from_plain(rows)


# -- measures, durations, history ------------------------------------------------------------------------


def measured(*values: tuple[str, float], **more: Any) -> Prediction:
    """A call in which the service measured something."""
    return told(run_of("two", measures=values), **more)


@pytest.mark.parametrize(
    ("guardrail", "values", "bad", "clipped"),
    [
        (Measure(better="high", range=(0, 10)), (10.0,), 0.0, 0),
        (Measure(better="high", range=(0, 10)), (2.5,), 0.75, 0),
        (Measure(better="low", range=(-1, 1)), (-0.5, 0.5), 0.5, 0),
        (Measure(better="low", range=(-1, 1)), (7.0,), 1.0, 1),
        (Measure(better="high", range=(0, 10)), (float("nan"),), 1.0, 1),
        (Measure(better="low", range=(0, 10)), (float("inf"),), 1.0, 1),
        (Measure(better="low"), (2.0, 1.0), 3.0, 0),
        (Measure(better="low"), (-2.0,), 0.0, 1),
        (Measure(better="low"), (float("nan"),), 0.0, 1),
        (Measure(better="low"), (1e300,), float(1 << 20), 1),
    ],
)
def test_what_is_bad_of_a_measure(
    guardrail: Measure, values: tuple[float, ...], bad: float, clipped: int
) -> None:
    """From 0 to 1 by range and direction; of a counter the events."""
    arm = arm_of(counted(measured(*(("m", value) for value in values)), guardrails={"m": guardrail}))
    sums = arm.measures["m"]
    assert (sums.calls, sums.bad, sums.clipped) == (1, bad, clipped)
    assert arm.others == set()


def test_a_key_keeps_its_first_value() -> None:
    """Of a counter its first event."""
    facts = [
        measured(("score", 2.0), ("retries", 0.0), time=1.0),
        measured(("score", 9.0), ("retries", 4.0), time=2.0),
        measured(("score", 5.0), ("retries", 1.0), time=3.0),
    ]
    arm = arm_of(counted(*reversed(facts), guardrails=GUARDRAILS))
    key = hashed("key:u1")
    (_, first), time = arm.measures["score"].keys[key], arm.measures["score"].keys[key][1]
    assert (first, time) == (1.0, 1.0)
    assert abs(arm.measures["score"].keys[key][0] - 0.8) < 1e-6
    assert arm.measures["retries"].keys == {key: (1.0, 2.0)}
    assert (arm.measures["retries"].calls, arm.measures["retries"].bad) == (3, 5.0)


def test_guardrails_of_one_measure_may_have_other_ranges() -> None:
    """Each is counted under its own name, and only at its endpoint."""
    arm = arm_of(counted(measured(("score", 1.0)), guardrails=GUARDRAILS))
    assert {name: round(sums.bad, 4) for name, sums in arm.measures.items()} == {
        "score": 0.9,
        "score@predict": 1.0,
    }


def test_measures_that_nobody_asked_for_are_known_by_name() -> None:
    """A bounded number of them, the same ones in any order."""
    names = [f"m{number:03}" for number in range(MOST_NAMES + 50)]
    for order in (names, names[::-1]):
        arm = arm_of(counted(*(measured((name, 1.0)) for name in order)))
        assert (arm.measures, sorted(arm.others)) == ({}, names[:MOST_NAMES])


def test_each_row_may_have_a_value_of_its_own() -> None:
    """As many values as rows: each is of one; else all are of all."""
    run = run_of("two", rows=(0, 1, 2), measures=(("score", 10.0), ("score", 0.0), ("score", 0.0)))
    whole = run_of("two", rows=(0, 1, 2), measures=(("score", 5.0),))
    arm = arm_of(counted(told(run, keys=("a", "b", "a")), guardrails=GUARDRAILS))
    firsts = {key: bad for key, (bad, _) in arm.measures["score"].keys.items()}
    assert firsts == {hashed("key:a"): 0.5, hashed("key:b"): 1.0}
    arm = arm_of(counted(told(whole, keys=("a", "b", "a")), guardrails=GUARDRAILS))
    assert [bad for bad, _ in arm.measures["score"].keys.values()] == [0.5, 0.5]


def test_streams_are_timed_to_the_end_and_from_item_to_item() -> None:
    """Those that did not fail; one item has nothing between."""
    facts = [
        told(run_of("two", seconds=1.0, total=4.0, items=4), time=1.0),
        told(run_of("two", seconds=1.0, total=9.0, items=1), time=2.0),
        told(run_of("two", Outcome.ERROR, seconds=1.0, total=9.0, items=4), time=3.0),
        told(run_of("two", seconds=1.0), time=4.0),
    ]
    key = hashed("key:u1")
    assert arm_of(counted(*facts)).timings == {
        "total": Timing({bin_of(4.0): 1, bin_of(9.0): 1}, {key: (bin_of(4.0), 1.0)}),
        "per_item": Timing({bin_of(1.0): 1}, {key: (bin_of(1.0), 1.0)}),
    }


def test_what_was_before_the_split_is_history() -> None:
    """No evidence: thresholds of latency are made of it."""
    run = run_of("one", reason=Reason.DEFAULT, seconds=1.0, total=4.0, items=4)
    broken = run_of("one", Outcome.ERROR, Reason.DEFAULT)
    arm = arm_of(counted(told(run), told(broken)), "one")
    assert arm.history == {
        "first_item": {bin_of(1.0): 1},
        "total": {bin_of(4.0): 1},
        "per_item": {bin_of(1.0): 1},
    }
    assert (arm.calls, arm.seconds, arm.apart) == (0, {}, {"default": 2})


def test_who_was_lost_has_failed() -> None:
    """The champion answered for a candidate that had been ready here: an error of the candidate's."""
    run = run_of("one", reason=Reason.UNAVAILABLE)
    plan = Plan("one", 7, Reason.UNAVAILABLE, 5, "two")
    evidence = counted(told(run, plans=(plan,), time=3.0))
    two, one = arm_of(evidence), arm_of(evidence, "one")
    assert (two.calls, two.errors, two.seconds, one.calls) == (1, 1, {}, 0)
    assert two.keys == {hashed("key:u1"): KeySums(1, 1, first_error=True, first_bin=0, time=3.0)}
    assert one.apart == {"unavailable": 1}
    never = counted(told(run, plans=(Plan("one", 7, Reason.UNAVAILABLE, 5),)))
    assert list(never.arms[PLACE]) == ["one"]


def test_rows_of_who_was_lost_have_failed() -> None:
    """Once for each key, too."""
    run = run_of("one", reason=Reason.UNAVAILABLE, rows=(0, 1, 2))
    lost, gone = Plan("one", 7, Reason.UNAVAILABLE, 5, "two"), Plan("one", 7, Reason.UNAVAILABLE)
    evidence = counted(told(run, plans=(lost, gone, lost), keys=("a", "b", "a")))
    assert (arm_of(evidence).calls, arm_of(evidence).errors) == (1, 1)
    assert arm_of(evidence, "one").apart == {"unavailable": 2}


# -- pairs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "failed", "counts"),
    [
        (Relation.AGREE, False, (1, 0, 0)),
        (Relation.DIFFER, False, (1, 1, 0)),
        (Relation.NOT_COMPARABLE, False, (1, 1, 0)),
        (Relation.NOT_COMPARABLE, True, (1, 1, 1)),
    ],
)
def test_what_a_shadow_made_of_a_call(
    relation: Relation,
    failed: bool,
    counts: tuple[int, int, int],
) -> None:
    """What does not agree has disagreed, and so has what failed."""
    fact = compared(relation, failed=failed, seconds=None if failed else 0.02, time=2.0)
    sums = counted(fact).pairs[PLACE]["two"]
    assert (sums.compared, sums.disagreed, sums.failed) == counts
    assert sums.keys == {hashed("key:u1"): (bool(counts[1]), failed, 2.0)}
    took = ({}, {}) if failed else ({bin_of(0.02): 1}, {bin_of(0.01): 1})
    assert (sums.seconds, sums.champion_seconds) == took


def test_pairs_of_one_key_count_once() -> None:
    """One row that does not agree is enough; the champion's own shadow is told apart."""
    rows = compared(
        Relation.AGREE, Relation.DIFFER, Relation.AGREE, rows=(1, 2, 4), keys=("x", "a", "a", "y", None)
    )
    evidence = counted(rows, compared(Relation.AGREE, variant="one"), compared(Relation.AGREE, keys=()))
    two, floor = evidence.pairs[PLACE]["two"], evidence.pairs[PLACE]["one"]
    assert (two.compared, two.disagreed, floor.compared) == (3, 1, 1)
    assert set(two.keys) == {hashed("key:a"), hashed("call:id.4"), hashed("call:id")}


def test_a_comparison_shows_nobody_s_key() -> None:
    """Keys are personal data."""
    fact = compared(Relation.AGREE, key="SECRET", inference_ids=("SECRET",))
    assert "SECRET" not in repr(fact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"disagreed": 5}, "5 disagreed in 1 compared"),
        ({"failed": 1, "disagreed": 0}, "1 failed in 0 disagreed"),
        ({"compared": -1}, r"pairs\.two\.compared: -1 is no count"),
        ({"seconds": [[2000, 1]]}, r"pairs\.two\.seconds: a duration is in bin 2000"),
        ({"keys": [[5, False, True, 0.0]]}, "what fails does not agree"),
        ({"keys": [[5, False, False, float("nan")]]}, "no key can be like this"),
    ],
)
def test_pairs_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    """Each by its name."""
    (row,) = counted(compared(Relation.AGREE)).to_plain()
    assert Evidence.from_plain([row]).pairs[PLACE]["two"] == PairSums.from_plain(row, "")
    with pytest.raises(InvalidValue, match=message):
        Evidence.from_plain([{**row, **change}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bad": -0.5}, r"measures\.score\.bad: -0.5 is no sum"),
        ({"bad": float("nan")}, r"measures\.score\.bad: nan is no sum"),
        ({"bad": float("inf")}, r"measures\.score\.bad: inf is no sum"),
        ({"bad": "1"}, r"measures\.score\.bad: '1' is no sum"),
        ({"clipped": 2}, "2 clipped in 1 calls"),
        ({"keys": [[5, 1.5, 0.0]]}, r"measures\.score\.keys: 1.5 is no sum"),
        ({"keys": [[-5, 1.0, 0.0]]}, r"measures\.score: -5 is no count"),
    ],
)
def test_measures_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    """Each by its name."""
    (row,) = counted(measured(("score", 10.0)), guardrails={"score": GUARDRAILS["score"]}).to_plain()
    sums = row["measures"]["score"]
    assert MeasureSums.from_plain(sums, "").calls == 1
    with pytest.raises(InvalidValue, match=message):
        Evidence.from_plain([{**row, "measures": {"score": {**sums, **change}}}])


def test_the_oldest_revisions_go_first() -> None:
    """When too much waits; the newest one is always kept."""
    facts = [told(run_of("two", revision=n // 10), keys=(f"u{n}",)) for n in range(50)]
    evidence = counted(*facts)
    assert evidence.shed(25) == 30
    assert [place.revision for place in evidence.arms] == [3, 4]
    assert (evidence.shed(1), [place.revision for place in evidence.arms]) == (10, [4])


def test_units_show_nobody_s_key() -> None:
    """Whatever a debugger or a log line makes of them."""
    prediction = told(run_of("two"), keys=("SECRET",), ids=("SECRET",))
    shown = [*units_of(prediction), *pairs_of(compared(Relation.AGREE, key="SECRET"))]
    assert len(shown) == 2
    assert "SECRET" not in repr(shown)

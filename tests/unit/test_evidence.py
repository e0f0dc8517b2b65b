"""What predictions say of variants: only what chance gave them, once for each key, in sums of any order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.errors import InvalidValue
from bento_rollout.evidence import Arm, Evidence, KeySums, Place, hash64_of
from bento_rollout.histogram import bin_of
from bento_rollout.records import Observation, Outcome, Prediction, Reason

PLACE = Place(7, "predict")


def run_of(
    variant: str,
    outcome: Outcome = Outcome.OK,
    reason: Reason = Reason.SPLIT,
    *,
    revision: int = 7,
    seconds: float = 0.01,
    rows: tuple[int, ...] = (),
) -> Observation:
    """A run."""
    return Observation("r", "predict", variant, revision, reason, "id", outcome, seconds, rows)


def told(*runs: Observation, keys: Sequence[str | None] = ("u1",), time: float = 0.0) -> Prediction:
    """A prediction of a user."""
    return Prediction("r", "predict", "id", time, (), runs, Outcome.OK, 0.01, tuple(keys))


def counted(*predictions: Prediction, **settings: Any) -> Evidence:
    """What some predictions say."""
    evidence = Evidence(**{"salt": "s", **settings})
    for prediction in predictions:
        evidence.count(prediction)
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


def test_errors_can_be_classified() -> None:
    """By whoever knows better what a failure is."""
    evidence = counted(told(run_of("two")), failed=lambda run: run.seconds > 0.001)
    assert arm_of(evidence).errors == 1


def test_a_key_keeps_its_first_call() -> None:
    """Whatever the order in which calls are told, or workers are added."""
    early, late = told(run_of("two", seconds=3.0), time=1.0), told(run_of("two", Outcome.ERROR), time=2.0)
    expected = KeySums(2, 1, first_error=False, first_bin=bin_of(3.0), time=1.0)
    for order in ((early, late), (late, early)):
        assert arm_of(counted(*order)).keys == {hash64_of("s", "u1"): expected}
        both = counted(order[0])
        both.add(counted(order[1]))
        assert arm_of(both).keys == {hash64_of("s", "u1"): expected}


def test_calls_without_a_key_are_units_of_their_own() -> None:
    """And where routing is not sticky, all are."""
    evidence = counted(told(run_of("two"), keys=(None,)), told(run_of("two", Outcome.ERROR), keys=()))
    assert (arm_of(evidence).keys, arm_of(evidence).keyless) == ({}, (2, 1))
    loose = counted(told(run_of("two")), told(run_of("two")), salt="")
    assert (arm_of(loose).keys, arm_of(loose).keyless, arm_of(loose).calls) == ({}, (2, 0), 2)


def test_rows_of_one_key_count_once() -> None:
    """A call with a key for each row: one unit for each key and variant; one failed row fails it."""
    first = run_of("two", Outcome.ERROR, rows=(0, 2, 3))
    again = run_of("one", reason=Reason.FALLBACK, rows=(0, 2, 3))
    evidence = counted(told(first, again, run_of("one", rows=(1, 4)), keys=("a", "b", "a", None, "b")))
    two, one = arm_of(evidence), arm_of(evidence, "one")
    assert (two.calls, two.errors, two.keyless) == (2, 2, (1, 1))
    assert {key: sums.calls for key, sums in two.keys.items()} == {hash64_of("s", "a"): 1}
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
    every = {hash64_of("s", f"u{n}"): n for n in range(1000)}
    kept = {n for hashed, n in every.items() if hashed < cut}
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


predictions = st.builds(
    lambda variant, outcome, reason, key, time, seconds: told(
        run_of(variant, outcome, reason, seconds=seconds), keys=(key,), time=time
    ),
    st.sampled_from(["one", "two"]),
    st.sampled_from(Outcome),
    st.sampled_from([Reason.SPLIT, Reason.NO_KEY, Reason.PINNED]),
    st.sampled_from([None, "a", "b", "c", "d", "e"]),
    st.integers(0, 3).map(float),
    st.sampled_from([0.001, 0.1, 5.0]),
)


@given(st.lists(predictions), st.integers(0, 20), st.randoms(use_true_random=False))
def test_sums_do_not_know_who_counted_what(facts: list[Prediction], at: int, random: Any) -> None:
    """Any split over workers, any order, and the way through JSON: the same sums."""
    whole = counted(*facts, most_keys=3)
    random.shuffle(facts)
    some, others = counted(*facts[:at], most_keys=3), counted(*facts[at:], most_keys=3)
    back = Evidence.from_plain(json.loads(json.dumps(some.to_plain())), most_keys=3)
    back.add(others)
    assert (back.arms, back.cuts) == (whole.arms, whole.cuts)


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
        ({"keyless": [0, 1]}, "1 errors in 0 calls"),
        ({"keyless": [0]}, "no evidence that a worker wrote"),
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

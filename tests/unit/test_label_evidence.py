"""Sums of late labels: what counts, what is left out, and that the order of adding does not matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.errors import InvalidValue
from bento_rollout.evidence import Evidence, Place
from bento_rollout.judging import Judge, Judging
from bento_rollout.label_evidence import KeyLabel, LabelSums, Mature, judged, measured, sums_of, unit_of
from bento_rollout.sums import MeasureSums

PREDICT = Place(7, "predict")


def wrong(label: Any, output: Any) -> float | None:
    """Say whether an answer differs from its label; an answer that is not kept gives no number."""
    return None if output is None else float(label != output)


def mature(name: str = "id", label: Any = None, output: Any = "a", **more: Any) -> Mature:
    """Return a mature prediction of `one`; without a label unless there is one."""
    facts = {"time": 1.0, "revision": 7, "endpoint": "predict", "variant": "one", **more}
    return Mature(name, labelled=label is not None, label=label, output=output, **facts)


# -- what counts --------------------------------------------------------------------------------------------


def test_a_missing_label_is_not_bad() -> None:
    """It is left out of the rate, and counts among those whose label should be there."""
    rows = [mature(label="a"), mature(label="b"), mature(label="b", output=None), mature(), mature()]
    arm = sums_of(rows, wrong).arms[PREDICT]["one"]
    assert (arm.predictions, arm.labelled, arm.judged, arm.bad) == (5, 3, 2, 1.0)
    assert (arm.keys, arm.unhashed) == ({}, 0)


def test_by_revision_endpoint_and_variant() -> None:
    """Each has sums of its own."""
    rows = [mature(), mature(revision=8), mature(endpoint="score"), mature(variant="two")]
    arms = sums_of(rows, wrong).arms
    assert {place: [*found] for place, found in arms.items()} == {
        PREDICT: ["one", "two"],
        Place(8, "predict"): ["one"],
        Place(7, "score"): ["one"],
    }


def test_keys_only_where_routing_is_sticky() -> None:
    """There the first prediction of a key counts, a call without one by itself, and no hash is no unit."""
    rows = [
        mature("1", "b", keyed=True, key_hash="u1", time=2.0),
        mature("2", "a", keyed=True, key_hash="u1", time=1.0),
        mature("3", keyed=True, key_hash="u1", time=0.5),
        mature("4", "b"),
        mature("5", "b", keyed=True),
    ]
    arm = sums_of(rows, wrong, sticky={"predict"}).arms[PREDICT]["one"]
    assert arm.keys == {
        unit_of("u1", None, "1"): KeyLabel(0.0, labelled=True, time=1.0),
        unit_of(None, None, "4"): KeyLabel(1.0, labelled=True, time=1.0),
    }
    assert (arm.predictions, arm.labelled, arm.bad, arm.unhashed) == (5, 4, 3.0, 1)
    assert sums_of(rows, wrong, sticky={"score"}).arms[PREDICT]["one"].keys == {}


def test_a_key_whose_labels_are_lost_is_known() -> None:
    """It counts among the keys whose label should be there."""
    rows = [mature(keyed=True, key_hash="u1", time=time) for time in (3.0, 2.0)]
    keys = sums_of(rows, wrong, sticky={"predict"}).arms[PREDICT]["one"].keys
    assert [*keys.values()] == [KeyLabel(None, labelled=False, time=2.0)]


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (0.25, 0.25),
        (True, 1.0),
        (None, None),
        (7, 1.0),
        (-1, 0.0),
        (float("inf"), 1.0),
        (float("nan"), None),
        ("x", None),
    ],
)
def test_what_a_function_says(said: Any, number: float | None) -> None:
    """What is no number is none, and what is outside 0 to 1 is clipped."""
    assert judged(lambda *_: said, 1, 2) == number


def test_a_function_that_raises_costs_its_own_number_only() -> None:
    """The others count."""
    sums = sums_of(
        [mature(label=2, output=1), mature(label=0, output=1)], lambda label, output: output / label
    )
    arm = sums.arms[PREDICT]["one"]
    assert (arm.labelled, arm.judged, arm.bad) == (2, 1, 0.5)


# -- adding, and plain data ---------------------------------------------------------------------------------

ROWS = st.builds(
    mature,
    st.text("0123456789", min_size=1, max_size=2),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "a"]),
    time=st.integers(0, 9).map(float),
    revision=st.integers(7, 8),
    variant=st.sampled_from(["one", "two"]),
    keyed=st.booleans(),
    key_hash=st.sampled_from([None, "u1", "u2", "u3"]),
)


@given(st.lists(ROWS, max_size=30), st.randoms(use_true_random=False))
def test_in_any_order(rows: list[Mature], chance: Any) -> None:
    """However rows are parted, and in whatever order the parts are added, the sums are the same."""
    whole = sums_of(rows, wrong, sticky={"predict"})
    parts = [sums_of([row], wrong, sticky={"predict"}) for row in rows]
    chance.shuffle(parts)
    added = LabelSums()
    for part in parts:
        added.add(part)
    assert added == whole
    assert bool(added) == bool(rows)


@given(st.lists(ROWS, max_size=30))
def test_there_and_back(rows: list[Mature]) -> None:
    """What was told in plain data is the same afterwards."""
    sums = sums_of(rows, wrong, sticky={"predict"})
    assert LabelSums.from_plain(json.loads(json.dumps(sums.to_plain()))) == sums


@given(st.lists(ROWS, max_size=30))
def test_what_sums_are(rows: list[Mature]) -> None:
    """Numbers are of labels, labels of predictions, and a key is there for each unit with a hash."""
    for arms in sums_of(rows, wrong, sticky={"predict"}).arms.values():
        for arm in arms.values():
            assert arm.predictions >= arm.labelled >= arm.judged >= arm.bad >= 0
            assert len(arm.keys) <= arm.predictions - arm.unhashed
            assert sum(said.labelled for said in arm.keys.values()) <= arm.labelled


GOOD = sums_of([mature(label="a", keyed=True, key_hash="u1")], wrong, sticky={"predict"}).to_plain()[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"predictions": 0}, {"labelled": 0}, {"judged": -1}, {"judged": 1.0}, {"bad": 1.5}, {"bad": "x"},
        {"bad": float("nan")}, {"unhashed": 2}, {"revision": "7"}, {"keys": [[1, 0.5]]}, {"keys": 3},
        {"keys": [[-1, 0.5, True, 1.0]]}, {"keys": [[1, 1.5, True, 1.0]]}, {"keys": [[1, 0.5, True, 1e300]]},
        {"keys": [[1, "x", True, 1.0]]},
    ],
)  # fmt: skip
def test_what_no_sums_are(changed: dict[str, Any]) -> None:
    """They are refused, with a sentence."""
    with pytest.raises(InvalidValue, match=r"no sums of labels|cannot be|no key can be|no count"):
        LabelSums.from_plain([{**GOOD, **changed}])
    with pytest.raises(InvalidValue, match="no list"):
        LabelSums.from_plain({})
    with pytest.raises(InvalidValue, match="no sums of labels"):
        LabelSums.from_plain([{}])


# -- as a measure -------------------------------------------------------------------------------------------


def test_it_is_tested_like_a_measure() -> None:
    """Numbers, and each key's first one; who has no label is not in it."""
    rows = [
        mature("1", "b", keyed=True, key_hash="u1"),
        mature("2", keyed=True, key_hash="u2"),
        mature("3", "a", endpoint="score", variant="two"),
        mature("4", "a", revision=8, keyed=True),
    ]
    evidence = measured(sums_of(rows, wrong, sticky={"predict"}), "label.correct")
    assert {place: [*arms] for place, arms in evidence.arms.items()} == {
        PREDICT: ["one"],
        Place(7, "score"): ["two"],
    }
    one = evidence.arms[PREDICT]["one"]
    assert (one.calls, one.measures["label.correct"]) == (
        0,
        MeasureSums(1, 1.0, 0, {unit_of("u1", None, "1"): (1.0, 1.0)}),
    )
    assert Evidence.from_plain(evidence.to_plain()).arms == evidence.arms


@given(st.lists(st.floats(0, 1), max_size=30), st.randoms(use_true_random=False))
def test_sums_are_exact(numbers: list[float], chance: Any) -> None:
    """In whatever order numbers are added."""
    rows = [mature(label=[number]) for number in numbers]
    whole = sums_of(rows, lambda label, _: label[0])
    chance.shuffle(rows)
    assert sums_of(rows, lambda label, _: label[0]) == whole


def test_by_what_the_spec_says() -> None:
    """The judge of the built-in label reads answers as the ledger keeps them."""
    judge = Judge(Judging())
    rows = [
        mature(label=True, output=1),
        mature(label="cat", output={"label": "dog"}),
        mature(label=1, output=0.3),
    ]
    arm = sums_of(rows, judge.bad_of).arms[PREDICT]["one"]
    assert (arm.labelled, arm.judged, arm.bad) == (3, 2, 1.0)

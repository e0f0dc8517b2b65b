"""How labels and answers give numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.errors import InvalidValue
from bento_rollout.judging import Judge, Judged, Judging, judging_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def off(score: float, label: float) -> float:
    """How far a score is from its label."""
    return abs(score - label)


@pytest.mark.parametrize(
    ("label", "output", "bad"),
    [
        ("cat", "cat", 0.0),
        ("cat", "dog", 1.0),
        ("cat", {"label": "cat", "score": 0.4}, 0.0),
        ("cat", {"cat": 0.4, "dog": 0.6}, 1.0),
        (1, [0.1, 0.9], 0.0),
        (1, [[0.1, 0.9]], 0.0),
        (1, 1.0, 0.0),
        (1.0, [1], 0.0),
        (True, 1, 0.0),
        (False, {"label": False}, 0.0),
        ("1", 1, 0.0),
        (1, 0.9, None),
        (1, [math.nan, 0.1], None),
        (1, None, None),
        (None, 1, None),
        ({"x": 1, "y": "z"}, 1, None),
    ],
)
def test_equal_classes(label: object, output: object, bad: float | None) -> None:
    """Without fields an answer is bad when its class is not the label's; a lone score has no class."""
    assert Judge(Judging()).bad_of(label, output) == bad


@pytest.mark.parametrize(
    ("label", "output", "bad"),
    [
        ("fraud", 1, 0.0),
        ("fine", 1, 1.0),
        ("fine", "unsure", 0.0),
        ("theft", 0, 1.0),
        ("theft", "fraud", 0.0),
    ],
)
def test_positive(label: object, output: object, bad: float) -> None:
    """With `positive` alone both must be positive, or both not: which class it is does not matter."""
    judge = Judge(Judging(positive=["fraud", "theft", True]))
    assert judge.bad_of(label, output) == bad
    assert judge.is_positive(label) is (label != "fine")
    assert Judge(Judging()).is_positive(label) is None


@pytest.mark.parametrize(
    ("path", "output", "judged"),
    [
        ("field:score", {"score": 0.25}, Judged(0.75)),
        ("field:result.0", {"result": [0.5]}, Judged(0.5)),
        ("field:0", [1.0], Judged(0.0)),
        ("field:0", [3.5], Judged(1.0, clipped=True)),
        ("field:other", {"score": 0.25}, Judged(None, error="prediction")),
        ("field:0", "text", Judged(None, error="prediction")),
        ("field:score", {"score": "high"}, Judged(None, error="loss")),
        ("field:score", {"score": math.inf}, Judged(None, error="loss")),
    ],
)
def test_losses(path: str, output: object, judged: Judged) -> None:
    """A loss gets the prediction and the label; it is clipped; what it cannot take gives no number."""
    assert Judge(Judging(loss=off, prediction=path)).judged(1, output) == judged


def test_a_range_is_scaled_to_one() -> None:
    """The least loss is 0, the largest 1."""
    judge = Judge(Judging(loss="costs:of", range=[-10, 30]), lambda prediction, _: prediction)
    assert [judge.bad_of(0, cost) for cost in (-10, 0, 30, 31, -11)] == [0.0, 0.25, 1.0, 1.0, 0.0]


@given(JSON, JSON)
def test_nothing_breaks_it(label: Any, output: Any) -> None:
    """Whatever the ledger holds, the outcome is a number from 0 to 1, or none and the reason."""
    for judging in (
        Judging(),
        Judging(positive=["a", 1]),
        Judging(prediction="field:0"),
        Judging(loss=off, prediction="field:a"),
        Judging(loss=lambda prediction, label: prediction),
    ):
        found = Judge(judging).judged(label, output)
        assert found.bad is None or 0 <= found.bad <= 1
        assert (found.bad is None) == bool(found.error)


@given(JSON)
def test_what_is_equal_is_right(value: Any) -> None:
    """No answer that is its own label is bad."""
    assert Judge(Judging()).bad_of(value, value) in (0.0, None)


def test_a_loss_must_be_there() -> None:
    """A loss that is only named was forgotten to be imported."""
    with pytest.raises(InvalidValue, match="costs:of is not imported"):
        Judge(Judging(loss="costs:of"))


def test_names() -> None:
    """An entry judges the labels of its name, `correct` those without one, unless another is written."""
    labels = {"chargeback": Judging(), "late": Judging(name="chargeback")}
    assert labels["chargeback"].told_as("chargeback") == labels["late"].told_as("late") == "chargeback"
    assert judging_of(labels, "late") is labels["late"]
    assert judging_of(labels, "churn") is None
    built_in = judging_of(labels, "correct")
    assert built_in == Judging()
    assert built_in.told_as("correct") == "label"
    own = {"correct": Judging(name="truth")}
    assert judging_of(own, "correct") is own["correct"]
    assert own["correct"].told_as("correct") == "truth"

"""Conditions: when they hold, what they say, and that they never raise nor tell an argument's value."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.ask_when import parse_conditions
from bento_rollout.asking import Condition, Facts, asked_by


class Ward(Enum):
    """A member stands for its value."""

    ICU = "icu"


class Odd:
    """A caller's object whose property raises."""

    @property
    def id(self) -> int:
        """Nothing."""
        raise RuntimeError


def one(**written: Any) -> Condition:
    """The condition that is written so."""
    (found,) = parse_conditions([written])
    return found


def why(condition: Condition, threshold: float | None = None, **facts: Any) -> str | None:
    """Why it asks."""
    return condition.holds(Facts(**facts), threshold)


@pytest.mark.parametrize(
    ("bound", "score", "threshold", "words"),
    [
        ("threshold", 0.71, 0.93, "score 0.71 below 0.93"),
        ("threshold", 0.93, 0.93, None),
        ("threshold", 0.99, None, "no threshold is certified"),
        ("threshold", 0.99, math.nan, "no threshold is certified"),
        ("threshold", None, 0.0, "no score"),
        ("threshold", math.nan, 0.0, "no score"),
        ("90%", 0.89, None, "score 0.89 below 0.9"),
        (0.9, 0.91, 0.99, None),
    ],
)
def test_scores(bound: object, score: float | None, threshold: float | None, words: str | None) -> None:
    """No score is below any threshold, and nothing is above one that was never certified."""
    assert why(one(score_below=bound), threshold, score=score) == words


@pytest.mark.parametrize(
    ("value", "above", "below"),
    [
        (10001, "amount above 10000", None),
        (10000, None, None),
        (9999.5, None, "amount below 10000"),
        (np.float32(20000), "amount above 10000", None),
        (Decimal(20000), "amount above 10000", None),
        (math.inf, "amount above 10000", None),
        (-math.inf, None, "amount below 10000"),
        (None, None, None),
        (math.nan, "amount is no number", "amount is no number"),
        ("20000", "amount is no number", "amount is no number"),
        (True, "amount is no number", "amount is no number"),
        (1j, "amount is no number", "amount is no number"),
        (10**400, "amount is no number", "amount is no number"),
        ([1], "amount is no number", "amount is no number"),
    ],
)
def test_bounds(value: object, above: str | None, below: str | None) -> None:
    """What is there and is no number cannot be shown to lie within; what is absent is `missing`'s."""
    arguments = {"amount": value}
    assert why(one(above={"amount": 10000}), arguments=arguments) == above
    assert why(one(below={"amount": 10000}), arguments=arguments) == below


@pytest.mark.parametrize("value", [None, math.nan, "", "  ", [], {}, b"", np.array([]), np.float64("nan")])
def test_what_is_missing(value: object) -> None:
    """Absent, null, NaN, blank or empty."""
    assert why(one(missing=["other", "amount"]), arguments={"other": 1, "amount": value}) == "amount missing"
    assert why(one(missing="amount"), arguments={}) == "amount missing"


@pytest.mark.parametrize("value", [0, False, "0", [None], np.zeros(2), np.array([math.nan])])
def test_what_is_not_missing(value: object) -> None:
    """Zero is a value; what is within a list is not looked at."""
    assert why(one(missing=["amount"]), arguments={"amount": value}) is None


@pytest.mark.parametrize(
    ("value", "asked"),
    [("icu", True), (Ward.ICU, True), (3, True), (3.0, True), (np.int64(3), True), (True, True),
     ("er", False), (1, False), ("3", False), (None, False), ([3], False), (np.array([3, 3]), False)],
)  # fmt: skip
def test_values(value: object, asked: bool) -> None:
    """Equal as plain values; a truth value is no number. The words do not tell which one it was."""
    words = "ward is a value that is asked about" if asked else None
    assert why(one(one_of={"ward": ["icu", 3, True]}), arguments={"ward": value}) == words
    assert (
        why(one(equals={"ward": "icu"}), arguments={"ward": "icu"}) == "ward is a value that is asked about"
    )


def test_paths() -> None:
    """A path leads into an argument; one that raises leads nowhere."""
    condition = one(above={"tx.amount": 10})
    assert why(condition, arguments={"tx": {"amount": 11}}) == "tx.amount above 10"
    assert why(condition, arguments={"tx": 1}) is None
    assert condition.arguments == ("tx",)
    assert why(one(missing=["tx.id"]), arguments={"tx": Odd()}) == "tx.id missing"


def test_drift() -> None:
    """Only while it is latched."""
    assert (why(one(drift=True), drift=True), why(one(drift=True))) == ("drift", None)


def test_functions() -> None:
    """One that raises asks: who cannot say that the model may answer has not said it."""
    functions: dict[str, Callable[..., Any]] = {
        "a:yes": lambda *_: True,
        "a:no": lambda *_: False,
        "a:raises": lambda: None,
    }
    asked = asked_by(functions, {"amount": 1}, "benign")
    assert asked == ("a:yes", "a:raises")
    assert why(one(when="a:yes"), asked=asked) == "a:yes asks"
    assert why(one(when="a:no"), asked=asked) is None


WRITTEN = [
    {"score_below": "threshold"}, {"score_below": 0.5}, {"drift": True}, {"missing": ["a", "b.c"]},
    {"above": {"a": 1}}, {"below": {"b.c": 1}}, {"equals": {"a": 3}}, {"one_of": {"a": ["x", 3]}},
    {"when": "m:f"},
]  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(Odd())
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.sampled_from(["c", "d"]), PLAIN)


@given(st.dictionaries(st.sampled_from(["a", "b"]), VALUES), st.none() | st.floats(), st.none() | st.floats())
def test_they_never_raise_nor_tell_a_value(
    arguments: dict[str, Any], score: float | None, threshold: float | None
) -> None:
    """Whatever the caller sends; the words are of the conditions, and differ by the score alone."""
    known = {
        "drift", "a missing", "b.c missing", "a above 1", "a is no number", "b.c below 1", "b.c is no number",
        "a is a value that is asked about", "no score", "no threshold is certified",
    }  # fmt: skip
    for condition in parse_conditions(WRITTEN):
        words = condition.holds(Facts(score=score, arguments=arguments), threshold)
        assert words is None or words in known or words.startswith("score ")


@given(st.permutations(WRITTEN))
def test_they_are_written_as_they_are_read(written: list[dict[str, Any]]) -> None:
    """`plain` is the spec's own form."""
    assert [one.plain for one in parse_conditions(written)] == written

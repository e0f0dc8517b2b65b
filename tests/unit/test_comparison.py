"""Whether two answers agree: each kind of comparator, and that nothing gets past the guard."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import threading
import time
import uuid
import warnings
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from hypothesis.extra import numpy as hnp
from pydantic import BaseModel, ConfigDict

from bento_rollout.comparing import Comparing
from bento_rollout.comparison import (
    comparator,
    compare,
    compare_errors,
    compare_items,
    compare_rows,
    one_refused,
)
from bento_rollout.errors import InvalidValue
from bento_rollout.kinds import MOST_PARTS, read
from bento_rollout.matching import matched
from bento_rollout.records import Comparison, Difference, Relation
from bento_rollout.watching import Outcome

AGREE, DIFFER, NOT = Relation.AGREE, Relation.DIFFER, Relation.NOT_COMPARABLE
NAN = math.nan


@pytest.fixture(autouse=True)
def strict_warnings() -> Iterator[None]:
    """A service may have made warnings errors: a comparison warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("default", HypothesisWarning)
        yield


def compared(kind: str, champion: Any, candidate: Any, **options: Any) -> Comparison:
    """What a comparator of a kind says."""
    return compare(comparator(Comparing(kind, **options)), champion, candidate)


def told(found: Comparison) -> list[tuple[str, str, str, str]]:
    """The differences without their magnitude."""
    return [(one.path, one.kind, one.champion, one.candidate) for one in found.differences]


class Scores(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    score: float
    name: str = "n"


@dataclasses.dataclass
class Point:
    """An answer."""

    x: Any
    y: Any = 0


class Colour(Enum):
    """A label."""

    RED = "red"
    BLUE = "blue"


class Opaque:
    """Equal only to itself."""


class Endless(UserList):  # type: ignore[type-arg]
    """A list whose iterator, which is no Python code, has no end."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(0)


class EndlessMapping(UserDict):  # type: ignore[type-arg]
    """A mapping whose keys have no end."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat("a")

    def __getitem__(self, key: Any) -> Any:
        return 1


class EndlessPair(tuple):  # type: ignore[type-arg]  # noqa: SLOT001 - a user's own
    """A tuple whose iterator has no end."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(0)


class Explosive:
    """Raises whatever is asked of it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        raise self.error

    def __hash__(self) -> int:
        raise self.error


# -- the first regression ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "close", "label", "set", "json"])
def test_arrays_have_no_truth_value_and_are_compared_all_the_same(kind: str) -> None:
    """``champion == candidate`` of arrays is an array: scientist's port raised ValueError to the caller."""
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert compared(kind, scores, scores.copy()).relation is AGREE
    assert compared(kind, scores, scores[:, ::-1].copy()).relation is DIFFER
    assert compared(kind, {"a": [scores]}, {"a": [scores]}).error != "ValueError"


def test_a_users_comparator_of_arrays_raises_to_nobody() -> None:
    """`==` as the user's comparator returns an array, which is no verdict."""
    users = comparator(
        Comparing("function", function="m:f"), lambda champion, candidate: champion == candidate
    )
    assert compare(users, np.zeros(3), np.zeros(3)) == Comparison(NOT, "TypeError")
    assert compare(users, 1, 1).relation is AGREE


# -- exact and close -----------------------------------------------------------------------------------

TIMES = np.array(["2020-01-01", "NaT"], "datetime64[s]")
STRUCTURED = np.array([(1, 0.5), (2, 0.25)], dtype=[("id", int), ("score", float)])
FRAME = pd.DataFrame({"x": [0.5, NAN], "t": ["a", "b"]})


def changed(value: Any, **columns: Any) -> Any:
    """A copy of a frame or of a structured array with other columns."""
    other = value.copy()
    for name, column in columns.items():
        other[name] = column
    return other


@pytest.mark.parametrize(
    ("champion", "candidate", "exact", "close"),
    [
        # numbers
        (1, 1, "agree", "agree"),
        (1, 2, "differ", "differ"),
        (1, 1.0, "differ", "agree"),
        (0.5, 0.5000001, "differ", "agree"),
        (0.5, 0.51, "differ", "differ"),
        (1, True, "differ", "type"),
        (0, False, "differ", "type"),
        (NAN, NAN, "agree", "agree"),
        (NAN, 1.0, "differ", "nan"),
        (1.0, NAN, "differ", "nan"),
        (NAN, None, "differ", "nan"),
        (math.inf, math.inf, "agree", "agree"),
        (math.inf, -math.inf, "differ", "differ"),
        (math.inf, 1e308, "differ", "differ"),
        (1e308, -1e308, "differ", "differ"),
        (1 + 1j, 1 + 1.0000001j, "differ", "agree"),
        (complex(1.7e308, 1.7e308), complex(1e308, 0), "differ", "differ"),
        (10**400, 10**400, "agree", "agree"),
        (10**400, 10**401, "differ", "differ"),
        (10**400, 1.0, "differ", "differ"),
        (Decimal("0.5"), Decimal("0.50"), "agree", "agree"),
        (Decimal("0.5"), 0.5, "differ", "agree"),
        (Decimal("NaN"), Decimal("NaN"), "agree", "agree"),
        (Decimal("sNaN"), Decimal(1), "InvalidOperation", "InvalidOperation"),
        (Fraction(1, 3), 1 / 3, "differ", "agree"),
        (np.float32(0.5), 0.5, "agree", "agree"),
        (np.int64(3), 3, "agree", "agree"),
        (np.bool_(True), True, "agree", "agree"),
        (np.longdouble(0.5), 0.5, "agree", "agree"),
        # texts and the like
        ("a", "a", "agree", "agree"),
        ("a", "b", "differ", "differ"),
        ("1", 1, "differ", "type"),
        (np.str_("a"), "a", "agree", "agree"),
        (b"a", b"a", "agree", "agree"),
        (b"a", bytearray(b"a"), "agree", "agree"),
        (b"a", "a", "differ", "type"),
        (None, None, "agree", "agree"),
        (None, 1, "differ", "type"),
        (True, False, "differ", "differ"),
        (Colour.RED, Colour.RED, "agree", "agree"),
        (Colour.RED, Colour.BLUE, "differ", "differ"),
        (Colour.RED, "red", "differ", "agree"),
        (datetime(2020, 1, 1), datetime(2020, 1, 1), "agree", "agree"),  # noqa: DTZ001 - an answer's
        (datetime(2020, 1, 1), datetime(2020, 1, 2), "differ", "differ"),  # noqa: DTZ001 - an answer's
        (datetime(2020, 1, 1), "2020-01-01", "differ", "type"),  # noqa: DTZ001 - an answer's
        (uuid.UUID(int=1), uuid.UUID(int=1), "agree", "agree"),
        (Opaque(), Opaque(), "type", "type"),
        (Opaque(), 1, "differ", "type"),
        # lists
        ([], [], "agree", "agree"),
        ([1, [2.0]], [1, [2.0]], "agree", "agree"),
        ([1, [2.0]], [1.0, [2]], "differ", "agree"),
        ([1, 2], (1, 2), "differ", "agree"),
        ([1, 2], [1, 2, 3], "differ", "shape"),
        ([1, "a"], [1, 2], "differ", "type"),
        ([[1, 2], [3]], [[1, 2], [3]], "agree", "agree"),
        ([[1, 2], [3]], [[1], [2, 3]], "differ", "shape"),
        ([1.0] * 50, [1.0] * 49 + [NAN], "differ", "nan"),
        ([True] * 50, [1] * 50, "differ", "type"),
        ([2**70] * 50, [2**70] * 50, "agree", "agree"),
        ([2**63, -1] * 50, [2**63, -2] * 50, "differ", "differ"),
        ([1, 2.0] * 50, [1.0, 2] * 50, "differ", "agree"),
        (["a"] * 50, ["a"] * 49 + ["b"], "differ", "differ"),
        (deque([1, 2]), [1, 2], "agree", "agree"),
        (range(3), [0, 1, 2], "agree", "agree"),
        ({1, 2}, {2, 1}, "agree", "agree"),
        ({1, 2}, frozenset([2, 1]), "agree", "agree"),
        ({1, 2}, {1, 3}, "differ", "differ"),
        ({1, 2}, [1, 2], "differ", "type"),
        # mappings and models
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "agree", "agree"),
        ({"a": 1}, {"a": 1.0000001}, "differ", "agree"),
        ({"a": 1}, {"b": 1}, "differ", "differ"),
        ({"a": 1}, {}, "differ", "differ"),
        ({"a": 1}, [1], "differ", "type"),
        ({1: 2}, {"1": 2}, "differ", "agree"),
        ({1: 2, "1": 3}, {1: 2, "1": 3}, "agree", "agree"),
        (UserDict(a=1), {"a": 1}, "agree", "agree"),
        (Scores(score=1), Scores(score=1), "agree", "agree"),
        (Scores(score=1), Scores(score=2), "differ", "differ"),
        (Scores(score=1, more=1), Scores(score=1, more=2), "differ", "differ"),
        (Scores(score=1), {"score": 1.0, "name": "n"}, "differ", "agree"),
        (Scores(score=1, more=np.zeros(2)), Scores(score=1, more=np.zeros(2)), "agree", "agree"),
        (Point(1), Point(1), "agree", "agree"),
        (Point(np.zeros(2)), Point(np.ones(2)), "differ", "differ"),
        (Point(1, "a"), Point(1, "b"), "differ", "differ"),
        # arrays
        (np.array([1, 2]), np.array([1, 2], "int8"), "agree", "agree"),
        (np.array([1, 2]), np.array([1.0, 2]), "differ", "agree"),
        (np.array([1, 2]), np.array([1, 2], "uint8"), "differ", "agree"),
        (np.array([1.0, 2]), np.array([1.0, 2.0000001]), "differ", "agree"),
        (np.array([1.0, NAN]), np.array([1.0, NAN]), "agree", "agree"),
        (np.array([1.0, NAN]), np.array([NAN, 1.0]), "differ", "nan"),
        (np.array([math.inf, 1]), np.array([math.inf, 1]), "agree", "agree"),
        (np.array([math.inf, 1]), np.array([1e300, 1]), "differ", "differ"),
        (np.array([2**62]), np.array([-(2**62)]), "differ", "differ"),
        (np.array([65504], "float16"), np.array([-65504], "float16"), "differ", "differ"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "differ", "shape"),
        (np.zeros(2), np.zeros((2, 1)), "differ", "shape"),
        (np.zeros(0), np.zeros(0), "agree", "agree"),
        (np.zeros(0), np.zeros(1), "differ", "shape"),
        (np.array([1, 0]), np.array([True, False]), "differ", "type"),
        (np.array([True, False]), np.array([True, True]), "differ", "differ"),
        (np.array(["a", "b"]), np.array(["a", "bc"]), "differ", "differ"),
        (np.array(["a", "b"]), np.array(["a", "b"], "<U9"), "agree", "agree"),
        (np.array(["1"]), np.array([1]), "differ", "type"),
        (np.array([b"a"]), np.array([b"b"]), "differ", "differ"),
        (np.array([1j]), np.array([1j + 1e-9]), "differ", "agree"),
        (TIMES, TIMES.copy(), "agree", "agree"),
        (TIMES, TIMES.astype("datetime64[ns]"), "agree", "agree"),
        (TIMES, TIMES[::-1], "differ", "nan"),
        (TIMES[:1], TIMES[:1] + 1, "differ", "differ"),
        (TIMES[:1], TIMES[:1] - TIMES[:1], "differ", "type"),
        (TIMES[0], TIMES[0], "agree", "agree"),
        (STRUCTURED, STRUCTURED.copy(), "agree", "agree"),
        (STRUCTURED, changed(STRUCTURED, score=[0.5, 0.3]), "differ", "differ"),
        (STRUCTURED, STRUCTURED[["id"]], "differ", "differ"),
        (np.array([b"ab"], "V2"), np.array([b"ac"], "V2"), "differ", "differ"),
        (np.array([b"ab"], "V2"), np.array([b"abc"], "V3"), "differ", "type"),
        (np.array([1, "a", None], object), np.array([1, "a", None], object), "agree", "agree"),
        (np.array([1, "a", None], object), np.array([1, "b", None], object), "differ", "differ"),
        (np.array([1, 2], object), np.array([1, 2]), "differ", "agree"),
        (np.array(5.0), np.array(5.0), "agree", "agree"),
        (np.array(5.0), 5, "differ", "agree"),
        (np.array(5.0), "5", "differ", "type"),
        (np.array([1, 2]), [1, 2], "differ", "agree"),
        (np.array([1, 2]), [1, 2, 3], "differ", "shape"),
        (np.array(["a", "b"]), ["a", "b"], "differ", "agree"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], (3, 4.0)], "differ", "agree"),
        (np.array([1, 2]), [1, "a"], "differ", "type"),
        (np.array([[1, 2]]).view(np.matrix), np.array([[1, 2]]), "agree", "agree"),
        # frames
        (FRAME, FRAME.copy(), "agree", "agree"),
        (FRAME, FRAME[["t", "x"]], "agree", "agree"),
        (FRAME, changed(FRAME, x=[0.5, 1.0]), "differ", "nan"),
        (FRAME, changed(FRAME, t=["a", "c"]), "differ", "differ"),
        (FRAME, FRAME.set_axis([5, 6]), "differ", "agree"),
        (FRAME, FRAME.iloc[:1], "differ", "shape"),
        (FRAME, FRAME[["x"]], "differ", "differ"),
        (FRAME[["x"]], FRAME[["x"]].to_numpy(), "differ", "agree"),
        (FRAME["x"], FRAME["x"].copy(), "agree", "agree"),
        (FRAME["x"], FRAME["x"].set_axis([5, 6]), "differ", "agree"),
        (FRAME["x"], [0.5, NAN], "differ", "agree"),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            pd.DataFrame([[1, 3]], columns=["a", "a"]),
            "differ",
            "differ",
        ),
        (pd.Series([1, None], dtype="Int64"), pd.Series([1, None], dtype="Int64"), "agree", "agree"),
        (pd.Series([1, None], dtype="Int64"), pd.Series([1, 2], dtype="Int64"), "differ", "nan"),
        (pd.Index([1, 2]), pd.Index([1, 2]), "agree", "agree"),
    ],
)
def test_exact_and_close(champion: Any, candidate: Any, exact: str, close: str) -> None:
    """Exact: the same or not. Close: near numbers in whatever holds them, and what cannot be compared."""
    for kind, expected in (("exact", exact), ("close", close)):
        for pair in ((champion, candidate), (candidate, champion)):
            found = compared(kind, *pair)
            assert (found.error or found.relation.value) == expected, (kind, found)
            assert (found.relation is NOT) == (found.error is not None)
            assert bool(found.differences) == (expected in ("differ", "shape", "nan", "type"))


def test_the_tolerance_is_numpys_with_the_champion_as_reference() -> None:
    """``|candidate - champion| <= atol + rtol * |champion|``, in lists, arrays and by themselves."""
    for shape in (float, lambda number: [number] * 50, lambda number: np.full(3, number)):
        for champion, candidate, expected in (
            (100.0, 111.0, DIFFER),
            (111.0, 100.0, AGREE),
            (1.0, 1.5, AGREE),
        ):
            found = compared("close", shape(champion), shape(candidate), rtol=0.1, atol=0.4)
            assert found.relation is expected, (champion, candidate, found)


def test_large_integers_are_told_apart() -> None:
    """Without tolerance 2**60 and 2**60 + 1 differ, though they are one float."""
    assert compared("close", 2**60, 2**60 + 1, rtol=0, atol=0).relation is DIFFER
    assert compared("close", np.array([2**60]), np.array([2**60 + 1]), rtol=0, atol=0).relation is DIFFER


def test_the_most_telling_differences_come_first() -> None:
    """Ten of many, by their relative difference, with the place of each."""
    champion = np.arange(1.0, 100_001.0).reshape(100, 1000)
    candidate = champion * 1.001
    candidate[7, 5], candidate[99, 999] = -7006.0, 50_000.0
    found = compared("close", champion, candidate)
    assert (found.relation, found.fields, len(found.differences)) == (DIFFER, ("$[][]",), 10)
    assert found.differences[0] == Difference("$[7][5]", "value", "7006.0", "-7006.0", 2.0)
    assert found.differences[1] == Difference("$[99][999]", "value", "100000.0", "50000.0", 0.5)
    assert found.magnitude == 2.0
    assert compared("close", champion.tolist(), candidate.tolist()) == found
    assert compared("json", champion.tolist(), candidate) == found


def test_big_arrays_are_compared_fast() -> None:
    """A million numbers take milliseconds; the bar is wide, for a busy machine."""
    champion = np.random.default_rng(1).random(1_000_000)
    candidate = champion + 1e-3
    users = comparator(Comparing("close"))
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        assert compare(users, champion, candidate).relation is DIFFER
        best = min(best, time.perf_counter() - began)
    assert best < 0.1


# -- label ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("champion", "candidate", "labels"),
    [
        ("cat", "cat", [("cat", "cat")]),
        ("cat", "dog", [("cat", "dog")]),
        (1, "1", [("1", "1")]),
        (True, False, [("true", "false")]),
        (Colour.RED, "red", [("red", "red")]),
        (np.int64(3), 4, [("3", "4")]),
        (np.array(3), 3, [("3", "3")]),
        ([0.1, 0.9], [0.4, 0.6], [("1", "1")]),
        ([0.1, 0.9], np.array([0.6, 0.4]), [("1", "0")]),
        ([np.float64(0.1), np.float32(0.9)], (0, 0.5), [("1", "1")]),
        ([[0.1, 0.9], [1, 0]], np.array([[0.1, 0.9], [0.2, 0.8]]), [("1", "1"), ("0", "1")]),
        (np.array([2, 0, 1]), np.array([2, 1, 1]), [("2", "2"), ("0", "1"), ("1", "1")]),
        (np.array([[2], [0]]), np.array([2, 0]), [("2", "2"), ("0", "0")]),
        (np.array([True]), np.array([False]), [("true", "false")]),
        (np.array(["a", "b"]), pd.Series(["a", "c"]), [("a", "a"), ("b", "c")]),
        (np.array(["a", 1], object), np.array(["a", "1"], object), [("a", "a"), ("1", "1")]),
        (["a", "b"], ["a", "c"], [("a", "a")]),
        ([2, 1], [2, 9], [("2", "2")]),
        ([{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}], [{"label": "a"}], [("a", "a")]),
        ([[{"label": "a"}, {"label": "b"}], [{"label": "b"}]], ["a", "b"], None),
        (
            [[{"label": "a"}], [{"label": "b"}]],
            [[{"label": "a"}], [{"label": "a"}]],
            [("a", "a"), ("b", "a")],
        ),
        ({"label": "a", "score": 0.5}, "a", [("a", "a")]),
        (Point(0.1, 0.9), {"y": 1, "x": 0}, [("y", "y")]),
        ({"a": 0.5, "b": 0.5}, {"b": 0.5, "a": 0.5}, [("a", "a")]),
        ([{"a": 0.5, "b": 0.6}, {"a": 1, "b": 0}], ["b"], None),
        ([{"a": 0.5, "b": 0.6}, {"a": 1}], np.array(["b", "a"]), [("b", "b"), ("a", "a")]),
        (pd.DataFrame({"a": [0.1, 0.9], "b": [0.9, 0.1]}), np.array([1, 0]), [("1", "1"), ("0", "0")]),
        ([], [], []),
    ],
)
def test_labels(champion: Any, candidate: Any, labels: list[tuple[str, str]] | None) -> None:
    """What was decided is compared, row by row, and told."""
    found = compared("label", champion, candidate)
    if labels is None:
        assert found == Comparison(NOT, "shape")
        return
    assert found.labels == tuple(labels)
    unlike = [pair for pair in labels if pair[0] != pair[1]]
    assert found.relation is (DIFFER if unlike else AGREE)
    assert [(one.kind, one.champion, one.candidate) for one in found.differences] == [
        ("label", *pair) for pair in unlike
    ]


@pytest.mark.parametrize(
    ("champion", "error"),
    [
        (0.5, "type"),
        (None, "type"),
        (b"a", "type"),
        ({}, "type"),
        ({"a": "b"}, "type"),
        ({"a": {"b": 1}}, "type"),
        ({"label": ["a", "b"][:0]}, "type"),
        ([None], "type"),
        ({1, 2}, "type"),
        (TIMES, "type"),
        (TIMES[0], "type"),
        (np.array([None]), "type"),
        (np.array([["a", "b"]]), "type"),
        ([0.1, NAN], "nan"),
        ({"a": NAN}, "nan"),
        (np.array([0.5]), "shape"),
        (np.array([[0.5], [0.7]]), "shape"),
        ([[["a"], ["b"]], [["a"], ["b"]]], "shape"),
        ([[0.1, 0.9], [0.1, 0.9]], "shape"),
        ([], "shape"),
        ([[[[[[[[[[["a"]]]]]]]]]]], "depth"),
    ],
)
def test_what_has_no_label_is_not_comparable(champion: Any, error: str) -> None:
    """A single score, NaN, another number of labels, or nothing that could be one."""
    assert compared("label", champion, "a") == compared("label", "a", champion) == Comparison(NOT, error)


def test_places_of_labels() -> None:
    """A label stands at its row; labels are a bounded part of all."""
    rng = np.random.default_rng(2)
    champion = rng.random((100, 20, 3))
    candidate = champion.copy()
    candidate[50, 7] = candidate[50, 7][::-1] if champion[50, 7].argmax() != 1 else [1, 0, 0]
    found = compared("label", champion, candidate)
    assert [one.path for one in found.differences] == ["$[50][7]"]
    assert found.fields == ("$[][]",)
    assert len(found.labels) == 256
    assert len(compared("label", champion, champion[:, :, ::-1]).differences) == 10


def test_a_long_text_is_no_label_to_show() -> None:
    """A chat's answer compared by label is compared, and only its length is told."""
    found = compared("label", "a" * 101, "b" * 102)
    assert found.labels == (("text of 101", "text of 102"),)


# -- set -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("champion", "candidate", "expected"),
    [
        ([1, 2, 2], [2, 1, 2], []),
        ([1, 2, 2], [2, 1, 1], [("$[*]", "missing", "2", "absent"), ("$[*]", "extra", "absent", "1")]),
        ([1, 2], [2, 1.0], []),
        ([1, NAN], [NAN, 1], []),
        ([1, True], [True, 1], []),
        ([1], [True], [("$[*]", "missing", "1", "absent"), ("$[*]", "extra", "absent", "true")]),
        (["a", "b"], ("b", "a"), []),
        (["a", "b"], {"a", "b"}, []),
        (
            ["aa"],
            ["bbb"],
            [("$[*]", "missing", "text of 2", "absent"), ("$[*]", "extra", "absent", "text of 3")],
        ),
        ([{"a": [1, 2]}, {"b": 1}], [{"b": 1}, {"a": [1, 2]}], []),
        (
            [[1, 2]],
            [[2, 1]],
            [("$[*]", "missing", "list of 2", "absent"), ("$[*]", "extra", "absent", "list of 2")],
        ),
        ([Colour.RED, None, b"x"], [None, b"x", "red"], []),
        (np.array([3, 1, 2]), [1, 2, 3], []),
        (np.array([[1, 2], [3, 4]]), [[3, 4], [1, 2]], []),
        (TIMES, TIMES[::-1], []),
        (pd.Series(["a", "b"]), np.array(["b", "a"]), []),
        ({"t": ["a", "b"], "n": 1}, {"n": 1.0, "t": ["b", "a"]}, []),
        ({"t": ["a"]}, {"t": ["a", "b"]}, [("$.t[*]", "extra", "absent", "text of 1")]),
        (
            {"s": 0, "t": 1},
            {"s": 0, "u": 1, "v": 2},
            [
                ("$.*", "missing", "1", "absent"),
                ("$.*", "extra", "absent", "1"),
                ("$.*", "extra", "absent", "2"),
            ],
        ),
        ({"s": 0, "t": 1}, {"s": 0}, [("$.t", "missing", "1", "absent")]),
        (Scores(score=1), {"score": 1, "name": "n"}, []),
        (Point([1, 2]), Point([2, 1]), []),
        (FRAME, FRAME.iloc[::-1], []),
        (1, 1.0, []),
        ("a", "b", [("$", "value", "text of 1", "text of 1")]),
        (np.array(3), np.array(3), []),
        ([[frozenset([1]), np.float64(2), Point(1)]], [[{1}, 2, {"x": 1, "y": 0}]], []),
        ([Decimal(1), uuid.UUID(int=1), 1], [uuid.UUID(int=1), 1, 1], []),
    ],
)
def test_sets(champion: Any, candidate: Any, expected: list[tuple[str, str, str, str]]) -> None:
    """The order of a collection means nothing; what one has and the other lacks is told."""
    found = compared("set", champion, candidate)
    assert found.relation is (DIFFER if expected else AGREE)
    assert told(found) == expected


@pytest.mark.parametrize(
    ("champion", "candidate", "error"),
    [([1], 1, "type"), ([1], {"a": 1}, "type"), ([Opaque()], [Opaque()], "type"), ([1], None, "type")],
)
def test_what_is_no_collection_beside_one(champion: Any, candidate: Any, error: str) -> None:
    """A collection beside something else cannot be compared."""
    assert compared("set", champion, candidate).error == compared("set", candidate, champion).error == error


# -- json ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("champion", "candidate", "expected"),
    [
        ({"a": 1}, {"a": 1.0000001}, []),
        ({"a": 1}, {"a": "1"}, [("$.a", "type", "1", "text of 1")]),
        ({"a": 1}, {}, [("$.a", "missing", "1", "absent")]),
        ({}, {"a": "xyz"}, [("$.a", "extra", "absent", "text of 3")]),
        ({"a": None}, {}, [("$.a", "missing", "nothing", "absent")]),
        ({"a": [1, 2]}, {"a": [1]}, [("$.a", "length", "list of 2", "list of 1")]),
        (
            {"a": [1, 2]},
            {"a": [3, 2, 1]},
            [("$.a", "length", "list of 2", "list of 3"), ("$.a[0]", "value", "1", "3")],
        ),
        ([{"b": 1}, {"b": 2}], [{"b": 1}, {"b": 4}], [("$[1].b", "value", "2", "4")]),
        ({"a": NAN}, {"a": 1.5}, [("$.a", "value", "nan", "1.5")]),
        ({"a": NAN}, {"a": NAN}, []),
        ({"x y": True}, {"x y": False}, [("$.*", "value", "true", "false")]),
        ({1: "a"}, {"1": "b"}, [("$.*", "value", "text of 1", "text of 1")]),
        ({(1, 2): 3}, {(1, 2): 4}, [("$.*", "value", "3", "4")]),
        (Scores(score=1), {"score": 1}, [("$.name", "missing", "text of 1", "absent")]),
        (np.zeros((2, 2)), [[0, 0], [0, 1]], [("$[1][1]", "value", "0.0", "1")]),
        (np.zeros((2, 2)), np.zeros(2), [("$", "length", "array of 2 x 2", "array of 2")]),
        (np.zeros(2), np.array(["a", "b"]), [("$", "type", "float64", "<U1")]),
        (TIMES[0], TIMES[1], [("$", "value", "datetime64[s]", "datetime64[s]")]),
        ({"a": 10**40}, {"a": 10**400}, [("$.a", "value", "1e+40", "over 1e308")]),
        ({"a": -(10**400)}, {"a": {1}}, [("$.a", "type", "under -1e308", "set of 1")]),
        (STRUCTURED, changed(STRUCTURED, id=[1, 4]), [("$.id[1]", "value", "2", "4")]),
        (FRAME, changed(FRAME, t=["a", "cc"]), [("$.t[1]", "value", "text of 1", "text of 2")]),
        (FRAME, FRAME.iloc[:1], [("$", "length", "frame of 2 x 2", "frame of 1 x 2")]),
        (Colour.RED, Opaque(), [("$", "type", "text of 3", "Opaque")]),
    ],
)
def test_json(champion: Any, candidate: Any, expected: list[tuple[str, str, str, str]]) -> None:
    """A structural diff: what differs, lacks, is too much, of another length or type; all of it differs."""
    found = compared("json", champion, candidate)
    assert sorted(told(found)) == sorted(expected)
    assert found.relation is (DIFFER if expected else AGREE)


ANSWER = {"time": 1, "items": [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}], "x.y": {"z": 1}, "s": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("ignore", "candidate"),
    [
        (["$.time"], {**ANSWER, "time": 2}),
        (["$.time"], {key: value for key, value in ANSWER.items() if key != "time"}),
        (["$.more"], {**ANSWER, "more": {}}),
        (["$.items[*].id"], {**ANSWER, "items": [{"id": 7, "n": "a"}, {"n": "b"}]}),
        (["$.items[1]"], {**ANSWER, "items": [{"id": 1, "n": "a"}, None]}),
        (["$['x.y'].z"], {**ANSWER, "x.y": {"z": 9}}),
        (["$.*.z"], {**ANSWER, "x.y": {"z": 9}}),
        (["$.s[0]"], {**ANSWER, "s": np.array([7.0, 2.0])}),
        (["$.s[0]", "$.time"], {**ANSWER, "s": (7.0, 2.0), "time": None}),
    ],
)
def test_ignored_paths_are_left_out(ignore: list[str], candidate: Any) -> None:
    """What differs only there agrees; anywhere else it differs still."""
    assert compared("json", ANSWER, candidate, ignore=ignore).relation is AGREE
    assert compared("json", candidate, ANSWER, ignore=ignore).relation is AGREE
    assert compared("json", ANSWER, candidate).relation is DIFFER
    assert compared("json", ANSWER, candidate, ignore=["$.elsewhere", "$.items[7]"]).relation is DIFFER
    assert compared("json", ANSWER, {**candidate, "s": [9.0, 9.0]}, ignore=ignore).relation is DIFFER


def test_the_same_part_at_an_ignored_place_and_elsewhere() -> None:
    """One object that stands at two places is left out at the ignored one only."""
    ours, theirs = {"t": 1}, {"t": 2}
    found = compared("json", {"a": ours, "b": ours}, {"a": theirs, "b": theirs}, ignore=["$.a.t"])
    assert told(found) == [("$.b.t", "value", "1", "2")]


# -- the user's ----------------------------------------------------------------------------------------

OWN = Comparison(DIFFER, None, (Difference("$.x", "value", "1", "2", 0.5),), ("$.x",), (("a", "b"),))
LARGE = Comparison(NOT, "e" * 9999, OWN.differences * 99, ("f" * 9999,) * 99, (("a" * 9999, "b"),) * 9999)


def broken(**fields: Any) -> Comparison:
    """A comparison as a user might make it by mistake."""
    return dataclasses.replace(OWN, **fields)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (True, Comparison(AGREE)),
        (False, Comparison(DIFFER)),
        (np.bool_(True), Comparison(AGREE)),
        (np.array(False), Comparison(DIFFER)),
        (OWN, OWN),
        (None, Comparison(NOT, "TypeError")),
        (1, Comparison(NOT, "TypeError")),
        (0.97, Comparison(NOT, "TypeError")),
        ("agree", Comparison(NOT, "TypeError")),
        (NotImplemented, Comparison(NOT, "TypeError")),
        (np.array([True]), Comparison(NOT, "TypeError")),
        (broken(relation="agree"), Comparison(NOT, "TypeError")),
        (broken(fields=(3,)), Comparison(NOT, "TypeError")),
        (broken(differences=None), Comparison(NOT, "TypeError")),
        (broken(labels=(("a",),)), Comparison(NOT, "ValueError")),
    ],
)
def test_what_a_users_callable_says(verdict: Any, expected: Comparison) -> None:
    """A truth value or a comparison is the result; anything else is not one."""
    users = comparator(Comparing("function", function=lambda champion, candidate: verdict))
    assert compare(users, 1, 2) == expected


def test_a_users_comparison_is_bounded() -> None:
    """It is kept for many calls: it may hold no more than ours do."""
    found = compare(comparator(Comparing("function", function="m:f"), lambda a, b: LARGE), 1, 2)
    assert (len(found.differences), len(found.fields), len(found.labels)) == (10, 32, 256)
    assert len(repr(found)) < 100_000


@pytest.mark.parametrize(
    ("magnitude", "expected"), [(NAN, 1.0), (math.inf, 1e300), (-math.inf, -1e300), (np.float32(0.5), 0.5)]
)
def test_a_users_magnitude_is_a_number_that_json_has(magnitude: float, expected: float) -> None:
    """The report is JSON."""
    one = dataclasses.replace(OWN.differences[0], magnitude=magnitude)
    users = comparator(Comparing("function", function="m:f"), lambda a, b: broken(differences=(one,)))
    found = compare(users, 1, 2)
    assert found.differences[0].magnitude == found.magnitude == expected
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_a_users_callable_gets_copies() -> None:
    """What it does to the answers is seen by nobody: a champion may answer with what it keeps."""

    def users(champion: Any, candidate: Any) -> bool:
        for answer in (champion, candidate):
            answer.pop("time")
            answer["scores"][:] = 0
            answer["deep"][0].clear()
        return bool(champion["scores"].shape == candidate["scores"].shape)

    kept: dict[str, Any] = {"time": 1, "scores": np.ones(3), "deep": [{"a": 1}]}
    other = {"time": 2, "scores": np.ones(3), "deep": [{}]}
    assert compare(comparator(Comparing("function", function=users)), kept, other).relation is AGREE
    assert (kept["time"], kept["scores"].sum(), kept["deep"]) == (1, 3, [{"a": 1}])


@pytest.mark.parametrize(
    ("answer", "error"), [(threading.Lock(), "TypeError"), (Endless(), "size"), ([[Endless()]], "size")]
)
def test_what_cannot_be_copied_is_not_comparable_by_a_callable(answer: Any, error: str) -> None:
    """It is not handed over as it is."""
    users = comparator(Comparing("function", function="m:f"), lambda champion, candidate: True)
    assert compare(users, answer, 1) == Comparison(NOT, error)


def test_an_async_callable_is_no_comparator() -> None:
    """Its coroutine is closed, so that nothing warns that nobody awaited it."""

    async def users(champion: Any, candidate: Any) -> bool:
        return True

    assert compare(comparator(Comparing("function", function=users)), 1, 2) == Comparison(NOT, "TypeError")


def test_a_function_that_nobody_imported_is_refused() -> None:
    """The spec says where it is; who builds the comparator brings it."""
    with pytest.raises(InvalidValue, match="comparator m:f is not imported"):
        comparator(Comparing("function", function="m:f"))


# -- the guard -----------------------------------------------------------------------------------------


class Panic(BaseException):
    """What Rust's panics are in Python."""


ERRORS = [ValueError("x"), MemoryError(), SystemExit(1), KeyboardInterrupt(), Panic()]


@pytest.mark.parametrize("error", [*ERRORS, RecursionError()])
def test_what_a_comparator_raises_is_a_result(error: BaseException) -> None:
    """Its class is the error, and its text is not told."""

    def users(champion: Any, candidate: Any) -> bool:
        raise error

    expected = Comparison(NOT, type(error).__name__)
    assert compare(comparator(Comparing("function", function=users)), "secret", "secret") == expected
    for kind in ("exact", "close", "json", "set"):
        assert compared(kind, [Explosive(error)], [Explosive(error)]) == expected


class Rows(UserList):  # type: ignore[type-arg]
    """A batch that cannot be read."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __iter__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", ERRORS)
def test_what_reading_raises_is_a_result(error: BaseException) -> None:
    """Of a batch as a whole, too, and of what makes an answer plain; of the error its class is told."""
    expected = [Comparison(NOT, type(error).__name__)]
    assert compare_rows(comparator(Comparing()), Rows(error), [1]) == expected
    witness: Any = SimpleNamespace(refused=None, stream=False, rows=None, answer=Rows(error), count=1)
    assert matched(comparator(Comparing()), witness, Outcome([1]), list) == expected


def test_the_name_of_an_error_is_bounded_and_not_asked_of_its_class() -> None:
    """A metaclass may raise, too, and a name be as long as a payload."""

    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]  # as nobody should
            raise SystemExit

    def users(champion: Any, candidate: Any) -> bool:
        made: Any = Meta("e" * 5000, (Exception,), {})
        raise made

    found = compare(comparator(Comparing("function", function=users)), 1, 1)
    assert found == Comparison(NOT, "e" * 100)


def test_endless_recursion_of_a_comparator() -> None:
    """It ends at Python's own limit."""

    def users(champion: Any, candidate: Any) -> bool:
        return users(champion, candidate)

    assert compare(comparator(Comparing("function", function=users)), 1, 1).error == "RecursionError"


def circle(width: int, leaf: Any) -> list[Any]:
    """A list that holds itself several times, and a leaf."""
    found: list[Any] = [leaf]
    found.extend([found] * width)
    return found


def doubled(levels: int, leaf: Any) -> Any:
    """A few lists that unfold to 2**levels."""
    for _ in range(levels):
        leaf = [leaf, leaf]
    return leaf


def nested(levels: int, leaf: Any) -> Any:
    """A list in a list in a list."""
    for _ in range(levels):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize("kind", ["exact", "close", "json", "set", "label"])
def test_answers_without_end(kind: str) -> None:
    """Circles, and what unfolds to more than there are atoms, are compared or refused, and soon."""
    began = time.perf_counter()
    for ours, theirs in [
        (circle(1, 1), circle(1, 2)),
        (circle(100, 1), circle(100, 2)),
        (doubled(60, 1), doubled(60, 2)),
        ({"a": circle(3, "x")}, {"a": circle(3, "y")}),
        (nested(10_000, 1), nested(10_000, 2)),
    ]:
        assert compared(kind, ours, theirs).relation is not AGREE
    mapping: dict[str, Any] = {}
    mapping.update(a=mapping, b=mapping)
    assert compared(kind, mapping, copy.deepcopy(mapping)).relation is not DIFFER
    assert time.perf_counter() - began < 60


@pytest.mark.parametrize("kind", ["exact", "close", "json", "set", "label"])
@pytest.mark.parametrize(
    "answer", [Endless(), EndlessMapping(), EndlessPair()], ids=["list", "mapping", "tuple"]
)
def test_iterators_without_end(kind: str, answer: Any) -> None:
    """An iterator that is no Python code never lets go of the interpreter: it is not asked for all."""
    assert compared(kind, [0], answer) == compared(kind, answer, [0]) == Comparison(NOT, "size")


def test_what_is_only_akin_to_a_list_may_be_as_large_as_what_is_looked_at() -> None:
    """Its parts are looked at one by one."""
    assert len(read(deque(range(MOST_PARTS)))[1]) == MOST_PARTS


NAMES = [f"name_{letter}" for letter in "abcdefghijklmnopqrstuvwxyzABCDEFG"]


@pytest.mark.parametrize(
    ("champion", "candidate", "fields"),
    [
        ({"by": {"ann": 1}}, {"by": {"bob": 1}}, ["$.by.*"]),
        ({"by": {"Mary Ann": 1}}, {"by": {"Mary Ann": 2}}, ["$.by.*"]),
        ({"by": {"Mary Ann": 1, "ann": 1}}, {"by": {"Mary Ann": 1, "ann": 2}}, ["$.by.*"]),
        ({"by": {"P123456": 1}}, {"by": {"P123456": 2}}, ["$.by.*"]),
        ({"by": {"n" * 41: 1}}, {"by": {"n" * 41: 2}}, ["$.by.*"]),
        ({"by": {7: {"score": 1}}}, {"by": {7: {"score": 2}}}, ["$.by.*.score"]),
        ({"by": dict.fromkeys(NAMES, 1)}, {"by": dict.fromkeys(NAMES, 2)}, ["$.by.*"]),
        (dict.fromkeys(NAMES[1:], 1), dict.fromkeys(NAMES[1:], 2), [f"$.{name}" for name in NAMES[1:]]),
        ({"a": 1, "n" * 40: 1, "x-y": 1}, {"a": 2, "n" * 40: 2, "x-y": 2}, ["$.a", f"$.{'n' * 40}", "$.*"]),
        (pd.DataFrame({"mean radius": [1]}), pd.DataFrame({"mean radius": [2]}), ['$["mean radius"][]']),
        (Scores(score=1, **{"a b": 1}), Scores(score=2, **{"a b": 2}), ["$.score", "$.*"]),
    ],
)
def test_only_keys_that_name_fields_are_shown(champion: Any, candidate: Any, fields: list[str]) -> None:
    """A key of a table may be a patient's name; names that a class or a frame declares are shown."""
    for kind in ("json", "close", "exact"):
        found = compared(kind, champion, candidate)
        assert list(found.fields) == fields
        assert all("Mary" not in one.path and "ann" not in one.path for one in found.differences)


def test_keys_that_are_not_shown_are_ignored_by_name() -> None:
    """A path to be ignored names the key that is there."""
    ours, theirs = ({"by": {"Mary Ann": more, "x-y": more}} for more in (1, 2))
    for ignore, expected in ([['$.by["Mary Ann"]', '$.by["x-y"]'], AGREE], [['$.by["x-y"]'], DIFFER]):
        assert compared("json", ours, theirs, ignore=tuple(ignore)).relation is expected
    assert compared("json", ours, theirs, ignore=("$.by.*",)).relation is AGREE


def test_depth_is_bounded() -> None:
    """Beyond 64 levels nothing is said."""
    for kind in ("exact", "close", "json", "set"):
        assert compared(kind, nested(60, 1), nested(60, 1)).relation is AGREE
        assert compared(kind, nested(90, 1), nested(90, 1)) == Comparison(NOT, "depth")


def test_size_is_bounded() -> None:
    """What would take seconds of Python is not looked through."""
    ours, theirs = ([{"a": index + more} for index in range(400_000)] for more in (0, 1))
    for kind in ("json", "set"):
        assert compared(kind, ours, theirs) == Comparison(NOT, "size")


def test_the_sample_is_bounded() -> None:
    """However much differs, a comparison stays small."""
    ours = {f"{'k' * 5000}{index}": {"a": [{"b": index}]} for index in range(1000)}
    theirs = {name: {"a": [{"b": -1}]} for name in ours}
    found = compared("json", {"deep": nested(50, ours)}, {"deep": nested(50, theirs)})
    assert (len(found.differences), len(found.fields)) == (10, 1)
    found = compared("json", {str(n): n for n in range(1000)}, {str(n): n + 1 for n in range(1000)})
    assert (len(found.differences), found.fields) == (10, ("$.*",))
    pair = [{f"a{n}": {f"b{m}": n + m + more for m in range(9)} for n in range(9)} for more in (0, 1)]
    found = compared("json", *pair)
    assert (len(found.differences), len(found.fields)) == (10, 32)
    deep = compared("json", {f"{n}{'k' * 5000}": {"a": 1} for n in range(99)}, {})
    assert len(repr(deep)) < 20_000


# -- properties ----------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.decimals(allow_nan=False)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
ARRAYS = hnp.arrays(
    dtype=hnp.scalar_dtypes() | st.sampled_from(["<U3", "S2"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
FRAMES = st.lists(st.tuples(st.floats(), st.text(), st.integers(0, 9))).map(
    lambda rows: pd.DataFrame(rows, columns=["x", "t", "n"])
)
ANYTHING = st.recursive(
    LEAVES
    | ARRAYS
    | FRAMES
    | st.builds(lambda: Explosive(ValueError()))
    | st.builds(lambda: circle(2, 1))
    | st.sampled_from([Opaque(), Opaque, len, Colour.RED, Point(1), TIMES, TIMES[0], Decimal("NaN")]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner, max_size=4)
        | st.builds(Point, inner, inner)
        | st.sets(st.integers() | st.text())
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
EVERY = [Comparing(kind) for kind in ("exact", "close", "label", "set")]
EVERY += [Comparing("json", ignore=("$.a", "$[0]"))]


@given(JSON | ARRAYS | FRAMES)
@example([[], [[]]])
def test_everything_agrees_with_its_copy(value: Any) -> None:
    """NaN, empty lists, any dtype: what is the same agrees, whichever way it is compared."""
    for kind in ("exact", "close", "set", "json"):
        assert compared(kind, value, copy.deepcopy(value)) == Comparison(AGREE), kind
        assert compared(kind, value, value) == Comparison(AGREE)


@given(ANYTHING, ANYTHING)
def test_nothing_is_raised_and_all_is_bounded(champion: Any, candidate: Any) -> None:
    """For any pair there is a comparison, with an error if there is none, and never a large one."""
    for comparing in EVERY:
        check = comparator(comparing)
        found = [compare(check, champion, candidate), *compare_rows(check, champion, candidate)[:3]]
        for whole in (True, False):
            pair = [champion, candidate], [candidate, champion]
            found.append(compare_items(check, *pair, champion_whole=whole, candidate_whole=True))
        for one in found:
            assert isinstance(one, Comparison)
            assert (one.error is not None) == (one.relation is NOT)
            assert len(one.differences) <= 10
            assert len(one.fields) <= 32
            assert len(one.labels) <= 256
            assert all(math.isfinite(difference.magnitude) for difference in one.differences)
            assert one.relation is not DIFFER or one.differences


COARSE = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2, 0.0, 1.0, 2.5, NAN, "a", "1", b"a", TIMES[0]])
    | hnp.arrays(
        st.sampled_from(["float64", "int8", "bool", "object"]), st.integers(0, 3), elements=st.just(1)
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", 1]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(COARSE, COARSE)
def test_who_is_the_champion_does_not_matter(one: Any, other: Any) -> None:
    """Agreement, difference and error are the same in both directions."""
    for kind in ("exact", "json", "close", "set", "label"):
        found, back = compared(kind, one, other), compared(kind, other, one)
        assert (found.relation, found.error) == (back.relation, back.error), kind


WORDS = st.text("pqrstuvwxyzPQRSTUVWXYZ", min_size=12, max_size=30).map("qzk".__add__)


@given(WORDS, WORDS, st.integers(0, 9))
def test_no_text_of_an_answer_is_told(ours: str, theirs: str, shape: int) -> None:
    """Neither the champion's words nor the candidate's are in what is kept and shown to people."""
    shapes: list[Callable[[str], Any]] = [
        lambda text: text,
        lambda text: {"answer": text, "more": [text, {"a": text}]},
        lambda text: [text] * 60,
        lambda text: np.array([text, "x"]),
        lambda text: pd.DataFrame({"t": [text]}),
        lambda text: Point(text.encode(), {text}),
        lambda text: {"by": {text: 1}},
        lambda text: {"by": {f"{text}{index}": index for index in range(40)}},
        lambda text: {"by": {"of": 1, f"{text} {text}": text}},
        lambda text: Scores.model_validate({"score": 1, f"{text} {text}": text}),
    ]
    pair = shapes[shape](ours), shapes[shape](theirs)
    for kind in ("exact", "close", "set", "json"):
        check = comparator(Comparing(kind))
        found = [compare(check, *pair), compare(check, pair[0], None), *compare_rows(check, *pair)]
        found.append(
            compare_items(check, [pair[0], ours], [theirs], champion_whole=True, candidate_whole=True)
        )
        assert "qzk" not in repr(found)


# -- rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("champion", "candidate", "expected"),
    [
        ([1, 2], [1, 3], "agree differ"),
        ((1, 2), np.array([1.0, NAN]), "agree nan"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 5]], "agree differ"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3]], "agree shape"),
        (pd.Series([1, 2], index=[7, 8]), [1, 2], "agree agree"),
        (FRAME, FRAME[["t", "x"]].set_axis([4, 5]), "agree agree"),
        (FRAME, changed(FRAME, t=["a", "c"]), "agree differ"),
        (FRAME, [{"x": 0.5, "t": "a"}, {"x": NAN, "t": "z"}], "agree differ"),
        (pd.DataFrame(index=[1, 2]), pd.DataFrame(index=[1, 2]), "agree agree"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[1, 3]], columns=["a", "a"]), "differ"),
        (STRUCTURED, changed(STRUCTURED, id=[1, 3]), "agree differ"),
        ([], [], ""),
        ([1, 2], [1], "shape"),
        ([1, 2], 1, "shape"),
        ("ab", "ab", "shape"),
        (None, [1], "shape"),
        (np.array(3), np.array(3), "shape"),
        ({"a": 1}, {"a": 1}, "shape"),
    ],
)
def test_rows(champion: Any, candidate: Any, expected: str) -> None:
    """Each row has its comparison; what does not have equally many rows has one for all."""
    found = compare_rows(comparator(Comparing()), champion, candidate)
    assert " ".join(one.error or one.relation.value for one in found) == expected


def test_the_rows_of_a_frame_are_told_by_column() -> None:
    """A row is a mapping by column."""
    found = compare_rows(comparator(Comparing()), FRAME, changed(FRAME, x=[0.25, NAN]))
    assert told(found[0]) == [("$.x", "value", "0.5", "0.25")]


def test_rows_that_cannot_be_read() -> None:
    """What a batch raises is the one comparison's error."""

    class Rows(deque[int]):
        def __iter__(self) -> Iterator[int]:
            raise OSError

    assert compare_rows(comparator(Comparing()), Rows([1]), [1]) == [Comparison(NOT, "OSError")]


# -- streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("champion", "candidate", "whole", "expected"),
    [
        ([1, 2], [1, 2], "both", []),
        ([], [], "both", []),
        ([1, 2], [1, 3], "both", [("$[1]", "value", "2", "3")]),
        ([1, 2], [1], "both", [("$", "length", "2 items", "1 items")]),
        ([{"a": [1]}], [{"a": [2]}], "both", [("$[0].a[0]", "value", "1", "2")]),
        # only what is there of both
        ([1, 2, 3], [1, 2], "champion", []),
        ([1, 2], [1, 2, 3], "candidate", []),
        ([1, 2, 3], [1, 2], "neither", []),
        ([1, 2, 3], [1, 4], "champion", [("$[1]", "value", "2", "4")]),
        # a part that is longer than the whole is the beginning of a longer stream
        ([1, 2], [1, 2, 3], "champion", [("$", "length", "2 items", "3 items")]),
        ([1, 2, 3], [1, 2], "candidate", [("$", "length", "3 items", "2 items")]),
        # texts in other chunks
        (["to", "ken"], ["tok", "en"], "both", []),
        (["to", "ken"], ["token"], "both", []),
        ([b"to", b"ken"], [b"token"], "both", []),
        (["to", "ken"], ["tokens"], "both", [("$", "value", "text of 5", "text of 6")]),
        (["to", "ken"], ["to", "kens"], "both", [("$[1]", "value", "text of 3", "text of 4")]),
        (["to", "ken"], [], "both", [("$", "value", "text of 5", "text of 0")]),
        (["to", "ken", "s"], ["tok"], "champion", []),
        (
            ["to"],
            ["tok", "ens"],
            "champion",
            [("$[0]", "value", "text of 2", "text of 3"), ("$", "length", "1 items", "2 items")],
        ),
        (["to", "ken"], [b"token"], "both", None),
        ([1, "a"], [1], "neither", []),
    ],
)
def test_streams(
    champion: list[Any], candidate: list[Any], whole: str, expected: list[tuple[str, str, str, str]] | None
) -> None:
    """Item by item, as far as both were kept; chunks of text may be cut elsewhere."""
    for kind in ("exact", "json"):
        found = compare_items(
            comparator(Comparing(kind)),
            champion,
            candidate,
            champion_whole=whole in ("both", "champion"),
            candidate_whole=whole in ("both", "candidate"),
        )
        if expected is None:
            assert found.relation is DIFFER
            continue
        assert told(found) == expected
        assert found.relation is (DIFFER if expected else AGREE)


BOTH = {"champion_whole": True, "candidate_whole": True}


def test_the_differences_of_a_stream() -> None:
    """The most telling of all items, their fields without the index, and an item's error for the stream."""
    ours, theirs = [{"a": float(n)} for n in range(1, 50)], [{"a": n + 1 / n} for n in range(1, 50)]
    found = compare_items(comparator(Comparing()), ours, theirs, **BOTH)
    assert (found.relation, found.fields, len(found.differences)) == (DIFFER, ("$[].a",), 10)
    assert found.differences[0] == Difference("$[0].a", "value", "1.0", "2.0", 0.5)
    found = compare_items(comparator(Comparing()), [1, 2, 3], [9, NAN, 3], **BOTH)
    assert (found.relation, found.error, len(found.differences)) == (NOT, "nan", 2)


def test_labels_of_a_stream_are_bounded() -> None:
    """Each item has its labels; a long stream has some of them."""
    found = compare_items(comparator(Comparing("label")), [1] * 300, [2] * 300, **BOTH)
    assert (found.relation, found.labels) == (DIFFER, (("1", "2"),) * 256)


def test_a_users_comparator_of_texts_is_asked_about_the_whole_text() -> None:
    """When chunks do not agree one by one, the user's callable gets both texts."""
    users = comparator(
        Comparing("function", function=lambda champion, candidate: champion.lower() == candidate.lower())
    )
    assert compare_items(users, ["To", "ken"], ["TOKEN"], **BOTH).relation is AGREE


# -- refusals ------------------------------------------------------------------------------------------


def test_refusals() -> None:
    """Both refused: in the same words or not. One refused: that is a difference of kind."""
    assert compare_errors("400", "400") == Comparison(AGREE)
    found = compare_errors("400", "the name Smith is too short")
    assert (found.relation, told(found)) == (DIFFER, [("$", "value", "400", "text of 27")])
    assert told(one_refused("champion")) == [("$", "type", "refusal", "answer")]
    assert told(one_refused("candidate")) == [("$", "type", "answer", "refusal")]
    assert one_refused("candidate").relation is DIFFER

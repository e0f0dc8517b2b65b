"""Arguments of calls as the bins of a reference: each shape that an endpoint may be called with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from bento_rollout.call_rows import columns_in
from bento_rollout.drift import Reference
from bento_rollout.errors import InvalidValue
from bento_rollout.excerpts import MOST_ROWS, Excerpt, excerpt
from bento_rollout.featuring import MOST_NEW, Encoder, hour_of_week, parted, unpacked

DRAW = np.random.default_rng(7)
ROWS = {
    "age": DRAW.normal(50, 10, 1000),
    "income": DRAW.normal(3000, 500, 1000),
    "city": DRAW.choice(["bonn", "köln", "ulm"], 1000),
}
NAMED = Encoder(Reference.fit(ROWS))
SQUARE = Encoder(Reference.fit(DRAW.normal(size=(1000, 3))))

ROW: dict[str, Any] = {"age": 51.0, "income": 2900.0, "city": "ulm"}
"""One row, as most shapes below give it."""


class Patient(BaseModel):
    """A row as a model."""

    age: float
    income: float | None
    city: str = "ulm"


class Patients(RootModel[list[Patient]]):
    """Rows as a model."""


@dataclass
class Person:
    """A row as a dataclass."""

    age: float
    income: float
    city: str


def bins_of(encoder: Encoder, **arguments: Any) -> list[list[int]] | None:
    """What is kept of one call."""
    (blob,) = encoder.encode([excerpt(arguments)]).blobs
    return None if blob is None else unpacked(blob, encoder.width)[1].tolist()


EXPECTED = NAMED.reference.encode([ROW]).bins.tolist()


@pytest.mark.parametrize(
    "arguments",
    [
        ROW,
        {"patient": ROW},
        {"patient": Patient(**ROW)},
        {"person": Person(**ROW)},
        {"rows": [ROW]},
        {"rows": [Patient(**ROW)]},
        {"rows": Patients([Patient(**ROW)])},
        {"frame": pd.DataFrame([ROW])},
        {"frame": pd.DataFrame([ROW]), "threshold": 0.5},
        {"row": [51.0, 2900.0, "ulm"]},
        {"rows": [[51.0, 2900.0, "ulm"]]},
        {"row": np.array([51.0, 2900.0, "ulm"], dtype=object)},
        {"rows": np.array([[51.0, 2900.0, "ulm"]], dtype=object)},
        {"rows": np.array([(51.0, 2900.0, "ulm")], dtype=[("age", "f8"), ("income", "f8"), ("city", "U9")])},
        {"age": np.float64(51), "income": Decimal(2900), "city": "ulm"},
        {"age": np.array([51.0]), "income": [2900], "city": ["ulm"]},
        {"age": [51.0], "income": 2900, "city": "ulm"},
        {"age": 51, "income": 2900, "city": "ulm", "file": object(), "verbose": True},
    ],
    ids="-".join,
)
def test_every_shape_is_the_same_row(arguments: Mapping[str, Any]) -> None:
    """Scalars, objects, lists, arrays, frames, models: a row is a row."""
    assert bins_of(NAMED, **arguments) == EXPECTED


def test_arrays_have_their_columns_by_place() -> None:
    """Rows x features as an array, as lists, one row alone; another width gives none."""
    rows = np.array([[0.0, 1.0, -1.0], [2.0, 0.5, 0.1]])
    expected = SQUARE.reference.encode(rows).bins.tolist()
    assert bins_of(SQUARE, rows=rows) == expected
    assert bins_of(SQUARE, rows=rows.tolist()) == expected
    assert bins_of(SQUARE, row=rows[1]) == expected[1:]
    assert bins_of(SQUARE, row=rows[1].tolist()) == expected[1:]
    assert bins_of(SQUARE, rows=rows.astype(np.float32)) is not None
    assert bins_of(SQUARE, frame=pd.DataFrame(rows)) == expected
    assert bins_of(SQUARE, row=[1.0, 2.0]) is None
    assert bins_of(SQUARE, rows=rows[:, :2, None]) is None


def test_objects_in_objects_and_missing_values() -> None:
    """A field of a field is ``a.b``; None, NaN and what is absent where some were absent are missing."""
    table: list[dict[str, Any]] = [
        {"who": {"age": float(age), "sex": "fm"[age % 2]}, "income": None} for age in range(1000)
    ]
    for at in range(0, 1000, 3):
        table[at]["income"] = float(at)
    encoder = Encoder(Reference.fit(columns_in({"row": row} for row in table)))
    assert {one.name for one in encoder.reference.tested} == {"who.age", "who.sex", "income"}
    seen = encoder.encode([excerpt({"patient": {"who": {"age": 3, "sex": "f"}, "income": None}})])
    assert seen.alarms == ()
    assert unpacked(seen.blobs[0] or b"", 3)[1].shape == (1, 3)
    assert bins_of(encoder, rows=table[:5]) is not None


def test_texts_and_vectors() -> None:
    """A list of texts is so many rows; a vector is one row's, and a list of them is one for each."""
    texts = Encoder(
        Reference.fit(
            {"text": [f"{'word ' * (1 + at % 40)}{at}" for at in range(1000)]}, kinds={"text": "text"}
        )
    )
    assert len(bins_of(texts, text=["a b c", "d"]) or ()) == 2
    assert len(bins_of(texts, text="a b c") or ()) == 1
    vectors = Encoder(Reference.fit({"vector": DRAW.normal(size=(600, 24))}, kinds={"vector": "embedding"}))
    one = DRAW.normal(size=24)
    expected = bins_of(vectors, vector=one[None, :])
    assert expected is not None
    assert bins_of(vectors, vector=one) == bins_of(vectors, vector=one.tolist()) == expected
    assert bins_of(vectors, rows=[{"vector": one.tolist()}]) == expected
    assert bins_of(vectors, vector=[one.tolist(), one.tolist()]) == expected * 2


def test_many_calls_together_are_each_by_itself() -> None:
    """Whatever else is in a batch, a call has its own bins."""
    calls = [excerpt({"age": float(age), "income": 2000.0 + age, "city": "bonn"}) for age in range(2500)]
    calls[7] = excerpt({"age": "unknown", "income": None, "city": 3})
    calls[9] = excerpt({"nothing": 1})
    seen = NAMED.encode(calls)
    assert seen.blobs[9] is None
    assert (seen.rows, seen.refused) == (2499, 1)
    for at in (0, 7, 8, 1500, 2499):
        assert seen.blobs[at] == NAMED.encode([calls[at]]).blobs[0]
    told = {(one.kind, one.feature): one.count for one in seen.alarms}
    assert told[("type", "age")] == 1
    assert told[("category", "city")] == 1
    assert told[("type", "")] == 1


def test_new_and_lost_features_are_told_and_no_value_is() -> None:
    """Names of new features are callers' words: few of them are told, and only plain ones."""
    calls = [excerpt({"age": 1.0, "city": "ulm", f"extra{at}": "secret"}) for at in range(50)]
    calls += [excerpt({"patient": {**ROW, "geheim 4711": 1.0}})]
    encoder = Encoder(NAMED.reference)
    told = {(one.kind, one.feature): one for one in encoder.encode(calls).alarms}
    assert told[("lost", "income")].count == 50
    assert len([1 for kind, _ in told if kind == "new"]) == MOST_NEW + 1
    assert told[("new", "…")].count == 50 - MOST_NEW + 1
    assert "4711" not in str(told)
    assert "secret" not in str(told)


def test_only_the_first_rows_are_looked_at() -> None:
    """A million rows cost what a thousand do, and the others are counted."""
    for rows in (
        np.zeros((1_000_000, 3)),
        [[0.0, 1.0, 2.0]] * 1_000_000,
        pd.DataFrame(np.zeros((1_000_000, 3))),
        [{"feature_0": 1.0, "feature_1": 1.0, "feature_2": 1.0}] * 1_000_000,
    ):
        one = excerpt({"rows": rows})
        assert one.left_out == 1_000_000 - MOST_ROWS
        assert one.weight < 1_000_000
        seen = SQUARE.encode([one])
        assert (seen.rows, seen.left_out, seen.refused) == (MOST_ROWS, 1_000_000 - MOST_ROWS, 0)
    assert excerpt({"rows": np.zeros((20, 10_000_000))}).arguments == {}
    assert excerpt({"rows": np.zeros((1000, 100_000), dtype=np.int8)}).arguments["rows"].shape == (
        41,
        100_000,
    )


def test_what_was_sent_is_what_is_kept() -> None:
    """An endpoint that changes its arguments changes nothing in an excerpt."""
    array, frame, rows, row = np.ones((2, 3)), pd.DataFrame([ROW]), [[1.0, 2.0, 3.0]], dict(ROW)
    model, inner = Patient(**ROW), {"a": [dict(ROW)]}
    one = excerpt({"a": array, "f": frame, "r": rows, "o": row, "m": model, "i": inner})
    array[:], frame.loc[0, "age"], rows[0][0] = -1, -1.0, -1.0
    row.clear()
    model.age, inner["a"][0]["age"] = -1.0, -1.0
    held = one.arguments
    assert held["a"].tolist() == [[1.0] * 3] * 2
    assert held["f"]["age"].tolist() == [51.0]
    assert held["r"] == [[1.0, 2.0, 3.0]]
    assert held["o"] == ROW
    assert held["m"] == ROW
    assert held["i"] == {"a": [ROW]}


class Awkward:
    """Raises wherever it is touched."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)

    def __len__(self) -> NoReturn:
        raise RuntimeError


class AwkwardList(list):  # type: ignore[type-arg]
    """A list that cannot be cut."""

    def __getitem__(self, place: Any) -> NoReturn:
        raise RuntimeError(place)


def test_awkward_arguments_cost_their_own_place() -> None:
    """What raises, has no end or is nested without end is left out; the rest stands."""
    circle: list[Any] = []
    circle.append(circle)
    endless: dict[str, Any] = {}
    endless["x"] = endless
    given = {
        **ROW, "a": Awkward(), "b": AwkwardList([1]), "c": circle, "d": endless, "e": (n for n in range(3)),
        "f": b"raw", "g": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), "h": 10**5000, "i": open,
    }  # fmt: skip
    assert bins_of(NAMED, **given) == EXPECTED
    assert bins_of(NAMED, age=10**5000, income=float("inf"), city="x" * 10_000_000) is not None
    assert bins_of(NAMED, rows=np.zeros((40, 100_000), dtype=np.int8)) is None
    assert bins_of(NAMED, row={**ROW, **{f"f{at}": at for at in range(16_000)}}) == EXPECTED
    wide = excerpt({"row": {str(at): at for at in range(10**6)}})
    assert len(wide.arguments["row"]) < 20_000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(calls=st.lists(st.dictionaries(st.sampled_from(["age", "city", "rows", "x"]), VALUES), max_size=6))
@settings(max_examples=200, deadline=None)
def test_nothing_raises(calls: list[dict[str, Any]]) -> None:
    """Whatever JSON a caller sends gives rows of the right width, or none, and each call's own."""
    seen = NAMED.encode([excerpt(call) for call in calls])
    assert len(seen.blobs) == len(calls)
    assert seen.refused == seen.blobs.count(None)
    rows = 0
    for call, blob in zip(calls, seen.blobs, strict=True):
        assert blob == NAMED.encode([excerpt(call)]).blobs[0]
        rows += 0 if blob is None else len(unpacked(blob, NAMED.width)[1])
    assert rows == seen.rows


def test_blobs() -> None:
    """They begin with the reference's digest, and are refused where they are of another width."""
    (blob,) = NAMED.encode([excerpt(ROW)]).blobs
    assert blob is not None
    assert unpacked(blob, 3)[0] == NAMED.reference.digest
    for wrong in (b"", blob[:8], blob + b"x"):
        with pytest.raises(InvalidValue, match="no rows of 3 features"):
            unpacked(wrong, 3)
    assert parted(None, 3, 2) == (None, None)
    assert parted(blob, 3, 2) == (blob, None)


def test_an_excerpt_tells_nothing() -> None:
    """It may stand in an error's text."""
    assert repr(Excerpt({"name": "Ann"})) == "<Excerpt of 1 arguments>"


def test_hours_of_the_week() -> None:
    """Monday 0 o'clock in UTC is the first."""
    monday = dt.datetime(2026, 11, 23, tzinfo=dt.timezone.utc).timestamp()
    assert [hour_of_week(monday + 3600 * at) for at in (0, 1, 167, 168)] == [0, 1, 167, 0]

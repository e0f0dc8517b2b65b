"""What rows are compared with: fitted once, stored as text, and refused where it cannot be trusted."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.drift import Reference, SchemaAlarm
from bento_rollout.errors import InvalidValue


def frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """A frame of two numbers and a category."""
    draw = np.random.default_rng(seed)
    made: pd.DataFrame = pd.DataFrame(
        {
            "age": draw.normal(50, 10, rows),
            "dose": draw.exponential(1, rows),
            "region": draw.choice(["north", "south"], rows, p=[0.8, 0.2]),
        }
    )
    return made


REFERENCE = Reference.fit(frame(1000))


def kinds_of(alarms: tuple[SchemaAlarm, ...]) -> list[tuple[str, str, int]]:
    """What alarms say, without their words."""
    return [(alarm.kind, alarm.feature, alarm.count) for alarm in alarms]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (np.zeros((0, 3)), "the reference has no rows"),
        ({}, "the reference has no rows"),
        (np.zeros((132, 3)), "has 132 rows, of which 99 are left"),
        (np.full((1000, 2), 7.0), r"nothing of the reference can be tested: feature_0 \(constant\)"),
        (np.full((1000, 2), math.nan), r"nothing .*: feature_0 \(all missing\)"),
        (np.full((1000, 2), math.inf), r"nothing .*: feature_0 \(all infinite or missing\)"),
        (pd.DataFrame([["a", "b"]] * 500, columns=["x", "x"]), "two columns are called 'x'"),
        ({"v": np.eye(4).repeat(200, axis=0), "v.norm": np.arange(800)}, "two features are called 'v.norm'"),
        ({"when": [pd.Timestamp("2026-01-01")] * 500}, "neither numbers, texts nor vectors"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(data: object, why: str) -> None:
    """Each reason is named, and what was found."""
    with pytest.raises(InvalidValue, match=why):
        Reference.fit(data)


@pytest.mark.parametrize(
    ("settings_", "why"),
    [
        ({"bins": 1}, "bins is 1"),
        ({"bins": 251}, "bins is 251"),
        ({"edges_share": 1.0}, "edges_share is 1.0"),
        ({"segments": ("age", "age")}, "at most 3 different ones"),
        ({"segments": ("country",)}, "segments names 'country'"),
        ({"segments": ("region",), "strata": np.zeros(1000, dtype=int)}, "parted by one of them"),
        ({"strata": np.zeros(3, dtype=int)}, "strata are 1000 whole numbers from 0"),
        ({"strata": np.full(1000, -1)}, "strata are 1000 whole numbers from 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings_: dict[str, Any], why: str) -> None:
    """By its name, and with its value."""
    with pytest.raises(InvalidValue, match=why):
        Reference.fit(frame(1000), **settings_)


def test_the_edges_come_from_other_rows() -> None:
    """A quarter of the rows gives the edges and is not counted; another seed draws others."""
    assert REFERENCE.rows == 750
    assert REFERENCE.counts.sum(axis=1).tolist() == [750] * 3
    assert Reference.fit(frame(1000)).digest == REFERENCE.digest
    assert Reference.fit(frame(1000), seed=1).digest != REFERENCE.digest
    assert len(REFERENCE.digest) == 16


def test_a_small_reference_says_so() -> None:
    """Under a thousand rows it works, and warns."""
    assert REFERENCE.warnings == ()
    assert "only 200 rows" in Reference.fit(frame(200)).warnings[0]


def test_dependent_rows_are_told() -> None:
    """Where a row's rank says much of the next row's, exchangeability fails: the warning names features."""
    draw = np.random.default_rng(0)
    walk = np.zeros(2000)
    for row in range(1, 2000):
        walk[row] = 0.9 * walk[row - 1] + draw.normal()
    data = {"walk": walk, "free": draw.normal(size=2000)}
    reference = Reference.fit(data)
    assert reference.dependence["walk"] > 0.8
    assert abs(reference.dependence["free"]) < 0.1
    assert "rows look dependent" in reference.warnings[0]
    assert "walk" in reference.warnings[0]
    shuffled = Reference.fit({name: draw.permutation(column) for name, column in data.items()})
    assert shuffled.warnings == ()


def test_rows_that_are_built_otherwise() -> None:
    """Lost, new, of another type, unseen and infinite: each is an alarm of its own, and the row goes on."""
    rows = pd.DataFrame(
        {"age": [50, "old", None], "region": ["north", "east", None], "weight": [1, 2, 3]}, dtype=object
    )
    encoded = REFERENCE.encode(rows)
    assert kinds_of(encoded.alarms) == [
        ("type", "age", 1),
        ("lost", "dose", 3),
        ("category", "region", 1),
        ("new", "weight", 3),
    ]
    assert encoded.bins.shape == (3, 3)
    assert encoded.bins[:, 1].tolist() == [0, 0, 0]
    endless = REFERENCE.encode({"age": [math.inf, -math.inf], "dose": [1, 2], "region": ["north", "south"]})
    assert kinds_of(endless.alarms) == [("infinite", "age", 2)]
    assert endless.refused == 2
    assert endless.bins[:, 0].tolist() == [0, 0]
    assert not any("old" in alarm.detail or "east" in alarm.detail for alarm in encoded.alarms)


def test_columns_without_names_go_by_their_place() -> None:
    """A model that was trained on a frame is served arrays; another number of columns is another schema."""
    numbers = Reference.fit(frame(1000)[["age", "dose"]])
    rows = frame(5, seed=1)[["age", "dose"]]
    assert numbers.encode(rows.to_numpy()).bins.tolist() == numbers.encode(rows).bins.tolist()
    assert numbers.encode(rows[["dose", "age"]]).bins.tolist() == numbers.encode(rows).bins.tolist()
    with pytest.raises(
        InvalidValue, match="none of the reference's features: feature_0, feature_1, feature_2"
    ):
        numbers.encode(np.zeros((1, 3)))
    with pytest.raises(InvalidValue, match="not age, dose"):
        numbers.encode({"price": [1.0]})
    unnamed = Reference.fit(frame(1000)[["age", "dose"]].to_numpy())
    alarms = unnamed.encode(np.zeros((2, 3))).alarms
    assert kinds_of(alarms) == [("new", "feature_2", 2)]
    assert kinds_of(unnamed.encode(np.zeros((2, 1))).alarms) == [("lost", "feature_1", 2)]


def test_no_rows_are_no_bins() -> None:
    """An empty call is no error, and no alarm."""
    empty: tuple[object, ...] = (
        frame(0),
        [],
        {},
        frame(0)[["age"]],
        frame(0).rename(columns={"dose": "other"}),
    )
    for rows in empty:
        encoded = REFERENCE.encode(rows)
        assert encoded.bins.shape == (0, 3)
        assert encoded.alarms == ()


def whole() -> Reference:
    """A reference with everything that one can have."""
    draw = np.random.default_rng(5)
    rows = 700
    return Reference.fit(
        {
            "age": np.where(draw.random(rows) < 0.1, math.nan, draw.normal(size=rows)),
            "region": draw.choice(["north", "süd", "west"], rows, p=[0.6, 0.395, 0.005]).tolist(),
            "text": [f"{place} {'x' * int(n)}" for place, n in enumerate(draw.poisson(9, rows))],
            "v": draw.normal(size=(rows, 3)),
            "same": np.ones(rows),
        },
        segments=["region"],
    ).of_model("screening:abc", losses=(0.25, 0.5))


def test_a_stored_reference_is_the_same() -> None:
    """Every field survives, and encodes the same; the text is the same again."""
    reference = whole()
    again = Reference.from_json(reference.to_json())
    assert again.to_json() == reference.to_json()
    assert again.digest == reference.digest
    assert (again.features, again.columns, again.warnings) == (
        reference.features,
        reference.columns,
        reference.warnings,
    )
    assert (again.model, again.losses) == ("screening:abc", (0.25, 0.5))
    rows = {"age": [0.1, math.nan], "region": ["süd", "new"], "text": ["a", None], "v": np.ones((2, 3))}
    one, two = reference.encode(rows), again.encode(rows)
    assert one.bins.tolist() == two.bins.tolist()
    assert one.segments.tolist() == two.segments.tolist()
    assert one.alarms == two.alarms
    assert Reference.from_json(reference.to_json().encode()).digest == reference.digest


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_reference_is_refused(data: st.DataObject) -> None:
    """Whichever character is another or cut off, it is told; else it is a digit that changes no number."""
    text = REFERENCE.to_json()
    place = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip"]))
    damaged = text[:place] if kind == "cut" else text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
    try:
        assert Reference.from_json(damaged).to_json() == text
    except InvalidValue as error:
        assert "fit it again" in str(error) or "no stored reference" in str(error)  # noqa: PT017 - or none


def test_what_is_no_stored_reference_is_named() -> None:
    """Another version, another file, and one whose fields do not fit."""
    fields = json.loads(REFERENCE.to_json())
    with pytest.raises(
        InvalidValue, match="stored in version 2 of its form; this release reads 1: fit it again"
    ):
        Reference.from_json(json.dumps(fields | {"version": 2}))
    for other in ("[1]", "7", '{"kind": "rollout"}'):
        with pytest.raises(InvalidValue, match="this is no stored reference: write one with"):
            Reference.from_json(other)
    for odd in ("", "not json", b"\xff\xfe"):
        with pytest.raises(InvalidValue, match="it is not JSON"):
            Reference.from_json(odd)
    with pytest.raises(InvalidValue, match="damaged: its digest is"):
        Reference.from_json(json.dumps(fields | {"rows": 751}))

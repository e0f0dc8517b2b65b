"""Rows of every form become bins: missing, other and infinite values have their places."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.drift import Reference
from bento_rollout.drift.bins import CategoryBins, NumericBins, text_of
from bento_rollout.drift.effect import psi
from bento_rollout.drift.features import columns_of, numbers_of
from bento_rollout.errors import InvalidValue

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=200), st.lists(NUMBERS, max_size=20), st.integers(2, 40))
def test_bins_of_numbers_keep_their_order(given_: list[float], more: list[float], bins: int) -> None:
    """A larger number never has a lower bin; what is not finite is missing, and that is the lowest."""
    values = np.array(given_)
    if not np.isfinite(values).any():
        with pytest.raises(InvalidValue, match="no finite value"):
            NumericBins.fit(values, bins)
        return
    fitted = NumericBins.fit(values, bins)
    assert list(fitted.edges) == sorted(set(fitted.edges))
    assert fitted.size <= max(bins, 3) + 1
    both = np.concatenate((values, np.array(more)))
    found = fitted.encode(both)
    assert (found[~np.isfinite(both)] == 0).all()
    finite = np.argsort(both[np.isfinite(both)], kind="stable")
    assert (np.diff(found[np.isfinite(both)][finite].astype(int)) >= 0).all()
    assert found.max() < fitted.size == len(fitted.labels)


def test_sixteen_bins_hold_equally_many() -> None:
    """Of a feature without ties; where there are ties, equal edges are merged."""
    values = np.random.default_rng(0).normal(size=1600)
    held = np.bincount(NumericBins.fit(values).encode(values))
    assert held.tolist()[1:] == [100] * 16
    tied = np.where(values > 0.5, values, 0.0)
    fitted = NumericBins.fit(tied)
    assert 3 < fitted.size < 17
    assert len(set(fitted.edges)) == len(fitted.edges)


def test_few_values_have_a_bin_each() -> None:
    """Two values are two bins, whose spread is not bet on; a value that comes beside a single one is seen."""
    two = NumericBins.fit(np.array([0.0] * 99 + [1.0]))
    assert two.single
    assert two.encode(np.array([0.0, 1.0, math.nan])).tolist() == [1, 2, 0]
    assert not NumericBins.fit(np.array([0.0, 1.0, math.nan])).single
    one = NumericBins.fit(np.array([3.0, 3.0]))
    assert one.encode(np.array([2.0, 3.0, 4.0])).tolist() == [1, 2, 3]


def test_categories_are_ordered_by_how_rare_they_are() -> None:
    """Rarest first, then those without a bin, then missing ones; what the reference never had is unseen."""
    part = ["a"] * 5 + ["b"] * 3 + ["c"]
    bins = CategoryBins.fit(part, [*part, "d"])
    assert bins == CategoryBins(("c", "b", "a"), known=("d",))
    assert bins.encode(["a", "b", "c", "d", "new", None, math.nan, pd.NA]).tolist() == [
        2,
        1,
        0,
        3,
        3,
        4,
        4,
        4,
    ]
    assert bins.unseen(["a", "d", None, "new", "newer"]) == 2
    assert bins.labels == ("c", "b", "a", "other", "missing")
    many = [f"id {place}" for place in range(3000)]
    wide = CategoryBins.fit(many, many)
    assert wide.size == 32
    assert wide.open
    assert wide.unseen(["new"]) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.0, "1"), (np.float32(1), "1"), ("1", "1"), (0.5, "0.5"), (None, None), (math.nan, None)],
)
def test_a_category_is_the_same_in_every_type(value: object, text: str | None) -> None:
    """A number that a frame made a float is the category that it was as an int."""
    assert text_of(value) == text


FORMS: dict[str, Callable[[], object]] = {
    "array": lambda: np.array([[1.0, 2.0], [3.0, math.nan]]),
    "integers": lambda: np.array([[1, 2], [3, 4]]),
    "masked": lambda: np.ma.masked_equal(np.array([[1.0, 2.0], [3.0, -1.0]]), -1.0),
    "lists": lambda: [[1, 2], [3, None]],
    "frame": lambda: pd.DataFrame([[1, 2.0], [3, None]]),
    "mappings": lambda: [{"feature_0": 1, "feature_1": 2}, {"feature_0": 3}],
    "columns": lambda: {"feature_0": [1, 3], "feature_1": [2, None]},
    "nullable": lambda: pd.DataFrame({"feature_0": [1, 3], "feature_1": [2, None]}).convert_dtypes(),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_every_form_are_the_same_columns(form: str) -> None:
    """Arrays, frames, mappings and lists of the same rows are the same columns of floats."""
    columns = columns_of(FORMS[form]())
    assert list(columns) == ["feature_0", "feature_1"]
    assert columns["feature_0"].tolist() == [1.0, 3.0]
    assert columns["feature_1"][0] == 2.0
    assert columns["feature_1"].dtype == np.float64


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are called 'a'"),
        ({1: [1], "1": [2]}, "two columns have the same name"),
        ({"a": [1], "b": [1, 2]}, "several lengths: 1, 2"),
        (np.zeros(3), "has 2 dimensions; this one has 1"),
        (np.zeros((1, 2, 3)), "has 2 dimensions; this one has 3"),
        ([[1, 2], [3]], "several lengths"),
        ([{"a": 1}, 2], "some rows are mappings"),
        ("text", "this is str"),
        (7, "this is int"),
        ({"a": np.zeros((1, 2, 3))}, "column 'a' has 3 dimensions"),
    ],
)
def test_what_are_no_rows_is_refused(rows: object, why: str) -> None:
    """The message says what was wrong, and holds no value of a row."""
    with pytest.raises(InvalidValue, match=why):
        columns_of(rows)


def test_numbers_of_odd_columns() -> None:
    """What is no number is missing and counted; a whole number too large for a float is infinite."""
    odd = [1, "1", None, 10**400, True, Decimal("0.5"), np.bool_(1), pd.NA, pd.NaT, 1j, [1]]
    column = np.empty(len(odd), dtype=object)
    column[:] = odd
    numbers, wrong = numbers_of(column)
    assert wrong == 3
    assert numbers[[0, 4, 5, 6]].tolist() == [1.0, 1.0, 0.5, 1.0]
    assert np.isnan(numbers[[1, 2, 7, 8, 9, 10]]).all()
    assert np.isinf(numbers[3])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=6), st.integers(1, 900))
def test_few_rows_and_many_are_encoded_alike(few: list[list[float]], times: int) -> None:
    """An array, its columns by name, one row at a time and thousands at once give the same bins."""
    rows = np.array(few, dtype=np.float64)
    alone = np.concatenate([NUMBERED.encode(row[None]).bins for row in rows])
    many = NUMBERED.encode(np.tile(rows, (times * 3, 1)))
    named = NUMBERED.encode({f"feature_{place}": rows[:, place] for place in range(3)})
    assert many.bins.tolist() == np.tile(alone, (times * 3, 1)).tolist()
    assert named.bins.tolist() == alone.tolist()
    by_one = [
        feature.bins.encode(column)
        for feature, column in zip(NUMBERED.tested, rows.T, strict=True)
        if isinstance(feature.bins, NumericBins)
    ]
    assert alone.T.tolist() == [bins.tolist() for bins in by_one]
    assert named.alarms == NUMBERED.encode(rows).alarms
    assert named.refused == np.isinf(rows).sum()


NUMBERED = Reference.fit(
    np.stack([np.random.default_rng(0).normal(size=900), np.arange(900) % 2, np.arange(900) % 40], axis=1)
)
ODD: list[object] = [
    None,
    math.nan,
    pd.NA,
    pd.NaT,
    1,
    -0.0,
    10**400,
    True,
    "text",
    "",
    b"bytes",
    1j,
    [1, 2],
    (),
    {},
]
ODD += [
    np.float32("inf"),
    np.bool_(0),
    Decimal("NaN"),
    np.ones(3),
    [1.0, "x", None],
    "\ud800",
    object(),
    np.ones((2, 2)),
]
WHOLE = Reference.fit(
    {
        "number": np.random.default_rng(0).normal(size=200),
        "category": ["a", "b"] * 100,
        "text": [f"{place} words" for place in range(200)],
        "vector": np.random.default_rng(1).normal(size=(200, 3)),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(range(len(ODD))), min_size=1, max_size=6),
    st.sampled_from(["number", "category", "text", "vector"]),
)
def test_odd_values_never_break_a_call(places: list[int], name: str) -> None:
    """Whatever stands in a column, a row is a row of bins; what cannot be read is missing, and told."""
    rows = [{name: ODD[place]} for place in places]
    try:
        encoded = WHOLE.encode(rows)
    except InvalidValue as error:
        assert "dimensions" in str(error)  # noqa: PT017 - a column of matrices
        return
    assert encoded.bins.shape == (len(rows), 3 + 10)
    assert "lost" in {alarm.kind for alarm in encoded.alarms}


def mixed(rows: int, seed: int = 0) -> dict[str, object]:
    """Columns of every kind."""
    draw = np.random.default_rng(seed)
    return {
        "age": draw.normal(50, 10, rows),
        "smoker": draw.random(rows) < 0.3,
        "region": draw.choice(["north", "south", "west"], rows, p=[0.7, 0.25, 0.05]).tolist(),
        "note": ["word " * int(length) + str(place) for place, length in enumerate(draw.poisson(6, rows))],
        "vector": draw.normal(size=(rows, 12)),
        "same": np.ones(rows),
        "gone": [None] * rows,
        "when": [pd.Timestamp("2026-01-01")] * rows,
    }


def test_kinds_are_found() -> None:
    """Numbers, categories, free text and vectors; what says nothing is skipped, and says why."""
    reference = Reference.fit(mixed(800))
    kinds = {feature.column: feature.kind for feature in reference.tested}
    assert kinds == {
        "age": "numeric",
        "smoker": "numeric",
        "region": "category",
        "note": "text",
        "vector": "embedding",
    }
    assert [feature.name for feature in reference.tested][3:7] == [
        "note.length",
        "vector.distance",
        "vector.norm",
        "vector.projection_0",
    ]
    assert {feature.name: feature.skipped for feature in reference.features if feature.skipped} == {
        "same": "constant",
        "gone": "all missing",
        "when": "neither numbers, texts nor vectors",
    }
    assert reference.counts.shape == (4 + 10, 17)
    assert (reference.counts.sum(axis=1) == reference.rows).all()


def test_a_kind_may_be_said() -> None:
    """A number may be a category; a kind that is not known, or of no column, is refused by its name."""
    data = {"code": np.arange(400) % 3, "x": np.random.default_rng(0).normal(size=400)}
    reference = Reference.fit(data, kinds={"code": "category"})
    assert reference.tested[0].kind == "category"
    assert reference.tested[0].bins is not None
    assert set(reference.tested[0].bins.labels) == {"0", "1", "2", "other", "missing"}
    with pytest.raises(InvalidValue, match="the kind of 'code' is 'odd'"):
        Reference.fit(data, kinds={"code": "odd"})  # type: ignore[dict-item]  # it is refused
    with pytest.raises(InvalidValue, match="kinds names 'y'"):
        Reference.fit(data, kinds={"y": "numeric"})
    with pytest.raises(InvalidValue, match="column 'x' holds no vectors"):
        Reference.fit(data, kinds={"x": "embedding"})


def test_embeddings_do_not_depend_on_how_many_come() -> None:
    """The views of a vector are the same bits alone and among others."""
    reference = Reference.fit({"v": np.random.default_rng(1).normal(size=(600, 33))})
    rows = np.random.default_rng(2).normal(size=(50, 33))
    together = reference.encode({"v": rows}).bins
    alone = np.concatenate([reference.encode({"v": row[None]}).bins for row in rows])
    assert together.tolist() == alone.tolist()
    views = reference.embeddings["v"].views(rows)
    for place in (0, 17, 49):
        single = reference.embeddings["v"].views(rows[place : place + 1])
        assert all(single[name][0] == views[name][place] for name in views)
    rows[0, 0], rows[1, 0] = math.nan, math.inf
    encoded = reference.encode({"v": rows})
    assert (encoded.bins[:2] == 0).all()
    assert [(alarm.kind, alarm.count) for alarm in encoded.alarms] == [("infinite", 1)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 500), min_size=2, max_size=17),
    st.lists(st.integers(0, 500), min_size=2, max_size=17),
)
def test_the_size_of_a_change_is_finite(before: list[int], after: list[int]) -> None:
    """Empty bins, and empty histograms, make no infinite size; and it is never below 0."""
    size = min(len(before), len(after))
    found = psi(np.array(before[:size]), np.array(after[:size]))
    assert 0.0 <= found < 100.0


def test_the_size_of_a_change_is_corrected_for_chance() -> None:
    """Small samples of the same distribution have a size near 0; without the correction it is near 0.2."""
    draw = np.random.default_rng(0)
    even = np.full(16, 1 / 16)
    sizes = [psi(draw.multinomial(750, even), draw.multinomial(100, even)) for _ in range(500)]
    assert np.mean(sizes) < 0.04
    assert np.quantile(sizes, 0.95) < 0.12
    assert psi(np.full(16, 1000), np.array([500] * 8 + [1500] * 8)) > 0.2

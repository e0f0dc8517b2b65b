"""Rows of one request: cut by variant, and put together as if one variant had answered them all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bento_rollout.records import Plan, Reason
from bento_rollout.rows import Misfit, check_rows, gather, groups_of, keys_in, row_count, take

VARIANTS = st.sampled_from(["one", "two", "three"])


def plans(names: list[str]) -> list[Plan]:
    """Return a plan for each row."""
    return [Plan(name, 1, Reason.SPLIT) for name in names]


def split_and_gather(batch: Any, names: list[str], index: Any = None) -> Any:
    """Cut a batch by variant, let each variant give its rows back, and put them together."""
    parts = [(group.rows, take(batch, group.rows)) for group in groups_of(plans(names))]
    whole, misfits = gather(parts, 0, index)
    assert misfits == []
    return whole


@given(st.lists(st.tuples(st.text(), VARIANTS), min_size=1))
def test_lists_and_tuples_come_back_as_sent(rows: list[tuple[str, str]]) -> None:
    """Splitting and gathering changes nothing, whoever gets which row."""
    values, names = [value for value, _ in rows], [name for _, name in rows]
    assert split_and_gather(values, names) == values
    assert split_and_gather(tuple(values), names) == tuple(values)


ARRAYS = hnp.arrays(
    dtype=st.sampled_from(
        ["float64", "float32", "int64", "uint8", "bool", "<U3", "complex128", "datetime64[s]"]
    ),
    shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=12),
)


@given(st.data(), ARRAYS)
def test_arrays_come_back_as_sent(data: st.DataObject, array: np.ndarray) -> None:
    """Values, shape and dtype are the same for every dtype and number of dimensions."""
    names = data.draw(st.lists(VARIANTS, min_size=len(array), max_size=len(array)))
    whole = split_and_gather(array, names)
    assert (whole.dtype, whole.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(whole, array)


@given(st.data(), st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_frames_and_series_come_back_with_their_index(data: st.DataObject, index: list[int]) -> None:
    """Order, columns, dtypes and index (doubles included) are as sent."""
    names = data.draw(st.lists(VARIANTS, min_size=len(index), max_size=len(index)))
    at = data.draw(
        st.sampled_from([pd.Index(index), pd.RangeIndex(len(index)), pd.Index(list(map(str, index)))])
    )
    columns = {"x": range(len(index)), 3: [str(i) for i in index], "when": pd.Timestamp(0)}
    frame = pd.DataFrame(columns, index=at)
    pd.testing.assert_frame_equal(
        split_and_gather(frame, names, frame.index), frame, check_index_type="equiv"
    )
    pd.testing.assert_series_equal(
        split_and_gather(frame["x"], names, frame.index), frame["x"], check_index_type="equiv"
    )


def test_a_frame_whose_variants_number_rows_anew_is_numbered_through() -> None:
    """An answer with an index of its own (0, 1, …) for each group has one for the whole."""
    parts = [((0, 2), pd.DataFrame({"y": [1, 3]})), ((1,), pd.DataFrame({"y": [2]}))]
    whole, _ = gather(parts, 0)
    pd.testing.assert_frame_equal(whole, pd.DataFrame({"y": [1, 2, 3]}))


def test_the_champions_way_with_the_index_is_that_of_the_whole() -> None:
    """The champion keeps the index and the candidate forgets it, or vice versa: the champion's holds."""
    index = pd.Index(["a", "b", "c"])
    keeps = pd.Series([1, 3], index=["a", "c"], name="y")
    forgets = pd.Series([2], name="other")
    whole, _ = gather([((0, 2), keeps), ((1,), forgets)], 0, index)
    pd.testing.assert_series_equal(whole, pd.Series([1, 2, 3], index=index, name="y"))
    whole, _ = gather([((0, 2), pd.Series([1, 3])), ((1,), pd.Series([2], index=["b"]))], 0, index)
    pd.testing.assert_series_equal(whole, pd.Series([1, 2, 3]))


@pytest.mark.parametrize(
    ("reference", "answer", "dtype"),
    [
        (np.array([1.5]), np.array([2], "int32"), "float64"),
        (np.array([1]), np.array([2.0]), "int64"),
        (np.array([1], "int8"), np.array([100]), "int8"),
        (np.array([1.0]), np.array([np.nan], "float32"), "float64"),
        (np.array([1.0]), np.array([2 + 0j]), "float64"),
        (np.array([1]), np.array([True]), "int64"),
        (np.array(["low"]), np.array(["medium"]), "<U6"),
        (np.array([1.0]), [2], "float64"),
        (np.array([None, 1][1:], dtype=object), np.array([2.5]), "object"),
        (np.array([1]), np.array([2], dtype=object), "int64"),
    ],
)
def test_the_champions_dtype_wins_when_nothing_is_lost(reference: Any, answer: Any, dtype: str) -> None:
    """Numbers that fit become the champion's dtype; texts of any length are one dtype."""
    whole, misfits = gather([((0,), reference), ((1,), answer)], 0)
    assert misfits == []
    assert whole.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(whole[1:], np.asarray(answer).astype(whole.dtype))


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (np.array([1]), np.array([2.5])),
        (np.array([1]), np.array([np.nan])),
        (np.array([1], "float32"), np.array([0.1])),
        (np.array([1], "int8"), np.array([1000])),
        (np.array([1]), np.array(["2"])),
        (np.array(["a"]), np.array([2])),
        (np.array([1.0]), np.array([1j])),
        (np.array([1.0]), np.array([[1.0]])),
        (np.array([1.0]), [[1.0, 2.0]]),
        (np.array([[1.0], [2.0]]), [[1.0], [2.0, 3.0]]),
        (np.array([1]), np.array([object()])),
        (np.array([1]), np.array([2, 3])),
        (np.array([1]), 2),
        (np.array([1]), {"a": 1}),
        ([1], "x"),
        ([1], {"a": 1}),
        (np.array(["2020-01-01"], "datetime64[s]"), np.array([5])),
        (pd.Series([1]), [2]),
        (pd.Series([1]), pd.Series([2.5])),
        (pd.Series([1]), pd.Series(["2"])),
        (pd.Series(["a"]), pd.Series([2])),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"y": [1]})),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1], "y": [1]})),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": ["1"]})),
        (pd.DataFrame({"x": [1]}), np.array([[1]])),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), pd.DataFrame([[1, 2.5]], columns=["x", "x"])),
    ],
)
def test_what_would_lose_something_does_not_fit(reference: Any, answer: Any) -> None:
    """Fractions, NaN, overflow, other shapes, text beside numbers: the part is named, nothing joined."""
    assert gather([(range(len(reference)), reference), ((len(reference),), answer)], 0) == (None, [1])


def test_columns_in_another_order_and_lossless_types_are_the_champions() -> None:
    """A frame is put in the champion's columns and dtypes, whatever the columns are called."""
    ours = pd.DataFrame({"x": [1], 2: ["a"], "z": [0.5]})
    theirs = pd.DataFrame({2: ["b"], "z": [1], "x": [2.0]})
    whole, misfits = gather([((1,), ours), ((0,), theirs)], 0)
    assert misfits == []
    pd.testing.assert_frame_equal(whole, pd.DataFrame({"x": [2, 1], 2: ["b", "a"], "z": [1.0, 0.5]}))


def test_frames_with_doubled_columns_pass_when_they_are_alike() -> None:
    """Columns of one name cannot be told apart: they must be the same, or the rows do not fit."""
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"])
    pd.testing.assert_frame_equal(split_and_gather(frame, ["one", "two"], frame.index), frame)


def test_row_counts() -> None:
    """Lists, tuples, arrays, frames and series have rows; everything else has none."""
    batches = [[1, 2], (1, 2), np.zeros((2, 3)), pd.DataFrame({"x": [1, 2]}), pd.Series([1, 2])]
    assert [row_count(batch) for batch in batches] == [2] * 5
    assert [row_count(value) for value in ("ab", b"ab", {"a": 1}, 3, None, np.array(3), {1, 2})] == [None] * 7
    check_rows([1, 2], 2)
    for answer in ([1], None, "ab"):
        with pytest.raises(Misfit, match="2 rows were asked for"):
            check_rows(answer, 2)


class Thing:
    """Has an attribute, and one that raises."""

    user = "u"

    @property
    def broken(self) -> str:
        raise RuntimeError


def test_keys_are_found_along_a_path() -> None:
    """Items, attributes, positions, columns and fields; what leads nowhere is no key."""
    assert keys_in(["a", 7], ()) == ["a", 7]
    assert keys_in([{"user": {"id": "a"}}, {"user": None}, {}, 3], ("user", "id")) == ["a", None, None, None]
    assert keys_in([Thing(), object()], ("user",)) == ["u", None]
    assert keys_in([["x", "a"], ["x"]], ("1",)) == ["a", None]
    assert keys_in(pd.DataFrame({"user": ["a", "b"]}), ("user",)) == ["a", "b"]
    assert keys_in(pd.DataFrame({"user": ["a", "b"]}), ("nobody",)) == [None, None]
    assert keys_in(np.array([("a", 1)], dtype=[("user", "<U3"), ("x", int)]), ("user",)) == ["a"]
    assert [str(key) for key in keys_in(np.array([1, 2]), ())] == ["1", "2"]


def test_a_key_that_raises_is_no_key() -> None:
    """A property of the caller's row may raise anything; its row is routed at random."""
    assert keys_in([Thing()], ("broken",)) == [None]


def test_a_frames_rows_have_no_key_of_their_own() -> None:
    """The column must be named; without one no row has a key."""
    assert keys_in(pd.DataFrame({"user": ["a"]}), ()) == [None]


def test_taking_rows_copies_them() -> None:
    """No variant sees what another does to its rows."""
    array = np.arange(3)
    part = take(array, (0, 2))
    part += 10
    assert array.tolist() == [0, 1, 2]

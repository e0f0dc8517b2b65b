"""One request's rows: split among variants, and put together again as if one had answered them all; pure.

A batch is a list, a numpy array (its first axis), or a pandas frame or series. pandas is looked at only when
it has been imported by somebody else: without it nothing can be a frame.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .keys import follow
from .records import Group, Plan

__all__ = [
    "Misfit",
    "check_rows",
    "gather",
    "groups_of",
    "index_of",
    "keys_in",
    "row_count",
    "take",
]

Array = np.ndarray[Any, Any]
Part = tuple[Sequence[int], Any]
"""Some rows of a request, and what a variant answered for them."""


class Misfit(Exception):
    """A variant's rows cannot stand beside the champion's without losing something."""


def _pandas() -> Any | None:
    return sys.modules.get("pandas")


def is_frame(value: object) -> bool:
    """Whether a value is a pandas DataFrame."""
    pandas = _pandas()
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_series(value: object) -> bool:
    """Whether a value is a pandas Series."""
    pandas = _pandas()
    return pandas is not None and isinstance(value, pandas.Series)


def row_count(value: object) -> int | None:
    """Return how many rows a batch has, or None when the value is no batch."""
    if isinstance(value, np.ndarray):
        return value.shape[0] if value.ndim else None
    if isinstance(value, (list, tuple)) or is_frame(value) or is_series(value):
        return len(value)  # type: ignore[arg-type]  # narrowed by the line above
    return None


def keys_in(batch: Any, path: Sequence[str]) -> list[Any]:
    """Return each row's key: the row itself, or what ``path`` leads to in it; None where there is none."""
    if is_frame(batch) or (isinstance(batch, np.ndarray) and batch.dtype.names):
        try:
            return keys_in(list(batch[path[0]]), path[1:])
        except (LookupError, ValueError):  # no such column; or no column named: a whole row is no key
            return [None] * len(batch)
    return [_key(row, path) for row in batch]


def _key(row: Any, path: Sequence[str]) -> Any:
    try:
        return follow(row, path)
    except Exception:  # noqa: BLE001 - a property of the caller's row may raise anything; then there is no key
        return None


def groups_of(plans: Sequence[Plan]) -> list[Group]:
    """Return the rows by variant, variants in alphabetical order."""
    rows: dict[str, list[int]] = {}
    for index, plan in enumerate(plans):
        rows.setdefault(plan.variant, []).append(index)
    return [Group(variant, tuple(rows[variant])) for variant in sorted(rows)]


def take(value: Any, rows: Sequence[int]) -> Any:
    """Return some rows of a batch, as the same kind of batch."""
    if is_frame(value) or is_series(value):
        return value.iloc[list(rows)]
    if isinstance(value, np.ndarray):
        return value[list(rows)]
    return _like(value, [value[row] for row in rows])


def index_of(value: Any) -> Any | None:
    """Return the index of a frame or series, else None."""
    return value.index if is_frame(value) or is_series(value) else None


def gather(parts: Sequence[Part], reference: int, index: Any | None = None) -> tuple[Any, list[int]]:
    """Put groups' answers together in the order of the request.

    Args:
        parts: ``(rows, answer)`` for each group.
        reference: which part decides kind, dtype and columns: the champion's, if it answered rows.
        index: the request's own index, when it was a frame.

    Returns:
        The whole answer, and the indexes of the parts that do not fit beside the reference without loss; when
        there are any, the answer is None.
    """
    fitted: list[Part] = []
    misfits = []
    for at, (rows, answer) in enumerate(parts):
        try:
            fitted.append((rows, _fit(answer, parts[reference][1], len(rows))))
        except Misfit:
            misfits.append(at)
    if misfits:
        return None, misfits
    return _join(fitted, parts[reference], index), []


def check_rows(answer: Any, count: int) -> None:
    """Raise `Misfit` unless an answer has as many rows as were asked for."""
    if row_count(answer) != count:
        found = row_count(answer)
        raise Misfit(f"{count} rows were asked for and {'no batch' if found is None else found} came back")


def _fit(answer: Any, reference: Any, count: int) -> Any:
    check_rows(answer, count)
    if answer is reference:
        return answer
    if is_frame(reference):
        return _fit_frame(answer, reference)
    if is_series(reference):
        return _fit_series(answer, reference)
    if isinstance(reference, np.ndarray):
        return _fit_array(answer, reference)
    values = answer.tolist() if isinstance(answer, np.ndarray) or is_series(answer) else answer
    if not isinstance(values, (list, tuple)):
        raise Misfit(f"{type(answer).__name__} beside {type(reference).__name__}")
    return _like(reference, list(values))


def _fit_array(answer: Any, reference: Array) -> Array:
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError) as error:
        raise Misfit(f"{type(answer).__name__} beside an array: {error}") from None
    if array.shape[1:] != reference.shape[1:]:
        raise Misfit(f"shape {array.shape[1:]} beside {reference.shape[1:]}")
    return _cast(array, reference.dtype)


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array as another dtype, if that loses nothing; texts of any length are of one dtype."""
    have = array.dtype
    if have == dtype or (have.kind == dtype.kind and have.kind in "US"):
        return array
    if have.kind not in "biufcO" or dtype.kind not in "biufcO":
        raise Misfit(f"dtype {have} beside {dtype}")
    try:
        if have.kind == "c" and dtype.kind in "biuf":
            array = array.real if not array.imag.any() else np.full(array.shape, np.nan)
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
            lossless = np.array_equal(cast.astype(array.dtype), array, equal_nan=array.dtype.kind in "fc")
    except Exception as error:  # noqa: BLE001 - objects may raise anything when they are turned into numbers
        raise Misfit(f"dtype {have} beside {dtype}: {type(error).__name__}") from None
    if not lossless or (have.kind == "c" and dtype.kind in "biuf" and np.isnan(array).any()):
        raise Misfit(f"dtype {have} does not fit into {dtype}")
    return cast


def _fit_frame(answer: Any, reference: Any) -> Any:
    if not is_frame(answer) or len(answer.columns) != len(reference.columns):
        raise Misfit("other columns than the champion's")
    if not reference.columns.is_unique:
        if not answer.columns.equals(reference.columns) or list(answer.dtypes) != list(reference.dtypes):
            raise Misfit("other columns than the champion's")
        return answer
    if set(answer.columns) != set(reference.columns):
        raise Misfit("other columns than the champion's")
    columns = {name: _fit_series(answer[name], reference[name]) for name in reference.columns}
    frame = sys.modules["pandas"].DataFrame(columns, index=answer.index)
    return frame.set_axis(reference.columns, axis=1)


def _fit_series(answer: Any, reference: Any) -> Any:
    if not is_series(answer):
        raise Misfit(f"{type(answer).__name__} beside a series")
    answer = answer.rename(reference.name)
    if answer.dtype == reference.dtype:
        return answer
    try:
        cast = answer.astype(reference.dtype)
        if cast.astype(answer.dtype).equals(answer) and _both_texts_or_none(answer, reference):
            return cast
    except Exception as error:  # noqa: BLE001 - objects may raise anything when they are turned into numbers
        raise Misfit(f"dtype {answer.dtype} beside {reference.dtype}: {type(error).__name__}") from None
    raise Misfit(f"dtype {answer.dtype} beside {reference.dtype}")


def _both_texts_or_none(answer: Any, reference: Any) -> bool:
    """Whether a cast cannot turn text into numbers or back: "7" and 7 are not the same answer."""
    types = sys.modules["pandas"].api.types
    numeric = [types.is_numeric_dtype(series.dtype) for series in (answer, reference)]
    if numeric[0] == numeric[1]:
        return True
    # Before pandas 3 texts are objects, like anything else: what they are is looked up.
    return bool(types.is_object_dtype(reference.dtype) and types.infer_dtype(reference) != "string")


def _join(parts: Sequence[Part], reference: Part, index: Any | None) -> Any:
    """Put fitted parts in the order of the request, as the kind of batch that the reference is."""
    rows, first = reference
    order = np.argsort(np.concatenate([np.asarray(some, dtype=np.int64) for some, _ in parts]), kind="stable")
    if is_frame(first) or is_series(first):
        joined = sys.modules["pandas"].concat([answer for _, answer in parts]).iloc[order]
        if index is not None and first.index.equals(index[list(rows)]):
            return joined.set_axis(index, axis=0)
        return joined.reset_index(drop=True) if _is_fresh(first.index) else joined
    if isinstance(first, np.ndarray):
        return np.concatenate([answer for _, answer in parts])[order]
    flat = [row for _, answer in parts for row in answer]
    return _like(first, [flat[at] for at in order])


def _like(first: Any, rows: list[Any]) -> Any:
    return tuple(rows) if isinstance(first, tuple) else rows


def _is_fresh(index: Any) -> bool:
    """Whether an index only counts the rows of its own group: then the whole answer's counts all rows."""
    pandas = _pandas()
    return (
        pandas is not None and isinstance(index, pandas.RangeIndex) and index.start == 0 and index.step == 1
    )

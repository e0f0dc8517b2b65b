"""One request's rows: split among variants, and put together again as if one had answered them all; pure.

A batch is a list, a numpy array (its first axis), or a pandas frame or series. pandas is looked at only when it has
been imported by somebody else: without it nothing can be a frame.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InvalidValue
from .records import Group, Plan

__all__ = ["Misfit", "gather", "groups_of", "keys_in", "row_count", "take"]


class Misfit(Exception):  # noqa: N818 - not the end of anything: these rows go back to the champion
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
    if path and (is_frame(batch) or (isinstance(batch, np.ndarray) and batch.dtype.names)):
        try:
            return keys_in(list(batch[path[0]]), path[1:])
        except (KeyError, ValueError):
            return [None] * len(batch)
    if is_frame(batch):
        raise InvalidValue("a frame's rows have no key of their own: name the column, like rows:ARG.column")
    return [follow(row, path) for row in batch]


def follow(value: Any, path: Sequence[str]) -> Any:
    """Return what a path of items, attributes or positions leads to, or None when it leads nowhere."""
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, (list, tuple, np.ndarray)) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = getattr(value, part, None)
        if value is None:
            return None
    return value


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
    return type(value)(value[row] for row in rows)


def gather(parts: Sequence[tuple[Sequence[int], Any]], reference: int, total: int) -> tuple[Any, list[int]]:
    """Put groups' answers together in the order of the request.

    Args:
        parts: ``(rows, answer)`` for each group.
        reference: which part decides kind, dtype and columns: the champion's, if it answered rows.
        total: how many rows the request had.

    Returns:
        The whole answer, and the indexes of the parts that do not fit beside the reference without loss; when there
        are any, the answer is None.
    """
    fitted, misfits = [], []
    for index, (rows, answer) in enumerate(parts):
        try:
            fitted.append((rows, _fit(answer, parts[reference][1], len(rows))))
        except Misfit:
            misfits.append(index)
    if misfits:
        return None, misfits
    return _join(fitted, parts[reference], total), []


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
        array = np.asarray(answer) if not isinstance(answer, np.ndarray) else answer
        if array.shape[1:] != reference.shape[1:]:
            raise Misfit(f"shape {array.shape[1:]} beside {reference.shape[1:]}")
        return _cast(array, reference.dtype)
    values = answer.tolist() if isinstance(answer, np.ndarray) or is_series(answer) else answer
    if not isinstance(values, (list, tuple)):
        raise Misfit(f"{type(answer).__name__} beside {type(reference).__name__}")
    return type(reference)(values)


def _cast(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if array.dtype == dtype:
        return array
    try:
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
            back = cast.astype(array.dtype)
    except (TypeError, ValueError, OverflowError):
        raise Misfit(f"dtype {array.dtype} beside {dtype}") from None
    numeric = array.dtype.kind in "fc"
    if array.dtype.kind in "biufc" and dtype.kind not in "biufcO":
        raise Misfit(f"dtype {array.dtype} beside {dtype}")
    if not np.array_equal(back, array, equal_nan=numeric):
        raise Misfit(f"dtype {array.dtype} does not fit into {dtype}")
    return cast


def _fit_frame(answer: Any, reference: Any) -> Any:
    if (
        not is_frame(answer)
        or set(answer.columns) != set(reference.columns)
        or len(answer.columns) != len(reference.columns)
    ):
        raise Misfit("other columns than the champion's")
    answer = answer[list(reference.columns)]
    columns = {name: _fit_series(answer[name], reference[name]) for name in reference.columns}
    return (
        answer.assign(**{str(name): values for name, values in columns.items()})
        if all(isinstance(n, str) for n in columns)
        else answer
    )


def _fit_series(answer: Any, reference: Any) -> Any:
    if not is_series(answer):
        raise Misfit(f"{type(answer).__name__} beside a series")
    if answer.dtype == reference.dtype:
        return answer
    try:
        cast = answer.astype(reference.dtype)
        if cast.astype(answer.dtype).equals(answer):
            return cast
    except (TypeError, ValueError, OverflowError):
        pass
    raise Misfit(f"dtype {answer.dtype} beside {reference.dtype}")


def _join(
    parts: Sequence[tuple[Sequence[int], Any]], reference: tuple[Sequence[int], Any], total: int
) -> Any:
    order = np.argsort(np.concatenate([np.asarray(rows, dtype=np.int64) for rows, _ in parts]), kind="stable")
    first = reference[1]
    if is_frame(first) or is_series(first):
        pandas = _pandas()
        assert pandas is not None  # noqa: S101 - is_frame said so
        fresh = all(_is_fresh(answer.index) for _, answer in parts)
        joined = pandas.concat([answer for _, answer in parts]).iloc[order]
        return joined.reset_index(drop=True) if fresh else joined
    if isinstance(first, np.ndarray):
        return np.concatenate([answer for _, answer in parts])[order]
    flat = [row for _, answer in parts for row in answer]
    return type(first)(flat[index] for index in order)


def _is_fresh(index: Any) -> bool:
    """Whether an index only counts the rows of its own group: then the whole answer's counts all rows."""
    pandas = _pandas()
    return (
        pandas is not None and isinstance(index, pandas.RangeIndex) and index.start == 0 and index.step == 1
    )

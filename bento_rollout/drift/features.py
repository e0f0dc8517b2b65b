"""What of a row is tested: numbers, categories, the length of texts, and where embeddings lie."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .bins import CategoryBins, NumericBins, is_missing

__all__ = ["KINDS", "Column", "Feature", "Kind", "columns_of", "is_matrix", "numbers_of"]

Kind = Literal["numeric", "category", "text", "embedding"]

KINDS: tuple[Kind, ...] = ("numeric", "category", "text", "embedding")

Column = NDArray[Any]
"""One value a row: floats, objects, or for embeddings rows x dimensions of floats."""

_NUMBERS = "buif"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that is tested; or is not, and then it says why.

    Attributes:
        name: of the column, or for what is computed of one ``column.length``, ``column.norm`` and so on.
        kind: what the column holds.
        bins: where its values lie; None where it is skipped.
        skipped: why it is not tested, empty where it is.
        column: the column that it is computed of.
        view: what is computed: ``value``, ``length``, ``distance``, ``norm``, ``projection_0`` and so on.
    """

    name: str
    kind: Kind
    bins: NumericBins | CategoryBins | None
    skipped: str = ""
    column: str = ""
    view: str = "value"


def columns_of(rows: object) -> dict[str, Column]:
    """Return rows as columns, by name.

    Numbers become floats (NaN where missing), vectors of one length become rows x dimensions, all else
    objects. Columns of an array, or of a frame without names, are ``feature_0``, ``feature_1`` and so on.

    Args:
        rows: an array of rows x features, a frame, a mapping of columns, or a sequence of mappings or rows.

    Raises:
        InvalidValue: what is none of these, columns of several lengths, two columns of one name.

    >>> columns_of([{"age": 3, "name": "Ann"}, {"age": None}])
    {'age': array([ 3., nan]), 'name': array(['Ann', None], dtype=object)}
    """
    if isinstance(rows, np.ndarray):
        found = _of_array(rows)
    elif isinstance(rows, Mapping):
        found = {str(name): _column(values, str(name)) for name, values in rows.items()}
        if len(found) != len(rows):
            raise InvalidValue("two columns have the same name")
    elif hasattr(rows, "columns") and hasattr(rows, "__getitem__"):
        found = _of_frame(rows)
    elif isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)) and not rows:
        found = {}
    elif isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        found = _of_sequence(rows)
    else:
        raise InvalidValue(
            "rows are an array, a frame, a mapping of columns or a list of mappings; this is"
            f" {type(rows).__name__}"
        )
    lengths = {len(column) for column in found.values()}
    if len(lengths) > 1:
        raise InvalidValue(f"columns have several lengths: {', '.join(map(str, sorted(lengths)))}")
    return found


def is_matrix(rows: object) -> TypeGuard[NDArray[Any]]:
    """Whether rows are a plain array of numbers, rows x features: they need not be parted into columns.

    >>> is_matrix(np.zeros((1, 2))), is_matrix(np.ma.zeros((1, 2))), is_matrix(np.zeros(2))
    (True, False, False)
    """
    return type(rows) is np.ndarray and rows.ndim == 2 and rows.dtype.kind in _NUMBERS  # noqa: PLR2004


def numbers_of(column: Column) -> tuple[NDArray[np.float64], int]:
    """Return a column as floats, and how many of its values are no numbers: these count as missing.

    >>> numbers_of(np.array([1, None, "two"], dtype=object))
    (array([ 1., nan, nan]), 1)
    """
    if column.ndim == 1 and column.dtype.kind in _NUMBERS:
        return np.asarray(column, dtype=np.float64), 0
    if column.ndim != 1:
        return np.full(len(column), np.nan), len(column)
    found, wrong = np.full(len(column), np.nan), 0
    for place, value in enumerate(column.tolist()):
        if _is_number(value):
            try:
                found[place] = float(value)
            except OverflowError:
                found[place] = np.inf
        elif not is_missing(value):
            wrong += 1
    return found, wrong


def _is_number(value: object) -> bool:
    """Whether a value is a real number; decimals and numpy's truth values do not say so themselves."""
    return isinstance(value, (Real, np.bool_)) or type(value).__name__ == "Decimal"


def _of_array(rows: NDArray[Any]) -> dict[str, Column]:
    if rows.dtype.names:
        return {name: _column(rows[name], name) for name in rows.dtype.names}
    if rows.ndim != 2:  # noqa: PLR2004 - rows x features
        raise InvalidValue(f"an array of rows x features has 2 dimensions; this one has {rows.ndim}")
    filled = rows.filled(np.nan) if isinstance(rows, np.ma.MaskedArray) else rows
    return {
        f"feature_{place}": _column(filled[:, place], f"feature_{place}") for place in range(rows.shape[1])
    }


def _of_frame(rows: Any) -> dict[str, Column]:
    names = list(rows.columns)
    unnamed = names == list(range(len(names)))
    found: dict[str, Column] = {}
    for place, name in enumerate(names):
        called = f"feature_{place}" if unnamed else str(name)
        if called in found or names.count(name) > 1:
            raise InvalidValue(f"two columns are called {called!r}; a feature is known by its name")
        found[called] = _of_series(rows[name], called)
    return found


def _of_series(series: Any, name: str) -> Column:
    """Return a frame's column; numbers of pandas' own types may be missing without being NaN."""
    if "pandas" in sys.modules and getattr(series.dtype, "kind", "O") in _NUMBERS:
        return np.asarray(series.to_numpy(dtype="float64", na_value=np.nan))
    return _column(series, name)


def _of_sequence(rows: Sequence[Any]) -> dict[str, Column]:
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return {str(name): _column([row.get(name) for row in rows], str(name)) for name in names}
    if any(isinstance(row, Mapping) for row in rows):
        raise InvalidValue("some rows are mappings and some are not")
    try:
        return _of_array(np.asarray(rows))
    except ValueError as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue("rows have several lengths; each needs the same features") from None


def _column(values: Any, name: str) -> Column:
    """Return the values of one column as floats where they are numbers, as vectors, or as objects."""
    try:
        column = np.asarray(values)
    except ValueError:  # vectors of several lengths
        column = np.empty(len(values), dtype=object)
        column[:] = list(values)
    if column.ndim not in {1, 2}:
        raise InvalidValue(
            f"column {name!r} has {column.ndim} dimensions; it needs one value or vector a row"
        )
    if column.dtype.kind in _NUMBERS:
        return column.astype(np.float64)
    if column.dtype.kind in "USO" and column.ndim == 1:
        return _of_objects(column.astype(object))
    return column.astype(object)


def _of_objects(column: Column) -> Column:
    """Return objects as floats or vectors where all of them are that, or missing."""
    values = column.tolist()
    there = [value for value in values if not is_missing(value)]
    if there and all(_is_number(value) for value in there):
        return numbers_of(column)[0]
    if there and all(isinstance(v, (list, tuple, np.ndarray)) for v in there):
        return _of_vectors(column, values)
    return column


def _of_vectors(column: Column, values: list[Any]) -> Column:
    size = next(len(value) for value in values if not is_missing(value))
    try:
        rows = [[np.nan] * size if is_missing(value) else value for value in values]
        return np.array(rows, dtype=np.float64)
    except (ValueError, TypeError):
        return column

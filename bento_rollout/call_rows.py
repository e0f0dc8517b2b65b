"""The arguments of a call as rows of features; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drift.features import columns_of
from .errors import InvalidValue
from .excerpts import MOST_ROWS, Columns

__all__ = ["One", "Row", "Table", "column_of", "columns_in", "rows_in"]

Row = dict[str, Any]
"""Values by the names of their features."""

Table = Row | NDArray[Any] | Any
"""Rows: a mapping of columns, an array, or a frame; or `One`."""

_DEEPEST = 4
_FLOATS = frozenset((float, int, type(None)))
_VECTORS = frozenset((list, np.ndarray, type(None)))


@dataclass(frozen=True, slots=True)
class One:
    """One row, by the names of its fields."""

    fields: Row


def rows_in(
    arguments: Mapping[str, Any], names: Sequence[str], vectors: Collection[str] = frozenset()
) -> Table:
    """Return the rows that a call's arguments are.

    A frame's columns are features, and so are the fields of an object or a list of them; ``a.b`` is field b
    of a. An array of rows x features, or a list of such lists, has its columns by their place. Arguments
    that are named like features are these: one value each, or one for each row. A plain list is a row when it
    is as long as the reference is wide.

    Args:
        arguments: by name, as an `Excerpt` has them.
        names: the columns of the reference.
        vectors: those of them that hold one vector for each row.

    Raises:
        InvalidValue: they are no rows.
    """
    known = frozenset(names)
    own = {name: value for name, value in arguments.items() if name in known}
    if own:
        return _named(own, arguments, known, vectors)
    for value in arguments.values():
        if (table := _batch(value, names)) is not None:
            return table
    row = _fields_of(arguments, known)
    if not row:
        raise InvalidValue("no argument has rows")
    return One(row)


def _fields_of(arguments: Mapping[str, Any], known: frozenset[str]) -> Row:
    """Return single values and the fields of objects; what has many values is none of a row, unless known."""
    row: Row = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            fields = _flatten(value, {}, "", 0)
            below = {f"{name}.{field}": one for field, one in fields.items()}
            row |= below if below.keys() & known and not fields.keys() & known else fields
        elif name in known or not hasattr(value, "__len__") or isinstance(value, str):
            row[name] = value
    return row


def _named(own: Row, arguments: Mapping[str, Any], known: frozenset[str], vectors: Collection[str]) -> Table:
    """Return arguments named like features: a row, or columns, where a single value is for all rows."""
    columns = {name for name, value in own.items() if _iscolumn_of(value, vector=name in vectors)}
    lengths = {len(own[name]) for name in columns}
    if not lengths:
        return One(_fields_of(arguments, known))
    if len(lengths) > 1:
        raise InvalidValue("the arguments have several numbers of rows")
    (count,) = lengths
    return {name: value if name in columns else [value] * count for name, value in own.items()}


def _iscolumn_of(value: Any, *, vector: bool) -> bool:
    """Whether a value is one for each row; of vectors a list of them is."""
    if isinstance(value, np.ndarray):
        return value.ndim > vector
    return isinstance(value, list) and (not vector or any(isinstance(v, (list, np.ndarray)) for v in value))


def _batch(value: Any, names: Sequence[str]) -> Table | None:
    """Return a value as rows; None: it is none."""
    if isinstance(value, np.ndarray):
        if value.dtype.names is None and value.ndim == 1:
            return _row_of(value, names)
        if value.dtype.names is None and names and value.shape[1] != len(names):
            raise InvalidValue(f"rows have {value.shape[1]} features, and the reference has {len(names)}")
        return value
    if not isinstance(value, list) or not value:
        return value if hasattr(value, "iloc") or isinstance(value, Columns) else None
    first = next((one for one in value if one is not None), None)
    if isinstance(first, Mapping):
        rows = [_flatten(one, {}, "", 0) for one in value if isinstance(one, Mapping)]
        if len(rows) < len(value):
            raise InvalidValue("some rows are objects and some are not")
        found = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in found}
    if isinstance(first, (list, np.ndarray)):
        return _square(value[:MOST_ROWS])
    return _row_of(value, names)


def _row_of(values: Any, names: Sequence[str]) -> Table | None:
    """Return a plain list as a row, or as the only column; None: it is neither."""
    if len(names) == 1:
        return {names[0]: values}
    if len(values) == len(names):
        return One(dict(zip(names, list(values), strict=True)))
    return None


def _square(rows: Sequence[Any]) -> Row:
    """Return lists of one length as columns by their place."""
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise InvalidValue("rows have several lengths")
    return {f"feature_{place}": [row[place] for row in rows] for place in range(width)}


def _flatten(value: Mapping[str, Any], into: Row, prefix: str, depth: int) -> Row:
    """Put an object's fields into a row, those of objects in it as ``a.b``."""
    for name, one in value.items():
        if isinstance(one, Mapping) and depth < _DEEPEST:
            _flatten(one, into, f"{prefix}{name}.", depth + 1)
        else:
            into[f"{prefix}{name}"] = one
    return into


def column_of(values: Any) -> NDArray[Any]:
    """Return values as a column: floats where all are numbers, vectors where all are lists, else objects.

    What is of several kinds stays so: as an array of texts a number among words would be no number any more.
    """
    if isinstance(values, np.ndarray):
        return values
    kinds = set(map(type, values))
    try:
        if kinds <= _FLOATS:
            return np.array([np.nan if one is None else one for one in values], dtype=np.float64)
        if kinds <= _VECTORS and kinds != {type(None)}:
            width = next(len(one) for one in values if one is not None)
            return np.array([[np.nan] * width if one is None else one for one in values], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        pass
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        column[place] = float(value) if type(value).__name__ == "Decimal" else value
    return column


def columns_in(calls: Iterable[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the rows of many calls as columns, where no reference says yet what a row is.

    What a call has not is missing; a plain list of numbers is a row.

    Raises:
        InvalidValue: calls that are no rows.
    """
    columns: dict[str, list[Any]] = {}
    count = 0
    for arguments in calls:
        table = rows_in({name: _by_place(value) for name, value in arguments.items()}, ())
        found = {name: [one] for name, one in table.fields.items()} if isinstance(table, One) else table
        found = found if isinstance(found, Mapping) else columns_of(found)
        more = max(map(len, found.values()), default=0)
        for name, values in found.items():
            columns.setdefault(name, [None] * count).extend(values)
        count += more
        for column in columns.values():
            column.extend([None] * (count - len(column)))
    return {name: column_of(values) for name, values in columns.items()}


def _by_place(value: Any) -> Any:
    """Return a plain list of numbers as a row."""
    if isinstance(value, list) and value and set(map(type, value)) <= _FLOATS:
        return {f"feature_{place}": one for place, one in enumerate(value)}
    return value

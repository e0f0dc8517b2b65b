"""`Excerpt`: the first rows of a call's arguments as they were sent, copied in little time and few bytes.

It is made while the caller waits, so that an endpoint that changes its arguments changes nothing in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from itertools import islice
from sys import getsizeof, modules
from typing import Any, NamedTuple

from .arrays import is_array, is_scalar

__all__ = ["MOST_ROWS", "Columns", "Excerpt", "excerpt"]

MOST_ROWS = 1000
"""Rows of a call that are looked at: the first ones."""

MOST_BYTES = 1 << 22
"""Bytes of an array or a frame that are copied; of a wider one fewer rows are."""

MOST_PARTS = 100_000
"""Values of lists and objects that are copied, some tens of nanoseconds each."""

LONGEST_LIST = 1 << 14
"""Numbers of one list: it may be a vector."""

MOST_COLUMNS = 2000
"""A frame of more is not looked at."""

_FLAT = frozenset((str, int, float, bool, type(None)))
_NAMES = frozenset((str,))
_NUMBERS = frozenset((int, float, bool, type(None)))
_AS_THEY_ARE = frozenset(("datetime", "decimal"))
_TENSORS = frozenset(("torch", "tensorflow"))
_CONTAINER = 40
"""How many values a list or an object counts for: it costs as much time to copy."""

_FEW = 8
"""Lists of numbers that are copied one by one; more of them as an array, which is a third of the time."""

_ROWS = frozenset((list, tuple))
_DEEPEST = 5
_LIST, _CELL, _TEXT = 64, 8, 50


class Excerpt(NamedTuple):
    """The first rows of a call's arguments. Immutable, as far as anybody cares.

    Attributes:
        arguments: by name, as scalars, lists, dicts, arrays and frames; what is none of these is left out.
        left_out: how many rows more there were.
        weight: about how many bytes it holds.
    """

    arguments: Mapping[str, Any]
    left_out: int = 0
    weight: int = 0

    def __repr__(self) -> str:
        """Return nothing of what was asked."""
        return f"<Excerpt of {len(self.arguments)} arguments>"


class Columns(dict[str, list[Any]]):
    """Rows as columns, by name: what a list of objects becomes, and no object itself."""


def excerpt(arguments: Mapping[str, Any]) -> Excerpt:
    """Return the first rows of arguments; never raises, and takes a few milliseconds at the most.

    >>> one = excerpt({"rows": [[1.0, 2.0]] * 3000, "limit": 0.5, "file": open})
    >>> list(one.arguments), len(one.arguments["rows"]), one.left_out
    (['rows', 'limit'], 1000, 2000)
    """
    cut = _Cut()
    found = {}
    for name, value in islice(arguments.items(), MOST_COLUMNS):
        with suppress(Exception):  # whatever a value does when it is looked at costs its own place only
            taken = cut.take(value, 0)
            if taken is not _NOTHING:
                found[name] = taken
    return Excerpt(found, cut.left_out, cut.weight)


def _square(rows: list[Any]) -> Any:
    """Return lists of one length that hold numbers only as an array; None: they are not such lists."""
    numpy = modules.get("numpy")
    if numpy is None or len(rows[0]) > LONGEST_LIST:
        return None
    try:
        found = numpy.asarray(rows)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.ndim == 2 and found.dtype.kind in "biuf" else None  # noqa: PLR2004 - rows x features


def _columns(rows: list[dict[str, Any]]) -> Columns | None:
    """Return objects with the same fields, all of them plain values, as columns; None: they are not such."""
    names = tuple(rows[0])
    if not 0 < len(names) <= MOST_COLUMNS or not set(map(type, names)) <= _NAMES:
        return None
    if any(len(row) != len(names) for row in rows):
        return None
    try:
        columns = [[row[name] for row in rows] for name in names]
    except KeyError:
        return None
    if any(not set(map(type, column)) <= _FLAT for column in columns):
        return None
    return Columns(zip(names, columns, strict=True))


_NOTHING = object()
"""What cannot be taken."""


class _Cut:
    """Takes the first rows of one call's arguments, within a budget for all of them."""

    def __init__(self) -> None:
        self.left_out = self.weight = 0
        self._parts = MOST_PARTS

    def take(self, value: Any, depth: int) -> Any:  # noqa: PLR0911 - one line for each kind
        kind = type(value)
        if kind in _FLAT:
            self._parts -= 1
            self.weight += getsizeof(value)
            return value
        if depth > _DEEPEST or self._parts <= 0:
            return _NOTHING
        if isinstance(value, (list, tuple)):
            return self._items(value, depth)
        if isinstance(value, Mapping):
            return self._fields(value, depth)
        if is_array(value):
            return self._array(value)
        if is_scalar(value):
            return self.take(value.item(), depth)
        package = kind.__module__.partition(".")[0]
        if package == "pandas":
            return self._frame(value)
        if package in _TENSORS:
            return self._tensor(value)
        if package in _AS_THEY_ARE:
            self.weight += getsizeof(value)
            return value
        return self._object(value, depth)

    def _items(self, value: Any, depth: int) -> Any:
        first = list(value[:LONGEST_LIST])
        kinds = set(map(type, first))
        if kinds <= _FLAT:
            self._count(first, kinds)
            return first
        if depth == 0 and len(first) > _FEW and (table := self._table(first[:MOST_ROWS])) is not None:
            self._leave(len(value) - MOST_ROWS, depth)
            return table
        found = []
        for one in first[:MOST_ROWS]:
            if self._parts <= 0:
                break
            taken = self.take(one, depth + 1)
            found.append(None if taken is _NOTHING else taken)
        self.weight += _LIST + _CELL * len(found)
        self._parts -= _CONTAINER
        self._leave(len(value) - len(found), depth)
        return found

    def _table(self, rows: list[Any]) -> Any:
        """Return rows of one shape as an array, or as columns; None: they have no one shape."""
        kind = type(rows[0])
        if kind in _ROWS:
            square = _square(rows)
            return None if square is None else self._array(square)
        if kind is not dict and not hasattr(kind, "model_fields"):
            return None
        if any(type(one) is not kind for one in rows):
            return None
        found = _columns(rows if kind is dict else [one.__dict__ for one in rows])
        if found is not None:
            for column in found.values():
                self._count(column, set(map(type, column)))
        return found

    def _fields(self, value: Mapping[Any, Any], depth: int) -> Any:
        if len(value) <= LONGEST_LIST and set(map(type, value)) <= _NAMES:
            kinds = set(map(type, value.values()))
            if kinds <= _FLAT:
                self._count(value.values(), kinds)
                return dict(value)
        found = {}
        for name, one in islice(value.items(), LONGEST_LIST):
            if self._parts <= 0:
                break
            taken = self.take(one, depth + 1)
            if taken is not _NOTHING:
                found[str(name)] = taken
        self.weight += getsizeof(found)
        self._parts -= _CONTAINER
        return found

    def _count(self, values: Collection[Any], kinds: set[type]) -> None:
        """Count a list or an object of plain values, which are copied as a whole."""
        self._parts -= _CONTAINER + len(values)
        self.weight += _LIST + (_CELL + (_LIST if kinds <= _NUMBERS else _TEXT)) * len(values)
        if str in kinds:
            self.weight += sum(len(one) for one in values if type(one) is str)

    def _array(self, value: Any) -> Any:
        if value.ndim == 0:
            return self.take(value.item(), 0)
        named = value.dtype.names is not None
        if value.ndim > 2 or (value.dtype.kind not in "biufOUS" and not named):  # noqa: PLR2004 - rows x features
            return _NOTHING
        most = LONGEST_LIST if value.ndim == 1 and not named else MOST_ROWS
        width = value.itemsize * (value.shape[1] if value.ndim > 1 else 1)
        return self._rows(value, most, width, 0 if value.ndim == 1 and not named else 1)

    def _rows(self, value: Any, most: int, width: int, rows: int) -> Any:
        """Return a copy of the first rows of an array, or none where one row alone is too large."""
        most = min(most, MOST_BYTES // max(width, 1))
        if most < 1 < width:
            return _NOTHING
        first = value[:most].copy()
        self.weight += int(first.nbytes) + _LIST
        self._leave(len(value) - len(first) if rows else 0, 0)
        return first

    def _frame(self, value: Any) -> Any:
        if not hasattr(value, "iloc"):
            return _NOTHING
        columns = getattr(value, "columns", None)
        if columns is None:
            return self._array(value.iloc[:LONGEST_LIST].to_numpy())
        if len(columns) > MOST_COLUMNS:
            return _NOTHING
        first = value.iloc[:MOST_ROWS].copy()
        self.weight += _LIST * (1 + len(columns)) + (_CELL + _TEXT) * int(first.size)
        self._leave(len(value) - len(first), 0)
        return first

    def _tensor(self, value: Any) -> Any:
        if len(value.shape) > 2:  # noqa: PLR2004 - rows x features
            return _NOTHING
        if not len(value.shape):
            return self.take(value.item(), 0)
        first = value[:LONGEST_LIST] if len(value.shape) == 1 else value[:MOST_ROWS]
        first = first.detach().cpu() if hasattr(first, "detach") else first
        found = self._array(first.numpy())
        self._leave(int(value.shape[0]) - len(first) if len(value.shape) > 1 else 0, 0)
        return found

    def _object(self, value: Any, depth: int) -> Any:
        """Return a model, or a dataclass, as its fields."""
        if isinstance(value, type):
            return _NOTHING
        if is_dataclass(value):
            parts = {one.name: getattr(value, one.name, None) for one in fields(value)}
        elif hasattr(type(value), "model_fields") and isinstance(getattr(value, "__dict__", None), dict):
            parts = value.__dict__
            if parts.keys() == {"root"}:
                return self.take(parts["root"], depth)
        else:
            return _NOTHING
        return self._fields(parts, depth)

    def _leave(self, rows: int, depth: int) -> None:
        if depth == 0:
            self.left_out = max(self.left_out, rows)

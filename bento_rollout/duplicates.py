"""Duplicates of values, so that what is done to one leaves the other as it is."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Mapping
from typing import Any

from .kinds import Budget, Kind, read

__all__ = ["duplicate", "measured_duplicate"]

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_CONTAINERS = (Kind.LIST, Kind.TUPLE, Kind.SET)
_FIELDS = (Kind.MAPPING, Kind.MODEL)


def duplicate(value: Any) -> Any:
    """Return a deep copy.

    Raises:
        BaseException: whatever the value raises; not everything can be copied (an open file, a lock).

    >>> cached = {"time": 1}
    >>> duplicate(cached).pop("time"), cached
    (1, {'time': 1})
    """
    if type(value) in _PLAIN:
        return value
    if _holds_frames(value):
        return pickle.loads(pickle.dumps(value, 5))  # noqa: S301 - our own copy, made in the same breath
    return copy.deepcopy(value)


def measured_duplicate(value: Any) -> Any:
    """Return a deep copy of an answer, which may be of any class, and have no end.

    Raises:
        Beyond: it is too deep or too large to be looked through.
        BaseException: as `duplicate` does.
    """
    _measure(value, 0, Budget(), {})
    return duplicate(value)


def _measure(value: Any, depth: int, budget: Budget, seen: dict[int, Any]) -> None:
    """Go through what a copy would go through; plain values cost nothing."""
    if type(value) in _PLAIN or id(value) in seen:
        return
    budget.spend(depth)
    seen[id(value)] = value  # kept, so that no id is used again
    kind, contents = read(value)
    if kind in _CONTAINERS or kind in _FIELDS:
        for part in contents.values() if kind in _FIELDS else contents:
            _measure(part, depth + 1, budget, seen)


def _holds_frames(value: Any) -> bool:
    """Whether a value is or holds a pandas object, whose deep copy shares what its cells refer to."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    held = inner if isinstance(value, (Mapping, list, tuple)) else (value,)
    return any(isinstance(item, (pandas.DataFrame, pandas.Series)) for item in held)

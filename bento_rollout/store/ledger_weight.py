"""How many bytes a fact holds while it waits: all of it is looked at, or what is too large stays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from sys import getsizeof
from typing import Any

from ..records import Compared, Prediction

__all__ = ["MOST_PARTS", "TooLarge", "light", "weight_of"]

MOST_PARTS = 8192
"""Parts of a payload that are looked at, at most some tenths of a millisecond for each thousand of them."""

_CONTAINER = 8
"""How many parts a list or an object counts for: it costs as much time to look at."""

_PREDICTION, _COMPARED, _ROW, _RUN = 1200, 600, 400, 300

_NUMBERS = frozenset((float, bool, type(None)))
_NUMBER = getsizeof(0.5)
_FLAT = frozenset((str, bytes, int, float, bool, type(None)))
_DEEPEST = 64

Fact = Prediction | Compared


class TooLarge(ValueError):
    """A payload has more parts than are looked at: more than the ledger keeps of any."""


def light(fact: Fact) -> tuple[Fact, int]:
    """Return a fact and about how many bytes it holds; a payload that cannot be weighed is taken out of it.

    Answers as they were sent are weighed by their size; of arguments, of what a task returned, and of what a
    shadow answered every part is looked at. What is taken out would be too long to be kept, as a rule.
    """
    if isinstance(fact, Compared):
        answer = _weighed(fact.answer, [MOST_PARTS])
        weight = _COMPARED + _ROW * len(fact.comparisons) + (answer or 0)
        return (fact if answer is not None else replace(fact, answer=None)), weight
    reply = fact.reply
    weight = _PREDICTION + len(reply.body) + _RUN * len(fact.runs)
    for text in fact.keys + fact.inference_ids:
        weight += 0 if text is None else getsizeof(text)
    if fact.by_rows:
        weight += _ROW * len(fact.plans)
    if fact.watched is not None:
        weight += fact.watched.weight
    if fact.inputs is None and reply.value is None:
        return fact, weight
    left = [MOST_PARTS]
    inputs, value = _weighed(fact.inputs, left), _weighed(reply.value, left)
    if inputs is None:
        fact = fact._replace(inputs=None)
    if value is None:
        fact = fact._replace(reply=reply._replace(value=None))
    return fact, weight + (inputs or 0) + (value or 0)


def _weighed(value: Any, left: list[int]) -> int | None:
    """Return the bytes of a payload; None: that cannot be told."""
    if value is None:
        return 0
    try:
        return weight_of(value, left)
    except Exception:  # noqa: BLE001 - whatever a value does when it is looked at costs its own place only
        return None


def weight_of(value: Any, left: list[int] | None = None, depth: int = 0) -> int:
    """Return how many bytes a value holds, all of its parts counted.

    Args:
        value: anything.
        left: how many parts may still be looked at; less after it.
        depth: how deep it lies.

    Raises:
        TooLarge: it has too many parts, or is too deep.

    >>> weight_of(["x" * 1000] * 3) > 3000
    True
    """
    left = [MOST_PARTS] if left is None else left
    if type(value) in _FLAT:
        return getsizeof(value)
    _charge(_CONTAINER, left, depth)
    if isinstance(value, (list, tuple, set, frozenset, Mapping)):
        values = _of_all(value.values(), left, depth) if isinstance(value, Mapping) else 0
        return getsizeof(value) + values + _of_all(value, left, depth)
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "memory_usage"):
        return _of_frame(value, left, depth)
    if isinstance(size := getattr(value, "nbytes", None), int):  # an array, a tensor, a view
        if getattr(getattr(value, "dtype", None), "hasobject", False):
            return size + weight_of(value.tolist(), left, depth + 1)
        whole = getattr(getattr(value, "base", None), "nbytes", 0)
        return 128 + max(size, whole if isinstance(whole, int) else 0)
    return _of_object(value, left, depth)


def _of_object(value: Any, left: list[int], depth: int) -> int:
    """Return the bytes of a model, a picture, or something else."""
    size = getsizeof(value)
    if isinstance(value, (Enum, type)):
        return size  # it is there anyway
    if (parts := getattr(value, "__dict__", None)) is not None:
        size += weight_of(parts, left, depth + 1)
    for slot in getattr(type(value), "__slots__", ()):
        size += weight_of(getattr(value, slot, None), left, depth + 1)
    return size + _of_picture(value)


def _of_all(values: Any, left: list[int], depth: int) -> int:
    _charge(len(values), left, depth)
    kinds = set(map(type, values))
    if kinds <= _NUMBERS:
        return _NUMBER * len(values)
    if kinds <= _FLAT:
        return sum(map(getsizeof, values))
    return sum(weight_of(value, left, depth + 1) for value in values)


def _of_frame(value: Any, left: list[int], depth: int) -> int:
    kinds = value.dtypes if hasattr(value, "columns") else (value.dtype,)
    loose = any(getattr(kind, "kind", "O") == "O" for kind in kinds)
    if loose:
        _charge(value.size, left, depth)  # each of its parts is looked at
    used = value.memory_usage(index=True, deep=loose)
    return int(used if isinstance(used, int) else used.sum())


def _of_picture(value: Any) -> int:
    """Return the bytes of a picture's points, which it holds where nobody can count them."""
    size = getattr(value, "size", None)
    if type(value).__module__.partition(".")[0] != "PIL" or not isinstance(size, tuple):
        return 0
    return 4 * int(size[0]) * int(size[1])


def _charge(parts: int, left: list[int], depth: int) -> None:
    left[0] -= parts
    if left[0] < 0 or depth > _DEEPEST:
        raise TooLarge("it has too many parts")

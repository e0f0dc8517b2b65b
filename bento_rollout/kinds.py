"""What the parts of an answer are, whoever made them: read into few kinds, and told without payload."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Number
from typing import Any

from pydantic import BaseModel

from .arrays import is_array, is_scalar

__all__ = ["Beyond", "Budget", "Fields", "Kind", "class_of", "described", "has_equality", "read", "step_of"]

DEEPEST = 64
"""Levels of an answer that are looked into."""

MOST_PARTS = 300_000
"""Parts of an answer that are looked at one by one; the items of arrays do not count."""

_LONGEST = 100
"""Letters that tell of one value."""

_WHOLE = 10**30
"""No integer beyond this is written out."""


class Kind(Enum):
    """What a part of an answer is; the value is the word for it."""

    NOTHING = "nothing"
    TRUTH = "truth value"
    NUMBER = "number"
    TEXT = "text"
    BYTES = "bytes"
    LIST = "list"
    TUPLE = "tuple"
    SET = "set"
    MAPPING = "mapping"
    MODEL = "model"
    ENUM = "member"
    ARRAY = "array"
    SERIES = "series"
    FRAME = "frame"
    OBJECT = "object"


class Beyond(Exception):
    """An answer goes beyond what is looked at.

    Args:
        error: ``depth`` or ``size``.
    """

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(error)


class Budget:
    """How much of two answers may still be looked at."""

    def __init__(self) -> None:
        self._left = MOST_PARTS

    def spend(self, depth: int, parts: int = 1) -> None:
        """Take the price of some parts at a depth, or raise `Beyond`."""
        if depth > DEEPEST:
            raise Beyond("depth")
        self._left -= parts
        if self._left < 0:
            raise Beyond("size")


class Fields(dict[Any, Any]):
    """Contents by names that a class or a table declares; the keys of any other mapping are payload.

    Attributes:
        free: the names that are there and not declared.
    """

    free: Collection[Any] = ()


_BY_TYPE: dict[type, Kind] = {
    type(None): Kind.NOTHING,
    bool: Kind.TRUTH,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    complex: Kind.NUMBER,
    str: Kind.TEXT,
    bytes: Kind.BYTES,
    list: Kind.LIST,
    tuple: Kind.TUPLE,
    set: Kind.SET,
    frozenset: Kind.SET,
    dict: Kind.MAPPING,
    Fields: Kind.MAPPING,
}


def read(value: Any) -> tuple[Kind, Any]:
    """Return what a value is, and its contents in the plainest form: a model's are a mapping of its fields.

    >>> read(range(3))
    (<Kind.LIST: 'list'>, [0, 1, 2])
    """
    kind = _BY_TYPE.get(type(value))
    if kind is not None:
        return kind, value
    if isinstance(value, Enum):
        return Kind.ENUM, value.value
    if is_scalar(value):
        return _read_scalar(value)
    if is_array(value):
        return Kind.ARRAY, _read_array(value)
    if (panda := _panda(value)) is not None:
        return panda, math.nan if panda is Kind.NUMBER else value
    model = _model(value)
    return _read_relative(value) if model is None else (Kind.MODEL, model)


def _model(value: Any) -> Fields | None:
    """Return the fields of a pydantic model or of a dataclass."""
    if isinstance(value, BaseModel):
        found, more = Fields(value.__dict__), value.__pydantic_extra__
        if more:
            found.update(more)
            found.free = frozenset(more)
        return found
    if is_dataclass(value) and not isinstance(value, type):
        return Fields((field.name, getattr(value, field.name, None)) for field in fields(value))
    return None


def _read_array(value: Any) -> Any:
    """Return an array as a plain one: a matrix keeps two dimensions whatever is done to it."""
    import numpy as np

    return np.asarray(value)


def _read_scalar(value: Any) -> tuple[Kind, Any]:
    """Return what one of numpy's own values is; a time is an array of no dimensions."""
    if value.dtype.kind in "biufcSU":
        item = value.item()
        return read(float(item) if is_scalar(item) else item)  # a long double's item is itself
    import numpy as np

    return Kind.ARRAY, np.asarray(value)


def _panda(value: Any) -> Kind | None:
    """Return which of pandas' kinds a value is, told by the names of its classes."""
    for base in type(value).__mro__:
        if base.__module__.partition(".")[0] == "pandas" and base.__name__ in _PANDAS:
            return _PANDAS[base.__name__]
    return None


_PANDAS = {"DataFrame": Kind.FRAME, "Series": Kind.SERIES, "NAType": Kind.NUMBER}


def _parts(items: Iterable[Any]) -> list[Any]:
    """Return what somebody's own class yields, which may have no end.

    Raises:
        Beyond: it is more than is looked at.
    """
    found: list[Any] = []
    for item in items:  # and no list(items): that would hold the interpreter for good
        if len(found) == MOST_PARTS:
            raise Beyond("size")
        found.append(item)
    return found


def _pairs(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: fields[key] for key in _parts(fields)}


_RELATIVES: tuple[tuple[type | tuple[type, ...], Kind, Any], ...] = (
    (str, Kind.TEXT, str.__str__),
    ((bytes, bytearray, memoryview), Kind.BYTES, bytes),
    (Mapping, Kind.MAPPING, _pairs),
    (tuple, Kind.TUPLE, lambda value: tuple(_parts(value))),
    (Sequence, Kind.LIST, _parts),
    (AbstractSet, Kind.SET, lambda value: set(_parts(value))),
)


def _read_relative(value: Any) -> tuple[Kind, Any]:
    """Return what a value is that is only akin to the builtin kinds, or to arrays (a tensor, an image)."""
    if isinstance(value, Number):
        return Kind.NUMBER, value
    for base, kind, plain in _RELATIVES:
        if isinstance(value, base):
            return kind, plain(value)
    if hasattr(type(value), "__array__") or hasattr(type(value), "__array_interface__"):
        import numpy as np

        return Kind.ARRAY, np.asarray(value)
    return Kind.OBJECT, value


def described(value: Any) -> str:
    """Return in words what a value is, without payload: numbers as they are, all else by kind and size.

    >>> described("a patient's name"), described(0.25), described([1, 2])
    ('text of 16', '0.25', 'list of 2')
    """
    kind, contents = read(value)
    tell = _TOLD.get(kind)
    return tell(contents)[:_LONGEST] if tell else f"{kind.value} of {len(contents)}"


def _container(value: Any) -> str:
    kind, shape = read(value)[0].value, " x ".join(map(str, value.shape))
    return f"{kind} of {shape}" if shape else str(value.dtype)


def _number(value: Any) -> str:
    if isinstance(value, int) and not -_WHOLE < value < _WHOLE:
        try:
            return f"{float(value):.6g}"
        except OverflowError:
            return "over 1e308" if value > 0 else "under -1e308"
    return repr(value) if isinstance(value, (int, float, complex)) else str(value)


def class_of(value: object) -> str:
    """Return the name of a value's class, cut to 100 letters, whatever its metaclass would say.

    >>> class_of(KeyError("a patient's name"))
    'KeyError'
    """
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name[:_LONGEST]


_TOLD: dict[Kind, Callable[[Any], str]] = {
    Kind.NUMBER: _number,
    Kind.TRUTH: lambda value: "true" if value else "false",
    Kind.NOTHING: lambda _: "nothing",
    Kind.ENUM: described,
    Kind.ARRAY: _container,
    Kind.SERIES: _container,
    Kind.FRAME: _container,
    Kind.OBJECT: class_of,
}
"""How what is not told by its size is told."""


def has_equality(value: Any) -> bool:
    """Whether a value is equal to others than itself: else nothing can be said of it."""
    kind: Any = type(value)
    return kind.__eq__ is not object.__eq__


def step_of(key: Any) -> str:
    """Return a mapping's key as a field's name: text as it is, numbers as JSON has them, else its type.

    >>> step_of("id"), step_of(7), step_of((1, 2))
    ('id', '7', '(tuple)')
    """
    if type(key) is str:
        return key
    kind, contents = read(key)
    if kind is Kind.TEXT:
        return str(contents)
    if kind is Kind.ENUM:
        return step_of(contents)
    if kind is Kind.NOTHING:
        return "null"
    return described(contents) if kind in (Kind.NUMBER, Kind.TRUTH) else f"({class_of(key)})"

"""How tests and blocks are written down: plain JSON values, refused where not whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidValue
from .arithmetic import finite

__all__ = ["flag", "numbers", "opened", "pack"]


def pack(kind: str, **fields: object) -> dict[str, Any]:
    """Return what is stored: the fields, with the kind of thing that they are of."""
    return {"kind": kind, **fields}


def opened(
    data: object, kind: str, names: frozenset[str], fixed: Mapping[str, object] | None = None
) -> Mapping[str, Any]:
    """Return stored fields after checking that they are of this kind, whole, and of these settings.

    Args:
        data: what was stored.
        kind: the kind of thing that is wanted.
        names: the fields that it has, each needed and no other.
        fixed: fields with the one value that this version knows, like the grid of odds.

    Raises:
        InvalidValue: another kind, a missing or unknown field, or another setting; it is named.
    """
    if not isinstance(data, Mapping):
        raise InvalidValue(f"a stored {kind} is a mapping; this is {type(data).__name__}")
    if data.get("kind") != kind:
        raise InvalidValue(f"this was stored as {data.get('kind')!r}; {kind!r} is needed")
    fixed = fixed or {}
    wanted = names | fixed.keys() | {"kind"}
    for name in sorted(wanted - data.keys()):
        raise InvalidValue(f"a stored {kind} has a field {name!r}; it is missing")
    for name in sorted(map(str, data.keys() - wanted)):
        raise InvalidValue(f"a stored {kind} has no field {name!r}")
    for name, value in fixed.items():
        if data[name] != value:
            raise InvalidValue(
                f"{name} of the stored {kind} is {data[name]!r}; evidence of other settings than {value!r}"
                " cannot be carried on: start anew"
            )
    return data


def numbers(name: str, values: object, length: int) -> tuple[float, ...]:
    """Return so many finite numbers; refuse others, by the name of their field."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)) or len(values) != length:
        raise InvalidValue(f"{name} is no list of {length} numbers")
    return tuple(finite(f"{name}[{place}]", value) for place, value in enumerate(values))


def flag(name: str, value: object) -> bool:
    """Return a stored truth value; refuse anything else, by the name of its field."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{name} is {value!r}; true or false is needed")
    return value

"""References: functions of the user's that a spec names as ``module:function``; never imported here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from .errors import InvalidValue
from .values import shown

__all__ = ["Reference", "name_of", "parse_reference"]


def parse_reference(value: object) -> str | Callable[..., Any]:
    """Return what names a function: text like ``module:function``, or in Python the function itself.

    Raises:
        InvalidValue: it is neither.

    >>> parse_reference("readers:to_finding"), parse_reference(len)
    ('readers:to_finding', <built-in function len>)
    """
    if callable(value):
        return value
    module, colon, path = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise InvalidValue(f"{shown(value)} names no function: write module:function")
    return f"{module}:{path}"


def name_of(reference: str | Callable[..., Any]) -> str:
    """Return a reference as text; of a function where it was defined.

    >>> name_of("readers:to_finding"), name_of(parse_reference)
    ('readers:to_finding', 'bento_rollout.references:parse_reference')
    """
    if isinstance(reference, str):
        return reference
    named = getattr(reference, "__qualname__", type(reference).__qualname__)
    return f"{getattr(reference, '__module__', None) or 'builtins'}:{named}"


Reference = Annotated[
    str | Callable[..., Any],
    PlainValidator(parse_reference),
    PlainSerializer(name_of, return_type=str),
]
"""A function in a spec: its name, or the function."""

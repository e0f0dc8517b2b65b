"""Functions of the user's that a spec names, imported when the service is defined."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from ..errors import InvalidSpec

__all__ = ["imported"]


def imported(named: str, field: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names.

    Args:
        named: the module and, after a colon, a function in it, or what leads to one.
        field: the spec's field, for the error.

    Raises:
        InvalidSpec: when it cannot be imported, or called.
    """
    module, _, path = named.partition(":")
    try:
        found: Any = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        hint = "in the service's own module a function must stand above the decorated class"
        raise InvalidSpec(f"{field}: {named}: {error}; {hint}") from None
    if not callable(found):
        raise InvalidSpec(f"{field}: {named} is not callable")
    return found  # type: ignore[no-any-return]  # whatever it returns is looked at where it is called

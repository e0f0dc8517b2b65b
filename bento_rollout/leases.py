"""How long a worker goes by what it knows when it has lost its store, and what it does after that: words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator

from .errors import InvalidValue
from .explaining import Problem
from .values import parse_duration, shown

__all__ = ["LEASE", "Lease", "OnStale", "no_leases", "parse_lease"]

LEASE = 10.0
"""Seconds that a worker without a connection goes on with what it knows, unless its spec says otherwise."""

SHORTEST, LONGEST = 1.0, 600.0

OnStale = Literal["serve", "champion", "refuse"]
"""What a worker does when its lease has run out."""


def parse_lease(value: object) -> float:
    """Return a lease in seconds, from a duration.

    >>> parse_lease("1m")
    60.0
    """
    seconds = parse_duration(value)
    if not SHORTEST <= seconds <= LONGEST:
        raise InvalidValue(f"lease {shown(value)} is not valid: it lies from 1s to 10m")
    return seconds


Lease = Annotated[float, BeforeValidator(parse_lease)]
"""A lease in a spec, kept in seconds."""


def no_leases(named: Collection[str]) -> Iterator[Problem]:
    """Yield what of it a spec names though a file governs, which no connection is needed for."""
    for field in ("lease", "on_stale"):
        if field in named:
            words = (
                "it says what holds without a connection to the store, and with authority: spec there is "
                "none: leave it out"
            )
            yield Problem((field,), words)

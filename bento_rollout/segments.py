"""`Segments`: parts of the traffic, each of which gets a threshold of its own; pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .ask_when import parse_argument, parse_scalar
from .asking import bare, is_same
from .errors import InvalidValue
from .keys import follow
from .values import shown

__all__ = ["MOST_SEGMENTS", "Segments"]

MOST_SEGMENTS = 50
"""Segments that an endpoint may have: each more takes a part of the chance to be wrong, and labels."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Which values of which arguments make a segment of their own: one for each combination of them.

    Only what a spec names is ever written down, as ``ward=icu``; a call with another value is in no segment.

    Args:
        values: arguments, or paths that begin with one, with the values that count.

    >>> by = Segments.parse({"ward": ["icu", "er"], "child": [True]})
    >>> by.names
    ('ward=icu, child=true', 'ward=er, child=true')
    >>> by.of({"ward": "er", "child": True}), by.of({"ward": "er", "child": False})
    ('ward=er, child=true', '')
    """

    values: tuple[tuple[str, tuple[Any, ...]], ...]
    names: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Name them.

        Raises:
            InvalidValue: two have one name, or there are too many.
        """
        names = list[str]()
        each = [[_named(argument, value) for value in values] for argument, values in self.values]
        for parts in itertools.islice(itertools.product(*each), MOST_SEGMENTS + 1):
            names.append(", ".join(parts))
        if len(names) > MOST_SEGMENTS:
            raise InvalidValue(f"these are more than {MOST_SEGMENTS} segments: name fewer values")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidValue(f"segment {twice} stands twice: write each value once")
        object.__setattr__(self, "names", tuple(names))

    @classmethod
    def parse(cls, value: object) -> Segments:
        """Return the segments that a mapping like ``{ward: [icu, er]}`` means."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or not value:
            raise InvalidValue(
                f"{shown(value)} names no segment: write arguments with values, like {{ward: [icu, er]}}"
            )
        found = []
        for name, several in value.items():
            if not isinstance(several, (list, tuple)) or not several:
                raise InvalidValue(f"{shown(several)} is no list of values: write like {{{name}: [icu, er]}}")
            found.append((parse_argument(name), tuple(map(parse_scalar, several))))
        return cls(tuple(found))

    @property
    def plain(self) -> dict[str, Any]:
        """As a spec writes them."""
        return {name: list(values) for name, values in self.values}

    @property
    def arguments(self) -> tuple[str, ...]:
        """The endpoint's arguments that they look at, without what leads on from them."""
        return tuple(dict.fromkeys(path.partition(".")[0] for path, _ in self.values))

    def of(self, arguments: Mapping[str, Any]) -> str:
        """Return the segment that a call is in; empty: none. Never raises.

        Args:
            arguments: those of the call, by name.
        """
        parts = []
        for path, values in self.values:
            try:
                value = bare(follow(arguments, path.split(".")))
            except Exception:  # noqa: BLE001 - a property of the caller's input may raise anything
                return ""
            found = next((one for one in values if is_same(value, one)), None)
            if found is None:
                return ""
            parts.append(_named(path, found))
        return ", ".join(parts)


def _named(path: str, value: Any) -> str:
    return f"{path}={str(value).lower() if isinstance(value, bool) else value}"

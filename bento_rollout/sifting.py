"""`Sieve`: which rows a test is given: one in so many, and of each key one in an hour; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import InvalidValue
from .values import shown

__all__ = ["HOUR", "MOST_KEYS", "STRATA", "Sieve", "stratum_of"]

HOUR = 3600
"""Seconds in which a key counts once."""

MOST_KEYS = 2048
"""Keys that are remembered within an hour; of more the first ones are forgotten, and may count again."""

_LETTERS = 16
"""Letters of a key's hash that tell it from others."""

_THURSDAY = 72
"""The hour of the week, from Monday, at which 1970 began."""

STRATA = 168
"""Hours of a week."""


def stratum_of(time: float) -> int:
    """Return the hour of the week of a time, from 0 (Monday, 00:00 UTC) to 167.

    >>> stratum_of(0.0), stratum_of(-1.0)
    (72, 71)
    """
    return int(time // HOUR + _THURSDAY) % STRATA


@dataclass(frozen=True, slots=True)
class Sieve:
    """What is remembered of rows that came, to say of the next ones which count. Immutable.

    The same rows in the same order give the same, however they are split.

    Args:
        seen: rows so far that no key had kept out.
        hour: the hour in which the keys came.
        keys: of that hour, in the order in which they came, as the beginnings of their hashes.

    >>> sieve, counts = Sieve().take(3, 0.0, None, every=2)
    >>> counts, sieve.seen
    ([True, False, True], 3)
    """

    seen: int = 0
    hour: int | None = None
    keys: tuple[str, ...] = ()

    def take(
        self, rows: int, time: float, key_hash: str | None, *, every: int = 1, dedupe: bool = False
    ) -> tuple[Sieve, list[bool]]:
        """Return the sieve after some rows of one prediction, and which of them count.

        Args:
            rows: how many there are.
            time: when it came, in seconds since 1970.
            key_hash: of its routing key; None: it has none, and counts.
            every: one row in so many counts.
            dedupe: whether a key counts once in an hour.
        """
        hour, keys = self.hour, self.keys
        if dedupe and key_hash is not None:
            now, name = int(time // HOUR), key_hash[:_LETTERS]
            if now != hour:
                hour, keys = now, ()
            if name in keys:
                return self, [False] * rows
            keys = (*keys, name)[-MOST_KEYS:]
        counts = [(self.seen + place) % every == 0 for place in range(rows)]
        return Sieve(self.seen + rows, hour, keys), counts

    @property
    def plain(self) -> dict[str, Any]:
        """All of it as what JSON can say."""
        return {"seen": self.seen, "hour": self.hour, "keys": "".join(self.keys)}

    @classmethod
    def from_plain(cls, told: object) -> Sieve:
        """Return what `plain` told.

        Raises:
            InvalidValue: it is something else.
        """
        match told:
            case {"seen": int(seen), "hour": int() | None as hour, "keys": str(keys)}:
                names = tuple(keys[at : at + _LETTERS] for at in range(0, len(keys), _LETTERS))
                return cls(seen, hour, names)
        raise InvalidValue(f"{shown(told)} does not say which rows count")

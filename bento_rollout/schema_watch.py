"""`SchemaWatch`: the watch of how rows are built: what all workers found in them, and when it is an alarm; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .alarms import Alarm, Told, cut, said_of
from .store.drift_rows import Level

__all__ = ["SCHEMA", "SchemaWatch"]

SCHEMA = "schema"

FEW, SHARE = 5, 0.01
"""Rows with unseen categories from which on they are an alarm: so many, and this part of the rows."""

_BUILT = {
    "lost": "{} is not there",
    "new": "{} is new",
    "type": "{} is of another type",
    "category": "{} has categories that the reference has not",
    "infinite": "{} is infinite at times",
}


@dataclass(frozen=True, slots=True)
class SchemaWatch:
    """In which ways the rows of one epoch were built otherwise than the reference. Immutable.

    Attributes:
        endpoint: whose calls are watched.
        epoch: which one it is, from 1.
        rows: how many rows were looked at.
        changes: in how many rows, by kind (``lost``, ``new``, ``type``, ``category``, ``infinite``) and feature.

    >>> watch = SchemaWatch("predict", 1, 200, {("lost", "age"): 1, ("category", "town"): 2})
    >>> watch.words
    'the form of what comes in has changed: age is not there'
    """

    endpoint: str
    epoch: int = 1
    rows: int = 0
    changes: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """The changes that are an alarm: each at once, but a few unseen categories are not."""
        most = max(FEW, math.ceil(SHARE * self.rows))
        changes = sorted(self.changes.items())
        return tuple(place for place, count in changes if place[0] != "category" or count >= most)

    @property
    def words(self) -> str:
        """What the alarm says; empty: there is none."""
        if not self.broken:
            return ""
        named = (
            _BUILT.get(kind, "{} has changed").format(cut(name) or "a call") for kind, name in self.broken
        )
        return said_of(SCHEMA, list(named), None)

    def level(self, now: float) -> Level:
        """Return how it stands."""
        changes = [
            {"kind": kind, "feature": name, "rows": count}
            for (kind, name), count in sorted(self.changes.items())
        ]
        told = {"changes": changes}
        return Level(SCHEMA, SCHEMA, self.endpoint, self.epoch, self.rows, 0.0, 0.0, told, now)

    def found(self, name: Callable[[], str], revision: int, now: float) -> tuple[Alarm, ...]:
        """Return the alarm, if anything is one.

        Args:
            name: makes an alarm's name.
            revision: the rollout's.
            now: seconds since 1970.
        """
        if not self.words:
            return ()
        features = tuple(Told(feature, 0.0, kind) for kind, feature in self.broken)
        who = name(), SCHEMA, SCHEMA, self.endpoint, self.epoch
        return (Alarm(*who, now, self.rows, revision, self.words, features),)

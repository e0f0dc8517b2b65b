"""`SchemaWatch`: the watch of how rows are built: what all workers found, and when that is an alarm."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .alarms import Alarm, Told, cut, said_of
from .errors import InvalidValue
from .store.drift_rows import Level, Point, Stored
from .store.ledger_drift import built
from .store.place import Place

__all__ = ["SCHEMA", "SchemaWatch"]

SCHEMA = "schema"

FEW, SHARE = 5, 0.01
"""Rows with unseen categories, or infinite numbers, that are an alarm: so many, and this part of all."""

_COUNTED = ("refused", "left_out")
_RARE = frozenset({"category", "infinite"})
_BUILT = {
    "lost": "{} is not there",
    "new": "{} is new",
    "type": "{} is of another type",
    "category": "{} has categories that the reference has not",
    "infinite": "{} is infinite at times",
}

Changes = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class SchemaWatch:
    """In which ways the rows of one epoch were built otherwise than the reference. Immutable.

    Attributes:
        endpoint: whose calls are watched.
        digest: of the reference.
        epoch: which one it is, from 1.
        all_rows, all_changes: what the ledger counted since it was made: rows that were looked at, and of
            them those with a change, by kind (``lost``, ``new``, ``type``, ``category``, ``infinite``) and
            feature.
        rows_before, changes_before: the same as the epoch began.
        all_counts, counts_before: calls that were ``refused``: they gave no rows; and rows that were
            ``left_out``, beyond the first thousand of a call.

    >>> watch = SchemaWatch("predict", "", 1, 200, {("lost", "age"): 1, ("category", "town"): 2})
    >>> watch.words
    'the form of what comes in has changed: age is not there'
    """

    endpoint: str
    digest: str
    epoch: int = 1
    all_rows: int = 0
    all_changes: Changes = field(default_factory=dict)
    rows_before: int = 0
    changes_before: Changes = field(default_factory=dict)
    all_counts: Mapping[str, int] = field(default_factory=dict)
    counts_before: Mapping[str, int] = field(default_factory=dict)

    key = SCHEMA

    @classmethod
    def begun(cls, endpoint: str, digest: str, place: Place, *, epoch: int = 0) -> SchemaWatch:
        """Return the watch with what comes from now on.

        Args:
            endpoint: whose calls are watched.
            digest: of the reference.
            place: where the rollout's shared files lie.
            epoch: how often it began before.
        """
        return cls(endpoint, digest, epoch).read(place).acknowledged()

    def read(self, place: Place) -> SchemaWatch:
        """Return it with what the ledger has counted by now.

        Raises:
            StoreUnreachable, StoreCorrupt: it cannot be read.
        """
        changes, counts = built(place, self.digest)
        rows = counts.pop("rows", 0)
        now = replace(self, all_rows=rows, all_changes=changes, all_counts=counts)
        if rows < self.rows_before:  # another ledger lies there than before
            return replace(now, rows_before=0, changes_before={}, counts_before={})
        return now

    def since(self, before: SchemaWatch) -> dict[str, int]:
        """Return what was counted since ``before``, by what became of it: ``refused``, ``left_out``."""
        found = {name: self.all_counts.get(name, 0) - before.all_counts.get(name, 0) for name in _COUNTED}
        return {name: count for name, count in found.items() if count > 0}

    @property
    def mark(self) -> object:
        """What tells whether anything is new."""
        return self.all_changes, self.all_rows, self.all_counts, self.epoch

    @property
    def rows(self) -> int:
        """How many rows of the epoch were looked at."""
        return self.all_rows - self.rows_before

    @property
    def changes(self) -> dict[tuple[str, str], int]:
        """In how many rows of the epoch something is otherwise, by kind and feature."""
        found = {
            place: n - self.changes_before.get(place, 0) for place, n in sorted(self.all_changes.items())
        }
        return {place: count for place, count in found.items() if count > 0}

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """The changes that are an alarm: each at once, but a few odd values are not."""
        most = max(FEW, math.ceil(SHARE * self.rows))
        return tuple(place for place, count in self.changes.items() if place[0] not in _RARE or count >= most)

    @property
    def words(self) -> str:
        """What the alarm says; empty: there is none."""
        named = (
            _BUILT.get(kind, "{} has changed").format(cut(name) or "a call") for kind, name in self.broken
        )
        told = list(named)
        return said_of(SCHEMA, told, None) if told else ""

    def levels(self, now: float) -> tuple[Level, ...]:
        """Return how it stands."""
        changes = [{"kind": kind, "feature": name, "rows": n} for (kind, name), n in self.changes.items()]
        told: dict[str, Any] = {"changes": changes}
        for name in _COUNTED:
            told[name] = max(0, self.all_counts.get(name, 0) - self.counts_before.get(name, 0))
        return (Level(SCHEMA, SCHEMA, self.endpoint, self.epoch, self.rows, 0.0, 0.0, told, now),)

    def points(self, _: float) -> tuple[Point, ...]:
        """Return nothing: it has no evidence."""
        return ()

    def found(self, name: Callable[[], str], revision: int, now: float) -> tuple[Alarm, ...]:
        """Return the alarm, if anything is one.

        Args:
            name: makes an alarm's name.
            revision: the rollout's.
            now: seconds since 1970.
        """
        if not (words := self.words):
            return ()
        features = tuple(Told(feature, 0.0, kind) for kind, feature in self.broken)
        who = name(), SCHEMA, SCHEMA, self.endpoint, self.epoch
        return (Alarm(*who, now, self.rows, revision, words, features),)

    def grown(self, alarm: Alarm) -> Alarm:
        """Return the alarm: it never acts by itself."""
        return alarm

    def acknowledged(self) -> SchemaWatch:
        """Return it with what comes from now on."""
        return replace(
            self,
            epoch=self.epoch + 1,
            rows_before=self.all_rows,
            changes_before=self.all_changes,
            counts_before=self.all_counts,
        )

    def stored(self, version: int, now: float) -> Stored:
        """Return it as the watch that is kept.

        Args:
            version: how often it was written.
            now: seconds since 1970.
        """
        plain = {
            "epoch": self.epoch,
            "rows": [self.rows_before, self.all_rows],
            "before": [[*place, count] for place, count in self.changes_before.items()],
            "now": [[*place, count] for place, count in self.all_changes.items()],
            "counts": [dict(self.counts_before), dict(self.all_counts)],
        }
        body = json.dumps(plain, separators=(",", ":")).encode()
        return Stored(SCHEMA, self.endpoint, version, self.digest, {}, {}, b"", body, {}, now)

    @classmethod
    def from_stored(cls, stored: Stored) -> SchemaWatch:
        """Return what `stored` kept.

        Raises:
            InvalidValue: it is damaged.
        """
        try:
            plain: Any = json.loads(stored.body)
            before, rows = plain["rows"]
            changes = [{(str(k), str(f)): int(n) for k, f, n in plain[name]} for name in ("now", "before")]
            counts = [{str(name): int(n) for name, n in one.items()} for one in plain["counts"]]
            return cls(
                stored.endpoint, stored.digest, int(plain["epoch"]), int(rows), changes[0], int(before),
                changes[1], counts[1], counts[0],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InvalidValue(f"what is stored of the watch is damaged ({type(error).__name__})") from error

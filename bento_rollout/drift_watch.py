"""`DataWatch`: the watch of what comes in: rows of the ledger become a test, alarms, and facts for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .alarms import Alarm, Told, changed, cut, said_of
from .drift import DriftTest, FeatureEvidence, Reference, SchemaAlarm
from .errors import InvalidValue
from .sifting import Sieve, stratum_of
from .store.drift_rows import Level, Point, Stored
from .store.ledger_drift import Page, Watched, watched
from .store.ledger_matured import Watermark
from .values import shown

__all__ = ["DATA", "SCHEMA", "DataRules", "DataWatch", "Taken"]

DATA, SCHEMA = "data", "schema"

MOST_TOLD = 5
"""Features that an alarm, and a point of a timeline, names."""

FEW_CATEGORIES, CATEGORY_SHARE = 5, 0.01
"""Rows with unseen categories from which on they are an alarm: so many, or this part of the rows."""

Taken = dict[str, dict[str, int]]
"""How many rows a read took, by test and by what became of them."""

Unpack = Callable[[bytes, Reference], "tuple[np.ndarray[Any, Any] | None, tuple[SchemaAlarm, ...], str]"]


@dataclass(frozen=True, slots=True)
class DataRules:
    """How rows are tested. Immutable.

    Attributes:
        endpoint: whose calls are watched.
        alpha: the chance that there is ever a false alarm.
        psi, min_rows: how large a change must be, over how many rows, before an alarm acts.
        every: one row in so many is tested.
        dedupe: whether a routing key counts once in an hour.
        strata: whether rows are compared with those of their hour of the week only.
        seed: of the numbers that break ties.
    """

    endpoint: str
    alpha: float = 0.01
    psi: float = 0.1
    min_rows: int = 100
    every: int = 1
    dedupe: bool = False
    strata: bool = False
    seed: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """What a test is made by: with other settings it begins anew."""
        return {
            "alpha": self.alpha,
            "every": self.every,
            "dedupe": self.dedupe,
            "strata": self.strata,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True, eq=False)
class DataWatch:
    """What is known of an endpoint's rows. Immutable: `after` returns the next one.

    Attributes:
        rules: how they are tested.
        test: the test, with its reference.
        sieve: which rows count.
        schema: rows that are built otherwise, by kind and feature; of this epoch of ``schema``.
        schema_rows, schema_epoch: how many rows of it there were, and which epoch it is.
        began, mark: where in the ledger it began, and up to where it was read.
        start: what it was there, as bytes.
    """

    rules: DataRules
    test: DriftTest
    sieve: Sieve = Sieve()
    schema: Mapping[tuple[str, str], int] = field(default_factory=dict)
    schema_rows: int = 0
    schema_epoch: int = 0
    began: Watermark = Watermark()
    mark: Watermark = Watermark()
    start: bytes = field(default=b"", repr=False)

    key = DATA

    @classmethod
    def begun(
        cls, rules: DataRules, reference: Reference, mark: Watermark, *, epoch: int = 0, schema_epoch: int = 0
    ) -> DataWatch:
        """Return the watch before its first row.

        Args:
            rules: how rows are tested.
            reference: what they are compared with.
            mark: where in the ledger it begins.
            epoch, schema_epoch: how often its tests began before.
        """
        test = DriftTest.of(reference, alpha=rules.alpha, seed=rules.seed, epoch=epoch)
        return cls(rules, test, schema_epoch=schema_epoch, mark=mark).from_here()

    def from_here(self) -> DataWatch:
        """Return it as it is, to be replayed from here."""
        return replace(self, began=self.mark, start=self.to_bytes())

    # -- rows ------------------------------------------------------------------------------------------

    def read(self, place: Path, unpack: Unpack, until: int | None = None) -> tuple[DataWatch, Page, Taken]:
        """Return it after the next page of the ledger, the page, and what became of its rows.

        Raises:
            StoreUnreachable, StoreCorrupt: the ledger cannot be read; the same page comes again.
        """
        page = watched(place, self.rules.endpoint, self.mark, until=until)
        after, taken = self.after(page.rows, unpack)
        return replace(after, mark=page.after), page, taken

    def after(self, rows: Sequence[Watched], unpack: Unpack) -> tuple[DataWatch, Taken]:
        """Return it after more predictions, in their order, and what became of their rows."""
        rules, sieve, schema, seen = self.rules, self.sieve, dict(self.schema), self.schema_rows
        counts = {"tested": 0, "left_out": 0, "unreadable": 0, "other_reference": 0}
        blocks: list[Any] = []
        strata: list[int] = []
        for one in rows:
            bins, alarms, problem = unpack(one.content, self.test.reference)
            if problem:
                counts[problem] += 1
                continue
            for alarm in alarms:
                place = (alarm.kind, alarm.feature)
                schema[place] = schema.get(place, 0) + alarm.count
            if bins is None:
                continue
            seen += len(bins)
            sieve, kept = sieve.take(
                len(bins), one.time, one.key_hash, every=rules.every, dedupe=rules.dedupe
            )
            chosen = bins[np.array(kept, dtype=bool)]
            counts["tested"] += len(chosen)
            counts["left_out"] += len(bins) - len(chosen)
            blocks.append(chosen)
            strata += [stratum_of(one.time)] * len(chosen)
        test = self.test
        if counts["tested"]:
            of = np.array(strata, dtype=np.int64) if rules.strata else None
            test = test.update_encoded(np.concatenate(blocks), of)
        found = replace(self, test=test, sieve=sieve, schema=schema, schema_rows=seen)
        return found, {DATA: {name: count for name, count in counts.items() if count}}

    # -- what it says ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Which epoch of the test it is, from 1."""
        return self.test.epoch + 1

    def levels(self, now: float, facts: Mapping[str, Any] | None = None) -> tuple[Level, ...]:
        """Return how the tests stand.

        Args:
            now: seconds since 1970.
            facts: further ones, for people.
        """
        told = {"alpha": self.rules.alpha, "refused": self.test.refused, **(facts or {})}
        structure = [
            {"kind": kind, "feature": name, "rows": count} for (kind, name), count in sorted(self.schema.items())
        ]
        endpoint, bound = self.rules.endpoint, -math.log(self.rules.alpha)
        found = [
            Level(DATA, DATA, endpoint, self.epoch, self.test.rows, self.test.log_evidence, bound, told, now),
            Level(
                SCHEMA, SCHEMA, endpoint, self.schema_epoch + 1, self.schema_rows, 0.0, 0.0,
                {"changes": structure}, now,
            ),
        ]  # fmt: skip
        return tuple(found)

    def points(self, now: float) -> tuple[Point, ...]:
        """Return the course as it is now."""
        top = {one.name: round(one.log_evidence, 3) for one in self.test.features[:MOST_TOLD]}
        return (Point(DATA, self.epoch, self.test.rows, now, self.test.log_evidence, top),)

    def found(self, name: Callable[[], str], revision: int, now: float) -> tuple[Alarm, ...]:
        """Return the alarms that hold: one of the test, one of how rows are built.

        Args:
            name: makes an alarm's name.
            revision: the rollout's.
            now: seconds since 1970.
        """
        alarms = []
        if self.test.alarm:
            features = self._told(self.test.features[:MOST_TOLD])
            since = features[0].since_row if features else None
            words = said_of(DATA, [self._words(one) for one in self._strong()], since)
            alarm = Alarm(
                name(), DATA, DATA, self.rules.endpoint, self.epoch, now, self.test.rows, revision, words,
                features,
            )  # fmt: skip
            alarms.append(self.grown(alarm))
        if words := self._schema_words():
            alarms.append(
                Alarm(
                    name(), SCHEMA, SCHEMA, self.rules.endpoint, self.schema_epoch + 1, now, self.schema_rows,
                    revision, words, tuple(Told(feature, 0.0, kind) for kind, feature in self._broken()),
                )
            )  # fmt: skip
        return tuple(alarms)

    def grown(self, alarm: Alarm) -> Alarm:
        """Return an alarm of this epoch with what is large by now."""
        if alarm.test != DATA or alarm.epoch != self.epoch or alarm.acting:
            return alarm
        large = self.test.acting(self.rules.psi, self.rules.min_rows)
        return alarm.grown(tuple(one.name for one in large[:MOST_TOLD]), self._told(large[:MOST_TOLD]))

    def _strong(self) -> list[FeatureEvidence]:
        """Return the features that are certain by themselves; where none is any more, the strongest."""
        features, bound = self.test.features, -math.log(self.rules.alpha)
        return [one for one in features if one.log_evidence >= bound] or list(features[:1])

    @staticmethod
    def _words(one: FeatureEvidence) -> str:
        return changed(one.name, one.direction, kind=one.kind)

    @staticmethod
    def _told(features: Sequence[FeatureEvidence]) -> tuple[Told, ...]:
        return tuple(
            Told(one.name, one.log_evidence, one.direction, one.psi, one.since_row + 1) for one in features
        )

    def _broken(self) -> list[tuple[str, str]]:
        """Return the ways in which rows are built otherwise that are an alarm."""
        most = max(FEW_CATEGORIES, math.ceil(CATEGORY_SHARE * self.schema_rows))
        return sorted(
            place for place, count in self.schema.items() if place[0] != "category" or count >= most
        )

    def _schema_words(self) -> str:
        words = [_BUILT.get(kind, "{} has changed").format(cut(name)) for kind, name in self._broken()]
        return said_of(SCHEMA, words, None) if words else ""

    # -- epochs ----------------------------------------------------------------------------------------

    def acknowledged(self, tests: Sequence[str]) -> DataWatch:
        """Return it with some of its tests begun anew: ``data``, ``schema``."""
        after = self
        if DATA in tests:
            after = replace(after, test=after.test.restarted(), sieve=Sieve())
        if SCHEMA in tests:
            after = replace(after, schema={}, schema_rows=0, schema_epoch=after.schema_epoch + 1)
        return after.from_here()

    def rebased(self, rows: int | None = None, data: object = None) -> DataWatch:
        """Return it begun anew against other rows in the same bins.

        Args:
            rows: how many of the last rows; None: all that are kept.
            data: instead, rows as a file has them.

        Raises:
            InvalidValue: they are too few, or not built like the reference.
        """
        test = self.test
        if data is None:
            test = test.rebased(rows)
        else:
            encoded = test.reference.encode(data)
            if lost := sorted({one.feature for one in encoded.alarms if one.kind in ("lost", "type")}):
                raise InvalidValue(f"the new reference is not built like the old one: {', '.join(map(shown, lost))}")
            kept = replace(test.restarted(), recent=encoded.bins, epoch=test.epoch)
            test = kept.rebased(len(encoded.bins))
        after = replace(self, test=test, sieve=Sieve(), schema={}, schema_rows=0)
        return replace(after, schema_epoch=after.schema_epoch + 1).from_here()

    # -- storing ---------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return it as what can be stored; the reference and the rules are stored apart."""
        head = {
            "sieve": self.sieve.plain,
            "schema": [[*place, count] for place, count in sorted(self.schema.items())],
            "schema_rows": self.schema_rows,
            "schema_epoch": self.schema_epoch,
        }
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.test.to_bytes()

    def stored(self, version: int, now: float) -> Stored:
        """Return it as the watch that is kept.

        Args:
            version: how often it was written.
            now: seconds since 1970.
        """
        return Stored(
            DATA, self.rules.endpoint, version, self.test.reference.digest, self.began.to_plain(),
            self.mark.to_plain(), self.start, self.to_bytes(), self.rules.plain, now,
        )  # fmt: skip

    @classmethod
    def from_stored(cls, stored: Stored, rules: DataRules, reference: Reference, *, start: bool = False) -> DataWatch:
        """Return what `stored` kept.

        Args:
            stored: the watch.
            rules: how rows are tested.
            reference: what they are compared with.
            start: as it began, instead of as it was left.

        Raises:
            InvalidValue: it is damaged, of another version, or of another reference.
        """
        began, mark = Watermark.from_plain(stored.began), Watermark.from_plain(stored.position)
        head, newline, body = (stored.start if start else stored.body).partition(b"\n")
        try:
            told = json.loads(head)
            schema = {(str(kind), str(name)): int(count) for kind, name, count in told["schema"]}
            rows, epoch = int(told["schema_rows"]), int(told["schema_epoch"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidValue(f"what is stored of the watch is damaged ({type(error).__name__})") from error
        if not newline:
            raise InvalidValue("what is stored of the watch is damaged: it ends early")
        test = DriftTest.from_bytes(body, reference)
        sieve = Sieve.from_plain(told["sieve"])
        return cls(rules, test, sieve, schema, rows, epoch, began, began if start else mark, stored.start)


_BUILT = {
    "lost": "{} is not there",
    "new": "{} is new",
    "type": "{} is of another type",
    "category": "{} has categories that the reference has not",
    "infinite": "{} is infinite at times",
}


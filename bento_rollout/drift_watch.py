"""`DataWatch`: the watch of what comes in: rows of the ledger become a test, alarms, and facts for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .alarms import Alarm, said_of
from .drift import DriftTest, Reference
from .drift_parts import AnyTest, Part, begun, facts_of, large_of, opened, parts_of, updated
from .errors import InvalidValue
from .featuring import unpacked, width_of
from .sifting import Sieve, stratum_of
from .store.drift_rows import Level, Point, Stored
from .store.ledger_drift import Page, Watched, watched
from .store.ledger_matured import Watermark
from .store.place import Place
from .values import shown

__all__ = ["DATA", "DataRules", "DataWatch", "Taken"]

DATA = "data"

MOST_TOLD = 5
"""Features that an alarm, and a point of a timeline, names."""

Taken = dict[str, dict[str, int]]
"""How many rows a read took, by test and by what became of them."""


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
        segment_rows: how many rows of the reference a segment needs for a test of its own.
    """

    endpoint: str
    alpha: float = 0.01
    psi: float = 0.1
    min_rows: int = 100
    every: int = 1
    dedupe: bool = False
    strata: bool = False
    seed: int = 0
    segment_rows: int = 300

    @property
    def plain(self) -> dict[str, Any]:
        """What a test is made by: with other settings it begins anew."""
        return {
            "alpha": self.alpha,
            "every": self.every,
            "dedupe": self.dedupe,
            "strata": self.strata,
            "seed": self.seed,
            "segment_rows": self.segment_rows,
        }


@dataclass(frozen=True, slots=True, eq=False)
class DataWatch:
    """What is known of an endpoint's rows. Immutable: `after` returns the next one.

    Attributes:
        rules: how they are tested.
        test: the test, with its reference; of segments too where the reference has some.
        sieve: which rows count.
        began, mark: where in the ledger it began, and up to where it was read.
        start: what it was there, as bytes.
    """

    rules: DataRules
    test: AnyTest
    sieve: Sieve = field(default_factory=Sieve)
    began: Watermark = field(default_factory=Watermark)
    mark: Watermark = field(default_factory=Watermark)
    start: bytes = field(default=b"", repr=False)

    key = DATA

    @classmethod
    def begun(cls, rules: DataRules, reference: Reference, mark: Watermark, *, epoch: int = 0) -> DataWatch:
        """Return the watch before its first row.

        Args:
            rules: how rows are tested.
            reference: what they are compared with.
            mark: where in the ledger it begins.
            epoch: how often it began before.
        """
        test = begun(reference, alpha=rules.alpha, seed=rules.seed, epoch=epoch, min_rows=rules.segment_rows)
        return cls(rules, test, mark=mark).from_here()

    def from_here(self) -> DataWatch:
        """Return it as it is, to be replayed from here."""
        return replace(self, began=self.mark, start=self.to_bytes())

    # -- rows ------------------------------------------------------------------------------------------

    def read(self, place: Place, until: int | None = None) -> tuple[DataWatch, Page, Taken]:
        """Return it after the next page of the ledger, the page, and what became of its rows.

        Raises:
            StoreUnreachable, StoreCorrupt: the ledger cannot be read; the same page comes again.
        """
        page = watched(place, self.rules.endpoint, self.mark, until=until)
        after, taken = self.after(page.rows)
        return replace(after, mark=page.after), page, taken

    def after(self, rows: Sequence[Watched]) -> tuple[DataWatch, Taken]:
        """Return it after more predictions, in their order, and what became of their rows."""
        rules, sieve, reference = self.rules, self.sieve, self.test.reference
        width, known = width_of(reference), reference.digest
        counts = {"tested": 0, "left_out": 0, "unreadable": 0, "other_reference": 0}
        blocks: list[Any] = []
        strata: list[int] = []
        for one in rows:
            try:
                digest, bins = unpacked(one.content, width)
            except InvalidValue:
                counts["unreadable"] += 1
                continue
            if digest != known:
                counts["other_reference"] += len(bins)
                continue
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
            test = updated(test, np.concatenate(blocks), of)
        found = replace(self, test=test, sieve=sieve)
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
        told = {"alpha": self.rules.alpha, **facts_of(self.test), **(facts or {})}
        evidence, bound = self.test.log_evidence, -math.log(self.rules.alpha)
        row = DATA, DATA, self.rules.endpoint, self.epoch, self.test.rows
        return (Level(*row, evidence, bound, told, now),)

    def points(self, now: float) -> tuple[Point, ...]:
        """Return the course as it is now."""
        top = {one.name: round(one.log_evidence, 3) for one in parts_of(self.test)[:MOST_TOLD]}
        return (Point(DATA, self.epoch, self.test.rows, now, self.test.log_evidence, top),)

    def found(self, name: Callable[[], str], revision: int, now: float) -> tuple[Alarm, ...]:
        """Return the alarm, once the evidence was enough.

        Args:
            name: makes an alarm's name.
            revision: the rollout's.
            now: seconds since 1970.
        """
        if not self.test.alarm:
            return ()
        parts, strong = parts_of(self.test), self._strong()
        since = None if strong[0].segment else strong[0].feature.since_row + 1
        words = said_of(DATA, [one.words for one in strong], since)
        features = tuple(one.told for one in parts[:MOST_TOLD])
        who = name(), DATA, DATA, self.rules.endpoint, self.epoch
        return (self.grown(Alarm(*who, now, self.test.rows, revision, words, features)),)

    def grown(self, alarm: Alarm) -> Alarm:
        """Return an alarm of this epoch with what is large by now."""
        if alarm.test != DATA or alarm.epoch != self.epoch or alarm.acting:
            return alarm
        large = large_of(self.test, self.rules.psi, self.rules.min_rows)[:MOST_TOLD]
        return alarm.grown(tuple(one.name for one in large), tuple(one.told for one in large))

    def _strong(self) -> list[Part]:
        """Return the features that are certain by themselves; where none is any more, the strongest."""
        parts, bound = parts_of(self.test), -math.log(self.rules.alpha)
        return [one for one in parts if one.log_evidence >= bound] or list(parts[:1])

    # -- epochs ----------------------------------------------------------------------------------------

    def acknowledged(self) -> DataWatch:
        """Return it begun anew against the same reference."""
        return replace(self, test=self.test.restarted(), sieve=Sieve()).from_here()

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
                raise InvalidValue(
                    f"the new reference is not built like the old one: {', '.join(map(shown, lost))}"
                )
            bins = encoded.bins
            test = (
                test.rebased_on(bins)
                if isinstance(test, DriftTest)
                else test.rebased_on(bins, encoded.segments)
            )
        return replace(self, test=test, sieve=Sieve()).from_here()

    # -- storing ---------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return it as what can be stored; the reference and the rules are stored apart."""
        head = json.dumps({"sieve": self.sieve.plain}, separators=(",", ":"))
        return head.encode() + b"\n" + self.test.to_bytes()

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
    def from_stored(
        cls, stored: Stored, rules: DataRules, reference: Reference, *, start: bool = False
    ) -> DataWatch:
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
            sieve = Sieve.from_plain(json.loads(head)["sieve"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidValue(f"what is stored of the watch is damaged ({type(error).__name__})") from error
        if not newline:
            raise InvalidValue("what is stored of the watch is damaged: it ends early")
        test = opened(body, reference)
        return cls(rules, test, sieve, began, began if start else mark, stored.start)

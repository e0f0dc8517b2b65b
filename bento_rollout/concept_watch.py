"""`ConceptWatch`: the watch of how wrong each model is: matured labels become tests and alarms."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .alarms import Alarm, Told, said_of
from .concept import Concept, ConceptBoard, ConceptRules
from .errors import InvalidValue
from .label_evidence import Mature
from .store.drift_rows import Level, Point, Stored
from .store.ledger_matured import GIVEN, Matured, Watermark, matured
from .store.place import Place

__all__ = ["CONCEPT", "ConceptSettings", "ConceptWatch"]

CONCEPT = "concept"

MOST = 1000
"""Predictions of one read."""

Taken = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class ConceptSettings:
    """How labels are read and tested. Immutable.

    Attributes:
        endpoint: whose predictions are looked at.
        label: the labels' name.
        matures: seconds after which a prediction counts.
        rules: how losses are tested.
        min_rows: over how many labels a loss must have risen before an alarm acts.
    """

    endpoint: str
    label: str
    matures: float
    rules: ConceptRules
    min_rows: int = 20

    @property
    def plain(self) -> dict[str, Any]:
        """What a test is made by: with other settings it begins anew."""
        rules = self.rules
        return {
            "label": self.label,
            "matures": self.matures,
            "loss": rules.loss,
            "alpha": rules.alpha,
            "min_coverage": rules.min_coverage,
            "seed": rules.seed,
            "reference": rules.reference,
            "reasons": sorted(one.value for one in GIVEN),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ConceptWatch:
    """What is known of the models of an endpoint. Immutable: `read` returns the next one.

    Attributes:
        settings: how labels are read and tested.
        board: the models, each with what its labels say.
        offsets: of each variant which model its test is of, and how many epochs it had with others.
        began, mark: where in the ledger it began, and up to where it was read.
        start: what it was there, as bytes.
    """

    settings: ConceptSettings
    board: ConceptBoard
    offsets: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    began: Watermark = field(default_factory=Watermark)
    mark: Watermark = field(default_factory=Watermark)
    start: bytes = field(default=b"", repr=False)

    key = CONCEPT

    @classmethod
    def begun(
        cls, settings: ConceptSettings, mark: Watermark, offsets: Mapping[str, tuple[str, int]] | None = None
    ) -> ConceptWatch:
        """Return the watch before its first label.

        Args:
            settings: how labels are read and tested.
            mark: where in the ledger it begins.
            offsets: as they were, so that no epoch has the number of another.
        """
        board = ConceptBoard(settings.rules, settings.endpoint)
        return cls(settings, board, dict(offsets or {}), mark=mark).from_here()

    def from_here(self) -> ConceptWatch:
        """Return it as it is, to be replayed from here."""
        return replace(self, began=self.mark, start=self.to_bytes())

    # -- labels ----------------------------------------------------------------------------------------

    def read(
        self, place: Place, digest_of: Callable[[Mature], str], now: float, until: int | None = None
    ) -> tuple[ConceptWatch, Matured, Taken]:
        """Return it after the next matured predictions, the page, and what became of them.

        Args:
            place: where the rollout's shared files lie.
            digest_of: which model of its variant made a prediction.
            now: seconds since 1970.
            until: the last place in the ledger that is looked at; None: the end.

        Raises:
            StoreUnreachable, StoreCorrupt: the ledger cannot be read; the same comes again.
        """
        most = MOST if until is None else max(1, min(MOST, until - self.mark.seq))
        page = matured(
            place,
            label=self.settings.label,
            after=self.mark,
            until=now,
            matures=self.settings.matures,
            most=most,
            reasons=GIVEN,
        )
        rows = [row for row in page.rows if row.endpoint == self.settings.endpoint]
        board = self.board.update(rows, digest_of)
        taken: Taken = {}
        for row in rows:
            counts = taken.setdefault(f"{CONCEPT}/{row.variant}", {})
            outcome = "labelled" if row.labelled else "unlabelled"
            counts[outcome] = counts.get(outcome, 0) + 1
        return replace(self, board=board, mark=page.after), page, taken

    def serving(self, granted: Mapping[str, str]) -> ConceptWatch:
        """Return it with the tests of those models that variants are now; others are kept, and not shown.

        Args:
            granted: digests by variant.
        """
        offsets = dict(self.offsets)
        for variant, digest in granted.items():
            known, before = offsets.get(variant, ("", 0))
            if (variant, digest) not in self.board.concepts or known == digest:
                continue
            last = self.board.concepts.get((variant, known))
            offsets[variant] = digest, before + (1 + _epoch(last) if known else 0)
        return self if offsets == self.offsets else replace(self, offsets=offsets)

    # -- what it says ----------------------------------------------------------------------------------

    def levels(self, now: float, facts: Mapping[str, Any] | None = None) -> tuple[Level, ...]:
        """Return how the tests of the models stand that variants are now.

        Args:
            now: seconds since 1970.
            facts: further ones, for people.
        """
        found = []
        for variant, digest, epoch, concept in self._current():
            test = concept.test
            told: dict[str, Any] = {
                "alpha": self.settings.rules.alpha,
                "digest": digest,
                "coverage": concept.coverage,
                "matured": concept.matured,
                "labelled": concept.labelled,
                "odd": concept.odd,
                "words": concept.words,
                **(facts or {}),
            }
            if test is None or not concept.covered:
                told["waits"] = concept.words
            if test is not None:
                told |= {"loss": test.kind, "before": test.reference_mean, "recent": test.recent_mean}
            rows, evidence = (0, 0.0) if test is None else (test.rows, test.log_evidence)
            bound = -math.log(self.settings.rules.alpha)
            name, endpoint = f"{CONCEPT}/{variant}", self.settings.endpoint
            found.append(Level(name, CONCEPT, endpoint, epoch, rows, evidence, bound, told, now))
        return tuple(found)

    def points(self, now: float) -> tuple[Point, ...]:
        """Return the course as it is now."""
        return tuple(
            Point(f"{CONCEPT}/{variant}", epoch, concept.test.rows, now, concept.test.log_evidence)
            for variant, _, epoch, concept in self._current()
            if concept.test is not None
        )

    def found(self, name: Callable[[], str], revision: int, now: float) -> tuple[Alarm, ...]:
        """Return the alarms that hold, one of each model whose loss has risen.

        Args:
            name: makes an alarm's name.
            revision: the rollout's.
            now: seconds since 1970.
        """
        alarms = []
        for variant, _, epoch, concept in self._current():
            test = concept.test
            if test is None or not test.alarm:
                continue
            told = (self._told(variant, concept),)
            words = said_of(CONCEPT, [f"the {test.kind} loss of {variant} is higher"], test.since_row + 1)
            alarm = Alarm(
                name(), f"{CONCEPT}/{variant}", CONCEPT, self.settings.endpoint, epoch, now, test.rows,
                revision, words, told,
            )  # fmt: skip
            alarms.append(self.grown(alarm))
        return tuple(alarms)

    def grown(self, alarm: Alarm) -> Alarm:
        """Return an alarm of this epoch with whether the change is large by now.

        A loss whose mean has risen over enough labels is: what it takes to be certain of is not small.
        """
        variant = alarm.test.partition("/")[2]
        for name, _, epoch, concept in self._current():
            if name == variant and epoch == alarm.epoch and (test := concept.test) is not None:
                mean, since = test.recent_mean, test.rows - test.since_row
                if mean is not None and mean > test.reference_mean and since >= self.settings.min_rows:
                    return alarm.grown((variant,), (self._told(variant, concept),))
        return alarm

    @staticmethod
    def _told(variant: str, concept: Concept) -> Told:
        test = concept.test
        assert test is not None  # it has an alarm
        return Told(variant, test.log_evidence, "higher", None, test.since_row + 1)

    def _current(self) -> list[tuple[str, str, int, Concept]]:
        """Return variant, digest, epoch from 1, and what its labels say, of the models that count now."""
        found = []
        for variant, (digest, before) in sorted(self.offsets.items()):
            concept = self.board.concepts.get((variant, digest))
            if concept is not None:
                found.append((variant, digest, before + 1 + _epoch(concept), concept))
        return found

    # -- epochs ----------------------------------------------------------------------------------------

    def acknowledged(self, tests: Sequence[str]) -> ConceptWatch:
        """Return it with some of its tests begun anew, named ``concept/VARIANT``."""
        return self._changed(tests, Concept.restarted)

    def rebased(self, tests: Sequence[str], rows: int | None = None) -> ConceptWatch:
        """Return it with some of its tests begun anew against their newest losses.

        Raises:
            InvalidValue: they are too few.
        """
        return self._changed(tests, lambda concept: concept.rebased(rows))

    def _changed(self, tests: Sequence[str], change: Callable[[Concept], Concept]) -> ConceptWatch:
        board = self.board
        for variant, digest, _, concept in self._current():
            if f"{CONCEPT}/{variant}" in tests:
                board = board.with_concept((variant, digest), change(concept))
        return replace(self, board=board).from_here()

    # -- storing ---------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return it as what can be stored; the settings are stored apart."""
        head = json.dumps({"offsets": {name: list(one) for name, one in self.offsets.items()}})
        return head.encode() + b"\n" + self.board.to_bytes()

    def stored(self, version: int, now: float) -> Stored:
        """Return it as the watch that is kept.

        Args:
            version: how often it was written.
            now: seconds since 1970.
        """
        return Stored(
            CONCEPT, self.settings.endpoint, version, "", self.began.to_plain(), self.mark.to_plain(),
            self.start, self.to_bytes(), self.settings.plain, now,
        )  # fmt: skip

    @classmethod
    def from_stored(cls, stored: Stored, settings: ConceptSettings, *, start: bool = False) -> ConceptWatch:
        """Return what `stored` kept.

        Args:
            stored: the watch.
            settings: how labels are read and tested.
            start: as it began, instead of as it was left.

        Raises:
            InvalidValue: it is damaged, or of another version.
        """
        began, mark = Watermark.from_plain(stored.began), Watermark.from_plain(stored.position)
        head, _, body = (stored.start if start else stored.body).partition(b"\n")
        try:
            offsets = {str(v): (str(d), int(n)) for v, (d, n) in json.loads(head)["offsets"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidValue(f"what is stored of the watch is damaged ({type(error).__name__})") from error
        board = ConceptBoard.from_bytes(body, settings.rules, settings.endpoint)
        return cls(settings, board, offsets, began, began if start else mark, stored.start)


def _epoch(concept: Concept | None) -> int:
    return 0 if concept is None or concept.test is None else concept.test.epoch

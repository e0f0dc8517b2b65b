"""What shadow calls came to, in sums that can be added in any order; bounded whatever is counted."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from .histogram import bin_of
from .records import Comparison, Difference, Relation, Series

__all__ = [
    "EXAMPLES",
    "MOST_NAMES",
    "OTHER",
    "Example",
    "Kind",
    "Load",
    "Sums",
    "Tally",
    "Things",
    "label_pair",
]

MOST_NAMES = 200
"""Names of one kind that are told apart: errors, fields, pairs of labels; the others are one."""

OTHER = "(other)"
"""What stands for the names that are not told apart."""

EXAMPLES = 20
"""Disagreements of one series that are kept: the most telling ones."""


LARGEST = 1e300
"""How telling a difference is at most: JSON knows no infinity."""


class Kind(str, Enum):
    """What is counted; errors, drops, fields and labels by name, durations by the bin of a histogram."""

    AGREED = "agreed"
    DIFFERED = "differed"
    ERROR = "error"
    DROPPED = "dropped"
    FIELD = "field"
    LABELS = "labels"
    CHAMPION_SECONDS = "champion_seconds"
    CANDIDATE_SECONDS = "candidate_seconds"

    def bounded(self, name: str, known: Collection[tuple[Kind, str]]) -> tuple[Kind, str]:
        """Return where a thing is counted among those that are known; one name too many: as `OTHER`.

        Names of errors, fields and labels come from what variants answer, and may be any number.
        """
        key = (self, name)
        if self in _OPEN and key not in known and sum(kind is self for kind, _ in known) >= MOST_NAMES:
            return self, OTHER
        return key


_OPEN = (Kind.ERROR, Kind.FIELD, Kind.LABELS)


class Example(NamedTuple):
    """One disagreement.

    Attributes:
        magnitude: how telling it is.
        time: when, in seconds since 1970.
        prediction_id: of which prediction.
        differences: the most telling ones; no payload but numbers and labels.
    """

    magnitude: float
    time: float
    prediction_id: str
    differences: tuple[Difference, ...]


class Load(NamedTuple):
    """What one shadow does in one worker now: calls that wait, that run, and those of them that hang."""

    pending: int = 0
    running: int = 0
    stuck: int = 0


Things = dict[tuple[Kind, str], int]
"""How often each thing was counted, by its kind and name."""


@dataclass(slots=True)
class Sums:
    """What was counted in a while.

    Attributes:
        counts: by series.
        examples: by series, at most `EXAMPLES` each.
        loads: by candidate.
    """

    counts: dict[Series, Things] = field(default_factory=dict)
    examples: dict[Series, list[Example]] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)

    def count(self, series: Series, kind: Kind, name: str = "", number: int = 1) -> None:
        """Add to one count; a name that is one too many is added to `OTHER`."""
        things = self.counts.setdefault(series, {})
        key = kind.bounded(name, things)
        things[key] = things.get(key, 0) + number

    def show(self, series: Series, examples: Iterable[Example]) -> None:
        """Keep the most telling disagreements; of equally telling ones the newest."""
        known = self.examples.setdefault(series, [])
        known += examples
        if len(known) > EXAMPLES:
            known[:] = heapq.nlargest(EXAMPLES, known, key=lambda example: example[:2])

    def add(self, other: Sums) -> None:
        """Add what was counted elsewhere, or earlier; the loads of this one are the newer ones."""
        for series, things in other.counts.items():
            for (kind, name), number in things.items():
                self.count(series, kind, name, number)
        for series, examples in other.examples.items():
            self.show(series, examples)
        self.loads = {**other.loads, **self.loads}


class Tally:
    """Counts in one worker, on its event loop, until somebody takes the sums."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._told: dict[str, Load] = {}

    def compared(
        self,
        series: Series,
        comparison: Comparison,
        champion_seconds: float,
        candidate_seconds: float | None,
        prediction_id: str,
        now: float,
    ) -> None:
        """Count one comparison.

        Args:
            series: what it belongs to.
            comparison: how the two answers relate.
            champion_seconds, candidate_seconds: how long they took; None: there was no answer.
            prediction_id: of which prediction.
            now: seconds since 1970.
        """
        count = self._sums.count
        if comparison.relation is Relation.NOT_COMPARABLE:
            count(series, Kind.ERROR, comparison.error or OTHER)
        else:
            agrees = comparison.relation is Relation.AGREE
            count(series, Kind.AGREED if agrees else Kind.DIFFERED)
            if not agrees:
                shown = comparison.differences
                telling = comparison.magnitude if math.isfinite(comparison.magnitude) else LARGEST
                self._sums.show(series, [Example(telling, now, prediction_id, shown)])
        for path in comparison.fields:
            count(series, Kind.FIELD, path)
        for champion, candidate in comparison.labels:
            count(series, Kind.LABELS, label_pair(champion, candidate))
        if candidate_seconds is not None:
            count(series, Kind.CHAMPION_SECONDS, str(bin_of(champion_seconds)))
            count(series, Kind.CANDIDATE_SECONDS, str(bin_of(candidate_seconds)))

    def dropped(self, series: Series, reason: str, number: int) -> None:
        """Count calls that were not shadowed."""
        self._sums.count(series, Kind.DROPPED, reason, number)

    def load(self, candidate: str, load: Load) -> None:
        """Note what a shadow does now."""
        if self._told.get(candidate) != load:
            self._told[candidate] = self._sums.loads[candidate] = load

    def take(self) -> Sums | None:
        """Return what was counted since the last time, and begin anew; None: nothing was."""
        sums, self._sums = self._sums, Sums()
        return sums if sums.counts or sums.loads else None

    def give_back(self, sums: Sums) -> None:
        """Take back sums that could not be written."""
        self._sums.add(sums)


def label_pair(champion: str, candidate: str) -> str:
    """Return the name under which a pair of labels is counted."""
    return json.dumps([champion, candidate], ensure_ascii=False)

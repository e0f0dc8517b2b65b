"""What shadow calls came to, in sums that can be added in any order; bounded whatever is counted."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from .eras import Series
from .histogram import bin_of
from .records import Comparison, Difference, Relation

__all__ = [
    "EXAMPLES",
    "MOST_NAMES",
    "OTHER",
    "Example",
    "Kind",
    "Load",
    "Seen",
    "Sums",
    "Tally",
    "Things",
    "label_pair",
    "safe",
    "summed",
]

MOST_NAMES = 200
"""Names of one kind that are told apart: errors, fields, pairs of labels; the others are one."""

OTHER = "(other)"
"""What stands for the names that are not told apart."""

EXAMPLES = 20
"""Disagreements of one series that are kept: the most telling ones."""


LONGEST = 200
"""Letters of a name."""

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

    def bounded(self, name: str, known: Collection[str]) -> str:
        """Return the name under which a thing is counted, given those of its kind; one too many: `OTHER`.

        Names of errors, fields and labels come from what variants answer, and may be any number.
        """
        return OTHER if self in _OPEN and name not in known and len(known) >= MOST_NAMES else name


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


Things = dict[Kind, dict[str, int]]
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
        things = self.counts.setdefault(series, {}).setdefault(kind, {})
        name = kind.bounded(name, things)
        things[name] = things.get(name, 0) + number

    def show(self, series: Series, examples: Iterable[Example]) -> None:
        """Keep the most telling disagreements; of equally telling ones the newest."""
        known = self.examples.setdefault(series, [])
        known += examples
        if len(known) > EXAMPLES:
            known[:] = heapq.nlargest(EXAMPLES, known, key=lambda example: example[:2])

    def add(self, other: Sums) -> None:
        """Add what was counted elsewhere, or earlier; the loads of this one are the newer ones."""
        for series, things in other.counts.items():
            for kind, names in things.items():
                for name, number in names.items():
                    self.count(series, kind, name, number)
        for series, examples in other.examples.items():
            self.show(series, examples)
        self.loads = {**other.loads, **self.loads}


@dataclass(frozen=True, slots=True)
class Seen:
    """One call of a shadow, or several rows of one, and when they were.

    Attributes:
        predictions: the ids, one for each comparison.
        champion_seconds, candidate_seconds: how long the answers took; None: there was none.
        time: seconds since 1970.
    """

    predictions: Sequence[str]
    champion_seconds: float
    candidate_seconds: float | None
    time: float


def summed(series: Series, comparisons: Sequence[Comparison], seen: Seen) -> Sums:
    """Return the sums of some comparisons; called in a thread: there may be very many."""
    sums, agreed, examples = Sums(), 0, list[Example]()
    for prediction, comparison in zip(seen.predictions, comparisons, strict=False):
        if comparison.relation is Relation.AGREE:
            agreed += 1
        elif comparison.relation is Relation.DIFFER:
            sums.count(series, Kind.DIFFERED)
            examples.append(_example(comparison, prediction, seen.time))
        else:
            sums.count(series, Kind.ERROR, safe(comparison.error or OTHER))
        for path in comparison.fields:
            sums.count(series, Kind.FIELD, safe(path))
        for champion, candidate in comparison.labels:
            sums.count(series, Kind.LABELS, label_pair(champion, candidate))
        if len(examples) > _MANY:
            sums.show(series, examples)
            examples.clear()
    if agreed:
        sums.count(series, Kind.AGREED, number=agreed)
    if examples:
        sums.show(series, examples)
    if seen.candidate_seconds is not None:
        calls = min(len(seen.predictions), len(comparisons))
        sums.count(series, Kind.CHAMPION_SECONDS, str(bin_of(seen.champion_seconds)), calls)
        sums.count(series, Kind.CANDIDATE_SECONDS, str(bin_of(seen.candidate_seconds)), calls)
    return sums


def _example(comparison: Comparison, prediction: str, time: float) -> Example:
    told = tuple(
        Difference(safe(one.path), one.kind, safe(one.champion), safe(one.candidate), _finite(one.magnitude))
        for one in comparison.differences
    )
    return Example(_finite(comparison.magnitude), time, prediction, told)


def _finite(magnitude: float) -> float:
    return magnitude if math.isfinite(magnitude) else LARGEST


class Tally:
    """Adds up in one worker, on its event loop, until somebody takes the sums."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._told: dict[str, Load] = {}

    def add(self, sums: Sums) -> None:
        """Add what comparisons came to; or take back sums that could not be written."""
        self._sums.add(sums)

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


def label_pair(champion: str, candidate: str) -> str:
    """Return the name under which a pair of labels is counted."""
    return json.dumps([safe(champion), safe(candidate)], ensure_ascii=False)


def safe(text: str) -> str:
    """Return text that every store and page can hold, not too long; what is no Unicode is written out."""
    return text[:LONGEST].encode("utf-8", "backslashreplace").decode()


_MANY = 1000
"""Examples among which the most telling ones are chosen at once."""

"""`Hand`: what the owner of the watch for drift has in hand, and what of it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .alarms import Alarm
from .concept_watch import CONCEPT, ConceptSettings, ConceptWatch
from .drift_watch import DataRules, DataWatch, Taken
from .errors import InvalidValue
from .schema_watch import SCHEMA, SchemaWatch
from .store.drift_rows import Stored

if TYPE_CHECKING:
    from .drift import Reference

__all__ = ["Hand", "Watch", "add", "opened"]

Watch = DataWatch | SchemaWatch | ConceptWatch


@dataclass(slots=True)
class Hand:
    """What the owner has in hand.

    Attributes:
        watches: as they are now, and ``kept``: as they were written down last, with their ``versions``.
        alarms: those that are latched, by their names.
        ended: the epochs of tests whose alarm a person has ended.
        pointed: when the timelines were written last.
        written: when the watches were written last, and ``pause``: for how many seconds that is enough.
        taken: what was taken since.
    """

    watches: dict[str, Watch] = field(default_factory=dict)
    kept: dict[str, Watch] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    ended: frozenset[tuple[str, int]] = frozenset()
    pointed: float = 0.0
    written: float = 0.0
    pause: float = 0.0
    taken: Taken = field(default_factory=dict)

    def take(self, taken: Taken) -> None:
        """Add what a page came to."""
        add(self.taken, taken)

    @property
    def changed(self) -> list[Watch]:
        """The watches of which something is new."""
        return [watch for key, watch in self.watches.items() if watch.mark != self.kept[key].mark]

    @property
    def epochs(self) -> frozenset[tuple[str, int]]:
        """The epochs of tests that found their alarm."""
        return self.ended | {(one.test, one.epoch) for one in self.alarms.values()}


def add(whole: Taken, more: Taken) -> None:
    """Add to counts."""
    for test, counts in more.items():
        mine = whole.setdefault(test, {})
        for name, count in counts.items():
            mine[name] = mine.get(name, 0) + count


def opened(
    stored: Stored,
    data: DataRules | None,
    concept: ConceptSettings | None,
    reference: Reference | None,
    *,
    start: bool = False,
) -> Watch:
    """Return a watch as it was left.

    Args:
        stored: the watch.
        data, concept: how it tests.
        reference: what rows are compared with.
        start: as it began, instead.

    Raises:
        InvalidValue: it is damaged, of another version, or of another reference.
    """
    if stored.key == SCHEMA:
        return SchemaWatch.from_stored(stored)
    if stored.key == CONCEPT and concept is not None:
        return ConceptWatch.from_stored(stored, concept, start=start)
    if data is None or reference is None:
        raise InvalidValue(f"what the watch {stored.key!r} is made by is not known")
    return DataWatch.from_stored(stored, data, reference, start=start)

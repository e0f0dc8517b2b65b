"""`Hand`: what the owner of the watch for drift has in hand, and what of it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field

from .alarms import Alarm
from .concept_watch import ConceptWatch
from .drift_watch import DataWatch, Taken
from .schema_watch import SchemaWatch

__all__ = ["Hand", "Watch", "add"]

Watch = DataWatch | ConceptWatch


@dataclass(slots=True)
class Hand:
    """What the owner has in hand.

    Attributes:
        watches: as they are now, and ``kept``: as they were written down last, with their ``versions``.
        schema: how rows are built, as it was written down last.
        alarms: those that are latched, by their names.
        pointed: when the timelines were written last.
        taken: what this look took.
    """

    watches: dict[str, Watch] = field(default_factory=dict)
    kept: dict[str, Watch] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    schema: SchemaWatch | None = None
    alarms: dict[str, Alarm] = field(default_factory=dict)
    pointed: float = 0.0
    taken: Taken = field(default_factory=dict)

    def take(self, taken: Taken) -> None:
        """Add what a page came to."""
        add(self.taken, taken)

    @property
    def changed(self) -> list[Watch]:
        """The watches of which something is new."""
        return [watch for key, watch in self.watches.items() if watch.mark != self.kept[key].mark]

    @property
    def epochs(self) -> set[tuple[str, int]]:
        """The epochs of tests that found their alarm."""
        return {(one.test, one.epoch) for one in self.alarms.values()}


def add(whole: Taken, more: Taken) -> None:
    """Add to counts."""
    for test, counts in more.items():
        mine = whole.setdefault(test, {})
        for name, count in counts.items():
            mine[name] = mine.get(name, 0) + count

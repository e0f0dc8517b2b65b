"""What was found to differ, as it is found: the most telling differences, and no more than a few."""

from __future__ import annotations

from bisect import insort
from typing import Any

from .comparing import Step, as_path
from .kinds import described
from .records import Comparison, Difference, Relation

__all__ = ["ABSENT", "AGREE", "MOST_DIFFERENCES", "MOST_FIELDS", "MOST_LABELS", "RANK", "Findings", "Place"]

MOST_DIFFERENCES, MOST_FIELDS, MOST_LABELS = 10, 32, 256
"""What one comparison holds at most."""

AGREE = Comparison(Relation.AGREE)

Place = tuple[Step, ...]
"""The steps that lead to a part of an answer."""

ABSENT = "absent"
"""What stands where one of the answers has nothing."""

MOST_LETTERS = 500
"""Letters of a path that are shown."""

RANK = ("type", "shape", "nan")
"""Which error is told when there are several; the first."""


class Findings:
    """Collects what differs between two answers."""

    def __init__(self) -> None:
        self._sample: list[Difference] = []
        self._fields: dict[str, None] = {}
        self._errors: set[str] = set()
        self._known: set[Place] = set()
        self._found = False

    def add(
        self,
        place: Place,
        kind: str,
        champion: str,
        candidate: str,
        magnitude: float = 1.0,
        *,
        error: str | None = None,
    ) -> None:
        """Note a difference, in words without payload; an error says that it makes answers incomparable."""
        self._found = True
        if error:
            self._errors.add(error)
        self._add_field(place)
        if self._takes(magnitude):
            difference = Difference(_path(place), kind, champion, candidate, magnitude)
            insort(self._sample, difference, key=lambda other: -other.magnitude)
            del self._sample[MOST_DIFFERENCES:]

    def _takes(self, magnitude: float) -> bool:
        return len(self._sample) < MOST_DIFFERENCES or magnitude > self._sample[-1].magnitude

    def _add_field(self, place: Place) -> None:
        if len(self._fields) < MOST_FIELDS:
            field = tuple(None if isinstance(step, int) else step for step in place)
            if field not in self._known:
                self._known.add(field)
                self._fields[_path(field).replace("[*]", "[]")] = None

    def value(self, place: Place, champion: Any, candidate: Any, magnitude: float = 1.0) -> None:
        """Note that other values stand at a place."""
        words = (described(champion), described(candidate)) if self._takes(magnitude) else ("", "")
        self.add(place, "value", *words, magnitude)

    def comparison(self, labels: tuple[tuple[str, str], ...] = ()) -> Comparison:
        """Return what was found."""
        if not self._found:
            return Comparison(Relation.AGREE, labels=labels) if labels else AGREE
        error = next((word for word in RANK if word in self._errors), None)
        relation = Relation.NOT_COMPARABLE if error else Relation.DIFFER
        return Comparison(relation, error, tuple(self._sample), tuple(self._fields), labels)


def _path(place: Place) -> str:
    path = as_path(place)
    return path if len(path) <= MOST_LETTERS else path[: MOST_LETTERS - 1] + "…"

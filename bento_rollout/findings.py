"""What was found to differ, as it is found: the most telling differences, and no more than a few."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Collection, Mapping
from typing import Any

from .comparing import Step, as_path
from .kinds import Fields, described, step_of
from .records import Comparison, Difference, Relation

__all__ = [
    "ABSENT",
    "AGREE",
    "MOST_DIFFERENCES",
    "MOST_FIELDS",
    "MOST_LABELS",
    "RANK",
    "Findings",
    "Place",
    "Shown",
    "shown_steps",
]

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


ANY = "*"
"""What stands in a path for a key that may be payload, like a patient's name."""

MOST_NAMES = 32
"""Keys of a mapping that may be names of fields; one of more is a table by key."""

_NAME = re.compile(r"(?=.{1,40}\Z)[^\W\d]\w*")
_DIGIT = re.compile(r"\d")
_MOST_DIGITS = 4


def shown_steps(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> dict[Any, Step]:
    """Return by key what paths show of the keys of two mappings: the name of a field, or ``*``.

    Names that a model, a dataclass or a table declares are shown. Of other keys those are that look like
    names: letters, digits and underscores, not with a digit first, at most 40 of them and at most 4 digits.
    None is shown where the keys are a table's: more than 32, half of them or more unlike names, or each
    mapping with keys that the other lacks and fewer than half of all in both.

    >>> shown_steps({"score": 1, "Mary Ann": 2, "time": 3}, {"score": 1, "time": 3})
    {'score': 'score', 'Mary Ann': '*', 'time': 'time'}
    """
    every = {**ours, **theirs}
    declared = _declared(ours) | _declared(theirs)
    if len(declared) == len(every):
        return {key: step_of(key) for key in every}
    free = [key for key in every if key not in declared]
    names = declared if _is_table(free, ours, theirs) else {*declared, *filter(_is_name, free)}
    return {key: step_of(key) if key in names else ANY for key in every}


class Shown:
    """Remembers `shown_steps`: the mappings of one answer mostly have the same few keys."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], dict[Any, Step]] = {}

    def __call__(self, ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> dict[Any, Step]:
        """Return what `shown_steps` does."""
        plain = type(ours) is dict and type(theirs) is dict
        if not plain or max(len(ours), len(theirs)) > MOST_NAMES:
            return shown_steps(ours, theirs)
        keys = tuple(ours), tuple(theirs)
        if (found := self._known.get(keys)) is None:
            found = shown_steps(ours, theirs)
            if len(self._known) < _REMEMBERED:
                self._known[keys] = found
        return found


_REMEMBERED = 1000


def _declared(fields: Mapping[Any, Any]) -> set[Any]:
    return {key for key in fields if key not in fields.free} if isinstance(fields, Fields) else set()


def _is_table(free: Collection[Any], ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> bool:
    if len(free) > MOST_NAMES or 2 * sum(map(_is_name, free)) <= len(free):
        return True
    shared = sum(key in ours and key in theirs for key in free)
    lacking = any(key not in ours for key in free) and any(key not in theirs for key in free)
    return lacking and 2 * shared < len(free)


def _is_name(key: Any) -> bool:
    name = step_of(key)
    return _NAME.fullmatch(name) is not None and len(_DIGIT.findall(name)) <= _MOST_DIGITS


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
    path = as_path(place).replace(f'["{ANY}"]', f".{ANY}")
    return path if len(path) <= MOST_LETTERS else path[: MOST_LETTERS - 1] + "…"

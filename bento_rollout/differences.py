"""Two answers, part by part: where they are not alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from .closeness import Tolerance, as_array, group_of, near, relative, worst
from .comparing import Step
from .findings import ABSENT, MOST_DIFFERENCES, Findings, Place, Shown
from .kinds import Budget, Fields, Kind, described, has_equality, read, step_of
from .multisets import unmatched
from .records import Comparison

__all__ = ["Rules", "differences"]

Ignored = tuple[tuple[Step, ...], ...]
"""What is left of the ignored paths that lead through a place."""

_FEW = 32
"""Items of a list that are looked at one by one rather than as an array."""

_SEQUENCES = (Kind.LIST, Kind.TUPLE, Kind.ARRAY, Kind.SERIES)
_FIELDS = (Kind.MAPPING, Kind.MODEL)
_EQUAL = frozenset({str, bool, bytes, type(None)})
_SIMPLE = _EQUAL | {int}


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes two answers alike.

    Attributes:
        tolerance: how far numbers may be apart; None: they must be equal.
        loose: whether lists, tuples and arrays are alike, integers and floats, and models and mappings.
        strict: whether other types, other shapes and one-sided NaN make answers incomparable, and not unlike.
        ignore: paths that are left out.
    """

    tolerance: Tolerance | None = None
    loose: bool = True
    strict: bool = False
    ignore: Ignored = ()


def differences(champion: Any, candidate: Any, rules: Rules) -> Comparison:
    """Return how two answers relate, with the most telling differences.

    Raises:
        Beyond: they are too deep or too large to be looked through.
        Exception: whatever a part of an answer raises when it is compared or read.

    >>> found = differences({"score": 0.5}, {"score": 0.25}, Rules())
    >>> [(one.path, one.champion, one.candidate, one.magnitude) for one in found.differences]
    [('$.score', '0.5', '0.25', 0.5)]
    """
    walk = _Walk(rules)
    walk.pair(champion, candidate, (), rules.ignore)
    return walk.findings.comparison()


class _Walk:
    """Goes through two answers at once; each pair of parts is looked at once, so that circles end."""

    def __init__(self, rules: Rules) -> None:
        self.findings = Findings()
        self._rules, self._tolerance = rules, rules.tolerance
        self._budget, self._shown = Budget(), Shown()
        self._seen: dict[tuple[int, int, Ignored], tuple[Any, Any]] = {}

    def pair(self, champion: Any, candidate: Any, place: Place, ignored: Ignored) -> None:
        """Look at what stands at one place in both answers."""
        self._budget.spend(len(place))
        if champion is candidate or (
            type(champion) is type(candidate) and type(champion) in _SIMPLE and champion == candidate
        ):
            return
        (ours, first), (theirs, second) = self._read(champion), self._read(candidate)
        if ours is Kind.NUMBER and theirs is Kind.NUMBER:
            self._numbers(first, second, place)
        elif not self._alike(ours, theirs):
            self._unlike(champion, candidate, place)
        elif self._is_new(champion, candidate, ignored):
            self._inside(ours, first, theirs, second, place, ignored)

    def _read(self, value: Any) -> tuple[Kind, Any]:
        kind, contents = read(value)
        if not self._rules.loose:
            return kind, contents
        if kind is Kind.ENUM:
            return self._read(contents)
        if kind is Kind.ARRAY and contents.ndim == 0 and contents.dtype.kind not in "mMV":
            return self._read(contents.item())
        return kind, contents

    def _alike(self, ours: Kind, theirs: Kind) -> bool:
        if ours is theirs:
            return True
        if not self._rules.loose:
            return False
        pair = {ours, theirs}
        return pair <= {*_SEQUENCES} or pair <= {*_FIELDS} or pair <= {Kind.FRAME, *_SEQUENCES}

    def _is_new(self, champion: Any, candidate: Any, ignored: Ignored) -> bool:
        key = (id(champion), id(candidate), ignored)
        if key in self._seen:
            return False
        self._seen[key] = (champion, candidate)  # kept, so that no id is used again
        return True

    def _inside(
        self, ours: Kind, first: Any, theirs: Kind, second: Any, place: Place, ignored: Ignored
    ) -> None:
        if ours in _FIELDS:
            self._fields(first, second, place, ignored)
        elif ours is theirs is Kind.FRAME:
            self._frames(first, second, place, ignored)
        elif ours in (Kind.LIST, Kind.TUPLE) and theirs in (Kind.LIST, Kind.TUPLE):
            self._lists(first, second, place, ignored)
        elif ours in (*_SEQUENCES, Kind.FRAME):
            self._mixed(ours, first, theirs, second, place, ignored)
        elif ours is Kind.SET:
            unmatched(first, second, place, self.findings, self._budget)
        elif ours is Kind.ENUM:
            self.pair(first, second, place, ignored)
        else:
            self._values(first, second, place)

    # -- leaves ----------------------------------------------------------------------------------------

    def _note(self, place: Place, kind: str, champion: Any, candidate: Any, error: str) -> None:
        words = described(champion), described(candidate)
        self.findings.add(place, kind, *words, error=error if self._rules.strict else None)

    def _unlike(self, champion: Any, candidate: Any, place: Place) -> None:
        """Note two parts of other kinds; where one is NaN, that is what is wrong."""
        if _is_nan(champion) or _is_nan(candidate):
            self._note(place, "value", champion, candidate, "nan")
        else:
            self._note(place, "type", champion, candidate, "type")

    def _numbers(self, champion: Any, candidate: Any, place: Place) -> None:
        if not self._rules.loose and _sort(champion) != _sort(candidate):
            self._note(place, "type", champion, candidate, "type")
        elif _is_nan(champion) or _is_nan(candidate):
            if not (_is_nan(champion) and _is_nan(candidate)):
                self._note(place, "value", champion, candidate, "nan")
        elif champion != candidate and (
            self._tolerance is None or not near(champion, candidate, self._tolerance)
        ):
            self.findings.value(place, champion, candidate, relative(champion, candidate))

    def _values(self, champion: Any, candidate: Any, place: Place) -> None:
        """Look at two texts, or at two objects that are nothing we know."""
        if not isinstance(champion, type(candidate)) and not isinstance(candidate, type(champion)):
            self._unlike(champion, candidate, place)
        elif not has_equality(champion):
            self.findings.add(place, "type", described(champion), described(candidate), error="type")
        elif not champion == candidate:  # noqa: SIM201 - the answers' own notion of equality
            self.findings.value(place, champion, candidate)

    # -- fields ----------------------------------------------------------------------------------------

    def _fields(
        self, champion: Mapping[Any, Any], candidate: Mapping[Any, Any], place: Place, ignored: Ignored
    ) -> None:
        ours, theirs = self._named(champion), self._named(candidate)
        for key, shown in self._shown(ours, theirs).items():
            rest = _beyond(ignored, step_of(key))
            if rest is None:
                continue
            at = (*place, shown)
            if key not in theirs:
                self.findings.add(at, "missing", described(ours[key]), ABSENT)
            elif key not in ours:
                self.findings.add(at, "extra", ABSENT, described(theirs[key]))
            else:
                self.pair(ours[key], theirs[key], at, rest)

    def _named(self, fields: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return fields by name, as JSON has them, unless two of them have the same."""
        if not self._rules.loose or all(type(key) is str for key in fields):
            return fields
        kind = Fields if isinstance(fields, Fields) else dict
        named = kind((step_of(key), value) for key, value in fields.items())
        return named if len(named) == len(fields) else fields

    def _frames(self, champion: Any, candidate: Any, place: Place, ignored: Ignored) -> None:
        if len(champion) != len(candidate):
            self._note(place, "length", champion, candidate, "shape")
            return
        if not self._rules.loose:
            self.pair(champion.index.to_numpy(), candidate.index.to_numpy(), (*place, "(index)"), ignored)
        self._fields(_columns(champion), _columns(candidate), place, ignored)

    # -- lists and arrays ------------------------------------------------------------------------------

    def _lists(
        self, champion: Sequence[Any], candidate: Sequence[Any], place: Place, ignored: Ignored
    ) -> None:
        if not ignored and self._as_one(champion, candidate, place):
            return
        if len(champion) != len(candidate):
            self._note(place, "length", champion, candidate, "shape")
            if self._rules.strict:
                return
        for index, (ours, theirs) in enumerate(zip(champion, candidate, strict=False)):
            rest = _beyond(ignored, index)
            if rest is not None:
                self.pair(ours, theirs, (*place, index), rest)

    def _as_one(self, champion: Sequence[Any], candidate: Sequence[Any], place: Place) -> bool:
        """Look at all items of two lists at once, if they are of one simple type, or numbers."""
        if len(champion) != len(candidate) or (len(champion) < _FEW and not _is_nested(champion)):
            return False
        types = set(map(type, champion))
        if len(types) == 1 and types <= _EQUAL and types == set(map(type, candidate)):
            for index, (first, second) in enumerate(zip(champion, candidate, strict=True)):
                if first != second:
                    self.findings.value((*place, index), first, second)
            return True
        ours = as_array(champion, mixed=self._rules.loose)
        theirs = as_array(candidate, mixed=self._rules.loose) if ours is not None else None
        if ours is None or theirs is None or ours.shape != theirs.shape:
            return False
        if not self._rules.loose and ours.dtype.kind != theirs.dtype.kind:
            return False
        self._spots(ours, theirs, place)
        return True

    def _mixed(
        self, ours: Kind, first: Any, theirs: Kind, second: Any, place: Place, ignored: Ignored
    ) -> None:
        """Look at two of which at least one is an array, a series or a frame."""
        if not self._rules.loose and ours is Kind.SERIES:
            self.pair(first.index.to_numpy(), second.index.to_numpy(), (*place, "(index)"), ignored)
        first = first.to_numpy() if ours in (Kind.SERIES, Kind.FRAME) else first
        second = second.to_numpy() if theirs in (Kind.SERIES, Kind.FRAME) else second
        if not ignored:
            a = as_array(first, mixed=True) if ours in (Kind.LIST, Kind.TUPLE) else first
            b = as_array(second, mixed=True) if theirs in (Kind.LIST, Kind.TUPLE) else second
            if a is not None and b is not None:
                self._arrays(a, b, place)
                return
        self._listed(first, second, place, ignored)

    def _listed(self, champion: Any, candidate: Any, place: Place, ignored: Ignored) -> None:
        """Look at two arrays or lists item by item."""
        self._budget.spend(len(place), getattr(champion, "size", 0) + getattr(candidate, "size", 0))
        self.pair(_plain(champion), _plain(candidate), place, ignored)

    def _arrays(self, champion: Any, candidate: Any, place: Place) -> None:
        kinds = group_of(champion), group_of(candidate)
        if champion.shape != candidate.shape:
            self._note(place, "length", champion, candidate, "shape")
        elif not self._rules.loose and champion.dtype.kind != candidate.dtype.kind:
            self._note_dtypes(champion, candidate, place)
        elif "O" in kinds:
            self._listed(champion, candidate, place, ())
        elif kinds[0] != kinds[1]:
            self._note_dtypes(champion, candidate, place)
        elif kinds[0] == "V" and champion.dtype.names and candidate.dtype.names:
            self._fields(_parts(champion), _parts(candidate), place, ())
        elif kinds[0] == "V" and champion.dtype != candidate.dtype:
            self._note_dtypes(champion, candidate, place)
        else:
            self._spots(champion, candidate, place)

    def _note_dtypes(self, champion: Any, candidate: Any, place: Place) -> None:
        error = "type" if self._rules.strict else None
        self.findings.add(place, "type", str(champion.dtype)[:100], str(candidate.dtype)[:100], error=error)

    def _spots(self, champion: Any, candidate: Any, place: Place) -> None:
        spots, lone = worst(champion, candidate, self._tolerance, MOST_DIFFERENCES)
        error = "nan" if lone and self._rules.strict else None
        for spot in spots:
            words = described(champion[spot.index]), described(candidate[spot.index])
            self.findings.add((*place, *spot.index), "value", *words, spot.magnitude, error=error)


def _beyond(ignored: Ignored, step: Step) -> Ignored | None:
    """Return what is left of ignored paths after a step; None if one of them ends there."""
    if not ignored:
        return ()
    rest = tuple(path[1:] for path in ignored if path[0] is None or path[0] == step)
    return None if () in rest else rest


def _is_nan(value: Any) -> bool:
    kind, contents = read(value)
    if kind is Kind.ARRAY and contents.ndim == 0 and contents.dtype.kind in "fc":
        contents, kind = contents.item(), Kind.NUMBER
    return kind is Kind.NUMBER and bool(contents != contents)  # noqa: PLR0124 - only NaN is not itself


def _is_nested(items: Sequence[Any]) -> bool:
    return bool(items) and isinstance(items[0], (list, tuple))


def _sort(number: Any) -> str:
    """Return which sort of number one is: to be exactly the same, 1 is not 1.0."""
    return "whole" if isinstance(number, Integral) else type(number).__name__


def _plain(value: Any) -> Any:
    """Return an array as nested lists; times stay what they are."""
    if isinstance(value, (list, tuple)):
        return value
    return list(value) if value.dtype.kind in "mMV" and value.ndim else value.tolist()


def _parts(array: Any) -> Fields:
    return Fields((name, array[name]) for name in array.dtype.names)


def _columns(frame: Any) -> Fields:
    """Return a frame's columns by name; those of one name also by place."""
    names = list(frame.columns)
    if frame.columns.is_unique:
        return Fields((name, frame[name].to_numpy()) for name in names)
    return Fields((f"{name}#{at}", frame.iloc[:, at].to_numpy()) for at, name in enumerate(names))

"""Whether two answers agree: the comparators, and the doors that let nothing out but a `Comparison`."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from .closeness import Tolerance
from .comparing import Comparing, parse_path
from .differences import Rules, differences
from .duplicates import measured_duplicate
from .errors import InvalidValue
from .findings import AGREE, MOST_DIFFERENCES, MOST_FIELDS, MOST_LABELS
from .kinds import Beyond, Fields, Kind, class_of, read, step_of
from .labels import compare_labels
from .multisets import compare_sets
from .records import Comparison, Difference, Relation

__all__ = [
    "Comparator",
    "comparator",
    "compare",
    "compare_errors",
    "compare_items",
    "compare_rows",
    "one_refused",
]

Comparator = Callable[[Any, Any], Comparison]
"""Takes the champion's and the candidate's answer; it may raise, for `compare` guards it."""

_LONGEST = 200
"""Letters that a text of a user's own comparison may have."""

_MOST_TELLING = 1e300
"""How telling a difference of a user's own comparison is at most."""


def comparator(comparing: Comparing, function: Callable[..., Any] | None = None) -> Comparator:
    """Return what compares answers as a spec says.

    ========  ==========================================================================================
    exact     the same kind, shape, kind of dtype and values; NaN is equal to NaN; anything else differs
    close     numbers within the tolerance, wherever they stand, and all else equal; alike are lists,
              tuples and arrays, integers and floats, models and mappings. Another type, another shape or
              a one-sided NaN is not comparable (``type``, ``shape``, ``nan``)
    label     see `bento_rollout.labels.compare_labels`
    set       see `bento_rollout.multisets.compare_sets`
    json      as close, but another type or shape, a missing or an extra field is a difference like any other;
              ignored paths are left out
    function  the user's: it is called with copies of both answers and returns whether they agree (a bool),
              or a `Comparison`; anything else is not comparable (``TypeError``)
    ========  ==========================================================================================

    Args:
        comparing: the spec's.
        function: the user's callable, where the spec only says where it is.

    Raises:
        InvalidValue: the user's callable is not given.

    >>> comparator(Comparing("close"))([0.5, 1], [0.5, 1.0000001]).relation.value
    'agree'
    """
    if comparing.kind == "function":
        found = comparing.function if function is None else function
        if not callable(found):
            raise InvalidValue(f"comparator {comparing.function} is not imported: give its function, too")
        return _users(found)
    if comparing.kind == "label":
        return compare_labels
    if comparing.kind == "set":
        return compare_sets
    rules = _rules(comparing)
    return lambda champion, candidate: differences(champion, candidate, rules)


def _rules(comparing: Comparing) -> Rules:
    if comparing.kind == "exact":
        return Rules(loose=False)
    ignore = tuple(parse_path(path) for path in comparing.ignore)
    return Rules(Tolerance(comparing.rtol, comparing.atol), strict=comparing.kind == "close", ignore=ignore)


# -- the guard -------------------------------------------------------------------------------------------


def compare(comparator: Comparator, champion: Any, candidate: Any) -> Comparison:
    """Return how two answers relate; whatever the answers or a user's comparator raise is a result, too.

    What was raised makes them not comparable, with its class as the error; so does what is nested too deep
    (``depth``) or too large to be looked through (``size``).

    >>> compare(lambda champion, candidate: 1 / 0, 1, 1)  # doctest: +ELLIPSIS
    Comparison(relation=<Relation.NOT_COMPARABLE: 'not_comparable'>, error='ZeroDivisionError', ...)
    """
    try:
        return comparator(champion, candidate)
    except Beyond as limit:
        return _not_comparable(limit.error)
    except BaseException as error:  # noqa: BLE001 - a comparator may exit, or panic in Rust: it harms nobody;
        # it runs in a thread, where a KeyboardInterrupt is its own and of no person at a keyboard
        return _not_comparable(class_of(error))


def _not_comparable(error: str) -> Comparison:
    return Comparison(Relation.NOT_COMPARABLE, error)


def _users(function: Callable[..., Any]) -> Comparator:
    """Return a comparator of what a user's callable says: whether the answers agree, or a `Comparison`.

    It gets copies: others hold the same answers (the caller, a cache of the champion's, other shadows).
    """

    def called(champion: Any, candidate: Any) -> Comparison:
        found = function(*map(measured_duplicate, (champion, candidate)))
        if isinstance(found, Comparison):
            return _bounded(found)
        if isinstance(found, Coroutine):
            found.close()
        kind, verdict = read(found)
        if kind is Kind.ARRAY and verdict.ndim == 0 and verdict.dtype.kind == "b":
            kind, verdict = Kind.TRUTH, bool(verdict)
        if kind is not Kind.TRUTH:
            raise TypeError(f"a comparator returns a bool or a Comparison, not {type(found).__name__}")
        return AGREE if verdict else Comparison(Relation.DIFFER)

    return called


def _bounded(found: Comparison) -> Comparison:
    """Return a user's comparison, no larger than ours are.

    Raises:
        Exception: it is not made of what a comparison is made of.
    """
    if not isinstance(found.relation, Relation):
        raise TypeError(f"a comparison's relation is a Relation, not {type(found.relation).__name__}")
    return Comparison(
        found.relation,
        None if found.error is None else _text(found.error),
        tuple(_bounded_difference(one) for one in found.differences[:MOST_DIFFERENCES]),
        tuple(_text(field) for field in found.fields[:MOST_FIELDS]),
        tuple((_text(first), _text(second)) for first, second in found.labels[:MOST_LABELS]),
    )


def _bounded_difference(found: Difference) -> Difference:
    path, kind, ours, theirs = map(_text, (found.path, found.kind, found.champion, found.candidate))
    return Difference(path, kind, ours, theirs, _finite(float(found.magnitude)))


def _finite(magnitude: float) -> float:
    """Return a user's magnitude as a number that JSON has; NaN measures nothing."""
    return 1.0 if math.isnan(magnitude) else max(-_MOST_TELLING, min(magnitude, _MOST_TELLING))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a comparison is told in text, not in {type(value).__name__}")
    return str.__str__(value)[:_LONGEST]  # a plain text, whatever its class makes of it


# -- rows ------------------------------------------------------------------------------------------------


def compare_rows(comparator: Comparator, champion: Any, candidate: Any) -> list[Comparison]:
    """Return how two batches relate, row by row.

    A batch is a list, a tuple, an array (its first axis), or a pandas frame (a row is a mapping by column) or
    series. When the two do not have equally many rows, there is one comparison: not comparable (``shape``).

    >>> [found.relation.value for found in compare_rows(comparator(Comparing("exact")), [1, 2], [1, 3])]
    ['agree', 'differ']
    """
    try:
        ours, theirs = _rows(champion), _rows(candidate)
    except Beyond as limit:
        return [_not_comparable(limit.error)]
    except BaseException as error:  # noqa: BLE001 - a batch that cannot be read cannot be compared, as above
        return [_not_comparable(class_of(error))]
    if ours is None or theirs is None or len(ours) != len(theirs):
        return [_not_comparable("shape")]
    return [compare(comparator, first, second) for first, second in zip(ours, theirs, strict=True)]


def _rows(batch: Any) -> Sequence[Any] | None:
    kind, contents = read(batch)
    if kind is Kind.FRAME:
        names = [step_of(name) for name in contents.columns]
        if len(set(names)) < len(names):
            names = [f"{name}#{at}" for at, name in enumerate(names)]
        columns = [contents.iloc[:, at].to_numpy() for at in range(len(names))]
        if not columns:
            return [{} for _ in range(len(contents))]
        return [Fields(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if kind is Kind.SERIES:
        return contents.to_numpy()  # type: ignore[no-any-return]  # pandas' own
    if kind is Kind.ARRAY:
        return contents if contents.ndim else None
    return contents if kind in (Kind.LIST, Kind.TUPLE) else None


# -- streams ---------------------------------------------------------------------------------------------


def compare_items(
    comparator: Comparator,
    champion_items: Sequence[Any],
    candidate_items: Sequence[Any],
    *,
    champion_whole: bool,
    candidate_whole: bool,
) -> Comparison:
    """Return how two streams relate: they agree when they are equally long and all their items agree.

    When only the first items of a stream are there (it is not whole), only they count: it must begin as the
    other does, and must not be longer than a whole one.

    Streams of texts (or of bytes) whose chunks differ are also put together and compared as one text: where
    that agrees, the streams agree, however they are cut. Otherwise the differences are told chunk by chunk
    where the chunks are equally many, else as of one text.

    >>> whole = {"champion_whole": True, "candidate_whole": True}
    >>> compare_items(comparator(Comparing("exact")), ["to", "ken"], ["token"], **whole).relation.value
    'agree'
    """
    whole = (champion_whole, candidate_whole)
    return compare(
        lambda ours, theirs: _streams(comparator, ours, theirs, whole), champion_items, candidate_items
    )


def _streams(
    comparator: Comparator, ours: Sequence[Any], theirs: Sequence[Any], whole: tuple[bool, bool]
) -> Comparison:
    by_item = _compare_each(comparator, ours, theirs, whole)
    if by_item.relation is Relation.AGREE:
        return by_item
    first, second = _joined(ours, theirs), _joined(theirs, ours)
    if first is None or second is None:
        return by_item
    short = None if all(whole) else min(len(first), len(second))
    as_one = compare(comparator, first[:short], second[:short])
    if as_one.relation is Relation.AGREE:
        return as_one if _fit(len(first), len(second), whole) else by_item
    return by_item if len(ours) == len(theirs) else as_one


def _joined(items: Sequence[Any], others: Sequence[Any]) -> str | bytes | None:
    """Return a stream's chunks as one, when those of both streams are all text, or all bytes."""
    if all(isinstance(item, str) for part in (items, others) for item in part):
        return "".join(items)
    return (
        b"".join(items) if all(isinstance(item, bytes) for part in (items, others) for item in part) else None
    )


def _compare_each(
    comparator: Comparator, ours: Sequence[Any], theirs: Sequence[Any], whole: tuple[bool, bool]
) -> Comparison:
    """Compare two streams item by item, and put what was found together."""
    found = [compare(comparator, first, second) for first, second in zip(ours, theirs, strict=False)]
    places = [_below(one, index) for index, one in enumerate(found) if one.relation is not Relation.AGREE]
    if not _fit(len(ours), len(theirs), whole):
        length = Difference("$", "length", f"{len(ours)} items", f"{len(theirs)} items")
        places.append(Comparison(Relation.DIFFER, None, (length,), ("$",)))
    labels = tuple(pair for one in found for pair in one.labels)[:MOST_LABELS]
    if not places:
        return Comparison(Relation.AGREE, labels=labels)
    error = next((one.error for one in places if one.relation is Relation.NOT_COMPARABLE), None)
    differences = sorted((one for place in places for one in place.differences), key=_least_telling)
    fields = dict.fromkeys(field for place in places for field in place.fields)
    relation = Relation.DIFFER
    if any(one.relation is Relation.NOT_COMPARABLE for one in places):
        relation = Relation.NOT_COMPARABLE
    return Comparison(
        relation, error, tuple(differences[:MOST_DIFFERENCES]), tuple(fields)[:MOST_FIELDS], labels
    )


def _fit(ours: int, theirs: int, whole: tuple[bool, bool]) -> bool:
    """Whether two lengths can be those of equal streams; a part of one may be shorter than a whole one."""
    return (ours == theirs) or (ours < theirs and not whole[0]) or (theirs < ours and not whole[1])


def _below(found: Comparison, index: int) -> Comparison:
    """Return an item's comparison with the places that it has in the stream."""
    return replace(
        found,
        differences=tuple(
            replace(one, path=f"$[{index}]{one.path.removeprefix('$')}") for one in found.differences
        ),
        fields=tuple(f"$[]{field.removeprefix('$')}" for field in found.fields),
    )


def _least_telling(difference: Difference) -> float:
    return -difference.magnitude


# -- refusals --------------------------------------------------------------------------------------------


def compare_errors(champion_words: str, candidate_words: str) -> Comparison:
    """Return how two refusals of the caller's input relate: they agree if they say the same.

    Digits (a status) are told as they are, other words by their length: they may quote the input.

    >>> compare_errors("400", "422").differences[0].candidate
    '422'
    """
    if champion_words == candidate_words:
        return AGREE
    return _differ("value", _refusal(champion_words), _refusal(candidate_words))


def _differ(kind: str, champion: str, candidate: str) -> Comparison:
    return Comparison(Relation.DIFFER, None, (Difference("$", kind, champion, candidate),), ("$",))


def _refusal(words: str) -> str:
    plain = words.isascii() and words.isdecimal() and len(words) <= 3  # noqa: PLR2004 - a status
    return words if plain else f"text of {len(words)}"


def one_refused(which: str) -> Comparison:
    """Return the comparison of an answer with a refusal of the caller's input: they differ in kind.

    Args:
        which: who refused, ``champion`` or ``candidate``.

    >>> one_refused("candidate").differences[0].champion
    'answer'
    """
    by_champion = which == "champion"
    return _differ("type", *(("refusal", "answer") if by_champion else ("answer", "refusal")))

"""Collections as multisets: what one holds and the other does not, whatever the order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from .arrays import is_array
from .closeness import as_array
from .findings import ABSENT, MOST_DIFFERENCES, Findings, Place, shown_steps
from .kinds import Beyond, Budget, Fields, Kind, described, has_equality, read
from .records import Comparison

__all__ = ["compare_sets", "unmatched"]

_COLLECTIONS = (Kind.LIST, Kind.TUPLE, Kind.SET, Kind.ARRAY)


def compare_sets(champion: Any, candidate: Any) -> Comparison:
    """Compare two collections whose order means nothing; an item that is there twice counts twice.

    Mappings and models are looked into by field, and the first list on the way is the collection: what its
    items hold keeps its order. Lists, tuples, sets, arrays and series are alike, and so are 1 and 1.0.

    >>> compare_sets({"tags": ["a", "b"]}, {"tags": ["b", "a"]}).relation.value
    'agree'
    """
    findings = Findings()
    _walk(champion, candidate, (), findings, Budget())
    return findings.comparison()


def _walk(champion: Any, candidate: Any, place: Place, findings: Findings, budget: Budget) -> None:
    budget.spend(len(place))
    if champion is candidate:
        return
    (ours, first), (theirs, second) = _read(champion), _read(candidate)
    if ours in _COLLECTIONS and theirs in _COLLECTIONS:
        unmatched(first, second, place, findings, budget)
    elif ours is theirs is Kind.MAPPING:
        _walk_fields(first, second, place, findings, budget)
    elif ours in (*_COLLECTIONS, Kind.MAPPING) or theirs in (*_COLLECTIONS, Kind.MAPPING):
        findings.add(place, "type", described(champion), described(candidate), error="type")
    elif _canonical(first, budget) != _canonical(second, budget):
        findings.value(place, champion, candidate)


def _walk_fields(
    ours: Mapping[Any, Any], theirs: Mapping[Any, Any], place: Place, findings: Findings, budget: Budget
) -> None:
    for key, shown in shown_steps(ours, theirs).items():
        at = (*place, shown)
        if key not in theirs:
            findings.add(at, "missing", described(ours[key]), ABSENT)
        elif key not in ours:
            findings.add(at, "extra", ABSENT, described(theirs[key]))
        else:
            _walk(ours[key], theirs[key], at, findings, budget)


def _read(value: Any) -> tuple[Kind, Any]:
    """Return what a value is; a frame is its columns, a model its fields, an array needs a dimension."""
    kind, contents = read(value)
    if kind is Kind.ENUM:
        return _read(contents)
    if kind is Kind.FRAME:
        return Kind.MAPPING, Fields((name, contents[name]) for name in contents.columns)
    if kind is Kind.SERIES:
        return Kind.ARRAY, contents.to_numpy()
    if kind is Kind.ARRAY and contents.ndim == 0:
        return Kind.OBJECT, contents
    return (Kind.MAPPING if kind is Kind.MODEL else kind), contents


def unmatched(champion: Any, candidate: Any, place: Place, findings: Findings, budget: Budget) -> None:
    """Note the items of each collection that the other lacks."""
    missing, extra = _unmatched_numbers(champion, candidate) or _unmatched_forms(champion, candidate, budget)
    for item in missing[:MOST_DIFFERENCES]:
        findings.add((*place, None), "missing", described(item), ABSENT)
    for item in extra[:MOST_DIFFERENCES]:
        findings.add((*place, None), "extra", ABSENT, described(item))


def _unmatched_numbers(champion: Any, candidate: Any) -> tuple[list[Any], list[Any]] | None:
    """Return what only one of two collections of plain numbers holds; None if they are anything else."""
    ours, theirs = _numbers(champion), _numbers(candidate)
    if ours is None or theirs is None:
        return None
    import numpy as np

    if ours.shape == theirs.shape and np.array_equal(ours, theirs, equal_nan=True):
        return [], []
    values, places = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    counts = [
        np.bincount(part, minlength=values.size) for part in np.split(places.ravel(), [ours.size])
    ]  # what is in both cancels out
    surplus = counts[0] - counts[1]
    return values[surplus > 0].tolist(), values[surplus < 0].tolist()


def _numbers(items: Any) -> Any | None:
    array = items if is_array(items) else None
    if isinstance(items, (list, tuple)):
        array = as_array(items, mixed=True)
    return array if array is not None and array.ndim == 1 and array.dtype.kind in "iuf" else None


def _unmatched_forms(champion: Any, candidate: Any, budget: Budget) -> tuple[list[Any], list[Any]]:
    ours, theirs = _items(champion), _items(candidate)
    if _all_text(ours) and _all_text(theirs):
        return _surplus(Counter[Hashable](ours), Counter[Hashable](theirs))
    examples: dict[Hashable, Any] = {}
    missing, extra = _surplus(*(_counted(items, examples, budget) for items in (ours, theirs)))
    return [examples[form] for form in missing], [examples[form] for form in extra]


def _surplus(ours: Counter[Hashable], theirs: Counter[Hashable]) -> tuple[list[Any], list[Any]]:
    """Return what is oftener in one than in the other."""
    if dict.__eq__(ours, theirs):  # a counter's own equality is slow
        return [], []
    return list(ours - theirs), list(theirs - ours)


def _items(collection: Any) -> Sequence[Any]:
    """Return a collection's items; those of an array of times stay what they are."""
    if is_array(collection) and collection.dtype.kind not in "mM":
        return collection.tolist()  # type: ignore[no-any-return]  # it has at least one dimension
    return list(collection)


def _all_text(items: Sequence[Any]) -> bool:
    return set(map(type, items)) <= {str}


def _counted(items: Iterable[Any], examples: dict[Hashable, Any], budget: Budget) -> Counter[Hashable]:
    counts = Counter[Hashable]()
    for item in items:
        form = _canonical(item, budget)
        counts[form] += 1
        examples.setdefault(form, item)
    return counts


def _canonical(value: Any, budget: Budget, depth: int = 0) -> Hashable:  # noqa: PLR0911 - one for each kind
    """Return what is equal for equal values, and can be counted."""
    budget.spend(depth)
    kind, contents = read(value)
    if kind is Kind.TRUTH:
        return kind, contents  # true is not 1
    if kind is Kind.NUMBER:
        return contents if contents == contents else (kind, "nan")  # noqa: PLR0124 - only NaN is not itself
    if kind is Kind.ENUM:
        return _canonical(contents, budget, depth + 1)
    if kind in (Kind.LIST, Kind.TUPLE):
        return Kind.LIST, tuple(_canonical(item, budget, depth + 1) for item in contents)
    if kind is Kind.SET:
        return kind, frozenset(_canonical(item, budget, depth + 1) for item in contents)
    if kind in (Kind.MAPPING, Kind.MODEL, Kind.FRAME):
        pairs = contents.items()
        return Kind.MAPPING, frozenset((key, _canonical(item, budget, depth + 1)) for key, item in pairs)
    if kind in (Kind.ARRAY, Kind.SERIES):
        array = contents if kind is Kind.ARRAY else contents.to_numpy()
        if array.dtype.kind in "mM":
            return array.dtype.str, array.shape, array.tobytes()
        budget.spend(depth, array.size)
        return _canonical(array.tolist(), budget, depth + 1)
    if kind is Kind.OBJECT and not has_equality(value):
        raise Beyond("type")
    return contents  # type: ignore[no-any-return]  # what is not hashable is not comparable

"""Labels: what a classifier decided, read from its answer and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from .arrays import is_array, is_scalar
from .closeness import as_array
from .findings import MOST_DIFFERENCES, MOST_LABELS, RANK, Findings
from .kinds import Beyond, Kind, described, read, step_of
from .records import Comparison, Relation

__all__ = ["compare_labels", "label_in"]

DEEPEST = 8
"""Levels of an answer in which labels are looked for."""

LONGEST = 100
"""A longer text is no label, and is told by its length."""

_KEY = "label"


class _NoLabel(Exception):
    """An answer has no label.

    Args:
        error: ``type``, ``shape`` or ``nan``.
    """

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(error)


def compare_labels(champion: Any, candidate: Any) -> Comparison:
    """Compare the labels of two answers.

    ====================================================  =============================================
    an answer                                             its label
    ====================================================  =============================================
    text, a whole number, a truth value, a member         itself; ``1`` and ``"1"`` are alike
    floats in a list or an array                          the index of the greatest
    numbers in two or more dimensions, a frame of them    each row's: the index of the greatest in it
    an array or a series of texts, integers or truths     each row's: itself
    a list of labels, or of ``{label: …, score: …}``      the first
    a list of lists, or of mappings of labels to scores   each one's
    a mapping or a model with ``label``                   that
    a mapping of labels to scores                         the label of the greatest
    ====================================================  =============================================

    Not comparable are answers with other numbers of labels (``shape``), with NaN among the scores (``nan``)
    or without a label (``type``); nor single scores, the greatest of which is always the first (``shape``).

    >>> compare_labels([0.1, 0.7, 0.2], [0.3, 0.6, 0.1]).labels
    (('1', '1'),)
    >>> compare_labels({"cat": 0.4, "dog": 0.6}, "cat").labels
    (('dog', 'cat'),)
    """
    found, errors = [], set[str]()
    for answer in (champion, candidate):
        try:
            found.append(_labels(answer))
        except _NoLabel as error:
            errors.add(error.error)
    if errors:
        return Comparison(Relation.NOT_COMPARABLE, next(error for error in RANK if error in errors))
    (ours, shape), (theirs, other) = found
    if len(ours) != len(theirs):
        return Comparison(Relation.NOT_COMPARABLE, "shape")
    findings = Findings()
    for at in _unequal(ours, theirs):
        place = _place(at, shape if shape == other else (len(ours),))
        findings.add(place, "label", _shown(ours[at]), _shown(theirs[at]))
    pairs = zip(ours[:MOST_LABELS], theirs[:MOST_LABELS], strict=True)
    return findings.comparison(tuple((_shown(first), _shown(second)) for first, second in pairs))


def label_in(answer: Any) -> str | None:
    """Return the one label that an answer has, as `compare_labels` finds it; None: it has none, or several.

    >>> label_in({"cat": 0.4, "dog": 0.6}), label_in(7), label_in(["cat", "dog"]), label_in(0.5)
    ('dog', '7', 'cat', None)
    """
    try:
        labels, _ = _labels(answer)
    except (_NoLabel, Beyond):
        return None
    return str(labels[0]) if len(labels) == 1 else None


def _labels(value: Any, depth: int = 0) -> tuple[Sequence[Any], tuple[int, ...]]:
    """Return an answer's labels, and the shape that they have in it; of a single one none."""
    if depth > DEEPEST:
        raise Beyond("depth")
    kind, contents = read(value)
    if kind is Kind.ENUM:
        return _labels(contents, depth + 1)
    if (label := _simple(kind, contents)) is not None:
        return [label], ()
    if kind in (Kind.MAPPING, Kind.MODEL):
        return [_of_fields(contents, depth + 1)], ()
    if kind in (Kind.LIST, Kind.TUPLE):
        items = [read(item)[1] if is_scalar(item) else item for item in contents]
        return _of_list(items, depth + 1)
    if kind in (Kind.SERIES, Kind.FRAME):
        return _of_array(contents.to_numpy(), depth + 1)
    if kind is Kind.ARRAY:
        return _of_array(contents, depth + 1)
    raise _NoLabel("type")


def _simple(kind: Kind, contents: Any) -> str | None:
    """Return the label that a text, a whole number or a truth value is."""
    if kind is Kind.TEXT:
        return str(contents)
    if kind is Kind.TRUTH or (kind is Kind.NUMBER and isinstance(contents, Integral)):
        return described(contents)
    return None


def _of_fields(fields: Mapping[Any, Any], depth: int) -> str:
    if _KEY in fields:
        labels, shape = _labels(fields[_KEY], depth)
        if shape:
            raise _NoLabel("type")
        return str(labels[0])
    scores = {name: read(score) for name, score in fields.items()}
    if not scores or any(kind is not Kind.NUMBER for kind, _ in scores.values()):
        raise _NoLabel("type")
    if any(score != score for _, score in scores.values()):  # noqa: PLR0124 - only NaN is not itself
        raise _NoLabel("nan")
    best = max(score for _, score in scores.values())
    return min(step_of(name) for name, (_, score) in scores.items() if score == best)


def _of_list(items: list[Any], depth: int) -> tuple[Sequence[Any], tuple[int, ...]]:
    if not items:
        return [], (0,)
    array = as_array(items, mixed=True)
    if array is not None and (array.ndim > 1 or array.dtype.kind == "f"):
        return _of_array(array, depth)
    kind, first = read(items[0])
    in_rows = kind in (Kind.LIST, Kind.TUPLE, Kind.ARRAY)
    if not in_rows and (kind not in (Kind.MAPPING, Kind.MODEL) or _KEY in first):
        return _labels(items[0], depth)
    rows = [_labels(item, depth) for item in items]
    if any(shape for _, shape in rows):
        raise _NoLabel("shape")
    return [labels[0] for labels, _ in rows], (len(rows),)


def _of_array(array: Any, depth: int) -> tuple[Sequence[Any], tuple[int, ...]]:
    kind = array.dtype.kind
    if array.ndim == 0:
        if kind in "mMV":
            raise _NoLabel("type")
        return _labels(array.item(), depth)
    flat = array.ndim == 1 or array.shape[-1] == 1
    if kind in "biuf" and array.size and (not flat or kind == "f"):
        return _of_scores(array)
    if kind not in "biufUSTO" or not flat:
        if array.size == 0:
            return [], array.shape[:-1]
        raise _NoLabel("type")
    shape = array.shape if array.ndim == 1 else array.shape[:-1]
    if kind in "iu":
        return array.ravel(), shape
    labels = [_simple(*read(item)) for item in array.ravel().tolist()]
    if None in labels:
        raise _NoLabel("type")
    return labels, shape


def _of_scores(array: Any) -> tuple[Sequence[Any], tuple[int, ...]]:
    """Return the index of the greatest along the last axis."""
    import numpy as np

    if array.shape[-1] == 1:
        raise _NoLabel("shape")
    if np.isnan(array).any():
        raise _NoLabel("nan")
    best = array.argmax(axis=-1)
    labels: Any = np.atleast_1d(best).ravel()
    return labels, best.shape


def _unequal(ours: Sequence[Any], theirs: Sequence[Any]) -> list[int]:
    """Return the first places at which labels are not equal."""
    if is_array(ours) and is_array(theirs):
        return (ours != theirs).nonzero()[0][:MOST_DIFFERENCES].tolist()  # type: ignore[no-any-return]  # numpy's
    pairs = enumerate(zip(ours, theirs, strict=True))
    return [at for at, (first, second) in pairs if str(first) != str(second)][:MOST_DIFFERENCES]


def _place(at: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of the label at one place of all."""
    index: list[int] = []
    for size in reversed(shape):
        at, rest = divmod(at, size)
        index.insert(0, rest)
    return tuple(index)


def _shown(label: Any) -> str:
    return described(label) if isinstance(label, str) and len(label) > LONGEST else str(label)

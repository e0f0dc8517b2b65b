"""Rows as bin numbers: what is stored of them, and all that the tests see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .bins import CategoryBins, NumericBins, is_missing
from .embedding import Embedding
from .features import Column, Feature, numbers_of
from .schema import SchemaAlarm, SchemaKind

__all__ = ["Encoded", "Encoder", "Segments", "lengths_of", "matched"]

_AT_ONCE = 2**16
"""Comparisons with edges that are made at once: for few rows quicker than a search for each feature."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Rows as the tests see them.

    Attributes:
        bins: rows x tested features.
        alarms: in which ways the rows are built otherwise than those of the reference.
        refused: how many values were infinite, and counted as missing for it.
        segments: rows x columns of segments: which value of each, in its bins.
    """

    bins: NDArray[np.uint8]
    alarms: tuple[SchemaAlarm, ...]
    refused: int
    segments: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """A column whose values part the rows.

    Attributes:
        column: its name.
        bins: its values, rarest first.
        counts: values, other and missing ones x tested features x bins: how many rows of the reference lie
            there.
        rows: by value, how many rows the reference has.
    """

    column: str
    bins: CategoryBins
    counts: NDArray[np.int64]
    rows: NDArray[np.int64]

    def encode(self, columns: Mapping[str, Column], rows: int) -> NDArray[np.uint8]:
        """Return which value each row has."""
        column = columns.get(self.column)
        return self.bins.encode([None] * rows if column is None else column.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """How columns become bins: made once, for calls of one row too.

    Attributes:
        tested: the features that are tested.
        embeddings: where vectors lie, by column.
        segments: the columns whose values part the rows.
        edges: tested features x edges: those of numbers, with infinite ones where there are fewer.
    """

    tested: tuple[Feature, ...]
    embeddings: Mapping[str, Embedding]
    segments: Sequence[Segments]
    edges: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        features: Sequence[Feature],
        embeddings: Mapping[str, Embedding],
        segments: Sequence[Segments] = (),
    ) -> Encoder:
        """Return what encodes these features."""
        tested = tuple(feature for feature in features if not feature.skipped)
        all_edges = [each.bins.edges if isinstance(each.bins, NumericBins) else () for each in tested]
        edges = np.full((len(tested), max(map(len, all_edges), default=0)), np.inf)
        for place, found in enumerate(all_edges):
            edges[place, : len(found)] = found
        return cls(tested, embeddings, segments, edges)

    def places(self, names: Sequence[str]) -> list[int] | None:
        """Return the place of each feature's column where all of them are plain numbers; else None.

        Args:
            names: of all columns.
        """
        if self.segments or any(feature.kind != "numeric" for feature in self.tested):
            return None
        return [names.index(feature.column) for feature in self.tested]

    def encode(self, columns: Mapping[str, Column]) -> Encoded:
        """Return the bins of columns that are named as those of the reference."""
        rows = len(next(iter(columns.values()), ()))
        numbers = np.full((rows, len(self.tested)), np.nan)
        categories: dict[int, NDArray[np.uint8]] = {}
        alarms: list[SchemaAlarm] = []
        views: dict[str, dict[str, NDArray[np.float64]]] = {}
        for place, feature in enumerate(self.tested):
            column = columns.get(feature.column)
            if column is None and rows and _is_first(feature):
                alarms.append(SchemaAlarm("lost", feature.column, rows, "the rows have no such feature"))
            if isinstance(feature.bins, CategoryBins):
                values = [None] * rows if column is None else column.tolist()
                categories[place] = feature.bins.encode(values)
                alarms += _alarm("category", feature, feature.bins.unseen(values), "not in the reference")
            elif column is not None and feature.kind == "embedding":
                if feature.column not in views:
                    views[feature.column], wrong = _views(column, self.embeddings[feature.column])
                    alarms += _alarm(
                        "type", feature, wrong, "no vectors of that length; they count as missing"
                    )
                numbers[:, place] = views[feature.column][feature.view]
            elif column is not None:
                read = lengths_of if feature.kind == "text" else numbers_of
                numbers[:, place], wrong = read(column)
                what = "texts" if feature.kind == "text" else "numbers"
                alarms += _alarm("type", feature, wrong, f"no {what}; they count as missing")
        found = self.encode_numbers(numbers)
        for place, codes in categories.items():
            found.bins[:, place] = codes
        for each in self.segments if rows else ():
            if each.column not in columns and all(one.column != each.column for one in self.tested):
                alarms.append(SchemaAlarm("lost", each.column, rows, "the rows have no such column"))
        parts = [each.encode(columns, rows) for each in self.segments]
        segments = np.array(parts, dtype=np.uint8).reshape(len(parts), rows).T
        return replace(found, alarms=(*alarms, *found.alarms), segments=segments)

    def encode_numbers(self, numbers: NDArray[np.float64]) -> Encoded:
        """Return the bins of numbers: rows x tested features, NaN where one is missing."""
        rows, lanes = numbers.shape
        finite = np.isfinite(numbers)
        if rows * self.edges.size <= _AT_ONCE:
            bins = (numbers[:, :, None] >= self.edges).sum(axis=2, dtype=np.uint8)
        else:
            bins = np.empty(numbers.shape, dtype=np.uint8)
            for place in range(lanes):
                bins[:, place] = np.searchsorted(self.edges[place], numbers[:, place], side="right")
        bins = np.where(finite, bins + np.uint8(1), np.uint8(0))
        alarms: list[SchemaAlarm] = []
        if not finite.all():
            endless = np.isinf(numbers).sum(axis=0).tolist()
            for count, feature in zip(endless, self.tested, strict=True):
                if _is_first(feature):
                    alarms += _alarm("infinite", feature, count, "infinite numbers; they count as missing")
        refused = sum(alarm.count for alarm in alarms)
        return Encoded(bins, tuple(alarms), refused, np.empty((rows, 0), dtype=np.uint8))


def matched(
    columns: Mapping[str, Column], names: Sequence[str]
) -> tuple[dict[str, Column], tuple[SchemaAlarm, ...]]:
    """Return the columns by the reference's names, and an alarm for each that it has not.

    Columns without names of their own, as many as the reference has, are taken by their place.

    Raises:
        InvalidValue: when none is known.
    """
    unnamed = [f"feature_{place}" for place in range(len(columns))]
    if list(columns) == unnamed and len(columns) == len(names):
        return dict(zip(names, columns.values(), strict=True)), ()
    known = set(names)
    shared = {name: column for name, column in columns.items() if name in known}
    if columns and not shared:
        raise InvalidValue(
            f"these rows have none of the reference's features: {_some(list(columns))}, not {_some(names)}"
        )
    new = tuple(
        SchemaAlarm("new", name, len(column), "the reference has no such feature")
        for name, column in columns.items()
        if name not in shared and len(column)
    )
    return shared, new


def lengths_of(column: Column) -> tuple[NDArray[np.float64], int]:
    """Return how many characters each text has, and how many values are no texts: these count as missing.

    >>> lengths_of(np.array(["four", None, 4], dtype=object))
    (array([ 4., nan, nan]), 1)
    """
    if column.dtype.kind != "O":
        there = np.isfinite(column) if column.ndim == 1 else np.ones(len(column), dtype=bool)
        return np.full(len(column), np.nan), int(there.sum())
    found, wrong = np.full(len(column), np.nan), 0
    for place, value in enumerate(column.tolist()):
        if isinstance(value, str):
            found[place] = len(value)
        elif not is_missing(value):
            wrong += 1
    return found, wrong


def _views(column: Column, embedding: Embedding) -> tuple[dict[str, NDArray[np.float64]], int]:
    """Return the views of vectors, and how many rows have no such vector: they count as missing."""
    if column.ndim == 2 and column.dtype.kind == "f" and column.shape[1] == embedding.dimensions:  # noqa: PLR2004
        return embedding.views(column), 0
    missing = np.full((len(column), embedding.dimensions), np.nan)
    there = sum(not is_missing(value) for value in column.tolist())
    return embedding.views(missing), there


def _alarm(kind: SchemaKind, feature: Feature, rows: int, detail: str) -> list[SchemaAlarm]:
    return [SchemaAlarm(kind, feature.column, rows, detail)] if rows else []


def _is_first(feature: Feature) -> bool:
    """Whether a feature is the first one of its column: of a column with many views, one is told of."""
    return feature.view in {"value", "length", "distance"}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004 - enough to see

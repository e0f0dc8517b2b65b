"""Rows as bin numbers: what is stored of them, and all that the tests see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .bins import CategoryBins, NumericBins, is_missing
from .embedding import Embedding
from .features import Column, Feature, numbers_of
from .schema import SchemaAlarm

__all__ = ["Encoded", "Segments", "encode", "lengths_of", "matched"]


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


def encode(
    columns: Mapping[str, Column],
    features: Sequence[Feature],
    embeddings: Mapping[str, Embedding],
    segments: Sequence[Segments] = (),
) -> Encoded:
    """Return the bins of columns that are named as those of the reference."""
    rows = len(next(iter(columns.values()), ()))
    tested = [feature for feature in features if not feature.skipped]
    bins = np.empty((rows, len(tested)), dtype=np.uint8)
    alarms: list[SchemaAlarm] = []
    refused = 0
    vectors: dict[str, dict[str, NDArray[np.float64]]] = {}
    for place, feature in enumerate(tested):
        column = columns.get(feature.column)
        first = feature.view in {"value", "length", "distance"}  # a column of many views is told of once
        if column is None:
            column = np.full(rows, None, dtype=object)
            if first and rows:
                alarms.append(SchemaAlarm("lost", feature.column, rows, "the rows have no such feature"))
        if isinstance(feature.bins, CategoryBins):
            values = column.tolist()
            bins[:, place] = feature.bins.encode(values)
            if unseen := feature.bins.unseen(values):
                alarms.append(
                    SchemaAlarm("category", feature.column, unseen, "categories that the reference has not")
                )
            continue
        assert isinstance(feature.bins, NumericBins)
        if feature.kind == "embedding":
            if feature.column not in vectors:
                vectors[feature.column], wrong = _views(column, embeddings[feature.column])
                alarms += _wrong(
                    feature, wrong, f"no vectors of {embeddings[feature.column].dimensions} numbers"
                )
            numbers = vectors[feature.column][feature.view]
        else:
            numbers, wrong = lengths_of(column) if feature.kind == "text" else numbers_of(column)
            alarms += _wrong(feature, wrong, "no text" if feature.kind == "text" else "no numbers")
        bins[:, place] = feature.bins.encode(numbers)
        if first and (endless := int(np.isinf(numbers).sum())):
            refused += endless
            alarms.append(
                SchemaAlarm("infinite", feature.column, endless, "infinite numbers; they count as missing")
            )
    parts = [each.encode(columns, rows) for each in segments]
    return Encoded(bins, tuple(alarms), refused, np.array(parts, dtype=np.uint8).reshape(len(parts), rows).T)


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
    shared = {name: column for name, column in columns.items() if name in set(names)}
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


def _wrong(feature: Feature, rows: int, detail: str) -> list[SchemaAlarm]:
    return [SchemaAlarm("type", feature.column, rows, f"{detail}; they count as missing")] if rows else []


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004 - enough to see

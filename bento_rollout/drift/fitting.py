"""What is found out about a reference, once: the rows that give the edges, kinds of columns, and bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from ..values import shown
from .bins import CategoryBins, NumericBins, text_of
from .embedding import VIEWS, Embedding
from .encoding import lengths_of
from .features import KINDS, Column, Feature, Kind, numbers_of
from .uniforms import uniforms

__all__ = ["LEAST_ROWS", "dependence_of", "features_of", "split"]

LEAST_ROWS = 100
"""Rows that must be left to compare with."""

_FEW = 3
"""Values that a correlation of each with the next is taken of, at least."""

_MOST_DISTINCT = 50
"""Texts of more distinct values than this are free text where every second row has another one."""


def split(rows: int, edges_share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows that give the edges, drawn at random, and the others; each in its order.

    >>> edges, rest = split(8, 0.25, seed=0)
    >>> len(edges), len(rest)
    (2, 6)
    """
    order = np.argsort(uniforms(seed, 0, rows, 1).ravel(), kind="stable")
    edges = round(rows * edges_share)
    return np.sort(order[:edges]), np.sort(order[edges:])


def features_of(
    columns: Mapping[str, Column],
    edges: NDArray[np.intp],
    kinds: Mapping[str, Kind],
    bins: int,
    seed: int,
) -> tuple[tuple[Feature, ...], dict[str, Embedding]]:
    """Return the features of columns with their bins, and where embeddings lie."""
    _check(kinds, columns)
    features: list[Feature] = []
    embeddings: dict[str, Embedding] = {}
    for name, column in columns.items():
        kind = kinds[name] if name in kinds else _kind(column)
        if kind is None:
            features.append(Feature(name, "category", None, "neither numbers, texts nor vectors", name))
        elif kind == "embedding":
            embedding = _embedding(column, edges, name, seed)
            if embedding is None:
                features.append(Feature(name, kind, None, "no finite vectors", name))
                continue
            embeddings[name] = embedding
            values = embedding.views(column)
            features += [
                _numeric(f"{name}.{view}", kind, values[view], edges, bins, name, view) for view in VIEWS
            ]
        elif kind == "category":
            features.append(_category(name, column, edges))
        elif kind == "text":
            features.append(
                _numeric(f"{name}.length", kind, lengths_of(column)[0], edges, bins, name, "length")
            )
        else:
            features.append(_numeric(name, kind, numbers_of(column)[0], edges, bins, name, "value"))
    names = [feature.name for feature in features]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidValue(f"two features are called {twice[0]!r}; rename the column of that name")
    return tuple(features), embeddings


def dependence_of(columns: Mapping[str, Column], features: Sequence[Feature]) -> dict[str, float]:
    """Return Spearman's correlation of each row's value with the next row's, by numeric feature."""
    found = {}
    for feature in features:
        if feature.kind != "numeric" or feature.skipped:
            continue
        values, _ = numbers_of(columns[feature.column])
        present = values[np.isfinite(values)]
        if len(present) < _FEW:
            continue
        _, place, counts = np.unique(present, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
        before, after = ranks[:-1] - ranks[:-1].mean(), ranks[1:] - ranks[1:].mean()
        size = float(np.sqrt((before**2).sum() * (after**2).sum()))
        found[feature.name] = round(float((before * after).sum()) / size, 6) if size else 0.0
    return found


def _check(kinds: Mapping[str, Kind], columns: Mapping[str, Column]) -> None:
    """Refuse kinds of columns that are not there, and kinds that are none."""
    for name, wanted in kinds.items():
        if name not in columns:
            raise InvalidValue(f"kinds names {name!r}; the reference has no such column")
        if wanted not in KINDS:
            raise InvalidValue(f"the kind of {name!r} is {shown(wanted)}; it is one of {', '.join(KINDS)}")


def _kind(column: Column) -> Kind | None:
    """Return what a column seems to hold; None where it is nothing that can be tested."""
    if column.ndim == 2:  # noqa: PLR2004 - rows x dimensions
        return "embedding" if column.dtype.kind == "f" else None
    if column.dtype.kind == "f":
        return "numeric"
    texts = [value for value in column.tolist() if isinstance(value, (str, bool))]
    there = [text for value in column.tolist() if (text := text_of(value)) is not None]
    if not texts or len(texts) < len(there):
        return "category" if not there else None
    distinct = len(set(there))
    return "text" if distinct > _MOST_DISTINCT and 2 * distinct > len(there) else "category"


def _numeric(
    name: str,
    kind: Kind,
    values: NDArray[np.float64],
    edges: NDArray[np.intp],
    bins: int,
    column: str,
    view: str,
) -> Feature:
    """Return a feature of numbers, skipped where they are all missing, infinite or the same."""
    finite = values[np.isfinite(values)]
    why = ""
    if not np.isfinite(values[edges]).any():
        why = "nearly all missing" if len(finite) else "all missing"
        why = "all infinite or missing" if np.isinf(values).any() and not len(finite) else why
    elif finite.min() == finite.max() and len(finite) == len(values):
        why = "constant"
    return Feature(name, kind, None if why else NumericBins.fit(values[edges], bins), why, column, view)


def _category(name: str, column: Column, edges: NDArray[np.intp]) -> Feature:
    """Return a feature of categories, skipped where there is only one, or none."""
    values = column.tolist()
    texts = [text_of(value) for value in values]
    if all(text is None for text in texts):
        return Feature(name, "category", None, "all missing", name)
    if len(set(texts)) == 1:
        return Feature(name, "category", None, "constant", name)
    return Feature(name, "category", CategoryBins.fit(column[edges].tolist(), values), "", name)


def _embedding(column: Column, edges: NDArray[np.intp], name: str, seed: int) -> Embedding | None:
    if column.ndim != 2 or column.dtype.kind != "f":  # noqa: PLR2004 - rows x dimensions
        raise InvalidValue(f"column {name!r} holds no vectors of one length; an embedding needs them")
    if not np.isfinite(column[edges]).all(axis=1).any():
        return None
    return Embedding.fit(column[edges], seed)

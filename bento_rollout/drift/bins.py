"""Where a value lies: in one of a few bins, whose bounds are fixed before any row is looked at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue

__all__ = ["BINS", "CategoryBins", "NumericBins", "is_missing", "text_of"]

BINS = 16
"""Bins of a numeric feature: with more, a shift is found a few rows sooner, and the counts grow."""

MOST_CATEGORIES = 30
"""Categories that have a bin of their own; rarer ones share one."""

MOST_KNOWN = 1000
"""Categories that a reference remembers as seen; where it has more, none is told as new."""

_LONGEST = 200
"""Characters of a category that are looked at."""


@dataclass(frozen=True, slots=True)
class NumericBins:
    """Bins of numbers: the first is for missing values, which count as the lowest.

    Attributes:
        edges: rising; a bin holds what is at least the edge below it and less than the edge above it.
        missing: whether values were missing where the edges were taken from.

    >>> NumericBins((1.0, 2.0)).encode(np.array([0.5, 1.0, 7.0, math.nan])).tolist()
    [1, 2, 3, 0]
    """

    edges: tuple[float, ...]
    missing: bool = False

    @classmethod
    def fit(cls, values: NDArray[np.float64], bins: int = BINS) -> NumericBins:
        """Return bins that hold equally many of some values, as far as ties let them.

        Few distinct values have a bin each; a single one has its own, with bins below and above it.

        Args:
            values: numbers, with NaN for what is missing; at least one is a number.
            bins: how many, at most.

        >>> NumericBins.fit(np.array([0.0, 1.0, 1.0])).edges
        (1.0,)
        """
        present = np.sort(values[np.isfinite(values)])
        distinct = np.unique(present)
        if not len(distinct):
            raise InvalidValue("no finite value is there to take the edges of bins from")
        if len(distinct) == 1:
            edges = [float(distinct[0]), math.nextafter(float(distinct[0]), math.inf)]
        elif len(distinct) <= bins:
            edges = distinct[1:].tolist()
        else:
            places = np.arange(1, bins) * len(present) // bins
            edges = [e for e in np.unique(present[places]).tolist() if e > distinct[0]] or [
                float(distinct[1])
            ]
        return cls(tuple(edges), bool(np.isnan(values).any()))

    @property
    def size(self) -> int:
        """How many bins there are, that of missing values included."""
        return len(self.edges) + 2

    @property
    def single(self) -> bool:
        """Whether there are only two values: their mean says all."""
        return len(self.edges) == 1 and not self.missing

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, in words."""
        shown = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(shown)]
        return ("missing", f"below {shown[0]}", *between, f"{shown[-1]} or more")

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the bin of each value; NaN and infinite ones count as missing."""
        found = np.searchsorted(self.edges, values, side="right") + 1
        return np.where(np.isfinite(values), found, 0).astype(np.uint8)


def is_missing(value: object) -> bool:
    """Whether a value is none: None, NaN, or what pandas writes for them.

    >>> [is_missing(value) for value in (None, math.nan, 0.0, "")]
    [True, True, False, False]
    """
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in {"NAType", "NaTType"}


def text_of(value: object) -> str | None:
    """Return a category as text, None where it is missing: a whole number is the same as int, float and text.

    >>> text_of(1.0), text_of("1"), text_of(True), text_of(None)
    ('1', '1', 'True', None)
    """
    if isinstance(value, str):
        return value[:_LONGEST]
    if is_missing(value):
        return None
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value)[:_LONGEST]


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """Bins of categories by how frequent they were, rarest first, then all others, then missing ones.

    Attributes:
        values: the categories that have a bin of their own.
        known: others that the reference had; it is empty where it had too many to remember.
        open: whether it had too many to remember: nothing is told as new then.

    >>> bins = CategoryBins(("rare", "usual"))
    >>> bins.encode(["usual", "rare", "never seen", None]).tolist()
    [1, 0, 2, 3]
    """

    values: tuple[str, ...]
    known: tuple[str, ...] = ()
    open: bool = False
    _places: dict[str, int] = field(init=False, repr=False, compare=False)
    _seen: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {value: place for place, value in enumerate(self.values)})
        object.__setattr__(self, "_seen", frozenset((*self.values, *self.known)))

    @classmethod
    def fit(cls, edges_part: Sequence[object], whole: Sequence[object]) -> CategoryBins:
        """Return bins for the categories of a reference.

        Args:
            edges_part: the part that nothing is tested against: frequencies are taken from it.
            whole: all of the reference, for what is known.
        """
        counted = Counter(text for value in edges_part if (text := text_of(value)) is not None)
        seen = {text for value in whole if (text := text_of(value)) is not None}
        frequent = sorted(counted, key=lambda text: (-counted[text], text))[:MOST_CATEGORIES]
        others = sorted(seen - set(frequent))
        too_many = len(others) > MOST_KNOWN
        return cls(tuple(reversed(frequent)), () if too_many else tuple(others), too_many)

    @property
    def size(self) -> int:
        """How many bins there are, those of other and of missing values included."""
        return len(self.values) + 2

    @property
    def single(self) -> bool:
        """Whether there are only two values; never said of categories, which may be missing or new."""
        return False

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, in words."""
        return (*self.values, "other", "missing")

    def encode(self, values: Sequence[object]) -> NDArray[np.uint8]:
        """Return the bin of each value."""
        other, places = len(self.values), self._places
        texts = map(text_of, values)
        return np.array([other + 1 if t is None else places.get(t, other) for t in texts], dtype=np.uint8)

    def unseen(self, values: Sequence[object]) -> int:
        """Return how many values are categories that the reference did not have."""
        if self.open:
            return 0
        return sum(text is not None and text not in self._seen for text in map(text_of, values))

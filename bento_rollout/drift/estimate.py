"""How often a model is probably wrong, from how sure it is, while labels are not there yet: an estimate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValue

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["ErrorEstimate", "Estimated"]

BINS = 20
"""Bins of scores, at most."""

LEAST = 100
"""Labelled predictions that an estimate needs."""

EACH = 20
"""Labelled predictions that a bin needs on average: with fewer there are fewer bins."""

_FIELDS = {"edges", "rows", "losses"}


@dataclass(frozen=True, slots=True)
class Estimated:
    """What an estimate says of predictions without labels. It is no measurement.

    Attributes:
        mean: the estimated mean loss; of 0/1 losses the estimated error rate.
        expected: the mean loss of the labelled predictions by which it was calibrated.
        rows: how many predictions it is about; those without a score are not among them.
    """

    mean: float
    expected: float
    rows: int


@dataclass(frozen=True, slots=True)
class ErrorEstimate:
    """The mean loss by how sure the model was, learned from labelled predictions. Immutable.

    It answers: if the model were still as right as it was wherever it is as sure as it was, how often would
    it be wrong on these predictions? That is true when only the inputs changed (covariate shift).

    **It is blind to concept drift**: when the same inputs mean something else, the model is as sure as ever,
    and the estimate stays where it was while the true error rises. It is therefore shown beside what labels
    say and never instead of it: it raises and closes no alarm, and promotes nothing.

    Args:
        edges: the scores at which one bin ends and the next begins, in increasing order.
        rows: labelled predictions in each bin.
        losses: the sum of their losses.

    Raises:
        InvalidValue: they do not fit together.

    >>> import numpy as np
    >>> sure = np.linspace(0.5, 1.0, 1000)
    >>> estimate = ErrorEstimate.fit(sure, np.random.default_rng(1).random(1000) > sure)
    >>> found = estimate.of(np.full(50, 0.55))
    >>> 0.35 < found.mean < 0.55, 0.2 < found.expected < 0.3, found.rows
    (True, True, 50)
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        whole = len(self.rows) == len(self.losses) == len(self.edges) + 1 and sum(self.rows) > 0
        ordered = all(one < other for one, other in zip(self.edges, self.edges[1:], strict=False))
        if not whole or not ordered or not all(map(math.isfinite, (*self.edges, *self.losses))):
            raise InvalidValue(
                "these are no bins of scores: edges rise, and there is one bin more than edges"
            )

    @classmethod
    def fit(cls, scores: Iterable[float | None], losses: Iterable[float | None]) -> ErrorEstimate:
        """Learn it from labelled predictions.

        Args:
            scores: how sure the model was of each, from 0 to 1; pairs without one are left out.
            losses: how wrong each was (see `loss_of`); pairs without one are left out.

        Raises:
            InvalidValue: fewer than 100 pairs are left.
        """
        sure, lost = _floats(scores), _floats(losses)
        if len(sure) != len(lost):
            raise InvalidValue(f"{len(sure)} scores and {len(lost)} losses: each score needs its loss")
        known = np.isfinite(sure) & np.isfinite(lost)
        sure, lost = sure[known], lost[known]
        if len(sure) < LEAST:
            raise InvalidValue(
                f"{len(sure)} labelled predictions with a score: at least {LEAST} are needed for an estimate"
            )
        bins = min(BINS, len(sure) // EACH)
        edges = np.unique(np.quantile(sure, np.arange(1, bins) / bins))
        place = np.searchsorted(edges, sure, side="right")
        rows = np.bincount(place, minlength=len(edges) + 1)
        sums = np.bincount(place, weights=lost, minlength=len(edges) + 1)
        return cls(tuple(edges.tolist()), tuple(rows.tolist()), tuple(sums.tolist()))

    def of(self, scores: Iterable[float | None]) -> Estimated | None:
        """Return the estimate for predictions without labels; None: none of them has a score.

        A bin without labelled predictions counts as their mean does.
        """
        sure = _floats(scores)
        sure = sure[np.isfinite(sure)]
        if not len(sure):
            return None
        rows, losses = np.array(self.rows, float), np.array(self.losses)
        expected = float(losses.sum() / rows.sum())
        means = np.where(rows > 0, losses / np.maximum(rows, 1.0), expected)
        place = np.searchsorted(np.array(self.edges), sure, side="right")
        return Estimated(float(means[place].mean()), expected, len(sure))

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {"edges": list(self.edges), "rows": list(self.rows), "losses": list(self.losses)}

    @classmethod
    def from_plain(cls, told: object) -> ErrorEstimate:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it is something else.
        """
        if not isinstance(told, Mapping) or told.keys() != _FIELDS:
            raise InvalidValue(f"this is no estimate: the fields {sorted(_FIELDS)} are needed")
        try:
            edges, losses = (tuple(map(float, told[name])) for name in ("edges", "losses"))
            return cls(edges, tuple(map(_count, told["rows"])), losses)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidValue(f"this is no estimate: {type(error).__name__} in its fields") from error


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise InvalidValue("this is no estimate: a count of its rows is no whole number from 0")
    return value


def _floats(values: Iterable[float | None]) -> Array:
    """Return numbers as an array; None becomes NaN."""
    if not isinstance(values, (np.ndarray, Sequence)):
        values = list(values)
    return np.asarray(values, dtype=float).ravel()

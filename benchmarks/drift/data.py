"""The rows that streams are drawn from: real ones, their shifts, and what a real model makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["MOVED", "SIZE", "Floats", "Losses", "Shift", "losses", "table"]

Floats = NDArray[np.float64]

MOVED = 3
"""Features that are shifted, drawn anew for each stream."""

SIZE = 0.5
"""By so many standard deviations."""

TURNED = 0.795
"""The quantile of the worst concave points above which labels are turned round: about a fifth of the rows."""

_FEATURE = "mean concave points"


@dataclass(frozen=True, slots=True)
class Shift:
    """When and how fast features move.

    Attributes:
        after: quiet rows before it.
        over: rows until it is whole; 0: it is sudden.
        rows: rows that are looked at from its beginning on, at most.
    """

    after: int
    over: int
    rows: int

    def sizes(self) -> Floats:
        """Return how large it is at each row from its beginning on, in standard deviations."""
        if not self.over:
            return np.full(self.rows, SIZE)
        return SIZE * np.minimum(np.arange(1, self.rows + 1) / self.over, 1.0)


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss of each row before and after labels were turned round."""

    before: Floats
    after: Floats


@cache
def table() -> Floats:
    """Return the rows: 569 x 30."""
    return np.asarray(load_breast_cancer().data, dtype=np.float64)


@cache
def losses(kind: str) -> Losses:
    """Return the losses of a model that never saw the row that it answers (10-fold)."""
    data = load_breast_cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    sure = cross_val_predict(model, data.data, data.target, cv=folds, method="predict_proba")[:, 1]
    column = data.data[:, list(data.feature_names).index(_FEATURE)]
    turned = np.where(column > np.quantile(column, TURNED), 1 - data.target, data.target)
    return Losses(_losses(kind, sure, data.target), _losses(kind, sure, turned))


def _losses(kind: str, sure: Floats, labels: NDArray[np.int64]) -> Floats:
    if kind == "zero_one":
        return np.asarray((sure > 0.5) != labels, dtype=np.float64)
    return np.asarray(-np.log(np.maximum(np.where(labels == 1, sure, 1 - sure), 1e-12)))

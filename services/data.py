"""The breast-cancer data that ships with scikit-learn, split once and for all in two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

SEED = 20
HELD_OUT = 0.3


@dataclass(frozen=True)
class Patients:
    """Measurements of biopsies, one row each, and what the tumours turned out to be.

    Attributes:
        rows: (n, 30) measurements in the order of scikit-learn's ``feature_names``.
        malignant: (n,) the truth.
    """

    rows: NDArray[np.float64]
    malignant: NDArray[np.bool_]


def split() -> tuple[Patients, Patients]:
    """Return the 398 patients to train on and the 171 that no model has seen; always the same ones."""
    rows, target = load_breast_cancer(return_X_y=True)
    parts = train_test_split(rows, target == 0, test_size=HELD_OUT, random_state=SEED, stratify=target)
    train_rows, held_rows, train_truth, held_truth = parts
    return Patients(train_rows, train_truth), Patients(held_rows, held_truth)

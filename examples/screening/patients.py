"""The patients of the story: the breast-cancer data that ships with scikit-learn, in two parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

LEARNED_FROM = 170
"""So many of the 569 patients the model is trained on; the others come to the service."""


@dataclass(frozen=True)
class Patients:
    """Measurements of biopsies, one row each, and what the tumours turned out to be.

    Attributes:
        rows: (n, 30) measurements in the order of scikit-learn's ``feature_names``.
        malignant: (n,) the truth.
    """

    rows: NDArray[np.float64]
    malignant: NDArray[np.bool_]


def patients() -> tuple[Patients, Patients]:
    """Return those to train on and those who come; always the same ones, in the same order."""
    rows, target = load_breast_cancer(return_X_y=True)
    parts = train_test_split(rows, target == 0, train_size=LEARNED_FROM, random_state=20, stratify=target)
    learned_rows, coming_rows, learned_truth, coming_truth = parts
    return Patients(learned_rows, learned_truth), Patients(coming_rows, coming_truth)

"""Says whether a tumour is malignant; who says it, a person or the model, stands in rollout.yaml.

The story trains the model (``train``) and serves it, in a home of its own: ``python -m examples.screening``.
"""

from __future__ import annotations

from typing import Literal

import bentoml
import numpy as np
from bentoml.models import BentoModel
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bento_rollout import rollout
from examples.screening.patients import patients

MODEL = "screening-reader"
MALIGNANT, BENIGN = "malignant", "benign"


class Reading(BaseModel):
    """What a biopsy shows, and how sure the model is of it; a person just says it."""

    label: Literal["malignant", "benign"]
    score: float | None = None


def to_reading(choice: str, suggestion: object) -> Reading:  # noqa: ARG001 - answers are called with both
    """Return what a caller gets when a person chose."""
    return Reading.model_validate({"label": choice})


def link(arguments: dict[str, object]) -> str:
    """Return where readers see the slides of a case: nothing else of it is kept in the queue."""
    return f"https://slides.example/{arguments['patient']}"


def train() -> None:
    """Train the model on the patients of the past, and keep it in BentoML's store."""
    learned, _ = patients()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    bentoml.sklearn.save_model(MODEL, model.fit(learned.rows, learned.malignant))


@rollout(champion="logistic", spec="rollout.yaml")
@bentoml.service(
    name="screening", workers=1, threads=4, traffic={"timeout": 30}, logging={"access": {"enabled": False}}
)
class Screening:
    """Reads the measurements of biopsies."""

    model = BentoModel(f"{MODEL}:latest")

    def __init__(self) -> None:
        self.estimator = bentoml.sklearn.load_model(self.model)

    @bentoml.api
    def read(self, patient: str, measured: list[float]) -> Reading:  # noqa: ARG002 - readers see whose it is
        """Return what the biopsy of a patient shows, by its 30 measurements."""
        malignant = float(self.estimator.predict_proba(np.array([measured]))[0, 1])
        label = MALIGNANT if malignant >= 0.5 else BENIGN
        return Reading.model_validate({"label": label, "score": max(malignant, 1 - malignant)})

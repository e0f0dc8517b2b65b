"""Estimates whether a tumour is malignant: logistic regression answers, boosted trees are the candidate."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import bentoml
import joblib
import numpy as np
from bentoml.exceptions import InvalidArgument
from bentoml.validators import DType, Shape
from pydantic import BaseModel, ConfigDict, Field

from bento_rollout import Flip, Variant, Veto, measure, rollout
from bento_rollout.artifacts import SealedModel
from services import keys

logger = logging.getLogger("bentoml.screening")

FEATURES = 30
BORDER = 0.5
"""The probability from which on a biopsy is called malignant."""
UNSURE = 0.2, 0.8
"""Between these probabilities somebody has to look again."""

Probability = Annotated[float, Field(ge=0, le=1)]
Measured = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Nuclei(BaseModel):
    """Ten properties of the cell nuclei in a biopsy, in scikit-learn's order."""

    model_config = ConfigDict(extra="forbid")

    radius: Measured
    texture: Measured
    perimeter: Measured
    area: Measured
    smoothness: Measured
    compactness: Measured
    concavity: Measured
    concave_points: Measured
    symmetry: Measured
    fractal_dimension: Measured


class Biopsy(BaseModel):
    """A biopsy: over all its nuclei the mean, the standard error and the worst of each property."""

    model_config = ConfigDict(extra="forbid")

    mean: Nuclei
    error: Nuclei
    worst: Nuclei

    def row(self) -> list[float]:
        """Return the 30 numbers in the order in which the models were trained."""
        return [value for part in (self.mean, self.error, self.worst) for value in part.model_dump().values()]


class Assessment(BaseModel):
    """What the model thinks of one biopsy."""

    malignant: bool
    probability: Probability


@dataclass(frozen=True)
class Trained:
    """A model as its training left it: the estimator, and some rows with its answers to them."""

    estimator: Any
    rows: np.ndarray
    answers: np.ndarray

    @classmethod
    def read(cls, folder: str) -> Trained:
        """Read it from the private folder in memory in which a sealed model is opened."""
        with np.load(Path(folder, "smoke.npz")) as smoke:
            rows, answers = smoke["rows"], smoke["answers"]
        # joblib unpickles, and so runs what it is given: this was signed with a key that the policy names.
        return cls(joblib.load(Path(folder, "model.joblib")), rows, answers)


def warm_up(flip: Flip) -> None:
    """Veto the flip unless the target, as loaded here, answers what it answered when it was trained."""
    trained: Trained = flip.instance.model
    answers = flip.instance.predict(trained.rows)
    if not np.allclose(answers, trained.answers, atol=1e-9):
        worst = float(np.max(np.abs(answers - trained.answers)))
        raise Veto(f"{flip.target} answers differently from when it was trained, by up to {worst:.3g}")


def tell_team(flip: Flip) -> None:
    """Log who changed the champion, and why."""
    logger.warning(
        "%s: %s replaces %s (%s: %s)",
        flip.rollout,
        flip.target,
        flip.source,
        flip.author,
        flip.reason or "no reason given",
    )


def same_finding(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Compare a shadow's answer with the champion's: both say the same of every biopsy."""
    return np.array_equal(ours >= BORDER, theirs >= BORDER)


@rollout(
    champion="logistic",
    candidates={"boosted": Variant(model="screening-boosted:latest")},
    spec="rollout.yaml",
    before_flip=[warm_up],
    after_flip=[tell_team],
)
@bentoml.service(name="screening", workers=2, threads=2, traffic={"timeout": 10})
class Screening:
    """Estimates from the measurements of a biopsy whether the tumour is malignant."""

    model = SealedModel(
        "screening-logistic:latest",
        loader=Trained.read,
        as_="folder",
        policy=keys.policy(),
        identity=keys.identity(),
    )

    def __init__(self) -> None:
        self.estimator = self.model.estimator

    @bentoml.api
    def predict(
        self, rows: Annotated[np.ndarray, DType("float64"), Shape((-1, FEATURES))]
    ) -> Annotated[np.ndarray, DType("float64")]:
        """Return the probability of malignancy for each row of 30 measurements."""
        if not np.isfinite(rows).all():
            raise InvalidArgument("every measurement must be a finite number")
        probabilities = np.asarray(self.estimator.predict_proba(rows)[:, 1])
        low, high = UNSURE
        measure("unsure", (low < probabilities) & (probabilities < high))
        return probabilities

    @bentoml.api
    def assess(self, biopsy: Biopsy) -> Assessment:
        """Assess one biopsy given by name, with every number checked."""
        probability = float(self.predict(np.array([biopsy.row()]))[0])
        return Assessment(malignant=probability >= BORDER, probability=probability)

"""Trains the two models of the screening service and saves them in BentoML's model store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import bentoml
import joblib
import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.data import SEED, Patients, split

LOGISTIC = "screening-logistic"
BOOSTED = "screening-boosted"
SMOKE_ROWS = 16


def estimators() -> dict[str, Any]:
    """Return the untrained estimators by the name of the model that they become."""
    return {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        BOOSTED: GradientBoostingClassifier(n_estimators=150, max_depth=3, subsample=0.7, random_state=SEED),
    }


def save(name: str, estimator: Any, train: Patients, held: Patients) -> bentoml.Tag:
    """Save a fitted estimator, with some rows and its answers to them, which a loaded copy must repeat."""
    accuracy = float(np.mean(estimator.predict(held.rows) == held.malignant))
    smoke = train.rows[:SMOKE_ROWS]
    with bentoml.models.create(name, metadata={"held_out_accuracy": round(accuracy, 4)}) as model:
        joblib.dump(estimator, Path(model.path_of("model.joblib")))
        answers = estimator.predict_proba(smoke)[:, 1]
        np.savez(Path(model.path_of("smoke.npz")), rows=smoke, answers=answers)
    return model.tag


def exists(name: str) -> bool:
    """Say whether the store has a model of this name."""
    try:
        bentoml.models.get(f"{name}:latest")
    except bentoml.exceptions.NotFound:
        return False
    return True


def main() -> None:
    """Train and save both models, or only those that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-missing", action="store_true", help="leave models alone that the store has")
    only_missing = parser.parse_args().if_missing
    train, held = split()
    for name, estimator in estimators().items():
        if only_missing and exists(name):
            continue
        estimator.fit(train.rows, train.malignant)
        tag = save(name, estimator, train, held)
        print(f"trained {tag} on {len(train.rows)} rows")


if __name__ == "__main__":
    main()

"""Trains the two models of the screening service and seals them into BentoML's model store."""

from __future__ import annotations

import argparse
from typing import Any

import joblib
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler

from bento_rollout import artifacts
from bento_rollout.errors import ArtifactError
from services import keys
from services.data import SEED, Patients, split

LOGISTIC = "screening-logistic"
BOOSTED = "screening-boosted"
SMOKE_ROWS = 16
WORST_RADIUS = 20


def estimators() -> dict[str, Any]:
    """Return the untrained estimators by the name of the model that they become."""
    return {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        BOOSTED: GradientBoostingClassifier(n_estimators=150, max_depth=3, subsample=0.7, random_state=SEED),
    }


def careless(estimator: Any) -> Any:
    """Return an estimator behind an encoder that refuses each value which the training has not seen.

    Nothing of that is seen in training or at a start: `make demo` releases it, to have something that fails.
    """
    rounded = FunctionTransformer(np.round, kw_args={"decimals": 1})
    encoder = make_column_transformer(
        (make_pipeline(rounded, OrdinalEncoder()), [WORST_RADIUS]), remainder="passthrough"
    )
    return make_pipeline(encoder, estimator)


def make_keys() -> None:
    """Make keys, and a policy that trusts what is signed with them, unless they are there."""
    folder = keys.folder()
    if not (folder / "sign.pem").exists():
        artifacts.keygen(folder)
        print(f"made keys in {folder}")
    if not (folder / keys.POLICY).exists():
        (folder / keys.POLICY).write_text('keys = ["sign.pub.pem"]\n', encoding="utf-8")


def released(name: str) -> int:
    """Return the serial of the newest model of this name, or 0 if there is none that opens here."""
    own = keys.folder()
    try:
        newest = artifacts.open(name, policy=own / keys.POLICY, identity=own / keys.IDENTITY)
    except ArtifactError:
        return 0
    return newest.manifest.serial


def seal(name: str, serial: int, estimator: Any, train: Patients) -> str:
    """Seal a fitted estimator, with some rows and its answers to them, which a loaded copy must repeat.

    Returns:
        The model's tag.
    """
    smoke = train.rows[:SMOKE_ROWS]
    answers = estimator.predict_proba(smoke)[:, 1]
    own = keys.folder()
    recipients = (own / "recipient.txt").read_text(encoding="utf-8").split()
    with artifacts.create(name, recipients=recipients, signer=own / "sign.pem", serial=serial) as sealed:
        with sealed.open("model.joblib") as file:
            joblib.dump(estimator, file)
        with sealed.open("smoke.npz") as file:
            np.savez(file, rows=smoke, answers=answers)
    return sealed.tag


def main() -> None:
    """Train and seal both models, those that are named, or only those that are missing or do not open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{LOGISTIC} or {BOOSTED}; default both")
    parser.add_argument("--if-missing", action="store_true", help="leave models alone that open here")
    parser.add_argument("--careless", action="store_true", help=f"{BOOSTED} fails for every sixth patient")
    asked = parser.parse_args()
    train, held = split()
    make_keys()
    for name, estimator in estimators().items():
        serial = released(name)
        if (asked.names and name not in asked.names) or (asked.if_missing and serial):
            continue
        if asked.careless and name == BOOSTED:
            tag = seal(name, serial + 1, careless(estimator).fit(train.rows, train.malignant), train)
            print(f"sealed {tag}: trained on {len(train.rows)} rows, and tried on no others")
            continue
        estimator.fit(train.rows, train.malignant)
        accuracy = float(np.mean(estimator.predict(held.rows) == held.malignant))
        tag = seal(name, serial + 1, estimator, train)
        print(f"sealed {tag}: trained on {len(train.rows)} rows, right in {accuracy:.1%} of the others")


if __name__ == "__main__":
    main()

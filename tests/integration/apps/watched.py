"""A service whose inputs are watched for drift, as `WATCHED_SPEC` says; it changes what it is given."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np

from bento_rollout import rollout


@rollout(champion="first", spec=os.environ.get("WATCHED_SPEC"))
@bentoml.service(name="watched", workers=int(os.environ.get("WATCHED_WORKERS", "2")), threads=2)
class Watched:
    """Says how old somebody is."""

    @bentoml.api
    def predict(self, patient: dict[str, Any]) -> int:
        age = int(patient.get("age") or 0)
        patient.clear()
        return age

    @bentoml.api
    def predict_rows(self, rows: np.ndarray) -> int:
        rows[:] = -1.0
        return len(rows)

    @bentoml.api
    def count(self, rows: list[dict[str, Any]]) -> list[float]:
        return [float(row["age"]) for row in rows]

    @bentoml.api
    async def who(self) -> dict[str, int]:
        return {"pid": os.getpid()}

"""A project to be built: a champion, and two candidates in services of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml.models import BentoModel

from bento_rollout import Variant, rollout


class Scales:
    """Multiplies by what its model says."""

    model = BentoModel("scale:light")

    def __init__(self) -> None:
        self.factor: int = json.loads(Path(self.model.path_of("factor.json")).read_text())

    @bentoml.api
    def scale(self, rows: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = rows * self.factor
        return scaled

    @bentoml.api
    async def who(self) -> dict[str, Any]:
        """Say which model answers, in which process and environment."""
        facts = {"model": str(self.model.tag), "factor": self.factor}
        return {**facts, "pid": os.getpid(), "mode": os.environ["SCALE_MODE"]}


@bentoml.service(name="other", workers=2, envs=[{"name": "SCALE_MODE", "value": "exact"}])
class Other(Scales):
    """Has a model, workers and an environment of its own."""

    model = BentoModel("scale:other")


@rollout(
    champion="light",
    candidates={
        "heavy": Variant(model="scale:heavy", runner="service"),
        "other": Variant(Other, runner="service"),
    },
    spec="rollout.yaml",
)
@bentoml.service(name="scaling", envs=[{"name": "SCALE_MODE", "value": "fast"}])
class Scaling(Scales):
    """The champion."""

    model = BentoModel("scale:light")

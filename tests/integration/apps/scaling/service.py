"""A project to be built: a champion, and the same code with another model in a service of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml.models import BentoModel

from bento_rollout import Variant, rollout


@rollout(
    champion="light",
    candidates={"heavy": Variant(model="scale:heavy", runner="service")},
    spec="rollout.yaml",
)
@bentoml.service(name="scaling")
class Scaling:
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
        """Say which model answers, and in which process."""
        return {"model": str(self.model.tag), "factor": self.factor, "pid": os.getpid()}

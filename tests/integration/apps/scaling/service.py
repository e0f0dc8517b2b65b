"""A project to be built: a champion, two candidates in services of their own, and one in a process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
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
        """Say which model answers, in which process and environment, configured how."""
        facts = {"model": str(self.model.tag), "factor": self.factor, "mode": os.environ["SCALE_MODE"]}
        own = BentoMLContainer.config.get().get("services", {}).get(server_context.service_name, {})
        return {**facts, "pid": os.getpid(), "memory": own.get("resources", {}).get("memory")}


@bentoml.service(
    name="other",
    workers=2,
    resources={"memory": "300Mi"},
    envs=[{"name": "SCALE_MODE", "value": "exact"}],
)
class Other(Scales):
    """Has a model, workers, resources and an environment of its own."""

    model = BentoModel("scale:other")


@rollout(
    champion="light",
    candidates={
        "heavy": Variant(model="scale:heavy", runner="service"),
        "other": Variant(Other, runner="service"),
        "aside": Variant(model="scale:aside", runner="process"),
    },
    spec="rollout.yaml",
)
@bentoml.service(
    name="scaling", resources={"memory": "200Mi"}, envs=[{"name": "SCALE_MODE", "value": "fast"}]
)
class Scaling(Scales):
    """The champion."""

    model = BentoModel("scale:light")

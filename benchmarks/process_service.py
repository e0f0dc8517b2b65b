"""The service that `benchmarks.process` serves: one candidate in the worker and in a process beside it."""

from __future__ import annotations

import time

import bentoml
import numpy as np

from bento_rollout import RolloutSpec, Variant, rollout


@rollout(
    champion="champion_model",
    candidates={
        "inside": Variant(attributes={"burn": 1e-3}, twin=True),
        "beside": Variant(attributes={"burn": 1e-3}, runner="process", twin=True),
        "burning": Variant(attributes={"burn": 1.0}, runner="process"),
    },
    spec=RolloutSpec.parse({"routing": {"key": "header:x-user", "override_header": True}}),
)
@bentoml.service(name="process_bench", workers=1, traffic={"timeout": 120})
class Model:
    """A model that takes a while."""

    burn = 1e-3

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Burn the processor for a while, and answer."""
        until = time.thread_time() + self.burn
        total: np.ndarray = rows.sum(axis=1)
        while time.thread_time() < until:
            total = rows.sum(axis=1)
        return total

"""What `benchmarks.service` serves: a canary by the rollout, two by hand with `bentoml.depends`."""

from __future__ import annotations

from typing import Any

import bentoml
import mmh3
import numpy as np

from bento_rollout import RolloutSpec, Variant, rollout

WEIGHTS = np.linspace(-1, 1, 30)


def score(rows: np.ndarray) -> np.ndarray:
    """Return the probability for each row."""
    chances: np.ndarray = 1 / (1 + np.exp(-rows @ WEIGHTS))
    return chances


def is_second(user: str) -> bool:
    """Whether the canary written by hand asks the second service: half of the users, by a header's hash."""
    return mmh3.hash(f"hand:{user}", signed=False) < 1 << 31


@rollout(
    champion="first",
    candidates={
        "second": Variant(attributes={"name": "second"}, runner="service"),
    },
    spec=RolloutSpec.parse({"routing": {"key": "header:x-user"}, "weights": {"second": 50}}),
)
@bentoml.service(name="service_bench", workers=1)
class Ours:
    """A model, and a candidate that is the same code in a service of its own."""

    name = "first"

    @bentoml.api
    async def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the probability for each row."""
        return score(rows)


def by_hand(name: str, **config: Any) -> Any:
    """Return a service that has the first model, and chooses by hand between it and a second service."""

    @bentoml.service(name=f"{name}_second", workers=1, **config)
    class Second:
        """The second model."""

        @bentoml.api
        async def predict(self, rows: np.ndarray) -> np.ndarray:
            """Return the probability for each row."""
            return score(rows)

    @bentoml.service(name=name, workers=1)
    class First:
        """The first model."""

        second: Any = bentoml.depends(Second)

        @bentoml.api
        async def predict(self, rows: np.ndarray, ctx: bentoml.Context) -> np.ndarray:
            """Return the probability for each row."""
            if is_second(ctx.request.headers.get("x-user", "")):
                answer: np.ndarray = await self.second.to_async.predict(rows)
                return answer
            return score(rows)

    return First


Hand = by_hand("hand")
Tuned = by_hand("tuned", runner_connection={"max_requests": 10**9, "max_age": 1e9})
"""Whoever found out why calls fail keeps the connections open."""

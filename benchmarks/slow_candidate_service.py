"""The service that `benchmarks.slow_candidate` serves: its candidate sleeps for ten seconds."""

from __future__ import annotations

import time

import bentoml

from bento_rollout import RolloutSpec, rollout


@bentoml.service(name="sleeper")
class Sleeper:
    """Takes its time."""

    @bentoml.api
    def answer(self) -> int:
        """Return a number, much later."""
        time.sleep(10)
        return 42


@rollout(
    champion="awake",
    candidates={"sleeper": Sleeper},
    spec=RolloutSpec.parse({"routing": {"key": "header:x-user"}}),
)
@bentoml.service(name="awake", workers=1, traffic={"timeout": 12})
class Awake:
    """Answers at once."""

    @bentoml.api
    def answer(self) -> int:
        """Return a number."""
        return 42

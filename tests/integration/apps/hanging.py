"""A champion with sync code, and a candidate whose sync code sleeps, ten seconds unless told otherwise."""

from __future__ import annotations

import os
import time
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, rollout


@bentoml.service(name="sleeper", threads=16)
class Sleeper:
    """The candidate."""

    @bentoml.api
    def who(self, seconds: float = 10) -> dict[str, Any]:
        """Sleep, then say who answers."""
        time.sleep(seconds)
        return {"variant": "sleeper", "pid": os.getpid()}


@rollout(
    champion="awake",
    candidates={"sleeper": Sleeper},
    spec=RolloutSpec.parse({"routing": {"key": "header:x-key"}}),
)
@bentoml.service(name="hanging", workers=2, threads=4)
class Hanging:
    """The champion."""

    @bentoml.api
    def who(self, seconds: float = 10) -> dict[str, Any]:
        """Say who answers."""
        return {"variant": "awake", "pid": os.getpid()}

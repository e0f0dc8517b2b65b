"""What `benchmarks.late` serves: a model, the same one late in three places, and one that blocks its loop."""

from __future__ import annotations

import asyncio
import os
import time

import bentoml
import numpy as np

from bento_rollout import RolloutSpec, Variant, rollout

LATE = 10.0
"""Seconds."""

LIMITS = {"timeout": "1s", "fallback": "champion"}


class Model:
    """A model that may be late.

    BentoML keeps something of each request for as long as its time limit: it is short, so that the memory of
    the worker is soon what it stays.
    """

    seconds = 0.0
    stuck = 0.0

    @bentoml.api
    async def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the sum of each row, some of them late."""
        if self.seconds:
            await asyncio.sleep(self.seconds)
        total: np.ndarray = rows.sum(axis=1)
        return total

    @bentoml.api
    async def read(self, text: str) -> int:
        """Return how long a text is; nothing else runs here meanwhile."""
        time.sleep(self.stuck)  # noqa: ASYNC251 - that is the point
        return len(text)


Ours = rollout(
    champion="first",
    candidates={
        "service": Variant(attributes={"seconds": LATE}, runner="service"),
        "process": Variant(attributes={"seconds": LATE}, runner="process", twin=True),
        "url": Variant(url=os.environ.get("LATE_URL", "http://127.0.0.1:9")),
        "stuck": Variant(attributes={"stuck": LATE}, runner="process"),
    },
    spec=RolloutSpec.parse(
        {
            "routing": {"key": "header:x-user"},
            "variants": dict.fromkeys(("service", "process", "url", "stuck"), LIMITS),
        }
    ),
)(bentoml.service(name="late_bench", workers=1, traffic={"timeout": 12})(Model))


@bentoml.service(name="late_deployed", workers=1)
class Deployed(Model):
    """The late one as a deployment of its own."""

    seconds = LATE

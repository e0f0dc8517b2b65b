"""The service that `benchmarks.start` starts: bare, without this library, when ``BENCH_BARE`` is set."""

from __future__ import annotations

import os

import bentoml


@bentoml.service(name="starting", workers=1)
class Starting:
    """Multiplies."""

    factor = 2

    @bentoml.api
    async def times(self, number: int) -> int:
        """Return a multiple."""
        return number * self.factor


if not os.environ.get("BENCH_BARE"):
    from bento_rollout import Variant, rollout

    rollout(champion="v1", candidates={"v2": Variant(attributes={"factor": 3})})(Starting)

"""The service that `benchmarks.rollback` serves: a candidate of which a share of the calls fails."""

from __future__ import annotations

import os
import random

import bentoml

from bento_rollout import RolloutSpec, Variant, rollout

FAILS = float(os.environ.get("BENCH_FAILS", "0.2"))
WEIGHT = float(os.environ.get("BENCH_WEIGHT", "5"))
SPEC = RolloutSpec(
    name="rolling",
    routing={"key": "header:x-key"},
    ledger=False,
    strategy={
        "canary": {"candidate": "broken", "steps": [{"weight": WEIGHT, "bake": "1h"}]},
        "guardrails": {"error_rate": {"margin": "1pp"}},
    },
)


@rollout(champion="whole", candidates={"broken": Variant(attributes={"fails": FAILS})}, spec=SPEC)
@bentoml.service(name="rolling", workers=2)
class Rolling:
    """Answers, or fails, and says which process it was."""

    fails = 0.0

    @bentoml.api
    async def who(self) -> int:
        """Return this worker's pid."""
        if random.random() < self.fails:
            raise RuntimeError("broken")
        return os.getpid()

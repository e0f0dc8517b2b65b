"""A champion, and a candidate in a process beside each worker that burns, dies or leaks as it is told."""

from __future__ import annotations

import os
import time
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, Variant, rollout


@rollout(
    champion="calm",
    candidates={"wild": Variant(attributes={"variant": "wild"}, runner="process")},
    spec=RolloutSpec.parse(
        {
            "routing": {"key": "header:x-key"},
            "variants": {"wild": {"timeout": "2s", "fallback": "champion"}},
        }
    ),
)
@bentoml.service(name="besides", workers=2)
class Besides:
    """Says who answers."""

    variant = "calm"

    @bentoml.api
    async def who(self, seconds: float = 0) -> dict[str, Any]:
        """Burn the processor for a while in the candidate, and say who answers."""
        until = time.monotonic() + seconds
        while self.variant == "wild" and time.monotonic() < until:
            sum(range(1000))
        return {"variant": self.variant, "pid": os.getpid()}

"""The service that `benchmarks.replicas` serves: it answers with its process, and costs next to nothing."""

from __future__ import annotations

import os
import time

import bentoml

from bento_rollout import Flip, Variant, rollout


def smoke_test(_: Flip) -> None:
    """Take the 10 ms that a small smoke test takes."""
    time.sleep(0.010)


@rollout(
    champion="blue",
    candidates={"green": Variant(attributes={"colour": "green"})},
    spec="rollout.yaml",
    before_flip=[smoke_test] if os.environ.get("BENCH_HOOK") else [],
)
@bentoml.service(name="replicated", workers=1)
class Replicated:
    """Says which process answered, and of which colour it is."""

    colour = "blue"

    @bentoml.api
    async def who(self, number: int = 0) -> list[str | int]:
        """Return the process, the colour and the number that was sent."""
        return [os.getpid(), self.colour, number]

"""The service that `benchmarks.flip` serves: it answers with its worker's pid."""

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
    before_flip=[smoke_test] if os.environ.get("BENCH_HOOK") else [],
)
@bentoml.service(name="flipping", workers=4)
class Flipping:
    """Says which process answered."""

    colour = "blue"

    @bentoml.api
    async def who(self) -> int:
        """Return this worker's pid."""
        return os.getpid()

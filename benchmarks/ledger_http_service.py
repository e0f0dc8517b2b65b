"""What `benchmarks.ledger_http` serves: one canary with a ledger, twice without, and the bare service."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np

from benchmarks.service_sides import score
from bento_rollout import RolloutSpec, Variant, rollout


def bare(name: str) -> Any:
    """Return a service that scores rows."""

    @bentoml.service(name=name, workers=1)
    class Scoring:
        """A model."""

        @bentoml.api
        async def predict(self, rows: np.ndarray) -> np.ndarray:
            """Return the probability for each row."""
            return score(rows)

    return Scoring


def canary(name: str, *, ledger: bool) -> Any:
    """Return the same service with a candidate that is the same code, for a tenth of its users."""
    told = {"routing": {"key": "header:x-user"}, "weights": {"second": 10}, "ledger": {"enabled": ledger}}
    spec = RolloutSpec.parse(told)
    wrapped = rollout(champion="first", candidates={"second": Variant(bare("second"), twin=True)}, spec=spec)
    return wrapped(bare(name))


Bare = bare("ledger_bare")
On = canary("ledger_on", ledger=True)
Off = canary("ledger_off", ledger=False)
Again = canary("ledger_again", ledger=False)

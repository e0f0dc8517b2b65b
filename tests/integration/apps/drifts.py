"""A service that watches its inputs, pauses its own rollout, and hands decisions back to people."""

from __future__ import annotations

import os

import bentoml
import numpy as np

from bento_rollout import RolloutSpec, Variant, rollout


def to_finding(choice: str, suggestion: object) -> dict[str, object]:
    """Return what a person's choice means to the caller."""
    return {"label": choice, "score": 1.0, "greeting": "a person"}


ON_ALARM = {} if os.environ.get("DRIFTS_ONLY_ASKS") else {"rollout": "pause", "automation": "demote"}

SPEC = RolloutSpec.parse(
    {
        "name": "drifts",
        "endpoints": ["read"],
        "automation": {
            "read": {
                "degree": "shadow",
                "target_error": "5%",
                "score": "field:score",
                "ask_when": [{"drift": True}],
                "review": {
                    "choices": ["benign", "malignant"],
                    "answer": "tests.integration.apps.drifts:to_finding",
                    "inputs": "reference",
                    "on_timeout": "wait",
                    "overflow": {"max_open": 5000, "action": "reject"},
                },
                "decisions": {"require": "none"},
            }
        },
        "drift": {
            "reference": {"file": os.environ.get("DRIFTS_REFERENCE", "reference.json")},
            "data": {},
            "on_alarm": {}
            if os.environ.get("DRIFTS_ONLY_ASKS")
            else {"rollout": "pause", "automation": "demote"},
        },
    },
    "the spec of drifts",
)


@rollout(champion="first", candidates={"second": Variant(attributes={"greeting": "two"})}, spec=SPEC)
@bentoml.service(name="drifts", workers=int(os.environ.get("DRIFTS_WORKERS", "2")), threads=4)
class Drifts:
    """Reads findings off four numbers."""

    greeting = "one"

    @bentoml.api
    def read(self, rows: np.ndarray) -> dict[str, object]:
        return {"label": "benign", "score": 0.99, "greeting": self.greeting}

    @bentoml.api
    async def who(self) -> dict[str, int]:
        return {"pid": os.getpid()}

"""A champion, and candidates that only watch, in the worker, a process and a service; told to misbehave."""

from __future__ import annotations

import os
import time
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, Variant, is_shadow, rollout

LEAK: list[bytearray] = []
"""What the candidate never lets go of."""


def misbehave(how: str) -> None:
    """Do in a shadow what a candidate should not."""
    if how == "raise":
        raise RuntimeError("a bug")
    if how == "hang":
        time.sleep(3600)
    if how == "exit":
        os._exit(3)
    if how == "leak":
        LEAK.append(bytearray(1 << 20))
    if how == "burn":
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            sum(range(1000))


@rollout(
    champion="calm",
    candidates={
        "near": Variant(attributes={"variant": "near"}),
        "beside": Variant(attributes={"variant": "beside"}, runner="process"),
        "apart": Variant(attributes={"variant": "apart"}, runner="service"),
    },
    spec=RolloutSpec.parse(
        {
            "routing": {"key": "header:x-key"},
            "shadow": {
                name: {
                    "timeout": "500ms",
                    "max_pending": 16,
                    "compare": {"kind": "json", "ignore": ["$.pid"]},
                }
                for name in ("near", "beside", "apart")
            },
        }
    ),
)
@bentoml.service(  # BentoML keeps something of each request for as long as its time limit: here not long
    name="shadows", workers=1, threads=4, traffic={"timeout": 3}
)
class Shadows:
    """Says who answers."""

    variant = "calm"

    @bentoml.api
    def who(self, how: str = "") -> dict[str, Any]:
        """Say whether this is a shadow; one of them misbehaves first."""
        if is_shadow() and self.variant != "calm":
            misbehave(os.environ.get("SHADOWS_HOW", how) or how)
        return {"shadow": is_shadow() and self.variant == "calm", "pid": os.getpid()}

"""A champion, and candidates in services of their own: two that answer, a late one, two that never start."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import bentoml
from bentoml._internal.context import server_context

from bento_rollout import RolloutSpec, Variant, rollout

BROKEN = bool(os.environ.get("SERVICES_BROKEN"))
NAMES = ("exiting", "raising") if BROKEN else ("wild", "late", "alone")
LIMITS = {name: {"fallback": "champion"} for name in NAMES if name != "alone"}
if not BROKEN:
    LIMITS["late"]["timeout"] = "1s"

if "services_exiting" in sys.argv:  # the worker of its service, while it imports this module
    os._exit(1)


@rollout(
    champion="calm",
    candidates={name: Variant(attributes={"variant": name}, runner="service") for name in NAMES},
    spec=RolloutSpec.parse(
        {
            "routing": {"key": "header:x-key"},
            "weights": dict.fromkeys(NAMES, 25) if BROKEN else {},
            "variants": LIMITS,
        }
    ),
)
@bentoml.service(name="services", workers=1)
class Services:
    """Says who answers."""

    variant = "calm"

    def __init__(self) -> None:
        if server_context.service_name == "services_raising":
            raise RuntimeError("no model")

    @bentoml.api
    async def who(self, seconds: float = 0) -> dict[str, Any]:
        """Wait for a while, ten seconds in the late one, and say who answers."""
        await asyncio.sleep(10 if self.variant == "late" else seconds)
        return {"variant": self.variant, "pid": os.getpid()}

"""A gateway before a wrapped service: keys cross it as W3C baggage."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from opentelemetry import baggage, context

from bento_rollout import RolloutSpec, Variant, rollout


@rollout(
    champion="old",
    candidates={
        "new": Variant(attributes={"variant": "new"}),
        "apart": Variant(attributes={"variant": "apart"}, runner="service"),
    },
    spec=RolloutSpec.parse({"name": "behind", "routing": {"key": "baggage:user"}}),
)
@bentoml.service(name="behind")
class Behind:
    """Says who answers."""

    variant = "old"

    @bentoml.api
    async def who(self, ctx: bentoml.Context) -> dict[str, Any]:
        """Say who answers, and what baggage came along."""
        return {"variant": self.variant, "pid": os.getpid(), "baggage": ctx.request.headers.get("baggage")}


@bentoml.service(name="gateway")
class Gateway:
    """Asks the wrapped service for its callers."""

    behind = bentoml.depends(Behind)

    @bentoml.api
    async def passed(self) -> dict[str, Any]:
        """Ask on; the caller's baggage goes along by itself."""
        answer: dict[str, Any] = await self.behind.to_async.who()
        return answer

    @bentoml.api
    def passed_by_thread(self) -> dict[str, Any]:
        """Ask on from a sync endpoint."""
        answer: dict[str, Any] = self.behind.to_sync.who()
        return answer

    @bentoml.api
    async def named(self, user: str) -> dict[str, Any]:
        """Ask on with a key that the gateway knows and its caller does not say."""
        token = context.attach(baggage.set_baggage("user", user))
        try:
            answer: dict[str, Any] = await self.behind.to_async.who()
        finally:
            context.detach(token)
        return answer

    @bentoml.api
    def named_by_thread(self, user: str) -> dict[str, Any]:
        """Do the same in a sync endpoint."""
        token = context.attach(baggage.set_baggage("user", user))
        try:
            answer: dict[str, Any] = self.behind.to_sync.who()
        finally:
            context.detach(token)
        return answer

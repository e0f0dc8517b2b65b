"""Two variants with every kind of endpoint, and the lease that the environment says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

import bentoml

from bento_rollout import RolloutSpec, Variant, rollout


@rollout(
    champion="blue",
    candidates={"green": Variant(attributes={"word": "green"})},
    spec=RolloutSpec.parse(
        {
            "lease": "4s",
            "on_stale": os.environ.get("LEASED", "serve"),
            "routing": {"key": {"*": "header:x-key", "each": "rows:rows.id"}, "override_header": True},
            "variants": {"green": {"timeout": "20s"}},
            "weights": {"green": 100},
            "targets": {"green": {"keys": ["vip"]}},
        }
    ),
)
@bentoml.service(name="leased", workers=1)
class Leased:
    """The champion."""

    word = "blue"

    @bentoml.api
    async def who(self) -> str:
        """Return who answers."""
        return self.word

    @bentoml.api
    async def items(self) -> AsyncGenerator[str, None]:
        """Return who answers, twice."""
        yield self.word
        await asyncio.sleep(0)
        yield self.word

    @bentoml.api
    def each(self, rows: list[dict[str, str]]) -> list[str]:
        """Return who answers each row."""
        return [self.word for _ in rows]

    @bentoml.task
    def job(self) -> str:
        """Return who does it."""
        return self.word

"""A champion, a candidate in a service of its own, a shadow in the worker, batches and hooks: all traced."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import bentoml

from bento_rollout import Flip, RolloutSpec, Variant, rollout


def warm_up(flip: Flip) -> None:
    """Ask the target once."""
    assert flip.instance.who() == flip.target


def tell(flip: Flip) -> None:
    """Tell nobody."""


@rollout(
    champion="calm",
    candidates={
        "apart": Variant(attributes={"variant": "apart"}, runner="service"),
        "near": Variant(attributes={"variant": "near"}),
        "watcher": Variant(attributes={"variant": "watcher"}),
    },
    spec=RolloutSpec.parse(
        {
            "routing": {"override_header": True, "key": "header:x-key"},
            "variants": {"near": {"timeout": "5s", "fallback": "champion"}},
            "shadow": {"watcher": {"percent": 100, "endpoints": ["who"]}},
        }
    ),
    before_flip=warm_up,
    after_flip=tell,
)
@bentoml.service(name="traced", workers=2)
class Traced:
    """Says who answers."""

    variant = "calm"

    @bentoml.api
    def who(self, how: str = "") -> str:
        """Say who answers, or fail."""
        if how == self.variant:
            raise RuntimeError("secret payload")
        return self.variant

    @bentoml.api
    async def items(self) -> AsyncGenerator[str, None]:
        """Say it in two items."""
        yield self.variant
        yield "!"

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=2000)
    async def batch(self, names: list[str]) -> list[str]:
        """Say it to several."""
        return [f"{self.variant} {name}" for name in names]

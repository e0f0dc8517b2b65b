"""What the workers of the tests say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bento_rollout.spec import RolloutSpec
from bento_rollout.store.presence import VariantCard, Workers

Join = Callable[..., Workers]
"""Lets a worker live; arguments replace fields of its card."""

READY = {
    name: VariantCard("ready", "worker", str(number) * 12)
    for number, name in enumerate(("logistic", "boosted", "forest"), 1)
}


def spec(**fields: Any) -> RolloutSpec:
    """Return a spec that names these fields."""
    return RolloutSpec.parse(fields)


def with_state(state: str, name: str = "boosted", **more: Any) -> dict[str, VariantCard]:
    """Return a worker's variants, one of which is not ready."""
    return {**READY, name: VariantCard(state, "worker", READY[name].digest, **more)}


def with_digest(digest: str, name: str = "boosted") -> dict[str, VariantCard]:
    """Return a worker's variants, one of which has other code."""
    return {**READY, name: VariantCard("ready", "worker", digest)}

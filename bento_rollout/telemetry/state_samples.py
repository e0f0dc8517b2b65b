"""What a state says of the variants, as samples of metrics; and which counters begin at 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..records import FlipEnd, Outcome
from ..state import RolloutState
from .measures import CHAMPION, FLIPS, LOST, REVISION, RUNS, SHADOW, WEIGHT, Sample, Series

__all__ = ["known", "state_samples"]

WHOLE = 100_000
"""Weights and shadows are whole thousandths of a percent."""


def state_samples(state: RolloutState, variants: Iterable[str]) -> Iterator[Sample]:
    """Return what a state says of the variants that this service has."""
    rollout, left = state.name, WHOLE - sum(state.weights.values())
    yield Series(REVISION, (rollout,)), state.revision
    for variant in variants:
        labels = (rollout, variant)
        is_champion = variant == state.champion
        yield Series(CHAMPION, labels), float(is_champion)
        yield Series(WEIGHT, labels), (left if is_champion else state.weights.get(variant, 0)) / WHOLE
        yield Series(SHADOW, labels), state.shadow.get(variant, 0) / WHOLE


def known(
    rollout: str, endpoints: Sequence[str], variants: Sequence[str], channels: Iterable[str]
) -> Iterator[Series]:
    """Return the counters that begin at 0 before anything happens: a rate sees their first step, too."""
    yield from (Series(FLIPS, (rollout, end)) for end in FlipEnd)
    yield from (Series(LOST, (rollout, channel)) for channel in channels)
    for outcome in (Outcome.OK, Outcome.ERROR):
        yield from (Series(RUNS, (rollout, one, name, outcome)) for one in endpoints for name in variants)

"""What a service has shown of itself: which numbers it measures, and how rare what it looks for is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import RolloutError
from .judging import UNNAMED, class_in
from .served import Served
from .store.evidence_log import EvidenceLog
from .store.ledger_matured import base_rate
from .store.place import Place
from .strategy import Strategy
from .view import View

__all__ = ["ENOUGH", "served_now"]

ENOUGH = 1000
"""Calls after which a measure that was not given is none of the service."""


def served_now(place: Place, view: View, strategy: Strategy) -> Served:
    """Return what is known of a service before a candidate is tried; what is not known is not checked.

    Args:
        place: where the rollout's shared files lie.
        view: the state, and the service around it.
        strategy: how the candidate is to be tried.
    """
    correct = any(name.split("@")[0] == "label.correct" for name in strategy.guardrails)
    rate = _rate(place) if correct else None
    return Served(
        variants=view.known,
        champion=view.state.champion,
        measures=_measures(place),
        base_rates={} if rate is None else {"correct": rate},
    )


def _measures(place: Place) -> frozenset[str] | None:
    """Return the numbers that the service has given, after enough calls; None: too few, or nobody tells."""
    try:
        told: Mapping[str, Any] = EvidenceLog(place).standing().told or {}
        calls, names = told.get("calls", 0), told.get("names", [])
    except RolloutError:
        return None
    return frozenset(map(str, names)) if calls >= ENOUGH else None


def _rate(place: Place) -> float | None:
    try:
        return base_rate(place, UNNAMED, class_of=class_in)
    except RolloutError:
        return None

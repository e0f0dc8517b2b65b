"""How something stands at a worker: frozen facts that are told again and again, for the gauges of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Drifted", "Queued"]


@dataclass(frozen=True, slots=True)
class Queued:
    """How many cases of an endpoint wait, some of them for an adjudicator; told each second. Immutable.

    Attributes:
        letters, letters_lost: what its webhook is still to be told, and never was.
    """

    rollout: str
    endpoint: str
    open: int
    adjudicating: int = 0
    letters: int = 0
    letters_lost: int = 0


@dataclass(frozen=True, slots=True)
class Drifted:
    """How one test for drift stands; its owner alone tells ``rows``, by what became of them. Immutable."""

    rollout: str
    endpoint: str
    test: str
    log_evidence: float | None
    latched: bool
    rows: Mapping[str, int] = field(default_factory=dict)

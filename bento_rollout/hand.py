"""`Hand`: what a leader has in hand between two looks; what of it must outlive the leader is in its notes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .assessment import Assessments, Finding
from .notes import Notes
from .pacing import Paces

__all__ = ["Hand"]

NEEDS = 5.0
"""Seconds between two estimates of how much more each guardrail needs."""

_TELL = 1.0
"""Seconds between two times that people are told how a try stands."""

_SAVE = 2.0
"""Seconds between two times that what is known is written down, at least; decisions are always."""

_PATIENT = 50.0
"""How many times as long as writing it down took is waited before it is done again."""

_OPEN = (Finding.INCONCLUSIVE, Finding.NO_DATA)


@dataclass(slots=True)
class Hand:
    """What a leader has in hand between two looks.

    Attributes:
        stored: the last flush that what is written down has used.
        seq: the last one that was used.
        notes: what is known after it.
        saved: when it was written down, in seconds since 1970.
        cost: how many seconds that took.
        told: whether it was said that this one leads.
        paces: how fast evidence comes.
    """

    stored: int
    seq: int
    notes: Notes
    saved: float
    cost: float = 0.0
    told: bool = False
    paces: Paces = field(default_factory=Paces)
    _revision: int = 0
    _said: float = 0.0
    _estimated: float | None = None
    _needed: dict[str, int | None] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether what is known is to be written down, also if nothing is decided; a clock may jump."""
        return not 0 <= now - self.saved < max(_SAVE, _PATIENT * self.cost)

    def tells(self, revision: int, now: float) -> bool:
        """Whether to say how the try stands: once a second, and when somebody changed something."""
        if revision == self._revision and 0 <= now - self._said < _TELL:
            return False
        self._revision, self._said = revision, now
        return True

    def estimates(self, now: float) -> bool:
        """Whether it is time to estimate how much more each guardrail needs, which costs a little."""
        if self._estimated is not None and 0 <= now - self._estimated < NEEDS:
            return False
        self._estimated = now
        return True

    def remembered(self, evidence: Assessments, *, fresh: bool) -> Assessments:
        """Return the evidence with the last estimates of how much more it takes; fresh ones are noted."""
        if fresh:
            self._needed = {name: one.needed for name, one in evidence.assessments.items()}
            return evidence
        found = {
            name: replace(one, needed=self._needed.get(name)) if one.finding in _OPEN else one
            for name, one in evidence.assessments.items()
        }
        return replace(evidence, assessments=found)

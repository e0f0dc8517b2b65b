"""What evidence says of each guardrail, as the statistics hand it to whoever decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["NO_DATA", "Assessment", "Assessments", "Finding"]


class Finding(str, Enum):
    """What the evidence of one guardrail says."""

    HEALTHY = "healthy"
    HARMFUL = "harmful"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    UNMEASURABLE = "unmeasurable"

    @property
    def words(self) -> str:
        """The finding as a sentence has it."""
        return self.value.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the evidence of one guardrail says now. Immutable.

    Attributes:
        finding: healthy, harmful, inconclusive, no data or unmeasurable.
        detail: why, in a few words; empty: the finding says it all.
        needed: about how many more of the unit it takes until it may be healthy; None: not known.
        unit: what is counted, in the plural: ``requests`` of the candidate, ``keys``, ``labels``, …
        numbers: what it was computed from, by name; kept with the decision, and told by ``explain``.
    """

    finding: Finding
    detail: str = ""
    needed: int | None = None
    unit: str = "requests"
    numbers: Mapping[str, float] = field(default_factory=dict)


NO_DATA = Assessment(Finding.NO_DATA)
"""What a guardrail has of which nothing was heard."""


@dataclass(frozen=True, slots=True)
class Assessments:
    """All that is known when a tick decides. Immutable.

    Attributes:
        assessments: by guardrail. A guardrail that is absent has no data. Other names are checks of the
            evidence itself, like ``sample_ratio``: of these only ``unmeasurable`` counts.
        place: which stretch the blocks were counted in, as `Position.place` names it; blocks of another
            stretch count as none.
        trial_blocks, control_blocks: blocks in that stretch in which the arm had at least one call.
        idle: seconds since the last block in which both arms had one.
        trial_unready: why the candidate cannot take traffic; empty: it is ready in every live worker.
        control_unready: the same of the variant that a rollback would make champion.
        mixed: that workers run other code, in words; empty: all run the same.
    """

    assessments: Mapping[str, Assessment] = field(default_factory=dict)
    place: str = ""
    trial_blocks: int = 0
    control_blocks: int = 0
    idle: float = 0.0
    trial_unready: str = ""
    control_unready: str = ""
    mixed: str = ""

    def of(self, guardrail: str) -> Assessment:
        """Return what is known of a guardrail."""
        return self.assessments.get(guardrail, NO_DATA)

    def blocks_at(self, place: str) -> tuple[int, int]:
        """Return how many blocks the trial and the control have in a stretch."""
        return (self.trial_blocks, self.control_blocks) if place == self.place else (0, 0)

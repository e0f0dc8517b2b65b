"""`Decision`: what to do with a try, in words and with the numbers that it was decided on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .assessment import Assessment
from .position import Position

__all__ = ["Action", "Decision"]


class Action(str, Enum):
    """What a decision does."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"
    NOTIFY = "notify"
    END_BAKE = "end_bake"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a try now. Immutable.

    Attributes:
        action: what is done; `hold`: nothing.
        words: one sentence for people.
        position: where the try stands after it.
        missing: what it waits for, one thing each.
        causes: the guardrails, or checks of the evidence, that decided.
        weights: all weights after it, in thousandths of a percent; None: they stay.
        shadow: what the candidate watches after it, in thousandths of a percent; None: that stays.
        dry_run: whether it only says what it would do; then weights and shadow are None.
        assessments: what was known of each guardrail.
    """

    action: Action
    words: str
    position: Position
    missing: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    weights: Mapping[str, int] | None = None
    shadow: int | None = None
    dry_run: bool = False
    assessments: Mapping[str, Assessment] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """What is kept of it with the revision, and told by ``explain``: plain data, without the position."""
        return {
            "action": self.action.value,
            "words": self.words,
            "missing": list(self.missing),
            "causes": list(self.causes),
            "place": self.position.place,
            "dry_run": self.dry_run,
            "guardrails": {
                name: {
                    "finding": one.finding.value,
                    "detail": one.detail,
                    "needed": one.needed,
                    "unit": one.unit,
                    "numbers": dict(one.numbers),
                }
                for name, one in sorted(self.assessments.items())
            },
        }

"""One look at a try: what a decision is made from, and how it is told; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from .assessment import Assessment, Assessments, Finding
from .decision import Action, Decision
from .position import Paused, Position, Stage, watched
from .steps import Step
from .strategy import Strategy

__all__ = ["Cause", "Look", "detail", "pausing", "remembering"]

Cause = Literal["harm", "unmeasurable", "undecided"]
"""Why the policy pauses by itself."""

EVIDENCE = "evidence"
"""Who pauses when no person does."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one decision is made from. Immutable.

    Attributes:
        strategy: how the candidate is tried.
        here: where the try stands, with this look's time and evidence in it.
        evidence: what is known.
    """

    strategy: Strategy
    here: Position
    evidence: Assessments

    @property
    def step(self) -> Step:
        """The step that the try is in, of those that it has."""
        return self.strategy.steps[self.here.step]

    @property
    def where(self) -> str:
        """Where the try is, as a sentence has it."""
        if self.here.stage is Stage.STEPS:
            return f"step {self.here.step + 1} of {len(self.strategy.steps)} ({self.step})"
        return {
            Stage.BAKE: "the bake after the promotion",
            Stage.WATCH: "the watch for late labels",
        }.get(self.here.stage, "the last step")

    @property
    def assessments(self) -> dict[str, Assessment]:
        """What is known of each guardrail, and of the evidence itself."""
        known = {name: self.evidence.of(name) for name in self.strategy.guardrails}
        return {**self.evidence.assessments, **known}

    @property
    def harmful(self) -> dict[str, str]:
        """What is to be done about each guardrail that is harmful, and that no person accepted."""
        names = set(self.strategy.guardrails).intersection(self.here.open_alarms)
        return {name: self.strategy.harm(name) for name in sorted(names)}

    @property
    def broken(self) -> tuple[str, ...]:
        """Guardrails, and checks of the evidence, that cannot be measured."""
        counts = {*watched(self.here, self.strategy)} - {*self.here.excused}
        found = {
            name
            for name, one in self.evidence.assessments.items()
            if one.finding is Finding.UNMEASURABLE
            and (name in counts or name not in self.strategy.guardrails)
        }
        return tuple(sorted(found))

    def told(self, names: Iterable[str]) -> str:
        """Return names with what is said of each."""
        return ", ".join(f"{name} {detail(self.evidence.of(name))}".strip() for name in names)

    def decision(self, action: Action, words: str, position: Position | None = None, **more: Any) -> Decision:
        """Return a decision with what is known beside it; without a position the try stays where it is."""
        at = self.here if position is None else position
        return Decision(action, words, at, assessments=self.assessments, **more)


def pausing(
    look: Look,
    words: str,
    reason: str,
    cause: Cause,
    causes: Iterable[str],
    missing: tuple[str, ...] = (),
) -> Decision:
    """Return the decision that nothing is raised or promoted until a person says so.

    Args:
        look: what it is made from.
        words: what is told now.
        reason: what is told as long as it is paused.
        cause: why.
        causes: the guardrails, or checks of the evidence, that decided.
        missing: what was waited for.
    """
    names = tuple(causes)
    told = [f"harm:{name}" for name in names] if cause == "harm" else []
    at = remembering(look.here, told).model_copy(
        update={"paused": Paused(by=EVIDENCE, reason=reason, cause=cause)}
    )
    return look.decision(Action.PAUSE, words, at, missing=missing, causes=names)


def remembering(position: Position, marks: Iterable[str]) -> Position:
    """Return a position that knows what was told."""
    return position.model_copy(update={"told": tuple(sorted({*position.told, *marks}))})


def detail(assessment: Assessment) -> str:
    """Return the detail of an assessment in brackets, if it has one."""
    return f"({assessment.detail})" if assessment.detail else ""

"""What tests of the policy need: strategies, evidence, and a try that is looked at again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bento_rollout.assessment import Assessment, Assessments, Finding
from bento_rollout.decision import Action, Decision
from bento_rollout.policy import begin, decide
from bento_rollout.position import Position
from bento_rollout.strategy import Strategy

TICK = 10.0
"""Seconds from look to look."""

CANARY = """
canary:
  candidate: boosted
  steps:
    - {weight: 5, bake: 60s}
    - pause: {}
    - {weight: 50, bake: 60s}
  bake_after: {for: 100s, holdback: 2}
guardrails:
  error_rate: {margin: 1pp}
  latency: {}
"""

SWAP = """
blue_green: {candidate: boosted, bake_after: {for: 100s, holdback: 2}}
guardrails: {error_rate: {}}
"""

Findings = Mapping[str, Finding | Assessment]
"""What is said of each guardrail; the word alone is enough."""

FINE: Findings = {"error_rate": Finding.HEALTHY, "latency": Finding.HEALTHY}


def parsed(text: str, **changes: Any) -> Strategy:
    """The strategy of this YAML, with some of its outer fields changed."""
    return Strategy.parse({**yaml.safe_load(text), **changes})


def plain(
    steps: str, guardrails: str = "{error_rate: {margin: 1pp}, latency: {}}", **changes: Any
) -> Strategy:
    """A canary with these steps."""
    return parsed(f"canary: {{candidate: boosted, steps: {steps}}}\nguardrails: {guardrails}", **changes)


def assessed(findings: Findings) -> dict[str, Assessment]:
    """What is said of each guardrail."""
    return {name: one if isinstance(one, Assessment) else Assessment(one) for name, one in findings.items()}


@dataclass
class Try:
    """A try as its controller leads it: each look goes on from where the last decision left it."""

    strategy: Strategy
    now: float = 1000.0
    position: Position = field(init=False)
    last: Decision = field(init=False)

    def __post_init__(self) -> None:
        self.last = begin(self.strategy, "logistic", self.now)
        self.position = self.last.position

    def evidence(self, findings: Findings = FINE, **more: Any) -> Assessments:
        """Assessments with data from both arms in the stretch that the try is in."""
        data = {"place": self.position.place, "trial_blocks": 1, "control_blocks": 1, **more}
        return Assessments(assessed(findings), **data)

    def look(self, findings: Findings = FINE, *, after: float = TICK, **more: Any) -> Decision:
        """Decide once, some seconds after the last time."""
        self.now += after
        self.last = decide(self.strategy, self.position, self.evidence(findings, **more), self.now)
        self.position = self.last.position
        return self.last

    def until(
        self,
        action: Action,
        findings: Findings = FINE,
        looks: int = 100,
        **more: Any,
    ) -> Decision:
        """Look until something is done; it must be this, and within so many looks."""
        for _ in range(looks):
            if (done := self.look(findings, **more)).action is not Action.HOLD:
                assert done.action is action, done.words
                return done
        raise AssertionError(f"{action} did not come in {looks} looks: {self.last.words}")

    def at_bake(self) -> Try:
        """This try after its promotion, by evidence."""
        self.until(Action.ADVANCE)
        self.position = self.position.model_copy(update={"passed": True})
        self.until(Action.ADVANCE)
        self.until(Action.PROMOTE)
        return self

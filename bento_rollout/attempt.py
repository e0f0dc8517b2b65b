"""`Try`: one run of a strategy, as the state of a rollout has it; immutable, pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from .decision import Decision
from .position import Position, Stage
from .strategy import StoredStrategy
from .values import Strict

__all__ = ["Try"]


class Try(Strict):
    """One run of a strategy, running or over; stored whole with each revision.

    How far it has come since its newest revision, and what was seen meanwhile, is not in it: whoever leads
    keeps that beside the state, and it holds only for the ``revision`` that it was counted from.

    Attributes:
        number: 1 for the first try of this rollout; each `start` and `retry` counts on.
        strategy: how the candidate is tried.
        position: where the try stood at ``revision``.
        digests: of candidate and control when it began: the evidence is about these.
        started: the revision that began it.
        revision: the revision that set strategy or position last: a decision, or a person's verb.
        decision: the newest decision by evidence as `Decision.plain` has it, with ``revision`` and ``time``.
    """

    number: int = Field(ge=1)
    strategy: StoredStrategy
    position: Position
    digests: dict[str, str] = Field(default_factory=dict)
    started: int = Field(ge=0)
    revision: int = Field(ge=0)
    decision: dict[str, Any] | None = None

    @property
    def candidate(self) -> str:
        """Who is tried; also after it has become champion."""
        return self.strategy.candidate

    @property
    def control(self) -> str:
        """Who was champion when it began: the way back."""
        return self.position.control

    @property
    def both(self) -> tuple[str, str]:
        """Candidate and control."""
        return self.candidate, self.control

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return not self.position.stage.ended

    @property
    def watches(self) -> bool:
        """Whether only late harm is looked for: all traffic is the candidate's already."""
        return self.position.stage is Stage.WATCH

    @property
    def words(self) -> str:
        """What it is called.

        >>> data = {"blue_green": {"candidate": "boosted", "bake_after": {"for": "1h"}}}
        >>> strategy = {**data, "guardrails": {"error_rate": {}}}
        >>> Try(number=2, strategy=strategy, position={"control": "b"}, started=7, revision=7).words
        'try 2 of boosted'
        """
        return f"try {self.number} of {self.candidate}"

    @property
    def way_out(self) -> str:
        """What a person can do to whom it is in the way."""
        if self.position.stage is not Stage.BAKE:
            return "promote or abort it first"
        return (
            f"wait until the bake is over (`apply` may make it shorter), or abort: {self.control} gets all "
            "traffic back"
        )

    def at(self, position: Position, revision: int) -> Try:
        """Return it at another position, from a revision on."""
        return self.model_copy(update={"position": position, "revision": revision})

    def ended(self, stage: Stage, revision: int) -> Try:
        """Return it ended, as a revision ended it; one that has ended stays as it did."""
        return self.at(self.position.at(stage), revision) if self.runs else self

    def decided(self, decision: Decision, revision: int, now: float) -> Try:
        """Return it after a decision by evidence.

        Args:
            decision: what was decided.
            revision: the one that the decision makes.
            now: when, in seconds since 1970.
        """
        told = {**decision.plain, "revision": revision, "time": now}
        return self.at(decision.position, revision).model_copy(update={"decision": told})

    def differs(self, digests: Mapping[str, str]) -> list[str]:
        """Return which of candidate and control are other code now than when it began, as far as is known."""
        return [name for name, digest in self.digests.items() if digests.get(name, digest) != digest]

"""Steps: the ways of a candidate to all traffic, as a strategy says them; valid, or not constructed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from .errors import InvalidValue
from .values import FULL, Seconds, Strict, VariantName, in_percent, parse_milli

__all__ = ["MOST_HOLDBACK", "MOST_STEPS", "BakeAfter", "Canary", "Pause", "Step", "Swap"]

MOST_STEPS = 100
"""Steps that a canary may have."""

MOST_HOLDBACK = FULL // 2
"""The largest holdback, in thousandths of a percent: after a promotion most traffic is the new champion's."""

Percent = Annotated[
    int,
    BeforeValidator(parse_milli),
    PlainSerializer(lambda milli: milli / 1000, return_type=float),
]
"""A percentage, kept in thousandths of a percent and written in percent."""


class Pause(Strict):
    """Waiting that no evidence ends.

    Attributes:
        seconds: written ``for``: how long; None: until a person says ``resume``.
    """

    seconds: Seconds | None = Field(default=None, alias="for")


class Step(Strict):
    """One step: the candidate watches, or has traffic, or everything waits. One of the three.

    Attributes:
        shadow: thousandths of a percent that it watches, at weight 0.
        weight: thousandths of a percent of the traffic that it has.
        pause: waits; weight and shadow stay as they were.
        bake: seconds that the step takes at least.
        healthy: ``optional``: it ends on its bake alone, if nothing is harmful and data flows.
    """

    shadow: Percent | None = None
    weight: Percent | None = None
    pause: Pause | None = None
    bake: Seconds | None = None
    healthy: Literal["required", "optional"] = "required"

    @model_validator(mode="after")
    def _one(self) -> Step:
        if sum(part is not None for part in (self.shadow, self.weight, self.pause)) != 1:
            raise InvalidValue(
                "a step is one of three: {shadow: 100, bake: 24h}, {weight: 5, bake: 30m} or {pause: {}}"
            )
        if self.pause is not None:
            self._check_pause()
        elif self.optional and self.bake is None:
            raise InvalidValue(
                "healthy: optional needs a bake, as nothing else ends the step: write bake: 10m beside it"
            )
        if self.shadow == 0 or self.weight == 0:
            raise InvalidValue("with 0 percent nothing would be seen; write more, or a pause")
        if self.weight == FULL:
            raise InvalidValue(
                "at weight 100 nothing is left to compare with; end with a smaller one and finally: promote"
            )
        return self

    def _check_pause(self) -> None:
        if self.bake is not None:
            raise InvalidValue("a pause has no bake; write pause: {for: 1h} to wait for a while")
        if self.optional:
            raise InvalidValue("a pause waits for no health; leave healthy: out")

    @property
    def optional(self) -> bool:
        """Whether it ends without being healthy."""
        return self.healthy == "optional"

    def __str__(self) -> str:
        if self.shadow is not None:
            return f"shadow {in_percent(self.shadow)}"
        return "pause" if self.weight is None else f"weight {in_percent(self.weight)}"


class BakeAfter(Strict):
    """The time after a promotion in which the old champion keeps a part of the keys to compare with.

    Attributes:
        seconds: written ``for``: how long.
        holdback: thousandths of a percent that the old champion keeps.
    """

    seconds: Seconds = Field(alias="for")
    holdback: Percent = 2000

    @model_validator(mode="after")
    def _measurable(self) -> BakeAfter:
        if not 0 < self.holdback <= MOST_HOLDBACK:
            raise InvalidValue(
                f"holdback {in_percent(self.holdback)} is not valid: it lies above 0 % (with nothing to "
                f"compare with, no harm would be seen) and is at most {in_percent(MOST_HOLDBACK)}"
            )
        return self


class Canary(Strict):
    """Traffic in steps.

    Attributes:
        candidate: who is tried.
        steps: in their order.
        ending: written ``finally``: what comes after them: it is promoted, or keeps what it has.
        bake_after: what follows a promotion; None: nothing, and no holdback.
    """

    candidate: VariantName
    steps: tuple[Step, ...]
    ending: Literal["promote", "hold"] = Field(default="promote", alias="finally")
    bake_after: BakeAfter | None = None


class Swap(Strict):
    """Blue/green: the candidate becomes champion at once, and the old one is the way back.

    Attributes:
        candidate: who is tried.
        bake_after: how long it is watched, and what the old champion keeps meanwhile.
    """

    candidate: VariantName
    bake_after: BakeAfter

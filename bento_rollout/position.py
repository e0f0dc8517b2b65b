"""`Position`: how far a try has come, and what it remembers; pure: a change is a function of it.

Time is counted, not measured: each look adds the seconds since the last, at least 0 and at most
`MOST_TICK`. So a clock that jumps, a host that sleeps or a leader that was away ends no bake by itself.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from .assessment import Assessments, Finding
from .errors import AlarmLatched, InvalidValue, Refused, StoreCorrupt
from .strategy import Strategy
from .values import Strict

__all__ = [
    "MOST_TICK",
    "Paused",
    "Position",
    "Stage",
    "check_fits",
    "edited",
    "folded",
    "paused_by",
    "resumed",
    "ticked",
    "watched",
]

MOST_TICK = 30.0
"""Seconds that one look adds at most; looks are meant to come every second or so."""

Counted = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Names = tuple[str, ...]


class Stage(str, Enum):
    """What a try is doing."""

    STEPS = "steps"
    HOLDING = "holding"
    BAKE = "bake"
    WATCH = "watch"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"

    @property
    def ended(self) -> bool:
        """Whether nothing of the try runs any more."""
        return self in (Stage.DONE, Stage.ROLLED_BACK, Stage.ABORTED)


class Paused(Strict):
    """Why nothing is raised or promoted.

    Attributes:
        by: who paused it; ``evidence``: the policy itself.
        reason: in words, possibly empty.
        cause: a person, harm, something that cannot be measured, that nothing was decided for too long, or
            that a promotion was refused.
    """

    by: str
    reason: str = ""
    cause: Literal["person", "harm", "unmeasurable", "undecided", "refused"] = "person"


class Position(Strict):
    """How far a try has come, and what it remembers; immutable, stored whole.

    Attributes:
        control: who was champion when it began: the way back.
        stage: what it is doing: the steps; holding what the last gave; the bake after a promotion; watching
            for late harm; or it has ended.
        step: which step it is in, from 0.
        counted: seconds in this stretch (the step, the bake).
        undecided: seconds in which it might have decided and did not, since it began or was resumed.
        promoted: seconds since the promotion.
        looked: when it was looked at last, in seconds since 1970.
        paused: why nothing is raised or promoted; None: it goes on.
        passed: whether a person ended the pause step that it is in.
        healthy: guardrails shown to be healthy; carried over steps.
        alarms: guardrails shown to be harmful; only a new try forgets them.
        excused: those of them that a person accepted, with a reason: they are waited for no more.
        unmeasured: what cannot be measured, and a person resumed knowing it.
        told: what a notice was given of already.
    """

    control: str
    stage: Stage = Stage.STEPS
    step: int = Field(0, ge=0)
    counted: Counted = 0.0
    undecided: Counted = 0.0
    promoted: Counted = 0.0
    looked: Annotated[float, Field(allow_inf_nan=False)] | None = None
    paused: Paused | None = None
    passed: bool = False
    healthy: Names = ()
    alarms: Names = ()
    excused: Names = ()
    unmeasured: Names = ()
    told: Names = ()

    @classmethod
    def parse(cls, data: object) -> Position:
        """Return the position that stored data describes.

        Raises:
            StoreCorrupt: it is none.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            item = error.errors()[0]
            place = ".".join(map(str, item["loc"])) or "the whole"
            raise StoreCorrupt(
                f"the stored position of a try is not readable: {place}: {item['msg']}"
            ) from None

    @property
    def plain(self) -> dict[str, Any]:
        """This position as plain data; `parse` returns the same from it."""
        return self.model_dump(mode="json")

    @property
    def place(self) -> str:
        """The stretch that blocks are counted in: ``step 1`` for the first step, else the stage."""
        return f"step {self.step + 1}" if self.stage is Stage.STEPS else self.stage.value

    @property
    def open_alarms(self) -> Names:
        """Guardrails shown to be harmful that no person accepted."""
        return tuple(name for name in self.alarms if name not in self.excused)

    def at(self, stage: Stage, step: int | None = None) -> Position:
        """Return the position at the beginning of another stretch; what it remembers stays.

        What is undecided is counted over all steps together.
        """
        undecided = self.undecided if stage is Stage.STEPS else 0.0
        number = self.step if step is None else step
        return _with(self, stage=stage, step=number, counted=0.0, undecided=undecided, passed=False)


def _with(position: Position, **changes: Any) -> Position:
    return position.model_copy(update=changes)


def check_fits(position: Position, strategy: Strategy) -> None:
    """Refuse a strategy that does not have the step that a try is in.

    Raises:
        InvalidValue: naming the step.
    """
    if position.stage is Stage.STEPS and position.step >= len(strategy.steps):
        raise InvalidValue(
            f"the try is in step {position.step + 1}, and this strategy has {len(strategy.steps)}; "
            "abort it first, or keep the steps up to there"
        )
    if position.stage is Stage.BAKE and strategy.bake_after is None:
        raise InvalidValue("the try bakes, and this strategy has no bake_after; abort it first, or keep it")


def edited(position: Position, before: Strategy, after: Strategy) -> Position:
    """Return the position of a running try whose strategy a person changed.

    A guardrail that counts otherwise now must be shown to be healthy anew; alarms stay.

    Raises:
        InvalidValue: the candidate is another, or the step that the try is in is gone.
    """
    if after.candidate != before.candidate:
        raise InvalidValue(
            f"the try is of {before.candidate!r}, and this strategy tries {after.candidate!r}; abort it first"
        )
    check_fits(position, after)
    old, new = before.guardrails, after.guardrails
    same = {name for name in old if name in new and old[name].counting == new[name].counting}
    return _with(position, healthy=tuple(name for name in position.healthy if name in same))


def ticked(position: Position, strategy: Strategy, now: float, *, mixed: bool = False) -> Position:
    """Return the position after a look at a time: what has passed is counted, as far as it is believed.

    While workers run other code (``mixed``) the stretch stands still: nothing of it could end it later. What
    late labels are watched for goes on, as does all harm.
    """
    if not math.isfinite(now):
        return position
    elapsed = 0.0 if position.looked is None else min(max(0.0, now - position.looked), MOST_TICK)
    return _with(
        position,
        looked=now,
        counted=position.counted + (0.0 if mixed else elapsed),
        undecided=position.undecided + (elapsed if _might_decide(position, strategy) and not mixed else 0.0),
        promoted=position.promoted + (elapsed if position.stage in (Stage.BAKE, Stage.WATCH) else 0.0),
    )


def _might_decide(position: Position, strategy: Strategy) -> bool:
    """Whether only evidence or readiness is waited for: no person, no pause, no bake after a promotion."""
    if position.paused is not None:
        return False
    if position.stage is Stage.STEPS:
        pause = strategy.steps[position.step].pause
        over = pause is None or (pause.seconds is not None and position.counted >= pause.seconds)
        return over or position.passed
    bake = strategy.bake_after
    return position.stage is Stage.BAKE and bake is not None and position.counted >= bake.seconds


def folded(position: Position, strategy: Strategy, evidence: Assessments) -> Position:
    """Return the position with what the evidence has shown.

    Health and harm stay known; harm takes health back. A plain threshold is healthy only while it holds.
    """
    findings = {name: evidence.of(name).finding for name in watched(position, strategy)}
    alarms = {*position.alarms, *(name for name, one in findings.items() if one is Finding.HARMFUL)}
    healthy = {name for name, one in findings.items() if one is Finding.HEALTHY}
    healthy |= {name for name in position.healthy if _carried(name, strategy)}
    unmeasured = {name for name in position.unmeasured if evidence.of(name).finding is Finding.UNMEASURABLE}
    return _with(
        position,
        alarms=tuple(sorted(alarms)),
        healthy=tuple(sorted(healthy - alarms)),
        unmeasured=tuple(sorted(unmeasured)),
    )


def watched(position: Position, strategy: Strategy) -> Names:
    """Return the guardrails whose harm counts now: all, and after the bake those that are to be watched."""
    if position.stage is Stage.WATCH:
        return tuple(name for name, seconds in strategy.watch.items() if position.promoted <= seconds)
    return tuple(strategy.guardrails)


def _carried(name: str, strategy: Strategy) -> bool:
    return name in strategy.guardrails and strategy.guardrails[name].calibrated


def paused_by(position: Position, by: str, reason: str = "") -> Position:
    """Return the position after a person paused it; what it is paused for already stays."""
    if position.stage.ended:
        raise Refused("no try runs: there is nothing to pause")
    return position if position.paused else _with(position, paused=Paused(by=by, reason=reason))


def resumed(position: Position, strategy: Strategy, evidence: Assessments, reason: str = "") -> Position:
    """Return the position after a person lets it go on: out of a pause, else out of the pause step.

    With a reason alarms are accepted: they stay told, and are waited for and acted on no more.

    Raises:
        Refused: nothing waits.
        AlarmLatched: an alarm is latched, and no reason is given.
    """
    if position.stage.ended:
        raise Refused("no try runs: there is nothing to resume")
    alarms = [name for name in position.open_alarms if name in strategy.guardrails]
    waits = position.stage is Stage.STEPS and strategy.steps[position.step].pause is not None
    if not position.paused and not alarms and (not waits or position.passed):
        raise Refused("nothing is paused, and no pause step waits: there is nothing to resume")
    if alarms and not reason.strip():
        raise AlarmLatched(
            f"{', '.join(alarms)} is shown to be harmful: say why it goes on all the same (--reason TEXT); "
            "retry starts anew, abort ends it"
        )
    broken = [name for name, one in evidence.assessments.items() if one.finding is Finding.UNMEASURABLE]
    return _with(
        position,
        paused=None,
        passed=position.passed or (waits and not position.paused),
        undecided=0.0,
        excused=tuple(sorted({*position.excused, *alarms})),
        unmeasured=tuple(sorted({*position.unmeasured, *broken})) if position.paused else position.unmeasured,
    )

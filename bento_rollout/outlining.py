"""What a look at a try found, as plain data for whoever asks for its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .amounts import in_short, in_time
from .assessment import Assessment, Assessments
from .attempt import Try
from .decision import Decision
from .position import Stage

__all__ = ["Pace", "outline"]

Pace = Mapping[str, float]
"""By guardrail, how many units the trial gets in a second."""


def outline(
    attempt: Try, decision: Decision, evidence: Assessments, pace: Pace, now: float
) -> dict[str, Any]:
    """Return what one look found.

    Args:
        attempt: the try that was looked at.
        decision: what is to be done.
        evidence: what is known.
        pace: by guardrail, how many units the trial gets in a second, as far as it is known.
        now: when it was looked, in seconds since 1970.
    """
    here = decision.position
    waits = _waits(attempt, decision, evidence, pace)
    return {
        "number": attempt.number,
        "revision": attempt.revision,
        "looked": now,
        "position": here.plain,
        "action": decision.action.value,
        "words": decision.words,
        "missing": list(decision.missing),
        "may_end": _longest(waits),
        "warnings": _warnings(attempt, evidence, pace),
        "guardrails": {name: _told(one) for name, one in sorted(decision.assessments.items())},
    }


def _longest(waits: list[float | None]) -> float | None:
    """Return how long the longest wait is; None: one of them is not known."""
    known = [wait for wait in waits if wait is not None]
    return max(known, default=0.0) if len(known) == len(waits) else None


def _told(one: Assessment) -> dict[str, Any]:
    return {
        "finding": one.finding.value,
        "detail": one.detail,
        "needed": one.needed,
        "unit": one.unit,
        "numbers": dict(one.numbers),
    }


def _waits(attempt: Try, decision: Decision, evidence: Assessments, pace: Pace) -> list[float | None]:
    """Return the seconds that each thing which is waited for may take; None: that is not known."""
    strategy, here = attempt.strategy, decision.position
    if here.paused is not None or here.stage is Stage.HOLDING or here.stage.ended:
        return [None]
    if here.stage is Stage.BAKE:
        return [] if strategy.bake_after is None else [max(0.0, strategy.bake_after.seconds - here.counted)]
    if here.stage is Stage.WATCH:
        return [max(0.0, max(strategy.watch.values(), default=0.0) - here.promoted)]
    step = strategy.steps[here.step]
    if step.pause is not None:
        return [None if step.pause.seconds is None else max(0.0, step.pause.seconds - here.counted)]
    missing = [n for n in strategy.required_at(here.step) if n not in here.healthy and n not in here.excused]
    waits = [_seconds(evidence.of(name), pace.get(name, 0.0)) for name in missing]
    return [max(0.0, (step.bake or 0.0) - here.counted), *waits]


def _seconds(one: Assessment, pace: float) -> float | None:
    return None if one.needed is None or pace <= 0 else one.needed / pace


def _warnings(attempt: Try, evidence: Assessments, pace: Pace) -> list[str]:
    """Return what a person should know before waiting longer."""
    most, found = attempt.strategy.give_up_after, []
    for name, guardrail in attempt.strategy.guardrails.items():
        one = evidence.of(name)
        seconds = _seconds(one, pace.get(name, 0.0))
        if guardrail.is_required and seconds is not None and seconds > most:
            found.append(
                f"{name} needs about {one.needed} more {one.unit}: at the present pace {in_short(seconds)}, "
                f"longer than give_up_after ({in_time(most)}); raise the weight, or widen its margin"
            )
    return found

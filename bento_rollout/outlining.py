"""What a look at a try found, as plain data for whoever asks for its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .amounts import in_short, in_time
from .assessment import Assessment, Assessments, Finding
from .attempt import Try
from .decision import Decision
from .position import Stage

__all__ = ["Pace", "outline"]

Pace = Mapping[str, float]
"""By guardrail, how many units of what it needs come in a second."""

Wait = tuple[float, float | None]
"""Seconds that something takes at least, and probably at most; None: nobody can say."""

SOON, LATE = 1 / 3, 2.0
"""Between which parts of an estimate evidence is enough, in about four tries of five (simulated)."""


def outline(
    attempt: Try, decision: Decision, evidence: Assessments, pace: Pace, now: float
) -> dict[str, Any]:
    """Return what one look found.

    Args:
        attempt: the try that was looked at.
        decision: what is to be done.
        evidence: what is known.
        pace: by guardrail, how many units of what it needs come in a second, as far as it is known.
        now: when it was looked, in seconds since 1970.
    """
    here = decision.position
    soonest, latest = _between(_waits(attempt, decision, evidence, pace))
    return {
        "number": attempt.number,
        "revision": attempt.revision,
        "looked": now,
        "position": here.plain,
        "action": decision.action.value,
        "words": decision.words,
        "missing": list(decision.missing),
        "may_end": soonest,
        "may_end_late": latest,
        "warnings": _warnings(attempt, evidence, pace),
        "guardrails": {name: _told(one) for name, one in sorted(decision.assessments.items())},
    }


def _between(waits: list[Wait] | None) -> tuple[float | None, float | None]:
    """Return how long all waits take at least, and probably at most; None: nobody can say."""
    if waits is None:
        return None, None
    latest = [late for _, late in waits if late is not None]
    soonest = max((soon for soon, _ in waits), default=0.0)
    return soonest, max(latest, default=0.0) if len(latest) == len(waits) else None


def _told(one: Assessment) -> dict[str, Any]:
    return {
        "finding": one.finding.value,
        "detail": one.detail,
        "needed": one.needed,
        "unit": one.unit,
        "numbers": dict(one.numbers),
    }


def _waits(attempt: Try, decision: Decision, evidence: Assessments, pace: Pace) -> list[Wait] | None:
    """Return the seconds that each thing which is waited for may take; None: nobody can say."""
    strategy, here = attempt.strategy, decision.position
    if here.paused is not None or here.stage is Stage.HOLDING or here.stage.ended or evidence.mixed:
        return None
    if here.stage is Stage.BAKE:
        return [] if strategy.bake_after is None else [_left(strategy.bake_after.seconds, here.counted)]
    if here.stage is Stage.WATCH:
        return [_left(max(strategy.watch.values(), default=0.0), here.promoted)]
    step = strategy.steps[here.step]
    if step.pause is not None:
        return None if step.pause.seconds is None else [_left(step.pause.seconds, here.counted)]
    missing = [n for n in strategy.required_at(here.step) if n not in here.healthy and n not in here.excused]
    waits = [_wait(evidence.of(name), pace.get(name, 0.0)) for name in missing]
    return [_left(step.bake or 0.0, here.counted), *waits]


def _left(seconds: float, counted: float) -> Wait:
    left = max(0.0, seconds - counted)
    return left, left


def _wait(one: Assessment, pace: float) -> Wait:
    """Return about how long evidence takes; of what a control does first nobody knows what comes then."""
    if (seconds := _seconds(one, pace)) is None:
        return 0.0, None
    return seconds * SOON, None if one.finding is Finding.NO_DATA else seconds * LATE


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

"""`decide`: what to do with a try, from its strategy, its position, the evidence and the time; pure.

In this order: harm wins, in every stage, paused or not; what cannot be measured pauses; a pause holds; then
the step, the bake or the watch goes its course, and pauses when it did not end for too long.
"""

from __future__ import annotations

from dataclasses import replace

from .assessment import Assessments
from .course import course, promotion, step
from .decision import Action, Decision
from .errors import NotReady
from .looking import Look, pausing, remembering
from .position import Position, Stage, check_fits, folded, ticked
from .strategy import Strategy

__all__ = ["begin", "decide"]


def begin(strategy: Strategy, control: str, now: float, *, unready: str = "") -> Decision:
    """Return what starts a try: the first step, or of blue/green the flip; its evidence begins empty.

    Args:
        strategy: how the candidate is tried.
        control: who is champion now.
        now: seconds since 1970.
        unready: why the candidate cannot take traffic; empty: it can.

    Raises:
        NotReady: before any weight the candidate is ready and warm.
    """
    if unready:
        raise NotReady(f"{strategy.candidate!r} is not ready: {unready}; nothing changed")
    position = Position(control=control, looked=now)
    if strategy.blue_green:
        words = f"{strategy.candidate} takes over from {control} at once, as blue/green says"
        decision = promotion(strategy, position, words, {})
    else:
        decision = step(strategy, position, 0, "the rollout starts", {})
    return _unchanging(decision) if strategy.dry_run else decision


def decide(strategy: Strategy, position: Position, evidence: Assessments, now: float) -> Decision:
    """Return what to do with a try now; the same question has the same answer.

    Args:
        strategy: how the candidate is tried.
        position: where the try stands, as the last decision left it.
        evidence: what is known now; it belongs to this try.
        now: seconds since 1970; it may jump.

    Raises:
        InvalidValue: when the strategy does not have the step that the try is in.
    """
    if position.stage.ended:
        return Decision(Action.HOLD, f"the try has ended ({position.stage.value}): nothing runs", position)
    check_fits(position, strategy)
    here = folded(ticked(position, strategy, now, mixed=bool(evidence.mixed)), strategy, evidence)
    look = Look(strategy, here, evidence)
    decision = _harm(look) or _unmeasurable(look) or _notice(look) or _pause(look) or course(look)
    return _dry(decision, look) if strategy.dry_run else decision


def _harm(look: Look) -> Decision | None:
    """Harm that rolls back or pauses; pauses and people's waits do not hold it back."""
    by_action = look.harmful
    if back := [name for name, action in by_action.items() if action == "rollback"]:
        return _back(look, back)
    stops = [name for name, action in by_action.items() if action == "pause"]
    new = [name for name in stops if f"harm:{name}" not in look.here.told]
    paused = look.here.paused
    if not stops or (not new and paused and paused.cause == "harm"):
        return None
    reason = f"{look.told(stops)}: harm is shown"
    words = f"pauses at {look.where}: {reason}; resume with a reason, retry, or abort"
    return pausing(look, words, reason, "harm", stops)


def _back(look: Look, causes: list[str]) -> Decision | None:
    """All traffic to the control, now."""
    control, candidate = look.here.control, look.strategy.candidate
    reason = f"harm is shown by {look.told(causes)}"
    if look.here.stage in (Stage.BAKE, Stage.WATCH) and look.evidence.control_unready:
        problem = f"{control} is not ready: {look.evidence.control_unready}"
        words = f"{candidate} cannot be rolled back to {control}, though {reason}: {problem}"
        first = "way back" not in look.here.told
        action = Action.NOTIFY if first else Action.HOLD
        at = remembering(look.here, ["way back"])
        return look.decision(action, words, at, missing=(problem,), causes=tuple(causes))
    words = f"{candidate} is rolled back at {look.where}, all traffic goes to {control}: {reason}"
    at = look.here.at(Stage.ROLLED_BACK)
    return look.decision(Action.ROLL_BACK, words, at, causes=tuple(causes), weights={})


def _unmeasurable(look: Look) -> Decision | None:
    """What cannot be measured cannot be judged: a person looks at it."""
    new = [name for name in look.broken if name not in look.here.unmeasured]
    if not new or look.here.paused:
        return None
    reason = f"{look.told(new)}: this cannot be measured"
    return pausing(look, f"pauses at {look.where}: {reason}", reason, "unmeasurable", new)


def _notice(look: Look) -> Decision | None:
    """Harm that a person only wants to hear of, once."""
    notes = [name for name, action in look.harmful.items() if action == "notify"]
    new = [name for name in notes if f"harm:{name}" not in look.here.told]
    if not new:
        return None
    words = f"harm is shown at {look.where}: {look.told(new)}; traffic stays as it is"
    at = remembering(look.here, [f"harm:{name}" for name in new])
    return look.decision(Action.NOTIFY, words, at, causes=tuple(new))


def _pause(look: Look) -> Decision | None:
    if not (paused := look.here.paused):
        return None
    why = f": {paused.reason}" if paused.reason else ""
    harmed = "a person: see why (explain), then retry, abort, or resume with a reason"
    return look.decision(
        Action.HOLD,
        f"paused by {paused.by} at {look.where}{why}",
        missing=(harmed if paused.cause == "harm" else "a person who says resume",),
        causes=tuple(look.harmful),
    )


def _dry(decision: Decision, look: Look) -> Decision:
    """Say what would be done, once, and change nothing but what is remembered."""
    if decision.action is Action.HOLD:
        return replace(decision, dry_run=True)
    marks = {f"dry:{decision.action.value}:{look.here.place}:{cause}" for cause in decision.causes or ("",)}
    action = Action.HOLD if marks <= {*look.here.told} else decision.action
    return replace(_unchanging(decision), action=action, position=remembering(look.here, marks))


def _unchanging(decision: Decision) -> Decision:
    words = f"dry run, nothing changes: {decision.words}"
    return replace(decision, words=words, weights=None, shadow=None, dry_run=True)

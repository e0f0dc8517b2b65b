"""The course of a try when nothing is in its way: steps, bake, watch, and what each waits for; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .amounts import in_short, in_time
from .assessment import Assessment
from .decision import Action, Decision
from .errors import Refused
from .looking import Look, pausing
from .position import Position, Stage
from .strategy import Strategy
from .values import in_percent

__all__ = ["after_promotion", "course", "promotion", "step"]


def after_promotion(strategy: Strategy, position: Position) -> tuple[Position, dict[str, int]]:
    """Return where a try stands after its candidate became champion, and the weights then.

    Raises:
        Refused: it has been promoted already, or the try has ended.
    """
    if position.stage.ended:
        raise Refused(
            f"the try has ended ({position.stage.value}): start a new one with retry, or use flip without one"
        )
    if position.stage not in (Stage.STEPS, Stage.HOLDING):
        raise Refused(
            f"{strategy.candidate!r} is the champion already: the {position.stage.value} ends by itself, and "
            f"`abort` goes back to {position.control!r}"
        )
    if bake := strategy.bake_after:
        return position.at(Stage.BAKE), {position.control: bake.holdback}
    return position.at(Stage.WATCH if strategy.watch else Stage.DONE), {}


def course(look: Look) -> Decision:
    """Return what comes next when nothing else decides."""
    return {
        Stage.STEPS: _in_step,
        Stage.HOLDING: _holding,
        Stage.BAKE: _baking,
        Stage.WATCH: _watching,
    }[look.here.stage](look)


def _in_step(look: Look) -> Decision:
    number, steps = look.here.step, look.strategy.steps
    missing = [*_in_the_way(look), *(_waiting(look) if look.step.pause else _measuring(look))]
    last = number + 1 == len(steps)
    if last and look.strategy.promotes:
        missing += [words for words in _unproven(look) if words not in missing]
    brings_traffic = not last and not steps[number + 1].pause
    if (brings_traffic or (last and look.strategy.promotes)) and look.evidence.trial_unready:
        missing.append(f"{look.strategy.candidate} is not ready: {look.evidence.trial_unready}")
    if missing:
        return _held(look, missing)
    reason = f"{look.where} is over{_shown(look)}"
    if not last:
        return step(look.strategy, look.here, number + 1, reason, look.assessments)
    if look.strategy.promotes:
        words = f"{look.strategy.candidate} is promoted in place of {look.here.control}: {reason}"
        return promotion(look.strategy, look.here, words, look.assessments)
    words = f"{reason}; it was the last: {look.strategy.candidate} keeps what it has until a person decides"
    return look.decision(Action.NOTIFY, words, look.here.at(Stage.HOLDING))


def _waiting(look: Look) -> list[str]:
    """What a pause step waits for."""
    pause = look.step.pause
    if look.here.passed or pause is None:
        return []
    if pause.seconds is None:
        return ["a person who says resume"]
    return _time_left("the pause", pause.seconds, look.here)


def _measuring(look: Look) -> list[str]:
    """What a step with traffic or shadow waits for."""
    missing = _time_left("the bake", look.step.bake or 0.0, look.here) + _flow(look)
    if look.step.optional and look.step.bake and look.evidence.idle > look.step.bake:
        missing.append(f"data from both arms: the last came {in_short(look.evidence.idle)} ago")
    return missing + _unhealthy(look, look.strategy.required_at(look.here.step))


def _unproven(look: Look) -> list[str]:
    """What a promotion waits for: positive evidence, and not only that nothing was seen."""
    required = look.strategy.required_to_promote
    if required and all(name in look.here.excused for name in required):
        return ["evidence for it: every guardrail was shown harmful; promote it yourself, retry or abort"]
    return _unhealthy(look, required)


def _holding(look: Look) -> Decision:
    words = (
        f"all steps are over; {look.strategy.candidate} keeps what it has until a person promotes or aborts"
    )
    return look.decision(Action.HOLD, words, missing=("a person who says promote or abort",))


def _baking(look: Look) -> Decision:
    bake = look.strategy.bake_after
    missing = [*_in_the_way(look), *(_time_left("the bake", bake.seconds, look.here) if bake else ())]
    missing += _flow(look)
    if missing:
        return _held(look, missing)
    watch = max(look.strategy.watch.values(), default=0.0) > look.here.promoted
    words = f"the bake is over, {_harmless(look)}: all traffic is {look.strategy.candidate}'s"
    at = look.here.at(Stage.WATCH if watch else Stage.DONE)
    return look.decision(Action.END_BAKE, words, at, weights={})


def _watching(look: Look) -> Decision:
    left = max(look.strategy.watch.values(), default=0.0) - look.here.promoted
    missing = [*_in_the_way(look), *([f"late labels: {in_short(left)} more"] if left > 0 else [])]
    if missing:
        return look.decision(Action.HOLD, _holds(look, missing), missing=tuple(missing))
    words = f"late labels were watched for, {_harmless(look)}: the try of {look.strategy.candidate} is done"
    return look.decision(Action.FINISH, words, look.here.at(Stage.DONE))


def _harmless(look: Look) -> str:
    accepted = ", ".join(look.here.excused)
    return f"and a person accepted the harm of {accepted}" if accepted else "and no harm was seen"


def _held(look: Look, missing: list[str]) -> Decision:
    """Nothing yet; and when that has been so for too long, a person looks at it."""
    most = look.strategy.give_up_after
    if look.here.undecided >= most:
        reason = f"undecided for {in_time(most)}; missing: {'; '.join(missing)}"
        return pausing(look, f"pauses at {look.where}: {reason}", reason, "undecided", (), tuple(missing))
    return look.decision(Action.HOLD, _holds(look, missing), missing=tuple(missing))


def _holds(look: Look, missing: list[str]) -> str:
    return f"holds at {look.where}; missing: {'; '.join(missing)}"


def _in_the_way(look: Look) -> list[str]:
    """What lets nothing advance, whatever else is shown."""
    harm = [f"an answer to harm: {name} (resume with a reason, retry or abort)" for name in look.harmful]
    mixed = [f"one code: {look.evidence.mixed}"] if look.evidence.mixed else []
    return harm + mixed + [f"a measurement: {look.told([name])}" for name in look.broken]


def _time_left(what: str, seconds: float, here: Position) -> list[str]:
    left = seconds - here.counted
    return [f"{what}: {in_short(left)} more"] if left > 0 else []


def _flow(look: Look) -> list[str]:
    trial, control = look.evidence.blocks_at(look.here.place)
    names = look.strategy.candidate, look.here.control
    idle = [name for name, blocks in zip(names, (trial, control), strict=True) if not blocks]
    return [f"data: no call of {' and '.join(idle)} counted here yet"] if idle else []


def _unhealthy(look: Look, required: Iterable[str]) -> list[str]:
    """Which guardrails are not shown to be healthy; what a person accepted is not waited for."""
    known = {*look.here.healthy, *look.here.excused, *look.here.alarms, *look.broken}
    return [f"{name} healthy: {_need(look.evidence.of(name))}" for name in required if name not in known]


def _need(assessment: Assessment) -> str:
    """Return what an assessment says in words, and about how much more it takes."""
    more = f"about {assessment.needed} more {assessment.unit}" if assessment.needed is not None else ""
    parts = [assessment.finding.words, assessment.detail, more]
    return ", ".join(part for part in parts if part)


def _shown(look: Look) -> str:
    healthy = [name for name in look.strategy.required_at(look.here.step) if name in look.here.healthy]
    return f" (healthy: {', '.join(healthy)})" if healthy else ""


def step(
    strategy: Strategy, position: Position, number: int, reason: str, assessments: Mapping[str, Assessment]
) -> Decision:
    """Return the decision that a step (from 0) begins, after what the reason says."""
    entered, weight = strategy.steps[number], strategy.weight_at(number)
    what = "a pause" if entered.pause else str(entered)
    words = f"{reason}; {strategy.candidate} enters step {number + 1} of {len(strategy.steps)}: {what}"
    return Decision(
        Action.ADVANCE,
        words,
        position.at(Stage.STEPS, number),
        weights={strategy.candidate: weight} if weight else {},
        shadow=strategy.shadow_at(number),
        assessments=assessments,
    )


def promotion(
    strategy: Strategy, position: Position, words: str, assessments: Mapping[str, Assessment]
) -> Decision:
    """Return the decision that the candidate becomes champion; the words are told with what is held back."""
    at, weights = after_promotion(strategy, position)
    for name, milli in weights.items():
        words = f"{words}; {name} keeps {in_percent(milli)} to compare with"
    return Decision(Action.PROMOTE, words, at, weights=weights, assessments=assessments)

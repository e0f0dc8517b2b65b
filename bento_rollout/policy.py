"""`decide`: what to do with a try, from its strategy, its position, the evidence and the time; pure.

In this order: harm wins, in every stage, paused or not; what cannot be measured pauses; a pause holds; then
the step, the bake or the watch goes its course, and pauses when it did not end for too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .assessment import Assessment, Evidence, Finding
from .decision import Action, Decision
from .errors import NotReady
from .position import Paused, Position, Stage, check_fits, folded, ticked, watched
from .steps import Step
from .strategy import Strategy, in_time
from .values import in_percent

__all__ = ["after_promotion", "begin", "decide"]

EVIDENCE = "evidence"
"""Who pauses when no person does."""


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
        return _promotion(strategy, position, words, {})
    return _step(strategy, position, 0, "the rollout starts", {})


def after_promotion(strategy: Strategy, position: Position) -> tuple[Position, dict[str, int]]:
    """Return where a try stands after its candidate became champion, and the weights then."""
    if bake := strategy.bake_after:
        return position.at(Stage.BAKE), {position.control: bake.holdback}
    return position.at(Stage.WATCH if strategy.watch else Stage.DONE), {}


def decide(strategy: Strategy, position: Position, evidence: Evidence, now: float) -> Decision:
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
    here = folded(ticked(position, strategy, now), strategy, evidence)
    look = _Look(strategy, here, evidence)
    decision = _harm(look) or _unmeasurable(look) or _notice(look) or _pause(look) or _course(look)
    return _dry(decision, look) if strategy.dry_run else decision


@dataclass(frozen=True, slots=True)
class _Look:
    """What one decision is made from."""

    strategy: Strategy
    here: Position
    evidence: Evidence

    @property
    def step(self) -> Step:
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
        return ", ".join(f"{name} {_detail(self.evidence.of(name))}".strip() for name in names)

    def decision(self, action: Action, words: str, position: Position | None = None, **more: Any) -> Decision:
        at = self.here if position is None else position
        return Decision(action, words, at, assessments=self.assessments, **more)


def _harm(look: _Look) -> Decision | None:
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
    return _paused(look, words, reason, "harm", stops)


def _back(look: _Look, causes: list[str]) -> Decision | None:
    """All traffic to the control, now."""
    control, candidate = look.here.control, look.strategy.candidate
    reason = f"harm is shown by {look.told(causes)}"
    if look.here.stage in (Stage.BAKE, Stage.WATCH) and look.evidence.control_unready:
        problem = f"{control} is not ready: {look.evidence.control_unready}"
        words = f"{candidate} cannot be rolled back to {control}, though {reason}: {problem}"
        first = "way back" not in look.here.told
        action = Action.NOTIFY if first else Action.HOLD
        at = _remembering(look.here, ["way back"])
        return look.decision(action, words, at, missing=(problem,), causes=tuple(causes))
    words = f"{candidate} is rolled back at {look.where}, all traffic goes to {control}: {reason}"
    at = look.here.at(Stage.ROLLED_BACK)
    return look.decision(Action.ROLL_BACK, words, at, causes=tuple(causes), weights={})


def _unmeasurable(look: _Look) -> Decision | None:
    """What cannot be measured cannot be judged: a person looks at it."""
    new = [name for name in look.broken if name not in look.here.unmeasured]
    if not new or look.here.paused:
        return None
    reason = f"{look.told(new)}: this cannot be measured"
    return _paused(look, f"pauses at {look.where}: {reason}", reason, "unmeasurable", new)


def _notice(look: _Look) -> Decision | None:
    """Harm that a person only wants to hear of, once."""
    notes = [name for name, action in look.harmful.items() if action == "notify"]
    new = [name for name in notes if f"harm:{name}" not in look.here.told]
    if not new:
        return None
    words = f"harm is shown at {look.where}: {look.told(new)}; traffic stays as it is"
    at = _remembering(look.here, [f"harm:{name}" for name in new])
    return look.decision(Action.NOTIFY, words, at, causes=tuple(new))


def _pause(look: _Look) -> Decision | None:
    if not (paused := look.here.paused):
        return None
    why = f": {paused.reason}" if paused.reason else ""
    missing = ("resume",)
    return look.decision(
        Action.HOLD,
        f"paused by {paused.by} at {look.where}{why}",
        missing=missing,
        causes=tuple(look.harmful),
    )


def _course(look: _Look) -> Decision:
    """What comes next when nothing is in the way."""
    return {
        Stage.STEPS: _in_step,
        Stage.HOLDING: _holding,
        Stage.BAKE: _baking,
        Stage.WATCH: _watching,
    }[look.here.stage](look)


def _in_step(look: _Look) -> Decision:
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
        return _step(look.strategy, look.here, number + 1, reason, look.assessments)
    if look.strategy.promotes:
        words = f"{look.strategy.candidate} is promoted in place of {look.here.control}: {reason}"
        return _promotion(look.strategy, look.here, words, look.assessments)
    words = f"{reason}; it was the last: {look.strategy.candidate} keeps what it has until a person decides"
    return look.decision(Action.NOTIFY, words, look.here.at(Stage.HOLDING))


def _waiting(look: _Look) -> list[str]:
    """What a pause step waits for."""
    pause = look.step.pause
    if look.here.passed or pause is None:
        return []
    if pause.seconds is None:
        return ["a person who says resume"]
    return _time_left("the pause", pause.seconds, look.here)


def _measuring(look: _Look) -> list[str]:
    """What a step with traffic or shadow waits for."""
    missing = _time_left("the bake", look.step.bake or 0.0, look.here) + _flow(look)
    if look.step.optional and look.step.bake and look.evidence.idle > look.step.bake:
        missing.append(f"data from both arms: the last came {in_time(round(look.evidence.idle))} ago")
    return missing + _unhealthy(look, look.strategy.required_at(look.here.step))


def _unproven(look: _Look) -> list[str]:
    """What a promotion waits for: positive evidence, and not only that nothing was seen."""
    required = look.strategy.required_to_promote
    if required and all(name in look.here.excused for name in required):
        return ["evidence for it: every guardrail was shown harmful; promote it yourself, retry or abort"]
    return _unhealthy(look, required)


def _holding(look: _Look) -> Decision:
    words = (
        f"all steps are over; {look.strategy.candidate} keeps what it has until a person promotes or aborts"
    )
    return look.decision(Action.HOLD, words, missing=("a person who says promote or abort",))


def _baking(look: _Look) -> Decision:
    bake = look.strategy.bake_after
    missing = [*_in_the_way(look), *(_time_left("the bake", bake.seconds, look.here) if bake else ())]
    missing += _flow(look)
    if missing:
        return _held(look, missing)
    watch = max(look.strategy.watch.values(), default=0.0) > look.here.promoted
    words = f"the bake is over and no harm was seen: all traffic is {look.strategy.candidate}'s"
    at = look.here.at(Stage.WATCH if watch else Stage.DONE)
    return look.decision(Action.END_BAKE, words, at, weights={})


def _watching(look: _Look) -> Decision:
    left = max(look.strategy.watch.values(), default=0.0) - look.here.promoted
    missing = [*_in_the_way(look), *([f"late labels: {in_time(round(left))} more"] if left > 0 else [])]
    if missing:
        return look.decision(Action.HOLD, _holds(look, missing), missing=tuple(missing))
    words = f"late labels were watched for and no harm was seen: the try of {look.strategy.candidate} is done"
    return look.decision(Action.FINISH, words, look.here.at(Stage.DONE))


def _held(look: _Look, missing: list[str]) -> Decision:
    """Nothing yet; and when that has been so for too long, a person looks at it."""
    most = look.strategy.give_up_after
    if look.here.undecided >= most:
        reason = f"undecided for {in_time(most)}; missing: {'; '.join(missing)}"
        return _paused(look, f"pauses at {look.where}: {reason}", reason, "undecided", (), tuple(missing))
    return look.decision(Action.HOLD, _holds(look, missing), missing=tuple(missing))


def _holds(look: _Look, missing: list[str]) -> str:
    return f"holds at {look.where}; missing: {'; '.join(missing)}"


def _in_the_way(look: _Look) -> list[str]:
    """What lets nothing advance, whatever else is shown."""
    harm = [f"an answer to harm: {name} (resume with a reason, retry or abort)" for name in look.harmful]
    return harm + [f"a measurement: {look.told([name])}" for name in look.broken]


def _time_left(what: str, seconds: float, here: Position) -> list[str]:
    left = seconds - here.counted
    return [f"{what}: {in_time(max(1, round(left)))} more"] if left > 0 else []


def _flow(look: _Look) -> list[str]:
    trial, control = look.evidence.blocks_at(look.here.place)
    names = look.strategy.candidate, look.here.control
    idle = [name for name, blocks in zip(names, (trial, control), strict=True) if not blocks]
    return [f"data: no call of {' and '.join(idle)} counted here yet"] if idle else []


def _unhealthy(look: _Look, required: Iterable[str]) -> list[str]:
    """Which guardrails are not shown to be healthy; what a person accepted is not waited for."""
    known = {*look.here.healthy, *look.here.excused, *look.here.alarms, *look.broken}
    return [f"{name} healthy: {_need(look.evidence.of(name))}" for name in required if name not in known]


def _need(assessment: Assessment) -> str:
    """Return what an assessment says in words, and about how much more it takes."""
    more = f"about {assessment.needed} more {assessment.unit}" if assessment.needed is not None else ""
    parts = [assessment.finding.words, assessment.detail, more]
    return ", ".join(part for part in parts if part)


def _detail(assessment: Assessment) -> str:
    return f"({assessment.detail})" if assessment.detail else ""


def _shown(look: _Look) -> str:
    healthy = [name for name in look.strategy.required_at(look.here.step) if name in look.here.healthy]
    return f" (healthy: {', '.join(healthy)})" if healthy else ""


def _step(
    strategy: Strategy, position: Position, number: int, reason: str, assessments: Mapping[str, Assessment]
) -> Decision:
    """The next step begins."""
    step, weight = strategy.steps[number], strategy.weight_at(number)
    what = "a pause" if step.pause else str(step)
    words = f"{reason}; {strategy.candidate} enters step {number + 1} of {len(strategy.steps)}: {what}"
    return Decision(
        Action.ADVANCE,
        words,
        position.at(Stage.STEPS, number),
        weights={strategy.candidate: weight} if weight else {},
        shadow=strategy.shadow_at(number),
        assessments=assessments,
    )


def _promotion(
    strategy: Strategy, position: Position, words: str, assessments: Mapping[str, Assessment]
) -> Decision:
    at, weights = after_promotion(strategy, position)
    for name, milli in weights.items():
        words = f"{words}; {name} keeps {in_percent(milli)} to compare with"
    return Decision(Action.PROMOTE, words, at, weights=weights, assessments=assessments)


def _paused(
    look: _Look,
    words: str,
    reason: str,
    cause: Literal["harm", "unmeasurable", "undecided"],
    causes: Iterable[str],
    missing: tuple[str, ...] = (),
) -> Decision:
    """Nothing is raised or promoted until a person says so."""
    names = tuple(causes)
    told = [f"harm:{name}" for name in names] if cause == "harm" else []
    at = _remembering(look.here, told).model_copy(
        update={"paused": Paused(by=EVIDENCE, reason=reason, cause=cause)}
    )
    return look.decision(Action.PAUSE, words, at, missing=missing, causes=names)


def _remembering(position: Position, marks: Iterable[str]) -> Position:
    return position.model_copy(update={"told": tuple(sorted({*position.told, *marks}))})


def _dry(decision: Decision, look: _Look) -> Decision:
    """Say what would be done, once, and change nothing but what is remembered."""
    if decision.action is Action.HOLD:
        return replace(decision, dry_run=True)
    marks = {f"dry:{decision.action.value}:{look.here.place}:{cause}" for cause in decision.causes or ("",)}
    action = Action.HOLD if marks <= {*look.here.told} else decision.action
    return replace(
        decision,
        action=action,
        words=f"dry run, nothing changes: {decision.words}",
        position=_remembering(look.here, marks),
        weights=None,
        shadow=None,
        dry_run=True,
    )

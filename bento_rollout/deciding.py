"""What decisions, and people, do to a try: each a function from state to state; pure.

Where a try stands now, which people's verbs go on from, is given: the state knows only where it stood at its
newest revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .assessment import Assessments
from .attempt import Try
from .course import after_promotion
from .decision import Action, Decision
from .errors import AlarmLatched, Refused
from .policy import begin
from .position import Paused, Position, Stage, edited, paused_by, resumed
from .state import RolloutState
from .strategy import Strategy
from .values import FULL, in_percent, in_words

__all__ = [
    "EVIDENCE",
    "action_of",
    "decided",
    "fitting",
    "let_go",
    "promoted",
    "reworked",
    "running_try",
    "started",
    "stopped",
]

EVIDENCE = "evidence"
"""The author of what is decided by evidence."""

_MOVES = (Action.ADVANCE, Action.PROMOTE, Action.END_BAKE)


def action_of(decision: Decision) -> str:
    """Return what the history calls a decision; a dry run does no more than tell."""
    if decision.dry_run:
        return Action.NOTIFY.value
    return "rollback" if decision.action is Action.ROLL_BACK else decision.action.value


def running_try(state: RolloutState, advice: str) -> Try:
    """Return the try that runs.

    Raises:
        Refused: none does; the advice says what to do instead.
    """
    if state.running is None:
        raise Refused(f"no strategy is running for {state.name!r}{_ended(state)}: {advice}")
    return state.running


def decided(
    state: RolloutState, decision: Decision, now: float, known: Sequence[str] | None = None
) -> RolloutState:
    """Return the state after a decision by evidence; the same state when it is to hold.

    Args:
        state: the one that it was decided for.
        decision: what `policy.decide` said, made `fitting`.
        now: when, in seconds since 1970.
        known: the variants that the service has; None: do not ask.

    Raises:
        Refused: no try runs.
        NotReady: the service does not have the control that all traffic should go back to.
    """
    running = running_try(state, "there is nothing to decide")
    if decision.action is Action.HOLD:
        return state
    attempt = running.decided(decision, state.revision + 1, now)
    if decision.dry_run:
        return state.tried(attempt)
    if decision.action is Action.ROLL_BACK:
        return state.roll_back(known=known, attempt=attempt)
    return _carried_out(state, attempt, decision)


def _carried_out(
    state: RolloutState, attempt: Try, decision: Decision, *, moves: bool = False
) -> RolloutState:
    crowns = decision.action is Action.PROMOTE and decision.weights is not None
    return state.tried(
        attempt,
        champion=attempt.candidate if crowns else None,
        weights=decision.weights,
        shadow=decision.shadow,
        moves=moves or decision.action in _MOVES,
    )


def fitting(state: RolloutState, decision: Decision) -> Decision:
    """Return a decision that can be carried out: a pause where others have what the candidate needs."""
    running = running_try(state, "there is nothing to decide")
    if decision.weights is None or decision.action is Action.ROLL_BACK:
        return decision
    others = {n: milli for n, milli in state.weights.items() if milli and n not in running.both}
    wanted = sum(decision.weights.values())
    if sum(others.values()) + wanted <= FULL:
        return decision
    reason = f"{in_percent(wanted)} are needed for the next stretch, and others have {in_words(others)}"
    here = running.position
    at = decision.position.model_copy(
        update={
            "stage": here.stage,
            "step": here.step,
            "paused": Paused(by=EVIDENCE, reason=reason, cause="undecided"),
        }
    )
    words = f"pauses: {reason}; set their weights lower, then resume"
    return replace(decision, action=Action.PAUSE, words=words, position=at, weights=None, shadow=None)


def started(
    state: RolloutState, strategy: Strategy, digests: Mapping[str, str], now: float, by: str
) -> RolloutState:
    """Return the state in which a new try has begun.

    Args:
        state: the one before.
        strategy: how the candidate is tried.
        digests: of candidate and champion, as far as they are known.
        now: seconds since 1970.
        by: who asks.

    Raises:
        Refused: a try runs; the candidate is the champion; or another candidate has weight.
    """
    if (running := state.running) is not None and not running.watches:
        raise Refused(
            f"{running.words} runs ({running.position.place}; revision {running.started} began it): "
            f"{running.way_out}"
        )
    free, candidate = state.freed("start"), strategy.candidate
    if candidate == free.champion:
        raise Refused(
            f"{candidate!r} is the champion: it cannot be tried against itself; name another candidate in "
            "the spec's strategy"
        )
    others = {name: milli for name, milli in free.weights.items() if milli and name != candidate}
    if others:
        raise Refused(
            f"another candidate has weight ({in_words(others)}), and a try compares one with the champion: "
            f"set it to 0 first: bento-rollout weight {state.name} "
            + " ".join(f"{name}=0" for name in sorted(others))
        )
    decision = begin(strategy, free.champion, now)
    position = decision.position
    if free.paused:
        position = paused_by(position, by, "automation was paused when it began")
    revision = free.revision + 1
    attempt = Try(
        number=1 if free.attempt is None else free.attempt.number + 1,
        strategy=strategy,
        position=position,
        digests=dict(digests),
        started=revision,
        revision=revision,
    )
    return _carried_out(free, attempt, decision, moves=True)


def promoted(state: RolloutState, position: Position) -> RolloutState:
    """Return the state after a person promoted: what was shown to be harmful is accepted with it.

    Args:
        state: the one before.
        position: where the try stands now.

    Raises:
        Refused: no try runs, or its candidate is the champion already.
    """
    running = running_try(state, "to make a candidate the champion now use `flip`")
    at, weights = after_promotion(running.strategy, position)
    accepted = {
        "excused": tuple(sorted({*at.excused, *at.alarms})),
        "paused": at.paused if state.paused else None,
    }
    attempt = running.at(at.model_copy(update=accepted), state.revision + 1)
    decision = fitting(state, Decision(Action.PROMOTE, "", attempt.position, weights=weights))
    if decision.action is not Action.PROMOTE:
        raise Refused(decision.words)
    return _carried_out(state, attempt, decision)


def stopped(state: RolloutState, position: Position | None, by: str, reason: str) -> RolloutState:
    """Return the state in which automation is paused, and with it the running try.

    Args:
        state: the one before.
        position: where the try stands now; None: none runs.
        by, reason: who asks, and why.
    """
    after = state.pause(paused=True)
    if (running := state.running) is None or position is None or position.paused:
        return after
    return after.tried(running.at(paused_by(position, by, reason), state.revision + 1))


def let_go(
    state: RolloutState, position: Position | None, evidence: Assessments, reason: str
) -> RolloutState:
    """Return the state in which automation, and with it the running try, goes on.

    Args:
        state: the one before.
        position: where the try stands now; None: none runs.
        evidence: what is known of it.
        reason: why; needed where harm was shown.

    Raises:
        AlarmLatched: harm was shown, and no reason is given.
        Refused: a try runs, and nothing waits.
    """
    after = state.pause(paused=False)
    if (running := state.running) is None or position is None:
        return after
    try:
        at = resumed(position, running.strategy, evidence, reason)
    except AlarmLatched:
        raise
    except Refused:
        if after is state:
            raise
        return after  # automation was paused, and the try was not
    return after.tried(running.at(at, state.revision + 1))


def reworked(state: RolloutState, strategy: Strategy, position: Position) -> RolloutState:
    """Return the state after a person changed the strategy of the running try; the same if it is the same.

    Raises:
        Refused: no try runs.
        InvalidValue: the candidate is another, or the step that the try is in is gone.
    """
    running = running_try(state, "`start` takes the strategy of the service's spec")
    if strategy == running.strategy:
        return state
    at = edited(position, running.strategy, strategy)
    changed = running.at(at, state.revision + 1).model_copy(update={"strategy": strategy})
    return state.tried(changed)


def _ended(state: RolloutState) -> str:
    if state.attempt is None:
        return ""
    told = {Stage.DONE: "is done", Stage.ROLLED_BACK: "was rolled back", Stage.ABORTED: "was aborted"}
    return f" ({state.attempt.words} {told[state.attempt.position.stage]})"

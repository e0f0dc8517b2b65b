"""What an operator should know beside what a verb changed: the notes of rollback, undo, retire and apply.

Each takes the service around the state before the verb, and the state after it: the same object when the verb
found nothing to do.
"""

from __future__ import annotations

from .position import Stage
from .spec import RolloutSpec
from .state import RolloutState
from .telling import Step
from .values import in_percent
from .view import View

__all__ = [
    "after_applying",
    "after_flip",
    "after_retirement",
    "after_rollback",
    "after_undo",
    "still_targeted",
]


def after_flip(view: View, after: RolloutState) -> tuple[str, ...]:
    """Return the note of a flip that found nothing to do."""
    return (f"{after.champion!r} is the champion already",) if after is view.state else ()


def after_rollback(step: Step, view: View, after: RolloutState) -> tuple[str, ...]:
    """Return the notes of a rollback: how to go further back, and what it leaves as it is.

    Args:
        step: looks up a revision.
        view, after: before and after it.
    """
    nothing = _nothing_back(step, view) if after is view.state else ()
    return (*nothing, *still_targeted(view, after))


def _nothing_back(step: Step, view: View) -> tuple[str, ...]:
    state, found = view.state, ["nothing to roll back"]
    further = state.rollback_target(again=True)
    if further is not None and further.champion in view.known:
        found.append(f"rollback --again would give all traffic to {further.champion}")
    commit, before = step(state.moved)
    if commit and commit.action == "retire" and before and before.champion != state.champion:
        found.append(
            f"revision {commit.revision} retired the champion {before.champion}, and no rollback leads to "
            f"it; to take that back: bento-rollout undo {state.name}"
        )
    return tuple(found)


def still_targeted(view: View, state: RolloutState) -> tuple[str, ...]:
    """Return the notes that targets of candidates stay: who answers them, and who does not."""
    idle = View(view.cards, view.last, state).idle()
    names = [name for name in state.targets if name != state.champion]
    ways = "`target … --remove` ends them"
    leading = ", ".join(name for name in names if name not in idle)
    waiting = ", ".join(f"{name} ({idle[name]['state']})" for name in names if name in idle)
    return (
        *((f"targets stay, and lead to {leading}; {ways}",) if leading else ()),
        *((f"targets of {waiting} stay, and the champion answers them; {ways}",) if waiting else ()),
    )


def after_undo(view: View, after: RolloutState) -> tuple[str, ...]:
    """Return the notes of an undo: what it passed over, and that it prepared nobody."""
    found = []
    first, last = view.state.moved + 1, view.state.revision
    if first <= last:
        which = f"revision {last} stays: it" if first == last else f"revisions {first} to {last} stay: they"
        found.append(f"{which} changed no traffic")
    if after.champion != view.state.champion and view.has_before_flip:
        found.append("no before_flip hook ran: like a rollback, an undo waits for nobody")
    if any(after.weights.values()) and after.attempt is not None and after.running is None:
        found.append(f"{after.attempt.words} has ended: no evidence judges this traffic; `retry` begins anew")
    return tuple(found)


def after_retirement(view: View, after: RolloutState, variant: str, heir: str | None) -> tuple[str, ...]:
    """Return the notes of a retirement: an heir nobody has heard of, who is still there, and the way back."""
    return (
        *_unheard(view, heir),
        *_still_there(view, variant),
        *_way_back(view, after, variant),
    )


def _unheard(view: View, heir: str | None) -> tuple[str, ...]:
    """Return the warning that an heir is a name which the service, when it last ran, did not have."""
    if heir is None or heir in view.known:
        return ()
    known = ", ".join(view.known)
    if view.described:
        seen = f"the service had no variant {heir!r} when it last ran; it had: {known}"
    else:
        seen = f"no worker has ever run here, and the state has no variant {heir!r}; it has: {known}"
    return (f"{seen}. A start is refused unless its code has {heir!r}",)


def _still_there(view: View, variant: str) -> tuple[str, ...]:
    """Return the note that live workers still have who is retired: ready, without any traffic."""
    if not any(variant in card.variants for card in view.cards):
        return ()
    state = view.variants()[variant]["state"]
    return (f"the service still has {variant!r}: it is {state} and has no traffic",)


def _way_back(view: View, after: RolloutState, variant: str) -> tuple[str, ...]:
    if after.champion == view.state.champion or not view.described:
        return ()
    if variant not in view.known:
        return (f"nothing leads back to {variant!r}: the service does not have it",)
    way = f"bento-rollout undo {after.name}"
    return (f"a rollback does not lead back to {variant!r}; to take this back: {way}",)


def after_applying(after: RolloutState, spec: RolloutSpec) -> tuple[str, ...]:
    """Return what a person should know of the strategy in a file that was applied."""
    if spec.strategy is None:
        return ()
    if (running := after.running) is not None:
        position, name = running.position, running.candidate
        if position.stage is not Stage.STEPS:
            return ()
        asked, has = running.strategy.weight_at(position.step), after.weights.get(name, 0)
        if asked == has:
            return ()
        return (f"{name} stays at {in_percent(has)}: weights of the present step hold from the next one on",)
    way = f"bento-rollout start {after.name}"
    return (f"the strategy is not set: no try runs, and `{way}` takes that of the running service's spec",)

"""What differs between two states, in the words of people; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from .amending import amendments
from .attempt import Try
from .ladder import Certificate
from .position import Stage
from .standing import AUTOMATION, Standing
from .state import Commit, RolloutState
from .targets import Target
from .values import in_percent

__all__ = ["Step", "aside", "degree_changes", "detail", "phrases", "taken_back", "target_changes"]

Step = Callable[[int], tuple[Commit | None, RolloutState | None]]
"""Looks up a revision, and the state that it was made from, as far as they are known."""

SHOWN = 3
"""How many keys, or fields, of a long list are named."""

DIGEST = 12
"""How many digits of a digest are shown."""

LONGEST = 40
"""How many characters of a key are shown."""


def detail(before: RolloutState, after: RolloutState) -> tuple[str, ...]:
    """Return what differs between two states beside who answers how much, one phrase for each thing.

    Champion and weights are not told: whoever shows a state shows them.
    """
    return (
        *(f"retired {name}" for name in sorted(set(before.granted) - set(after.granted))),
        *_grants(before, after),
        *target_changes(before.targets, after.targets),
        *(f"shadow {share}" for share in _shares(before.shadow, after.shadow)),
        *_single(before, after),
        *_of_the_try(before.attempt, after.attempt),
        *([told] if (told := aside(after)) and told != aside(before) else ()),
        *degree_changes(before, after),
    )


def aside(state: RolloutState) -> str:
    """Return in words that traffic is not what the running try gives, as a person set it; else nothing.

    Args:
        state: the one that is looked at.
    """
    running = state.running
    if running is None or running.strategy.dry_run:
        return ""
    position, strategy, bake = running.position, running.strategy, running.strategy.bake_after
    if position.stage is Stage.STEPS:
        name, asked = running.candidate, strategy.weight_at(position.step)
        where, until = f"step {position.step + 1} of {len(strategy.steps)}", "the next step sets its own"
    elif position.stage is Stage.BAKE and bake is not None:
        name, asked, where, until = running.control, bake.holdback, "the bake", "that holds until it is over"
    else:
        return ""
    if (has := state.weights.get(name, 0)) == asked:
        return ""
    told = f"{running.words}: {name} has {in_percent(has)}, and {where} gives it {in_percent(asked)}"
    return f"{told}; {until if has else 'without calls of it nothing can be shown'}"


def phrases(before: RolloutState, after: RolloutState) -> tuple[str, ...]:
    """Return all that differs between two states: who answers how much, and what `detail` tells."""
    crowned = after.champion != before.champion
    return (
        *((f"champion {after.champion} (was {before.champion})",) if crowned else ()),
        *_shares(before.weights, after.weights),
        *detail(before, after),
    )


def taken_back(revision: int, commit: Commit | None, before: RolloutState | None) -> str:
    """Return in words which change of traffic an undo took back.

    Args:
        revision: of that change.
        commit, before: that change and the state that it was made from, as far as they are known.
    """
    found = f"undid revision {revision}"
    if commit is None or before is None:
        return found if commit is None else f"{found}: {commit.action}"
    after = commit.state
    if after.champion != before.champion:
        way = "in favour of" if commit.action == "retire" else "to"
        return f"{found}: {commit.action} {way} {after.champion}"
    phrases = [*_shares(before.weights, after.weights), *_grants(before, after), *_salt(before, after)]
    return f"{found}: {commit.action} {', '.join(phrases)}".rstrip()


def degree_changes(before: RolloutState, after: RolloutState) -> Iterator[str]:
    """Yield what differs in who decides: degrees, who asks for one, what was certified or refuted."""
    for endpoint, new in sorted(after.automation.items()):
        old = before.automation.get(endpoint)
        if old is None:
            yield f"{endpoint} begins at degree {new.degree.word}"
        elif new.degree != old.degree:
            why = f": {new.reason}" if new.author == AUTOMATION and new.reason else ""
            yield f"{endpoint} at degree {new.degree.word} (was {old.degree.word}){why}"
        yield from _asking(endpoint, old, new)
        known = () if old is None else old.certificates
        yield from (f"{endpoint}: {_certified(one)}" for one in new.certificates if one not in known)


def _asking(endpoint: str, old: Standing | None, new: Standing) -> Iterator[str]:
    """Yield who asks for a higher degree, where two persons must; and that nobody does any more."""
    was, now = None if old is None else old.proposed, new.proposed
    if now is not None and now != was:
        yield f"{endpoint}: {now.author} asks for degree {now.degree.word}; a second person must, too"
    elif was is not None and now is None and new.degree != was.degree:
        yield f"{endpoint}: nobody asks for degree {was.degree.word} any more"


def _certified(one: Certificate) -> str:
    """Return what was certified, or why that holds no more."""
    model = f"{one.variant} ({one.digest[:DIGEST]})"
    if one.revoked:
        return f"what was certified for {model} holds no more"
    at = f"{one.threshold:.4g}" if one.threshold is not None else _each(one.by_class or one.by_segment)
    numbers = f"{one.errors} errors in {one.accepted} of {one.labels} cases"
    return f"threshold {at} certified for {model}: {numbers}, {one.coverage:.1%} of the traffic"


def _each(thresholds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {at:.4g}" for name, at in sorted(thresholds.items()))


def target_changes(before: Mapping[str, Target], after: Mapping[str, Target]) -> Iterator[str]:
    """Yield what some targets have more, and less, than others; of many keys the first few are named.

    >>> list(target_changes({}, {"boosted": Target(keys=("u1", "u2"), header={"x-ring": "dogfood"})}))
    ['target boosted + keys u1, u2 and header x-ring=dogfood']
    """
    yield from _aims("+", after, before)
    yield from _aims("-", before, after)


def _aims(sign: str, these: Mapping[str, Target], those: Mapping[str, Target]) -> Iterator[str]:
    """Yield what these targets have and those have not."""
    for name, target in these.items():
        other = those.get(name, _NOTHING)
        if target.keys == other.keys and target.header == other.header:
            continue
        known = frozenset(other.keys)
        keys = [key for key in target.keys if key not in known]
        header = {k: v for k, v in target.header.items() if other.header.get(k) != v}
        if keys or header:
            yield f"target {name} {sign} {_aim(keys, header)}"


def _grants(before: RolloutState, after: RolloutState) -> Iterator[str]:
    for name, digest in after.granted.items():
        old = before.granted.get(name, digest)
        crowned = name == after.champion != before.champion
        if digest != old and not crowned:
            yield f"{name} granted to digest {digest[:DIGEST]} (was {old[:DIGEST]})"


def _shares(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name, 0), after.get(name, 0)
        if old != new:
            yield f"{name} {in_percent(new)} (was {in_percent(old)})"


def _single(before: RolloutState, after: RolloutState) -> Iterator[str]:
    if after.paused != before.paused:
        yield "automation paused" if after.paused else "automation resumed"
    if after.standby != before.standby and after.champion == before.champion:  # a flip always leaves one
        yield f"standby {after.standby or 'none'} (was {before.standby or 'none'})"
    yield from _salt(before, after)


def _of_the_try(before: Try | None, after: Try | None) -> Iterator[str]:
    if after is None or after == before:
        return
    name, where = after.words, _where(after)
    if before is None or before.number != after.number:
        yield f"{name} begins: {where}"
    else:
        if after.strategy != before.strategy:
            yield f"{name} goes on by another strategy: {_reworked(before, after)}"
        if where != _where(before):
            yield f"{name}: {where}"
    old = before.position.paused if before is not None and before.number == after.number else None
    if (paused := after.position.paused) != old and after.runs:
        why = f": {paused.reason}" if paused and paused.reason else ""
        yield f"{name} paused by {paused.by}{why}" if paused else f"{name} resumed"


def _where(attempt: Try) -> str:
    """Return where a try is, in words."""
    position, steps = attempt.position, attempt.strategy.steps
    if position.stage is Stage.STEPS and position.step < len(steps):
        return f"step {position.step + 1} of {len(steps)} ({steps[position.step]})"
    return {
        Stage.HOLDING: "all steps are over, a person decides",
        Stage.BAKE: "bakes after the promotion",
        Stage.WATCH: "watches for late labels",
        Stage.ROLLED_BACK: "rolled back",
    }.get(position.stage, position.stage.value)


def _reworked(before: Try, after: Try) -> str:
    """Return the fields of the strategy that differ; of many the first few."""
    found = amendments(before.strategy, after.strategy)
    told = [*map(str, found[:SHOWN]), *([f"{len(found) - SHOWN} more"] if len(found) > SHOWN else [])]
    return ", ".join(told)


def _salt(before: RolloutState, after: RolloutState) -> Iterator[str]:
    if after.salt != before.salt:
        yield f"salt {after.salt} (was {before.salt})"


def _aim(keys: Collection[str], header: Mapping[str, str]) -> str:
    parts = [_keys(keys)] if keys else []
    return " and ".join([*parts, *(f"header {name}={_cut(value)}" for name, value in header.items())])


def _keys(keys: Collection[str]) -> str:
    named = [_cut(key) for _, key in zip(range(SHOWN), keys, strict=False)]
    if len(keys) == 1:
        return f"key {named[0]}"
    if len(keys) <= SHOWN:
        return f"keys {', '.join(named)}"
    return f"keys {', '.join(named)} ... ({len(keys)} keys)"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


_NOTHING = Target()

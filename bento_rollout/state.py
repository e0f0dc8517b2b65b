"""`RolloutState` and the changes that may be made to it; pure: a change is a function from state to state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .assignment import Range, reallocate
from .attempt import Try
from .errors import InvalidValue, NotReady, Refused, UnknownVariant
from .grading import GradedState
from .granting import returned
from .position import Stage, paused_by
from .settling import Settled, cut_at, pushed, restored, without
from .snapshot import FORMAT
from .targets import Target, retargeted
from .values import FULL, Strict, check_weights

__all__ = ["FORMAT", "Commit", "RolloutState", "Settled"]


class RolloutState(GradedState):
    """Everything about a rollout that operators may change, and the changes; immutable, committed whole."""

    def set_weights(self, weights: Mapping[str, int], known: Sequence[str]) -> RolloutState:
        """Set the weights of the candidates named (thousandths of a percent); the others stay.

        What a missing variant has may be lowered.
        """
        self._check_raised(weights, self.weights, known)
        if (name := self.champion) in weights:
            raise InvalidValue(
                f"{name!r} is the champion and has no weight: it gets what the candidates leave"
            )
        merged = {**self.weights, **weights}
        check_weights(merged)
        if all(milli == self.weights.get(name, 0) for name, milli in merged.items()):
            return self
        kept = {name: milli for name, milli in merged.items() if milli or name in known}
        return _moved(self, weights=kept, ranges=reallocate(self.ranges, kept))

    def set_shadow(self, shadow: Mapping[str, int], known: Sequence[str]) -> RolloutState:
        """Set the shadow percents (in thousandths) of the variants named; the others stay."""
        self._check_raised(shadow, self.shadow, known)
        merged = {name: milli for name, milli in {**self.shadow, **shadow}.items() if milli}
        return self if merged == self.shadow else _with(self, shadow=merged)

    def flip(self, to: str, known: Sequence[str]) -> RolloutState:
        """Make another variant the champion, with all traffic; the old champion becomes the standby.

        Raises:
            Refused: a try runs; the watch for late harm alone ends with it.
        """
        _check(to, known)
        return self if to == self.champion else _crowned(self.freed("flip"), to)

    def roll_back(
        self,
        *,
        again: bool = False,
        to: Settled | None = None,
        known: Sequence[str] | None = None,
        attempt: Try | None = None,
    ) -> RolloutState:
        """Give all traffic to a settled champion; the same state when there is nothing to roll back.

        A running try ends with it, and its control is the way back.

        Args:
            again: from a settled state, go back to another champion although a rollback led here.
            to: go to this settled state.
            known: the variants that the service has; None: do not ask.
            attempt: the running try as it ends; None: aborted.

        Raises:
            NotReady: when the service does not have the variant that would become champion.
        """
        point = to or self.rollback_target(again=again)
        if point is None or (to and self.is_settled and to.champion == self.champion):
            return self
        ended = _with(self, attempt=attempt or self._ended(Stage.ABORTED))
        back = _returned(ended, point.champion, known)
        return _with(back, settled=cut_at(self.settled, point), rolled_back=True)

    def undo(
        self,
        *,
        before: RolloutState,
        after: RolloutState,
        known: Sequence[str] | None = None,
        by: str = "",
    ) -> RolloutState:
        """Take back the newest change of traffic and nothing else.

        A try that this change began is aborted. One that it led on stands where it stood before, paused: it
        was taken back because a person wants to look. One that ended in harm, or by a person, stays so.

        Args:
            before, after: the states before and after that change.
            known: the variants that the service has; None: do not ask.
            by: who asks.

        Raises:
            NotReady: when the service does not have the variant that would become champion.
        """
        back = _returned(_with(self, attempt=self._without(before, after, by)), before.champion, known)
        taken = _with(
            back,
            weights=before.weights,
            ranges=before.ranges,
            standby=before.standby if after.standby != before.standby else self.standby,
            salt=before.salt if after.salt != before.salt else self.salt,
            settled=restored(before.settled, after.settled, self.settled),
            rolled_back=before.rolled_back,
            granted=returned(before.granted, after.granted, self.granted, before.weights),
        )
        remembered = taken.settled and taken.settled[-1].champion == taken.champion
        return taken if remembered or not taken.is_settled else _settled(taken, self.revision + 1)

    def _without(self, before: RolloutState, after: RolloutState, by: str) -> Try | None:
        """Return the try as it is once the change that led from one state to the other is taken back."""
        mine, then = self.attempt, after.attempt
        if mine is None or then is None or then.number != mine.number or then == before.attempt:
            return mine
        if before.attempt is None or before.attempt.number != mine.number:
            return self._ended(Stage.ABORTED)
        if mine.position.stage in (Stage.ABORTED, Stage.ROLLED_BACK):
            return mine
        old, new = before.attempt.position, mine.position
        if old.stage.ended:  # what was taken back is an undo
            return self._ended(old.stage)
        kept = {
            name: tuple(sorted({*getattr(old, name), *getattr(new, name)})) for name in ("alarms", "told")
        }
        known = old.model_copy(update={**kept, "excused": new.excused})
        return mine.at(paused_by(known, by, "what it did was undone"), self.revision + 1)

    def _ended(self, stage: Stage) -> Try | None:
        return self.attempt and self.attempt.ended(stage, self.revision + 1)

    def freed(self, verb: str) -> RolloutState:
        """Return it without a running try, for a verb that would pull the ground from under one.

        The watch for late harm just ends: all traffic is the candidate's already.

        Raises:
            Refused: naming the try, and the verbs that end it.
        """
        if (running := self.running) is None:
            return self
        if not running.watches:
            raise Refused(
                f"{running.words} runs ({running.position.place}), and {verb} would cross it: "
                "promote, abort or rollback"
            )
        return _settled(_with(self, attempt=self._ended(Stage.DONE)), self.revision)

    def tried(
        self,
        attempt: Try,
        *,
        champion: str | None = None,
        weights: Mapping[str, int] | None = None,
        shadow: int | None = None,
        moves: bool = False,
    ) -> RolloutState:
        """Set a try, and what its candidate and its control get; what others have stays.

        Args:
            attempt: the try as it is from now on.
            champion: who becomes champion; None: nobody new. What it answered is its own then, and the old
                champion keeps of its own keys what it keeps.
            weights: of candidate and control, in thousandths of a percent; None: they stay.
            shadow: what the candidate watches, in thousandths of a percent; None: that stays.
            moves: whether this is a change of traffic, which `undo` takes back.

        Raises:
            InvalidValue: others have so much that the weights do not fit.
        """
        state = _with(self, attempt=attempt)
        if shadow is not None:
            watched = {**self.shadow, attempt.candidate: shadow}
            state = _with(state, shadow={name: milli for name, milli in watched.items() if milli})
        if weights is not None:
            crowned = champion is not None and champion != self.champion
            ranges = _exchanged(self, champion or "") if crowned else self.ranges
            state = _exchange(state, champion or "") if crowned else state
            others = {n: milli for n, milli in self.weights.items() if n not in attempt.both}
            merged = {**others, **{name: milli for name, milli in weights.items() if milli}}
            state = _with(state, weights=merged, ranges=reallocate(ranges, merged))
        if moves:
            return _moved(state)
        ends = self.running is not None and state.is_settled
        return _settled(state, self.revision + 1) if ends else state

    def target(
        self,
        variant: str,
        known: Sequence[str],
        *,
        keys: Sequence[object] = (),
        header: Mapping[str, str] | None = None,
        remove: bool = False,
    ) -> RolloutState:
        """Give keys (and requests with a header) to a variant before the split, or take them from it."""
        _check(variant, known)
        targets = retargeted(self.targets, variant, keys, header or {}, remove=remove)
        return self if targets == self.targets else _with(self, targets=targets)

    def retire(self, variant: str, in_favour_of: str | None, known: Sequence[str]) -> RolloutState:
        """Remove a variant from the state; a champion or one with weight needs somebody to take its place."""
        present = self.named | set(self.granted) | {point.champion for point in self.settled}
        if variant not in present:
            if variant in known:
                return self
            raise UnknownVariant(variant, tuple(sorted(present)))
        if in_favour_of is not None:
            _check(in_favour_of, known)
            if in_favour_of == variant:
                raise InvalidValue(f"{variant!r} cannot be retired in favour of itself")
        concerned = self.running is not None and variant in self.running.both
        state = self.freed(f"retiring {variant}") if concerned else self
        return _forgotten(_succeeded(state, variant, in_favour_of), variant)

    def pause(self, *, paused: bool) -> RolloutState:
        """Stop (or let go on) what automation may raise and promote."""
        return self if paused == self.paused else _with(self, paused=paused)

    def grant(self, digests: Mapping[str, str]) -> RolloutState:
        """Grant what the state gives each variant to the digest that it has now."""
        merged = {**self.granted, **digests}
        return self if merged == self.granted else _with(self, granted=merged)

    def trust(self, digests: Mapping[str, str]) -> RolloutState:
        """Grant anew, for a person who asks for it: a change of traffic, which `undo` takes back."""
        after = self.grant(digests)
        return after if after is self else _with(after, moved=self.revision + 1)

    def set_salt(self, salt: str) -> RolloutState:
        """Salt the split anew; keys move only while candidates have weight."""
        if salt == self.salt:
            return self
        return _with(self, salt=salt) if self.is_settled else _moved(self, salt=salt)

    def set_targets(self, targets: Mapping[str, Target], known: Sequence[str]) -> RolloutState:
        """Set the targets of all variants."""
        wanted = {name: target for name, target in targets.items() if target}
        if wanted == self.targets:
            return self
        for name in wanted:
            _check(name, known)
        return _with(self, targets=wanted)

    def set_standby(self, variant: str | None, known: Sequence[str]) -> RolloutState:
        """Set who the next flip without a name goes to."""
        if variant == self.standby:
            return self
        if variant is not None:
            _check(variant, known)
        if variant == self.champion:
            raise InvalidValue(f"{variant!r} is the champion: it cannot wait to become it")
        return _with(self, standby=variant)

    def _check_raised(self, asked: Mapping[str, int], have: Mapping[str, int], known: Sequence[str]) -> None:
        """Refuse a name that is unknown; what a missing variant has may only be lowered."""
        for name, milli in asked.items():
            if milli > have.get(name, 0) or name not in self.named:
                _check(name, known)


def _with(state: RolloutState, **changes: Any) -> RolloutState:
    return state.model_copy(update=changes)


def _moved(state: RolloutState, **changes: Any) -> RolloutState:
    """Change traffic: the next revision is a move, and settled if no candidate has weight and no try runs."""
    revision = state.revision + 1
    after = _with(state, **changes, moved=revision, rolled_back=False)
    return _settled(after, revision) if after.is_settled else after


def _settled(state: RolloutState, revision: int) -> RolloutState:
    """Remember that the champion had all traffic at a revision."""
    point = Settled(revision=revision, champion=state.champion)
    return _with(state, settled=pushed(state.settled, point))


def _crowned(state: RolloutState, to: str) -> RolloutState:
    """Exchange the champion: all weights end, and the two exchange their shadows."""
    return _moved(_exchange(state, to), weights={}, ranges=())


def _exchange(state: RolloutState, to: str) -> RolloutState:
    """Exchange the champion, and the shadows of the two; weights are another matter."""
    exchanged = {state.champion: to, to: state.champion}
    shadow = {exchanged.get(name, name): milli for name, milli in state.shadow.items()}
    return _with(state, champion=to, standby=state.champion, shadow=shadow)


def _exchanged(state: RolloutState, to: str) -> tuple[Range, ...]:
    """Return the ranges as the next champion sees them: its own are free, the old champion's are named."""
    found, at = [], 0
    for start, stop, name in sorted(state.ranges):
        found += [(at, start, state.champion)] if at < start else []
        found += [] if name == to else [(start, stop, name)]
        at = stop
    return (*found, (at, FULL, state.champion)) if at < FULL else tuple(found)


def _returned(state: RolloutState, champion: str, known: Sequence[str] | None) -> RolloutState:
    """Give all traffic to a champion of the past."""
    if champion == state.champion:
        return _moved(state, weights={}, ranges=())
    if known is not None and champion not in known:
        raise NotReady(
            f"{champion!r} would become champion, and the service does not have it; nothing changed"
        )
    return _crowned(state, champion)


def _succeeded(state: RolloutState, variant: str, heir: str | None) -> RolloutState:
    """Give what a variant answers to its heir."""
    if variant == state.champion:
        if heir is None:
            raise Refused(f"{variant!r} is the champion; say who takes its place: --in-favour-of VARIANT")
        return _crowned(state, heir)
    if not (milli := state.weights.get(variant)):
        return state
    if heir is None:
        raise Refused(
            f"{variant!r} has a weight of {milli / 1000:g} percent; set it to 0, "
            "or say who takes its place: --in-favour-of VARIANT"
        )
    weights = {name: weight for name, weight in state.weights.items() if name != variant}
    if heir == state.champion:
        return _moved(state, weights=weights, ranges=tuple(r for r in state.ranges if r[2] != variant))
    weights[heir] = weights.get(heir, 0) + milli
    inherited = [(start, stop, heir if name == variant else name) for start, stop, name in state.ranges]
    return _moved(state, weights=weights, ranges=reallocate(inherited, weights))


def _forgotten(state: RolloutState, variant: str) -> RolloutState:
    def less(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in mapping.items() if name != variant}

    return _with(
        state,
        weights=less(state.weights),
        shadow=less(state.shadow),
        targets=less(state.targets),
        granted=less(state.granted),
        standby=None if state.standby == variant else state.standby,
        settled=without(state.settled, variant),
    )


def _check(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UnknownVariant(name, tuple(known))


class Commit(Strict):
    """One committed state and how it came to be; the history is a list of these.

    Attributes:
        state: the state, whole; its revision is this commit's.
        parent: the revision that it was made from; 0 for the first.
        time: seconds since the epoch.
        author: who asked: ``user@host``, a token's name, or ``deploy``.
        action: the verb.
        reason: what the author wrote, possibly empty.
    """

    state: RolloutState
    parent: int
    time: float
    author: str
    action: str
    reason: str = ""

    @property
    def revision(self) -> int:
        """The revision that this commit made."""
        return self.state.revision

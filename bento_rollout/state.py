"""`RolloutState` and the changes that may be made to it; pure: a change is a function from state to state.

*Traffic* is what decides who answers: champion, weights and what salts the split. What else operators set
(targets, shadows, pause) is not undone with it. Where a rollback leads is told in `settling`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, model_validator

from .assignment import Range, Table, check_ranges, reallocate
from .errors import InvalidValue, NotReady, Refused, StoreCorrupt, StoreUnreachable, UnknownVariant
from .granting import returned
from .settling import Settled, Stack, back_from_settled, cut_at, pushed, restored, without
from .targets import Target, retargeted
from .values import Strict, check_weights, in_words

__all__ = ["FORMAT", "Commit", "RolloutState", "Settled"]

FORMAT = 1
"""What a stored state looks like; a version that adds a field raises it."""


class RolloutState(Strict):
    """Everything about a rollout that operators may change; immutable, committed whole.

    Attributes:
        name: the rollout.
        revision: the number of this state; 0 before the first commit.
        champion: who answers by default.
        weights: thousandths of a percent by candidate; candidates without weight may be absent.
        ranges: the buckets that candidates own.
        standby: the variant that the next flip without a name goes to.
        shadow: thousandths of a percent by shadowed variant.
        targets: keys and headers that get a variant before the split.
        paused: whether automation may raise and promote.
        salt: what the hash of keys is salted with.
        granted: the digest that each variant's traffic was granted to.
        settled: the settled states that led here, oldest first.
        rolled_back: whether the newest change of traffic was a rollback.
        moved: the revision of the newest change of traffic.
        applied: digest of the spec content that `apply` set last, and the revision at which it did.
        format: what the stored state looks like.
    """

    name: str
    revision: int = Field(0, ge=0)
    champion: str
    weights: dict[str, int] = Field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    standby: str | None = None
    shadow: dict[str, int] = Field(default_factory=dict)
    targets: dict[str, Target] = Field(default_factory=dict)
    paused: bool = False
    salt: str
    granted: dict[str, str] = Field(default_factory=dict)
    settled: Stack = ()
    rolled_back: bool = False
    moved: int = 0
    applied: tuple[str, int] | None = None
    format: int = Field(FORMAT, le=FORMAT)

    @model_validator(mode="after")
    def _whole(self) -> RolloutState:
        check_ranges(self.ranges, self.weights)
        if self.weights.get(self.champion):
            raise InvalidValue(f"the champion {self.champion!r} has a weight")
        return self

    @classmethod
    def load(cls, data: object) -> RolloutState:
        """Return the state that stored data describes.

        Raises:
            StoreUnreachable: a newer version wrote it.
            StoreCorrupt: it is not a state.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            found = data.get("format", FORMAT) if isinstance(data, Mapping) else FORMAT
            if isinstance(found, int) and found > FORMAT:
                raise StoreUnreachable(
                    f"a newer bento-rollout wrote this state (format {found}), and this version is too old: "
                    f"it knows up to format {FORMAT}; use a newer bento-rollout"
                ) from None
            item = error.errors()[0]
            place = ".".join(map(str, item["loc"])) or "the whole"
            raise StoreCorrupt(f"the stored state is not readable: {place}: {item['msg']}") from None

    @property
    def is_settled(self) -> bool:
        """Whether all traffic goes to the champion."""
        return not any(self.weights.values())

    @property
    def point(self) -> Settled:
        """This state as one that a rollback may go to.

        Raises:
            InvalidValue: when it is not settled.
        """
        if not self.is_settled:
            raise InvalidValue(
                f"revision {self.revision} was not settled (weights {in_words(self.weights)}); "
                "a rollback goes to a state in which the champion had all traffic"
            )
        return Settled(revision=self.revision, champion=self.champion)

    @property
    def named(self) -> frozenset[str]:
        """Every variant that this state gives something to."""
        mentioned = {self.champion, *self.weights, *self.shadow, *self.targets}
        return frozenset(mentioned | ({self.standby} if self.standby else set()))

    @property
    def percents(self) -> dict[str, float]:
        """Weights in percent, by candidate."""
        return _percents(self.weights)

    @property
    def shadow_percents(self) -> dict[str, float]:
        """Shadow percents, by variant."""
        return _percents(self.shadow)

    def rollback_target(self, *, again: bool = False) -> Settled | None:
        """Return the settled state that a rollback would go to, or None: there is nothing to roll back.

        While candidates have weight it is the state before they got any; ``again`` makes a difference only
        when all traffic is the champion's already.
        """
        if self.is_settled:
            return back_from_settled(self.settled, rolled_back=self.rolled_back, again=again)
        return self.settled[-1] if self.settled else Settled(revision=self.revision, champion=self.champion)

    def flip_target(self, known: Sequence[str]) -> str:
        """Return who a flip without a name goes to: the standby, else the only candidate."""
        if self.standby is not None and self.standby != self.champion:
            return self.standby
        candidates = [name for name in known if name != self.champion]
        if len(candidates) == 1:
            return candidates[0]
        listed = ", ".join(candidates) or "none"
        raise InvalidValue(f"no standby is set and the candidates are: {listed}; name one with --to VARIANT")

    def compile(self) -> Table:
        """Return the look-up table of this state."""
        keys = {key: variant for variant, target in self.targets.items() for key in target.keys}
        headers = tuple((n, v, to) for to, target in self.targets.items() for n, v in target.header.items())
        backups = tuple(dict.fromkeys(point.champion for point in reversed(self.settled)))
        routed = (self.revision, self.champion, self.salt, self.ranges, keys, headers, backups)
        return Table(*routed, tuple(self.shadow.items()))

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
        """Make another variant the champion, with all traffic; the old champion becomes the standby."""
        _check(to, known)
        return self if to == self.champion else _crowned(self, to)

    def roll_back(
        self, *, again: bool = False, to: Settled | None = None, known: Sequence[str] | None = None
    ) -> RolloutState:
        """Give all traffic to a settled champion; the same state when there is nothing to roll back.

        Args:
            again: from a settled state, go back to another champion although a rollback led here.
            to: go to this settled state.
            known: the variants that the service has; None: do not ask.

        Raises:
            NotReady: when the service does not have the variant that would become champion.
        """
        point = to or self.rollback_target(again=again)
        if point is None or (to and self.is_settled and to.champion == self.champion):
            return self
        back = _returned(self, point.champion, known)
        return _with(back, settled=cut_at(self.settled, point), rolled_back=True)

    def undo(
        self, *, before: RolloutState, after: RolloutState, known: Sequence[str] | None = None
    ) -> RolloutState:
        """Take back the newest change of traffic and nothing else.

        Args:
            before, after: the states before and after that change.
            known: the variants that the service has; None: do not ask.

        Raises:
            NotReady: when the service does not have the variant that would become champion.
        """
        back = _returned(self, before.champion, known)
        return _with(
            back,
            weights=before.weights,
            ranges=before.ranges,
            standby=before.standby if after.standby != before.standby else self.standby,
            salt=before.salt if after.salt != before.salt else self.salt,
            settled=restored(before.settled, after.settled, self.settled),
            rolled_back=before.rolled_back,
            granted=returned(before.granted, after.granted, self.granted, before.weights),
        )

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
        return _forgotten(_succeeded(self, variant, in_favour_of), variant)

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
    """Change traffic: the next revision is a move, and settled if no candidate has weight."""
    revision = state.revision + 1
    after = _with(state, **changes, moved=revision, rolled_back=False)
    if not after.is_settled:
        return after
    return _with(after, settled=pushed(after.settled, Settled(revision=revision, champion=after.champion)))


def _crowned(state: RolloutState, to: str) -> RolloutState:
    """Exchange the champion: all weights end, and the two exchange their shadows."""
    exchanged = {state.champion: to, to: state.champion}
    shadow = {exchanged.get(name, name): milli for name, milli in state.shadow.items()}
    return _moved(state, champion=to, standby=state.champion, weights={}, ranges=(), shadow=shadow)


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


def _percents(weights: Mapping[str, int]) -> dict[str, float]:
    return {name: milli / 1000 for name, milli in sorted(weights.items())}


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

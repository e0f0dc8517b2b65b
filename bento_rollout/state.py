"""`RolloutState` and the changes that may be made to it; pure: a change is a function from state to state.

*Traffic* is what decides who answers: champion, weights and standby. A state is *settled* when all weights are 0.
The settled states that led here are a stack; a rollback goes to the newest one that is not the present, and cuts the
stack there, so two operators who both roll back do it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .assignment import Range, Table, normal_key, reallocate
from .errors import InvalidValue, NotFound, Refused, StoreCorrupt, UnknownVariant
from .spec import RolloutSpec, Target, check_weights

__all__ = ["Commit", "RolloutState", "Settled", "seed"]

MAX_SETTLED = 100
MAX_TARGET_KEYS = 10_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Settled(_Frozen):
    """A settled state that was once committed: its revision and its champion."""

    revision: int
    champion: str


class RolloutState(_Frozen):
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
    settled: tuple[Settled, ...] = ()
    rolled_back: bool = False
    moved: int = 0
    applied: tuple[str, int] | None = None

    @classmethod
    def load(cls, data: object) -> RolloutState:
        """Return the state that stored data describes.

        Raises:
            StoreCorrupt: when the data is not a state of this version.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            item = error.errors()[0]
            place = ".".join(map(str, item["loc"]))
            raise StoreCorrupt(
                f"the stored state is not readable: {place}: {item['msg']}; it may come from a newer version"
            ) from None

    # -- what it says -------------------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether all traffic goes to the champion."""
        return not any(self.weights.values())

    @property
    def named(self) -> frozenset[str]:
        """Every variant that this state mentions."""
        mentioned = {self.champion, *self.weights, *self.shadow, *self.targets}
        return frozenset(mentioned | ({self.standby} if self.standby else set()))

    @property
    def percents(self) -> dict[str, float]:
        """Weights in percent, by candidate."""
        return {name: milli / 1000 for name, milli in sorted(self.weights.items())}

    @property
    def shadow_percents(self) -> dict[str, float]:
        """Shadow percents, by variant."""
        return {name: milli / 1000 for name, milli in sorted(self.shadow.items())}

    def rollback_target(self, *, again: bool = False) -> Settled | None:
        """Return the settled state that a rollback would go to, or None: there is nothing to roll back."""
        if not self.is_settled:
            return self.settled[-1] if self.settled else None
        earlier = self.settled[:-1]
        if again:
            return next((point for point in reversed(earlier) if point.champion != self.champion), None)
        if self.rolled_back or not earlier or earlier[-1].champion == self.champion:
            return None
        return earlier[-1]

    def compile(self) -> Table:
        """Return the look-up table of this state."""
        keys = {key: variant for variant, target in self.targets.items() for key in target.keys}
        headers = tuple(
            (n, v, variant) for variant, target in self.targets.items() for n, v in target.header.items()
        )
        backups = tuple(dict.fromkeys(point.champion for point in reversed(self.settled)))
        return Table(self.revision, self.champion, self.salt, self.ranges, keys, headers, backups)

    # -- what may change it ---------------------------------------------------------------------------------

    def set_weights(self, weights: Mapping[str, int], known: Sequence[str]) -> RolloutState:
        """Set the weights of the candidates named (thousandths of a percent); the others stay."""
        for name in weights:
            self._check(name, known)
            if name == self.champion:
                raise InvalidValue(
                    f"{name!r} is the champion and has no weight: it gets what the candidates leave"
                )
        merged = {
            name: milli for name, milli in {**self.weights, **weights}.items() if milli or name in weights
        }
        check_weights(merged)
        if {n: w for n, w in merged.items() if w} == {n: w for n, w in self.weights.items() if w}:
            return self
        return self._moved(weights=merged, ranges=reallocate(self.ranges, merged))

    def set_shadow(self, shadow: Mapping[str, int], known: Sequence[str]) -> RolloutState:
        """Set the shadow percents (in thousandths) of the variants named; the others stay."""
        for name in shadow:
            self._check(name, known)
        merged = {name: milli for name, milli in {**self.shadow, **shadow}.items() if milli}
        return self if merged == self.shadow else self._with(shadow=merged)

    def flip(self, to: str, known: Sequence[str]) -> RolloutState:
        """Make another variant the champion, with all traffic; the old champion becomes the standby."""
        self._check(to, known)
        if to == self.champion:
            return self
        return self._crown(to)

    def flip_target(self, known: Sequence[str]) -> str:
        """Return who a flip without a name goes to: the standby, else the only candidate."""
        if self.standby is not None and self.standby != self.champion:
            return self.standby
        candidates = [name for name in known if name != self.champion]
        if len(candidates) == 1:
            return candidates[0]
        shown = ", ".join(candidates) or "none"
        raise InvalidValue(f"no standby is set and the candidates are: {shown}; name one with --to VARIANT")

    def roll_back(self, *, again: bool = False, to: Settled | None = None) -> RolloutState:
        """Give all traffic to a settled champion; the same state when there is nothing to roll back."""
        point = to or self.rollback_target(again=again)
        if point is None:
            return self
        keep = (
            self.settled[: self.settled.index(point) + 1] if point in self.settled else (*self.settled, point)
        )
        back = (
            self._crown(point.champion)
            if point.champion != self.champion
            else self._moved(weights={}, ranges=())
        )
        return back._with(settled=keep, rolled_back=True)

    def undo(self, before: RolloutState) -> RolloutState:
        """Take back the newest change of traffic: the traffic of ``before``, the state that it was made from."""
        restored = {name: getattr(before, name) for name in _TRAFFIC}
        return self._with(
            **restored,
            shadow=before.shadow if before.champion != self.champion else self.shadow,
            settled=before.settled,
            rolled_back=before.rolled_back,
            moved=self.revision + 1,
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
        """Give keys (and requests with a header) to a variant before the split, or take them back."""
        self._check(variant, known)
        texts = [normal_key(key) for key in keys]
        named = {name.lower(): value for name, value in (header or {}).items()}
        if not texts and not named:
            raise InvalidValue("name at least one key (--key K) or one header (--header NAME=VALUE)")
        targets: dict[str, Target] = {}
        for name, old in self.targets.items():
            here = [key for key in old.keys if key not in texts]
            headers = {n: v for n, v in old.header.items() if named.get(n) != v}
            if here or headers:
                targets[name] = Target(keys=tuple(here), header=headers)
        if not remove:
            old = targets.get(variant, Target())
            targets[variant] = Target(keys=(*old.keys, *texts), header={**old.header, **named})
            if len(targets[variant].keys) > MAX_TARGET_KEYS:
                raise InvalidValue(
                    f"{variant!r} would have {len(targets[variant].keys)} target keys; at most {MAX_TARGET_KEYS} are kept: use a header, or a weight"
                )
        return self if targets == self.targets else self._with(targets=targets)

    def retire(self, variant: str, in_favour_of: str | None, known: Sequence[str]) -> RolloutState:
        """Remove a variant from the state; a champion or one with weight needs somebody to take its place."""
        if variant not in self.named | set(self.granted):
            raise UnknownVariant(variant, tuple(sorted(self.named | set(self.granted))))
        state = self
        if variant == self.champion:
            if in_favour_of is None:
                raise Refused(f"{variant!r} is the champion; say who takes its place: --in-favour-of VARIANT")
            if in_favour_of == variant:
                raise InvalidValue(f"{variant!r} cannot be retired in favour of itself")
            state = state.flip(in_favour_of, known)
        elif self.weights.get(variant):
            if in_favour_of is None:
                raise Refused(
                    f"{variant!r} has a weight of {self.weights[variant] / 1000:g} percent; set it to 0, or say who takes its place: --in-favour-of VARIANT"
                )
            state = state._inherit(variant, in_favour_of, known)
        return state._forget(variant)

    def pause(self, paused: bool) -> RolloutState:
        """Stop (or let go on) what automation may raise and promote."""
        return self if paused == self.paused else self._with(paused=paused)

    def deploy(self, champion_digest: str) -> RolloutState:
        """Record that the champion's code or model is another one: an ordinary deployment."""
        return self._with(granted={**self.granted, self.champion: champion_digest})

    def grant(self, digests: Mapping[str, str]) -> RolloutState:
        """Grant what the state gives each variant to the digest that it has now."""
        merged = {**self.granted, **digests}
        return self if merged == self.granted else self._with(granted=merged)

    def apply(self, spec: RolloutSpec, known: Sequence[str]) -> RolloutState:
        """Set exactly the state fields that the spec names; absent fields are untouched."""
        state = self
        fields = spec.state_fields
        if "salt" in fields and spec.routing.salt != state.salt:
            state = state._moved(salt=spec.routing.salt)
        if "weights" in fields:
            absent = {name: 0 for name in state.weights if name not in spec.weights}
            state = state.set_weights({**absent, **spec.weights}, known)
        if "shadow" in fields:
            absent = {name: 0 for name in state.shadow if name not in spec.shadow}
            state = state.set_shadow({**absent, **{n: s.percent for n, s in spec.shadow.items()}}, known)
        if "targets" in fields and spec.targets != state.targets:
            for name in spec.targets:
                state._check(name, known)
            state = state._with(targets=spec.targets)
        if "standby" in fields and spec.blue_green.standby != state.standby:
            if spec.blue_green.standby is not None:
                state._check(spec.blue_green.standby, known)
            state = state._with(standby=spec.blue_green.standby)
        return state

    def differences(self, spec: RolloutSpec) -> list[str]:
        """Return in words where the spec asks for another state than this one, field by field."""
        asked: dict[str, tuple[Any, Any]] = {
            "weights": (_nonzero(spec.weights), _nonzero(self.weights)),
            "shadow": (_nonzero({n: s.percent for n, s in spec.shadow.items()}), _nonzero(self.shadow)),
            "targets": (_plain(spec.targets), _plain(self.targets)),
            "standby": (spec.blue_green.standby, self.standby),
            "salt": (spec.routing.salt, self.salt),
        }
        return [
            f"{name}: the spec asks for {want}, the state has {have}"
            for name, (want, have) in asked.items()
            if name in spec.state_fields and want != have
        ]

    # -- how it changes -----------------------------------------------------------------------------------

    def _check(self, name: str, known: Sequence[str]) -> None:
        if name not in known:
            raise UnknownVariant(name, tuple(known))

    def _with(self, **changes: Any) -> RolloutState:
        return self.model_copy(update=changes)

    def _moved(self, **changes: Any) -> RolloutState:
        """Change traffic: the next revision is a move, and settled if no candidate has weight."""
        after = self._with(**changes, moved=self.revision + 1, rolled_back=False)
        if not after.is_settled:
            return after
        point = Settled(revision=self.revision + 1, champion=after.champion)
        stack = [old for old in after.settled if old.revision <= self.revision]
        return after._with(settled=(*stack, point)[-MAX_SETTLED:])

    def _crown(self, to: str) -> RolloutState:
        shadow = dict(self.shadow)
        ours, theirs = shadow.pop(self.champion, None), shadow.pop(to, None)
        if ours is not None:
            shadow[to] = ours
        if theirs is not None:
            shadow[self.champion] = theirs
        return self._moved(champion=to, standby=self.champion, weights={}, ranges=(), shadow=shadow)

    def _inherit(self, variant: str, heir: str, known: Sequence[str]) -> RolloutState:
        self._check(heir, known)
        if heir == variant:
            raise InvalidValue(f"{variant!r} cannot be retired in favour of itself")
        weights = dict(self.weights)
        milli = weights.pop(variant)
        if heir == self.champion:
            return self._moved(weights=weights, ranges=tuple(r for r in self.ranges if r[2] != variant))
        weights[heir] = weights.get(heir, 0) + milli
        given = tuple((a, b, heir if name == variant else name) for a, b, name in self.ranges)
        return self._moved(weights=weights, ranges=reallocate(given, weights))

    def _forget(self, variant: str) -> RolloutState:
        def without(mapping: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in mapping.items() if name != variant}

        return self._with(
            weights=without(self.weights),
            shadow=without(self.shadow),
            targets=without(self.targets),
            granted=without(self.granted),
            standby=None if self.standby == variant else self.standby,
            settled=tuple(point for point in self.settled if point.champion != variant),
        )


_TRAFFIC = ("champion", "weights", "ranges", "standby")


def _nonzero(weights: Mapping[str, int]) -> dict[str, float]:
    return {name: milli / 1000 for name, milli in sorted(weights.items()) if milli}


def _plain(targets: Mapping[str, Target]) -> dict[str, Any]:
    return {name: target.model_dump(exclude_defaults=True) for name, target in sorted(targets.items())}


def seed(name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str]) -> RolloutState:
    """Return the first state of a rollout that no store knows: what its spec asks for, granted to what is there."""
    known = tuple(digests)
    empty = RolloutState(
        name=name,
        champion=champion,
        salt=spec.routing.salt or name,
        granted=dict(digests),
        settled=(Settled(revision=1, champion=champion),),
        moved=1,
    )
    return empty.apply(spec, known)


class Commit(_Frozen):
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


def point_at(history: Sequence[Commit], revision: int) -> Settled:
    """Return the settled state of a revision in the history.

    Raises:
        NotFound: when the history has no such revision.
        InvalidValue: when that state was not settled.
    """
    for commit in history:
        if commit.revision == revision:
            if not commit.state.is_settled:
                raise InvalidValue(
                    f"revision {revision} was not settled ({commit.state.percents}); a rollback goes to a state in which the champion had all traffic"
                )
            return Settled(revision=revision, champion=commit.state.champion)
    raise NotFound(f"there is no revision {revision} in the history")

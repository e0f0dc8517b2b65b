"""What a spec asks of a state: the first state of a rollout, how they differ, making them agree; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .amending import amendments
from .automating import refused_as_new
from .errors import InvalidSpec, Refused
from .explaining import told
from .ladder import Ladder
from .settling import Settled
from .spec import RolloutSpec
from .state import RolloutState
from .strategy import Strategy
from .targets import Target
from .telling import target_changes
from .values import in_words

__all__ = [
    "apply_degrees",
    "apply_spec",
    "check_new",
    "degrees_differ",
    "differences",
    "ladders_of",
    "seed",
    "strategy_differs",
    "weighted",
]


def seed(
    name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str], revision: int = 1
) -> RolloutState:
    """Return the first state of a rollout that no store knows, as its spec asks for.

    Args:
        name: the rollout.
        champion: the decorated service's own variant.
        spec: what it asks for.
        digests: what each variant is; the state is granted to them.
        revision: the one that it will be.
    """
    empty = RolloutState(
        name=name,
        revision=revision - 1,
        champion=champion,
        salt=spec.routing.salt or name,
        granted=dict(digests),
        settled=(Settled(revision=revision, champion=champion),),
        moved=revision,
    )
    return apply_spec(empty, spec, tuple(digests)).taken_up(ladders_of(spec))


def apply_spec(state: RolloutState, spec: RolloutSpec, known: Sequence[str]) -> RolloutState:
    """Set exactly the state fields that a spec names; absent fields are untouched."""
    fields = spec.state_fields
    if "salt" in fields:
        state = state.set_salt(spec.routing.salt or state.salt)
    if "weights" in fields:
        state = state.set_weights({**dict.fromkeys(state.weights, 0), **spec.weights}, known)
    if "shadow" in fields:
        state = state.set_shadow({**dict.fromkeys(state.shadow, 0), **_percents(spec)}, known)
    if "targets" in fields:
        state = state.set_targets(spec.targets, known)
    if "standby" in fields and not _flipped(state, spec):
        state = state.set_standby(spec.blue_green.standby, known)
    return state


def ladders_of(spec: RolloutSpec) -> dict[str, Ladder]:
    """Return what a spec says about the degrees of each endpoint that it automates."""
    return {
        endpoint: Ladder(
            degree=one.degree,
            max_degree=one.max_degree,
            approvals=one.approvals,
            target_error=one.target_error,
            confidence=one.confidence,
            audit=one.audit.rate,
            on_timeout=one.review.on_timeout,
            overflow=one.review.overflow.action,
            score=str(one.score),
            segments=() if one.segments is None else one.segments.names,
        )
        for endpoint, one in spec.automation.items()
    }


def check_new(state: RolloutState, spec: RolloutSpec, where: str, *, new: bool) -> None:
    """Refuse a spec that begins above assist, where nothing can be certified yet.

    Args:
        state: what is known of the rollout; of a new one its first.
        spec: what begins; endpoints that a known state has are not looked at.
        where: names the spec in the error.
        new: whether no store knows the rollout.

    Raises:
        InvalidSpec: naming the field, and what to do instead.
    """
    fresh = {name: one for name, one in spec.automation.items() if new or name not in state.automation}
    digest = state.champions_digest[:12] or "whose digest is not known"
    if problems := refused_as_new(fresh, digest):
        raise InvalidSpec(told(problems, where))


def apply_degrees(
    state: RolloutState, spec: RolloutSpec, rules: Mapping[str, Ladder], by: str, at: float
) -> RolloutState:
    """Set the degrees that a spec names: down at once, up only with a certificate, and never for two persons.

    Args:
        state: what it is applied to.
        spec: what it asks for.
        rules: what the running service's spec says about degrees, by which these are judged; endpoints that
            it does not have are judged by the spec that is applied.
        by: who applies it.
        at: when, in seconds since 1970.

    Raises:
        InvalidValue: the state does not know the endpoint.
        Refused: the spec, the evidence, or a second person that is missing does not allow it.
    """
    for endpoint, ladder in ladders_of(spec).items():
        ruled = rules.get(endpoint, ladder)
        now = state.automation.get(endpoint)
        if now is not None and ladder.degree > now.degree and ruled.approvals > 1:
            word = ladder.degree.word
            raise Refused(
                f"automation.{endpoint}.approvals: two persons must ask for {word}, and who applies a "
                f"file is one; each does `bento-rollout automation {state.name} set {word}`; nothing changed"
            )
        if now is None or now.degree != ladder.degree:
            state = state.set_degree(endpoint, ladder.degree, by, ruled, "applied from a file", at=at)
    return state


def degrees_differ(state: RolloutState, ladders: Mapping[str, Ladder]) -> list[str]:
    """Return in words where a spec begins at other degrees than the state has; what is new is taken up."""
    return [
        f"automation.{endpoint}.degree: the spec asks for {ladder.degree.word}, "
        f"the state has {now.degree.word}"
        for endpoint, ladder in ladders.items()
        if (now := state.automation.get(endpoint)) is not None and now.degree != ladder.degree
    ]


def differences(state: RolloutState, spec: RolloutSpec) -> list[str]:
    """Return in words where a spec asks for another state, field by field."""
    standby, salt, shadow = spec.blue_green.standby, spec.routing.salt, _percents(spec)
    asked = {
        "weights": _differ(in_words(spec.weights), in_words(state.weights)),
        "shadow": _differ(in_words(shadow), in_words(state.shadow)),
        "targets": _retargeting(state.targets, spec.targets),
        "standby": None if _flipped(state, spec) else _differ(standby, state.standby),
        "salt": _differ(salt, state.salt),
    }
    found = [f"{name}: {said}" for name, said in asked.items() if said and name in spec.state_fields]
    return [*found, *strategy_differs(state, spec.strategy), *degrees_differ(state, ladders_of(spec))]


def strategy_differs(state: RolloutState, strategy: Strategy | None) -> list[str]:
    """Return in words where a running try goes by another strategy than a spec asks for, field by field."""
    running = state.running
    if strategy is None or running is None:
        return []
    return [
        f"strategy.{one.field}: the spec asks for {one.after}, {running.words} goes by {one.before}"
        for one in amendments(running.strategy, strategy)
    ]


def _differ(want: str | None, have: str | None) -> str | None:
    """Return what differs between what a spec asks for and what the state has; None: nothing does."""
    return None if want == have else f"the spec asks for {want or 'none'}, the state has {have or 'none'}"


def _retargeting(have: Mapping[str, Target], want: Mapping[str, Target]) -> str | None:
    if {name: target for name, target in want.items() if target} == have:
        return None
    told = "; ".join(target_changes(have, want)) or "the same keys in another order"
    return f"the spec asks for other ones than the state has: {told}"


def _flipped(state: RolloutState, spec: RolloutSpec) -> bool:
    """Whether the standby that a spec names has become champion: then nobody has to be set."""
    return spec.blue_green.standby == state.champion


def _percents(spec: RolloutSpec) -> dict[str, int]:
    return {name: shadow.percent for name, shadow in spec.shadow.items()}


def weighted(spec: RolloutSpec) -> tuple[str, ...]:
    """Return the variants whose weights a spec sets."""
    return tuple(spec.weights) if "weights" in spec.state_fields else ()

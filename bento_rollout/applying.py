"""What a spec asks of a state: the first state of a rollout, how they differ, making them agree; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .amending import amendments
from .settling import Settled
from .spec import RolloutSpec
from .state import RolloutState
from .strategy import Strategy
from .targets import Target
from .telling import target_changes
from .values import in_words

__all__ = ["apply_spec", "differences", "seed", "strategy_differs", "weighted"]


def seed(name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str]) -> RolloutState:
    """Return the first state of a rollout that no store knows, as its spec asks for.

    Args:
        name: the rollout.
        champion: the decorated service's own variant.
        spec: what it asks for.
        digests: what each variant is; the state is granted to them.
    """
    empty = RolloutState(
        name=name,
        champion=champion,
        salt=spec.routing.salt or name,
        granted=dict(digests),
        settled=(Settled(revision=1, champion=champion),),
        moved=1,
    )
    return apply_spec(empty, spec, tuple(digests))


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
    return found + strategy_differs(state, spec.strategy)


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

"""What a spec asks of a state: the first state of a rollout, how they differ, making them agree; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .settling import Settled
from .spec import RolloutSpec
from .state import RolloutState
from .targets import Target

__all__ = ["apply_spec", "differences", "seed"]


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
    asked: dict[str, tuple[Any, Any]] = {
        "weights": (_some(spec.weights), _some(state.weights)),
        "shadow": (_some(_percents(spec)), _some(state.shadow)),
        "targets": (_plain(spec.targets), _plain(state.targets)),
        "standby": (spec.blue_green.standby, state.standby),
        "salt": (spec.routing.salt, state.salt),
    }
    if _flipped(state, spec):
        del asked["standby"]
    return [
        f"{name}: the spec asks for {want or 'none'}, the state has {have or 'none'}"
        for name, (want, have) in asked.items()
        if name in spec.state_fields and want != have
    ]


def _flipped(state: RolloutState, spec: RolloutSpec) -> bool:
    """Whether the standby that a spec names has become champion: then nobody has to be set."""
    return spec.blue_green.standby == state.champion


def _percents(spec: RolloutSpec) -> dict[str, int]:
    return {name: shadow.percent for name, shadow in spec.shadow.items()}


def _some(weights: Mapping[str, int]) -> dict[str, float]:
    return {name: milli / 1000 for name, milli in sorted(weights.items()) if milli}


def _plain(targets: Mapping[str, Target]) -> dict[str, Any]:
    return {
        name: target.model_dump(exclude_defaults=True) for name, target in sorted(targets.items()) if target
    }

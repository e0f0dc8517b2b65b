"""How a service finds its state when it starts: from the store, else its last good copy, else the spec."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .errors import Conflict, InvalidSpec, RolloutError
from .spec import RolloutSpec
from .state import Commit, RolloutState, seed
from .store.sqlite import SQLiteStore
from .telemetry import log

__all__ = ["check_champion", "first_commit", "open_state"]


def open_state(
    store: SQLiteStore, name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str]
) -> Commit:
    """Return the state to serve by: seeds a rollout that the store does not know, records a new champion's code.

    Never raises for a store that cannot be used: serving goes on from its last good copy, else from the spec, and the
    log says so.
    """
    try:
        commit = store.read(name) or _commit(store, first_commit(name, champion, spec, digests), after=0)
        return _deployed(store, commit, digests)
    except (RolloutError, OSError) as error:
        copy = store.beacon(name).load()
        source = "the spec" if copy is None else f"revision {copy.revision}, the last good copy"
        log.event("store.unreachable", "error", rollout=name, problem=str(error), serving=source)
        if copy is not None:
            return copy
        unsaved = first_commit(name, champion, spec, digests)
        return unsaved.model_copy(update={"state": unsaved.state.model_copy(update={"revision": 0})})


def first_commit(name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str]) -> Commit:
    """Return the first commit of a rollout."""
    state = seed(name, champion, spec, digests).model_copy(update={"revision": 1})
    return Commit(
        state=state,
        parent=0,
        time=time.time(),
        author="spec",
        action="seed",
        reason="the store did not know this rollout",
    )


def check_champion(state: RolloutState, variants: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` when the state's champion is a variant that the service does not have."""
    if state.champion not in variants:
        raise InvalidSpec(
            f"rollout {state.name!r}: the champion is {state.champion!r} (revision {state.revision}), and this service has only: "
            f"{', '.join(variants)}. Either name it in the code: champion={state.champion!r}, or take it out of the state: "
            f"bento-rollout retire {state.name} {state.champion} --in-favour-of VARIANT"
        )


def _deployed(store: SQLiteStore, commit: Commit, digests: Mapping[str, str]) -> Commit:
    """Record an ordinary deployment: the champion has another digest than the one that served last."""
    state = commit.state
    new, old = digests.get(state.champion), state.granted.get(state.champion)
    if new is None or new == old:
        return commit
    after = state.deploy(new).model_copy(update={"revision": commit.revision + 1})
    reason = f"champion {state.champion}: digest {old or 'unknown'} -> {new}"
    record = Commit(
        state=after, parent=commit.revision, time=time.time(), author="deploy", action="deploy", reason=reason
    )
    return _commit(store, record, after=commit.revision)


def _commit(store: SQLiteStore, commit: Commit, *, after: int) -> Commit:
    try:
        store.commit(commit, after=after)
    except Conflict:  # another worker of this start did it first
        return store.read(commit.state.name) or commit
    return commit

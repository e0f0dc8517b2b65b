"""How a service finds its state when it starts: from the store, else its last good copy, else the spec."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .applying import check_new, ladders_of, seed
from .errors import Conflict, InvalidSpec, RolloutError
from .ladder import Ladder
from .spec import RolloutSpec
from .state import Commit, RolloutState
from .store import RolloutStore
from .store.location import Location
from .store.opened import open_at
from .telemetry import log
from .telling import degree_changes

__all__ = ["check_champion", "first_commit", "open_state", "open_store", "save_first"]

PATIENCE = 1.0
"""Seconds that a start waits for a locked store, each time that it looks, before it goes on without."""

PERSISTENCE = 5.0
"""Seconds in which a deployment is recorded anew whenever an operator's change came in between."""


def open_store(location: Location) -> RolloutStore:
    """Return a store as a service opens it: made when it is new, and not waited for as by a person."""
    return open_at(location, create=True, patience=PATIENCE)


def open_state(
    store: RolloutStore, name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str]
) -> Commit:
    """Return the state to serve by: seed a rollout that the store does not know, record a deployment.

    Never raises for a store that cannot be used: serving goes on from its last good copy, else from the spec,
    at revision 0. That it is so is said by the `Feed` that follows the store from here on.

    Raises:
        InvalidSpec: it begins at a degree of automation for which nothing can be certified yet.
    """
    first, ladders = first_commit(name, champion, spec, digests), ladders_of(spec)
    try:
        known = store.read(name)
        state = first.state if known is None else known.state
        check_new(state, spec, f"rollout {name!r}", new=known is None)
        commit = known or save(store, first)
    except InvalidSpec:
        raise
    except Exception:  # noqa: BLE001 - a service starts whatever its store is like
        unsaved = first.model_copy(update={"state": first.state.model_copy(update={"revision": 0})})
        return store.beacon(name).load() or unsaved
    return _deployed(store, commit, digests, ladders)


def first_commit(name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str]) -> Commit:
    """Return the first commit of a rollout."""
    state = seed(name, champion, spec, digests).numbered(1)
    reason = "the store did not know this rollout"
    return Commit(state=state, parent=0, time=time.time(), author="spec", action="seed", reason=reason)


def save_first(store: RolloutStore, unsaved: Commit) -> Commit:
    """Seed a rollout, which was served by its spec alone, now that its store can be written.

    Raises:
        StoreUnreachable: it still cannot.
    """
    return save(store, unsaved.model_copy(update={"state": unsaved.state.model_copy(update={"revision": 1})}))


def save(store: RolloutStore, commit: Commit) -> Commit:
    """Commit what every worker of a start commits; return what is there, which may be another worker's."""
    try:
        store.commit(commit, after=commit.parent)
    except Conflict:
        return store.read(commit.state.name) or commit
    return commit


def check_champion(state: RolloutState, variants: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` when the state's champion is a variant that the service does not have."""
    if state.champion not in variants:
        raise InvalidSpec(
            f"rollout {state.name!r}: the champion is {state.champion!r} (revision {state.revision}), and "
            f"this service has only: {', '.join(variants)}. Either name it in the code: "
            f"champion={state.champion!r}, or take it out of the state: "
            f"bento-rollout retire {state.name} {state.champion} --in-favour-of VARIANT"
        )


def _deployed(
    store: RolloutStore, commit: Commit, digests: Mapping[str, str], ladders: Mapping[str, Ladder]
) -> Commit:
    """Record an ordinary deployment: the champion has another digest, or the spec allows other degrees."""
    until = time.monotonic() + PERSISTENCE
    while True:
        state = commit.state
        new, old = digests.get(state.champion), state.granted.get(state.champion)
        granted = state if new is None else state.grant({state.champion: new})
        if (after := granted.taken_up(ladders, time.time())) is state:
            return commit
        after = after.numbered(commit.revision + 1)
        digest = f"champion {state.champion}: digest {old or 'unknown'} -> {new}"
        record = Commit(
            state=after,
            parent=commit.revision,
            time=time.time(),
            author="deploy",
            action="deploy",
            reason="; ".join([*([] if granted is state else [digest]), *degree_changes(state, after)]),
        )
        try:
            commit = save(store, record)
            problem = "other changes came in between each time"
        except (RolloutError, OSError) as error:  # it serves all the same, and the next start tries again
            problem, until = str(error), 0.0
        if commit is not record and time.monotonic() > until:
            why = {"problem": problem, "reason": record.reason}
            log.event("rollout.unrecorded", "error", rollout=state.name, **why)
            return commit

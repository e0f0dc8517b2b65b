"""Takes a degree of automation away that audits have refuted: by itself, in whichever worker sees it."""

from __future__ import annotations

import time

from .committing import PERSISTENT, Desk
from .degrees import Degree
from .errors import Conflict
from .standing import degree_of
from .state import RolloutState
from .store.location import Location
from .store.sqlite import SQLiteStore

__all__ = ["AUTHOR", "demote"]

AUTHOR = "automation"
"""Who lowers degrees by itself, in the history."""


def demote(
    name: str, store: SQLiteStore, location: Location, endpoint: str, digest: str, why: str
) -> RolloutState | None:
    """Lower an endpoint to degree shadow, and return the state in which it is; None: it was that low already.

    Nothing is asked for first, as of a rollback: it is safe whatever else happens, and binds everybody who
    reads the store.

    Args:
        name: the rollout.
        store, location: where its revisions are.
        endpoint: which.
        digest: of the model that was audited; nothing changes if another one is champion by now.
        why: what the audits showed.

    Raises:
        StoreUnreachable: it could not be written; whoever looks next tries again.
        Conflict: somebody else commits all the time.
    """
    desk = Desk(name, store, location, AUTHOR)
    left = PERSISTENT
    while True:
        commit = desk.read()
        state = commit.state
        if state.granted.get(state.champion, "") != digest or degree_of(state, endpoint) <= Degree.SHADOW:
            return None
        lower = state.demote(endpoint, Degree.SHADOW, why, at=time.time(), digest=digest)
        if lower is state:
            return None
        try:
            return desk.commit(lower, commit, desk.view(state), "demote", why).state
        except Conflict:
            left -= 1
            if left <= 0:
                raise

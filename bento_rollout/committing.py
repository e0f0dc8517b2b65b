"""`Desk`: how a change of one rollout becomes a revision: read, make, check, compare and set."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import Conflict, NotDurable, NotFound
from .state import Commit, RolloutState
from .store.location import Location
from .store.presence import Presence
from .store.sqlite import SQLiteStore
from .view import View, gainers

__all__ = ["PERSISTENT", "Change", "Desk", "Make", "default_author"]

ATTEMPTS = 5
"""How often a verb that says the same whatever came before it is tried again after a conflict."""

PERSISTENT = 100
"""How often a rollback is: it is refused only when its champion is not ready, however busy the others are."""

PAGE = 20
"""How many commits of a long history are read at a time."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb did: the state now, whether a revision was made, and what the operator should know.

    Attributes:
        state: the state after the verb (the same as before when nothing was to do).
        changed: whether a revision was committed.
        notes: sentences for the operator, like "nothing to roll back".
    """

    state: RolloutState
    changed: bool
    notes: tuple[str, ...] = ()


Make = Callable[[RolloutState, View], RolloutState]
"""A verb: the state that it makes of a state; the same object when there is nothing to do."""


class Desk:
    """Reads and commits the revisions of one rollout for one author.

    Args:
        name: the rollout.
        store: where its revisions are.
        location: what the store binds.
        author: who is asking.
    """

    def __init__(self, name: str, store: SQLiteStore, location: Location, author: str) -> None:
        self.name, self.store, self.location, self.author = name, store, location, author
        self.presence = Presence(store.place(name))

    def read(self, if_revision: int | None = None) -> Commit:
        """Return the newest commit.

        Raises:
            NotFound: when the store has no such rollout.
            Conflict: when it is at another revision than ``if_revision``.
        """
        commit = self.store.read(self.name)
        if commit is None:
            raise NotFound(
                f"the store {self.location.path} has no rollout {self.name!r}; "
                "`bento-rollout list` shows those that it has"
            )
        if if_revision is not None and commit.revision != if_revision:
            raise Conflict(
                f"{self.name!r} is at revision {commit.revision}, not {if_revision}; nothing changed",
                commit.revision,
            )
        return commit

    def history(self, limit: int | None = None) -> Sequence[Commit]:
        """Return the commits, newest first."""
        return self.store.history(self.name, limit)

    def commits(self, limit: int | None = None) -> Iterator[Commit]:
        """Yield the commits, newest first, reading a page at a time: they are never all held at once."""
        before: int | None = None
        while limit is None or limit > 0:
            asked = PAGE if limit is None else min(PAGE, limit)
            page = self.store.history(self.name, asked, before=before)
            yield from page
            if len(page) < asked:
                return
            before, limit = page[-1].revision, None if limit is None else limit - asked

    def at(self, revision: int) -> Commit:
        """Return one commit of the history.

        Raises:
            NotFound: when the history has no such revision.
        """
        for commit in self.store.history(self.name, 1, before=revision + 1):
            if commit.revision == revision:
                return commit
        raise NotFound(f"there is no revision {revision} in the history of {self.name!r}")

    def view(self, state: RolloutState) -> View:
        """Return a state with the service around it, as it is now."""
        return View(tuple(self.presence.living()), self.presence.last(), state)

    def require_durable(self) -> None:
        """Raise `NotDurable` when a change here would not bind everybody whom it must."""
        if not self.location.durable:
            raise NotDurable(
                f"changes are refused: {self.location.why} (this would bind one pod of unknown many); "
                "set BENTO_ROLLOUT_SINGLE_REPLICA=1 if there is only one"
            )

    def change(
        self,
        action: str,
        make: Make,
        reason: str,
        if_revision: int | None,
        *,
        grants: Collection[str] = (),
        attempts: int = ATTEMPTS,
    ) -> Change:
        """Commit what ``make`` makes of the newest state.

        Args:
            action: the verb, for the history.
            make: the change.
            reason, if_revision: as for every verb.
            grants: whose weights this verb grants anew to the code that is there now.
            attempts: how often to try when somebody else commits in between.

        Raises:
            NotReady: a variant that would get traffic is not ready in every live worker.
            Conflict: somebody else committed, ``attempts`` times or against ``if_revision``.
        """
        self.require_durable()
        while True:
            attempts -= 1
            commit = self.read(if_revision)
            view = self.view(commit.state)
            state = make(commit.state, view)
            known = commit.state.granted
            held = [name for name in view.held(grants) if state.weights.get(name) or name in known]
            if state is commit.state and not held:
                return Change(state, changed=False)
            gained = {*gainers(commit.state, state), *(name for name in held if state.weights.get(name))}
            for name in sorted(gained):
                view.require_ready(name)
            notes = view.unconfirmed if gained else ()
            try:
                return self.commit(state, commit, view, action, reason, notes=notes, trusted=held)
            except Conflict:
                if if_revision is not None or attempts <= 0:
                    raise

    def commit(
        self,
        state: RolloutState,
        parent: Commit,
        view: View,
        action: str,
        reason: str,
        *,
        notes: tuple[str, ...] = (),
        trusted: Iterable[str] = (),
    ) -> Change:
        """Commit a state made from ``parent``.

        What is new in it is granted to the digests that are there now: a new champion, a variant that never
        had anything, and those that are ``trusted`` by the verb. What others have stays as it was.
        """
        new = {name for name in gainers(parent.state, state) if name not in parent.state.granted}
        crowned = {state.champion} if state.champion != parent.state.champion else set()
        granted = state.grant(view.digests({*trusted, *new, *crowned}))
        numbered = granted.model_copy(update={"revision": parent.revision + 1})
        self.store.commit(
            Commit(
                state=numbered,
                parent=parent.revision,
                time=time.time(),
                author=self.author,
                action=action,
                reason=reason,
            ),
            after=parent.revision,
        )
        return Change(numbered, changed=True, notes=notes)


def default_author() -> str:
    """Return ``BENTO_ROLLOUT_AUTHOR``, else user@host."""
    if name := os.environ.get("BENTO_ROLLOUT_AUTHOR"):
        return name
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"

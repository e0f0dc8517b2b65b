"""`Desk`: how a change of one rollout becomes a revision: read, make, check, compare and set."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from .errors import Conflict, NotDurable, NotFound
from .governing import OVERRIDES
from .revisions import shown_revision
from .state import Commit, RolloutState
from .store import RolloutStore
from .store.governed import GovernedStore
from .store.location import Location
from .store.opened import presence_at
from .telling import detail
from .values import MAX_AUTHOR, MAX_REASON, check_text
from .view import ROLLBACKS, View, gainers

__all__ = ["PERSISTENT", "Advise", "Change", "Desk", "Make", "Prepare", "default_author"]

ATTEMPTS = 5
"""How often a verb that says the same whatever came before it is tried again after a conflict."""

PERSISTENT = 100
"""How often a rollback is: it is refused only when its champion is not ready, however busy the others are."""

PAGE = 10
"""How many commits of a long history are read at a time."""


MOST = 10
"""How many names an error lists."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb did: the state now, whether a revision was made, and what the operator should know.

    Attributes:
        state: the state after the verb (the same as before when nothing was to do).
        changed: whether a revision was committed.
        notes: sentences for the operator, like "nothing to roll back".
        detail: what is different now beside champion and weights, like ``target boosted + key u1``.
    """

    state: RolloutState
    changed: bool
    notes: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()

    def __repr__(self) -> str:
        state = self.state
        weights = "".join(f", {name} {percent:g} %" for name, percent in state.percents.items() if percent)
        notes = f", notes={self.notes!r}" if self.notes else ""
        return (
            f"<Change of {state.name!r}: changed={self.changed}, revision {state.revision}, "
            f"champion {state.champion}{weights}{notes}>"
        )


Make = Callable[[RolloutState, View], RolloutState]
"""A verb: the state that it makes of a state; the same object when there is nothing to do."""

Prepare = Callable[[Commit, View, RolloutState], AbstractContextManager[tuple[View, tuple[str, ...]]]]
"""What must happen before another champion is committed: a block for that, with a new look and notes."""

Advise = Callable[[View, RolloutState], tuple[str, ...]]
"""The notes of a verb, from the service around the state before it, and the state after it."""


class Desk:
    """Reads and commits the revisions of one rollout for one author.

    Args:
        name: the rollout.
        store: where its revisions are.
        location: what the store binds.
        author: who is asking.
    """

    def __init__(self, name: str, store: RolloutStore, location: Location, author: str) -> None:
        self.name, self.store, self.location, self.author = name, store, location, author
        self.presence = presence_at(store.place(name))

    def read(self, if_revision: int | None = None) -> Commit:
        """Return the newest commit.

        Raises:
            NotFound: when the store has no such rollout.
            Conflict: when it is at another revision than ``if_revision``.
        """
        commit = self.store.read(self.name)
        if commit is None:
            raise NotFound(self._absent())
        if if_revision is not None and commit.revision != if_revision:
            raise Conflict(
                f"{self.name!r} is at revision {shown_revision(commit.revision)}, "
                f"not {shown_revision(if_revision)}; nothing changed",
                commit.revision,
            )
        return commit

    def _absent(self) -> str:
        known = self.store.names()
        listed = ", ".join([*known[:MOST], *(["…"] if len(known) > MOST else [])])
        return (
            f"the store {self.location.words} has no rollout {self.name!r}; it has: {listed or 'none yet'}. "
            "A service's first start makes its rollout; BENTO_ROLLOUT_STORE says which store is looked at"
        )

    def history(self, limit: int | None = None) -> Sequence[Commit]:
        """Return the commits, newest first."""
        return self.store.history(self.name, limit)

    def steps(
        self, limit: int | None = None, before: int | None = None
    ) -> Iterator[tuple[Commit, RolloutState | None]]:
        """Yield the commits, newest first, each with the state that it was made from, if that is known.

        For showing: they are read a page at a time, and their targets are not checked again.
        """
        later: Commit | None = None
        told = 0
        for commit in self._sketches(None if limit is None else limit + 1, before):
            if later is not None:
                yield later, commit.state if commit.revision == later.parent else None
                told += 1
            later = commit
        if later is not None and told != limit:
            yield later, None

    def step(self, revision: int) -> tuple[Commit | None, RolloutState | None]:
        """Return one commit for showing, and the state that it was made from, as far as they are known."""
        for commit, before in self.steps(1, revision + 1):
            if commit.revision == revision:
                return commit, before
        return None, None

    def moves(self) -> Iterator[Commit]:
        """Yield what tells whether a rollback would be undone, newest first: seeds, applies, rollbacks.

        What a rollback came after follows it.
        """
        older: int | None = None
        while page := self.store.sketches(
            self.name, PAGE, before=older, actions=("seed", "apply", *ROLLBACKS)
        ):
            for commit in page:
                yield commit
                if commit.action in ROLLBACKS:
                    yield from self.store.sketches(self.name, 1, before=commit.revision)
            older = page[-1].revision

    def _sketches(self, limit: int | None, before: int | None) -> Iterator[Commit]:
        while limit is None or limit > 0:
            asked = PAGE if limit is None else min(PAGE, limit)
            page = self.store.sketches(self.name, asked, before=before)
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

    def admit(self, reason: str, action: str | None = None) -> None:
        """Raise unless a change may be made here, with this reason, for this author.

        Args:
            reason: the author's.
            action: the verb that changes the state; None: it is not the state that is changed.

        Raises:
            InvalidValue: the reason or the author cannot be kept as they are.
            Governed: the state is a file's, and this verb does not work against one.
            NotDurable: it would not bind everybody whom it must.
        """
        check_text(reason, "reason", MAX_REASON)
        check_text(self.author, "author", MAX_AUTHOR)
        if action is not None and isinstance(self.store, GovernedStore):
            if action not in OVERRIDES:
                raise self.store.refusal(self.name)
            return
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
        prepare: Prepare | None = None,
        advise: Advise | None = None,
    ) -> Change:
        """Commit what ``make`` makes of the newest state.

        Args:
            action: the verb, for the history.
            make: the change.
            reason, if_revision: as for every verb.
            grants: whose weights this verb grants anew to the code that is there now.
            attempts: how often to try when somebody else commits in between; once for a new champion for whom
                there is a ``prepare``: what was prepared would then be something else.
            prepare: what must happen before another champion is committed.
            advise: what to tell the operator beside what changed.

        Raises:
            NotReady: a variant that would get traffic is not ready in every live worker.
            Conflict: somebody else committed, ``attempts`` times or against ``if_revision``.
        """
        self.admit(reason, action)
        if isinstance(self.store, GovernedStore):
            return self._override(self.store, action, reason, if_revision)
        while True:
            attempts -= 1
            commit = self.read(if_revision)
            view = self.view(commit.state)
            state = _trusted(make(commit.state, view), view, grants)
            told = () if advise is None else advise(view, state)
            if state is commit.state:
                return Change(state, changed=False, notes=told)
            ready = _confirmed(view, state)
            crowns = prepare is not None and state.champion != commit.state.champion
            block = prepare(commit, view, state) if prepare and crowns else nullcontext((view, ()))
            try:
                with block as (now, notes):
                    if now is not view:
                        _confirmed(now, state)
                    return self.commit(state, commit, now, action, reason, notes=(*ready, *notes, *told))
            except Conflict:
                if crowns or if_revision is not None or attempts <= 0:
                    raise

    def _override(self, store: GovernedStore, action: str, reason: str, if_revision: int | None) -> Change:
        """Set something against the file on this host, or end that."""
        before = self.read(if_revision).state
        changed = store.set_against(self.name, action, self.author, reason)
        state, file = self.read().state, store.note(self.name).file
        if changed and action == "resume":
            return Change(state, changed=True, notes=(f"{file} holds again",), detail=detail(before, state))
        if changed:
            note = f"on this host only, until {file} changes: `bento-rollout resume {self.name}` ends it"
            return Change(state, changed=True, notes=(note,), detail=detail(before, state))
        idle = {
            "rollback": f"nothing to roll back: {state.champion} has all traffic, as {file} says"
            if not store.note(self.name).commit.state.weights
            else "nothing to roll back: it is rolled back already",
            "resume": f"nothing holds against {file} here",
        }
        told_idle = (idle[action],) if action in idle else ()
        return Change(state, changed=False, notes=told_idle)

    def commit(
        self,
        state: RolloutState,
        parent: Commit,
        view: View,
        action: str,
        reason: str,
        *,
        notes: tuple[str, ...] = (),
    ) -> Change:
        """Commit a state made from ``parent``.

        What is new in it is granted to the digests that are there now: a new champion, and a variant that
        never had anything. What others have stays as it was.
        """
        new = {name for name in gainers(parent.state, state) if name not in state.granted}
        crowned = {state.champion} if state.champion != parent.state.champion else set()
        numbered = state.grant(view.digests({*new, *crowned})).numbered(parent.revision + 1)
        unreached = self.store.commit(
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
        told = detail(parent.state, numbered)
        return Change(numbered, changed=True, notes=(*notes, *unreached), detail=told)


def _trusted(state: RolloutState, view: View, grants: Collection[str]) -> RolloutState:
    """Return a state in which those named are granted to the code that is there now, which must be ready."""
    known = view.state.granted
    held = [name for name in view.held(grants) if state.weights.get(name) or name in known]
    for name in sorted(name for name in held if state.weights.get(name)):
        view.require_ready(name)
    return state.trust(view.digests(held))


def _confirmed(view: View, state: RolloutState) -> tuple[str, ...]:
    """Check that everybody who gets traffic is ready; return the note that nobody lives to say so.

    Raises:
        NotReady: somebody is not, in some live worker.
    """
    gained = view.gainers(state)
    for name in sorted(gained):
        view.require_ready(name)
    return view.unconfirmed if gained else ()


def default_author() -> str:
    """Return ``BENTO_ROLLOUT_AUTHOR``, else user@host."""
    if name := os.environ.get("BENTO_ROLLOUT_AUTHOR"):
        return name
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"

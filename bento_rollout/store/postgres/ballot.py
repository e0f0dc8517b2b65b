"""`SharedBallot`: a flip in preparation on all hosts that share a database."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from ...errors import Refused
from ..ballot import KEEP, After, Proposal, Vote, busy
from ..place import Shared
from .connection import Connection, lock_of
from .holding import Session, is_free, unusable

__all__ = ["SharedBallot"]

_HURRY = 1.0
"""Seconds to wait for another writer."""


class SharedBallot:
    """The flip in preparation of one rollout; at most one at a time.

    Whoever proposes holds two locks with a session of its own: the right to propose, and one by which others
    know that *this* proposer lives.

    Args:
        place: the rollout.
    """

    def __init__(self, place: Shared) -> None:
        self._engine, self._name = place.engine, place.name
        self._right = lock_of(f"flip of {place.name}", "right")
        self._sessions: dict[str, Session] = {}

    @contextmanager
    def propose(self, source: str, target: str, after: int, author: str, reason: str) -> Iterator[Proposal]:
        """Hold the right to flip and show a proposal to the workers, until the block ends.

        Raises:
            Refused: when another flip is being prepared.
            StoreUnreachable: the database cannot be used.
        """
        proposal = Proposal(secrets.token_hex(8), source, target, after, author, reason)
        try:
            session = Session(self._engine)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        try:
            self._show(session, proposal)
            self._sessions[proposal.id] = session
            yield proposal
        finally:
            if self._sessions.pop(proposal.id, None) is not None:
                with suppress(sqlite3.Error):
                    self._clear(session.db)
            session.close()

    def pending(self) -> Proposal | None:
        """Return the proposal of a living proposer, or None."""
        try:
            with self._engine.lent() as db:
                row = db.execute("SELECT proposal FROM proposals WHERE rollout = ?", (self._name,)).fetchone()
                proposal = None if row is None else Proposal(**json.loads(row[0]))
                if proposal is None or is_free(db, _lock_of(proposal)):
                    return None
        except (sqlite3.Error, TypeError, ValueError):
            return None
        return proposal

    def vote(self, proposal: Proposal, vote: Vote) -> None:
        """Say what this worker thinks of a proposal; nothing happens when the proposal is over."""
        query = (  # the proposal cannot go while a vote for it is on its way: none is left behind
            "INSERT INTO votes (proposal, token, vote) SELECT shown.id, ?, ? FROM (SELECT id FROM proposals "
            "WHERE rollout = ? AND id = ? FOR SHARE) AS shown "
            "ON CONFLICT (proposal, token) DO UPDATE SET vote = excluded.vote"
        )
        with suppress(sqlite3.Error), self._engine.lent() as db:
            db.execute(query, (vote.token, _json(vote), self._name, proposal.id))

    def votes(self, proposal: Proposal) -> dict[str, Vote]:
        """Return the votes so far, by worker token.

        Raises:
            StoreUnreachable: the proposer's session is lost, and another flip may be prepared by now.
        """
        query = "SELECT vote FROM votes WHERE proposal = ?"
        try:
            if (own := self._sessions.get(proposal.id)) is not None:
                rows = own.db.execute(query, (proposal.id,)).fetchall()
            else:
                rows = self._rows(query, proposal.id)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        found: dict[str, Vote] = {}
        for (text,) in rows:
            with suppress(TypeError, ValueError):
                vote = Vote(**json.loads(text))
                found[vote.token] = vote
        return found

    def claim_after(self, revision: int, token: str) -> bool:
        """Whether this worker is the one that runs the ``after_flip`` hooks of a revision; true once only.

        Raises:
            StoreUnreachable: the database cannot be used, so nobody can know who runs them.
        """
        told = _json(After(revision, token, os.getpid(), "running"))
        try:
            with self._engine.lent() as db:
                db.execute("BEGIN IMMEDIATE")
                if mine := not self._is_known(db, revision):
                    insert = "INSERT INTO afters (rollout, revision, told) VALUES (?, ?, ?)"
                    db.execute(insert, (self._name, revision, told))
                    self._prune(db)
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise unusable(self._engine, error, "after_flip hooks do not run") from None
        return mine

    def is_followed(self, revision: int) -> bool:
        """Whether somebody has the ``after_flip`` hooks of a revision, or it is too long ago to know.

        False, too, when the database cannot be asked: whoever claims them then is told what is wrong.
        """
        try:
            with self._engine.lent() as db:
                return self._is_known(db, revision)
        except sqlite3.Error:
            return False

    def interrupted(self) -> list[int]:
        """Return the revisions whose ``after_flip`` hooks somebody was about to run, and nobody did.

        There are none here: a claim and its record are one step.
        """
        return []

    def report_after(self, after: After) -> None:
        """Write how the hooks of a revision are going."""
        query = (
            "INSERT INTO afters (rollout, revision, told) VALUES (?, ?, ?) "
            "ON CONFLICT (rollout, revision) DO UPDATE SET told = excluded.told"
        )
        with suppress(sqlite3.Error), self._engine.lent() as db:
            db.execute(query, (self._name, after.revision, _json(after)))

    def afters(self) -> dict[int, After]:
        """Return how the ``after_flip`` hooks went, by revision.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        try:
            rows = self._rows("SELECT told FROM afters WHERE rollout = ? ORDER BY revision", self._name)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        found: dict[int, After] = {}
        for (told,) in rows:
            with suppress(TypeError, ValueError):
                after = After(**json.loads(told))
                found[after.revision] = after
        return found

    def is_first(self, event: str) -> bool:
        """Whether nobody on any host has asked this of an event before: one worker is to count it.

        False, too, when that cannot be written down: better to miss an event than to count it in each worker.
        """
        insert = "INSERT INTO told (rollout, event) VALUES (?, ?) ON CONFLICT (rollout, event) DO NOTHING"
        prune = (
            "DELETE FROM told WHERE rollout = ? AND number NOT IN "
            "(SELECT number FROM told WHERE rollout = ? ORDER BY number DESC LIMIT ?)"
        )
        try:
            with self._engine.lent(patience=_HURRY) as db:
                if first := bool(db.execute(insert, (self._name, event)).rowcount):
                    db.execute(prune, (self._name, self._name, KEEP))
        except sqlite3.Error:
            return False
        return first

    def _show(self, session: Session, proposal: Proposal) -> None:
        deadline = time.monotonic() + 0.25  # the one before may be about to leave
        try:
            while not session.take(self._right):
                if time.monotonic() > deadline:
                    raise Refused(busy(self.pending()))
                time.sleep(0.005)
            session.take(_lock_of(proposal))
            db = session.db
            self._clear(db)  # what a proposer left that was killed
            insert = "INSERT INTO proposals (rollout, id, proposal) VALUES (?, ?, ?)"
            db.execute(insert, (self._name, proposal.id, _json(proposal)))
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _clear(self, db: Connection) -> None:
        """Remove the proposal that is shown, and its votes."""
        find = "DELETE FROM proposals WHERE rollout = ? RETURNING id"
        for (gone,) in db.execute(find, (self._name,)).fetchall():
            db.execute("DELETE FROM votes WHERE proposal = ?", (gone,))

    def _is_known(self, db: Connection, revision: int) -> bool:
        query = "SELECT revision FROM afters WHERE rollout = ? ORDER BY revision"
        known = [found for (found,) in db.execute(query, (self._name,))]
        return revision in known or (len(known) >= KEEP and revision < known[0])

    def _prune(self, db: Connection) -> None:
        query = (
            "DELETE FROM afters WHERE rollout = ? AND revision NOT IN "
            "(SELECT revision FROM afters WHERE rollout = ? ORDER BY revision DESC LIMIT ?)"
        )
        db.execute(query, (self._name, self._name, KEEP))

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._engine.lent() as db:
            return db.execute(query, values).fetchall()

    def _unusable(self, error: Exception) -> Exception:
        return unusable(self._engine, error, "nothing changed")


def _lock_of(proposal: Proposal) -> int:
    return lock_of(f"proposal {proposal.id}", "lives")


def _json(told: Proposal | Vote | After) -> str:
    return json.dumps(asdict(told), separators=(",", ":"))

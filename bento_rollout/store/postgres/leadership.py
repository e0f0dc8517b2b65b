"""`SharedLeadership`: one worker of all hosts decides for all of them, as long as its session lives."""

from __future__ import annotations

import os
import sqlite3

from ..place import Shared
from .connection import lock_of
from .holding import Session, is_free, unusable

__all__ = ["SharedLeadership"]


class SharedLeadership:
    """The right to lead a rollout on all hosts; the database takes it back when its holder's session ends.

    Who has lost its connection finds out when it next asks, and another one may lead by then: what a leader
    writes is guarded by what it has read, so the second one writes, and the first one does not.

    Args:
        place: the rollout.
        name: another one is a right of its own.
    """

    def __init__(self, place: Shared, name: str) -> None:
        self._engine = place.engine
        self._lock = lock_of(f"leader of {place.name}", name)
        self._session: Session | None = None
        self._pid = os.getpid()

    def hold(self) -> bool:
        """Take it if nobody else has it; return whether it is held now.

        Whoever has lost it is told so once before it may take it again: another one may have led meanwhile.

        Raises:
            StoreUnreachable: the database cannot be asked.
        """
        if os.getpid() != self._pid:  # a forked child does not lead; its parent's session is its parent's
            self._session, self._pid = None, os.getpid()
        if self._session is not None:
            if self._session.lives():
                return True
            self.resign()
            return False
        try:
            with self._engine.lent() as db:
                if not is_free(db, self._lock):
                    return False
            return self._take()
        except sqlite3.Error as error:
            raise unusable(self._engine, error, "nobody can say who leads") from None

    def resign(self) -> None:
        """Give it back."""
        session, self._session = self._session, None
        if session is not None and os.getpid() == self._pid:
            session.close()

    def _take(self) -> bool:
        session = Session(self._engine)
        try:
            taken = session.take(self._lock)
        except BaseException:
            session.close()
            raise
        if taken:
            self._session = session
        else:
            session.close()
        return taken

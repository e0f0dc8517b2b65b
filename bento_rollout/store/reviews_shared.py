"""The people's queue in a database of many hosts: its connections, its locks, what is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from ..errors import StoreUnreachable
from .place import Shared
from .sql import Db

__all__ = ["SharedReviews"]

_FILE = "reviews"
_HOLDING = ("tasks", "inputs", "suggestions", "parts", "decisions", "letters")
"""The tables in which something is that may be forgotten."""


class SharedReviews:
    """Lends connections to the tables. Safe in any thread.

    Args:
        place: the rollout in the database.
        patience: seconds to wait for another process's lock.

    Attributes:
        where: what it is called in messages.
        remedy: what to do about a damaged one.
    """

    remedy = "restore a backup of the database"

    def __init__(self, place: Shared, patience: float) -> None:
        self._place, self.patience, self.where = place, patience, place.words(_FILE)

    def exists(self) -> bool:
        """Whether anybody ever wrote."""
        return self._place.known()

    @contextmanager
    def lent(self, *, make: bool) -> Iterator[Db]:
        """Lend a connection outside of any transaction; what is not committed when the block ends is undone.

        Args:
            make: enter the rollout when the database does not know it.

        Raises:
            StoreUnreachable: the database does not know the rollout.
            sqlite3.Error: any other trouble.
        """
        with closing(self._place.connect(_FILE, self.patience, make=make)) as db:
            yield db

    def begin(self, db: Db, *, durable: bool) -> None:
        """Begin a transaction that writes.

        Args:
            db: where.
            durable: whether a power cut may not undo it; a killed process never does.
        """
        db.execute("BEGIN IMMEDIATE")
        if not durable:
            db.execute("SET LOCAL synchronous_commit = off")

    @contextmanager
    def turn(self, name: str, what: str, *, wait: bool) -> Iterator[bool]:  # noqa: ARG002 - as beside a file
        """Hold a right that one process has at a time, and say whether it is held; `ReviewsFile.turn`."""
        from .postgres.connection import lock_of  # late: psycopg is an extra

        number = lock_of(self._place.schema(_FILE), name)
        with closing(self._place.connect(_FILE, self.patience)) as db:
            if wait:
                db.execute("SELECT pg_advisory_lock(?)", (number,))
            elif not db.execute("SELECT pg_try_advisory_lock(?)", (number,)).fetchone()[0]:
                yield False
                return
            try:
                yield True
            finally:
                try:
                    db.execute("SELECT pg_advisory_unlock(?)", (number,))
                except sqlite3.Error:
                    db.raw.close()  # the session's end gives it back, and nobody else gets the session

    def rewrite(self, db: Db) -> None:  # noqa: ARG002 - as beside a file
        """Write the tables anew, so that nothing of what was deleted is left in them.

        Only the role that owns them can; of another one the server warns, and it is left to its vacuum.
        """
        import psycopg  # late: it is an extra

        from .postgres.faults import in_short

        schema = self._place.schema(_FILE)
        limits = f"SET statement_timeout = 0; SET lock_timeout = {int(self.patience * 1000) + 1}"
        with closing(self._place.engine.alone()) as raw:
            try:
                raw.execute(limits.encode())
                for table in _HOLDING:
                    raw.execute(f"VACUUM (FULL) {schema}.{table}".encode())
            except psycopg.Error as error:
                raise StoreUnreachable(
                    f"it is deleted, and {self.where} may still hold bytes of it: the tables could not be "
                    f"written anew ({in_short(error)}); run it again"
                ) from error

    def tidy(self, db: Db) -> None:
        """Leave it to the server's vacuum."""

    def hint(self, error: sqlite3.OperationalError) -> str:
        """Return what to do about trouble."""
        return ": try again" if "locked" in str(error) else ""

    def close(self) -> None:
        """Keep nothing: the engine has the connections."""

"""A ledger in tables that many hosts share: what PostgreSQL does otherwise than SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import psycopg

from ..ledger_inserting import Batch, Row, insert_each, insert_rows
from ..ledger_pruning import transaction
from ..ledger_rows import INSERT_PREDICTION, STORED, Values
from ..place import Shared
from ..sql import Db
from .connection import Connection, Raw, lock_of
from .faults import as_sqlite

__all__ = ["InDatabase"]

_COLUMNS = ", ".join(STORED)
_COPY = f"COPY bento_rollout_came ({_COLUMNS}) FROM STDIN".encode()
_COME = (
    f"INSERT INTO predictions ({_COLUMNS}) SELECT {_COLUMNS} FROM bento_rollout_came "  # noqa: S608 - constants
    "ON CONFLICT (id, row) DO NOTHING"
).encode()
_TABLE = (
    b"CREATE TEMPORARY TABLE IF NOT EXISTS bento_rollout_came (LIKE predictions) ON COMMIT DELETE ROWS; "
    b"ALTER TABLE bento_rollout_came ALTER COLUMN seq DROP NOT NULL"
)


class InDatabase:
    """A ledger in the tables of a database.

    Args:
        shared: the rollout in the database.
        patience: seconds to wait for another writer.
    """

    path = None
    remedy = "look into the server's log, and restore a backup"

    def __init__(self, shared: Shared, patience: float) -> None:
        self._shared, self._patience, self._may_send = shared, patience, True
        self.where = shared.words("ledger")

    def exists(self) -> bool:
        """Whether the database knows the rollout."""
        return self._shared.known()

    def reading(self) -> Db:
        """Return a connection that reads."""
        return self._shared.connect("ledger", self._patience, make=False)

    def writing(self) -> Db:
        """Return a connection that writes; the rollout is entered when the database does not know it."""
        return self._shared.connect("ledger", self._patience)

    def inode(self) -> tuple[int, int]:
        """Return nothing: a database is not replaced under an open connection."""
        return (0, 0)

    def size(self) -> int:
        """Return how many bytes the tables and their indexes take."""
        return self._shared.size("ledger")

    def used(self, db: Db) -> int:
        """Return how many bytes the rows hold, before anything is compressed."""
        (size,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM given").fetchone()
        return int(size)

    def fits(self, db: Db | None, most: int) -> bool:
        """Whether the rows hold no more than they may."""
        with suppress(sqlite3.Error):
            return db is None or self.used(db) <= most
        return True

    def given(self, db: Db) -> int:
        """Return the last ``seq`` that a prediction got; 0: there was none."""
        (seq,) = db.execute("SELECT seq FROM given WHERE name = 'predictions'").fetchone() or (0,)
        return int(seq)

    @contextmanager
    def alone(self, db: Db) -> Iterator[bool]:
        """Hold the right to tidy up for a block; false: another worker, of whatever host, has it."""
        lock = lock_of(self._shared.schema("ledger"), "tidying")
        (held,) = db.execute("SELECT pg_try_advisory_lock(?)", (lock,)).fetchone()
        try:
            yield bool(held)
        finally:
            if held:
                with suppress(sqlite3.Error):  # of a connection that is lost it is given back
                    db.execute("SELECT pg_advisory_unlock(?)", (lock,))

    def insert(self, db: Db, rows: Sequence[Row], batch: Batch) -> None:
        """Write rows in one transaction, unless this batch was written before.

        The predictions are sent before the right to write is asked for: others write meanwhile.
        """
        raw = cast("Connection", db).raw
        try:
            try:
                sent = self._send(raw, [row for _, insert, row in rows if insert is INSERT_PREDICTION])
                lock = lock_of(self._shared.schema("ledger"))
                raw.execute(b"SELECT pg_advisory_xact_lock(%d)" % lock)
                if _is_new(db, batch):
                    if sent:
                        raw.execute(_COME)
                    insert_rows(db, [row for row in rows if not sent or row[1] is not INSERT_PREDICTION])
                raw.execute(b"COMMIT")
            except psycopg.Error as error:
                raise as_sqlite(error) from error
        except BaseException:
            if db.in_transaction:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise

    def insert_each(self, db: Db, rows: Sequence[Row], batch: Batch) -> tuple[set[int], str]:
        """Write rows of which some cannot be written, unless this batch was written before."""
        with transaction(db):
            return insert_each(db, rows) if _is_new(db, batch) else (set(), "")

    def tidy(self, db: Db, now: float) -> None:
        """Forget which batches were written, where none of them can come again."""
        db.execute("DELETE FROM bento_rollout.delivered WHERE time < ?", (now - _REMEMBERED,))

    def hint(self, error: sqlite3.OperationalError) -> str:
        """Return what to do about an error."""
        return "; another process holds it: try again" if "locked" in str(error) else ""

    def _send(self, raw: Raw, rows: Sequence[Values]) -> bool:
        """Begin a transaction, and send predictions to a table of this connection's own.

        Returns:
            False: none were sent, or this role may make no such table.
        """
        if rows and self._may_send:
            try:
                raw.execute(_TABLE)
            except psycopg.errors.InsufficientPrivilege:
                self._may_send = False
        raw.execute(b"BEGIN")
        if not rows or not self._may_send:
            return False
        with raw.cursor().copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
        return True


_REMEMBERED = 30 * 86400.0
"""Seconds for which it is known that a batch was written."""


def _is_new(db: Db, batch: Batch) -> bool:
    """Note that a batch is written; false: it was before. In a transaction.

    Those of one spool come in their order, so that only the last one is to be known.
    """
    note = "INSERT INTO bento_rollout.delivered (spool, batch, time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    if not db.execute(note, (*batch, time.time())).rowcount:
        return False
    db.execute("DELETE FROM bento_rollout.delivered WHERE spool = ? AND batch < ?", batch)
    return True
